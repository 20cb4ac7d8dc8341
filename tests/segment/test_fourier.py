"""The k-space filter, by identities."""

import math

import pytest
import torch

from cmdiff_dicom.segment.fourier import filter_volume, fixed_gain, radii

SHAPE = (24, 30, 28)
KINDS = ("adaptive", "butterworth", "gaussian", "ideal")


def noise(seed: int = 0) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def ac_energy(volume: torch.Tensor) -> float:
    return float(((volume.double() - volume.double().mean()) ** 2).sum())


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_is_preserved(kind):
    volume = noise() + 100
    assert float(filter_volume(volume, kind, 0.5).double().mean()) == pytest.approx(float(volume.double().mean()), rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_energy_about_the_mean_never_increases(kind):
    assert ac_energy(filter_volume(noise(), kind, 0.5)) <= ac_energy(noise()) * (1 + 1e-6)


@pytest.mark.parametrize("kind", ("butterworth", "gaussian", "ideal"))
def test_a_cutoff_of_one_is_a_bypass_to_the_bit(kind):
    volume = noise()
    assert torch.equal(filter_volume(volume, kind, 1.0), volume)


@pytest.mark.parametrize("kind", ("butterworth", "gaussian", "ideal"))
def test_the_fixed_filters_are_linear(kind):
    a, b = noise(1), noise(2)
    together = filter_volume(2 * a - 3 * b, kind, 0.5)
    apart = 2 * filter_volume(a, kind, 0.5) - 3 * filter_volume(b, kind, 0.5)
    assert torch.allclose(together, apart, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_circular_shift_commutes_with_the_filter(kind):
    shifted = filter_volume(noise().roll((3, 5, 7), (0, 1, 2)), kind, 0.5)
    assert torch.allclose(shifted, filter_volume(noise(), kind, 0.5).roll((3, 5, 7), (0, 1, 2)), atol=1e-5)


def test_only_the_ideal_filter_is_idempotent():
    for kind in ("butterworth", "gaussian", "ideal"):
        once = filter_volume(noise(), kind, 0.5)
        assert torch.allclose(filter_volume(once, kind, 0.5), once, atol=1e-5) == (kind == "ideal")


@pytest.mark.parametrize("kind", ("butterworth", "gaussian"))
def test_a_sinusoid_is_scaled_by_the_gain_at_its_frequency(kind):
    cycles, side = 5, SHAPE[1]
    wave = torch.sin(2 * math.pi * cycles * torch.arange(side) / side)[None, :, None].expand(SHAPE).contiguous()
    gain = float(fixed_gain(torch.tensor(cycles / side / 0.5), kind, 0.4))
    assert torch.allclose(filter_volume(wave, kind, 0.4), gain * wave, atol=1e-5)


@pytest.mark.parametrize("kind", ("butterworth", "gaussian", "ideal"))
def test_white_noise_shrinks_by_the_root_mean_square_gain(kind):
    shape = (64, 64, 64)
    volume = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    axes = torch.meshgrid(*(torch.fft.fftfreq(side) for side in shape), indexing="ij")
    gain = fixed_gain(sum((axis / 0.5) ** 2 for axis in axes).sqrt(), kind, 0.5)
    assert float(filter_volume(volume, kind, 0.5).std()) == pytest.approx(float((gain**2).mean().sqrt()), rel=0.02)


def test_radii_reach_the_root_of_three_in_the_corner():
    assert float(radii((16, 16, 16)).max()) == pytest.approx(math.sqrt(3))


def test_the_adaptive_filter_quiets_noise_more_than_it_blurs_a_smooth_object():
    grid = torch.stack(torch.meshgrid(*(torch.linspace(-1, 1, side) for side in (48, 48, 48)), indexing="ij"))
    smooth = 100 * torch.exp(-(grid**2).sum(0) / 0.2)
    noisy = smooth + 5 * torch.randn(smooth.shape, generator=torch.Generator().manual_seed(4))
    filtered = filter_volume(noisy, "adaptive", 0.6)
    assert float((filtered - smooth).std()) < 0.7 * float((noisy - smooth).std())
    assert float((filter_volume(smooth, "adaptive", 0.6) - smooth).abs().max()) < 0.5


def test_the_filter_runs_on_a_constant_volume():
    volume = torch.full(SHAPE, 7.0)
    assert torch.allclose(filter_volume(volume, "adaptive", 0.6), volume, atol=1e-4)
