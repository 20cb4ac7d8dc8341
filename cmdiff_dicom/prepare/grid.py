"""Grids along the patient's axes, and volumes brought onto them without aliasing.

The model grid keeps the reference's own millimetres: its axes are the patient's (LPS), its lattice passes through the
reference's first voxel, so that a study that already is 1 mm along the patient's axes comes through bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.geometry import Affine, Geometry, Volume, lattice_transform, resample

FWHM_PER_SIGMA = 2.355


def patient_grid(covers: Geometry, spacing_mm: float = 1.0) -> Geometry:
    """The isotropic grid along patient LPS axes that covers a grid's voxels, through the centre of its first voxel.

    Shapes: (k, j, i) run along z, y, x. Both grids are in the same millimetres.
    """
    ends = np.array([[k, j, i] for k in (0, 1) for j in (0, 1) for i in (0, 1)]) * np.array(covers.shape) - 0.5
    corners, anchor = covers.mm(ends), covers.mm_from_index[:3, 3]
    # voxels whose centres lie inside the box; a thousandth of a millimetre keeps rounding from adding or losing one
    first = np.ceil((corners.min(0) - anchor) / spacing_mm - 1e-3).astype(int)
    last = np.floor((corners.max(0) - anchor) / spacing_mm + 1e-3).astype(int)
    return lps_grid(anchor + first * spacing_mm, last - first + 1, spacing_mm, covers.frame_of_reference_uid)


def lps_grid(
    origin_mm: NDArray[np.float64], counts: NDArray[np.int_], spacing_mm: float, frame_of_reference_uid: str
) -> Geometry:
    """A grid along LPS axes from its first voxel's (x, y, z) in mm and its counts along x, y, z."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3)[:, ::-1] * spacing_mm
    matrix[:3, 3] = origin_mm
    return Geometry((int(counts[2]), int(counts[1]), int(counts[0])), matrix, frame_of_reference_uid)


def onto_grid(volume: Volume, grid: Geometry, volume_mm_from_grid_mm: Affine | None = None) -> NDArray[np.float32]:
    """`volume` at the voxel centres of `grid`: its own values where both lattices are one, linear and anti-aliased else.

    A voxel reaches half a step beyond its centre, so the outer half of a thick end slice keeps its value; beyond is 0.
    Shapes: float32 `grid.shape`. `volume_mm_from_grid_mm` is a (4, 4) LPS transform, the identity unless given.
    """
    from scipy import ndimage

    between = np.eye(4) if volume_mm_from_grid_mm is None else volume_mm_from_grid_mm
    if lattice_transform(volume.geometry, grid, between) is not None:
        return resample(volume, grid, between)
    smooth = smoothed_for(volume, float(grid.spacing_mm.max()))
    smooth_from_grid = smooth.geometry.index_from_mm @ between @ grid.mm_from_index
    values = ndimage.affine_transform(
        smooth.array,
        smooth_from_grid[:3, :3],
        smooth_from_grid[:3, 3],
        output_shape=grid.shape,
        output=np.float32,
        order=1,
        mode="nearest",
        prefilter=False,
    )
    volume_from_grid = volume.geometry.index_from_mm @ between @ grid.mm_from_index
    k, j, i = (np.arange(n, dtype=np.float64) for n in grid.shape)
    for axis, count in enumerate(volume.geometry.shape):
        a, b, c, start = volume_from_grid[axis]
        index = (a * k + start)[:, None, None] + (b * j)[None, :, None] + (c * i)[None, None, :]
        values[(index < -0.5) | (index > count - 0.5)] = 0
    return np.asarray(values, dtype=np.float32)


def smoothed_for(volume: Volume, spacing_mm: float) -> Volume:
    """The volume, smoothed along each axis as much as sampling every `spacing_mm` needs.

    Axes at least twice too fine are halved by averaging pairs; the rest is a Gaussian whose full width at half maximum,
    taken with the voxel's own, is the new spacing.
    """
    from scipy import ndimage

    array, matrix = np.asarray(volume.array), volume.geometry.mm_from_index.copy()
    for axis in range(3):
        while 2 * np.linalg.norm(matrix[:3, axis]) <= spacing_mm * (1 + 1e-6) and array.shape[axis] >= 2:
            array = _average_pairs(array, axis)
            matrix[:3, 3] += 0.5 * matrix[:3, axis]
            matrix[:3, axis] *= 2
        ratio = spacing_mm / float(np.linalg.norm(matrix[:3, axis]))
        sigma = max(ratio**2 - 1, 0.0) ** 0.5 / FWHM_PER_SIGMA
        if sigma > 0.3:  # below, the neighbours' weight is under half a per cent
            array = ndimage.gaussian_filter1d(array, sigma, axis=axis, output=np.float32, mode="nearest", truncate=3.0)
    k, j, i = array.shape
    return Volume(array, Geometry((k, j, i), matrix, volume.geometry.frame_of_reference_uid))


def _average_pairs(array: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Means of neighbours along an axis; an odd last one stands for itself."""
    first, second = np.arange(0, array.shape[axis], 2), np.arange(1, array.shape[axis] + 1, 2)
    second[-1] = min(second[-1], array.shape[axis] - 1)
    return np.asarray((np.take(array, first, axis) + np.take(array, second, axis)) * np.float32(0.5), dtype=np.float32)
