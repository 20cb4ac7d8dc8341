"""A label map becomes a SEG that says the same, on the source's own slices, and always in the same bytes."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

import cmdiff_dicom.encode.seg as seg_module
from cmdiff_dicom.encode import encode_seg
from cmdiff_dicom.encode.seg import algorithm_version
from cmdiff_dicom.errors import EncodingFault
from cmdiff_dicom.records import Label, ModelIdentity
from tests.support.sources import AXIAL, OBLIQUE, SAGITTAL, grid, label_map, series

NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)
KEY = "0123456789abcdef" * 4


def encode(geometry, labels=None, key=KEY, revision=1, created_at=NOON, sources=None):
    return encode_seg(label_map(geometry, labels), sources or series(geometry), key, created_at, revision)


def read(result):
    return dcmread(BytesIO(result.part10))


def frames(seg):
    """(segment number, referenced instance, position text, pixels) of every frame."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    for groups, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array.reshape(-1, seg.Rows, seg.Columns), strict=True):
        segment = (groups.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence)[0].ReferencedSegmentNumber
        (derivation,) = groups.DerivationImageSequence
        (source,) = derivation.SourceImageSequence
        assert source.SpatialLocationsPreserved == "YES"
        yield segment, source.ReferencedSOPInstanceUID, list(groups.PlanePositionSequence[0].ImagePositionPatient), pixels


@pytest.mark.parametrize("directions", [AXIAL, SAGITTAL, OBLIQUE, OBLIQUE @ SAGITTAL], ids=["axial", "sagittal", "oblique", "tilted sagittal"])
@pytest.mark.parametrize("omit", [True, False])
def test_every_frame_says_its_own_slice_of_the_label_map(directions, omit, monkeypatch):
    monkeypatch.setattr(seg_module, "OMIT_EMPTY_FRAMES", omit)
    geometry = grid(directions=directions)
    sources = {source.SOPInstanceUID: (k, source) for k, source in enumerate(series(geometry))}
    wanted = label_map(geometry).labels
    seg = read(encode(geometry))
    seen = 0
    for segment, uid, position, pixels in frames(seg):
        k, source = sources[uid]
        np.testing.assert_array_equal(pixels, wanted[k] == segment)
        assert position == list(source.ImagePositionPatient)
        seen += int(pixels.sum())
    assert seen == np.count_nonzero(wanted)
    assert int(seg.NumberOfFrames) == (12 if omit else 21)


def test_33_columns_and_35_rows_decode_right_although_bits_run_on_across_frames():
    geometry = grid(shape=(7, 35, 33))
    labels = np.zeros(geometry.shape, np.uint8)
    labels[:, 3:30, 2:31] = np.random.default_rng(1).integers(1, 3, size=(7, 27, 29))
    for segment, uid, _, pixels in frames(read(encode(geometry, labels))):
        np.testing.assert_array_equal(pixels, labels[int(uid.rsplit(".")[-1]) - 1] == segment)


def test_an_odd_number_of_bytes_is_padded_with_a_null():
    geometry = grid(shape=(2, 1, 9))
    labels = np.random.default_rng(4).integers(1, 4, size=geometry.shape).astype(np.uint8)
    seg = read(encode(geometry, labels))
    used = -(-seg.pixel_array.size // 8)
    assert used % 2 == 1
    assert seg.PixelData[used:] == b"\0"


def test_the_text_of_positions_and_orientation_is_the_sources_own():
    geometry = grid(directions=OBLIQUE)
    sources = series(geometry)
    for source in sources:
        x, y, z = source.ImagePositionPatient
        source.ImagePositionPatient = [f"{float(x):.3f}0", f"{float(y):+.5e}", str(z)]
    seg = read(encode(geometry, sources=sources))
    texts = {source.SOPInstanceUID: [str(v) for v in source.ImagePositionPatient] for source in sources}
    for _, uid, position, _ in frames(seg):
        assert [str(value) for value in position] == texts[uid]


def test_it_is_a_binary_segmentation_in_explicit_little_endian():
    seg = read(encode(grid()))
    assert (seg.SOPClassUID, seg.file_meta.TransferSyntaxUID) == (SegmentationStorage, ExplicitVRLittleEndian)
    assert (seg.SegmentationType, seg.SegmentsOverlap, seg.Modality) == ("BINARY", "NO", "SEG")


def test_only_labels_that_are_there_become_segments_numbered_from_1():
    geometry = grid()
    labels = np.zeros(geometry.shape, np.uint8)
    labels[2, 5:9, 5:9] = Label.ET
    labels[4, 5:9, 5:9] = Label.NCR
    segments = read(encode(geometry, labels)).SegmentSequence
    assert [(s.SegmentNumber, s.SegmentLabel) for s in segments] == [(1, "Necrotic or non-enhancing core"), (2, "Enhancing tumour")]


def test_without_contrast_there_is_one_segment_whole_tumour():
    geometry = grid()
    labels = np.zeros(geometry.shape, np.uint8)
    labels[2:4, 5:9, 5:9] = Label.WT
    (segment,) = read(encode(geometry, labels)).SegmentSequence
    assert (segment.SegmentNumber, segment.SegmentLabel) == (1, "Whole tumour")


def test_every_segment_says_what_made_it_and_how_to_show_it():
    seg = read(encode(grid()))
    for segment in seg.SegmentSequence:
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert (segment.SegmentAlgorithmType, segment.SegmentAlgorithmName, algorithm.AlgorithmName) == ("AUTOMATIC", "CMDiff", "CMDiff")
        assert algorithm.AlgorithmFamilyCodeSequence[0].CodeValue == "123110"
        assert algorithm.AlgorithmVersion == "1.0.0 weights " + "ab" * 16
        assert len(segment.RecommendedDisplayCIELabValue) == 3
        assert segment.TrackingID
        assert segment.AnatomicRegionSequence[0].CodeValue == "12738006"
    assert len({segment.TrackingUID for segment in seg.SegmentSequence}) == 3


def test_the_algorithm_version_fits_a_long_string_and_keeps_the_weights():
    long = algorithm_version(ModelIdentity("CMDiff", "1" * 80, "cd" * 32))
    assert len(long) == 64
    assert long.endswith("weights " + "cd" * 16)


def test_the_description_names_the_use_and_later_revisions_say_their_number():
    first, second = read(encode(grid())), read(encode(grid(), revision=2))
    assert first.SeriesDescription.endswith("Research use, not for diagnosis")
    assert second.SeriesDescription == first.SeriesDescription + " rev 2"
    assert second.SeriesNumber == first.SeriesNumber + 1
    assert len(read(encode(grid(), revision=999)).SeriesDescription) <= 64


def test_the_referenced_series_names_every_used_instance():
    geometry = grid()
    sources = series(geometry)
    (reference,) = read(encode(geometry, sources=sources)).ReferencedSeriesSequence
    assert reference.SeriesInstanceUID == sources[0].SeriesInstanceUID
    assert {item.ReferencedSOPInstanceUID for item in reference.ReferencedInstanceSequence} == {s.SOPInstanceUID for s in sources}


def test_study_and_frame_of_reference_are_the_sources_and_series_and_instance_are_new():
    geometry = grid()
    source, seg = series(geometry)[0], read(encode(geometry))
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "StudyID", "AccessionNumber", "PatientID", "PatientName", "StudyDate"):
        assert seg[keyword].value == source[keyword].value
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID
    assert seg.SOPInstanceUID == seg.file_meta.MediaStorageSOPInstanceUID


def test_two_studies_of_a_day_with_empty_study_id_keep_one_seg_each():
    geometry = grid()
    one = read(encode(geometry, sources=series(geometry, StudyID=""), key="1" * 64))
    other = read(encode(geometry, sources=series(geometry, StudyID="", StudyInstanceUID="1.2.3.4"), key="2" * 64))
    assert (one.StudyID, other.StudyID, other.StudyInstanceUID) == ("", "", "1.2.3.4")
    assert one.SOPInstanceUID != other.SOPInstanceUID


def test_our_equipment_stands_among_those_that_contributed():
    equipment = read(encode(grid())).ContributingEquipmentSequence
    (ours,) = [item for item in equipment if item.Manufacturer == "cmdiff-dicom"]
    assert ours.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Processing Equipment"
    assert "ACME" in {item.Manufacturer for item in equipment}


def test_a_second_build_makes_the_same_bytes_whatever_the_clock_and_chance_say(monkeypatch):
    first = encode(grid())
    monkeypatch.setattr("highdicom.base.datetime", _LaterClock)
    monkeypatch.setattr("highdicom.base_content.datetime", _LaterClock)
    assert encode(grid()).part10 == first.part10


def test_another_job_makes_another_object():
    first, second = encode(grid()), encode(grid(), key="f" * 64)
    assert first.sop_uid != second.sop_uid
    assert first.series_uid != second.series_uid


@pytest.fixture
def in_new_york(monkeypatch):
    """This machine stands in New York for as long as the test lasts."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_new_york")
@pytest.mark.parametrize(
    ("offset", "moment"),
    [("-0330", "20260101 233000.123456"), (None, "20260101 220000.123456"), ("", "20260101 220000.123456"), ("+9999", "20260101 220000.123456")],
)
def test_times_are_the_jobs_on_the_clock_that_the_source_names_or_else_on_this_machines(offset, moment):
    geometry = grid()
    sources = series(geometry, **({} if offset is None else {"TimezoneOffsetFromUTC": offset}))
    seg = read(encode(geometry, sources=sources, created_at=NOON.replace(hour=3)))
    assert {f"{seg.ContentDate} {seg.ContentTime}", f"{seg.SeriesDate} {seg.SeriesTime}"} == {moment}


# --- what is not encoded -----------------------------------------------------------------------------------


def test_an_empty_label_map_makes_no_seg():
    with pytest.raises(EncodingFault, match="no tumour found"):
        encode(grid(), np.zeros(grid().shape, np.uint8))


def test_whole_tumour_beside_its_parts_is_refused():
    labels = label_map(grid()).labels.copy()
    labels[2, 0, 0] = Label.WT
    with pytest.raises(EncodingFault, match="Whole tumour"):
        encode(grid(), labels)


def test_a_value_that_is_no_label_is_refused():
    labels = label_map(grid()).labels.copy()
    labels[2, 0, 0] = 7
    with pytest.raises(EncodingFault, match="7"):
        encode(grid(), labels)


def test_sources_in_another_order_are_refused():
    geometry = grid()
    with pytest.raises(EncodingFault, match="order"):
        encode(geometry, sources=series(geometry)[::-1])


def test_sources_of_another_size_or_number_are_refused():
    geometry = grid()
    for sources in (series(geometry)[1:], series(grid(shape=(7, 33, 35)))):
        with pytest.raises(EncodingFault, match="do not belong together"):
            encode(geometry, sources=sources)


def test_sources_of_two_series_are_refused():
    geometry = grid()
    sources = series(geometry)
    sources[3].SeriesInstanceUID = "1.2.3"
    with pytest.raises(EncodingFault, match="SeriesInstanceUID"):
        encode(geometry, sources=sources)


def test_a_fault_of_the_library_names_kind_and_place_but_no_patient():
    geometry = grid()
    sources = series(geometry, PatientName="MARKER^MARKER")
    for source in sources:
        source.SOPClassUID = "1.2.3"
    with pytest.raises(EncodingFault) as fault:
        encode(geometry, sources=sources)
    assert "KeyError" in str(fault.value)
    assert "MARKER" not in str(fault.value)


def test_a_result_of_unequal_model_is_another_algorithm_version_only():
    geometry = grid()
    other = replace(label_map(geometry), model=ModelIdentity("CMDiff", "2.0", "ef" * 32))
    seg = read(encode_seg(other, series(geometry), KEY, NOON, 1))
    assert seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion.startswith("2.0 weights efef")


class _LaterClock:
    """Stands for the `datetime` module inside highdicom: a day later than any other call."""

    class datetime(datetime):  # noqa: N801
        @classmethod
        def now(cls, tz=None):
            return datetime(2030, 1, 1, 1, 1, 1)  # noqa: DTZ001

    import datetime as _real

    date, time = _real.date, _real.time
