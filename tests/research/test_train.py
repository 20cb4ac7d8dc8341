"""Training: repeatable, resumable as if it had not been cut, and honest about its curves."""

import csv

import numpy as np
import pytest
import torch
from scipy import ndimage

from cmdiff_dicom.errors import SettingsFault
from cmdiff_dicom.research.augment import Augmenter, without_enhancement
from cmdiff_dicom.research.heads import synthetic_studies
from cmdiff_dicom.research.objective import Objective, noisy_state, region_loss
from cmdiff_dicom.research.plan import Plan
from cmdiff_dicom.research.studies import load_studies
from cmdiff_dicom.research.training import Training
from cmdiff_dicom.segment.weights import build_network, load_weights, save_weights
from tests.support.commands import called
from tests.support.small_weights import SMALL

PLAN = Plan(steps=6, side=32, wide_side=32, synthetic=0, warm_up=2, checkpoint_s=0.0, evaluate_s=1e9, half=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write):
    place = tmp_path_factory.mktemp("studies")
    for n in range(8):
        write(place, f"BraTS2021_{n:05d}")
    return place


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Killed(Exception):
    pass


class KilledAt(Training):
    """A training that dies before the given step."""

    dies_at = 3

    def one_step(self) -> float:
        if self.step == self.dies_at:
            raise Killed
        return super().one_step()


def weights_of(training: Training) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in training.learner.average.items()}


def test_a_killed_run_goes_on_as_if_it_had_not_been_cut(folder, tmp_path):
    whole = Training(folder, tmp_path / "a", PLAN, SMALL, "cpu", None)
    (tmp_path / "a").mkdir()
    whole.run()
    (tmp_path / "b").mkdir()
    with pytest.raises(Killed):
        KilledAt(folder, tmp_path / "b", PLAN, SMALL, "cpu", None).run()
    rest = Training(folder, tmp_path / "b", PLAN, SMALL, "cpu", None)
    assert rest.step == 3
    rest.run()
    assert all(torch.equal(value, weights_of(whole)[name]) for name, value in weights_of(rest).items())


def test_a_checkpoint_of_another_seed_is_refused(folder, tmp_path):
    with pytest.raises(Killed):
        KilledAt(folder, tmp_path, PLAN, SMALL, "cpu", None).run()
    with pytest.raises(SettingsFault, match="new folder"):
        Training(folder, tmp_path, Plan(seed=2, side=32, wide_side=32, synthetic=0), SMALL, "cpu", None)


def test_a_finished_run_leaves_weights_with_recipe_and_split_and_curves(folder, tmp_path):
    Training(folder, tmp_path, PLAN, SMALL, "cpu", None).run()
    _, recipe, _ = load_weights(tmp_path / "weights.safetensors")
    assert recipe.training["reached"] == PLAN.steps and set(recipe.split) == {"train", "tune", "test"}
    rows = list(csv.DictReader((tmp_path / "curves.csv").open()))
    assert int(rows[-1]["step"]) == PLAN.steps and 0 <= float(rows[-1]["sampled_WT"]) <= 1
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_test_studies_are_never_trained_on(folder, tmp_path):
    training = Training(folder, tmp_path, PLAN, SMALL, "cpu", None)
    assert {study.name for study in training.train} == set(training.recipe.split["train"])
    assert not {study.name for study in training.train + training.tune} & set(training.recipe.split["test"])


def test_fine_tuning_starts_from_the_given_weights(folder, tmp_path):
    network = build_network(SMALL)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    training = Training(folder, tmp_path, PLAN, SMALL, "cpu", network)
    assert all(torch.equal(value, before[name]) for name, value in training.learner.average.items())


def test_a_control_fine_tuned_from_the_full_model_keeps_its_encoder_and_carries_a_version_of_its_own(folder, tmp_path):
    network = build_network(SMALL)
    save_weights(tmp_path / "full.safetensors", network, SMALL.but(version="2026.1"))
    where = ("--data", folder, "--out", tmp_path / "run", "--from", tmp_path / "full.safetensors")
    assert called("train", *where, "--control", "--steps", 1, "--side", 32, "--wide-side", 32, "--name", "mine") == 0
    control, recipe, _ = load_weights(tmp_path / "run" / "weights.safetensors")
    assert control.denoiser is None and (recipe.network, recipe.version) == ("direct-3d", "mine")
    assert set(control.state_dict()) == {name for name in network.state_dict() if name.startswith("encoder.")}


def test_synthetic_heads_lie_where_brains_of_the_challenge_lie_and_every_second_has_no_tumour():
    ill, healthy = synthetic_studies(2)

    assert not healthy.labels.any() and set(np.unique(ill.labels)) == {0, 1, 2, 3}
    for head in (healthy, ill):
        centre = np.array(head.corner) + np.array(head.labels.shape) / 2
        np.testing.assert_allclose(centre, (72, 129, 119), atol=8)  # mean of the tuning studies
        np.testing.assert_allclose(head.image.astype(np.float32)[:, head.brain].mean(1), 0, atol=0.05)
        assert not head.image[:, ~head.brain].any()


def test_the_rate_warms_up_and_ends_near_nothing():
    plan = Plan(steps=1000, rate=1.0, warm_up=100)
    assert plan.rate_at(0) == pytest.approx(0.01) and plan.rate_at(1000) == pytest.approx(0.01)
    assert max(plan.rate_at(n) for n in range(1000)) > 0.95


# --- samples and loss -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def studies(folder):
    return list(load_studies(folder, lambda line: None).values())


def test_a_sample_depends_on_its_seed_and_on_nothing_before_it(studies):
    augmenter = Augmenter(32)
    first = augmenter.sample(studies[0], studies[1], (1, 2))
    augmenter.sample(studies[2], studies[3], (5, 6))
    again = augmenter.sample(studies[0], studies[1], (1, 2))
    assert torch.equal(first.image, again.image) and torch.equal(first.regions, again.regions)


def test_samples_are_finite_nested_and_keep_missing_sequences_empty(studies):
    augmenter, dropped = Augmenter(32), 0
    for n in range(40):
        sample = augmenter.sample(studies[n % 4], studies[(n + 1) % 4], (7, n))
        assert sample.image.shape == (4, 32, 32, 32) and bool(torch.isfinite(sample.image).all())
        assert float(sample.image.abs().max()) <= 5
        assert bool((sample.regions[1] <= sample.regions[0]).all() and (sample.regions[2] <= sample.regions[1]).all())
        missing = sample.available == 0
        dropped += int(missing.any())
        assert not bool(sample.image[missing].any()) and bool(sample.available.any())
    assert 3 < dropped < 30


def test_plain_samples_are_crops_of_the_study(studies):
    sample = Augmenter(32, plain=True).sample(studies[0], studies[1], (1,))
    assert sample.available.tolist() == [1, 1, 1, 1]
    assert float(sample.regions[0].sum()) == (studies[0].labels > 0).sum()


def test_loss_is_least_for_the_truth_and_kind_to_empty_regions():
    truth = (torch.rand(1, 3, 8, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.7).float()
    assert float(region_loss((truth - 0.5) * 60, truth, 2.0)) < 1e-3
    assert float(region_loss((0.5 - truth) * 60, truth, 2.0)) > 1
    assert float(region_loss(torch.full_like(truth, -30.0), truth * 0, 2.0)) < 1e-3


@pytest.mark.parametrize("seed", range(4))
def test_recycled_states_never_see_the_truth(seed):
    torch.manual_seed(0)
    network = build_network(SMALL).eval()
    with torch.no_grad():
        guidance = network.encoder(torch.randn(1, 4, 32, 32, 32), torch.ones(1, 4))
    objective = Objective(pure_noise=0.0, recycled=1.0)
    shown = []
    for fill in (0.0, 1.0):
        regions = torch.full((1, 3, 32, 32, 32), fill)
        generator = torch.Generator().manual_seed(seed)
        shown.append(noisy_state(network.denoiser, guidance, regions, SMALL, objective, generator)[0])
    assert torch.equal(*shown)


def test_states_made_from_the_truth_do_see_it():
    torch.manual_seed(0)
    network = build_network(SMALL).eval()
    with torch.no_grad():
        guidance = network.encoder(torch.randn(1, 4, 32, 32, 32), torch.ones(1, 4))
    states = []
    for fill in (0.0, 1.0):
        generator = torch.Generator().manual_seed(1)
        regions = torch.full((1, 3, 32, 32, 32), fill)
        states.append(
            noisy_state(network.denoiser, guidance, regions, SMALL, Objective(pure_noise=0.0, recycled=0.0), generator)[0]
        )
    assert not np.allclose(states[0], states[1])


def test_without_enhancement_a_core_stays_and_only_its_t1c_changes(studies):
    image, labels = studies[0].image.astype(np.float32), studies[0].labels.copy()
    before, core = image.copy(), (labels == 1) | (labels == 3)
    assert (labels == 3).any()
    without_enhancement(image, labels, studies[0].brain)
    assert not (labels == 3).any()
    assert np.array_equal(labels == 1, core)
    assert np.array_equal(image[[0, 2, 3]], before[[0, 2, 3]])
    far = ndimage.distance_transform_edt(~core) > 8
    assert np.array_equal(image[1][far], before[1][far])
    assert not np.array_equal(image[1][core], before[1][core])
