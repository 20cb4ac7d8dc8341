"""Figures of merit, per study, in numpy alone; conventions are those of the BraTS challenges where they have one.

Masks are bool (k, j, i) on a grid with spacing in mm. An empty truth met by an empty answer is right (Dice 1, distance 0);
one of both empty is a miss (Dice 0, distance 373.13 mm, the diagonal of the challenge's image).
Distances are between the voxels on the masks' surfaces (those with a face outside); HD95 is the larger of the two directed
95th percentiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
MISS_MM = float(np.sqrt(240**2 + 240**2 + 155**2))


def dice(predicted: Mask, truth: Mask) -> float:
    """2 TP / (2 TP + FP + FN)."""
    total = int(predicted.sum()) + int(truth.sum())
    return 2 * int((predicted & truth).sum()) / total if total else 1.0


def iou(predicted: Mask, truth: Mask) -> float:
    """TP / (TP + FP + FN) = D / (2 - D)."""
    union = int((predicted | truth).sum())
    return int((predicted & truth).sum()) / union if union else 1.0


class SurfaceFigures(NamedTuple):
    hd95_mm: float
    nsd_1mm: float
    nsd_2mm: float


def surface_figures(predicted: Mask, truth: Mask, spacing_mm: Sequence[float] = (1.0, 1.0, 1.0)) -> SurfaceFigures:
    """HD95, and the share of both surfaces within 1 and 2 mm of the other (normalised surface Dice)."""
    if not predicted.any() and not truth.any():
        return SurfaceFigures(0.0, 1.0, 1.0)
    if not predicted.any() or not truth.any():
        return SurfaceFigures(MISS_MM, 0.0, 0.0)
    box = _box(predicted | truth)
    ours, theirs = surface(predicted[box]), surface(truth[box])
    from_ours = ndimage.distance_transform_edt(~theirs, sampling=spacing_mm)[ours]
    from_theirs = ndimage.distance_transform_edt(~ours, sampling=spacing_mm)[theirs]
    total = from_ours.size + from_theirs.size
    near = [float((from_ours <= reach).sum() + (from_theirs <= reach).sum()) / total for reach in (1.0, 2.0)]
    return SurfaceFigures(float(max(np.percentile(from_ours, 95), np.percentile(from_theirs, 95))), near[0], near[1])


def surface(mask: Mask) -> Mask:
    """Voxels of the mask with a face outside it; the edge of the array counts as outside."""
    return np.asarray(mask & ~ndimage.binary_erosion(mask))


def _box(mask: Mask) -> tuple[slice, ...]:
    box: tuple[slice, ...] = ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box)


# --- calibration ------------------------------------------------------------------------------


class Reliability(NamedTuple):
    """Bins of predicted probability. Arrays of one value a bin: voxels in it, mean probability, observed share of truth."""

    voxels: NDArray[np.float64]
    confidence: NDArray[np.float64]
    frequency: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """Expected calibration error: |confidence - frequency|, weighted by voxels."""
        return float((self.voxels * np.abs(self.confidence - self.frequency)).sum() / max(1.0, self.voxels.sum()))

    @property
    def ace(self) -> float:
        """The same with every non-empty bin alike."""
        filled = self.voxels > 0
        return float(np.abs(self.confidence - self.frequency)[filled].mean()) if filled.any() else 0.0


def reliability(probability: NDArray[np.floating], truth: Mask, bins: int = 15) -> Reliability:
    """Shapes: both (n,), the voxels that count."""
    place = np.minimum((probability * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins).astype(np.float64)
    some = np.maximum(count, 1)
    confidence = np.bincount(place, probability, minlength=bins) / some
    return Reliability(count, confidence, np.bincount(place, truth, minlength=bins) / some)


def pooled(parts: Iterable[Reliability]) -> Reliability:
    """Several studies' bins as one."""
    listed = list(parts)
    count = np.sum([part.voxels for part in listed], axis=0)
    some = np.maximum(count, 1)
    confidence = np.sum([part.voxels * part.confidence for part in listed], axis=0) / some
    return Reliability(count, confidence, np.sum([part.voxels * part.frequency for part in listed], axis=0) / some)


def brier(probability: NDArray[np.floating], truth: Mask) -> float:
    return float(np.mean((probability - truth) ** 2)) if truth.size else 0.0


def negative_log_likelihood(probability: NDArray[np.floating], truth: Mask) -> float:
    kept = np.clip(np.where(truth, probability, 1 - probability), 1e-6, 1.0)
    return float(-np.log(kept).mean()) if truth.size else 0.0


def entropy(probability: NDArray[np.floating]) -> NDArray[np.float64]:
    """Of a yes-no probability, in nats."""
    p = np.clip(np.asarray(probability, dtype=np.float64), 1e-7, 1 - 1e-7)
    return np.asarray(-(p * np.log(p) + (1 - p) * np.log(1 - p)))


def auroc(score: NDArray[np.floating], positive: Mask) -> float:
    """Probability that a positive outscores a negative, ties half; NaN where one kind is missing. Shapes: both (n,)."""
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return float((ranks[place[positive]].sum() - positives * (positives + 1) / 2) / (positives * negatives))


# --- lesions ----------------------------------------------------------------------------------


def lesion_recall(predicted: Mask, truth: Mask, voxel_mm3: float = 1.0) -> list[tuple[float, bool]]:
    """(volume in mm3, found) of each 26-connected part of the truth; found where the answer overlaps it at all."""
    parts, count = ndimage.label(truth, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    hit = np.bincount(parts[predicted].ravel(), minlength=count + 1) > 0
    return [(float(sizes[n]) * voxel_mm3, bool(hit[n])) for n in range(1, count + 1)]


# --- over studies -----------------------------------------------------------------------------


def bootstrap(values: Sequence[float], level: float = 0.95, draws: int = 10000, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of the mean over studies; NaN values are left out."""
    known = np.array([value for value in values if np.isfinite(value)])
    if not known.size:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = known[rng.integers(known.size, size=(draws, known.size))].mean(axis=1)
    tail = 50 * (1 - level)
    return float(np.percentile(means, tail)), float(np.percentile(means, 100 - tail))


def verdict(*intervals: tuple[float, float], margin: float = 0.005) -> str:
    """USEFUL where every paired interval lies above 0, ORNAMENTAL where all lie within +-margin, else UNDECIDED."""
    if all(low > 0 for low, _ in intervals):
        return "USEFUL"
    return "ORNAMENTAL" if all(-margin <= low and high <= margin for low, high in intervals) else "UNDECIDED"
