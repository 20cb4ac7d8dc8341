"""Probabilities return to the voxels they came from."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cmdiff_dicom.geometry import Geometry, Volume, box_around, crop_grid, resample
from cmdiff_dicom.prepare.grid import onto_grid, patient_grid
from cmdiff_dicom.records import ModelIdentity, Sampling, SegmentationResult
from cmdiff_dicom.research.metrics import dice
from cmdiff_dicom.restore import restore_probability, told_box
from cmdiff_dicom.synthesis import make_head
from tests.support.grids import ORDERS, reordered


@pytest.fixture(scope="module")
def tumour() -> Volume:
    """The whole tumour of a synthetic head at 1 mm, cropped."""
    head = make_head(2)
    box = box_around(head.label > 0, margin=12)
    return Volume((head.label[box] > 0).astype(np.float32), crop_grid(head.geometry, box))


def result_on(grid: Geometry, wt: np.ndarray) -> SegmentationResult:
    probability = np.stack([wt, 0.5 * wt, np.zeros_like(wt)]).astype(np.float32)
    return SegmentationResult(
        probability, np.zeros_like(probability), grid, ModelIdentity("m", "1", ""), Sampling(1, 0.0, 1, 0), np.ones(4, bool)
    )


def there_and_back(label: Volume) -> np.ndarray:
    """A label drawn on the scanner's grid, taken to the model grid and restored: WT (k, j, i)."""
    grid = patient_grid(label.geometry)
    return restore_probability(result_on(grid, onto_grid(label, grid)), label.geometry)[0] > 0.5


def scanner(tumour: Volume, spacing, turn=(0, 0, 0)) -> Volume:
    """The tumour as drawn on a scanner's grid about its centre."""
    extent = np.array(tumour.geometry.shape) * tumour.geometry.spacing_mm
    shape = tuple(int(n) for n in np.ceil(extent / spacing))
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() @ np.eye(3)[:, ::-1] * spacing
    matrix[:3, 3] = tumour.geometry.centre_mm - matrix[:3, :3] @ ((np.array(shape) - 1) / 2)
    grid = Geometry(shape, matrix)
    return Volume((resample(tumour, grid) > 0.5).astype(np.float32), grid)


@pytest.mark.parametrize(("axes", "flips"), ORDERS)
def test_every_order_of_the_axes_of_a_1_mm_grid_gets_its_labels_back_to_the_last_voxel(tumour, axes, flips):
    label = reordered(tumour, axes, flips)
    assert np.array_equal(there_and_back(label), label.array > 0.5)


def test_all_three_regions_come_back_in_order(tumour):
    back = restore_probability(result_on(tumour.geometry, tumour.array), tumour.geometry)
    assert back.dtype == np.float32
    assert np.array_equal(back, np.stack([tumour.array, 0.5 * tumour.array, 0 * tumour.array]))


@pytest.mark.parametrize("turn", [(8, -3, 5), (0, 0, 20), (16, 0, 0)])
def test_a_tilted_grid_of_1_mm_gets_its_labels_back(tumour, turn):
    label = scanner(tumour, (1.0, 1.0, 1.0), turn)
    assert dice(there_and_back(label), label.array > 0.5) > 0.98


@pytest.mark.parametrize(("spacing", "turn"), [((5.5, 0.9, 0.9), (6, 0, 0)), ((3.0, 0.5, 0.5), (17, 2, -4)), ((1.0, 1.0, 1.2), (0, 0, 0))])
def test_thick_and_fine_grids_get_their_labels_back(tumour, spacing, turn):
    label = scanner(tumour, spacing, turn)
    assert dice(there_and_back(label), label.array > 0.5) > 0.96


def test_a_thick_tilted_series_carries_the_volume_of_what_was_found_on_the_model_grid(tumour):
    label = scanner(tumour, (5.0, 0.8, 0.8), (10, 3, 0))
    restored = restore_probability(result_on(tumour.geometry, tumour.array), label.geometry)[0] > 0.5
    found_ml, true_ml = restored.sum() * label.geometry.voxel_ml, tumour.array.sum() * tumour.geometry.voxel_ml
    assert found_ml == pytest.approx(true_ml, rel=0.05)


def test_beyond_the_model_grid_nothing_is_found(tumour):
    wide = scanner(tumour, (1.0, 1.0, 1.0))
    box = (slice(10, 20), slice(10, 20), slice(10, 20))
    small = crop_grid(wide.geometry, box)
    back = restore_probability(result_on(small, np.ones(small.shape, np.float32)), wide.geometry)[0]
    assert np.array_equal(np.argwhere(back > 0).min(0), [10, 10, 10])
    assert back.sum() == 1000


@pytest.mark.parametrize(("spacing", "turn"), [((1.0, 1.0, 1.0), (0, 0, 0)), ((5.0, 0.8, 0.8), (10, 3, 0)), ((0.7, 0.7, 0.7), (0, 0, 20))])
def test_whatever_reaches_the_threshold_lies_in_the_box_that_is_told(tumour, spacing, turn):
    grid = scanner(tumour, spacing, turn).geometry
    half = np.array(tumour.array)
    half[:, half.shape[1] // 2 :] = 0
    result = result_on(tumour.geometry, half)
    box = told_box(result, grid, 0.5)
    everything, told = np.zeros(grid.shape, bool), np.zeros(grid.shape, bool)
    everything[:] = restore_probability(result, grid)[0] >= 0.5
    told[box] = restore_probability(result, crop_grid(grid, box))[0] >= 0.5
    assert told.any() and np.array_equal(told, everything)
    assert np.prod([s.stop - s.start for s in box]) < 0.9 * everything.size


def test_where_nothing_is_told_one_voxel_is_looked_at(tumour):
    assert told_box(result_on(tumour.geometry, 0.1 * tumour.array), tumour.geometry, 0.5) == (slice(0, 1),) * 3


def test_a_tumour_beside_the_scanners_grid_is_none_there(tumour):
    result, far = result_on(tumour.geometry, tumour.array), np.array(tumour.geometry.mm_from_index)
    far[:3, 3] += 500
    grid = Geometry(tumour.geometry.shape, far)
    assert not (restore_probability(result, crop_grid(grid, told_box(result, grid, 0.5))) > 0).any()
