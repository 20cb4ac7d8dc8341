"""The weights file: safetensors with half-precision tensors and the recipe in its header; its sha256 is its identity."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from cmdiff_dicom.errors import WeightsFault
from cmdiff_dicom.segment.identity import read_weights
from cmdiff_dicom.segment.network import CMDiff
from cmdiff_dicom.segment.recipe import Recipe


def build_network(recipe: Recipe) -> CMDiff:
    """The untrained network that the recipe names."""
    return CMDiff(
        recipe.widths,
        recipe.condition,
        recipe.denoiser_widths,
        recipe.attention_scales,
        with_denoiser=recipe.network == "cmdiff-3d",
    )


def save_weights(path: Path, network: CMDiff, recipe: Recipe) -> str:
    """Writes network and recipe beside `path` and renames; returns the file's sha256."""
    from safetensors.torch import save

    tensors = {name: value.detach().to("cpu", torch.float16).contiguous() for name, value in network.state_dict().items()}
    content = save(tensors, metadata={"recipe": recipe.to_json()})
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(content)
    beside.replace(path)
    return hashlib.sha256(content).hexdigest()


def load_weights(path: Path, sha256: str | None = None) -> tuple[CMDiff, Recipe, str]:
    """The network in evaluation mode, its recipe, and the file's sha256.

    Raises: WeightsFault where the file is missing or damaged, is not the one of `sha256`, or does not fit its own recipe.
    """
    from safetensors import SafetensorError, safe_open

    _, found = read_weights(path, sha256)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise WeightsFault(f"the weights file {path} is not readable safetensors; it is damaged") from error
    if "recipe" not in metadata:
        raise WeightsFault(f"the weights file {path} carries no recipe; it was not made by `cmdiff-dicom train`")
    recipe = Recipe.from_json(metadata["recipe"])
    network = build_network(recipe)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise WeightsFault(f"the weights in {path} do not fit the network that their recipe names") from error
    return network.eval(), recipe, found
