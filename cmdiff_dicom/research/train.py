"""`cmdiff-dicom train`: learns CMDiff, or its control without diffusion, from a folder of BraTS studies."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cmdiff_dicom.errors import SettingsFault
from cmdiff_dicom.research.console import add_common_arguments
from cmdiff_dicom.research.plan import Plan

if TYPE_CHECKING:
    from cmdiff_dicom.segment.network import CMDiff
    from cmdiff_dicom.segment.recipe import Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `cmdiff-dicom train`."""
    add_common_arguments(parser)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for checkpoint, curves and weights; resumed if it has any"
    )
    parser.add_argument("--steps", type=int, default=Plan.steps, help="optimiser steps in all; may be changed when resuming")
    parser.add_argument(
        "--minutes", type=float, default=Plan.minutes, help="end, annealed, after so long (not repeatable to the bit)"
    )
    parser.add_argument("--seed", type=int, default=Plan.seed, help="of weights, order, augmentation and noise")
    parser.add_argument("--rate", type=float, default=Plan.rate, help="highest learning rate; less for fine-tuning")
    parser.add_argument("--side", type=int, default=Plan.side, help="side of a training patch in mm, a multiple of 16")
    parser.add_argument("--wide-side", type=int, default=Plan.wide_side, help="side of the wide patches at the end, in mm")
    parser.add_argument(
        "--wide-share", type=float, default=Plan.wide_share, help="share of the steps, at the end, on wide patches"
    )
    parser.add_argument(
        "--control", action="store_true", help="train the encoder with its direct head alone, without diffusion"
    )
    parser.add_argument("--no-attention", action="store_true", help="leave out the multi-scale channel attention")
    parser.add_argument(
        "--synthetic", type=int, default=Plan.synthetic, help="so many synthetic heads join, half of them without a tumour"
    )
    parser.add_argument("--plain", action="store_true", help="no augmentation")
    parser.add_argument(
        "--from", dest="start", type=Path, help="fine-tune these weights on their own split, instead of starting from nothing"
    )
    parser.add_argument("--name", default="0", help="version that the weights will carry")
    parser.add_argument("--checkpoint-seconds", type=float, default=Plan.checkpoint_s, help="how much a kill may lose at most")
    parser.add_argument(
        "--evaluate-seconds", type=float, default=Plan.evaluate_s, help="how often the tuning studies are segmented"
    )
    parser.add_argument(
        "--patience", type=int, default=Plan.patience, help="stop after so many evaluations without a better one"
    )


def run(arguments: argparse.Namespace) -> int:
    """Trains, or goes on training, and leaves `weights.safetensors`, `curves.csv` and `curves.png` in the output folder."""
    import torch

    from cmdiff_dicom.research.memory import keep_freed_memory
    from cmdiff_dicom.research.training import Training

    keep_freed_memory()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = arguments.device if arguments.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    plan, (network, recipe) = plan_of(arguments, device), start_of(arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    Training(arguments.data, arguments.out, plan, recipe, device, network).run()
    return 0


def plan_of(arguments: argparse.Namespace, device: str) -> Plan:
    """The plan that the options ask for. Raises: SettingsFault for patches that do not fit the network's grid."""
    from cmdiff_dicom.segment.segmenter import half_is_fast

    if arguments.side % 16 or arguments.wide_side % 16:
        raise SettingsFault("--side and --wide-side must be multiples of 16 mm")
    return Plan(
        steps=arguments.steps,
        minutes=arguments.minutes,
        seed=arguments.seed,
        rate=arguments.rate,
        side=arguments.side,
        wide_side=arguments.wide_side,
        wide_share=arguments.wide_share,
        synthetic=arguments.synthetic,
        plain=arguments.plain,
        half=half_is_fast(device),
        checkpoint_s=arguments.checkpoint_seconds,
        evaluate_s=arguments.evaluate_seconds,
        patience=arguments.patience,
    )


def start_of(arguments: argparse.Namespace) -> tuple[CMDiff | None, Recipe]:
    """The network to start from, None for an untrained one, and the recipe of what is trained."""
    from cmdiff_dicom.segment.recipe import Recipe
    from cmdiff_dicom.segment.weights import load_weights

    network, recipe = None, Recipe(version=arguments.name, network="direct-3d" if arguments.control else "cmdiff-3d")
    if arguments.no_attention:
        recipe = recipe.but(attention_scales=())
    if arguments.start:
        network, recipe, _ = load_weights(arguments.start)
        recipe = recipe.but(version=arguments.name)
        if arguments.control:
            network.denoiser, recipe = None, recipe.but(network="direct-3d")
    return network, recipe
