"""The recipe: every choice that changes a result. It travels inside the weights file, so weights cannot be used otherwise."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cmdiff_dicom.errors import WeightsFault
from cmdiff_dicom.records import Sequence

FORMAT = 1
"""Raised when an older program could no longer do what a recipe asks."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "filter": ("none", "adaptive", "butterworth", "gaussian"),
    "standardisation": ("brain-zscore",),
    "network": ("cmdiff-3d", "direct-3d"),
    "schedule": ("cosine", "linear"),
    "sampler": ("ddim", "renoise"),
    "precision": ("auto", "float32", "bfloat16"),
}
"""The stages that this version knows, by field."""


@dataclass(frozen=True)
class Recipe:
    """What is done to a study, stage by stage.

    `filter` "none", `attention_scales` (), `network` "direct-3d" (no diffusion), `direct_weight` 1, `temperatures` of 1 and
    minimal volumes of 0 switch a stage off. Volumes in mm3; `direct_weight` is the share w of the encoder's own answer in
    the probabilities. `min_main_confidence` is asked of the main tumour where one or two sequences are all there is; a study
    that falls short is not analysed. `split` and `training` are told, not used.
    """

    name: str = "cmdiff"
    version: str = "0"
    channels: tuple[str, ...] = tuple(sequence.value for sequence in Sequence)
    filter: str = "none"
    filter_cutoff: float = 0.6
    standardisation: str = "brain-zscore"
    network: str = "cmdiff-3d"
    widths: tuple[int, ...] = (32, 64, 128, 128)
    condition: int = 16
    denoiser_widths: tuple[int, ...] = (16, 48, 96)
    attention_scales: tuple[int, ...] = (1, 2, 4)
    schedule: str = "cosine"
    timesteps: int = 1000
    signal_scale: float = 0.5
    sampler: str = "ddim"
    steps: int = 2
    eta: float = 0.0
    samples: int = 2
    seed: int = 2026
    direct_weight: float = 0.5
    temperatures: tuple[float, float, float] = (1.0, 1.0, 1.0)
    threshold: float = 0.5
    min_tumour_mm3: float = 0.0
    min_confidence: float = 0.0
    min_enhancing_mm3: float = 0.0
    min_enhancing_confidence: float = 0.0
    min_enhancing_share: float = 0.15
    min_main_confidence: float = 0.0
    precision: str = "auto"
    split: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise WeightsFault(
                    f"the recipe asks for {name} {getattr(self, name)!r}, this version knows {', '.join(known)}; "
                    "use the version that made the weights, or other weights"
                )
        wanted = tuple(sequence.value for sequence in Sequence)
        if self.channels != wanted:
            raise WeightsFault(f"the recipe's channels are {', '.join(self.channels)}; this version feeds {', '.join(wanted)}")
        if self.steps < 1 or self.samples < 1 or not 0 <= self.direct_weight <= 1 or min(self.temperatures) <= 0:
            raise WeightsFault("the recipe needs steps and samples of 1 or more, 0 <= direct_weight <= 1, temperatures above 0")

    def but(self, **changes: Any) -> Recipe:
        """The same recipe with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> str:
        """One JSON object with the format number; `from_json` gives an equal recipe back."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """The recipe in `text`; a stage that it does not name is off, as it was when the weights were made.

        Raises: WeightsFault for another format, an unknown field or an unknown stage.
        """
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise WeightsFault("the recipe in the weights file is not JSON; the file is damaged") from error
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise WeightsFault(f"the recipe in the weights file is not of format {FORMAT}; the weights are of another version")
        unknown = sorted(set(content) - {entry.name for entry in dataclasses.fields(cls)})
        if unknown:
            raise WeightsFault(f"the recipe's fields {', '.join(unknown)} are unknown; the weights are of a newer version")
        content = {"split": {}, "training": {}, **content}
        for name in ("split", "training"):
            if not isinstance(content[name], dict):
                raise WeightsFault(f"the recipe's field {name} is not a table; the file is damaged")
        content["split"] = {part: tuple(names) for part, names in content["split"].items()}
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
        return cls(**values)
