"""The sampler's noise: the same for a study wherever and however often it is analysed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def draw_noise(seed: int, sample: int, step: int, shape: tuple[int, int, int]) -> Tensor:
    """Standard normal (3, *shape), float32, from a counter-based generator keyed by recipe seed, sample and step.

    Drawn on the CPU whatever the device, so neither the device nor the number of samples at a time changes it.
    """
    key = np.array([seed & (2**64 - 1), (sample << 32) | step], dtype=np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key))
    return torch.from_numpy(generator.standard_normal((3, *shape), dtype=np.float32))
