"""What is chosen after training, on the tuning studies alone: steps, samples, averaging, temperatures, smallest volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmdiff_dicom.research.augment import TrainingStudy
from cmdiff_dicom.research.metrics import dice, negative_log_likelihood
from cmdiff_dicom.restore import LabelRules, labels_from_probability, regions_from_labels
from cmdiff_dicom.segment.inference import Prediction, combine, predict
from cmdiff_dicom.segment.network import CMDiff
from cmdiff_dicom.segment.recipe import Recipe

STEPS_AND_SAMPLES = ((1, 2), (2, 2), (1, 4), (4, 1))
"""S and E to choose from, cheapest first. Four denoiser passes are within 2.5 times one step and one sample."""
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
TUMOUR_MM3 = (0.0, 100.0, 300.0, 600.0, 1000.0)
ENHANCING_MM3 = (0.0, 50.0, 100.0, 200.0, 350.0, 500.0, 750.0)
STRIDE = 16
"""Every 16th voxel of the brains is enough to fit a temperature to."""
CLOSE = 0.005
Probability = NDArray[np.float32]


def scores(probability: Probability, labels: NDArray[np.uint8], rules: LabelRules) -> tuple[float, float, float]:
    """Dice of WT, TC, ET after the rules, on the 1 mm grid. Shapes: (3, k, j, i) and (k, j, i)."""
    answer, _ = labels_from_probability(probability, 0.001, rules)
    predicted, truth = regions_from_labels(answer), regions_from_labels(labels)
    wt, tc, et = (dice(ours, theirs) for ours, theirs in zip(predicted, truth, strict=True))
    return wt, tc, et


def mean_dice(rows: Iterable[tuple[float, ...]]) -> float:
    """Mean over studies and regions."""
    return float(np.mean([np.mean(row) for row in rows]))


def predictions(network: CMDiff, studies: list[TrainingStudy], recipe: Recipe, device: str, half: bool) -> list[Prediction]:
    """What the network says of each study, on the CPU."""
    everything = torch.ones(4, dtype=torch.bool, device=device)
    said = []
    for study in studies:
        image = torch.from_numpy(study.image).float().to(device)
        prediction = predict(network, image, everything, recipe, half)
        sampled = None if prediction.sampled is None else prediction.sampled.cpu()
        said.append(Prediction(prediction.direct.cpu() * torch.from_numpy(study.brain), sampled))
    return said


def first_samples(prediction: Prediction, count: int) -> Prediction:
    """The prediction as if only `count` samples had been drawn: noise is keyed by the sample's number."""
    return prediction._replace(sampled=None if prediction.sampled is None else prediction.sampled[:count])


def probabilities(said: list[Prediction], studies: list[TrainingStudy], weight: float, count: int) -> list[Probability]:
    """Averaged probabilities within the brain."""
    return [
        (combine(first_samples(prediction, count), weight)[0] * torch.from_numpy(study.brain)).numpy()
        for prediction, study in zip(said, studies, strict=True)
    ]


def calibrated(
    network: CMDiff, recipe: Recipe, studies: list[TrainingStudy], device: str, half: bool, tell: Callable[[str], None]
) -> Recipe:
    """The recipe with everything chosen on these studies. Cheapest choice within 0.005 of the best, each in its turn."""
    rules = LabelRules(recipe.threshold)

    def score(candidates: list[Probability], with_rules: LabelRules) -> float:
        return mean_dice(scores(p, study.labels, with_rules) for p, study in zip(candidates, studies, strict=True))

    direct = network.denoiser is None
    options: dict[tuple[int, int], float] = {}
    kept: dict[int, list[Prediction]] = {}
    for steps, samples in ((1, 1),) if direct else STEPS_AND_SAMPLES:
        most = max(e for s, e in (*STEPS_AND_SAMPLES, (1, 1)) if s == steps)
        if steps not in kept:
            kept[steps] = predictions(network, studies, recipe.but(steps=steps, samples=most), device, half)
        candidates = probabilities(kept[steps], studies, recipe.direct_weight, samples)
        options[steps, samples] = score(candidates, rules)
        tell(f"S {steps} E {samples}: mean Dice {options[steps, samples]:.4f}")
    best = max(options.values())
    steps, samples = next(pair for pair, value in options.items() if value >= best - CLOSE)
    said = kept[steps]
    by_weight = {w: score(probabilities(said, studies, w, samples), rules) for w in ((1.0,) if direct else WEIGHTS)}
    tell("averaging with the direct head: " + ", ".join(f"w {w:.2f} {value:.4f}" for w, value in by_weight.items()))
    top = max(by_weight.values())
    weight = min((w for w in by_weight if by_weight[w] >= top - CLOSE), key=lambda w: (abs(w - 0.5), w))
    final = probabilities(said, studies, weight, samples)
    smallest = {mm3: score(final, LabelRules(recipe.threshold, mm3)) for mm3 in TUMOUR_MM3}
    tumour = max(mm3 for mm3 in smallest if smallest[mm3] >= max(smallest.values()) - 0.001)
    least = {mm3: score(final, LabelRules(recipe.threshold, tumour, mm3)) for mm3 in ENHANCING_MM3}
    enhancing = min(mm3 for mm3 in least if least[mm3] >= max(least.values()) - 0.001)
    temperatures = fit_temperatures(final, studies)
    tell(
        f"chosen: S {steps}, E {samples}, w {weight}, tumour {tumour:.0f} mm3 ({smallest[0.0]:.4f} -> {smallest[tumour]:.4f}), "
        f"enhancing {enhancing:.0f} mm3 ({least[0.0]:.4f} -> {least[enhancing]:.4f}), temperatures {temperatures}"
    )
    return recipe.but(
        steps=steps,
        samples=samples,
        direct_weight=weight,
        temperatures=temperatures,
        min_tumour_mm3=tumour,
        min_enhancing_mm3=enhancing,
    )


def fit_temperatures(candidates: list[Probability], studies: list[TrainingStudy]) -> tuple[float, float, float]:
    """The temperature of each region that makes its truth likeliest over the brains' voxels; never worse than 1."""
    found = []
    for region in range(3):
        p = np.concatenate([field[region][study.brain][::STRIDE] for field, study in zip(candidates, studies, strict=True)])
        truth = np.concatenate([regions_from_labels(study.labels)[region][study.brain][::STRIDE] for study in studies])
        logit = torch.logit(torch.from_numpy(p).double(), eps=1e-6)
        found.append(min(_temperatures(), key=lambda t: _loss(logit, truth, t)))
    return found[0], found[1], found[2]


def _temperatures() -> list[float]:
    return [1.0] + [round(float(value), 2) for value in np.geomspace(0.5, 4.0, 40)]


def _loss(logit: Tensor, truth: NDArray[np.bool_], temperature: float) -> float:
    return negative_log_likelihood(torch.sigmoid(logit / temperature).numpy(), truth)
