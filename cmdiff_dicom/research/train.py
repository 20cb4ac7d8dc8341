"""`cmdiff-dicom train`: learns CMDiff, or its control without diffusion, from a folder of BraTS studies.

Every random draw of step n is keyed by (seed, n): a run that was killed goes on from its last checkpoint as if it had not
been. On a CPU with a fixed number of threads the same seed gives the same weights.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmdiff_dicom.errors import SettingsFault

if TYPE_CHECKING:
    from torch import Tensor

    from cmdiff_dicom.research.augment import TrainingStudy
    from cmdiff_dicom.segment.network import CMDiff
    from cmdiff_dicom.segment.recipe import Recipe


@dataclass(frozen=True)
class Plan:
    """How a training runs. `side` is the patch in mm; the last `wide_share` of the training uses `wide_side`.

    With `minutes` the schedule follows the clock where that is faster than the steps: the training ends well annealed
    on a machine of any speed, but is not repeatable to the bit.
    """

    steps: int = 4000
    minutes: float = math.inf
    seed: int = 1
    rate: float = 2e-3
    warm_up: int = 100
    decay: float = 1e-4
    ema: float = 0.995
    side: int = 96
    wide_side: int = 128
    wide_share: float = 0.15
    plain: bool = False
    half: bool = True
    checkpoint_s: float = 240.0
    evaluate_s: float = 600.0
    patience: int = 8

    def share_at(self, step: int, seconds: float) -> float:
        """How much of the training is done, 0 to 1."""
        return min(1.0, max(step / max(1, self.steps), seconds / 60 / self.minutes))

    def rate_at(self, step: int, seconds: float = 0.0) -> float:
        """Linear warm-up, then a cosine down to a hundredth."""
        fall = (1 + math.cos(math.pi * self.share_at(step, seconds))) / 2
        return self.rate * min(1.0, (step + 1) / self.warm_up) * (0.01 + 0.99 * fall)

    def side_at(self, step: int, seconds: float = 0.0) -> int:
        return self.wide_side if self.share_at(step, seconds) >= 1 - self.wide_share else self.side


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `cmdiff-dicom train`."""
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with BraTS studies (any year's names), searched in depth"
    )
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
    parser.add_argument("--plain", action="store_true", help="no augmentation")
    parser.add_argument(
        "--from", dest="start", type=Path, help="fine-tune these weights on their own split, instead of starting from nothing"
    )
    parser.add_argument("--name", default="0", help="version that the weights will carry")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ...; auto takes a GPU if there is one")
    parser.add_argument("--threads", type=int, help="CPU threads; fixed, it makes training repeatable to the bit")
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

    from cmdiff_dicom.segment.recipe import Recipe
    from cmdiff_dicom.segment.segmenter import half_is_fast
    from cmdiff_dicom.segment.weights import load_weights

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.side % 16 or arguments.wide_side % 16:
        raise SettingsFault("--side and --wide-side must be multiples of 16 mm")
    device = arguments.device if arguments.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    plan = Plan(
        steps=arguments.steps,
        minutes=arguments.minutes,
        seed=arguments.seed,
        rate=arguments.rate,
        side=arguments.side,
        wide_side=arguments.wide_side,
        wide_share=arguments.wide_share,
        plain=arguments.plain,
        half=half_is_fast(device),
        checkpoint_s=arguments.checkpoint_seconds,
        evaluate_s=arguments.evaluate_seconds,
        patience=arguments.patience,
    )
    network, recipe = None, Recipe(version=arguments.name, network="direct-3d" if arguments.control else "cmdiff-3d")
    if arguments.no_attention:
        recipe = recipe.but(attention_scales=())
    if arguments.start:
        network, recipe, _ = load_weights(arguments.start)
        recipe = recipe.but(version=arguments.name)
        if arguments.control:
            network.denoiser, recipe = None, recipe.but(network="direct-3d")
    arguments.out.mkdir(parents=True, exist_ok=True)
    Training(arguments.data, arguments.out, plan, recipe, device, network).run()
    return 0


def tell(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Training:
    """One training run and its folder."""

    def __init__(self, data: Path, out: Path, plan: Plan, recipe: Recipe, device: str, network: CMDiff | None) -> None:
        import torch

        from cmdiff_dicom.research.augment import Augmenter
        from cmdiff_dicom.research.brats import find_studies, split_by_patient
        from cmdiff_dicom.research.objective import Objective
        from cmdiff_dicom.research.studies import load_studies, volumes_ml
        from cmdiff_dicom.segment.recipe import Recipe
        from cmdiff_dicom.segment.weights import build_network

        self.out, self.plan, self.device, self.objective = out, plan, device, Objective()
        self.held = self.read_checkpoint()
        split = dict(Recipe.from_json(self.held["recipe"]).split if self.held else recipe.split)
        if not set(split.get("train", ())) & set(find_studies(data)):
            split = {}
        studies = load_studies(data, tell, {*split["train"], *split["tune"]} if split else None)
        split = split or split_by_patient(volumes_ml(studies))
        self.train = [studies[name] for name in split["train"] if name in studies]
        self.tune = [studies[name] for name in split["tune"] if name in studies]
        if not self.train:
            raise SettingsFault("no study of this folder is left to train on")
        self.recipe = recipe.but(split=split)
        torch.manual_seed(plan.seed)
        self.network = (network or build_network(recipe)).to(device).train()
        self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=plan.rate, weight_decay=plan.decay, fused=True)
        self.augmenters = {side: Augmenter(side, plan.plain) for side in {plan.side, plan.wide_side}}
        self.step, self.seconds, self.best, self.stale = 0, 0.0, -1.0, 0
        self.rows: list[dict[str, float]] = []
        self.resume()

    # --- the loop ---------------------------------------------------------------------------

    def run(self) -> None:
        """To the last step, or until the tuning studies no longer get better."""
        tell(f"{len(self.train)} studies to train, {len(self.tune)} to tune, {self.device}, bfloat16 {self.plan.half}")
        saved = evaluated = started = time.monotonic()
        before = self.seconds
        losses: list[float] = []
        try:
            while self.share < 1 and self.stale < self.plan.patience:
                losses.append(self.one_step())
                self.step += 1
                now = time.monotonic()
                self.seconds = before + now - started
                if self.step % 25 == 0:
                    self.progress(losses[-25:], now - started)
                last = self.share == 1
                if last or now - evaluated > self.plan.evaluate_s:
                    self.evaluate(losses[-200:])
                    evaluated = time.monotonic()
                if last or time.monotonic() - saved > self.plan.checkpoint_s:
                    self.save()
                    saved = time.monotonic()
        except KeyboardInterrupt:
            self.save()
            tell(f"stopped at step {self.step}; the same command goes on from here")
            raise
        self.save()
        self.finish()

    @property
    def share(self) -> float:
        return self.plan.share_at(self.step, self.seconds)

    def one_step(self) -> float:
        """One optimiser step; everything random in it is keyed by the seed and the step's number."""
        import torch

        from cmdiff_dicom.research.objective import training_loss

        plan = self.plan
        sample = self.sample_at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = plan.rate_at(self.step, self.seconds)
        generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + self.step)
        image, regions, available = (part[None].to(self.device) for part in (sample.image, sample.regions, sample.available))
        with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=plan.half):
            parts = training_loss(self.network, image, available, regions, self.recipe, self.objective, generator)
        self.optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.follow()
        return float(parts["loss"].detach())

    def sample_at(self, step: int) -> Any:
        """The sample of a step: studies in an order drawn anew for each round."""
        import numpy as np

        count, plan = len(self.train), self.plan
        order = np.random.default_rng((plan.seed, 1, step // count)).permutation(count)
        partner = np.random.default_rng((plan.seed, 2, step)).integers(count)
        study = self.train[order[step % count]]
        return self.augmenters[plan.side_at(step, self.seconds)].sample(study, self.train[partner], (plan.seed, 3, step))

    def follow(self) -> None:
        """The averaged weights follow the trained ones, faster at the start."""
        import torch

        keep = min(self.plan.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            current = self.network.state_dict()
            torch._foreach_lerp_(list(self.average.values()), [current[name] for name in self.average], 1 - keep)

    def progress(self, losses: list[float], elapsed: float) -> None:
        rate = elapsed / max(1, self.step - self.first)
        left = min((self.plan.steps - self.step) * rate, self.plan.minutes * 60 - self.seconds)
        mean = sum(losses) / len(losses)
        tell(f"step {self.step}/{self.plan.steps}  loss {mean:.4f}  {rate:.2f} s a step  {left / 60:.0f} min left")

    # --- tuning studies ---------------------------------------------------------------------

    def evaluate(self, losses: list[float]) -> None:
        """Segments the tuning studies with the averaged weights, writes the curves, keeps the weights if they are the best."""
        from cmdiff_dicom.segment.weights import build_network, save_weights

        network = build_network(self.recipe).to(self.device)
        network.load_state_dict(self.average)
        network.eval()
        dice = tuning_dice(network, self.tune, self.recipe, self.device, self.plan.half)
        score = sum(dice.get("sampled", dice["direct"])) / 3
        row = {"step": self.step, "seconds": round(self.seconds), "rate": self.plan.rate_at(self.step, self.seconds)}
        row["loss"] = sum(losses) / max(1, len(losses))
        for kind, values in dice.items():
            row |= {f"{kind}_{region}": value for region, value in zip(("WT", "TC", "ET"), values, strict=True)}
        self.rows.append(row)
        write_curves(self.out, self.rows)
        tell(
            "tuning studies: " + "  ".join(f"{kind} {' / '.join(f'{v:.3f}' for v in values)}" for kind, values in dice.items())
        )
        self.stale = 0 if score > self.best else self.stale + 1
        plan = {name: value for name, value in asdict(self.plan).items() if value != math.inf}
        recipe = self.recipe.but(training={**plan, "reached": self.step, "seconds": round(self.seconds)})
        if score > self.best:
            self.best = score
            save_weights(self.out / "weights.safetensors", network, recipe)
        save_weights(self.out / "latest.safetensors", network, recipe)

    def finish(self) -> None:
        """What is chosen on the tuning studies joins the weights: steps, samples, averaging, temperatures, rules."""
        from cmdiff_dicom.research.calibrate import calibrated
        from cmdiff_dicom.segment.weights import load_weights, save_weights

        path = self.out / "weights.safetensors"
        if not self.tune or not path.exists():
            return
        network, recipe, _ = load_weights(path)
        recipe = calibrated(network.to(self.device), recipe, self.tune, self.device, self.plan.half, tell)
        tell(f"{path} has sha256 {save_weights(path, network, recipe)}")

    # --- the checkpoint ---------------------------------------------------------------------

    @property
    def checkpoint(self) -> Path:
        return self.out / "checkpoint.pt"

    def save(self) -> None:
        """Everything needed to go on, written aside and renamed."""
        import torch

        beside = self.checkpoint.with_suffix(".part")
        content = {
            "recipe": self.recipe.to_json(),
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "progress": {"step": self.step, "seconds": self.seconds, "best": self.best, "stale": self.stale},
            "rows": self.rows,
            "seed": self.plan.seed,
        }
        with beside.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.checkpoint)

    def read_checkpoint(self) -> dict[str, Any]:
        """What the folder's checkpoint holds; empty where there is none."""
        import torch

        if not self.checkpoint.exists():
            return {}
        return dict(torch.load(self.checkpoint, map_location=self.device, weights_only=True))

    def resume(self) -> None:
        """Goes on from the folder's checkpoint, if there is one."""
        from cmdiff_dicom.segment.recipe import Recipe

        self.first, content, self.held = 0, self.held, {}
        if not content:
            return
        recipe = Recipe.from_json(content["recipe"])
        if recipe != self.recipe or content["seed"] != self.plan.seed:
            raise SettingsFault(
                f"{self.checkpoint} was made with other studies, another seed or another network; use a new folder"
            )
        self.network.load_state_dict(content["network"])
        for name, value in content["average"].items():
            self.average[name].copy_(value)
        self.optimizer.load_state_dict(content["optimizer"])
        progress = content["progress"]
        self.step, self.seconds, self.best, self.stale = (progress[name] for name in ("step", "seconds", "best", "stale"))
        self.rows, self.first = content["rows"], self.step
        tell(f"resumed at step {self.step}")


def tuning_dice(
    network: CMDiff, studies: list[TrainingStudy], recipe: Recipe, device: str, half: bool
) -> dict[str, tuple[float, ...]]:
    """Mean Dice of WT, TC, ET over whole studies at threshold 0.5: direct head, and samples with it averaged in."""
    import torch

    from cmdiff_dicom.research.brats import regions_from_labels
    from cmdiff_dicom.segment.inference import combine, predict

    sums: dict[str, list[list[float]]] = {}
    for study in studies:
        truth = torch.from_numpy(regions_from_labels(study.labels)).to(device)
        image = torch.from_numpy(study.image).float().to(device)
        prediction = predict(network, image, torch.ones(4, dtype=torch.bool, device=device), recipe, half)
        answers = {"direct": prediction.direct}
        if prediction.sampled is not None:
            answers["sampled"] = combine(prediction, recipe.direct_weight)[0]
        for kind, probability in answers.items():
            sums.setdefault(kind, []).append(_dice(probability > 0.5, truth))
    return {kind: tuple(sum(column) / len(column) for column in zip(*rows, strict=True)) for kind, rows in sums.items()}


def _dice(predicted: Tensor, truth: Tensor) -> list[float]:
    both = (predicted & truth).sum((1, 2, 3)).tolist()
    total = (predicted.sum((1, 2, 3)) + truth.sum((1, 2, 3))).tolist()
    return [2 * b / t if t else 1.0 for b, t in zip(both, total, strict=True)]


def write_curves(out: Path, rows: list[dict[str, float]]) -> None:
    """`curves.csv` and `curves.png`: training loss against Dice on the tuning studies."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    with (out / "curves.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[-1]))
        writer.writeheader()
        writer.writerows(rows)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    steps = [row["step"] for row in rows]
    left.plot(steps, [row["loss"] for row in rows], marker=".")
    left.set(xlabel="step", ylabel="training loss", title="training studies")
    for name in rows[-1]:
        if name.startswith(("direct_", "sampled_")):
            style = "--" if name.startswith("direct_") else "-"
            right.plot(steps, [row[name] for row in rows], style, label=name.replace("_", " "))
    right.set(xlabel="step", ylabel="mean Dice", title="tuning studies", ylim=(0, 1))
    right.legend(fontsize="small")
    figure.savefig(out / "curves.png", dpi=110)
    pyplot.close(figure)
