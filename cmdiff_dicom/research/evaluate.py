"""`cmdiff-dicom evaluate`: the serving path over a folder of BraTS studies, measured against their truth."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from cmdiff_dicom.errors import SettingsFault
from cmdiff_dicom.research.brats import find_studies
from cmdiff_dicom.research.console import Countdown, add_common_arguments, say, tell
from cmdiff_dicom.research.split import names_of_parts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `cmdiff-dicom evaluate`."""
    add_common_arguments(parser)
    parser.add_argument("--json", type=Path, required=True, help="file for all figures: means, intervals, every study")
    parser.add_argument("--predictions", type=Path, help="folder for label maps as NIfTI under the studies' names, ET = 3")
    parser.add_argument("--pictures", type=Path, help="folder for overlays and the reliability plot")
    parser.add_argument(
        "--robustness", action="store_true", help="also every subset of sequences, and noise with and without filter"
    )
    parser.add_argument(
        "--part", default="all", help="only these parts of the weights' own split: train, tune, test, or several with commas"
    )
    parser.add_argument("--weights", type=Path, help="other weights than those that ship")


def run(arguments: argparse.Namespace) -> int:
    """Writes the JSON, prints the means, says which studies the model has seen in training, and names what was skipped."""
    from cmdiff_dicom.research.evaluation import Evaluation
    from cmdiff_dicom.segment import load_segmenter

    segmenter = load_segmenter(arguments.weights, arguments.device, arguments.threads or 0)
    found = find_studies(arguments.data)
    wanted = names_of_parts(segmenter.recipe.split, arguments.part)
    if wanted is not None:
        if absent := sorted(wanted - set(found)):
            tell(f"warning: {len(absent)} studies of {arguments.part} are not in {arguments.data}: {', '.join(absent)}")
        found = {name: place for name, place in found.items() if name in wanted}
    for folder in (arguments.predictions, arguments.pictures, arguments.json.parent):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
    evaluation = Evaluation(segmenter, arguments.predictions, arguments.pictures, arguments.robustness)
    countdown = Countdown(len(found))
    for name, place in found.items():
        outcome = evaluation.add(name, place)
        tell(f"{countdown.next()}  {outcome}")
    if not evaluation.studies:
        raise SettingsFault(
            f"{arguments.data} holds no study that could be evaluated; {len(evaluation.skipped)} skipped"
            + "".join(f"\n  {line}" for line in evaluation.skipped)
        )
    report = evaluation.report()
    arguments.json.write_text(json.dumps(report, indent=1, allow_nan=False), encoding="utf-8")
    if arguments.pictures:
        from cmdiff_dicom.research.pictures import reliability_plot

        reliability_plot(arguments.pictures / "reliability.png", evaluation.curves())
    print_means(report)
    return 0


def print_means(report: dict[str, Any]) -> None:
    """The figures that one looks at first, with their 95 % intervals."""
    say(f"{report['count']} studies, {len(report['skipped'])} skipped, {report['model']['version']} on {report['device']}")
    if report["trained_on"]:
        say(
            f"WARNING: {len(report['trained_on'])} of these studies were trained on; these figures say nothing of new patients"
        )
    for figure, values in report["mean"].items():
        cells = []
        for name, value in values.items():
            low, high = report["interval_95"][figure][name]
            cells.append(f"{name} n/a" if value is None else f"{name} {value:.3f} ({low:.3f} to {high:.3f})")
        say(f"{figure:20s} " + "  ".join(cells))
    for line in report.get("robustness", {}).get("table", []):
        say(line)
    for line in report["skipped"]:
        say(f"skipped {line}")
