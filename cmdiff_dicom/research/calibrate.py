"""What is chosen after training, on the tuning studies alone: steps, samples, averaging, temperatures, smallest and most
doubtful parts, and how sure a finding of few sequences must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmdiff_dicom.research.answers import Probability, ask, averaged, brought_home, calibrated_field, mean_dice, scores
from cmdiff_dicom.research.augment import TrainingStudy
from cmdiff_dicom.research.certainty import certainty_wanted
from cmdiff_dicom.research.metrics import negative_log_likelihood
from cmdiff_dicom.restore import LabelRules, regions_from_labels
from cmdiff_dicom.segment.inference import Prediction
from cmdiff_dicom.segment.network import CMDiff
from cmdiff_dicom.segment.recipe import Recipe

STEPS_AND_SAMPLES = ((1, 1), (1, 2), (2, 1), (2, 2), (1, 4), (4, 1))
"""S and E to choose from, cheapest first. Four denoiser passes are within 2.5 times one step and one sample."""
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
TUMOUR_MM3 = (0.0, 300.0, 1000.0)
CONFIDENCES = (0.0, 0.65, 0.7, 0.75, 0.8, 0.85)
ENHANCING_MM3 = (0.0, 200.0, 500.0, 750.0)
ENHANCING_CONFIDENCES = (0.0, 0.65, 0.7, 0.75, 0.8)
VOXELS = 1_000_000
"""So many, evenly spread over the brains, are enough to fit a temperature to."""
CLOSE = 0.005


def calibrated(
    network: CMDiff, recipe: Recipe, studies: list[TrainingStudy], device: str, half: bool, tell: Callable[[str], None]
) -> Recipe:
    """The recipe with everything chosen on these studies. Cheapest choice within 0.005 of the best, each in its turn."""
    rules = LabelRules(recipe.threshold)

    def score(candidates: list[Probability], with_rules: LabelRules) -> float:
        return mean_dice(scores(p, study.labels, with_rules) for p, study in zip(candidates, studies, strict=True))

    def fields(said: list[Prediction], weight: float, count: int) -> list[Probability]:
        return [averaged(prediction, study, weight, count) for prediction, study in zip(said, studies, strict=True)]

    direct = network.denoiser is None
    options: dict[tuple[int, int], float] = {}
    kept: dict[int, list[Prediction]] = {}
    for steps, samples in ((1, 1),) if direct else STEPS_AND_SAMPLES:
        most = 1 if direct else max(e for s, e in STEPS_AND_SAMPLES if s == steps)
        if steps not in kept:
            asked = recipe.but(steps=steps, samples=most)
            kept[steps] = [brought_home(ask(network, study, asked, device, half), study) for study in studies]
        candidates = fields(kept[steps], recipe.direct_weight, samples)
        options[steps, samples] = score(candidates, rules)
        tell(f"S {steps} E {samples}: mean Dice {options[steps, samples]:.4f}")
    best = max(options.values())
    steps, samples = next(pair for pair, value in options.items() if value >= best - CLOSE)
    said = kept[steps]
    by_weight = {w: score(fields(said, w, samples), rules) for w in ((1.0,) if direct else WEIGHTS)}
    tell("averaging with the direct head: " + ", ".join(f"w {w:.2f} {value:.4f}" for w, value in by_weight.items()))
    top = max(by_weight.values())
    weight = min((w for w in by_weight if by_weight[w] >= top - CLOSE), key=lambda w: (abs(w - 0.5), w))
    final = fields(said, weight, samples)
    chosen = recipe.but(steps=steps, samples=samples, direct_weight=weight, temperatures=fit_temperatures(final, studies))
    served = [calibrated_field(field, chosen) for field in final]
    ruled = _with_rules(chosen, lambda with_rules: score(served, with_rules), tell)
    return ruled.but(min_main_confidence=certainty_wanted(network, ruled, studies, device, half, tell))


def _with_rules(recipe: Recipe, score: Callable[[LabelRules], float], tell: Callable[[str], None]) -> Recipe:
    """The recipe with the rules for parts. Of what is as good as the best within 0.001: the largest smallest tumour,
    the confidence one step below the strictest, since fewer false parts are worth having, and the mildest rules for the rim."""
    rules = LabelRules(recipe.threshold)
    plain = score(rules)

    def as_good(field: str, values: tuple[float, ...]) -> list[float]:
        by_value = {value: score(replace(rules, **{field: value})) for value in values}
        tell(f"{field}: " + ", ".join(f"{value:g} {dice:.4f}" for value, dice in by_value.items()))
        best = max(by_value.values())
        return [value for value, dice in by_value.items() if dice >= best - 0.001]

    rules = replace(rules, min_tumour_mm3=as_good("min_tumour_mm3", TUMOUR_MM3)[-1])
    harmless = as_good("min_confidence", CONFIDENCES)
    rules = replace(rules, min_confidence=harmless[-2:][0])
    rules = replace(rules, min_enhancing_mm3=as_good("min_enhancing_mm3", ENHANCING_MM3)[0])
    rules = replace(rules, min_enhancing_confidence=as_good("min_enhancing_confidence", ENHANCING_CONFIDENCES)[0])
    tell(
        f"chosen: S {recipe.steps}, E {recipe.samples}, w {recipe.direct_weight}, temperatures {recipe.temperatures}, {rules}; "
        f"mean Dice {plain:.4f} without rules, {score(rules):.4f} with them"
    )
    return recipe.but(**asdict(rules))


def fit_temperatures(candidates: list[Probability], studies: list[TrainingStudy]) -> tuple[float, float, float]:
    """The temperature of each region that makes its truth likeliest over the brains' voxels; never worse than 1."""
    found = []
    stride = max(1, sum(int(study.brain.sum()) for study in studies) // VOXELS)
    for region in range(3):
        p = np.concatenate([field[region][study.brain] for field, study in zip(candidates, studies, strict=True)])[::stride]
        truth = np.concatenate([regions_from_labels(study.labels)[region][study.brain] for study in studies])[::stride]
        logit = torch.logit(torch.from_numpy(p).double(), eps=1e-6)
        found.append(min(_temperatures(), key=lambda t: _loss(logit, truth, t)))
    return found[0], found[1], found[2]


def _temperatures() -> list[float]:
    return [1.0] + [round(float(value), 2) for value in np.geomspace(0.5, 4.0, 40)]


def _loss(logit: Tensor, truth: NDArray[np.bool_], temperature: float) -> float:
    return negative_log_likelihood(torch.sigmoid(logit / temperature).numpy(), truth)
