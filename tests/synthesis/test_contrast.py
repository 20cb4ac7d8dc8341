"""Four contrasts order the tissues as scanners do; thick slices and noise follow their formulas."""

import numpy as np
import pytest
from scipy import ndimage

from cmdiff_dicom.geometry import Geometry, Volume
from cmdiff_dicom.records import Sequence
from cmdiff_dicom.synthesis import Tissue, acquire, make_head, render


@pytest.fixture(scope="module")
def head():
    return make_head(9, spacing_mm=2.0)


@pytest.fixture(scope="module")
def images(head):
    return {sequence: render(head, sequence).array for sequence in Sequence}


def median(head, image, tissue) -> float:
    return float(np.median(image[head.tissue == tissue]))


ORDER = {
    Sequence.T1N: (Tissue.FAT, Tissue.WHITE, Tissue.GREY, Tissue.CSF, Tissue.BONE),
    Sequence.T1C: (Tissue.RIM, Tissue.WHITE, Tissue.EDEMA, Tissue.NECROSIS, Tissue.BONE),
    Sequence.T2W: (Tissue.EYE, Tissue.EDEMA, Tissue.GREY, Tissue.WHITE, Tissue.BONE),
    Sequence.T2F: (Tissue.EDEMA, Tissue.GREY, Tissue.WHITE, Tissue.EYE, Tissue.BONE),
}


@pytest.mark.parametrize("sequence", Sequence)
def test_tissues_are_ordered_as_in_the_contrast(head, images, sequence):
    values = [median(head, images[sequence], tissue) for tissue in ORDER[sequence]]
    assert values == sorted(values, reverse=True)


def test_only_t1c_shows_the_rim_bright(head, images):
    after, before = (median(head, images[s], Tissue.RIM) / median(head, images[s], Tissue.WHITE) for s in (Sequence.T1C, Sequence.T1N))
    assert after > 1.3
    assert before < 1.0


def test_the_four_contrasts_share_their_texture(head):
    white = ndimage.binary_erosion(head.tissue == Tissue.WHITE, iterations=2)  # away from what blurs into it
    first, second = (render(head, s).array[white] for s in (Sequence.T2W, Sequence.T2F))
    assert np.corrcoef(first, second)[0, 1] > 0.3


def test_rendering_is_deterministic_and_without_negative_values(head, images):
    assert np.array_equal(render(head, Sequence.T2W).array, images[Sequence.T2W])
    assert all(image.min() >= 0 for image in images.values())


def test_a_bias_of_nothing_is_no_bias_and_one_of_a_fifth_stays_within_a_fifth(head, images):
    ratio = render(head, Sequence.T1N, bias=0.2).array[head.brain] / np.maximum(images[Sequence.T1N][head.brain], 1e-3)
    assert ratio.std() > 0.01
    assert ratio.min() > 0.8 - 1e-3
    assert ratio.max() < 1.2 + 1e-3


# --- acquisition -------------------------------------------------------------------------------

GRID = Geometry((40, 24, 24), np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]]))


def test_without_noise_on_its_own_grid_a_volume_is_acquired_as_it_is():
    volume = Volume(np.random.default_rng(0).uniform(0, 200, GRID.shape).astype(np.float32), GRID)
    assert np.array_equal(acquire(volume, GRID, 0.0).array, volume.array)


def test_a_thick_slice_is_the_mean_of_the_thin_slices_within_it():
    volume = Volume(np.random.default_rng(0).uniform(0, 200, GRID.shape).astype(np.float32), GRID)
    matrix = GRID.mm_from_index.copy()
    matrix[2, 0] = 4.0
    matrix[2, 3] = 1.5
    thick = acquire(volume, Geometry((9, 24, 24), matrix), 0.0)
    assert np.allclose(thick.array, volume.array[:36].reshape(9, 4, 24, 24).mean(1), atol=1e-3)


def test_noise_on_nothing_has_the_mean_of_a_rayleigh_distribution():
    noisy = acquire(Volume(np.zeros(GRID.shape, np.float32), GRID), GRID, 0.05)
    assert noisy.array.mean() == pytest.approx(5.0 * np.sqrt(np.pi / 2), rel=0.02)


def test_noise_on_strong_signal_has_its_standard_deviation():
    noisy = acquire(Volume(np.full(GRID.shape, 500, np.float32), GRID), GRID, 0.05)
    assert noisy.array.std() == pytest.approx(5.0, rel=0.03)


def test_another_seed_is_another_noise_and_the_same_seed_the_same():
    volume = Volume(np.full(GRID.shape, 100, np.float32), GRID)
    first, same, other = (acquire(volume, GRID, 0.05, seed=seed).array for seed in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_a_moved_head_is_seen_moved():
    volume = Volume(np.random.default_rng(0).uniform(0, 200, GRID.shape).astype(np.float32), GRID)
    shift = np.eye(4)
    shift[2, 3] = 3.0
    assert np.allclose(acquire(volume, GRID, 0.0, volume_mm_from_onto_mm=shift).array[:-3], volume.array[3:])
