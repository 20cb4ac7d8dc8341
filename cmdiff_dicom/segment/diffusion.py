"""The forward process on nested region maps, and the algebra between x_0, noise and x_t.

Symbols: t in [0, T] the noise level; abar(t) the share of signal power; x_0 the clean maps in [-b, b] with b the signal
scale; eps standard normal noise; x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps.
Sources: Ho 2020 (DDPM), Nichol 2021 (cosine schedule), Chen 2022 (signal scale b). SNR(t) = b^2 abar / (1 - abar).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

OFFSET = 0.008
FLOOR = 1e-5


def alpha_bar(t: Tensor, timesteps: int, schedule: str = "cosine") -> Tensor:
    """abar(t), float64, of t in [0, T]: 1 at t = 0, falling monotonically, never below 1e-5."""
    share = t.double() / timesteps
    if schedule == "cosine":
        start = math.cos(OFFSET / (1 + OFFSET) * math.pi / 2) ** 2
        value = torch.cos((share + OFFSET) / (1 + OFFSET) * math.pi / 2) ** 2 / start
    else:
        beta = torch.linspace(1e-4, 0.02, timesteps, dtype=torch.float64)
        whole = torch.cat((torch.ones(1, dtype=torch.float64), torch.cumprod(1 - beta, 0)))
        value = whole.to(t.device)[t.round().long().clamp(0, timesteps)]
    return value.clamp(FLOOR, 1.0)


def clean_state(regions: Tensor, signal_scale: float) -> Tensor:
    """x_0 of region maps in [0, 1]: (n, 3, 2D, 2H, 2W) at 1 mm -> (n, 3, D, H, W) in [-b, b], soft occupancy at 2 mm."""
    return signal_scale * (2 * functional.avg_pool3d(regions, 2) - 1)


def add_noise(x_0: Tensor, eps: Tensor, abar: Tensor) -> Tensor:
    """x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps, with `abar` of shape (n,)."""
    share = abar.to(x_0.dtype)[:, None, None, None, None]
    return share.sqrt() * x_0 + (1 - share).sqrt() * eps


def noise_of(x_t: Tensor, x_0: Tensor, abar: Tensor) -> Tensor:
    """The eps that leads from `x_0` to `x_t`: (x_t - sqrt(abar) x_0) / sqrt(1 - abar)."""
    share = abar.to(x_0.dtype)[:, None, None, None, None]
    return (x_t - share.sqrt() * x_0) / (1 - share).sqrt()


def unit_variance(x_t: Tensor, abar: Tensor, signal_scale: float) -> Tensor:
    """What the network is shown: x_t / sqrt(b^2 abar + 1 - abar), about unit variance at every t."""
    share = abar.to(x_t.dtype)[:, None, None, None, None]
    return x_t / (signal_scale**2 * share + 1 - share).sqrt()
