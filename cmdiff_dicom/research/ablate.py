"""`cmdiff-dicom ablate`: what each part brings, on held-out studies, mostly without new training.

Every row changes one thing against the default recipe and is compared study by study, with a paired bootstrap interval.
The verdict on diffusion: USEFUL where the full model minus its own direct head lies above 0, ORNAMENTAL where it lies
within +-0.005, else UNDECIDED.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cmdiff_dicom.errors import SettingsFault
from cmdiff_dicom.research import metrics

if TYPE_CHECKING:
    from torch import Tensor

    from cmdiff_dicom.research.augment import TrainingStudy
    from cmdiff_dicom.segment.inference import Prediction
    from cmdiff_dicom.segment.network import CMDiff
    from cmdiff_dicom.segment.recipe import Recipe

STEPS = (1, 2, 4, 8)
SAMPLES = 4
LEVELS = (1.0, 0.75, 0.5, 0.25, 0.1)
Rows = dict[str, list[tuple[float, float, float]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `cmdiff-dicom ablate`."""
    parser.add_argument("--data", type=Path, required=True, help="folder with BraTS studies")
    parser.add_argument("--control", type=Path, help="weights of the control (`train --control`) to compare with")
    parser.add_argument("--weights", type=Path, help="other weights than those that ship")
    parser.add_argument("--parts", default="tune,test", help="parts of the weights' split to use, or all (default: tune,test)")
    parser.add_argument("--no-diagnostics", action="store_true", help="leave out what happens when x_t is replaced")
    parser.add_argument("--json", type=Path, help="file for all rows")
    parser.add_argument("--device", default="auto", help="cpu, cuda, ...; auto takes a GPU if there is one")
    parser.add_argument("--threads", type=int, help="CPU threads")


def run(arguments: argparse.Namespace) -> int:
    """Prints the table and the verdict; writes them as JSON where asked."""
    import torch

    from cmdiff_dicom.research.studies import load_studies
    from cmdiff_dicom.segment import load_segmenter

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    full = load_segmenter(arguments.weights, arguments.device)
    names = None
    if arguments.parts != "all":
        names = {name for part in arguments.parts.split(",") for name in full.recipe.split.get(part, ())}
    studies = list(load_studies(arguments.data, _tell, names).values())
    if full.network.denoiser is None:
        raise SettingsFault("these weights are a control without diffusion; give the full model's")
    rows = variants(full.network, full.recipe, studies, full.device, full.half)
    if arguments.control:
        other = load_segmenter(arguments.control, arguments.device)
        rows["control, no diffusion"] = control_rows(other.network, other.recipe, full.recipe, studies, full.device, full.half)
    report = compare(rows, f"default: {describe(full.recipe)}")
    if not arguments.no_diagnostics:
        report["x_t replaced"] = diagnostics(full.network, full.recipe, studies, full.device, full.half)
    for line in lines(report, len(studies)):
        sys.stdout.write(line + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return 0


def describe(recipe: Recipe) -> str:
    return f"S {recipe.steps}, E {recipe.samples}, w {recipe.direct_weight}"


# --- rows -------------------------------------------------------------------------------------


def variants(network: CMDiff, recipe: Recipe, studies: list[TrainingStudy], device: str, half: bool) -> Rows:
    """Dice of WT, TC, ET by study for the default and for each variation of steps, samples, averaging and rules."""
    from cmdiff_dicom.research.calibrate import predictions, probabilities, scores
    from cmdiff_dicom.restore import LabelRules

    rules = LabelRules(recipe.threshold, recipe.min_tumour_mm3, recipe.min_confidence, recipe.min_enhancing_mm3)
    rows: Rows = {}

    def add(name: str, fields: list[Any], with_rules: LabelRules = rules) -> None:
        rows[name] = [scores(p, study.labels, with_rules) for p, study in zip(fields, studies, strict=True)]
        _tell(f"{name}: {np.mean(rows[name]):.4f}")

    w, e = recipe.direct_weight, recipe.samples
    for steps in sorted({*STEPS, recipe.steps}):
        most = max(SAMPLES, e) if steps == recipe.steps else e
        said = predictions(network, studies, recipe.but(steps=steps, samples=most), device, half)
        if steps == recipe.steps:
            fields = probabilities(said, studies, w, e)
            add(f"default: {describe(recipe)}", fields)
            add("without rules for small parts", fields, LabelRules(recipe.threshold))
            for weight in (0.0, 0.5, 1.0):
                add(f"w {weight}" + (" (direct head alone)" if weight == 1 else ""), probabilities(said, studies, weight, e))
            for samples in (1, SAMPLES):
                add(f"E {samples}, w 0", probabilities(said, studies, 0.0, samples))
            apart = [_dispersion(prediction, study) for prediction, study in zip(said, studies, strict=True)]
            _tell(
                f"error of one sample over error of the mean of {most}: {np.mean(apart):.3f}, {2 / (1 + 1 / most):.2f} if exact"
            )
        add(f"S {steps}, E {e}, w 0", probabilities(said, studies, 0.0, e))
    renoised = predictions(network, studies, recipe.but(sampler="renoise", steps=2), device, half)
    add(f"S 2, E {e}, w 0, renoise", probabilities(renoised, studies, 0.0, e))
    return rows


def _dispersion(prediction: Prediction, study: TrainingStudy) -> float:
    import torch

    from cmdiff_dicom.restore import regions_from_labels
    from cmdiff_dicom.segment.uncertainty import dispersion

    assert prediction.sampled is not None
    return dispersion(prediction.sampled, torch.from_numpy(regions_from_labels(study.labels)).float())


def control_rows(
    network: CMDiff, own: Recipe, recipe: Recipe, studies: list[TrainingStudy], device: str, half: bool
) -> list[tuple[float, float, float]]:
    """The control's Dice by study, by its own rules."""
    from cmdiff_dicom.research.calibrate import predictions, probabilities, scores
    from cmdiff_dicom.restore import LabelRules

    rules = LabelRules(own.threshold, own.min_tumour_mm3, own.min_confidence, own.min_enhancing_mm3)
    said = predictions(network, studies, own, device, half)
    return [scores(p, s.labels, rules) for p, s in zip(probabilities(said, studies, 1.0, 1), studies, strict=True)]


def compare(rows: Rows, default: str) -> dict[str, Any]:
    """Means, and for each row the paired difference default - row in mean Dice with its 90 % interval, and the verdict."""
    table: dict[str, Any] = {}
    base = np.array(rows[default]).mean(axis=1)
    for name, values in rows.items():
        difference = base - np.array(values).mean(axis=1)
        low, high = metrics.bootstrap(difference.tolist(), level=0.9)
        table[name] = {
            "dice": dict(zip(("WT", "TC", "ET"), np.mean(values, axis=0).tolist(), strict=True)),
            "mean": float(np.mean(values)),
            "default_minus_this": {"mean": float(difference.mean()), "interval_90": (low, high)},
        }
    against = table["w 1.0 (direct head alone)"]["default_minus_this"]
    return {"rows": table, "verdict": metrics.verdict(*against["interval_90"])}


# --- does x_t matter? -------------------------------------------------------------------------


def diagnostics(
    network: CMDiff, recipe: Recipe, studies: list[TrainingStudy], device: str, half: bool
) -> dict[str, dict[str, float]]:
    """Mean Dice over regions of one denoiser call at t/T, by what stands in for x_t. A diagnosis, no verdict.

    A denoiser at a low noise level must trust x_t, so fresh noise there must do harm, even where x_t adds nothing.
    """
    sums: dict[str, dict[str, list[float]]] = {}
    previous: Tensor | None = None
    for study in studies:
        found, previous = _replaced(network, recipe, study, previous, device, half)
        for kind, values in found.items():
            for level, value in values.items():
                sums.setdefault(kind, {}).setdefault(f"t/T {level}", []).append(value)
    return {kind: {level: float(np.mean(column)) for level, column in values.items()} for kind, values in sums.items()}


def _replaced(
    network: CMDiff, recipe: Recipe, study: TrainingStudy, previous: Tensor | None, device: str, half: bool
) -> tuple[dict[str, dict[float, float]], Tensor]:
    import torch
    from torch.nn import functional

    from cmdiff_dicom.research.calibrate import scores
    from cmdiff_dicom.restore import LabelRules, regions_from_labels
    from cmdiff_dicom.segment.ddim import predicted_state
    from cmdiff_dicom.segment.diffusion import add_noise, alpha_bar, clean_state, unit_variance
    from cmdiff_dicom.segment.inference import padding
    from cmdiff_dicom.segment.network import depth_to_space
    from cmdiff_dicom.segment.noise import draw_noise

    b, size = recipe.signal_scale, study.labels.shape
    with torch.inference_mode(), torch.autocast(device.split(":", maxsplit=1)[0], torch.bfloat16, enabled=half):
        image = functional.pad(torch.from_numpy(study.image).float().to(device), padding(size))[None]
        guidance = network.encoder(image, torch.ones(1, 4, device=device))
        truth = functional.pad(torch.from_numpy(regions_from_labels(study.labels)).float().to(device), padding(size))[None]
        grid = (image.shape[2] // 2, image.shape[3] // 2, image.shape[4] // 2)
        eps, fresh = (draw_noise(recipe.seed, number, 0, grid)[None].to(device) for number in (0, 1))
        assert network.denoiser is not None

        def answer(x_t: Tensor, level: float) -> Tensor:
            assert network.denoiser is not None
            return torch.sigmoid(network.denoiser(x_t, guidance, torch.tensor([level], device=device)).float())

        own = predicted_state(answer(eps, 1.0), b)
        dilated = functional.max_pool3d(truth, 9, stride=1, padding=4)
        states = {
            "own trajectory": own,
            "another study's": own if previous is None else _fitted(previous, grid),
            "truth (oracle)": clean_state(truth, b),
            "empty mask": torch.full_like(own, -b),
            "full mask": torch.full_like(own, b),
            "truth dilated 4 mm": clean_state(dilated, b),
        }
        found: dict[str, dict[float, float]] = {}
        for level in LEVELS:
            abar = alpha_bar(torch.tensor([level * recipe.timesteps], device=device), recipe.timesteps, recipe.schedule)
            shown = {kind: unit_variance(add_noise(x_0, eps, abar), abar, b) for kind, x_0 in states.items()}
            shown |= {"fresh noise": fresh, "zeros": torch.zeros_like(eps)}
            for kind, x_t in shown.items():
                d, h, w = size
                field = depth_to_space(answer(x_t, level))[0, :, :d, :h, :w].cpu().numpy() * study.brain
                found.setdefault(kind, {})[level] = float(np.mean(scores(field, study.labels, LabelRules())))
    return found, own


def _fitted(state: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """Another study's state on this study's grid: cut or filled with background at the far ends."""
    from torch.nn import functional

    room = [n for have, want in zip(reversed(state.shape[2:]), reversed(grid), strict=True) for n in (0, max(0, want - have))]
    d, h, w = grid
    return functional.pad(state, room, value=float(state.min()))[:, :, :d, :h, :w]


def lines(report: Mapping[str, Any], count: int) -> list[str]:
    """The report as text."""
    text = [f"{count} studies; Dice WT / TC / ET, and default minus row in mean Dice with its 90 % interval"]
    for name, row in report["rows"].items():
        low, high = row["default_minus_this"]["interval_90"]
        dice = " / ".join(f"{value:.3f}" for value in row["dice"].values())
        text.append(f"{name:34s} {dice}   {row['default_minus_this']['mean']:+.4f} ({low:+.4f} to {high:+.4f})")
    text.append(f"diffusion is {report['verdict']} against the model's own direct head")
    for kind, values in report.get("x_t replaced", {}).items():
        text.append(f"x_t: {kind:20s} " + "  ".join(f"{level} {value:.3f}" for level, value in values.items()))
    return text


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")
