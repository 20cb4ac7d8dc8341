"""What `evaluate` measures: every figure of every study, their means and intervals.

Answers come from `analyse`, the function that serves patients, and are compared on the study's own grid.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.errors import Refused
from cmdiff_dicom.records import Analysis, Label, Region, Sequence
from cmdiff_dicom.research import metrics
from cmdiff_dicom.research.brats import LabelledStudy, UnusableStudy, read_study
from cmdiff_dicom.research.console import tell

if TYPE_CHECKING:
    from cmdiff_dicom.segment import Segmenter

NEAR_MM = 10.0
PARTS = ("NCR", "ED")
REFERENCE = Sequence.T1C
Figures = dict[str, dict[str, float]]


class Evaluation:
    """Studies measured so far."""

    def __init__(self, segmenter: Segmenter, predictions: Path | None, pictures: Path | None, robustness: bool) -> None:
        self.segmenter, self.predictions, self.pictures, self.robustness = segmenter, predictions, pictures, robustness
        self.studies: list[dict[str, Any]] = []
        self.skipped: list[str] = []
        self.lesions: dict[str, list[tuple[float, bool]]] = {region.name: [] for region in Region}
        self.bins: dict[str, dict[str, list[metrics.Reliability]]] = {
            zone: {region.name: [] for region in Region} for zone in ("brain", "near")
        }

    def add(self, name: str, place: Path) -> str:
        """Analyses and measures one study, and says how it went; a study that cannot be done is named and counted."""
        from cmdiff_dicom.analyse import analyse

        try:
            study = read_study(name, place)
            for warning in study.warnings:
                tell(f"warning: {warning}")
            started = monotonic()
            analysis = analyse(study.volumes, REFERENCE, self.segmenter)
            seconds = monotonic() - started
            figures = self.measure(study, analysis)
        except (UnusableStudy, Refused) as fault:
            said = str(fault) if str(fault).startswith(name) else f"{name}: {fault}"
            self.skipped.append(said)
            return f"skipped {said}"
        seen = [part for part, names in self.segmenter.recipe.split.items() if name in names]
        entry: dict[str, Any] = {"name": name, "part": seen[0] if seen else None, "seconds": round(seconds, 2), **figures}
        entry["steps_s"] = {step: round(value, 2) for step, value in analysis.seconds.items()}
        entry["volume_ml"] = {label.name: round(value, 3) for label, value in analysis.label_map.volume_ml.items()}
        if self.robustness:
            from cmdiff_dicom.research.robustness import robustness

            entry["robustness"] = robustness(study, analysis, self.segmenter)
        self.studies.append(entry)
        if self.predictions:
            write_labels(self.predictions / f"{name}.nii.gz", analysis)
        dice = figures["dice"]
        return f"{name}: Dice {dice['WT']:.3f} / {dice['TC']:.3f} / {dice['ET']:.3f}, {seconds:.1f} s"

    def measure(self, study: LabelledStudy, analysis: Analysis) -> Figures:
        """Every figure of one study: figure -> region or label -> value."""
        from cmdiff_dicom.restore import LabelRules, labels_from_probability, regions_from_labels, restore_probability

        labels, geometry = analysis.label_map.labels, analysis.label_map.geometry
        if labels.shape != study.truth.shape:
            raise UnusableStudy(f"{study.name}: the answer is {labels.shape}, the truth {study.truth.shape}")
        spacing = tuple(float(step) for step in geometry.spacing_mm)
        predicted, truth = regions_from_labels(labels), regions_from_labels(study.truth)
        figures: Figures = {}
        for region in Region:
            _overlap_figures(figures, region.name, predicted[region.value], truth[region.value], spacing)
            parts = metrics.lesion_recall(predicted[region.value], truth[region.value], 1000 * geometry.voxel_ml)
            self.lesions[region.name] += parts
        for part in PARTS:
            _overlap_figures(figures, part, labels == Label[part], study.truth == Label[part], spacing)
        probability = restore_probability(analysis.result, geometry)
        plain, _ = labels_from_probability(probability, geometry.voxel_ml, LabelRules(self.segmenter.recipe.threshold))
        figures["dice_without_rules"] = {
            region.name: metrics.dice(ours, theirs)
            for region, ours, theirs in zip(Region, regions_from_labels(plain), truth, strict=True)
        }
        brain = np.any([volume.array != 0 for volume in study.volumes.values()], axis=0)
        self._calibration(figures, probability, predicted, truth, brain, spacing)
        if self.pictures:
            from cmdiff_dicom.research.pictures import overlay

            images = {s.value: study.volumes[s].array for s in (Sequence.T1C, Sequence.T2F)}
            spread = restore_probability(replace(analysis.result, probability=analysis.result.spread), geometry)
            overlay(self.pictures / f"{study.name}.png", study.name, images, predicted, truth, spread)
        return figures

    def _calibration(
        self,
        figures: Figures,
        probability: NDArray[np.float32],
        predicted: NDArray[np.bool_],
        truth: NDArray[np.bool_],
        brain: NDArray[np.bool_],
        spacing: tuple[float, ...],
    ) -> None:
        """Calibration, and whether uncertainty (entropy) finds the errors, in the brain and within 10 mm of the tumour."""
        from scipy import ndimage

        tumour = truth[Region.WT.value]
        near = ndimage.distance_transform_edt(~tumour, sampling=spacing) <= NEAR_MM if tumour.any() else brain
        for zone, mask in (("brain", brain), ("near", brain & near)):
            for region in Region:
                p, real = probability[region.value][mask].astype(np.float64), truth[region.value][mask]
                curve = metrics.reliability(p, real)
                self.bins[zone][region.name].append(curve)
                wrong = predicted[region.value][mask] != real
                values = {
                    "ece": curve.ece,
                    "ace": curve.ace,
                    "brier": metrics.brier(p, real),
                    "nll": metrics.negative_log_likelihood(p, real),
                    "auroc": metrics.auroc(metrics.entropy(p).astype(np.float32), wrong),
                }
                for figure, value in values.items():
                    figures.setdefault(f"{figure}_{zone}", {})[region.name] = value

    def curves(self) -> dict[str, dict[str, metrics.Reliability]]:
        """Reliability over all studies, zone -> region."""
        return {
            zone: {region: metrics.pooled(parts) for region, parts in regions.items()} for zone, regions in self.bins.items()
        }

    def report(self) -> dict[str, Any]:
        """What the JSON holds."""
        mean, interval = summarise(self.studies)
        report: dict[str, Any] = {
            "mean": mean,
            "interval_95": interval,
            "count": len(self.studies),
            "skipped": self.skipped,
            "trained_on": [study["name"] for study in self.studies if study["part"] == "train"],
            "lesion_recall": {region: lesion_table(parts) for region, parts in self.lesions.items()},
            "model": asdict(self.segmenter.model),
            "device": self.segmenter.device_name,
            "recipe": json.loads(self.segmenter.recipe.to_json()),
            "studies": self.studies,
        }
        if self.robustness:
            from cmdiff_dicom.research.robustness import summarise_robustness

            report["robustness"] = summarise_robustness([study["robustness"] for study in self.studies])
        cleaned: dict[str, Any] = _without_nan(report)
        return cleaned


def _overlap_figures(
    figures: Figures, name: str, predicted: NDArray[np.bool_], truth: NDArray[np.bool_], spacing: tuple[float, ...]
) -> None:
    surfaces = metrics.surface_figures(predicted, truth, spacing)
    values = {"dice": metrics.dice(predicted, truth), "iou": metrics.iou(predicted, truth), **surfaces._asdict()}
    for figure, value in values.items():
        figures.setdefault(figure, {})[name] = value


def summarise(studies: list[dict[str, Any]]) -> tuple[Figures, dict[str, dict[str, tuple[float, float]]]]:
    """Means over studies and their bootstrap intervals, figure -> region or label."""
    mean: Figures = {}
    interval: dict[str, dict[str, tuple[float, float]]] = {}
    for figure, values in studies[0].items():
        if not isinstance(values, Mapping) or figure in ("steps_s", "volume_ml", "robustness"):
            continue
        for name in values:
            column = [study[figure][name] for study in studies]
            known = [value for value in column if np.isfinite(value)]
            mean.setdefault(figure, {})[name] = float(np.mean(known)) if known else float("nan")
            interval.setdefault(figure, {})[name] = metrics.bootstrap(column)
    for name in mean["dice"]:
        assert mean["iou"][name] >= mean["dice"][name] / (2 - mean["dice"][name]) - 1e-9, "mean IoU breaks Jensen's bound"
    return mean, interval


def lesion_table(parts: list[tuple[float, bool]]) -> list[dict[str, float]]:
    """Recall of connected lesions by volume in ml."""
    table = []
    for low, high in ((0.05, 0.5), (0.5, 5.0), (5.0, 1e9)):
        hits = [found for mm3, found in parts if low <= mm3 / 1000 < high]
        recall = sum(hits) / len(hits) if hits else float("nan")
        table.append({"from_ml": low, "below_ml": high, "lesions": len(hits), "recall": recall})
    return table


def write_labels(path: Path, analysis: Analysis) -> None:
    """The label map as NIfTI on the reference's grid: NCR 1, ED 2, ET 3."""
    import nibabel

    from cmdiff_dicom.research.brats import LPS_FROM_RAS

    label_map = analysis.label_map
    ras_from_ijk = LPS_FROM_RAS @ label_map.geometry.mm_from_index[:, [2, 1, 0, 3]]
    image = nibabel.Nifti1Image(np.ascontiguousarray(label_map.labels.transpose(2, 1, 0)), ras_from_ijk)
    nibabel.save(image, path)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(inner) for inner in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
