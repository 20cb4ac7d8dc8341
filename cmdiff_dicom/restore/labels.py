"""Region probabilities on the scanner's grid become labels and volumes.

Nested regions: WT contains TC contains ET. Labels inside: NCR = TC without ET, ED = WT without TC, ET. Where T1c is
missing, core and enhancement cannot be told, and the whole tumour is one label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.records import Label, Region

LABELS_WITHOUT_T1C = (Label.WT,)
LABELS = (Label.NCR, Label.ED, Label.ET)


@dataclass(frozen=True)
class LabelRules:
    """Where a region begins, and what is too small or too doubtful to be told; volumes in mm3.

    `min_confidence` is asked of every connected tumour but the main one: the mean of its whole-tumour probability.
    Doubtful parts are mostly healthy tissue that looks like edema; the threshold alone would let a network that is
    unsure everywhere tell them. `min_enhancing_confidence` is asked of an enhancing tumour that is less than
    `min_enhancing_share` of its core, as a whole: the mean of its own probability. A large core without enhancement draws
    scattered, half-believed voxels of it.
    """

    threshold: float = 0.5
    min_tumour_mm3: float = 0.0
    min_confidence: float = 0.0
    min_enhancing_mm3: float = 0.0
    min_enhancing_confidence: float = 0.0
    min_enhancing_share: float = 0.15


def nest(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """p_TC <= p_WT and p_ET <= p_TC; what is nested already stays as it is. Shapes: (3, k, j, i) in and out."""
    return np.asarray(np.minimum.accumulate(probability, axis=0))


def labels_from_probability(
    probability: NDArray[np.float32], voxel_ml: float, rules: LabelRules, core_known: bool = True
) -> tuple[NDArray[np.uint8], Mapping[Label, float]]:
    """Labels and their volumes in ml. Shapes: `probability` float32 (3, k, j, i); labels uint8 (k, j, i).

    Connected tumours (26 neighbours) under `min_tumour_mm3` or `min_confidence` go, with all that is in them; enhancing
    tumour that is too little or too doubtful in all becomes core that does not enhance. `core_known` is False where T1c is
    missing.
    """
    nested = nest(probability)
    regions = nested >= rules.threshold
    smallest_voxels = rules.min_tumour_mm3 / (1000 * voxel_ml)
    tumour = kept_parts(regions[Region.WT.value], nested[Region.WT.value], smallest_voxels, rules.min_confidence)
    core, enhancing = (regions[region.value] & tumour for region in (Region.TC, Region.ET))
    if enhancing.any():
        is_too_little = 1000 * voxel_ml * enhancing.sum() < rules.min_enhancing_mm3
        is_scattered = enhancing.sum() < rules.min_enhancing_share * core.sum()
        is_doubtful = is_scattered and nested[Region.ET.value][enhancing].mean() < rules.min_enhancing_confidence
        if is_too_little or is_doubtful:
            enhancing = np.zeros_like(enhancing)
    labels = labels_from_regions(np.stack((tumour, core, enhancing))) if core_known else whole_tumour_label(tumour)
    told = LABELS if core_known else LABELS_WITHOUT_T1C
    return labels, {label: float((labels == label).sum()) * voxel_ml for label in told}


def main_confidence(probability: NDArray[np.float32], threshold: float) -> float:
    """The mean whole-tumour probability of the main tumour: connected (26 neighbours), with the largest sum.

    Shapes: float32 (k, j, i). 0 where nothing reaches the threshold.
    """
    _, sizes, sums = _weighed_parts(probability >= threshold, probability)
    main = np.argmax(sums)
    return float(sums[main] / sizes[main])


def labels_from_regions(regions: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Nested regions (3, k, j, i) -> labels (k, j, i); exact inverse of `regions_from_labels`."""
    tumour, core, enhancing = regions
    labels = np.zeros(tumour.shape, dtype=np.uint8)
    labels[tumour] = Label.ED
    labels[core] = Label.NCR
    labels[enhancing] = Label.ET
    return labels


def regions_from_labels(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Labels (k, j, i) -> nested regions WT, TC, ET (3, k, j, i)."""
    core = (labels == Label.NCR) | (labels == Label.ET)
    return np.stack((labels > 0, core, labels == Label.ET))


def whole_tumour_label(tumour: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """One label, WT, where there is tumour."""
    return np.where(tumour, np.uint8(Label.WT), np.uint8(0))


def kept_parts(
    mask: NDArray[np.bool_], probability: NDArray[np.float32], smallest_voxels: float, min_confidence: float
) -> NDArray[np.bool_]:
    """The mask without its 26-connected parts of fewer than `smallest_voxels`, and without doubtful ones beside the main part.

    Doubtful: of a mean probability below `min_confidence`. Main: the part with the largest sum of probability.
    """
    if (smallest_voxels <= 1 and min_confidence <= 0) or not mask.any():
        return mask
    parts, sizes, sums = _weighed_parts(mask, probability)
    sure = sums >= min_confidence * sizes
    sure[np.argmax(sums)] = True  # a study's main finding is told however doubtful: silence would be the worse error
    keep = (sizes >= smallest_voxels) & sure
    keep[0] = False
    return np.asarray(keep[parts])


def _weighed_parts(
    mask: NDArray[np.bool_], probability: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]]:
    """The mask's 26-connected parts: each voxel's part, each part's voxels and sum of probability. Part 0 is none."""
    from scipy import ndimage

    parts, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())
    sums = np.asarray(np.bincount(parts.ravel(), weights=probability.ravel()), dtype=np.float64)
    sums[0] = 0
    return parts, sizes, sums
