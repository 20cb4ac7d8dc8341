"""PreparedStudy in, SegmentationResult out: filter, standardise, guide, sample, average, calibrate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cmdiff_dicom.errors import BrainNotFound, DeviceOutOfMemory, SettingsFault, UnreadablePixels
from cmdiff_dicom.geometry import Box, box_around, frozen
from cmdiff_dicom.records import ModelIdentity, PreparedStudy, Sampling, SegmentationResult
from cmdiff_dicom.segment.fourier import filter_volume
from cmdiff_dicom.segment.identity import SHIPPED, shipped_digest
from cmdiff_dicom.segment.inference import combine, predict
from cmdiff_dicom.segment.network import CMDiff
from cmdiff_dicom.segment.recipe import Recipe
from cmdiff_dicom.segment.standardise import standardise
from cmdiff_dicom.segment.weights import load_weights


def load_segmenter(weights: Path | None = None, device: str = "auto", threads: int = 0) -> Segmenter:
    """A segmenter of the given weights, or of those that ship. `device` is auto, cpu, cuda, cuda:1, ...; 0 threads: all cores.

    Raises: WeightsFault for a missing, altered or foreign file; SettingsFault for a device that is not there.
    """
    if threads:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and (torch.device(device).index or 0) >= torch.cuda.device_count():
        raise SettingsFault(
            f"the device {device!r} is asked for, but {torch.cuda.device_count()} CUDA devices are there; set it to auto or cpu"
        )
    network, recipe, sha256 = load_weights(weights or SHIPPED, None if weights else shipped_digest())
    return Segmenter(network, recipe, sha256, device)


def half_is_fast(device: str) -> bool:
    """True where bfloat16 convolutions are a gain: a CUDA device that has them, a CPU with the instructions for them."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported())
    asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(bool(question()) for question in asked if question)


class Segmenter:
    """A loaded model on a device. Immutable in what it answers: the same study gives the same result."""

    def __init__(self, network: CMDiff, recipe: Recipe, sha256: str, device: str = "cpu") -> None:
        self.recipe = recipe
        self.device = device
        self.model = ModelIdentity(recipe.name, recipe.version, sha256)
        self.half = recipe.precision == "bfloat16" or (recipe.precision == "auto" and half_is_fast(device))
        self.network = network.to(device).eval()
        self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # torch types know no 3-D format

    @property
    def device_name(self) -> str:
        """What `check` and reports call the device; results are the same to the bit only where all of it is the same."""
        precision = "bfloat16" if self.half else "float32"
        if self.device.startswith("cuda"):
            return f"{torch.cuda.get_device_name(self.device)}, {precision}"
        return f"cpu, {torch.get_num_threads()} threads, {precision}"

    def with_recipe(self, recipe: Recipe) -> Segmenter:
        """The same network used otherwise, for measuring what a stage brings."""
        return Segmenter(self.network, recipe, self.model.weights_sha256, self.device)

    def segment(self, prepared: PreparedStudy) -> SegmentationResult:
        """Region probabilities and their spread on the model grid, 0 outside the brain.

        Raises: UnreadablePixels, NoUsableSequence, BrainNotFound for input without sense; DeviceOutOfMemory.
        """
        if prepared.image.shape[0] != len(self.recipe.channels):
            raise UnreadablePixels(
                f"{prepared.image.shape[0]} channels were prepared, the model wants {', '.join(self.recipe.channels)}"
            )
        if not prepared.brain.any():
            raise BrainNotFound("the brain mask is empty; there is nothing to segment")
        box = box_around(prepared.brain)
        try:
            probability, spread, present = self._within(prepared, box)
        except torch.cuda.OutOfMemoryError as error:
            raise DeviceOutOfMemory(f"{self.device_name} has too little free memory for one study") from error
        whole = np.zeros((2, 3, *prepared.brain.shape), dtype=np.float32)
        whole[(slice(None), slice(None), *box)] = torch.stack((probability, spread)).cpu().numpy()
        said = present.cpu().numpy()
        for array in (whole, said):
            frozen(array)
        recipe = self.recipe
        sampling = Sampling(recipe.steps, recipe.eta, recipe.samples, recipe.seed)
        return SegmentationResult(whole[0], whole[1], prepared.grid, self.model, sampling, said)

    def _within(self, prepared: PreparedStudy, box: Box) -> tuple[Tensor, Tensor, Tensor]:
        """Probability and spread within the box around the brain, and which sequences said anything."""
        image = torch.tensor(prepared.image[(slice(None), *box)], dtype=torch.float32, device=self.device)
        brain = torch.tensor(prepared.brain[box], device=self.device)
        available = torch.tensor(prepared.available, device=self.device)
        image, present = prepare_image(image, available, brain, self.recipe)
        probability, spread = combine(predict(self.network, image, present, self.recipe, self.half), self.recipe.direct_weight)
        probability = calibrate(probability, self.recipe.temperatures)
        return probability * brain, spread * brain, present


def prepare_image(image: Tensor, available: Tensor, brain: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Filtered, masked and standardised. Shapes: `image` (4, k, j, i) own intensities; result alike, and bool (4,)."""
    if recipe.filter != "none" and bool(torch.isfinite(image).all()):
        image = torch.stack([filter_volume(volume, recipe.filter, recipe.filter_cutoff) for volume in image])
    return standardise(image * brain, available, brain)


def calibrate(probability: Tensor, temperatures: tuple[float, float, float]) -> Tensor:
    """sigmoid(logit(p) / T), region by region: monotone, 0.5 stays 0.5. Shapes: (3, k, j, i)."""
    if all(temperature == 1 for temperature in temperatures):
        return probability
    softness = torch.tensor(temperatures, device=probability.device)[:, None, None, None]
    return torch.sigmoid(torch.logit(probability, eps=1e-6) / softness)
