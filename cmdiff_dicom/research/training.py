"""The loop of a training: step, look at the tuning studies, save, and at the end choose what is chosen after training.

Every random draw of step n is keyed by (seed, n): a run that was killed goes on from its last checkpoint as if it had not
been. On a CPU with a fixed number of threads the same seed gives the same weights.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from cmdiff_dicom.errors import SettingsFault
from cmdiff_dicom.records import Region
from cmdiff_dicom.research.augment import Augmenter, Sample
from cmdiff_dicom.research.calibrate import calibrated
from cmdiff_dicom.research.checkpoint import Checkpoint
from cmdiff_dicom.research.console import duration, tell
from cmdiff_dicom.research.curves import write_curves
from cmdiff_dicom.research.heads import synthetic_studies
from cmdiff_dicom.research.learner import Learner
from cmdiff_dicom.research.plan import Plan
from cmdiff_dicom.research.studies import studies_of_split
from cmdiff_dicom.research.tuning import tuning_dice
from cmdiff_dicom.segment.network import CMDiff
from cmdiff_dicom.segment.recipe import Recipe
from cmdiff_dicom.segment.weights import build_network, load_weights, save_weights


class Training:
    """One training run and its folder."""

    def __init__(self, data: Path, out: Path, plan: Plan, recipe: Recipe, device: str, network: CMDiff | None) -> None:
        self.out, self.plan, self.device = out, plan, device
        self.checkpoint = out / "checkpoint.pt"
        held = Checkpoint.read(self.checkpoint, device)
        self.train, self.tune, split = studies_of_split(data, held.recipe.split if held else recipe.split, tell)
        self.train += synthetic_studies(plan.synthetic)
        self.recipe = recipe.but(split=dict(split))
        torch.manual_seed(plan.seed)
        self.learner = Learner(network or build_network(recipe), self.recipe, plan, device)
        self.augmenters = {side: Augmenter(side, plan.plain) for side in {plan.side, plan.wide_side}}
        self.step, self.seconds, self.best, self.stale = 0, 0.0, -1.0, 0
        self.rows: list[dict[str, float]] = []
        if held:
            self.resume(held)
        self.first = self.step

    def run(self) -> None:
        """To the last step, or until the tuning studies no longer get better."""
        heads = self.plan.synthetic
        tell(
            f"{len(self.train) - heads} studies and {heads} synthetic heads to train, {len(self.tune)} studies to tune, "
            f"{self.device}, bfloat16 {self.plan.half}"
        )
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
                    self.report(losses[-25:], now - started)
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
        """How much of the training is done, 0 to 1."""
        return self.plan.share_at(self.step, self.seconds)

    def one_step(self) -> float:
        """One optimiser step; everything random in it is keyed by the seed and the step's number."""
        return self.learner.learn(self.sample_at(self.step), self.step, self.plan.rate_at(self.step, self.seconds))

    def sample_at(self, step: int) -> Sample:
        """The sample of a step: studies in an order drawn anew for each round."""
        count, plan = len(self.train), self.plan
        order = np.random.default_rng((plan.seed, 1, step // count)).permutation(count)
        partner = np.random.default_rng((plan.seed, 2, step)).integers(count)
        study = self.train[order[step % count]]
        return self.augmenters[plan.side_at(step, self.seconds)].sample(study, self.train[partner], (plan.seed, 3, step))

    def report(self, losses: list[float], elapsed: float) -> None:
        """Where the training is, and how long it will take."""
        rate = elapsed / max(1, self.step - self.first)
        left = min((self.plan.steps - self.step) * rate, self.plan.minutes * 60 - self.seconds)
        mean = sum(losses) / len(losses)
        tell(f"step {self.step}/{self.plan.steps}  loss {mean:.4f}  {rate:.2f} s a step  {duration(left)} left")

    def evaluate(self, losses: list[float]) -> None:
        """Segments the tuning studies with the averaged weights, writes the curves, keeps the weights if they are the best."""
        network = self.learner.averaged()
        dice = tuning_dice(network, self.tune, self.recipe, self.device, self.plan.half)
        score = sum(dice.get("sampled", dice["direct"])) / 3 if dice else self.best
        row = {"step": self.step, "seconds": round(self.seconds), "rate": self.plan.rate_at(self.step, self.seconds)}
        row["loss"] = sum(losses) / max(1, len(losses))
        for kind, values in dice.items():
            row |= {f"{kind}_{region.name}": value for region, value in zip(Region, values, strict=True)}
        self.rows.append(row)
        write_curves(self.out, self.rows)
        tell(
            "tuning studies: " + "  ".join(f"{kind} {' / '.join(f'{v:.3f}' for v in values)}" for kind, values in dice.items())
        )
        better = score > self.best or not dice  # without tuning studies the last weights are the ones to keep
        self.stale = 0 if better else self.stale + 1
        recipe = self.recipe.but(training={**self.plan.told(), "reached": self.step, "seconds": round(self.seconds)})
        if better:
            self.best = score
            save_weights(self.out / "weights.safetensors", network, recipe)
        save_weights(self.out / "latest.safetensors", network, recipe)

    def finish(self) -> None:
        """What is chosen on the tuning studies joins the weights: steps, samples, averaging, temperatures, rules."""
        path = self.out / "weights.safetensors"
        if not self.tune or not path.exists():
            return
        network, recipe, _ = load_weights(path)
        recipe = calibrated(network.to(self.device), recipe, self.tune, self.device, self.plan.half, tell)
        tell(f"{path} has sha256 {save_weights(path, network, recipe)}")

    def save(self) -> None:
        """Leaves the checkpoint of this moment."""
        progress = {"step": self.step, "seconds": self.seconds, "best": self.best, "stale": self.stale}
        Checkpoint(self.recipe, self.plan.seed, self.learner.state(), progress, self.rows).write(self.checkpoint)

    def resume(self, held: Checkpoint) -> None:
        """Goes on from a checkpoint. Raises: SettingsFault where it belongs to another training."""
        if held.recipe != self.recipe or held.seed != self.plan.seed:
            raise SettingsFault(
                f"{self.checkpoint} was made with other studies, another seed or another network; use a new folder"
            )
        self.learner.restore(held.learner)
        self.step, self.seconds, self.best, self.stale = (held.progress[n] for n in ("step", "seconds", "best", "stale"))
        self.rows = held.rows
        tell(f"resumed at step {self.step}")
