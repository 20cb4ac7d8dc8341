"""Dice on the tuning studies, cheaply and often, while training: no rules, no temperatures, threshold 0.5."""

from __future__ import annotations

import torch
from torch import Tensor

from cmdiff_dicom.research.answers import ask
from cmdiff_dicom.research.augment import TrainingStudy
from cmdiff_dicom.restore import regions_from_labels
from cmdiff_dicom.segment.inference import combine
from cmdiff_dicom.segment.network import CMDiff
from cmdiff_dicom.segment.recipe import Recipe


def tuning_dice(
    network: CMDiff, studies: list[TrainingStudy], recipe: Recipe, device: str, half: bool
) -> dict[str, tuple[float, ...]]:
    """Mean Dice of WT, TC, ET over whole studies: of the direct head, and of the samples with it averaged in."""
    found: dict[str, list[list[float]]] = {}
    for study in studies:
        truth = torch.from_numpy(regions_from_labels(study.labels)).to(device)
        prediction = ask(network, study, recipe, device, half)
        answers = {"direct": prediction.direct}
        if prediction.sampled is not None:
            answers["sampled"] = combine(prediction, recipe.direct_weight)[0]
        for kind, probability in answers.items():
            found.setdefault(kind, []).append(_dice(probability > 0.5, truth))
    return {kind: tuple(sum(column) / len(column) for column in zip(*rows, strict=True)) for kind, rows in found.items()}


def _dice(predicted: Tensor, truth: Tensor) -> list[float]:
    """By region. Shapes: both bool (3, k, j, i)."""
    both = (predicted & truth).sum((1, 2, 3)).tolist()
    total = (predicted.sum((1, 2, 3)) + truth.sum((1, 2, 3))).tolist()
    return [2 * b / t if t else 1.0 for b, t in zip(both, total, strict=True)]
