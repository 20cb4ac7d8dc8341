"""What training does to a study before the network sees it: geometry, intensities, and what the way from a scanner makes.

Affine maps, contrast curves, noise and blur come from MONAI; mixing of studies, errors of the brain mask, thick slices,
misregistration and missing sequences are here. Every draw of a sample is keyed by its own seed, so a sample is the same
wherever training was interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from cmdiff_dicom.records import Label, Sequence

MARGIN = 16
"""Extra voxels on each side, so that a turned patch has no empty corners where there was image."""


@dataclass(frozen=True, eq=False)
class TrainingStudy:
    """One study, standardised, in the frame that its data set shares.

    Shapes: `image` float16 (4, k, j, i), `labels` uint8 (k, j, i), `brain` bool (k, j, i); `depth` int8 (k, j, i) is the signed
    distance in voxels to the tumour's surface, negative inside, for mixing; `corner` is its place there.
    """

    name: str
    image: NDArray[np.float16]
    labels: NDArray[np.uint8]
    brain: NDArray[np.bool_]
    depth: NDArray[np.int8]
    corner: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Sample:
    """One training input. Shapes, float32: `image` (4, n, n, n); `regions` (3, n, n, n); `available` (4,)."""

    image: Tensor
    regions: Tensor
    available: Tensor


def tumour_depth(labels: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Signed distance to the tumour's surface in voxels, negative inside, clipped to +-40."""
    tumour = labels > 0
    if not tumour.any():
        return np.full(labels.shape, 40, dtype=np.int8)
    box = tuple(slice(max(0, side.start - 40), side.stop + 40) for side in ndimage.find_objects(tumour.astype(np.uint8))[0])
    depth = np.full(labels.shape, 40, dtype=np.int8)
    outside = ndimage.distance_transform_edt(~tumour[box])
    inside = ndimage.distance_transform_edt(tumour[box])
    depth[box] = np.clip(outside - inside, -40, 40).astype(np.int8)
    return depth


class Augmenter:
    """Makes samples of `side` voxels. `plain` leaves out everything but cropping."""

    def __init__(self, side: int, plain: bool = False) -> None:
        from monai import transforms

        self.side, self.plain = side, plain
        turn = (np.pi / 12,) * 3
        self.affine = transforms.RandAffined(
            keys=("image", "labels"),
            spatial_size=(side,) * 3,
            prob=1.0,
            rotate_range=turn,
            scale_range=(0.15,) * 3,
            mode=("bilinear", "nearest"),
            padding_mode="zeros",
        )
        self.contrast = transforms.RandAdjustContrast(prob=1.0, gamma=(0.7, 1.5))
        self.noise = transforms.RandRicianNoise(prob=1.0, std=0.35, channel_wise=True, relative=False, sample_std=True)
        self.smooth = transforms.RandGaussianSmooth(sigma_x=(0.4, 1.0), sigma_y=(0.4, 1.0), sigma_z=(0.4, 1.0), prob=1.0)

    def sample(self, study: TrainingStudy, partner: TrainingStudy, seed: tuple[int, ...]) -> Sample:
        """One sample of `study`, at times with the tumour of `partner` carved into it."""
        rng = np.random.default_rng(seed)
        mix = not self.plain and partner is not study and rng.random() < 0.3 and bool(partner.labels.any())
        centre = _centre(partner if mix else study, rng)
        size = self.side + (0 if self.plain else 2 * MARGIN)
        image, labels, brain = _patch(study, centre, size)
        if mix:
            _carve(image, labels, brain, partner, centre, size, rng)
        if not self.plain and rng.random() < 0.12:
            without_enhancement(image, labels, brain)
        volume, truth, mask = torch.from_numpy(image), torch.from_numpy(labels), torch.from_numpy(brain)
        available = torch.ones(4)
        if not self.plain:
            volume = self._misplace(volume, rng)
            volume, truth, mask = self._turn(volume, truth, mask, rng)
            volume, truth = self._mask_error(volume, truth, mask, rng)
            volume = self._recolour(volume, rng)
            available = _missing(rng)
        volume = volume * available[:, None, None, None]
        regions = torch.stack((truth > 0, (truth == Label.NCR) | (truth == Label.ET), truth == Label.ET)).float()
        return Sample(volume.contiguous(), regions, available)

    def _misplace(self, volume: Tensor, rng: np.random.Generator) -> Tensor:
        """One sequence in six lies 1 to 2 mm beside the others."""
        for channel in range(1, 4):
            if rng.random() < 0.15:
                shift = [int(n) for n in rng.integers(-2, 3, size=3)]
                volume[channel] = torch.roll(volume[channel], shift, (0, 1, 2))
        return volume

    def _turn(self, volume: Tensor, truth: Tensor, mask: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Affine for half of the samples, mirrored left to right for half, the other axes seldom."""
        stacked = torch.cat((truth[None].float(), mask[None].float()))
        if rng.random() < 0.5:
            self.affine.set_random_state(seed=int(rng.integers(2**31)))
            turned: Any = self.affine({"image": volume, "labels": stacked})
            volume, stacked = torch.as_tensor(turned["image"]), torch.as_tensor(turned["labels"])
            volume, stacked = volume.as_subclass(Tensor), stacked.as_subclass(Tensor)
        else:
            inner = (slice(None), *(slice(MARGIN, MARGIN + self.side),) * 3)
            volume, stacked = volume[inner], stacked[inner]
        axes = [axis for axis, share in ((1, 0.15), (2, 0.15), (3, 0.5)) if rng.random() < share]
        if axes:
            volume, stacked = volume.flip(axes), stacked.flip(axes)
        return volume.contiguous(), stacked[0].round().to(torch.uint8), stacked[1] > 0.5

    def _mask_error(self, volume: Tensor, truth: Tensor, mask: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A brain mask 1 to 3 mm too small, or with remnants of skull and dura."""
        chance = rng.random()
        if chance < 0.1:
            width = 2 * int(rng.integers(1, 4)) + 1
            kept = -functional.max_pool3d(-mask[None, None].float(), width, stride=1, padding=width // 2)[0, 0]
            return volume * kept, truth * kept.to(torch.uint8)
        if chance < 0.2:
            width = 2 * int(rng.integers(1, 4)) + 1
            shell = functional.max_pool3d(mask[None, None].float(), width, stride=1, padding=width // 2)[0, 0] - mask.float()
            shell = shell * (_smooth_field(self.side, 8, rng) > float(rng.uniform(-0.5, 1.5)))
            level = torch.from_numpy(rng.normal(0.5, 1.5, size=4).astype(np.float32))[:, None, None, None]
            grain = _smooth_field(self.side, 24, rng)
            return torch.where(shell[None] > 0, level + grain[None], volume), truth
        return volume, truth

    def _recolour(self, volume: Tensor, rng: np.random.Generator) -> Tensor:
        """Thick slices, blur, contrast curve, bias, noise, gain and offset, sequence by sequence. 0 outside stays 0."""
        inside = volume != 0
        for channel in range(4):
            x = volume[channel : channel + 1]
            if rng.random() < 0.12:
                x = _thick_slices(x, int(rng.integers(2, 7)), int(rng.integers(3)))
            if rng.random() < 0.08:
                x = self._library(self.smooth, x, rng)
            if rng.random() < 0.25:
                x = self._library(self.contrast, x, rng)
            if rng.random() < 0.2:
                x = (x + 3.0) * torch.exp(0.2 * _smooth_field(self.side, 4, rng)) - 3.0
            if rng.random() < 0.15:
                x = self._library(self.noise, x + 3.0, rng) - 3.0
            gain, offset = float(rng.uniform(0.85, 1.18)), float(rng.uniform(-0.15, 0.15))
            volume[channel] = (x[0] * gain + offset).clamp(-5.0, 5.0)
        return volume * inside

    @staticmethod
    def _library(transform: Any, x: Tensor, rng: np.random.Generator) -> Tensor:
        transform.set_random_state(seed=int(rng.integers(2**31)))
        return torch.as_tensor(transform(x)).as_subclass(Tensor)


def _centre(study: TrainingStudy, rng: np.random.Generator) -> NDArray[np.int64]:
    """A voxel of the frame to put in the middle: half the time in the core, a quarter in the tumour, else in the brain."""
    chance = rng.random()
    core = (study.labels == Label.NCR) | (study.labels == Label.ET)
    for wanted, share in ((core, 0.5), (study.labels > 0, 0.75), (study.brain, 1.01)):
        if chance < share and wanted.any():
            places = np.flatnonzero(wanted)
            flat = int(places[rng.integers(places.size)])
            return np.asarray(np.array(np.unravel_index(flat, study.labels.shape)) + np.array(study.corner), dtype=np.int64)
    return np.asarray(np.array(study.labels.shape) // 2 + np.array(study.corner), dtype=np.int64)


def _patch(
    study: TrainingStudy, centre: NDArray[np.int64], size: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.bool_]]:
    image = np.zeros((4, size, size, size), dtype=np.float32)
    labels, brain = np.zeros((size,) * 3, dtype=np.uint8), np.zeros((size,) * 3, dtype=bool)
    into, out = _overlap(study, centre, size)
    image[(slice(None), *into)] = study.image[(slice(None), *out)]
    labels[into], brain[into] = study.labels[out], study.brain[out]
    return image, labels, brain


def _overlap(study: TrainingStudy, centre: NDArray[np.int64], size: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a patch of `size` around `centre` and the study's crop overlap: places in the patch, places in the crop."""
    into, out = [], []
    for axis in range(3):
        start = int(centre[axis]) - size // 2 - study.corner[axis]
        first, last = max(0, start), min(study.labels.shape[axis], start + size)
        last = max(first, last)
        into.append(slice(first - start, last - start))
        out.append(slice(first, last))
    return tuple(into), tuple(out)


def _carve(
    image: NDArray[np.float32],
    labels: NDArray[np.uint8],
    brain: NDArray[np.bool_],
    partner: TrainingStudy,
    centre: NDArray[np.int64],
    size: int,
    rng: np.random.Generator,
) -> None:
    """The partner's tumour, a bit larger or smaller than it is, replaces the same voxels. Source: CarveMix (Zhang 2021)."""
    into, out = _overlap(partner, centre, size)
    deepest = float(partner.depth.min())
    reach = float(rng.uniform(deepest / 2, 0)) if rng.random() < 0.5 else float(rng.uniform(0, -deepest))
    place = (partner.depth[out] <= reach) & brain[into] & partner.brain[out]
    for channel in range(4):
        image[channel][into][place] = partner.image[channel][out][place]
    labels[into][place] = partner.labels[out][place]


def without_enhancement(image: NDArray[np.float32], labels: NDArray[np.uint8], brain: NDArray[np.bool_]) -> None:
    """The same tumour as if it took up no contrast agent, in place: enhancing tumour becomes non-enhancing core.

    In and just around the core T1c becomes what T1 predicts, by the line that fits the two in the brain outside the tumour.
    Few studies lack enhancement; without this, training may never see a core that does not enhance.
    Shapes: `image` (4, k, j, i), standardised; `labels`, `brain` (k, j, i).
    """
    t1, t1c = image[Sequence.T1N.channel], image[Sequence.T1C.channel]
    healthy = brain & (labels == 0)
    if not (labels == Label.ET).any() or healthy.sum() < 1000:
        return
    slope, level = np.polyfit(t1[healthy], t1c[healthy], 1)
    core = ndimage.binary_dilation((labels == Label.NCR) | (labels == Label.ET), iterations=2)
    share = ndimage.gaussian_filter(core.astype(np.float32), 1.0) * brain
    t1c += share * (slope * t1 + level - t1c)
    labels[labels == Label.ET] = Label.NCR


def _thick_slices(x: Tensor, thickness: int, axis: int) -> Tensor:
    """(1, d, h, w) averaged over `thickness` voxels along one axis and interpolated back."""
    kernel = [1, 1, 1]
    kernel[axis] = thickness
    thick = functional.avg_pool3d(x[None], tuple(kernel), stride=tuple(kernel), ceil_mode=True)
    return functional.interpolate(thick, size=x.shape[1:], mode="trilinear", align_corners=False)[0]


def _smooth_field(side: int, knots: int, rng: np.random.Generator) -> Tensor:
    """A smooth random field (side, side, side) of about unit deviation at its `knots`^3 knots."""
    coarse = torch.from_numpy(rng.normal(size=(1, 1, knots, knots, knots)).astype(np.float32))
    return functional.interpolate(coarse, size=(side, side, side), mode="trilinear", align_corners=False)[0, 0]


def _missing(rng: np.random.Generator) -> Tensor:
    """All four sequences in 55 % of the samples, all but T1c in 15 %, else each missing with 0.3; one stays at least.

    A study without contrast agent is the commonest incomplete one.
    """
    chance = rng.random()
    if chance < 0.7:
        return torch.tensor([float(chance < 0.55 or sequence is not Sequence.T1C) for sequence in Sequence])
    available = (rng.random(4) >= 0.3).astype(np.float32)
    if not available.any():
        available[int(rng.integers(4))] = 1
    return torch.from_numpy(available)
