"""What a network answers of standardised studies, and how right it is: shared by tuning, calibration and ablation."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from cmdiff_dicom.records import Sequence
from cmdiff_dicom.research.augment import TrainingStudy
from cmdiff_dicom.research.metrics import dice
from cmdiff_dicom.restore import LabelRules, labels_from_probability, regions_from_labels
from cmdiff_dicom.segment.inference import Prediction, combine, predict
from cmdiff_dicom.segment.network import CMDiff
from cmdiff_dicom.segment.recipe import Recipe
from cmdiff_dicom.segment.segmenter import calibrate

Probability = NDArray[np.float32]
Scores = tuple[float, float, float]
"""Dice of WT, TC, ET."""


def ask(
    network: CMDiff,
    study: TrainingStudy,
    recipe: Recipe,
    device: str,
    half: bool,
    all_steps: bool = False,
    sequences: Iterable[Sequence] = Sequence,
) -> Prediction:
    """What the network says of one study with these of its sequences, on the device; after its last step or after each."""
    available = torch.tensor([sequence in set(sequences) for sequence in Sequence], device=device)
    image = torch.from_numpy(study.image).float().to(device) * available[:, None, None, None]
    return predict(network, image, available, recipe, half, all_steps)


def brought_home(prediction: Prediction, study: TrainingStudy) -> Prediction:
    """The prediction in main memory, the direct head's within the brain."""
    sampled = None if prediction.sampled is None else prediction.sampled.cpu()
    return Prediction(prediction.direct.cpu() * torch.from_numpy(study.brain), sampled)


def averaged(prediction: Prediction, study: TrainingStudy, weight: float, count: int) -> Probability:
    """`weight` x direct head + (1 - weight) x mean of the first `count` samples, within the brain.

    Noise is keyed by the sample's number, so the first samples of many are the samples of a smaller E.
    """
    sampled = None if prediction.sampled is None else prediction.sampled[:count]
    probability, _ = combine(prediction._replace(sampled=sampled), weight)
    return (probability * torch.from_numpy(study.brain)).numpy()


def calibrated_field(probability: Probability, recipe: Recipe) -> Probability:
    """The field with the recipe's temperatures."""
    return np.asarray(calibrate(torch.from_numpy(probability), recipe.temperatures).numpy())


def scores(probability: Probability, labels: NDArray[np.uint8], rules: LabelRules) -> Scores:
    """Dice of WT, TC, ET after the rules, on the 1 mm grid. Shapes: (3, k, j, i) and (k, j, i)."""
    answer, _ = labels_from_probability(probability, 0.001, rules)
    predicted, truth = regions_from_labels(answer), regions_from_labels(labels)
    wt, tc, et = (dice(ours, theirs) for ours, theirs in zip(predicted, truth, strict=True))
    return wt, tc, et


def mean_dice(rows: Iterable[tuple[float, ...]]) -> float:
    """Mean over studies and regions."""
    return float(np.mean([np.mean(row) for row in rows]))
