"""The door of the room: a prepared study in, probabilities out, bad input named."""

import numpy as np
import pytest
import torch

from cmdiff_dicom.errors import BrainNotFound, NoUsableSequence, SettingsFault, UnreadablePixels
from cmdiff_dicom.geometry import Geometry
from cmdiff_dicom.records import PreparedStudy
from cmdiff_dicom.segment import Segmenter, load_segmenter
from cmdiff_dicom.segment.segmenter import calibrate
from cmdiff_dicom.segment.standardise import LIMIT, standardise
from cmdiff_dicom.segment.weights import build_network
from tests.support.small_weights import SMALL

SHAPE = (40, 44, 42)


def segmenter(**changes) -> Segmenter:
    torch.manual_seed(0)
    recipe = SMALL.but(**changes)
    return Segmenter(build_network(recipe), recipe, "0" * 64)


def prepared(**changes) -> PreparedStudy:
    rng = np.random.default_rng(0)
    brain = np.zeros(SHAPE, dtype=bool)
    brain[5:35, 6:40, 4:38] = True
    image = (rng.gamma(4.0, 50.0, size=(4, *SHAPE)) * brain).astype(np.float32)
    grid = Geometry(SHAPE, np.eye(4))
    parts = {"image": image, "available": np.ones(4, dtype=bool), "brain": brain, "grid": grid, "scanner_grid": grid}
    return PreparedStudy(**(parts | changes))


def test_the_result_lies_on_the_model_grid_within_the_brain_between_0_and_1():
    result = segmenter().segment(prepared())
    assert result.probability.shape == result.spread.shape == (3, *SHAPE)
    assert result.probability.dtype == np.float32 and not result.probability.flags.writeable
    assert result.probability.min() >= 0 and result.probability.max() <= 1
    assert not result.probability[:, ~prepared().brain].any() and result.spread.any()
    assert (result.sampling.steps, result.sampling.samples) == (SMALL.steps, SMALL.samples)


def test_the_same_study_gives_the_same_bits_again():
    one = segmenter()
    assert np.array_equal(one.segment(prepared()).probability, one.segment(prepared()).probability)


def test_a_study_moved_within_its_grid_gives_the_same_answer():
    still, moved = prepared(), prepared()
    shifted = prepared(image=np.roll(moved.image, (3, -2, 2), (1, 2, 3)), brain=np.roll(moved.brain, (3, -2, 2), (0, 1, 2)))
    one = segmenter()
    answer = np.roll(one.segment(still).probability, (3, -2, 2), (1, 2, 3))
    assert np.array_equal(one.segment(shifted).probability, answer)


def test_intensities_in_other_units_change_nothing_that_matters():
    one, scaled = segmenter(), prepared(image=prepared().image * 8)
    assert np.allclose(one.segment(scaled).probability, one.segment(prepared()).probability, atol=1e-4)


def test_a_missing_sequence_and_a_constant_one_are_told_alike():
    image = prepared().image.copy()
    image[1] = 77.0
    constant = segmenter().segment(prepared(image=image))
    missing = segmenter().segment(prepared(available=np.array([True, False, True, True])))
    assert constant.available.tolist() == missing.available.tolist() == [True, False, True, True]
    assert np.array_equal(constant.probability, missing.probability)


@pytest.mark.parametrize("odd", (np.nan, np.inf, -np.inf))
@pytest.mark.parametrize("kind", ("none", "adaptive"))
def test_voxels_that_are_no_numbers_are_a_named_refusal(odd, kind):
    image = prepared().image.copy()
    image[2, 20, 20, 20] = odd
    with pytest.raises(UnreadablePixels, match="T2"):
        segmenter(filter=kind).segment(prepared(image=image))


def test_no_brain_no_channel_and_no_contrast_are_named_refusals():
    with pytest.raises(BrainNotFound):
        segmenter().segment(prepared(brain=np.zeros(SHAPE, dtype=bool)))
    with pytest.raises(NoUsableSequence):
        segmenter().segment(prepared(image=np.full((4, *SHAPE), 5.0, dtype=np.float32)))
    with pytest.raises(UnreadablePixels, match="channels"):
        segmenter().segment(prepared(image=prepared().image[:3]))


@pytest.mark.parametrize("device", ["cuda", "cuda:99"])
def test_a_device_that_is_not_there_is_a_fault_of_the_settings(device):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a device")
    with pytest.raises(SettingsFault, match="cuda"):
        load_segmenter(None, device)


def test_standardised_values_have_mean_0_and_deviation_1_within_the_brain_and_are_0_outside():
    study = prepared()
    values, present = standardise(torch.tensor(study.image), torch.tensor(study.available), torch.tensor(study.brain))
    inside = values[0][torch.tensor(study.brain)]
    assert float(inside.mean()) == pytest.approx(0, abs=1e-3) and float(inside.std()) == pytest.approx(1, abs=1e-3)
    assert float(values.abs().max()) <= LIMIT and not bool(values[:, ~torch.tensor(study.brain)].any())
    assert bool(present.all())


def test_temperature_is_monotone_and_leaves_one_half_where_it_is():
    p = torch.linspace(0.001, 0.999, 999).reshape(1, 1, 1, -1).expand(3, 1, 1, -1)
    softened = calibrate(p, (2.0, 0.5, 1.0))
    assert bool((softened.diff(dim=-1) > 0).all())
    assert torch.allclose(softened[..., 499], torch.tensor(0.5), atol=1e-6)
    assert torch.allclose(softened[2], p[2], atol=1e-5)


def test_the_filter_changes_the_answer_only_where_it_is_on():
    plain, filtered = (segmenter(filter=kind).segment(prepared()).probability for kind in ("none", "adaptive"))
    assert not np.array_equal(plain, filtered)
