"""The sampler: from pure noise to region maps in S steps of a network that predicts x_0.

Symbols as in `diffusion`; tau_S = T > ... > tau_0 = 0 are the visited noise levels, u the next one after t; eta 0 is
deterministic, eta 1 ancestral. "Packed" probabilities are (n, 24, D, H, W): 3 regions times the 8 voxels of a 2 mm block.
Source: Song 2021 (DDIM), equation 12; "renoise" draws fresh noise at every step around the predicted x_0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from cmdiff_dicom.segment.diffusion import add_noise, alpha_bar, noise_of, unit_variance
from cmdiff_dicom.segment.network import block_mean

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x_t of unit variance (n, 3, D, H, W), t/T (n,)) -> packed logits of x_0."""
Draw = Callable[[int], Tensor]
"""Step number -> standard normal noise (n, 3, D, H, W); 0 is the start."""


def levels(steps: int, timesteps: int) -> list[float]:
    """tau_S ... tau_0: from T to 0 in equal strides."""
    return [timesteps * (1 - n / steps) for n in range(steps + 1)]


def predicted_state(packed_probability: Tensor, signal_scale: float) -> Tensor:
    """x_0 from packed probabilities: b (2 mean over the block - 1), never from raw logits."""
    return signal_scale * (2 * block_mean(packed_probability) - 1)


def move(x_t: Tensor, x_0: Tensor, abar_t: Tensor, abar_u: Tensor, eta: float, z: Tensor | None) -> Tensor:
    """x_u from x_t and the predicted x_0. Shapes: all (n, 3, D, H, W), abar (n,); `z` is needed where eta > 0."""
    sigma = eta * ((1 - abar_u) / (1 - abar_t)).sqrt() * (1 - abar_t / abar_u).clamp_min(0).sqrt()
    eps = noise_of(x_t, x_0, abar_t)
    along = (1 - abar_u - sigma**2).clamp_min(0).sqrt()
    wide = (slice(None), None, None, None, None)
    x_u = abar_u.sqrt().to(x_0.dtype)[wide] * x_0 + along.to(x_0.dtype)[wide] * eps
    if z is None or eta == 0:
        return x_u
    return x_u + sigma.to(x_0.dtype)[wide] * z


def sample(
    denoise: Denoise,
    draw: Draw,
    steps: int,
    timesteps: int,
    schedule: str,
    signal_scale: float,
    eta: float = 0.0,
    mode: str = "ddim",
) -> Iterator[Tensor]:
    """Packed probabilities (n, 24, D, H, W) after each of the `steps` steps; the last one is the sample."""
    x_t = draw(0)
    count = x_t.shape[0]
    path = levels(steps, timesteps)
    for step, (t, u) in enumerate(pairwise(path)):
        level_t, level_u = (torch.full((count,), level, dtype=torch.float64, device=x_t.device) for level in (t, u))
        abar_t, abar_u = alpha_bar(level_t, timesteps, schedule), alpha_bar(level_u, timesteps, schedule)
        shown = unit_variance(x_t, abar_t, signal_scale)
        probability = torch.sigmoid(denoise(shown, (level_t / timesteps).float()).float())
        yield probability
        if step + 1 == steps:
            return
        x_0 = predicted_state(probability, signal_scale)
        fresh = draw(step + 1) if mode == "renoise" or eta > 0 else None
        if mode == "renoise":
            assert fresh is not None
            x_t = add_noise(x_0, fresh, abar_u)
        else:
            x_t = move(x_t, x_0, abar_t, abar_u, eta, fresh)
