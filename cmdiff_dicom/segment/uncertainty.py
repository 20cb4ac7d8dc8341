"""How sure the samples are: between samples, along the steps, and as a distribution.

Symbols: p_es the probability of sample e (of E) after step s (of S), shapes (E, S, 3, k, j, i) as `Prediction.sampled`;
H(p) the entropy in nats of a yes-no probability. For exact posterior samples the mean squared error of one sample is
2 / (1 + 1/E) times that of the mean of E; a ratio of 1 says that the samples do not differ.
"""

from __future__ import annotations

import torch
from torch import Tensor


def seed_variance(sampled: Tensor) -> Tensor:
    """Var_e p_eS, (3, k, j, i): what the noise decides. 0 for one sample."""
    return sampled[:, -1].var(dim=0, correction=0)


def step_variance(sampled: Tensor) -> Tensor:
    """Mean_e Var_s p_es, (3, k, j, i): what the steps still changed. 0 for one step."""
    return sampled.var(dim=1, correction=0).mean(dim=0)


def entropy(probability: Tensor) -> Tensor:
    """H(p), in the shape of `probability`."""
    p = probability.double().clamp(1e-7, 1 - 1e-7)
    return torch.as_tensor(-(p * p.log() + (1 - p) * (1 - p).log()))


def mutual_information(sampled: Tensor) -> Tensor:
    """H(mean_e p) - mean_e H(p), (3, k, j, i): the part of the entropy that more samples would not explain away; >= 0."""
    last = sampled[:, -1]
    return entropy(last.mean(dim=0)) - entropy(last).mean(dim=0)


def dispersion(sampled: Tensor, regions: Tensor) -> float:
    """Mean squared error of single samples over that of their mean. Shapes: `regions` (3, k, j, i) in {0, 1}."""
    last = sampled[:, -1]
    single = ((last - regions) ** 2).mean()
    return float(single / ((last.mean(dim=0) - regions) ** 2).mean().clamp_min(1e-12))


def volume_variation(sampled: Tensor, threshold: float = 0.5) -> Tensor:
    """Coefficient of variation of each region's volume over samples, (3,); 0 where no sample holds the region."""
    volumes = (sampled[:, -1] >= threshold).sum(dim=(2, 3, 4)).double()
    mean = volumes.mean(dim=0)
    return torch.where(mean > 0, volumes.std(dim=0, correction=0) / mean.clamp_min(1), torch.zeros_like(mean))
