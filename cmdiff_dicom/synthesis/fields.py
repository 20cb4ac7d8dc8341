"""Smooth fields on a grid of points: signed distances, wave noise, and their refinement to twice the resolution.

A signed distance is negative inside, in mm. Anatomy is drawn as such fields on a coarse grid, where they are smooth,
and only cut into tissues on the fine one; that is what makes a head quick.
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Points = tuple[Field, Field, Field]
"""x, y, z in mm, three arrays that broadcast to one grid."""
Triple = tuple[float, float, float]


def as_points(x: NDArray[Any], y: NDArray[Any], z: NDArray[Any]) -> Points:
    """Three coordinates as points: numpy's rules on scalars must not widen the fields made from them."""
    return np.asarray(x, np.float32), np.asarray(y, np.float32), np.asarray(z, np.float32)


def wave_noise(points: Points, wavelength_mm: float, rng: np.random.Generator, waves: int = 16) -> Field:
    """Noise of one wavelength, mean 0 and standard deviation 1: a sum of plane waves of random direction and phase."""
    x, y, z = points
    directions = rng.normal(size=(waves, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    wave_numbers = 2 * np.pi / (wavelength_mm * rng.uniform(0.85, 1.2, size=waves))
    phases = rng.uniform(0, 2 * np.pi, size=waves)
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), dtype=np.float32)
    for (a, b, c), phase in zip((directions * wave_numbers[:, None]).astype(np.float32), phases, strict=True):
        total += np.cos(a * x + (b * y + np.float32(phase)) + c * z)
    return np.asarray(total * np.float32(np.sqrt(2 / waves)), dtype=np.float32)


def ellipsoid(points: Points, centre: Triple, radii: Triple) -> Field:
    """Signed distance to an ellipsoid, exact at its surface to first order."""
    x, y, z = (p - np.float32(c) for p, c in zip(points, centre, strict=True))
    a, b, c = (np.float32(r) for r in radii)
    near = np.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)
    slope = np.sqrt((x / a**2) ** 2 + (y / b**2) ** 2 + (z / c**2) ** 2)
    return np.asarray(near * (near - 1) / np.maximum(slope, 1e-6), dtype=np.float32)


def capsule(points: Points, start: Triple, end: Triple, radius_start: float, radius_end: float) -> Field:
    """Signed distance to a rod with round ends whose radius changes evenly."""
    along = np.subtract(end, start)
    x, y, z = (p - np.float32(s) for p, s in zip(points, start, strict=True))
    a, b, c = (np.float32(v) for v in along)
    share = np.clip((x * a + y * b + z * c) / np.float32(along @ along), 0, 1)
    distance = np.sqrt((x - share * a) ** 2 + (y - share * b) ** 2 + (z - share * c) ** 2)
    return np.asarray(distance - (radius_start + share * np.float32(radius_end - radius_start)), dtype=np.float32)


def union(fields: Many[Field], blend_mm: float = 0.0) -> Field:
    """Inside where any field is inside; seams rounded over `blend_mm`."""
    result = fields[0]
    for field in fields[1:]:
        if blend_mm > 0:
            overlap = np.maximum(np.float32(blend_mm) - np.abs(result - field), 0) / np.float32(blend_mm)
            result = np.minimum(result, field) - overlap**2 * np.float32(blend_mm / 4)
        else:
            result = np.minimum(result, field)
    return np.asarray(result, dtype=np.float32)


def refine(field: NDArray[np.float32]) -> Field:
    """The field at twice the resolution, linear between its values. Shapes: (n, m, l) -> (2n, 2m, 2l).

    Fine voxel 2a sits on coarse voxel a; the last fine voxel of each axis repeats the value before it.
    """
    for axis in (2, 1, 0):  # the longest copies last, when they run along memory
        fine = np.empty((*field.shape[:axis], 2 * field.shape[axis], *field.shape[axis + 1 :]), dtype=np.float32)
        fine[_along(axis, slice(None, None, 2))] = field
        between = fine[_along(axis, slice(1, -1, 2))]
        np.add(field[_along(axis, slice(None, -1))], field[_along(axis, slice(1, None))], out=between)
        between *= np.float32(0.5)
        fine[_along(axis, slice(-1, None))] = field[_along(axis, slice(-1, None))]
        field = fine
    return field


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    """An index that takes `part` of one axis and all of those before it."""
    return (slice(None),) * axis + (part,)
