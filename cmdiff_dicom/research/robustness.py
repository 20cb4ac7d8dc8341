"""What happens to Dice when sequences are missing or noise is added: the same prepared study, worsened, segmented again."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.records import Analysis, Label, PreparedStudy, Region, Sequence
from cmdiff_dicom.research.brats import LabelledStudy
from cmdiff_dicom.research.metrics import dice

if TYPE_CHECKING:
    from cmdiff_dicom.segment import Recipe, Segmenter

NOISE = (0.02, 0.05, 0.10, 0.20)
"""Standard deviation of Rician noise as a share of the brain's mean intensity, sequence by sequence."""


def robustness(study: LabelledStudy, analysis: Analysis, segmenter: Segmenter) -> dict[str, dict[str, float | None]]:
    """Dice of WT, TC, ET by condition; TC and ET are None where T1c is missing, since they are not told then.

    `told` is 0 where the answer is too doubtful to be told and serving would refuse the study, else 1. Dice is of all answers.
    """
    prepared = analysis.prepared
    found = {}
    for size in range(4, 0, -1):
        for chosen in combinations(range(4), size):
            kept = np.isin(np.arange(4), chosen) & prepared.available
            name = "+".join(list(Sequence)[channel].value for channel in chosen)
            found[name] = _dice(study, replace(prepared, available=kept), segmenter, segmenter.recipe)
    for level in NOISE:
        noisy = replace(prepared, image=rician(prepared, level))
        for kind in ("none", "adaptive"):
            recipe = segmenter.recipe.but(filter=kind)
            found[f"noise {level:.0%}, filter {kind}"] = _dice(study, noisy, segmenter.with_recipe(recipe), recipe)
    recipe = segmenter.recipe.but(filter="adaptive")
    found["no noise, filter adaptive"] = _dice(study, prepared, segmenter.with_recipe(recipe), recipe)
    return found


def rician(prepared: PreparedStudy, level: float, seed: int = 0) -> NDArray[np.float32]:
    """sqrt((v + n1)^2 + n2^2) within the brain. Shapes: (4, k, j, i)."""
    rng = np.random.default_rng(seed)
    image = np.array(prepared.image)
    for channel in range(4):
        inside = image[channel][prepared.brain]
        deviation = level * float(inside.mean())
        real, imaginary = rng.normal(0, deviation, size=(2, inside.size))
        image[channel][prepared.brain] = np.sqrt((inside + real) ** 2 + imaginary**2)
    return image


def _dice(study: LabelledStudy, prepared: PreparedStudy, segmenter: Segmenter, recipe: Recipe) -> dict[str, float | None]:
    from cmdiff_dicom.analyse import is_doubtful, restore_labels
    from cmdiff_dicom.restore import regions_from_labels

    result = segmenter.segment(prepared)
    label_map = restore_labels(prepared, result, recipe)
    told = float(not is_doubtful(result, recipe))
    truth = regions_from_labels(study.truth)
    whole = dice(label_map.labels > 0, truth[Region.WT.value])
    if Label.WT in label_map.volume_ml:
        return {"WT": whole, "TC": None, "ET": None, "told": told}
    predicted = regions_from_labels(label_map.labels)
    core = {r.name: dice(predicted[r.value], truth[r.value]) for r in (Region.TC, Region.ET)}
    return {"WT": whole, **core, "told": told}


def summarise_robustness(studies: list[dict[str, dict[str, float | None]]]) -> dict[str, Any]:
    """Mean Dice by condition, the share of studies that are told and their mean Dice, and the table as lines of text."""
    means: dict[str, dict[str, float | None]] = {}
    for condition in studies[0]:
        means[condition] = {}
        for region in Region:
            known = [value for study in studies if (value := study[condition][region.name]) is not None]
            means[condition][region.name] = float(np.mean(known)) if known else None
        told = [value for study in studies if study[condition]["told"] and (value := study[condition]["WT"]) is not None]
        means[condition] |= {"told": len(told) / len(studies), "WT of told": float(np.mean(told)) if told else None}
    table = [
        f"{condition:32s} " + "  ".join(f"{name} {'n/a' if value is None else f'{value:.3f}'}" for name, value in row.items())
        for condition, row in means.items()
    ]
    return {"dice": means, "table": table}
