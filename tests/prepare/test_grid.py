"""The model grid lies along the patient's axes, on the reference's own lattice; what already fits is copied bit for bit."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cmdiff_dicom.geometry import Geometry, Volume, box_around, crop_grid
from cmdiff_dicom.prepare.grid import onto_grid, patient_grid, smoothed_for
from tests.support.grids import ORDERS, reordered


def grid_of(shape=(9, 12, 10), spacing=(1.0, 1.0, 1.0), origin=(-4.3, 7.25, 11.5), turn=(0.0, 0.0, 0.0)) -> Geometry:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() @ np.eye(3)[:, ::-1] * spacing
    matrix[:3, 3] = origin
    return Geometry(shape, matrix, "1.2.3")


def noise(grid: Geometry, seed: int = 0) -> Volume:
    return Volume(np.random.default_rng(seed).normal(100, 20, grid.shape).astype(np.float32), grid)


def test_a_grid_of_1_mm_along_the_patients_axes_is_its_own_model_grid():
    grid = grid_of()
    assert patient_grid(grid).is_close(grid, 1e-9)


def test_a_study_of_1_mm_along_the_patients_axes_passes_bit_for_bit():
    volume = noise(grid_of())
    assert np.array_equal(onto_grid(volume, patient_grid(volume.geometry)), volume.array)


@pytest.mark.parametrize(("axes", "flips"), ORDERS)
def test_every_order_of_the_axes_gives_the_same_values_at_the_same_places(axes, flips):
    volume = noise(grid_of())
    other = reordered(volume, axes, flips)
    grid = patient_grid(other.geometry)
    assert grid.is_close(volume.geometry, 1e-9)
    assert np.array_equal(onto_grid(other, grid), volume.array)


def test_last_digits_of_a_header_do_not_turn_a_copy_into_an_interpolation():
    volume = noise(grid_of())
    matrix = volume.geometry.mm_from_index.copy()
    matrix[:3, :3] += 1e-6
    shaken = Volume(volume.array, Geometry(volume.geometry.shape, matrix))
    assert np.array_equal(onto_grid(shaken, volume.geometry), volume.array)


@pytest.mark.parametrize("turn", [(0, 0, 0), (8, -3, 5), (0, 0, 20), (90, 0, 0)])
def test_the_model_grid_covers_every_voxel_centre(turn):
    covered = grid_of(spacing=(5.5, 0.9, 0.9), turn=turn)
    grid = patient_grid(covered)
    index = grid.index(covered.mm(np.argwhere(np.ones(covered.shape))))
    assert np.all(index > -1.0)
    assert np.all(index < np.array(grid.shape))


def test_the_model_grid_keeps_the_frame_of_reference():
    assert patient_grid(grid_of()).frame_of_reference_uid == "1.2.3"


def test_a_linear_field_on_an_oblique_thick_grid_stays_linear_inside():
    grid = grid_of((20, 30, 30), (4.0, 1.0, 1.0), turn=(10, 5, -8))
    index = np.argwhere(np.ones(grid.shape))
    ramp = Volume((grid.mm(index) @ (0.5, -1.0, 2.0)).reshape(grid.shape).astype(np.float32), grid)
    onto = patient_grid(grid)
    values = onto_grid(ramp, onto).ravel()
    mm = onto.mm(np.argwhere(np.ones(onto.shape)))
    where = grid.index(mm)
    inside = np.all((where >= 0) & (where <= np.array(grid.shape) - 1), axis=1)
    assert inside.sum() > 1000
    assert np.allclose(values[inside], (mm @ (0.5, -1.0, 2.0))[inside], atol=2e-3)


def test_the_outer_half_of_a_thick_end_slice_keeps_its_value_and_beyond_is_nothing():
    volume = Volume(np.full((3, 4, 4), 7.0, np.float32), grid_of((3, 4, 4), (5.0, 1.0, 1.0)))
    tall = crop_like(volume.geometry, below_mm=6, above_mm=6)
    values = onto_grid(volume, tall)[:, 1, 1]
    heights = tall.mm(np.stack([np.arange(tall.shape[0]), *np.ones((2, tall.shape[0]))], 1))[:, 2] - volume.geometry.mm_from_index[2, 3]
    assert np.array_equal(values > 0, (heights >= -2.5) & (heights <= 12.5))
    assert np.all(values[values > 0] == 7.0)


def crop_like(geometry: Geometry, below_mm: int, above_mm: int) -> Geometry:
    grid = patient_grid(geometry)
    matrix = grid.mm_from_index.copy()
    matrix[2, 3] -= below_mm
    return Geometry((grid.shape[0] + below_mm + above_mm, *grid.shape[1:]), matrix)


def test_fine_stripes_do_not_alias_into_coarse_ones():
    fine = grid_of((8, 8, 240), (1.0, 1.0, 0.4))
    stripes = Volume(np.broadcast_to(np.where(np.arange(240) % 2, 150, 50).astype(np.float32), fine.shape).copy(), fine)
    values = onto_grid(stripes, patient_grid(fine))[2:-2, 2:-2, 4:-4]
    assert np.abs(values - 100).max() < 8  # of an amplitude of 50


def test_smoothing_keeps_the_mean_and_leaves_axes_that_are_coarse_enough():
    volume = noise(grid_of((12, 40, 40), (5.0, 0.5, 0.5)))
    smooth = smoothed_for(volume, 1.0)
    assert smooth.geometry.shape == (12, 20, 20)
    assert np.allclose(smooth.array.mean((1, 2)), volume.array.mean((1, 2)), rtol=1e-4)
    assert np.allclose(smooth.geometry.centre_mm, volume.geometry.centre_mm)


def test_a_cropped_grid_keeps_its_voxels_places():
    grid = grid_of(turn=(5, 0, 0))
    mask = np.zeros(grid.shape, dtype=bool)
    mask[3:6, 4:9, 2:4] = True
    box = box_around(mask, margin=1)
    assert box == (slice(2, 7), slice(3, 10), slice(1, 5))
    assert np.allclose(crop_grid(grid, box).mm(np.zeros((1, 3))), grid.mm(np.array([[2, 3, 1]])))
