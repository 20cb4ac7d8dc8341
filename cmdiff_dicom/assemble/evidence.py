"""What pixels say about which sequence is which, where headers may be silent or wrong.

Two questions, each answered by +1 (as labelled), -1 (the reverse) or 0 (not told apart): does one T1 enhance over the
other, and which of two images is T2 and which FLAIR. Both compare the images where the headers put them, at 3 mm, and
need no registration: a head that moved blurs both sides alike. Bounds from 55 real gliomas and from rescans of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.geometry import Geometry, Volume, resample

EDGE_MM = 3.0
MIN_VOXELS = 2000
"""Below that (54 ml) there is no head to ask."""
LOG_RATIO = 0.3
"""A voxel counts as brighter from 35 % on, beyond what shading explains."""
SHADING_MM = 15.0
MIN_EXCESS, MIN_SKEW = 0.015, 0.2
"""Enhancement: so much more of the head brightens than darkens; real pairs 0.02 to 0.15, rescans at most 0.011."""
DEPTH_MM = 15.0
MIN_RANK_DIFFERENCE = 0.08
"""T2 and FLAIR: real pairs 0.1 to 0.6."""

Field = NDArray[np.float32]


def enhancement(before: Volume, after: Volume) -> int:
    """+1 where `after` shows contrast agent over `before`, -1 where it is the other way round, 0 where neither shows."""
    from scipy import ndimage

    x, y, spacing_mm = _at_common_points(before, after)
    inside = _head(x) & _head(y)
    if int(inside.sum()) < MIN_VOXELS:
        return 0
    ratio = np.zeros_like(x)
    ratio[inside] = np.log(y[inside] / x[inside])
    ratio[inside] -= np.median(ratio[inside])
    sigma = SHADING_MM / spacing_mm
    weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma)
    shading = ndimage.gaussian_filter(np.clip(ratio, -0.5, 0.5) * inside, sigma) / np.maximum(weight, 1e-3)
    change = (ratio - shading)[inside]
    change -= np.median(change)
    brighter, darker = float(np.mean(change > LOG_RATIO)), float(np.mean(change < -LOG_RATIO))
    excess = brighter - darker
    if abs(excess) < MIN_EXCESS or abs(excess) < MIN_SKEW * (brighter + darker):
        return 0
    return 1 if excess > 0 else -1


def fluid(t2: Volume, flair: Volume) -> int:
    """+1 where `t2` is T2 and `flair` is FLAIR: what is brightest in T2 is fluid, and dark in FLAIR; -1 where reversed.

    Asked deep inside only: scalp and marrow are bright or dark by fat suppression, not by fluid.
    """
    from scipy import ndimage

    x, y, spacing_mm = _at_common_points(t2, flair)
    head = ndimage.binary_fill_holes(_head(x) | _head(y))
    depth_mm = ndimage.distance_transform_edt(head, sampling=spacing_mm)
    inside = (depth_mm > DEPTH_MM) & (x > 0) & (y > 0)
    if int(inside.sum()) < MIN_VOXELS:
        return 0
    rank_x, rank_y = _ranks(x[inside]), _ranks(y[inside])
    difference = float(rank_x[rank_y > 0.95].mean() - rank_y[rank_x > 0.95].mean())
    if abs(difference) < MIN_RANK_DIFFERENCE:
        return 0
    return 1 if difference > 0 else -1


def _at_common_points(one: Volume, other: Volume) -> tuple[Field, Field, NDArray[np.float64]]:
    """Both volumes as means over cubes of at most `EDGE_MM`, on the first one's axes, and the voxel's edges in mm."""
    small = _block_means(one)
    return small.array, resample(_block_means(other), small.geometry), small.geometry.spacing_mm


def _block_means(volume: Volume) -> Volume:
    """The volume in blocks of at most `EDGE_MM`; what is left over at the far ends is dropped."""
    grid = volume.geometry
    size = np.clip(np.floor(EDGE_MM / grid.spacing_mm + 0.01), 1, grid.shape).astype(int)
    k, j, i = (int(n) for n in np.array(grid.shape) // size)
    blocks = volume.array[: k * size[0], : j * size[1], : i * size[2]].reshape(k, size[0], j, size[1], i, size[2])
    affine = grid.mm_from_index.copy()
    affine[:3, :3] *= size
    affine[:3, 3] = grid.mm(((size - 1) / 2)[None])[0]
    return Volume(blocks.mean(axis=(1, 3, 5)), Geometry((k, j, i), affine))


def _head(values: Field) -> NDArray[np.bool_]:
    """Above the background: a third of a bright tissue."""
    positive = values[values > 0]
    return values > (0.3 * np.percentile(positive, 80) if positive.size else 0)


def _ranks(values: Field) -> NDArray[np.float64]:
    """Each value's rank among all, in [0, 1)."""
    order = np.empty(values.size)
    order[np.argsort(values, kind="stable")] = np.arange(values.size)
    return order / values.size
