"""Where the brain is: found by deepbet in a head, or already cut out before the study reached us.

deepbet (Fisch et al. 2024) was trained on T1-weighted heads of healthy adults and also finds the brain in the other
sequences. It is given each series on its own slices and never turned: it answers on the grid it was given.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.geometry import Volume

Mask = NDArray[np.bool_]

BRAIN_ML = (900.0, 2000.0)
"""Plausible volumes of a brain mask made here."""
STRIPPED_ML = (700.0, 2000.0)
"""Plausible volumes of a brain cut out elsewhere, which some tools cut closer."""
STRIPPED_ZEROS = 0.30
"""Share of exact zeros above which a volume may be skull-stripped. Many heads have more: the volume decides."""
FAINT = 0.03
"""Share of a stripped volume's brightness (its 99th percentile) up to which a voxel may be the ringing of a spline: a brain's
own voxels are hardly ever as dark."""
SOFT_SHARE = 0.1
"""A stripped volume with so many faint voxels, as a share of the others, was resampled after it was cut: its edge is soft.
Cut volumes of the challenge have up to .02, turned by a spline 1.7 and more."""
EDGE_SHARE, EDGE_VOXELS = 0.3, 2
"""Of a soft edge, this many voxels deep, what is darker than this share of its brightest neighbour lies outside the brain. The
half would cut cerebrospinal fluid away."""
ONE_PIECE = 0.99
"""Share of a stripped brain's voxels that hang together."""
LARGE_PIECE = 0.10
"""A second piece of a mask with at least this share of the first is no remnant: the mask is wrong."""
SHELL_MM = (2.0, 6.0)
"""How far outside a brain its skull is looked for."""
SKULL_SHARE = 0.85
"""The first quartile of brightness in that shell, relative to the brain's, is below this: .13 to .64 on real heads of all
four contrasts, 1.0 where the mask lies in noise."""
MIN_STRUCTURE = 0.12
"""What lies deep in a brain differs in brightness from what surrounds it, between the 5th and the 95th per cent, by this at
least: .25 to 1.0 in real brains of all four contrasts, .02 to .10 in bottles of fluid, which look like a brain in the dark."""
DEEP_MM = 8.0
FINE_MM, SHADED_MM = 2.0, 15.0
"""Noise is averaged over the first, a coil's shading taken for the mean over the second."""
NECK_MM = 8
"""What hangs on a brain mask by less than this is an eye, a muscle or dura; every part of a brain hangs on by more."""
SURFACE_REACH_MM = 6
"""How far outside the mask a bright tumour at the surface is followed."""


def stripped_brain(volume: Volume) -> Mask | None:
    """What is left of a head whose all but the brain was set to 0 before, or to one value below; None where it was not.

    What is faint counts as 0 too: a stripped volume that was resampled with a spline rings around the brain. A soft edge is
    taken back to where the cut was.
    Shapes: bool (k, j, i).
    """
    brightness = np.abs(volume.array - _background(volume.array))
    shown = brightness[brightness > 0]
    if not 0 < shown.size <= (1 - STRIPPED_ZEROS) * brightness.size:
        return None
    left = brightness > FAINT * np.percentile(shown, 99)
    if shown.size - np.count_nonzero(left) > SOFT_SHARE * np.count_nonzero(left):
        left = _without_soft_edge(left, brightness)
    return left if _is_one_brain(left[_every_2_mm(volume)], volume) and _has_structure(left, volume) else None


def _without_soft_edge(mask: Mask, brightness: NDArray[np.float32]) -> Mask:
    """The mask without the voxels at its surface that are only partly brain."""
    from scipy import ndimage

    inner = ndimage.minimum_filter(mask, 2 * EDGE_VOXELS + 1, mode="constant")
    return np.asarray(mask & (inner | (brightness >= EDGE_SHARE * ndimage.maximum_filter(brightness, 3))))


def _background(array: NDArray[np.float32]) -> np.float32:
    """0, or what the corners and much of the volume are set to where that lies below: exporters subtract an offset."""
    corner = np.median(array[np.ix_((0, -1), (0, -1), (0, -1))])
    is_set = corner < 0 and np.count_nonzero(array == corner) >= STRIPPED_ZEROS * array.size
    return np.float32(corner if is_set else 0)


def _is_one_brain(coarse: Mask, volume: Volume) -> bool:
    """True where the mask, on every second voxel, hangs together and is as large as a brain."""
    from scipy import ndimage

    largest, total = _largest_piece(coarse)
    if total == 0 or largest.sum() < ONE_PIECE * total:
        return False
    voxel_ml = volume.geometry.voxel_ml * volume.array.size / coarse.size
    filled_ml = float(ndimage.binary_fill_holes(largest).sum()) * voxel_ml
    return STRIPPED_ML[0] <= filled_ml <= STRIPPED_ML[1]


def find_brain(volume: Volume) -> tuple[Mask | None, str]:
    """The brain on the volume's own grid, or None and why the mask that was found is not plausible.

    Shapes: bool (k, j, i).
    """
    import nibabel

    ras_from_lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine = ras_from_lps @ volume.geometry.mm_from_index[:, [2, 1, 0, 3]]
    image = nibabel.Nifti1Image(np.ascontiguousarray(volume.array.transpose(2, 1, 0)), affine)
    try:
        _, found, _ = _extractor().run(image)
    except (AssertionError, ValueError, IndexError, RuntimeError):  # its way of saying that nothing looks like a brain
        return None, "nothing that looks like a brain"
    mask = np.ascontiguousarray(np.asarray(found.dataobj).transpose(2, 1, 0) > 0)
    return _judge(mask, volume)


@cache
def _extractor() -> Any:
    from deepbet.bet import BrainExtraction

    return BrainExtraction(no_gpu=True)


def _judge(mask: Mask, volume: Volume) -> tuple[Mask | None, str]:
    """The mask's largest piece where it is plausible, else None and the reason."""
    largest, total = _largest_piece(mask)
    rest = total - int(largest.sum())
    if rest > LARGE_PIECE * total:
        return None, "a mask in several pieces"
    volume_ml = float(largest.sum()) * volume.geometry.voxel_ml
    if not BRAIN_ML[0] <= volume_ml <= BRAIN_ML[1]:
        return None, f"a mask of {volume_ml:.0f} ml, wanted {BRAIN_ML[0]:.0f} to {BRAIN_ML[1]:.0f} ml"
    if not _has_skull_around(largest, volume):
        return None, "a mask without a skull around it"
    if not _has_structure(largest, volume):
        return None, "a mask around uniform brightness, as of a bottle of fluid"
    return largest, ""


def _has_skull_around(mask: Mask, volume: Volume) -> bool:
    """True where much of what lies just outside the mask is darker than what lies inside."""
    from scipy import ndimage

    every = _every_2_mm(volume)
    steps = [s.step or 1 for s in every]
    inside, values = mask[every], volume.array[every]
    distance_mm = ndimage.distance_transform_edt(~inside, sampling=volume.geometry.spacing_mm * steps)
    shell = (distance_mm > SHELL_MM[0]) & (distance_mm <= SHELL_MM[1])
    if not shell.any():
        return False
    return bool(np.percentile(values[shell], 25) < SKULL_SHARE * np.percentile(values[inside], 25))


def _has_structure(mask: Mask, volume: Volume) -> bool:
    """True where brightness inside the mask varies as between tissues, beyond noise and a coil's shading."""
    from scipy import ndimage

    every = _every_2_mm(volume)
    spacing_mm = volume.geometry.spacing_mm * [s.step or 1 for s in every]
    inside = mask[every]
    brightness = np.where(inside, np.abs(volume.array[every] - _background(volume.array)), np.float32(0))
    deep = ndimage.distance_transform_edt(inside, sampling=spacing_mm) > DEEP_MM
    if not deep.any():
        return False
    fine, shaded = (
        (
            ndimage.gaussian_filter(brightness, reach_mm / spacing_mm)
            / np.maximum(ndimage.gaussian_filter(inside.astype(np.float32), reach_mm / spacing_mm), 1e-3)
        )[deep]
        for reach_mm in (FINE_MM, SHADED_MM)
    )
    low, high = np.percentile(np.divide(fine, shaded, out=np.ones_like(fine), where=shaded > 0), [5, 95])
    return bool(high - low >= MIN_STRUCTURE)


def _every_2_mm(volume: Volume) -> tuple[slice, ...]:
    """An index that takes every second voxel along the axes that are finer than 2 mm: enough for shapes and volumes."""
    return tuple(slice(None, None, 2 if spacing < 2 else 1) for spacing in volume.geometry.spacing_mm)


def _largest_piece(mask: Mask) -> tuple[Mask, int]:
    """The largest 26-connected piece and the number of voxels of all pieces."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    if count == 0:
        return np.zeros_like(mask), 0
    sizes = np.bincount(labels.ravel())[1:]
    return np.asarray(labels == 1 + int(np.argmax(sizes))), int(sizes.sum())


def finish_mask(mask: Mask, bright_sequences: list[NDArray[np.float32]]) -> Mask:
    """One piece without holes, 1 mm wider, with tumour that reaches the surface. Shapes: all (k, j, i) on a 1 mm grid.

    `bright_sequences` are those in which tumour outshines brain (FLAIR, T1c), on the same grid.
    """
    from scipy import ndimage

    largest, _ = _largest_piece(mask)
    brain = ndimage.binary_fill_holes(_without_appendages(largest))
    added = np.zeros_like(brain)
    for image in bright_sequences:
        added |= _bright_at_surface(brain, image)
    return np.asarray(ndimage.binary_dilation(ndimage.binary_fill_holes(brain | added) if added.any() else brain), dtype=bool)


def _without_appendages(mask: Mask) -> Mask:
    """The mask without what only a neck joins to its main part. Looked for on every second voxel of the 1 mm grid."""
    from scipy import ndimage

    coarse = mask[::2, ::2, ::2]
    main, total = _largest_piece(ndimage.binary_erosion(coarse, iterations=NECK_MM // 4))
    if not total:
        return mask
    kept = ndimage.binary_dilation(main, ndimage.generate_binary_structure(3, 2), iterations=NECK_MM // 4 + 1)
    return np.asarray(mask & _on_every_voxel(kept, mask.shape))


def _on_every_voxel(coarse: Mask, shape: tuple[int, ...]) -> Mask:
    """A mask of every second voxel, on the grid of `shape` that it was taken from."""
    fine = np.repeat(np.repeat(np.repeat(coarse, 2, 0), 2, 1), 2, 2)
    return np.asarray(fine[tuple(slice(0, n) for n in shape)])


def _bright_at_surface(brain: Mask, image: NDArray[np.float32]) -> Mask:
    """Voxels just outside the mask that belong to a thick bright region which lies mostly inside it.

    Looked for on every second voxel: a 2 mm step is fine enough for what must be 4 mm thick.
    """
    from scipy import ndimage

    every = (slice(None, None, 2),) * 3
    coarse, values = brain[every], image[every]
    middle, high = np.percentile(values[coarse], [50, 98])
    spread = 1.4826 * float(np.median(np.abs(values[coarse] - middle)))
    reach = ndimage.binary_dilation(coarse, ndimage.generate_binary_structure(3, 2), iterations=SURFACE_REACH_MM // 2)
    bright = reach & (values > max(middle + 3 * spread, 0.5 * (middle + high)))
    thick = ndimage.binary_opening(bright, ndimage.generate_binary_structure(3, 1))
    labels, count = ndimage.label(thick)
    whole = np.bincount(labels.ravel(), minlength=count + 1)
    within = np.bincount(labels[coarse], minlength=count + 1)
    keep = within > 0.5 * whole  # mostly in the brain: tumour; mostly outside: scalp or marrow that touches the mask
    keep[0] = False
    return np.asarray(_on_every_voxel(keep[labels], brain.shape) & ~brain)
