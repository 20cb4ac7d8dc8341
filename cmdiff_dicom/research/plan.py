"""How a training runs: its length, its schedule of learning rate and patch size, and how often it looks up."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Plan:
    """How a training runs. `side` is the patch in mm; the last `wide_share` of the training uses `wide_side`.

    A wide patch holds nearly a whole brain. Group norm and attention see other statistics there than around a tumour, and a
    network that never met them finds tumour in healthy cortex. `synthetic` heads of `research.heads` join the studies.

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
    wide_side: int = 160
    wide_share: float = 0.35
    synthetic: int = 6
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
        """The side of the patch in mm."""
        return self.wide_side if self.share_at(step, seconds) >= 1 - self.wide_share else self.side

    def told(self) -> dict[str, Any]:
        """The plan as it travels in the recipe: JSON knows no infinity."""
        return {name: value for name, value in asdict(self).items() if value != math.inf}
