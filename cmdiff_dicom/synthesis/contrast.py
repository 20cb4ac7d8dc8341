"""Tissue becomes T1, T1c, T2 or FLAIR; a scanner samples it in slices of its own thickness, with bias and Rician noise.

Brightness is relative to white matter = 100. Each head has its own contrast (field strength, timing, age), each lesion its
own cellularity and water, and every tissue a texture that the four sequences share, as they share the anatomy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.geometry import Affine, Geometry, Volume, resample
from cmdiff_dicom.records import Label, Sequence
from cmdiff_dicom.synthesis.fields import Field, Points, refine, wave_noise
from cmdiff_dicom.synthesis.head import Head, Tissue

WHITE_MATTER = 100.0
BRIGHTNESS: dict[Sequence, dict[Tissue, float]] = {
    Sequence.T1N: {
        Tissue.AIR: 0, Tissue.CSF: 28, Tissue.GREY: 72, Tissue.WHITE: 100, Tissue.DEEP_GREY: 85, Tissue.CHOROID: 62,
        Tissue.DURA: 50, Tissue.VESSEL: 30, Tissue.BONE: 10, Tissue.MARROW: 110, Tissue.FAT: 185, Tissue.MUSCLE: 62,
        Tissue.SKIN: 95, Tissue.EYE: 32, Tissue.MUCOSA: 60, Tissue.NECROSIS: 58, Tissue.EDEMA: 80, Tissue.RIM: 74,
    },
    Sequence.T1C: {
        Tissue.AIR: 0, Tissue.CSF: 30, Tissue.GREY: 80, Tissue.WHITE: 100, Tissue.DEEP_GREY: 88, Tissue.CHOROID: 155,
        Tissue.DURA: 130, Tissue.VESSEL: 190, Tissue.BONE: 10, Tissue.MARROW: 115, Tissue.FAT: 185, Tissue.MUSCLE: 75,
        Tissue.SKIN: 105, Tissue.EYE: 34, Tissue.MUCOSA: 165, Tissue.NECROSIS: 60, Tissue.EDEMA: 80, Tissue.RIM: 165,
    },
    Sequence.T2W: {
        Tissue.AIR: 0, Tissue.CSF: 310, Tissue.GREY: 138, Tissue.WHITE: 100, Tissue.DEEP_GREY: 115, Tissue.CHOROID: 230,
        Tissue.DURA: 45, Tissue.VESSEL: 25, Tissue.BONE: 12, Tissue.MARROW: 95, Tissue.FAT: 190, Tissue.MUSCLE: 48,
        Tissue.SKIN: 85, Tissue.EYE: 310, Tissue.MUCOSA: 220, Tissue.NECROSIS: 235, Tissue.EDEMA: 185, Tissue.RIM: 160,
    },
    Sequence.T2F: {
        Tissue.AIR: 0, Tissue.CSF: 20, Tissue.GREY: 108, Tissue.WHITE: 100, Tissue.DEEP_GREY: 103, Tissue.CHOROID: 120,
        Tissue.DURA: 60, Tissue.VESSEL: 40, Tissue.BONE: 12, Tissue.MARROW: 75, Tissue.FAT: 120, Tissue.MUSCLE: 55,
        Tissue.SKIN: 80, Tissue.EYE: 45, Tissue.MUCOSA: 140, Tissue.NECROSIS: 145, Tissue.EDEMA: 185, Tissue.RIM: 160,
    },
}  # fmt: skip
SPREAD = {
    Tissue.CSF: 0.10, Tissue.GREY: 0.04, Tissue.DEEP_GREY: 0.03, Tissue.FAT: 0.15,
    Tissue.EDEMA: 0.08, Tissue.RIM: 0.08, Tissue.NECROSIS: 0.15,
}  # fmt: skip
"""Relative standard deviation of a tissue's brightness from head to head."""
TEXTURE = {
    Tissue.WHITE: 0.035, Tissue.GREY: 0.05, Tissue.DEEP_GREY: 0.03, Tissue.EDEMA: 0.12, Tissue.RIM: 0.14, Tissue.NECROSIS: 0.15,
    Tissue.MUSCLE: 0.15, Tissue.FAT: 0.12, Tissue.MARROW: 0.25, Tissue.CSF: 0.06,
}  # fmt: skip
"""Relative standard deviation of a tissue's brightness from place to place, in T1."""
HEALTHY_TEXTURE = {Sequence.T1N: 1.0, Sequence.T1C: 1.3, Sequence.T2W: 2.0, Sequence.T2F: 2.2}
"""How much more healthy brain varies in the other sequences."""
HEALTHY = (Tissue.WHITE, Tissue.GREY, Tissue.DEEP_GREY)


def render(head: Head, sequence: Sequence, bias: float = 0.0) -> Volume:
    """The head in one contrast on its own grid, without noise. `bias` is the relative swing of a coil's shading.

    Shapes: float32, the head's grid; white matter has about 100.
    """
    rng = np.random.default_rng([head.seed, 10])
    table, strength = _brightness(sequence, rng), np.zeros(len(Tissue), dtype=np.float32)
    for tissue, deviation in TEXTURE.items():
        strength[tissue] = deviation * (HEALTHY_TEXTURE[sequence] if tissue in HEALTHY else 1.0)
    texture = _texture(head.geometry, np.random.default_rng([head.seed, 11]))
    image = table[head.tissue] * (1 + strength[head.tissue] * texture)
    _soften_lesion(image, head)
    image = _blur(image)
    if bias > 0:
        image *= 1 + bias * _shading(head.geometry, np.random.default_rng([head.seed, 12, sequence.channel]))
    return Volume(np.asarray(np.maximum(image, 0), dtype=np.float32), head.geometry, sequence.value)


def _brightness(sequence: Sequence, rng: np.random.Generator) -> Field:
    """This head's brightness of every tissue; a lesion's water shows in all four contrasts in its own direction."""
    table = np.zeros(len(Tissue), dtype=np.float32)
    for tissue, value in BRIGHTNESS[sequence].items():
        # drawn for every tissue, so that all sequences of one head see the same draws
        draw = float(np.clip(rng.normal(), -2, 2)) * SPREAD.get(tissue, 0.0)
        darker = sequence in (Sequence.T1N, Sequence.T1C) and tissue in (Tissue.EDEMA, Tissue.NECROSIS)
        table[tissue] = value * (1 - 0.5 * draw if darker else 1 + draw)
    return table


def _grid_points(geometry: Geometry, step: int) -> Points:
    """Millimetres of every `step`-th voxel of a grid along the patient's axes."""
    lengths = zip(geometry.shape, geometry.spacing_mm, strict=True)
    k, j, i = (np.arange(n // step, dtype=np.float32) * np.float32(step * spacing) for n, spacing in lengths)
    return i[None, None, :], j[None, :, None], k[:, None, None]


def _texture(geometry: Geometry, rng: np.random.Generator) -> Field:
    """Tissue texture, standard deviation about 1, coarse and fine, the same for all sequences of a head."""
    points = _grid_points(geometry, 2)
    fine = rng.standard_normal(tuple(n // 2 for n in geometry.shape), dtype=np.float32)
    return refine(np.asarray(0.4 * wave_noise(points, 28.0, rng, waves=8) + fine, dtype=np.float32))


def _shading(geometry: Geometry, rng: np.random.Generator) -> Field:
    """A coil's smooth shading in -1..1."""
    return refine(np.asarray(np.tanh(0.7 * wave_noise(_grid_points(geometry, 2), 260.0, rng, waves=6)), dtype=np.float32))


def _soften_lesion(image: NDArray[np.float32], head: Head) -> None:
    """Edema fades into its surroundings over a few mm instead of ending at a line."""
    from scipy import ndimage

    where = np.argwhere(head.label == Label.ED)
    if not len(where):
        return
    low, high = np.maximum(where.min(0) - 8, 0), where.max(0) + 9
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    part, label, tissue = image[box], head.label[box], head.tissue[box]
    fading = (label == Label.ED) | ((label == 0) & ((tissue == Tissue.WHITE) | (tissue == Tissue.GREY)))
    weight = ndimage.gaussian_filter(fading.astype(np.float32), 1.2, truncate=3.0)
    smooth = ndimage.gaussian_filter(part * fading, 1.2, truncate=3.0) / np.maximum(weight, 1e-3)
    near = fading & (ndimage.gaussian_filter((label == Label.ED).astype(np.float32), 2.0, truncate=3.0) > 0.02)
    part[near] = smooth[near]


def _blur(image: NDArray[np.float32]) -> Field:
    """The scanner's point spread in a 1 mm acquisition: (1, 4, 1) / 6 along every axis."""
    for axis in range(3):
        values = np.moveaxis(image, axis, 0)
        blurred = values * np.float32(4 / 6)
        blurred[1:] += values[:-1] * np.float32(1 / 6)
        blurred[:-1] += values[1:] * np.float32(1 / 6)
        image = np.moveaxis(blurred, 0, axis)
    return np.ascontiguousarray(image)


def acquire(
    volume: Volume,
    onto: Geometry,
    noise: float = 0.02,
    *,
    seed: int = 0,
    slice_thickness_mm: float | None = None,
    volume_mm_from_onto_mm: Affine | None = None,
) -> Volume:
    """`volume` as a scanner with the grid `onto` sees it: each voxel the average over its slice's thickness, Rician noise.

    `noise` is the standard deviation of each channel's noise relative to white matter. `slice_thickness_mm` is the
    spacing along k unless given. `volume_mm_from_onto_mm` moves the head between acquisitions. Shapes: result float32
    `onto.shape`.
    """
    thickness = float(onto.spacing_mm[0]) if slice_thickness_mm is None else slice_thickness_mm
    parts = max(1, round(thickness / float(volume.geometry.spacing_mm.min())))
    normal = onto.mm_from_index[:3, 0] / onto.spacing_mm[0]
    total = np.zeros(onto.shape, dtype=np.float32)
    for part in range(parts):
        shifted = onto.mm_from_index.copy()
        shifted[:3, 3] += normal * thickness * ((part + 0.5) / parts - 0.5)
        total += resample(volume, Geometry(onto.shape, shifted), volume_mm_from_onto_mm)
    total /= parts
    rng = np.random.default_rng([seed, 20])
    sigma = np.float32(noise * WHITE_MATTER)
    real = total + sigma * rng.standard_normal(onto.shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(onto.shape, dtype=np.float32)
    return Volume(np.asarray(np.hypot(real, imaginary), dtype=np.float32), onto, volume.name)
