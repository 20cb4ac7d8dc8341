"""Grids and resampling, by identities."""

from __future__ import annotations

import numpy as np
import pytest

from cmdiff_dicom.geometry import Geometry, Volume, resample


def oblique(shape=(6, 9, 8), spacing=(3.0, 1.0, 0.7), angle=0.3) -> Geometry:
    c, s = np.cos(angle), np.sin(angle)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    affine = np.eye(4)
    # columns are the steps along k, j and i
    affine[:3, :3] = rotation @ np.diag([1.0, 1.0, 1.0])[:, ::-1] @ np.diag(spacing)
    affine[:3, 3] = (-20.0, 5.0, 70.0)
    return Geometry(shape, affine)


def ramp(geometry: Geometry) -> Volume:
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), -1).reshape(-1, 3)
    return Volume((geometry.mm(index) @ (0.5, -1.0, 2.0)).reshape(geometry.shape).astype(np.float32), geometry)


def test_index_and_mm_are_inverses():
    index = np.random.default_rng(0).uniform(0, 5, (20, 3))
    assert np.allclose(oblique().index(oblique().mm(index)), index)


def test_spacing_and_voxel_volume_do_not_depend_on_orientation():
    assert np.allclose(oblique(angle=0.0).spacing_mm, oblique(angle=1.1).spacing_mm)
    assert oblique().voxel_ml == pytest.approx(3.0 * 1.0 * 0.7 / 1000)


def test_resampling_onto_its_own_grid_is_the_identity():
    volume = ramp(oblique())
    assert np.array_equal(resample(volume, volume.geometry), volume.array)


def test_a_linear_field_is_resampled_exactly_onto_a_rotated_grid():
    wide = oblique((20, 40, 40), (1.5, 1.5, 1.5), 0.0)
    narrow = Geometry((5, 5, 5), np.block([[np.diag([0.9, 0.9, 0.9]), wide.centre_mm[:, None]], [np.zeros((1, 3)), 1.0]]))
    assert np.allclose(resample(ramp(wide), narrow), ramp(narrow).array, atol=1e-3)


def test_a_shift_of_one_millimetre_moves_exactly_one_voxel_of_one_millimetre():
    grid = Geometry((4, 5, 6), np.eye(4))
    array = np.random.default_rng(1).normal(size=grid.shape).astype(np.float32)
    shift = np.eye(4)
    shift[0, 3] = 1.0
    moved = resample(Volume(array, grid), grid, volume_mm_from_onto_mm=shift)
    assert np.allclose(moved[:-1], array[1:], atol=1e-6)


def test_values_outside_are_zero():
    grid = Geometry((3, 3, 3), np.eye(4))
    far = Geometry((2, 2, 2), np.eye(4) + np.array([[0, 0, 0, 50.0]] + [[0] * 4] * 3))
    assert np.all(resample(Volume(np.ones(grid.shape, np.float32), grid), far) == 0)


def test_a_volume_cannot_be_written_to_through_the_record():
    volume = ramp(oblique())
    with pytest.raises(ValueError):
        volume.array[0, 0, 0] = 1


def test_a_matrix_that_cannot_be_inverted_is_refused():
    with pytest.raises(ValueError):
        Geometry((2, 2, 2), np.zeros((4, 4)))
