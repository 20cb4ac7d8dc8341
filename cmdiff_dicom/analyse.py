"""One study's analysis, the same for serving and for evaluation: prepare -> segment -> restore. Knows no DICOM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from time import monotonic

from cmdiff_dicom.geometry import Volume, frozen
from cmdiff_dicom.prepare import prepare_study
from cmdiff_dicom.records import Analysis, LabelMap, PreparedStudy, SegmentationResult, Sequence
from cmdiff_dicom.restore import LabelRules, labels_from_probability, restore_probability
from cmdiff_dicom.segment import Recipe, Segmenter


def analyse(volumes: Mapping[Sequence, Volume], reference: Sequence, segmenter: Segmenter) -> Analysis:
    """Labels on the reference's own grid, and everything that led to them. A study without tumour gives an empty map.

    Raises: Refused, by name, for a study that cannot be done; NotNow where the device is full.
    """
    started = monotonic()
    prepared = prepare_study(volumes, reference)
    ready = monotonic()
    result = segmenter.segment(prepared)
    said = monotonic()
    label_map = restore_labels(prepared, result, segmenter.recipe)
    done = monotonic()
    return Analysis(prepared, result, label_map, {"prepare": ready - started, "segment": said - ready, "restore": done - said})


def restore_labels(prepared: PreparedStudy, result: SegmentationResult, recipe: Recipe) -> LabelMap:
    """The result's labels on the scanner's grid, by the recipe's rules; the whole tumour alone where T1c said nothing."""
    grid = prepared.scanner_grid
    probability = restore_probability(result, grid)
    core_known = bool(result.available[Sequence.T1C.channel])
    labels, volume_ml = labels_from_probability(probability, grid.voxel_ml, rules_of(recipe), core_known)
    frozen(labels)
    return LabelMap(labels, grid, volume_ml, result.model)


def rules_of(recipe: Recipe) -> LabelRules:
    """The recipe's rules for small and doubtful parts, under the same names."""
    return LabelRules(**{rule.name: getattr(recipe, rule.name) for rule in fields(LabelRules)})
