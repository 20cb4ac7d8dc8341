"""What training minimises: overlap and likelihood of the three regions, with the denoiser trained as it is sampled.

Recycling: most x_t are made from the network's own first guess instead of from the truth, so that training meets what
sampling will meet and truth never enters x_t there. Source: Fu 2023 (MELBA), with x_0-prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cmdiff_dicom.segment.ddim import predicted_state
from cmdiff_dicom.segment.diffusion import add_noise, alpha_bar, clean_state, unit_variance
from cmdiff_dicom.segment.network import CMDiff, Denoiser, Guidance, depth_to_space
from cmdiff_dicom.segment.recipe import Recipe


@dataclass(frozen=True)
class Objective:
    """Shares and weights of the loss. `pure_noise` of the draws have t = T, others t/T ~ Beta(2, 1)."""

    likelihood: float = 2.0
    direct: float = 0.5
    deep: float = 0.25
    pure_noise: float = 0.25
    recycled: float = 0.7
    same_noise: float = 0.5


def region_loss(logits: Tensor, regions: Tensor, likelihood: float) -> Tensor:
    """`likelihood` x cross-entropy + (1 - soft Dice), mean over regions. Shapes: both (n, 3, d, h, w); regions in [0, 1]."""
    logits = logits.float()
    entropy = functional.binary_cross_entropy_with_logits(logits, regions)
    probability = torch.sigmoid(logits)
    axes = (2, 3, 4)
    overlap = (probability * regions).sum(axes)
    dice = (2 * overlap + 10) / (probability.sum(axes) + regions.sum(axes) + 10)
    return likelihood * entropy + (1 - dice).mean()


def training_loss(
    network: CMDiff,
    image: Tensor,
    available: Tensor,
    regions: Tensor,
    recipe: Recipe,
    objective: Objective,
    generator: torch.Generator,
) -> Tensor:
    """The weighted sum of the losses of every head. Shapes: `image` (n, 4, k, j, i), `regions` (n, 3, k, j, i)."""
    guidance = network.encoder(image, available)
    direct = region_loss(depth_to_space(guidance.direct), regions, objective.likelihood)
    deep = region_loss(guidance.deep, functional.avg_pool3d(regions, 4), objective.likelihood)
    if network.denoiser is None:
        return direct + objective.deep * deep
    shown, t = noisy_state(network.denoiser, guidance, regions, recipe, objective, generator)
    denoised = region_loss(depth_to_space(network.denoiser(shown, guidance, t)), regions, objective.likelihood)
    return denoised + objective.direct * direct + objective.deep * deep


def noisy_state(
    denoiser: Denoiser, guidance: Guidance, regions: Tensor, recipe: Recipe, objective: Objective, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A state as sampling meets it: x_t of unit variance (n, 3, D, H, W) and t/T (n,). Free of gradients."""
    with torch.no_grad():
        count, device = regions.shape[0], regions.device
        x_0 = clean_state(regions, recipe.signal_scale)
        first = torch.randn(x_0.shape, generator=generator).to(device)
        chance = torch.rand(4, generator=generator).tolist()
        if chance[0] < objective.pure_noise:
            return first, torch.ones(count, device=device)
        share = torch.full((count,), chance[1] ** 0.5, dtype=torch.float64, device=device)
        eps = first
        if chance[2] < objective.recycled:
            at_once = denoiser(first, guidance, torch.ones(count, device=device))
            x_0 = predicted_state(torch.sigmoid(at_once.float()), recipe.signal_scale)
            if chance[3] >= objective.same_noise:
                eps = torch.randn(x_0.shape, generator=generator).to(device)
        abar = alpha_bar(share * recipe.timesteps, recipe.timesteps, recipe.schedule)
        return unit_variance(add_noise(x_0, eps, abar), abar, recipe.signal_scale), share.float()
