"""A SEG that does not say what was computed is not let out."""

from datetime import UTC, datetime
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite

from cmdiff_dicom.encode import encode_seg
from cmdiff_dicom.encode.readback import check_written
from cmdiff_dicom.errors import EncodingFault
from cmdiff_dicom.records import Label
from tests.support.sources import grid, label_map, series

NUMBERS = {Label.NCR: 1, Label.ED: 2, Label.ET: 3}


@pytest.fixture(scope="module")
def good():
    geometry = grid()
    return encode_seg(label_map(geometry), series(geometry), "key", datetime(2026, 1, 2, tzinfo=UTC), 1).part10


def check(part10, change=lambda seg: None, numbers=NUMBERS):
    seg = dcmread(BytesIO(part10))
    change(seg)
    buffer = BytesIO()
    dcmwrite(buffer, seg)
    check_written(buffer.getvalue(), label_map(grid()).labels, numbers, series(grid()))


def test_a_right_object_passes(good):
    check(good)


def test_one_wrong_pixel_is_found(good):
    def flip(seg):
        pixels = bytearray(seg.PixelData)
        pixels[200] ^= 1
        seg.PixelData = bytes(pixels)

    with pytest.raises(EncodingFault, match=r"differ|overlaps"):
        check(good, flip)


def test_a_frame_2_micrometres_off_its_source_is_found(good):
    def move(seg):
        position = seg.PerFrameFunctionalGroupsSequence[4].PlanePositionSequence[0].ImagePositionPatient
        position[2] = f"{float(position[2]) + 0.002:.4f}"

    with pytest.raises(EncodingFault, match="position of frame 5"):
        check(good, move)


def test_a_frame_that_refers_to_a_neighbour_is_found(good):
    def refer(seg):
        one, other = (seg.PerFrameFunctionalGroupsSequence[i].DerivationImageSequence[0].SourceImageSequence[0] for i in (0, 1))
        one.ReferencedSOPInstanceUID = other.ReferencedSOPInstanceUID

    with pytest.raises(EncodingFault, match="position of frame 1"):
        check(good, refer)


def test_a_turned_orientation_is_found(good):
    def turn(seg):
        seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [0, 1, 0, 1, 0, 0]

    with pytest.raises(EncodingFault, match="orientation"):
        check(good, turn)


def test_locations_that_are_not_preserved_are_found(good):
    def say_no(seg):
        seg.PerFrameFunctionalGroupsSequence[2].DerivationImageSequence[0].SourceImageSequence[0].SpatialLocationsPreserved = "NO"

    with pytest.raises(EncodingFault, match="frame 3"):
        check(good, say_no)


def test_an_instance_that_the_referenced_series_forgets_is_found(good):
    def forget(seg):
        del seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]

    with pytest.raises(EncodingFault, match="names 6 instances"):
        check(good, forget)


def test_swapped_segment_numbers_are_found(good):
    with pytest.raises(EncodingFault, match="differ"):
        check(good, numbers={Label.NCR: 2, Label.ED: 1, Label.ET: 3})


def test_overlapping_segments_are_found(good):
    def overlap(seg):
        seg.PixelData = bytes(np.full(len(seg.PixelData), 255, np.uint8))

    with pytest.raises(EncodingFault, match="overlaps"):
        check(good, overlap)
