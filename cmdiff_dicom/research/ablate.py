"""`cmdiff-dicom ablate`: what each part brings, on held-out studies, mostly without new training.

Every row is the shipped way ("default") with one thing changed; `comparison` says what the rows tell.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cmdiff_dicom.errors import SettingsFault
from cmdiff_dicom.research.brats import find_studies
from cmdiff_dicom.research.comparison import CONTROL, CONTROL_BAR, DEFAULT, DIRECT, compare, lines
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
"what finds errors" compares signs of doubt, with 4 steps and 4 samples: AUROC against error within 10 mm of the tumour.

Example:
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
    parser.add_argument(
        "--no-diagnostics", action="store_true", help="leave out what happens when x_t is replaced, and what finds errors"
    )
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
    report = {"parts": arguments.parts, "default": describe(model.recipe), **found.report()}
    for line in lines(report):
        say(line)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return 0


def describe(recipe: Recipe) -> str:
    """The choices of the default row."""
    return f"S {recipe.steps}, E {recipe.samples}, w {recipe.direct_weight}, filter {recipe.filter}"


@dataclass
class Found:
    """What was measured so far, study by study."""

    names: list[str] = field(default_factory=list)
    rows: dict[str, list[Scores]] = field(default_factory=dict)
    dispersions: list[float] = field(default_factory=list)
    answers: list[Answers] = field(default_factory=list)
    signals: list[dict[str, float]] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        """Everything that is printed, and every study's Dice."""
        from cmdiff_dicom.research import replacement

        report = {"studies": self.names, **compare(self.rows), "dice_by_study": self.rows}
        report["error of one sample over error of their mean"] = float(np.mean(self.dispersions))
        if self.answers:
            report["x_t replaced"] = {
                kind: {f"{level}": answer._asdict() for level, answer in by_level.items()}
                for kind, by_level in replacement.means(self.answers).items()
            }
        if self.signals:
            report["what finds errors"] = {
                name: float(np.nanmean([signals[name] for signals in self.signals])) for name in self.signals[0]
            }
        return report


def measure(model: Segmenter, control: Segmenter | None, folder: Path, wanted: set[str] | None, diagnostics: bool) -> Found:
    """Every row of every study, one study in memory at a time."""
    from cmdiff_dicom.research.replacement import replaced
    from cmdiff_dicom.research.signals import signals
    from cmdiff_dicom.research.studies import training_study, usable_studies

    found, guess = Found(), None
    listed = set(find_studies(folder))
    countdown = Countdown(len(listed if wanted is None else listed & wanted))
    other_filter = model.recipe.but(filter="none" if model.recipe.filter != "none" else "adaptive")
    for labelled in usable_studies(folder, tell, wanted):
        study = training_study(labelled, model.recipe)
        rows, dispersion = variants(model, study)
        rows[f"filter {other_filter.filter}"] = as_served(model, training_study(labelled, other_filter), other_filter)
        if control:
            rows[CONTROL] = as_served(control, training_study(labelled, control.recipe), control.recipe)
        if diagnostics:
            answers, guess = replaced(model, study, guess)
            found.answers.append(answers)
            found.signals.append(signals(model, study))
        found.names.append(study.name)
        found.dispersions.append(dispersion)
        for row, dice in rows.items():
            found.rows.setdefault(row, []).append(dice)
        tell(f"{countdown.next()}  {study.name}: default {np.mean(rows[DEFAULT]):.4f}")
    return found


def variants(model: Segmenter, study: TrainingStudy) -> tuple[dict[str, Scores], float]:
    """Rows of one study by steps, samples, averaging and rules; and how far its samples differ (`uncertainty.dispersion`)."""
    from cmdiff_dicom.analyse import rules_of
    from cmdiff_dicom.research.answers import ask, averaged, brought_home, scores
    from cmdiff_dicom.restore import LabelRules

    recipe = model.recipe
    w, e, rules = recipe.direct_weight, recipe.samples, rules_of(recipe)

    def asked(**changes: Any) -> Prediction:
        return brought_home(ask(model.network, study, recipe.but(**changes), model.device, model.half), study)

    def scored(said: Prediction, weight: float, samples: int, with_rules: LabelRules = rules) -> Scores:
        return scores(served(averaged(said, study, weight, samples), recipe), study.labels, with_rules)

    said = asked(samples=max(SAMPLES, e))
    rows = {
        DEFAULT: scored(said, w, e),
        "without rules for parts": scored(said, w, e, LabelRules(recipe.threshold)),
        DIRECT: scored(said, 1.0, e),
        "w 0.5": scored(said, 0.5, e),
        "w 0: samples alone": scored(said, 0.0, e),
    }
    for samples in (1, SAMPLES):
        rows[f"E {samples}"] = scored(said, w, samples)
        rows[f"E {samples}, samples alone"] = scored(said, 0.0, samples)
    for steps in STEPS:
        walked = said if steps == recipe.steps else asked(steps=steps)
        rows[f"S {steps}"] = scored(walked, w, e)
        rows[f"S {steps}, samples alone"] = scored(walked, 0.0, e)
    rows["S 2, noise drawn anew at each step"] = scored(asked(steps=2, sampler="renoise"), w, e)
    return rows, _dispersion(said, study)


def as_served(model: Segmenter, study: TrainingStudy, recipe: Recipe) -> Scores:
    """Dice of a model that is used as a recipe says; the study is standardised for that recipe."""
    from cmdiff_dicom.analyse import rules_of
    from cmdiff_dicom.research.answers import ask, averaged, brought_home, scores

    said = brought_home(ask(model.network, study, recipe, model.device, model.half), study)
    probability = served(averaged(said, study, recipe.direct_weight, recipe.samples), recipe)
    return scores(probability, study.labels, rules_of(recipe))


def served(probability: Probability, recipe: Recipe) -> Probability:
    """Probabilities as they are served: the rules for doubtful parts look at calibrated ones. Shapes: (3, k, j, i)."""
    import torch

    from cmdiff_dicom.segment.segmenter import calibrate

    return calibrate(torch.from_numpy(probability), recipe.temperatures).numpy()


def _dispersion(prediction: Prediction, study: TrainingStudy) -> float:
    import torch

    from cmdiff_dicom.restore import regions_from_labels
    from cmdiff_dicom.segment.uncertainty import dispersion

    assert prediction.sampled is not None
    return dispersion(prediction.sampled, torch.from_numpy(regions_from_labels(study.labels)).float())
