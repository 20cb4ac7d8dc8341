"""Forward process and sampler, by identities."""

import pytest
import torch

from cmdiff_dicom.segment.ddim import levels, move, predicted_state, sample
from cmdiff_dicom.segment.diffusion import add_noise, alpha_bar, clean_state, noise_of, unit_variance
from cmdiff_dicom.segment.network import block_mean, depth_to_space, space_to_depth
from cmdiff_dicom.segment.noise import draw_noise

T, B = 1000, 0.5


def at(*t: float) -> torch.Tensor:
    return alpha_bar(torch.tensor(t, dtype=torch.float64), T)


def truth(seed: int = 0) -> torch.Tensor:
    return (torch.rand((1, 3, 8, 8, 8), generator=torch.Generator().manual_seed(seed)) > 0.6).float()


@pytest.mark.parametrize("schedule", ("cosine", "linear"))
def test_the_signal_share_starts_at_one_and_falls_to_almost_nothing(schedule):
    share = alpha_bar(torch.arange(T + 1), T, schedule)
    assert float(share[0]) == pytest.approx(1.0)
    assert bool((share.diff() <= 0).all()) and bool((share >= 1e-5).all())
    assert B * float(share[-1]) ** 0.5 < 4e-3


def test_the_noised_state_has_the_stated_mean_and_variance():
    generator = torch.Generator().manual_seed(1)
    x_0 = torch.full((100_000, 1, 1, 1, 1), -B)
    share = at(500.0).expand(100_000)
    x_t = add_noise(x_0, torch.randn(x_0.shape, generator=generator), share)
    assert float(x_t.mean()) == pytest.approx(-B * float(share[0]) ** 0.5, abs=0.013)
    assert float(x_t.var()) == pytest.approx(1 - float(share[0]), rel=0.02)


def test_noise_is_recovered_from_the_noised_state():
    x_0, eps = clean_state(truth(), B), torch.randn(1, 3, 4, 4, 4)
    assert torch.allclose(noise_of(add_noise(x_0, eps, at(700.0)), x_0, at(700.0)), eps, atol=1e-5)


def test_the_clean_state_is_the_block_mean_of_the_folded_truth():
    packed = space_to_depth(truth())
    assert torch.equal(depth_to_space(packed), truth())
    assert torch.allclose(predicted_state(packed, B), clean_state(truth(), B))
    assert torch.allclose(block_mean(packed), torch.nn.functional.avg_pool3d(truth(), 2))


def test_what_the_network_sees_has_about_unit_variance_at_every_level():
    x_0 = B * torch.sign(torch.randn(1, 3, 24, 24, 24, generator=torch.Generator().manual_seed(2)))
    for t in (1.0, 300.0, 600.0, 1000.0):
        eps = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(3))
        assert float(unit_variance(add_noise(x_0, eps, at(t)), at(t), B).std()) == pytest.approx(1, abs=0.05)


def run(denoise, steps, seed=0, eta=0.0, mode="ddim", count=1, side=4):
    def draw(step):
        return torch.stack([draw_noise(seed, number, step, (side,) * 3) for number in range(count)])

    return list(sample(denoise, draw, steps, T, "cosine", B, eta, mode))


@pytest.mark.parametrize("steps", (1, 2, 4, 20))
def test_a_perfect_denoiser_gives_the_truth_in_any_number_of_steps(steps):
    logits = torch.logit(space_to_depth(truth()), eps=1e-7)
    assert torch.allclose(depth_to_space(run(lambda x, t: logits, steps)[-1]), truth(), atol=1e-6)


def test_one_step_is_the_denoiser_applied_to_pure_noise():
    def denoise(x, t):
        assert float(t[0]) == 1.0
        return x.repeat(1, 8, 1, 1, 1)

    start = unit_variance(draw_noise(0, 0, 0, (4, 4, 4))[None], at(1000.0), B)
    assert torch.equal(run(denoise, 1)[0], torch.sigmoid(start.repeat(1, 8, 1, 1, 1)))


@pytest.mark.parametrize("eta", (0.0, 0.5, 1.0))
def test_with_the_true_state_the_path_keeps_the_marginal_variance(eta):
    generator = torch.Generator().manual_seed(5)
    x_0 = B * torch.sign(torch.randn((1, 3, 64, 64, 64), generator=generator))
    x_t = add_noise(x_0, torch.randn(x_0.shape, generator=generator), at(1000.0))
    for t, u in ((1000.0, 750.0), (750.0, 500.0), (500.0, 250.0)):
        x_t = move(x_t, x_0, at(t), at(u), eta, torch.randn(x_0.shape, generator=generator))
        expected = float(at(u)) * float(x_0.var()) + 1 - float(at(u))
        assert float(x_t.var()) == pytest.approx(expected, rel=0.006)


def test_levels_run_from_all_noise_to_none():
    assert levels(4, T) == [1000, 750, 500, 250, 0]


def test_noise_is_keyed_by_seed_sample_and_step_and_by_nothing_else():
    first = draw_noise(7, 1, 2, (4, 4, 4))
    draw_noise(7, 0, 0, (4, 4, 4))
    assert torch.equal(first, draw_noise(7, 1, 2, (4, 4, 4)))
    others = [draw_noise(8, 1, 2, (4, 4, 4)), draw_noise(7, 2, 2, (4, 4, 4)), draw_noise(7, 1, 3, (4, 4, 4))]
    assert not any(torch.equal(first, other) for other in others)


def test_samples_do_not_depend_on_how_many_run_together():
    def denoise(x, t):
        return x.repeat(1, 8, 1, 1, 1) * t[:, None, None, None, None]

    three, two = run(denoise, 3, count=3)[-1], run(denoise, 3, count=2)[-1]
    assert torch.allclose(three[:2], two, atol=1e-6)


def test_renoising_draws_new_noise_at_every_step():
    seen = []

    def denoise(x, t):
        seen.append(x)
        return torch.zeros(1, 24, 4, 4, 4)

    run(denoise, 3, mode="renoise")
    assert len(seen) == 3 and not torch.allclose(seen[1], seen[0], atol=0.1)
