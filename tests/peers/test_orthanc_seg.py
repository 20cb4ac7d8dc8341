"""A PACS that is not ours stores our SEG beside its series, finds it, and gives the same bytes back."""

from datetime import UTC, datetime
from io import BytesIO

import pytest
from pydicom import dcmread

from cmdiff_dicom.encode import encode_seg
from tests.support.instances import file_bytes
from tests.support.orthanc import needs_orthanc, running_orthanc
from tests.support.sources import OBLIQUE, grid, label_map, series

pytestmark = [needs_orthanc, pytest.mark.slow]

NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
NAME = "Yamada^Tarou=山田^太郎"


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture(scope="module")
def stored(orthanc):
    """The SEG of an oblique study whose patient has a Japanese name, after both were stored."""
    geometry = grid(directions=OBLIQUE)
    sources = series(geometry, SpecificCharacterSet="ISO_IR 192", PatientName=NAME)
    for source in sources:
        with_pixels = dcmread(BytesIO(file_bytes(source)))
        with_pixels.SamplesPerPixel, with_pixels.PhotometricInterpretation = 1, "MONOCHROME2"
        with_pixels.BitsAllocated, with_pixels.BitsStored, with_pixels.HighBit, with_pixels.PixelRepresentation = 16, 12, 11, 0
        with_pixels.add_new("PixelData", "OW", bytes(2 * source.Rows * source.Columns))
        orthanc.post("/instances", file_bytes(with_pixels))
    result = encode_seg(label_map(geometry), sources, "6" * 64, NOON, 1)
    answer = orthanc.post("/instances", result.part10)
    assert answer["Status"] == "Success"
    return result, answer["ID"], geometry


def test_the_seg_is_found_as_a_series_of_the_same_study(orthanc, stored):
    result, _, _ = stored
    (series_id,) = orthanc.find("Series", Modality="SEG")
    found = orthanc.get(f"/series/{series_id}")
    assert found["MainDicomTags"]["SeriesInstanceUID"] == result.series_uid
    assert len(orthanc.get(f"/studies/{found['ParentStudy']}")["Series"]) == 2
    assert len(orthanc.find("Patient")) == 1


def test_it_gives_back_the_bytes_that_it_got(orthanc, stored):
    result, instance, _ = stored
    assert orthanc.get_bytes(f"/instances/{instance}/file") == result.part10


def test_sending_it_again_is_already_stored_and_makes_no_second_object(orthanc, stored):
    result, _, _ = stored
    assert orthanc.post("/instances", result.part10)["Status"] == "AlreadyStored"
    assert len(orthanc.find("Instance", Modality="SEG")) == 1


def test_it_reads_the_patients_name_in_the_declared_character_set(orthanc, stored):
    _, instance, _ = stored
    assert orthanc.get(f"/instances/{instance}/simplified-tags")["PatientName"] == NAME


def test_dicomweb_offers_it_to_viewers_with_its_referenced_series(orthanc, stored):
    result, _, _ = stored
    seg = dcmread(BytesIO(result.part10))
    (metadata,) = orthanc.get(f"/dicom-web/studies/{seg.StudyInstanceUID}/series/{result.series_uid}/metadata")
    reference = metadata["00081115"]["Value"][0]["0020000E"]["Value"][0]
    assert reference == seg.ReferencedSeriesSequence[0].SeriesInstanceUID
