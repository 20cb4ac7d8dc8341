"""Where voxels are: grids in patient space, and how values move from one grid to another.

One convention everywhere: an index is (k slice, j row, i column); millimetres are patient LPS
(+x left, +y posterior, +z head; PS3.3 C.7.6.2.1.1). `mm_from_index` maps (k, j, i, 1) to (x, y, z, 1).
Transforms are named `b_from_a` and chained so that neighbours agree.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Affine = NDArray[np.float64]
Box = tuple[slice, slice, slice]
"""Plain starts and stops along (k, j, i)."""

LATTICE_TOLERANCE = 0.01
"""Voxels by which two lattices may differ and still be one: rounding in headers stays far below."""


def frozen(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """The same array, read-only."""
    array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class Geometry:
    """A regular grid of voxels in patient space.

    Shapes: `shape` (k, j, i); `mm_from_index` float64 (4, 4), its columns the steps in mm along k, j and i.
    """

    shape: tuple[int, int, int]
    mm_from_index: Affine
    frame_of_reference_uid: str = ""

    def __post_init__(self) -> None:
        affine = np.array(self.mm_from_index, dtype=np.float64)
        if affine.shape != (4, 4) or not np.all(np.isfinite(affine)) or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise ValueError("mm_from_index must be a finite, invertible 4x4 matrix")
        object.__setattr__(self, "mm_from_index", frozen(affine))
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    @property
    def index_from_mm(self) -> Affine:
        return np.asarray(np.linalg.inv(self.mm_from_index), dtype=np.float64)

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Lengths in mm of one step along k, j and i."""
        return np.asarray(np.linalg.norm(self.mm_from_index[:3, :3], axis=0), dtype=np.float64)

    @property
    def voxel_ml(self) -> float:
        return float(abs(np.linalg.det(self.mm_from_index[:3, :3]))) / 1000.0

    @property
    def centre_mm(self) -> NDArray[np.float64]:
        middle = (np.array(self.shape, dtype=np.float64) - 1.0) / 2.0
        return np.asarray(self.mm(middle[None])[0], dtype=np.float64)

    def mm(self, index: NDArray[np.floating] | NDArray[np.integer]) -> NDArray[np.float64]:
        """Patient millimetres (n, 3) of voxel indices (n, 3)."""
        return np.asarray(index, dtype=np.float64) @ self.mm_from_index[:3, :3].T + self.mm_from_index[:3, 3]

    def index(self, mm: NDArray[np.floating]) -> NDArray[np.float64]:
        """Fractional voxel indices (n, 3) of patient millimetres (n, 3)."""
        inverse = self.index_from_mm
        return np.asarray(mm, dtype=np.float64) @ inverse[:3, :3].T + inverse[:3, 3]

    def is_close(self, other: Geometry, tolerance_mm: float = 1e-3) -> bool:
        """True where both grids put every voxel within `tolerance_mm` of each other."""
        if self.shape != other.shape:
            return False
        corners = np.array([[k, j, i] for k in (0, 1) for j in (0, 1) for i in (0, 1)]) * (np.array(self.shape) - 1)
        return bool(np.abs(self.mm(corners) - other.mm(corners)).max() <= tolerance_mm)


def box_around(mask: NDArray[np.bool_], margin: int = 0) -> Box:
    """The smallest box that holds a mask and `margin` voxels around it, as far as the array goes.

    Raises: ValueError for an empty mask.
    """
    if not mask.any():
        raise ValueError("nothing is marked, so no box is around it")
    slices = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        slices.append(slice(max(int(hit[0]) - margin, 0), min(int(hit[-1]) + margin + 1, mask.shape[axis])))
    return slices[0], slices[1], slices[2]


def crop_grid(grid: Geometry, box: Box) -> Geometry:
    """The part of a grid that `box` selects."""
    matrix = grid.mm_from_index.copy()
    matrix[:3, 3] = grid.mm(np.array([[s.start for s in box]]))[0]
    k, j, i = (s.stop - s.start for s in box)
    return Geometry((k, j, i), matrix, grid.frame_of_reference_uid)


@dataclass(frozen=True, eq=False)
class Volume:
    """Intensities on a grid. Shapes: `array` float32 (k, j, i), read-only."""

    array: NDArray[np.float32]
    geometry: Geometry
    name: str = field(default="")

    def __post_init__(self) -> None:
        if self.array.shape != self.geometry.shape:
            raise ValueError(f"array {self.array.shape} does not fit its grid {self.geometry.shape}")
        view = self.array.view()
        frozen(view)
        object.__setattr__(self, "array", view)


def resample(
    volume: Volume,
    onto: Geometry,
    volume_mm_from_onto_mm: Affine | None = None,
    order: int = 1,
) -> NDArray[np.float32]:
    """Values of `volume` at the voxel centres of `onto`: linear (`order` 1) or nearest (0); 0 outside.

    Where both grids lie on one lattice, axes permuted or flipped, the values are copied bit for bit.
    Shapes: result float32 `onto.shape`. `volume_mm_from_onto_mm` is a (4, 4) LPS transform, the identity unless given.
    """
    from scipy import ndimage

    between = np.eye(4) if volume_mm_from_onto_mm is None else volume_mm_from_onto_mm
    lattice = lattice_transform(volume.geometry, onto, between)
    if lattice is not None:
        return _copy_lattice(volume.array, onto.shape, lattice)
    volume_from_onto = volume.geometry.index_from_mm @ between @ onto.mm_from_index
    values = ndimage.affine_transform(
        volume.array,
        volume_from_onto[:3, :3],
        volume_from_onto[:3, 3],
        output_shape=onto.shape,
        output=np.float32,
        order=order,
        mode="constant",
        cval=0.0,
        prefilter=False,
    )
    return np.asarray(values, dtype=np.float32)


def lattice_transform(grid: Geometry, onto: Geometry, grid_mm_from_onto_mm: Affine) -> Affine | None:
    """The whole-numbered transform from `onto`'s indices to `grid`'s where both lie on one lattice, else None."""
    exact = grid.index_from_mm @ grid_mm_from_onto_mm @ onto.mm_from_index
    whole = np.round(exact)
    turn = np.abs(whole[:3, :3])
    if not np.all(turn.sum(0) == 1) or not np.all(turn.sum(1) == 1):
        return None
    corners = np.array([[k, j, i, 1] for k in (0, 1) for j in (0, 1) for i in (0, 1)]) * np.array([*onto.shape, 1])
    error = np.abs(corners @ (exact - whole).T).max()
    return np.asarray(whole, dtype=np.float64) if error < LATTICE_TOLERANCE else None


def _copy_lattice(array: NDArray[np.float32], shape: tuple[int, int, int], array_from_onto: Affine) -> NDArray[np.float32]:
    """Values of the same lattice, axes permuted and flipped as the whole-numbered transform says; 0 outside."""
    turn, offset = array_from_onto[:3, :3].astype(int), array_from_onto[:3, 3].astype(int)
    axes = [int(np.flatnonzero(turn[:, axis])[0]) for axis in range(3)]  # the array's axis along each axis of the result
    result = np.zeros(shape, dtype=np.float32)
    source, target = [slice(None)] * 3, [slice(None)] * 3
    for axis, along in enumerate(axes):
        step = int(turn[along, axis])
        index = offset[along] + step * np.arange(shape[axis])
        inside = np.flatnonzero((index >= 0) & (index < array.shape[along]))
        if not len(inside):
            return result
        target[axis] = slice(int(inside[0]), int(inside[-1]) + 1)
        stop = int(index[inside[-1]]) + step
        source[along] = slice(int(index[inside[0]]), None if stop < 0 else stop, step)
    result[tuple(target)] = array[tuple(source)].transpose(axes)
    return result
