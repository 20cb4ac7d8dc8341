"""Where parallel slices lie, and what keeps them from being one regular volume.

Positions along the slice normal are the only thing believed about spacing (Slice Thickness and Spacing Between Slices
are often the gap, or wrong; PS3.3 C.7.6.2.1.1). mm are patient LPS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.geometry import Geometry
from cmdiff_dicom.records import ReceivedInstance, Stack

SAME_PLACE_MM = 0.01
"""Slices that are no further apart along their normal lie in one place."""
STEP_TOLERANCE = 0.02
"""Largest difference of a slice from its place on the even grid, as a part of the spacing (at least 0.01 mm)."""
ROUNDING_MM, ROUNDING_TOLERANCE = 0.15, 0.1
"""Where less is allowed, this is, up to the second part of the spacing: GE Signa wrote positions rounded to 0.1 mm."""
GAP = 1.2
"""A step that is longer than the others by this factor is a gap."""
SHEAR_TOLERANCE_DEG = 0.5


@dataclass(frozen=True)
class Plane:
    """Where a stack's slices lie. Shapes: `row`, `column`, `normal` unit vectors (3,); `origins_mm` (n, 3) in slice order."""

    row: NDArray[np.float64]
    column: NDArray[np.float64]
    normal: NDArray[np.float64]
    origins_mm: NDArray[np.float64]

    @property
    def offsets_mm(self) -> NDArray[np.float64]:
        """Positions along the normal (n,), ascending."""
        return np.asarray(self.origins_mm @ self.normal, dtype=np.float64)


def has_place(instance: ReceivedInstance) -> bool:
    """True where the header says where the image lies: orientation, position, spacing and matrix, all usable."""
    if (len(instance.orientation), len(instance.position_mm), len(instance.pixel_spacing_mm)) != (6, 3, 2):
        return False
    row, column = np.array(instance.orientation[:3]), np.array(instance.orientation[3:])
    lengths = np.array([np.linalg.norm(row), np.linalg.norm(column)])
    is_frame = bool(np.all(np.abs(lengths - 1) < 0.02)) and abs(float(row @ column)) < 0.02
    is_sized = min(instance.pixel_spacing_mm) > 0 and min(instance.rows, instance.columns) > 0
    return is_frame and is_sized and bool(np.all(np.isfinite(instance.position_mm)))


def plane_of(instances: Sequence[ReceivedInstance]) -> Plane:
    """The common plane of parallel slices, in the order given; the frame is made exactly orthonormal."""
    mean = np.mean([instance.orientation for instance in instances], axis=0)
    row = mean[:3] / np.linalg.norm(mean[:3])
    normal = np.cross(row, mean[3:])
    normal /= np.linalg.norm(normal)
    origins_mm = np.array([instance.position_mm for instance in instances], dtype=np.float64)
    return Plane(row, np.cross(normal, row), normal, origins_mm)


def geometry_of(stack: Stack) -> Geometry:
    """The grid of a stack's slices: k along the slice normal by its positions, j down the rows, i along the columns."""
    plane, first = plane_of(stack.instances), stack.instances[0]
    count = len(stack.instances)
    affine = np.eye(4)
    step = (plane.origins_mm[-1] - plane.origins_mm[0]) / (count - 1) if count > 1 else plane.normal
    affine[:3, 0] = step
    affine[:3, 1] = plane.column * first.pixel_spacing_mm[0]
    affine[:3, 2] = plane.row * first.pixel_spacing_mm[1]
    affine[:3, 3] = plane.origins_mm[0]
    return Geometry((count, first.rows, first.columns), affine, first.frame_of_reference_uid)


def has_repeats(instances: Sequence[ReceivedInstance]) -> bool:
    """True where two of the parallel slices lie in one place."""
    return bool(np.any(np.diff(np.sort(plane_of(instances).offsets_mm)) < SAME_PLACE_MM))


def slice_fault(ordered: Sequence[ReceivedInstance], min_slices: int) -> str:
    """What keeps parallel slices in slice order from being one regular volume, with its place in mm; "" if nothing does."""
    if len({instance.sop_uid for instance in ordered}) < len(ordered):
        return "two slices under one SOP Instance UID"
    plane = plane_of(ordered)
    offsets = plane.offsets_mm
    steps = np.diff(offsets)
    if repeated := int(np.count_nonzero(steps < SAME_PLACE_MM)):
        return f"repeated positions: {repeated}, the first at {offsets[int(np.argmax(steps < SAME_PLACE_MM))]:.2f} mm"
    spacing = float(np.median(steps)) if len(steps) else 0.0
    if (wide := steps > GAP * spacing).any():
        at = int(np.argmax(wide))
        missing = round(steps[at] / spacing) - 1
        more = (f"; {missing} slice(s) missing there" if missing else "") + (f"; {wide.sum()} gaps" if wide.sum() > 1 else "")
        between = f"between slices at {offsets[at]:.2f} and {offsets[at + 1]:.2f} mm"
        return f"gap of {steps[at]:.2f} mm {between}, {spacing:.2f} mm elsewhere{more}"
    if len(ordered) < min_slices:
        return f"{len(ordered)} slice(s), at least {min_slices} wanted"
    return _line_fault(plane, spacing)


def _line_fault(plane: Plane, spacing: float) -> str:
    """A fault where slices leave the straight, even line from the first to the last, or where that line leans."""
    origins, count = plane.origins_mm, len(plane.origins_mm)
    step = (origins[-1] - origins[0]) / (count - 1)
    across = float(np.linalg.norm(step - (step @ plane.normal) * plane.normal))
    lean = float(np.degrees(np.arctan2(across, step @ plane.normal)))
    if lean > SHEAR_TOLERANCE_DEG:
        return f"sheared: slices step {lean:.1f} degrees off their normal, at most {SHEAR_TOLERANCE_DEG} taken"
    away = np.linalg.norm(origins - origins[0] - np.arange(count)[:, None] * step, axis=1)
    worst = int(np.argmax(away))
    if away[worst] > max(STEP_TOLERANCE * spacing, min(ROUNDING_TOLERANCE * spacing, ROUNDING_MM), 0.01):
        place = plane.offsets_mm[worst]
        return f"irregular: the slice at {place:.2f} mm lies {away[worst]:.2f} mm off the even grid of {spacing:.2f} mm"
    return ""
