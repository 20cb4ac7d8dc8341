"""What an ablation's rows tell: paired differences with their intervals, the verdict on diffusion, the bar against the control.

A difference is default minus row, in Dice averaged over WT, TC and ET: above 0 the default is better. Its interval is the
paired 90 % bootstrap interval over studies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cmdiff_dicom.records import Region
from cmdiff_dicom.research import metrics

LEVEL = 0.9
CONTROL_BAR = -0.01
"""The full model may not be worse than the control by more: the interval's lower end has to lie above."""
DEFAULT = "default"
DIRECT = "w 1: direct head alone"
ONE_STEP = "S 1"
CONTROL = "control, trained without diffusion"
VOLUME = "variation of the whole tumour's volume over samples"
Row = Iterable[tuple[float, float, float]]
"""Dice of WT, TC, ET, study by study."""


def compare(rows: Mapping[str, Row]) -> dict[str, Any]:
    """Means, each row's paired difference from the default, the verdict on diffusion, and the bar against the control."""
    listed = {name: np.array(list(values)) for name, values in rows.items()}
    table: dict[str, Any] = {}
    for name, values in listed.items():
        difference = listed[DEFAULT].mean(axis=1) - values.mean(axis=1)
        table[name] = {
            "dice": {region.name: float(dice) for region, dice in zip(Region, values.mean(axis=0), strict=True)},
            "mean": float(values.mean()),
            "default_minus_this": {
                "mean": float(difference.mean()),
                "interval_90": metrics.bootstrap(difference.tolist(), level=LEVEL),
            },
        }
    asked = {"samples": DIRECT, "steps": ONE_STEP}
    intervals = {question: table[row]["default_minus_this"]["interval_90"] for question, row in asked.items()}
    report: dict[str, Any] = {
        "rows": table,
        "verdict": metrics.verdict(*intervals.values()),
        "verdict_by_question": {question: metrics.verdict(interval) for question, interval in intervals.items()},
    }
    if CONTROL in table:
        difference = table[CONTROL]["default_minus_this"]
        report["control_bar"] = {"above": CONTROL_BAR, "met": difference["interval_90"][0] > CONTROL_BAR, **difference}
    return report


def lines(report: Mapping[str, Any]) -> list[str]:
    """The report as text."""
    rows = report["rows"]
    text = [
        f"{len(report['studies'])} studies ({report['parts']}); default: {report['default']}",
        "Dice WT / TC / ET; then default minus row in mean Dice, 90 % paired interval: above 0 the default is better",
        *(_row(name, row) for name, row in rows.items()),
        "",
        f"diffusion is {report['verdict']} (USEFUL: both above 0; ORNAMENTAL: both within +-0.005; else UNDECIDED)",
    ]
    words = {"samples": ("default minus direct head alone", DIRECT), "steps": ("default minus S 1, all else equal", ONE_STEP)}
    for question, (said, row) in words.items():
        text.append(f"  {said}: {_difference(rows[row])}: {report['verdict_by_question'][question]}")
    if "control_bar" in report:
        bar = report["control_bar"]
        text += [
            f"full model minus control, mean of WT, TC, ET: {_difference(rows[CONTROL])} (above 0 the full model is better)",
            f"  lower end above {bar['above']}: bar {'met' if bar['met'] else 'MISSED'}"
            + ("" if report["parts"] == "tune,test" else "; the bar is meant for tune,test"),
        ]
    ratio = report["error of one sample over error of their mean"]
    text.append(f"error of one sample over error of their mean: {ratio:.3f} (1: the samples do not differ)")
    for kind, values in report.get("x_t replaced", {}).items():
        cells = "  ".join(f"{level} {answer['dice']:.3f} ({answer['change']:.3f})" for level, answer in values.items())
        text.append(f"x_t replaced by {kind:18s} at t/T, Dice (change of p at the edge): {cells}")
    for name, value in report.get("what finds errors", {}).items():
        text.append(f"what finds errors, AUROC: {name} {value:.3f}" if name != VOLUME else f"{name} {value:.3f}")
    return text


def _row(name: str, row: Mapping[str, Any]) -> str:
    dice = " / ".join(f"{value:.3f}" for value in row["dice"].values())
    return f"{name:36s} {dice}   {_difference(row)}"


def _difference(row: Mapping[str, Any]) -> str:
    low, high = row["default_minus_this"]["interval_90"]
    return f"{row['default_minus_this']['mean']:+.4f} ({low:+.4f} to {high:+.4f})"
