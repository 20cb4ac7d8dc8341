"""Intensities become comparable: z-scores within the brain, per sequence; what is missing becomes 0 and says so."""

from __future__ import annotations

import torch
from torch import Tensor

from cmdiff_dicom.errors import BrainNotFound, NoUsableSequence, UnreadablePixels
from cmdiff_dicom.records import Sequence

PERCENT = (0.5, 99.5)
LIMIT = 5.0


def standardise(image: Tensor, available: Tensor, brain: Tensor) -> tuple[Tensor, Tensor]:
    """Z-scores within the brain, clipped to the middle 99 % and then to +-5; 0 outside and for missing sequences.

    A sequence that is constant within the brain says nothing and counts as missing.
    Shapes: `image` float32 (4, k, j, i); `available` bool (4,); `brain` bool (k, j, i); result float32 (4, k, j, i), bool (4,).
    Raises: UnreadablePixels for NaN or infinite voxels; BrainNotFound for an empty mask; NoUsableSequence if nothing is left.
    """
    if not bool(brain.any()):
        raise BrainNotFound("the brain mask is empty; nothing can be standardised")
    result = torch.zeros_like(image)
    present = available.clone()
    for channel, sequence in enumerate(Sequence):
        if not bool(available[channel]):
            continue
        inside = image[channel][brain]
        if not bool(torch.isfinite(inside).all()):
            raise UnreadablePixels(f"{sequence.value} holds NaN or infinite values within the brain")
        if float(inside.max()) <= float(inside.min()):
            present[channel] = False
            continue
        low, high = _percentiles(inside)
        inside = inside.clamp(low, high)
        deviation = inside.std()
        if not float(deviation) > 0:
            present[channel] = False
            continue
        result[channel][brain] = ((inside - inside.mean()) / deviation).clamp(-LIMIT, LIMIT)
    if not bool(present.any()):
        raise NoUsableSequence("every sequence is missing or constant within the brain")
    return result, present


def _percentiles(values: Tensor) -> tuple[float, float]:
    count = values.numel()
    low, high = (values.kthvalue(1 + round(percent / 100 * (count - 1))).values for percent in PERCENT)
    return float(low), float(high)
