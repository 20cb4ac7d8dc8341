"""The phantom is valid MR Image Storage, the same bytes for the same seed, and says what its volume says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from cmdiff_dicom.assemble import assemble_study, choose_stacks, explain
from cmdiff_dicom.geometry import Volume, resample
from cmdiff_dicom.phantom.mri import StudyHeader, series_from_volume, write_series
from cmdiff_dicom.phantom.scanners import GE, SIEMENS, VENDORS
from cmdiff_dicom.phantom.study import write_study
from cmdiff_dicom.receive import read_folder
from cmdiff_dicom.records import Label, Sequence
from cmdiff_dicom.segment_folder import Memory
from tests.support.received import STUDY, noise, oblique_grid, received, series
from tests.support.tools import dciodvfy


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"), seed=3, coarse=2.0)


@pytest.fixture(scope="module")
def assembled(phantom):
    memory = Memory()
    content = read_folder(phantom.folder, memory.keep)
    assert not content.problems
    choice = choose_stacks(content.instances)
    return choice, assemble_study(choice, memory.read)


def errors_in(*files: Path) -> list[str]:
    """The errors that the validator finds."""
    return [line for file in files for line in dciodvfy(file) if line.startswith("Error")]


@pytest.mark.parametrize("sequence", Sequence)
def test_the_validator_finds_no_error_in_any_series_of_the_phantom(phantom, sequence):
    files = sorted(phantom.series[sequence].iterdir())
    assert errors_in(files[0], files[-1]) == []


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("sequence", Sequence)
def test_the_validator_finds_no_error_in_any_vendors_series(tmp_path, vendor, sequence):
    for options in ({}, {"rescale_per_slice": True, "is_reversed": True}):
        write_series(series(sequence, vendor=vendor, **options)[:1], tmp_path)
        assert errors_in(tmp_path / "0001.dcm") == []


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_vendors_study_is_recognised(vendor):
    choice = choose_stacks(received(*(series(sequence, vendor=vendor) for sequence in Sequence)).instances)
    assert set(choice.stacks) == set(Sequence), explain(choice)
    assert not choice.pixels_decide


@pytest.mark.parametrize(
    ("sequence", "vendor", "oddity"),
    [
        (Sequence.T2W, GE, {"InversionTime": 0}),
        (Sequence.T1N, GE, {"InversionTime": 450}),
        (Sequence.T1N, GE, {"ScanningSequence": ["RM", "IR"], "SequenceVariant": "NONE", "RepetitionTime": 2200, "InversionTime": 1000}),
        (Sequence.T2F, SIEMENS, {"ScanningSequence": "SE", "InversionTime": None, "ScanOptions": ""}),
        (Sequence.T1C, SIEMENS, {"ContrastBolusAgent": "NONE"}),
    ],
)
def test_vendors_oddities_do_not_mislead(sequence, vendor, oddity):
    datasets = series(sequence, vendor=vendor, **oddity)
    choice = choose_stacks(received(datasets, series(Sequence.T2F, number=9)).instances)
    assert sequence in choice.stacks, explain(choice)


PLAIN_3D = {"ScanningSequence": "GR", "SequenceVariant": "SP", "ScanOptions": "", "InversionTime": None, "RepetitionTime": 24, "FlipAngle": 20}


@pytest.mark.parametrize(
    ("sequence", "physics", "name", "told_name"),
    [
        (Sequence.T1N, PLAIN_3D, "*fl3d1", "*fi3d1r"),
        (Sequence.T2W, {}, "*tse2d1_17", "*ep2d1_17"),
    ],
)
def test_what_only_a_sequence_name_tells_keeps_a_series_from_serving(sequence, physics, name, told_name):
    for given, serves in ((name, True), (told_name, False)):
        datasets = series(sequence, SequenceName=given, SeriesDescription="head", ProtocolName="head", **physics)
        choice = choose_stacks(received(datasets, series(Sequence.T2F, number=9)).instances)
        assert (sequence in choice.stacks) is serves, explain(choice)


def test_the_phantom_is_recognised_whole(assembled, phantom):
    choice, study = assembled
    assert set(choice.stacks) == set(Sequence)
    assert study.study_uid == phantom.study_uid
    assert study.reference is Sequence.T1C
    assert not study.notes


def test_each_series_has_a_grid_of_its_own_in_one_frame_of_reference(assembled):
    _, study = assembled
    normals = {s: v.geometry.mm_from_index[:3, 0] / v.geometry.spacing_mm[0] for s, v in study.volumes.items()}
    assert abs(normals[Sequence.T1N][0]) > 0.9  # sagittal
    assert all(abs(normals[s][2]) > 0.9 for s in (Sequence.T1C, Sequence.T2W, Sequence.T2F))
    turns = [np.degrees(np.arccos(normals[a] @ normals[b])) for a, b in ((Sequence.T1C, Sequence.T2W), (Sequence.T2W, Sequence.T2F))]
    assert all(0.5 < turn < 15 for turn in turns)
    assert study.volumes[Sequence.T2F].geometry.spacing_mm[0] == pytest.approx(5.5)
    assert len({volume.geometry.frame_of_reference_uid for volume in study.volumes.values()}) == 1


def test_the_truth_lies_where_the_images_show_it(assembled, phantom):
    _, study = assembled
    flair = study.volumes[Sequence.T2F]
    truth = resample(phantom.truth, flair.geometry, order=0)
    edema = flair.array[truth == Label.ED]
    assert len(edema) > 50
    assert np.median(edema) > 1.3 * np.median(flair.array[flair.array > 400])


def test_one_seed_is_one_patient_and_the_same_bytes(phantom, tmp_path):
    again = write_study(tmp_path / "again", seed=3, coarse=2.0)
    for sequence in Sequence:
        for one, other in zip(sorted(phantom.series[sequence].iterdir()), sorted(again.series[sequence].iterdir()), strict=True):
            assert one.read_bytes() == other.read_bytes()
    assert StudyHeader.of_seed(3) != StudyHeader.of_seed(4)


def test_uids_are_valid_and_differ(phantom):
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in phantom.folder.rglob("*.dcm")]
    assert len({header.SOPInstanceUID for header in headers}) == len(headers)
    assert all(pydicom.uid.UID(header.SOPInstanceUID).is_valid for header in headers)
    assert str(headers[0].PatientName) == "PHANTOM^SEED 3"


def test_a_healthy_phantom_has_no_truth(tmp_path):
    assert not write_study(tmp_path, seed=3, tumour=False, coarse=4.0).truth.array.any()


def test_values_with_fractions_come_back_within_half_a_step():
    volume = Volume(np.random.default_rng(0).normal(3, 2, oblique_grid().shape).astype(np.float32), oblique_grid())
    data_set = series(volume=volume)[4]
    values = data_set.pixel_array * float(data_set.RescaleSlope) + float(data_set.RescaleIntercept)
    assert np.abs(values - volume.array[4]).max() <= float(data_set.RescaleSlope) * 0.51


def test_overrides_set_and_remove_attributes_of_every_instance():
    datasets = series(Sequence.T1C, ContrastBolusAgent=None, EchoTime=11)
    assert all("ContrastBolusAgent" not in data_set and data_set.EchoTime == 11 for data_set in datasets)


def test_slices_that_lean_are_no_series():
    grid = oblique_grid()
    affine = grid.mm_from_index.copy()
    affine[:3, 0] += affine[:3, 1]
    with pytest.raises(ValueError, match="right angles"):
        series_from_volume(noise(type(grid)(grid.shape, affine)), Sequence.T2F, STUDY)
