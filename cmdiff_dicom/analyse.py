"""One study's analysis, the same for serving and for evaluation: prepare -> segment -> restore. Knows no DICOM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from time import monotonic

import numpy as np

from cmdiff_dicom.errors import TooDoubtful
from cmdiff_dicom.geometry import Volume, crop_grid, frozen
from cmdiff_dicom.prepare import prepare_study
from cmdiff_dicom.records import Analysis, LabelMap, PreparedStudy, Region, SegmentationResult, Sequence
from cmdiff_dicom.restore import LabelRules, labels_from_probability, main_confidence, restore_probability, told_box
from cmdiff_dicom.segment import Recipe, Segmenter

ENOUGH_SEQUENCES = 3
"""With so many, a study's main tumour is told however doubtful; with fewer it has to be sure."""


def analyse(volumes: Mapping[Sequence, Volume], reference: Sequence, segmenter: Segmenter) -> Analysis:
    """Labels on the reference's own grid, and everything that led to them. A study without tumour gives an empty map.

    Raises: Refused, by name, for a study that cannot be done; TooDoubtful, one of them, where it can and had better not be
    told; NotNow where the device is full.
    """
    started = monotonic()
    prepared = prepare_study(volumes, reference)
    ready = monotonic()
    result = segmenter.segment(prepared)
    said = monotonic()
    label_map = restore_labels(prepared, result, segmenter.recipe)
    if any(label_map.volume_ml.values()) and is_doubtful(result, segmenter.recipe):
        there = " and ".join(s.value for s in Sequence if result.available[s.channel])
        raise TooDoubtful(
            f"segment: from {there} alone it cannot be told whether what was found is a tumour (its mean probability is "
            f"below {segmenter.recipe.min_main_confidence:.2f}); send the study with T1, T1c, T2 and FLAIR"
        )
    done = monotonic()
    return Analysis(prepared, result, label_map, {"prepare": ready - started, "segment": said - ready, "restore": done - said})


def restore_labels(prepared: PreparedStudy, result: SegmentationResult, recipe: Recipe) -> LabelMap:
    """The result's labels on the scanner's grid, by the recipe's rules; the whole tumour alone where T1c said nothing.

    Probabilities are restored only where some reach the threshold: a grid of many fine voxels would fill the memory.
    """
    grid = prepared.scanner_grid
    box = told_box(result, grid, recipe.threshold)
    probability = restore_probability(result, crop_grid(grid, box))
    core_known = bool(result.available[Sequence.T1C.channel])
    part, volume_ml = labels_from_probability(probability, grid.voxel_ml, rules_of(recipe), core_known)
    labels = np.zeros(grid.shape, dtype=np.uint8)
    labels[box] = part
    frozen(labels)
    return LabelMap(labels, grid, volume_ml, result.model)


def is_doubtful(result: SegmentationResult, recipe: Recipe) -> bool:
    """True where few sequences leave the main tumour less sure than the recipe asks. Such findings are mostly wrong."""
    if np.count_nonzero(result.available) >= ENOUGH_SEQUENCES:
        return False
    return main_confidence(result.probability[Region.WT.value], recipe.threshold) < recipe.min_main_confidence


def rules_of(recipe: Recipe) -> LabelRules:
    """The recipe's rules for small and doubtful parts, under the same names."""
    return LabelRules(**{rule.name: getattr(recipe, rule.name) for rule in fields(LabelRules)})
