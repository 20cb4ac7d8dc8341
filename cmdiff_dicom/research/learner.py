"""What learns: the network, the running average of its weights, and the optimiser; one step at a time."""

from __future__ import annotations

from typing import Any

import torch

from cmdiff_dicom.research.augment import Sample
from cmdiff_dicom.research.objective import Objective, training_loss
from cmdiff_dicom.research.plan import Plan
from cmdiff_dicom.segment.network import CMDiff
from cmdiff_dicom.segment.recipe import Recipe
from cmdiff_dicom.segment.weights import build_network


class Learner:
    """A network in training. `average` holds the weights that are looked at and kept."""

    def __init__(self, network: CMDiff, recipe: Recipe, plan: Plan, device: str) -> None:
        self.recipe, self.plan, self.device, self.objective = recipe, plan, device, Objective()
        self.network = network.to(device).train()
        self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # torch types know no 3-D format
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=plan.rate, weight_decay=plan.decay, fused=True)

    def learn(self, sample: Sample, step: int, rate: float) -> float:
        """One optimiser step and its loss. The noise of a step is keyed by the seed and the step's number."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        generator = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + step)
        image, regions, available = (part[None].to(self.device) for part in (sample.image, sample.regions, sample.available))
        with torch.autocast(self.device.split(":", maxsplit=1)[0], torch.bfloat16, enabled=self.plan.half):
            loss = training_loss(self.network, image, available, regions, self.recipe, self.objective, generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self._follow(step)
        return float(loss.detach())

    def _follow(self, step: int) -> None:
        """The averaged weights follow the trained ones, faster at the start."""
        keep = min(self.plan.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            current = self.network.state_dict()
            torch._foreach_lerp_(list(self.average.values()), [current[name] for name in self.average], 1 - keep)

    def averaged(self) -> CMDiff:
        """A network of the averaged weights, for looking at and for keeping."""
        network = build_network(self.recipe).to(self.device)
        network.load_state_dict(self.average)
        return network.eval()

    def state(self) -> dict[str, Any]:
        """All that changes while learning."""
        return {"network": self.network.state_dict(), "average": self.average, "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from what `state` gave."""
        self.network.load_state_dict(state["network"])
        for name, value in state["average"].items():
            self.average[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
