"""How sure a finding must be where one or two sequences are all there is: chosen on the tuning studies, seen with so few."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

from cmdiff_dicom.analyse import ENOUGH_SEQUENCES
from cmdiff_dicom.records import Region, Sequence
from cmdiff_dicom.research.answers import ask, averaged, brought_home, calibrated_field, scores
from cmdiff_dicom.research.augment import TrainingStudy
from cmdiff_dicom.restore import LabelRules, main_confidence
from cmdiff_dicom.segment.network import CMDiff
from cmdiff_dicom.segment.recipe import Recipe

FEW = [
    chosen
    for size in range(1, ENOUGH_SEQUENCES)
    for chosen in combinations(Sequence, size)
    if Sequence.T2F in chosen or Sequence.T2W in chosen
]
"""All sets that are analysed though they are few."""
GOOD_DICE = 0.6
"""A whole tumour of a lower Dice would better not have been told."""
LIMITS = (0.0, 0.7, 0.75, 0.8, 0.85, 0.9)


def certainty_wanted(
    network: CMDiff, recipe: Recipe, studies: list[TrainingStudy], device: str, half: bool, tell: Callable[[str], None]
) -> float:
    """The limit that parts good from bad findings best: the largest sum of what is rightly told and rightly withheld."""
    findings = [finding(network, recipe, study, device, half, chosen) for study in studies for chosen in FEW]
    limit = best_limit(findings)
    told = [dice for confidence, dice in findings if confidence >= limit]
    bad = sum(dice < GOOD_DICE for _, dice in findings)
    tell(
        f"one or two sequences: {bad} of {len(findings)} findings have a Dice below {GOOD_DICE}; with a mean probability of "
        f"{limit:g} or more {len(told)} are told, {sum(dice < GOOD_DICE for dice in told)} of them bad"
    )
    return limit


def finding(
    network: CMDiff, recipe: Recipe, study: TrainingStudy, device: str, half: bool, sequences: tuple[Sequence, ...]
) -> tuple[float, float]:
    """The main tumour's mean probability and the whole tumour's Dice, with these sequences alone."""
    said = brought_home(ask(network, study, recipe, device, half, sequences=sequences), study)
    probability = calibrated_field(averaged(said, study, recipe.direct_weight, recipe.samples), recipe)
    dice, _, _ = scores(probability, study.labels, LabelRules(recipe.threshold))
    return main_confidence(probability[Region.WT.value], recipe.threshold), dice


def best_limit(findings: list[tuple[float, float]]) -> float:
    """The lowest of the limits that part best; 0 where no finding is bad or none is good."""
    good = [confidence for confidence, dice in findings if dice >= GOOD_DICE]
    bad = [confidence for confidence, dice in findings if dice < GOOD_DICE]
    if not good or not bad:
        return 0.0

    def rightly(limit: float) -> float:
        return sum(c >= limit for c in good) / len(good) + sum(c < limit for c in bad) / len(bad)

    return max(LIMITS, key=rightly)
