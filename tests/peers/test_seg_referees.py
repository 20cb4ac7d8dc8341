"""Judges that are not ours read our SEG: dciodvfy, dcentvfy, dcmqi and DCMTK."""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite

import cmdiff_dicom.encode.seg as seg_module
from cmdiff_dicom.encode import encode_seg
from cmdiff_dicom.encode.codes import MEANINGS
from cmdiff_dicom.geometry import Geometry
from cmdiff_dicom.records import Label
from tests.support.sources import AXIAL, OBLIQUE, SAGITTAL, grid, label_map, series
from tests.support.tools import complaints, dciodvfy, tool

NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
PLANES = pytest.mark.parametrize("directions", [AXIAL, SAGITTAL, OBLIQUE, -OBLIQUE @ SAGITTAL], ids=["axial", "sagittal", "oblique", "tilted"])
ODD = (7, 35, 33)
"""Columns and rows that are no multiples of 8: frames run on across byte borders."""


def run(*command: object) -> str:
    """Standard output and error together; fails where the tool does."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def write_study(folder: Path, geometry: Geometry, labels=None, **headers):
    """The source series and its SEG as files; the label map beside it."""
    sources, wanted = series(geometry, **headers), label_map(geometry, labels)
    for source in sources:
        dcmwrite(folder / f"{source.InstanceNumber:03d}.dcm", source, enforce_file_format=True)
    (folder / "seg.dcm").write_bytes(encode_seg(wanted, sources, "5" * 64, NOON, 1).part10)
    return folder / "seg.dcm", wanted


@pytest.mark.parametrize("omit", [True, False])
@PLANES
def test_dciodvfy_finds_neither_error_nor_warning(directions, omit, tmp_path, monkeypatch):
    monkeypatch.setattr(seg_module, "OMIT_EMPTY_FRAMES", omit)
    file, _ = write_study(tmp_path, grid(ODD, directions))
    assert dciodvfy(file) == []


@pytest.mark.parametrize("label", list(Label))
def test_dciodvfy_is_silent_on_a_single_segment(label, tmp_path):
    labels = np.zeros(ODD, np.uint8)
    labels[2:5, 3:20, 4:9] = label
    file, _ = write_study(tmp_path, grid(ODD), labels)
    assert dciodvfy(file) == []


def test_dciodvfy_is_silent_where_the_source_lacked_what_the_standard_wants(tmp_path):
    missing = dict.fromkeys(["PatientBirthDate", "AccessionNumber", "SliceThickness", "PositionReferenceIndicator"])
    file, _ = write_study(tmp_path, grid(ODD), **missing)
    assert dciodvfy(file) == []


def test_dciodvfy_would_complain_of_a_segment_without_a_type(tmp_path):
    file, _ = write_study(tmp_path, grid(ODD))
    seg = dcmread(file)
    del seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence
    seg.save_as(file)
    assert dciodvfy(file)


def test_dcentvfy_finds_the_seg_at_one_with_its_series_about_patient_and_study(tmp_path):
    write_study(tmp_path, grid(ODD), SpecificCharacterSet="ISO_IR 192", PatientName="Yamada^Tarou=山田^太郎", PatientAge="055Y")
    assert complaints(run(tool("dcentvfy"), *sorted(tmp_path.glob("*.dcm")))) == []


def read_by_dcmqi(file: Path, wanted, labels: tuple[Label, ...]) -> np.ndarray:
    """The label map as dcmqi places it, voxel by voxel through patient millimetres; `labels` in order of segment numbers."""
    import SimpleITK as sitk  # noqa: N813

    folder = file.parent
    said = run(tool("segimage2itkimage"), "--inputDICOM", file, "--outputDirectory", folder, "-p", "read", "-t", "nrrd")
    assert "WARNING" not in said.upper()
    read = np.zeros_like(wanted.labels)
    for number, label in enumerate(labels, start=1):
        image = sitk.ReadImage(str(folder / f"read-{number}.nrrd"))
        inside = np.argwhere(sitk.GetArrayFromImage(image) != 0)
        at_mm = np.array([image.TransformIndexToPhysicalPoint([int(i), int(j), int(k)]) for k, j, i in inside])
        index = wanted.geometry.index(at_mm)
        assert np.abs(index - np.round(index)).max() < 1e-2
        read[tuple(np.round(index).astype(int).T)] = label
    return read


@PLANES
def test_dcmqi_reads_every_voxel_where_it_was_put(directions, tmp_path):
    file, wanted = write_study(tmp_path, grid(ODD, directions))
    np.testing.assert_array_equal(read_by_dcmqi(file, wanted, (Label.NCR, Label.ED, Label.ET)), wanted.labels)


@PLANES
def test_dcmqi_reads_a_single_segment_with_empty_slices_inside(directions, tmp_path):
    labels = np.zeros(ODD, np.uint8)
    labels[1:3, 3:20, 4:9] = labels[5, 30:34, 20:31] = Label.WT
    file, wanted = write_study(tmp_path, grid(ODD, directions), labels)
    np.testing.assert_array_equal(read_by_dcmqi(file, wanted, (Label.WT,)), labels)


def test_dcmqi_reads_names_codes_and_colours_as_they_were_meant(tmp_path):
    file, _ = write_study(tmp_path, grid(ODD))
    run(tool("segimage2itkimage"), "--inputDICOM", file, "--outputDirectory", tmp_path, "-p", "read", "-t", "nrrd")
    segments = [group[0] for group in json.loads((tmp_path / "read-meta.json").read_text())["segmentAttributes"]]
    for segment, label in zip(segments, (Label.NCR, Label.ED, Label.ET), strict=True):
        meaning = MEANINGS[label]
        assert segment["SegmentLabel"] == meaning.name
        assert segment["SegmentedPropertyTypeCodeSequence"]["CodeValue"] == meaning.kind.value
        assert np.abs(np.array(segment["recommendedDisplayRGBValue"]) - np.array(meaning.rgb)).max() <= 2


@pytest.mark.parametrize("shape", [ODD, (3, 15, 15), (2, 1, 9)])
def test_dcmtk_takes_the_same_bits_out(shape, tmp_path):
    labels = np.random.default_rng(4).integers(1, 4, size=shape).astype(np.uint8)
    file, wanted = write_study(tmp_path, grid(shape), labels)
    run(tool("dcmdump"), "+W", tmp_path, file)
    (raw,) = tmp_path.glob("*.raw")
    bits = np.unpackbits(np.fromfile(raw, np.uint8), bitorder="little")
    frames = np.concatenate([wanted.labels[::-1] == label for label in (1, 2, 3)])  # highdicom counts slices against the normal
    frames = frames[frames.any(axis=(1, 2))]
    np.testing.assert_array_equal(bits[: frames.size].reshape(frames.shape), frames)
    assert not bits[frames.size :].any()
    assert len(bits) % 16 == 0
