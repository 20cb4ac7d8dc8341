"""One volume on other grids: its axes in another order, or turned."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np

from cmdiff_dicom.geometry import Geometry, Volume

ORDERS = [(axes, flips) for axes in permutations(range(3)) for flips in product((False, True), repeat=3)]
"""All 48 orders of a volume's axes, as `reordered` takes them."""


def reordered(volume: Volume, axes, flips) -> Volume:
    """The physically same volume with its voxel axes permuted and flipped."""
    array, matrix = volume.array.transpose(axes), volume.geometry.mm_from_index.copy()
    matrix[:3, :3] = matrix[:3, list(axes)]
    for axis, flip in enumerate(flips):
        if flip:
            matrix[:3, 3] += matrix[:3, axis] * (array.shape[axis] - 1)
            matrix[:3, axis] *= -1
            array = np.flip(array, axis)
    return Volume(np.ascontiguousarray(array), Geometry(array.shape, matrix, volume.geometry.frame_of_reference_uid))


def turned_grid(geometry: Geometry, degrees: float, axis=(0.4, 1.0, 0.3)) -> Geometry:
    """A grid of the same spacing turned about the centre, large enough to hold all of the old one."""
    from scipy.spatial.transform import Rotation

    unit = np.array(axis) / np.linalg.norm(axis)
    turn = Rotation.from_rotvec(np.radians(degrees) * unit).as_matrix()
    steps = turn @ geometry.mm_from_index[:3, :3]
    corners = geometry.mm(np.array([[k, j, i] for k in (0, 1) for j in (0, 1) for i in (0, 1)]) * (np.array(geometry.shape) - 1))
    reach = np.abs((corners - geometry.centre_mm) @ np.linalg.inv(steps).T).max(axis=0)
    shape = tuple(int(n) for n in 2 * np.ceil(reach) + 1)
    affine = np.eye(4)
    affine[:3, :3] = steps
    affine[:3, 3] = geometry.centre_mm - steps @ ((np.array(shape) - 1) / 2)
    return Geometry(shape, affine)


def turned(volume: Volume, degrees: float, order: int = 3) -> Volume:
    """The volume sampled on a turned grid; cubic, so that the turn itself blurs little; never below the least value."""
    from scipy import ndimage

    onto = turned_grid(volume.geometry, degrees)
    between = volume.geometry.index_from_mm @ onto.mm_from_index
    values = ndimage.affine_transform(volume.array, between[:3, :3], between[:3, 3], output_shape=onto.shape, order=order)
    return Volume(np.maximum(values, volume.array.min()).astype(np.float32), onto, volume.name)
