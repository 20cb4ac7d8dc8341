"""Slices lie where their positions say, and make one regular volume or say why not."""

from __future__ import annotations

import numpy as np
import pytest

from cmdiff_dicom.assemble.slices import geometry_of
from tests.support.received import noise, oblique_grid, only, series


def moved(datasets, k, by_mm):
    """The series with slice `k` moved."""
    position = np.array(datasets[k].ImagePositionPatient, dtype=float) + by_mm
    datasets[k].ImagePositionPatient = [round(float(x), 6) for x in position]
    return datasets


def normal_of(datasets):
    cosines = np.array(datasets[0].ImageOrientationPatient, dtype=float)
    return np.cross(cosines[:3], cosines[3:])


def test_a_stack_has_the_geometry_that_was_written():
    assert geometry_of(only(series())).is_close(oblique_grid(), 1e-6)


@pytest.mark.parametrize("order", ["reversed", "shuffled"])
def test_slice_order_follows_positions_whatever_the_order_and_the_instance_numbers(order):
    datasets = series(is_reversed=True)
    shuffled = datasets[::-1] if order == "reversed" else [datasets[n] for n in np.random.default_rng(1).permutation(10)]
    stack = only(shuffled)
    assert [i.sop_uid for i in stack.instances] == [d.SOPInstanceUID for d in datasets]
    assert geometry_of(stack).is_close(oblique_grid(), 1e-6)


def test_a_left_handed_volume_is_read_from_its_other_end():
    grid = oblique_grid()
    affine = grid.mm_from_index.copy()
    affine[:3, 0] *= -1
    left = noise(type(grid)(grid.shape, affine))
    read = geometry_of(only(series(volume=left)))
    assert np.allclose(read.mm(np.array([[0, 0, 0], [9, 3, 5]])), left.geometry.mm(np.array([[9, 0, 0], [0, 3, 5]])), atol=1e-5)


def test_thickness_and_spacing_in_the_header_are_not_believed():
    stack = only(series(SliceThickness="1", SpacingBetweenSlices="-99"))
    assert geometry_of(stack).spacing_mm[0] == pytest.approx(4.0)


def test_a_missing_slice_is_a_gap_with_its_place_in_mm():
    datasets = series()
    first = float(np.array(datasets[0].ImagePositionPatient, dtype=float) @ normal_of(datasets))
    del datasets[5]
    fault = only(datasets).fault
    assert f"gap of 8.00 mm between slices at {first + 16:.2f} and {first + 24:.2f} mm, 4.00 mm elsewhere" in fault
    assert "1 slice(s) missing" in fault


@pytest.mark.parametrize(("share", "is_taken"), [(0.004, True), (0.1, False)])
def test_steps_may_jitter_below_one_percent_of_the_spacing(share, is_taken):
    datasets = series()
    for k in (2, 5, 7):
        moved(datasets, k, normal_of(datasets) * 4.0 * share)
    assert (only(datasets).fault == "") is is_taken


def test_jitter_of_a_hundredth_of_a_millimetre_is_taken_on_thin_slices():
    datasets = series(volume=noise(oblique_grid(spacing_mm=(0.5, 1, 1))))
    rng = np.random.default_rng(0)
    for k in range(10):
        moved(datasets, k, rng.normal(0, 0.002, 3))
    assert not only(datasets).fault


@pytest.mark.parametrize("step_mm", [1.6, 5.0])
def test_positions_rounded_to_a_tenth_of_a_millimetre_are_taken(step_mm):
    datasets = series(volume=noise(oblique_grid(shape=(60, 20, 24), spacing_mm=(step_mm, 1, 1))))
    for data_set in datasets:
        data_set.ImagePositionPatient = [f"{float(x):.1f}" for x in data_set.ImagePositionPatient]
    assert not only(datasets).fault


@pytest.mark.parametrize("tag", [None, "7.1"])
def test_a_sheared_stack_is_refused_whatever_the_tilt_tag_says(tag):
    datasets = series(GantryDetectorTilt=tag)
    row = np.array(datasets[0].ImageOrientationPatient, dtype=float)[:3]
    for k in range(10):
        moved(datasets, k, row * 0.5 * k)
    assert only(datasets).fault.startswith("sheared: slices step 7.1 degrees")


def test_a_slice_off_the_line_is_named_with_its_place():
    datasets = series()
    row = np.array(datasets[0].ImageOrientationPatient, dtype=float)[:3]
    assert only(moved(datasets, 4, row * 0.6)).fault.startswith("irregular: the slice at")


def test_too_few_slices_never_serve():
    assert only(series()[:7]).fault == "7 slice(s), at least 8 wanted"


def test_one_sop_uid_at_two_places_of_one_series_is_refused_by_name():
    datasets = series()
    datasets[4].SOPInstanceUID = datasets[5].SOPInstanceUID
    assert only(datasets).fault == "two slices under one SOP Instance UID"


def test_an_orientation_that_is_no_frame_is_unusable():
    assert "missing or unusable" in only(series(ImageOrientationPatient=[1, 0, 0, 1, 0, 0])).fault
