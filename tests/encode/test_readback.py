"""A SEG that does not say what was computed is not let out."""

from datetime import UTC, datetime
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread

from cmdiff_dicom.encode import encode_seg
from cmdiff_dicom.encode.readback import check_written
from cmdiff_dicom.errors import EncodingFault
from cmdiff_dicom.records import Label
from tests.support.instances import file_bytes
from tests.support.sources import grid, label_map, series

NUMBERS = {Label.NCR: 1, Label.ED: 2, Label.ET: 3}


@pytest.fixture(scope="module")
def good():
    geometry = grid()
    return encode_seg(label_map(geometry), series(geometry), "key", datetime(2026, 1, 2, tzinfo=UTC), 1).part10


def fault(part10, change=lambda seg: None, numbers=NUMBERS):
    """What is found wrong with the object once it was changed; "" where nothing is."""
    seg = dcmread(BytesIO(part10))
    change(seg)
    try:
        check_written(file_bytes(seg), label_map(grid()).labels, numbers, series(grid()))
    except EncodingFault as found:
        return str(found)
    return ""


def test_a_right_object_passes(good):
    assert fault(good) == ""


def test_one_wrong_pixel_is_found(good):
    def flip(seg):
        pixels = bytearray(seg.PixelData)
        pixels[200] ^= 1
        seg.PixelData = bytes(pixels)

    found = fault(good, flip)
    assert "differ" in found or "overlaps" in found


def test_a_frame_2_micrometres_off_its_source_is_found(good):
    def move(seg):
        position = seg.PerFrameFunctionalGroupsSequence[4].PlanePositionSequence[0].ImagePositionPatient
        position[2] = f"{float(position[2]) + 0.002:.4f}"

    assert "position of frame 5" in fault(good, move)


def test_a_frame_that_refers_to_a_neighbour_is_found(good):
    def refer(seg):
        one, other = (seg.PerFrameFunctionalGroupsSequence[i].DerivationImageSequence[0].SourceImageSequence[0] for i in (0, 1))
        one.ReferencedSOPInstanceUID = other.ReferencedSOPInstanceUID

    assert "position of frame 1" in fault(good, refer)


def test_a_turned_orientation_is_found(good):
    def turn(seg):
        seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [0, 1, 0, 1, 0, 0]

    assert "orientation" in fault(good, turn)


def test_locations_that_are_not_preserved_are_found(good):
    def say_no(seg):
        seg.PerFrameFunctionalGroupsSequence[2].DerivationImageSequence[0].SourceImageSequence[0].SpatialLocationsPreserved = "NO"

    assert "frame 3" in fault(good, say_no)


def test_an_instance_that_the_referenced_series_forgets_is_found(good):
    def forget(seg):
        del seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]

    assert "names 6 instances" in fault(good, forget)


def test_swapped_segment_numbers_are_found(good):
    assert "differ" in fault(good, numbers={Label.NCR: 2, Label.ED: 1, Label.ET: 3})


def test_overlapping_segments_are_found(good):
    def overlap(seg):
        seg.PixelData = bytes(np.full(len(seg.PixelData), 255, np.uint8))

    assert "overlaps" in fault(good, overlap)
