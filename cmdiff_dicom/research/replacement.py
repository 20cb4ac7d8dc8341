"""Does the denoiser use x_t? One denoiser call at several noise levels, with something else in the place of x_t.

A diagnosis, no verdict: a denoiser at a low noise level must trust x_t, so fresh noise there must do harm, even where x_t
adds nothing to what the image says.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cmdiff_dicom.research.answers import scores
from cmdiff_dicom.research.augment import TrainingStudy
from cmdiff_dicom.restore import LabelRules, regions_from_labels
from cmdiff_dicom.segment.ddim import predicted_state
from cmdiff_dicom.segment.diffusion import add_noise, alpha_bar, clean_state, unit_variance
from cmdiff_dicom.segment.inference import padding
from cmdiff_dicom.segment.network import depth_to_space
from cmdiff_dicom.segment.noise import draw_noise
from cmdiff_dicom.segment.segmenter import Segmenter

LEVELS = (1.0, 0.75, 0.5, 0.25, 0.1)
"""t / T."""
OWN, TRUTH, FRESH = "own trajectory", "truth (oracle)", "fresh noise"
BAND_MM = 5
Field = NDArray[np.float32]


class Answer(NamedTuple):
    """With a stand-in for x_t: mean Dice of the regions, and mean change of probability within 5 mm of the tumour's edge."""

    dice: float
    change: float


Answers = dict[str, dict[float, Answer]]
"""Stand-in -> t/T -> answer."""


def replaced(model: Segmenter, study: TrainingStudy, previous: Tensor | None) -> tuple[Answers, Tensor]:
    """Answers for one study, and its own first guess of x_0, which is the next study's "another study's"."""
    recipe, device, size = model.recipe, model.device, study.labels.shape
    denoiser = model.network.denoiser
    assert denoiser is not None
    with torch.inference_mode(), torch.autocast(device.split(":", maxsplit=1)[0], torch.bfloat16, enabled=model.half):
        image = functional.pad(torch.from_numpy(study.image).float().to(device), padding(size))[None]
        guidance = model.network.encoder(image, torch.ones(1, 4, device=device))
        truth = functional.pad(torch.from_numpy(regions_from_labels(study.labels)).float().to(device), padding(size))[None]
        grid = (image.shape[2] // 2, image.shape[3] // 2, image.shape[4] // 2)
        eps, fresh = (draw_noise(recipe.seed, number, 0, grid)[None].to(device) for number in (0, 1))

        def said(x_t: Tensor, level: float) -> Tensor:
            return torch.sigmoid(denoiser(x_t, guidance, torch.tensor([level], device=device)).float())

        def field(x_t: Tensor, level: float) -> Field:
            d, h, w = size
            inside = depth_to_space(said(x_t, level))[0, :, :d, :h, :w].cpu().numpy() * study.brain
            return np.asarray(inside, dtype=np.float32)

        own = predicted_state(said(eps, 1.0), recipe.signal_scale)
        states = _stand_ins(own, truth, previous, recipe.signal_scale)
        found: Answers = {}
        for level in LEVELS:
            abar = alpha_bar(torch.tensor([level * recipe.timesteps], device=device), recipe.timesteps, recipe.schedule)
            b = recipe.signal_scale
            shown = {kind: unit_variance(add_noise(x_0, eps, abar), abar, b) for kind, x_0 in states.items()}
            usual = field(shown.pop(OWN), level)
            found.setdefault(OWN, {})[level] = _answer(usual, usual, study)
            for kind, x_t in (shown | {FRESH: fresh, "zeros": torch.zeros_like(eps)}).items():
                found.setdefault(kind, {})[level] = _answer(field(x_t, level), usual, study)
    return found, own


def _stand_ins(own: Tensor, truth: Tensor, previous: Tensor | None, b: float) -> dict[str, Tensor]:
    """What x_t is made from: states x_0 (1, 3, D, H, W) in [-b, b]; `truth` (1, 3, k, j, i) in {0, 1}."""
    dilated = functional.max_pool3d(truth, 9, stride=1, padding=4)
    grid = (own.shape[2], own.shape[3], own.shape[4])
    return {
        OWN: own,
        "another study's": own if previous is None else _fitted(previous, grid),
        TRUTH: clean_state(truth, b),
        "empty mask": torch.full_like(own, -b),
        "full mask": torch.full_like(own, b),
        "truth dilated 4 mm": clean_state(dilated, b),
    }


def _answer(field: Field, usual: Field, study: TrainingStudy) -> Answer:
    dice = float(np.mean(scores(field, study.labels, LabelRules())))
    band = (np.abs(study.depth) <= BAND_MM) & study.brain
    return Answer(dice, float(np.abs(field - usual)[:, band].mean()) if band.any() else 0.0)


def _fitted(state: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """Another study's state on this study's grid: cut or filled with background at the far ends."""
    room = [n for have, want in zip(reversed(state.shape[2:]), reversed(grid), strict=True) for n in (0, max(0, want - have))]
    d, h, w = grid
    return functional.pad(state, room, value=float(state.min()))[:, :, :d, :h, :w]


def means(studies: list[Answers]) -> Answers:
    """Means over studies."""
    return {
        kind: {level: Answer(*np.mean([study[kind][level] for study in studies], axis=0).tolist()) for level in LEVELS}
        for kind in studies[0]
    }
