"""`cmdiff-dicom ablate`: what each part brings, on held-out studies, mostly without new training.

Every row is the shipped way ("default") with one thing changed, compared with it study by study: a difference is default
minus row, in Dice averaged over WT, TC and ET, with its paired 90 % bootstrap interval over studies.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cmdiff_dicom.errors import SettingsFault
from cmdiff_dicom.research import metrics
from cmdiff_dicom.research.brats import find_studies
from cmdiff_dicom.research.console import Countdown, add_common_arguments, say, tell
from cmdiff_dicom.research.split import names_of_parts

if TYPE_CHECKING:
    from cmdiff_dicom.research.answers import Probability, Scores
    from cmdiff_dicom.research.augment import TrainingStudy
    from cmdiff_dicom.research.replacement import Answers
    from cmdiff_dicom.segment import Recipe, Segmenter
    from cmdiff_dicom.segment.inference import Prediction

STEPS = (1, 2, 4, 8)
SAMPLES = 4
LEVEL = 0.9
CONTROL_BAR = -0.01
"""The full model may not be worse than the control by more: the interval's lower end has to lie above."""
DEFAULT = "default"
DIRECT = "w 1: direct head alone"
ONE_STEP = "S 1"
CONTROL = "control, trained without diffusion"

EXPLAINED = f"""
What is asked. The model has an encoder with a direct head, which answers by itself, and a denoiser, which answers in S steps
for each of E samples of noise. The answer is w x direct head + (1 - w) x mean of the samples: w = 1 is the direct head alone,
w = 0 the samples alone. The noise knows nothing of the patient, so diffusion cannot add information; it can only use
better what the image holds. Whether it does is measured here.

How to read a row. "{DEFAULT}" is the model as it serves. Every other row changes one thing (or two: "samples alone" has
w = 0 too). The difference is default minus row, in Dice averaged over WT, TC, ET:
    above 0   the default is better: what the row leaves out, helps
    below 0   the row is better than the default
Brackets hold its 90 % interval, from a bootstrap over studies of the paired differences. An interval that holds 0 says that
these studies cannot tell.

The verdict on diffusion asks two differences: default minus direct head alone (what do samples add?) and default minus
S = 1, all else equal (what do steps add?):
    USEFUL       both intervals lie above 0
    ORNAMENTAL   both lie within +-0.005
    UNDECIDED    anything else
Where the default has one step, the second is 0 by construction, and the verdict cannot be USEFUL: such a model refines its
answer once and does not diffuse. Each question's own verdict is printed too.

The bar against the control (--control; `train --control`, trained as long as the full model): full model minus control;
met where the lower end of the interval lies above {CONTROL_BAR}.

"x_t replaced" is a diagnosis of one denoiser call, no verdict: what becomes of it when something else stands for x_t.

Examples:
  cmdiff-dicom ablate --data FOLDER --control CONTROL/weights.safetensors --json ablation.json
  cmdiff-dicom ablate --data FOLDER --weights RUN/weights.safetensors --parts tune --no-diagnostics
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `cmdiff-dicom ablate`, and the explanation of what it prints."""
    parser.epilog = EXPLAINED
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_common_arguments(parser)
    parser.add_argument("--weights", type=Path, help="other weights than those that ship")
    parser.add_argument("--control", type=Path, help="weights of the control (`train --control`) to compare with")
    parser.add_argument(
        "--parts", default="tune,test", help="parts of the weights' own split to use, or all (default: %(default)s)"
    )
    parser.add_argument("--no-diagnostics", action="store_true", help="leave out what happens when x_t is replaced")
    parser.add_argument("--json", type=Path, help="file for everything that is printed, and every study's Dice")


def run(arguments: argparse.Namespace) -> int:
    """Prints the table, the verdict and the bar; writes them as JSON where asked."""
    from cmdiff_dicom.segment import load_segmenter

    threads = arguments.threads or 0
    model = load_segmenter(arguments.weights, arguments.device, threads)
    if model.network.denoiser is None:
        raise SettingsFault("these weights are a control without diffusion; give the full model's")
    control = load_segmenter(arguments.control, arguments.device, threads) if arguments.control else None
    wanted = names_of_parts(model.recipe.split, arguments.parts)
    found = measure(model, control, arguments.data, wanted, not arguments.no_diagnostics)
    report = {"parts": arguments.parts, "default": describe(model.recipe), "studies": found.names, **found.report()}
    for line in lines(report):
        say(line)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return 0


def describe(recipe: Recipe) -> str:
    """The choices of the default row."""
    return f"S {recipe.steps}, E {recipe.samples}, w {recipe.direct_weight}, filter {recipe.filter}"


# --- measuring --------------------------------------------------------------------------------


class Found:
    """What was measured so far, study by study."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.rows: dict[str, list[Scores]] = {}
        self.dispersions: list[float] = []
        self.answers: list[Answers] = []

    def add(self, row: str, scores: Scores) -> None:
        """One study's Dice in one row."""
        self.rows.setdefault(row, []).append(scores)

    def report(self) -> dict[str, Any]:
        """Everything that is printed."""
        from cmdiff_dicom.research import replacement

        report = compare(self.rows)
        report["dice_by_study"] = {row: list(values) for row, values in self.rows.items()}
        report["error of one sample over error of their mean"] = float(np.mean(self.dispersions))
        if self.answers:
            report["x_t replaced"] = {
                kind: {f"{level}": answer._asdict() for level, answer in by_level.items()}
                for kind, by_level in replacement.means(self.answers).items()
            }
        return report


def measure(model: Segmenter, control: Segmenter | None, folder: Path, wanted: set[str] | None, diagnostics: bool) -> Found:
    """Every row of every study, one study in memory at a time."""
    from cmdiff_dicom.research.answers import ask, averaged, brought_home, rules_of, scores
    from cmdiff_dicom.research.replacement import replaced
    from cmdiff_dicom.research.studies import training_study, usable_studies

    found, guess = Found(), None
    listed = set(find_studies(folder))
    countdown = Countdown(len(listed if wanted is None else listed & wanted))
    for labelled in usable_studies(folder, tell, wanted):
        study = training_study(labelled, model.recipe)
        found.names.append(study.name)
        for row, value in variants(model, study, found.dispersions):
            found.add(row, value)
        other = model.recipe.but(filter="none" if model.recipe.filter != "none" else "adaptive")
        for row, value in filtered(model, training_study(labelled, other), other):
            found.add(row, value)
        if control:
            theirs = training_study(labelled, control.recipe)
            said = brought_home(ask(control.network, theirs, control.recipe, control.device, control.half), theirs)
            field = averaged(said, theirs, control.recipe.direct_weight, control.recipe.samples)
            found.add(CONTROL, scores(served(field, control.recipe), theirs.labels, rules_of(control.recipe)))
        if diagnostics:
            answers, guess = replaced(model, study, guess)
            found.answers.append(answers)
        tell(f"{study.name}: default {np.mean(found.rows[DEFAULT][-1]):.4f}; {countdown.next()}")
    return found


def variants(model: Segmenter, study: TrainingStudy, dispersions: list[float]) -> Iterator[tuple[str, Scores]]:
    """Rows of one study, by steps, samples, averaging and rules; and by the way how far its samples differ."""
    from cmdiff_dicom.research.answers import ask, averaged, brought_home, rules_of, scores
    from cmdiff_dicom.restore import LabelRules

    recipe = model.recipe
    w, e, rules = recipe.direct_weight, recipe.samples, rules_of(recipe)

    def asked(**changes: Any) -> Prediction:
        return brought_home(ask(model.network, study, recipe.but(**changes), model.device, model.half), study)

    def scored(said: Prediction, weight: float, samples: int, with_rules: LabelRules = rules) -> Scores:
        return scores(served(averaged(said, study, weight, samples), recipe), study.labels, with_rules)

    said = asked(samples=max(SAMPLES, e))
    yield DEFAULT, scored(said, w, e)
    yield "without rules for parts", scored(said, w, e, LabelRules(recipe.threshold))
    yield DIRECT, scored(said, 1.0, e)
    yield "w 0.5", scored(said, 0.5, e)
    yield "w 0: samples alone", scored(said, 0.0, e)
    for samples in (1, SAMPLES):
        yield f"E {samples}", scored(said, w, samples)
        yield f"E {samples}, samples alone", scored(said, 0.0, samples)
    dispersions.append(_dispersion(said, study))
    for steps in STEPS:
        walked = said if steps == recipe.steps else asked(steps=steps)
        yield f"S {steps}", scored(walked, w, e)
        yield f"S {steps}, samples alone", scored(walked, 0.0, e)
    yield "S 2, noise drawn anew at each step", scored(asked(steps=2, sampler="renoise"), w, e)


def filtered(model: Segmenter, study: TrainingStudy, recipe: Recipe) -> Iterator[tuple[str, Scores]]:
    """The row of the study filtered the other way."""
    from cmdiff_dicom.research.answers import ask, averaged, brought_home, rules_of, scores

    said = brought_home(ask(model.network, study, recipe, model.device, model.half), study)
    field = averaged(said, study, recipe.direct_weight, recipe.samples)
    yield f"filter {recipe.filter}", scores(served(field, recipe), study.labels, rules_of(recipe))


def served(field: Probability, recipe: Recipe) -> Probability:
    """Probabilities as they are served: the rules for doubtful parts look at calibrated ones. Shapes: (3, k, j, i)."""
    import torch

    from cmdiff_dicom.segment.segmenter import calibrate

    return calibrate(torch.from_numpy(field), recipe.temperatures).numpy()


def _dispersion(prediction: Prediction, study: TrainingStudy) -> float:
    import torch

    from cmdiff_dicom.restore import regions_from_labels
    from cmdiff_dicom.segment.uncertainty import dispersion

    assert prediction.sampled is not None
    return dispersion(prediction.sampled, torch.from_numpy(regions_from_labels(study.labels)).float())


# --- judging ----------------------------------------------------------------------------------


def compare(rows: Mapping[str, Iterable[Scores]]) -> dict[str, Any]:
    """Means, each row's paired difference from the default, the verdict on diffusion, and the bar against the control."""
    listed = {name: np.array(list(values)) for name, values in rows.items()}
    table: dict[str, Any] = {}
    for name, values in listed.items():
        difference = listed[DEFAULT].mean(axis=1) - values.mean(axis=1)
        table[name] = {
            "dice": dict(zip(("WT", "TC", "ET"), values.mean(axis=0).tolist(), strict=True)),
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
    return text


def _row(name: str, row: Mapping[str, Any]) -> str:
    dice = " / ".join(f"{value:.3f}" for value in row["dice"].values())
    return f"{name:36s} {dice}   {_difference(row)}"


def _difference(row: Mapping[str, Any]) -> str:
    low, high = row["default_minus_this"]["interval_90"]
    return f"{row['default_minus_this']['mean']:+.4f} ({low:+.4f} to {high:+.4f})"
