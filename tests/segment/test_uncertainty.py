"""Uncertainty of samples, by identities."""

import pytest
import torch

from cmdiff_dicom.segment import uncertainty


def sampled(samples: int, steps: int) -> torch.Tensor:
    return torch.rand(samples, steps, 3, 6, 7, 8, generator=torch.Generator().manual_seed(0))


def test_one_sample_has_no_seed_variance_and_one_step_no_step_variance():
    assert float(uncertainty.seed_variance(sampled(1, 3)).max()) == 0
    assert float(uncertainty.step_variance(sampled(3, 1)).max()) == 0
    assert float(uncertainty.seed_variance(sampled(3, 1)).max()) > 0 < float(uncertainty.step_variance(sampled(1, 3)).max())


def test_mutual_information_is_never_negative_and_is_nothing_where_samples_agree():
    assert float(uncertainty.mutual_information(sampled(4, 2)).min()) >= -1e-7
    same = sampled(1, 2).repeat(4, 1, 1, 1, 1, 1)
    assert float(uncertainty.mutual_information(same).abs().max()) < 1e-9


def test_entropy_is_largest_at_one_half():
    assert float(uncertainty.entropy(torch.tensor(0.5))) == pytest.approx(0.6931, abs=1e-4)
    assert float(uncertainty.entropy(torch.tensor([0.0, 1.0])).max()) < 1e-5


@pytest.mark.parametrize("count", (2, 4, 8))
def test_posterior_samples_have_the_known_dispersion_and_equal_ones_have_one(count):
    generator = torch.Generator().manual_seed(1)
    p = torch.rand(3, 40, 40, 40, generator=generator)
    truth = (torch.rand(p.shape, generator=generator) < p).float()
    drawn = torch.stack([(torch.rand(p.shape, generator=generator) < p).float() for _ in range(count)])[:, None]
    assert uncertainty.dispersion(drawn, truth) == pytest.approx(2 / (1 + 1 / count), rel=0.03)
    assert uncertainty.dispersion(drawn[:1].repeat(count, 1, 1, 1, 1, 1), truth) == pytest.approx(1)


def test_volumes_that_agree_do_not_vary():
    assert uncertainty.volume_variation(sampled(1, 1)).tolist() == [0, 0, 0]
    assert bool((uncertainty.volume_variation(sampled(4, 1)) > 0).all())
    assert uncertainty.volume_variation(sampled(4, 1) * 0).tolist() == [0, 0, 0]
