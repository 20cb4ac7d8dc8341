"""From a standardised image to region probabilities: the encoder once, then S denoiser calls for E samples at a time."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from cmdiff_dicom.segment.ddim import sample
from cmdiff_dicom.segment.network import BLOCK_MM, CMDiff, depth_to_space
from cmdiff_dicom.segment.noise import draw_noise
from cmdiff_dicom.segment.recipe import Recipe


class Prediction(NamedTuple):
    """Region probabilities at 1 mm, float32.

    Shapes: `direct` (3, k, j, i), the encoder's own; `sampled` (E, S, 3, k, j, i), None without a denoiser.
    """

    direct: Tensor
    sampled: Tensor | None


def padding(shape: tuple[int, ...]) -> list[int]:
    """What `torch.nn.functional.pad` needs to bring (k, j, i) to its padded shape, at the far ends."""
    return [extra for side in reversed(shape) for extra in (0, -side % BLOCK_MM)]


def predict(
    network: CMDiff, image: Tensor, available: Tensor, recipe: Recipe, half: bool, all_steps: bool = False
) -> Prediction:
    """What the network says of one study.

    Shapes: `image` float32 (4, k, j, i), standardised; `available` bool (4,). `half` runs convolutions in bfloat16;
    `all_steps` keeps the probabilities of every step, else S is 1 in the result.
    """
    shape = image.shape[1:]
    room = padding(shape)
    device = image.device
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
        guidance = network.encoder(functional.pad(image, room)[None], available[None].float())
        grid = tuple(guidance.direct.shape[2:])
        denoiser = network.denoiser
        kept: list[Tensor] = []
        if denoiser is not None:

            def draw(step: int) -> Tensor:
                noise = [draw_noise(recipe.seed, number, step, grid) for number in range(recipe.samples)]
                return torch.stack(noise).to(device)

            for probability in sample(
                lambda x_t, t: denoiser(x_t, guidance, t),
                draw,
                recipe.steps,
                recipe.timesteps,
                recipe.schedule,
                recipe.signal_scale,
                recipe.eta,
                recipe.sampler,
            ):
                kept = [*kept, probability] if all_steps else [probability]
        d, h, w = shape
        direct = depth_to_space(torch.sigmoid(guidance.direct.float()))[0, :, :d, :h, :w]
        sampled = torch.stack([depth_to_space(packed)[:, :, :d, :h, :w] for packed in kept], dim=1) if kept else None
        return Prediction(direct, sampled)


def combine(prediction: Prediction, direct_weight: float) -> tuple[Tensor, Tensor]:
    """(probability, spread), both (3, k, j, i): w direct + (1 - w) mean of samples, and the samples' standard deviation."""
    if prediction.sampled is None:
        return prediction.direct, torch.zeros_like(prediction.direct)
    last = prediction.sampled[:, -1]
    return direct_weight * prediction.direct + (1 - direct_weight) * last.mean(0), last.std(0, correction=0)
