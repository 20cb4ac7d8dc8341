"""Very small, untrained networks, and weights of one whose recipe calls nearly every voxel of the brain enhancing tumour.

What that one says is nonsense; that it always says something makes the trip of a study quick and its end certain.
"""

from __future__ import annotations

from pathlib import Path

import torch

from cmdiff_dicom.segment import Recipe
from cmdiff_dicom.segment.weights import build_network, save_weights

SMALL = Recipe(widths=(8, 8, 16, 16), denoiser_widths=(8, 8, 16), condition=4, precision="float32")
"""Of a network that answers quickly, in one precision on every machine."""
EVERYTHING = Recipe(version="0", widths=(8, 8, 8, 8), condition=8, denoiser_widths=(8, 8, 8), steps=1, samples=1, threshold=1e-6)
NOTHING = EVERYTHING.but(threshold=1.0)


def write_small_weights(path: Path, recipe: Recipe = EVERYTHING) -> Path:
    torch.manual_seed(1)
    save_weights(path, build_network(recipe), recipe)
    return path
