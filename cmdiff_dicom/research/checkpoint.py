"""The checkpoint: everything that a training needs to go on as if it had not been cut."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cmdiff_dicom.segment.recipe import Recipe

LEARNER = ("network", "average", "optimizer")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """One moment of a training: `learner` is `Learner.state()`, `progress` counts and scores, `rows` the curves so far."""

    recipe: Recipe
    seed: int
    learner: dict[str, Any]
    progress: dict[str, Any]
    rows: list[dict[str, float]]

    def write(self, path: Path) -> None:
        """Written aside, synced and renamed: a kill leaves the one before or this one, whole."""
        content = {"recipe": self.recipe.to_json(), "seed": self.seed, "progress": self.progress, "rows": self.rows}
        beside = path.with_suffix(".part")
        with beside.open("wb") as file:
            torch.save(content | self.learner, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)

    @classmethod
    def read(cls, path: Path, device: str) -> Checkpoint | None:
        """What the file holds, on the device; None where there is no file."""
        if not path.exists():
            return None
        content = torch.load(path, map_location=device, weights_only=True)
        learner = {name: content[name] for name in LEARNER}
        return cls(Recipe.from_json(content["recipe"]), content["seed"], learner, content["progress"], content["rows"])
