"""Instances become stacks: parallel slices of one acquisition, in slice order, with what keeps them from serving.

Positions along the slice normal are the only thing believed about spacing (Slice Thickness and Spacing Between Slices
are often the gap, or wrong; PS3.3 C.7.6.2.1.1). Series are told apart by their UID alone. mm are patient LPS.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.geometry import Geometry
from cmdiff_dicom.records import ReceivedInstance, Stack

MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = frozenset({"1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.3", "1.2.840.10008.5.1.4.1.1.4.4"})

JITTER = 1e-3
"""Largest difference of a direction cosine, or in mm of a pixel's edge, within one stack: the last digits only."""
STEP_TOLERANCE = 0.02
"""Largest difference of a slice from its place on the even grid, as a part of the spacing (at least 0.01 mm)."""
GAP = 1.2
"""A step that is longer than the others by this factor is a gap."""
SHEAR_TOLERANCE_DEG = 0.5
CUT_SHORT = 1.05
"""By this factor another byte stream of one image has to be longer for the first to count as cut short."""
ENHANCED_FAULT = "Enhanced MR is stored, not read by this version"


Value = TypeVar("Value")


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
    return Plane(
        row, np.cross(normal, row), normal, np.array([instance.position_mm for instance in instances], dtype=np.float64)
    )


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


# --- splitting ---------------------------------------------------------------------------------


def split_into_stacks(instances: Iterable[ReceivedInstance], min_slices: int) -> tuple[tuple[Stack, ...], tuple[str, ...]]:
    """Every instance in one stack of its own series, unrecognised yet, and notes on what was odd.

    Stacks come in the order of their series' UIDs, so that the outcome does not depend on the order of arrival.
    """
    unique, notes = without_duplicates(instances)
    by_series: dict[str, list[ReceivedInstance]] = defaultdict(list)
    for instance in unique:
        by_series[instance.series_uid].append(instance)
    stacks: list[Stack] = []
    for series_uid in sorted(by_series):
        stacks.extend(_stacks_of_series(series_uid, by_series[series_uid], min_slices))
    return tuple(stacks), notes


def without_duplicates(instances: Iterable[ReceivedInstance]) -> tuple[list[ReceivedInstance], tuple[str, ...]]:
    """One instance for each (series, SOP UID, place): the same bytes once; of other bytes for one slice the first received.

    It stays the first when it comes again with a changed header, so that an archive that rewrites headers whenever it sends
    starts no analysis; only one that lost its end on the way gives its place to a whole one.
    A SOP Instance UID that stands in two series, or at two places of one, keeps all its slices and is named.
    """
    ordered = sorted(instances, key=lambda i: (i.received_at, i.blob.sha256, i.series_uid))
    kept: dict[tuple[str, str, tuple[float, ...]], ReceivedInstance] = {}
    seen: dict[str, ReceivedInstance] = {}
    series_of: dict[str, set[str]] = defaultdict(set)
    altered: set[str] = set()
    for instance in ordered:
        series_of[instance.sop_uid].add(instance.series_uid)
        first = seen.setdefault(instance.sop_uid, instance)
        if first.blob.sha256 != instance.blob.sha256:
            altered.add(instance.sop_uid)
        place = (instance.series_uid, instance.sop_uid, instance.position_mm)
        if place not in kept or _was_cut_short(kept[place], instance):
            kept[place] = instance
    notes = []
    shared = sum(len(series) > 1 for series in series_of.values())
    if shared:
        notes.append(f"{shared} SOP Instance UID(s) stand in two series with different bytes; each series keeps its own slice")
    if again := len(altered) - shared:
        notes.append(f"{again} SOP Instance UID(s) came again with other bytes; the first whole one serves")
    return list(kept.values()), tuple(notes)


def _was_cut_short(first: ReceivedInstance, later: ReceivedInstance) -> bool:
    """True where `first` is so much shorter than `later`, in the same transfer syntax, that a changed header is no reason."""
    is_alike = first.transfer_syntax_uid == later.transfer_syntax_uid
    return is_alike and first.blob.size_bytes * CUT_SHORT < later.blob.size_bytes


def _stacks_of_series(series_uid: str, instances: list[ReceivedInstance], min_slices: int) -> list[Stack]:
    placed = [i for i in instances if i.sop_class_uid == MR_IMAGE_STORAGE and i.number_of_frames == 1 and has_place(i)]
    chosen = {id(i) for i in placed}
    rest = [i for i in instances if id(i) not in chosen]
    stacks = [
        Stack(series_uid, tuple(group), None, "", _class_fault(group[0])) for group in _by(rest, lambda i: i.sop_class_uid)
    ]
    families: dict[tuple[object, ...], list[list[ReceivedInstance]]] = defaultdict(list)
    for key, group in _alike(placed):
        for stack in _by_time(group):
            families[key].append(stack)
    for groups in families.values():
        many = len(groups) if len(groups) > 2 else 0
        stacks.extend(_ordered_stack(series_uid, group, min_slices, many) for group in groups)
    return _without_relaxometry(stacks)


def _class_fault(instance: ReceivedInstance) -> str:
    if instance.sop_class_uid in ENHANCED_MR:
        return ENHANCED_FAULT
    if instance.sop_class_uid != MR_IMAGE_STORAGE:
        return "not MR Image Storage"
    if instance.number_of_frames != 1:
        return "several frames in one MR Image Storage instance"
    return "orientation, position, pixel spacing or matrix is missing or unusable"


def _by(instances: Iterable[ReceivedInstance], key: Callable[[ReceivedInstance], object]) -> list[list[ReceivedInstance]]:
    groups: dict[object, list[ReceivedInstance]] = defaultdict(list)
    for instance in instances:
        groups[key(instance)].append(instance)
    return [groups[name] for name in sorted(groups, key=str)]


def _alike(instances: list[ReceivedInstance]) -> list[tuple[tuple[object, ...], list[ReceivedInstance]]]:
    """Groups of one orientation, matrix, pixel spacing, echo time, Image Type and frame of reference, with their key."""
    orientations: list[tuple[float, ...]] = []
    echoes: list[float] = []
    spacings: list[tuple[float, ...]] = []
    groups: dict[tuple[object, ...], list[ReceivedInstance]] = defaultdict(list)
    for instance in sorted(instances, key=lambda i: (i.sop_uid, i.blob.sha256)):
        echo = instance.acquisition.echo_time_ms
        key = (
            _class_of(instance.orientation, orientations, _is_same),
            None if echo is None else _class_of(echo, echoes, lambda a, b: abs(a - b) <= max(0.1, 0.02 * b)),
            (instance.rows, instance.columns, _class_of(instance.pixel_spacing_mm, spacings, _is_same)),
            instance.acquisition.image_type,
            instance.frame_of_reference_uid,
        )
        groups[key].append(instance)
    return list(groups.items())


def _is_same(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(abs(a - b) <= JITTER for a, b in zip(one, other, strict=True))


def _class_of(value: Value, known: list[Value], is_same: Callable[[Value, Value], bool]) -> int:
    """The index in `known` of the first that is the same as `value`, which joins `known` where none is."""
    for number, other in enumerate(known):
        if is_same(value, other):
            return number
    known.append(value)
    return len(known) - 1


def _by_time(group: list[ReceivedInstance]) -> list[list[ReceivedInstance]]:
    """The group, or its time points where positions repeat and Temporal Position or Acquisition Number tells them apart."""
    if not _repeats(group):
        return [group]
    for name in ("temporal_position", "acquisition_number"):
        number_of = attrgetter(f"acquisition.{name}")
        parts = _by(group, number_of)
        if len(parts) > 1 and all(number_of(part[0]) is not None and not _repeats(part) for part in parts):
            return parts
    return [group]


def _repeats(group: list[ReceivedInstance]) -> bool:
    offsets = np.sort(plane_of(group).offsets_mm)
    return bool(np.any(np.diff(offsets) < 0.01))


def _without_relaxometry(stacks: list[Stack]) -> list[Stack]:
    """Stacks of a spin echo with three or more echo times serve a map of T2, not a contrast."""
    echoes = {s.instances[0].acquisition.echo_time_ms for s in stacks if "SE" in s.instances[0].acquisition.scanning_sequence}
    if len(echoes - {None}) < 3:
        return stacks
    return [replace(s, fault=s.fault or f"one of {len(echoes)} spin echoes: the source of a T2 map") for s in stacks]


# --- order and regularity ----------------------------------------------------------------------


def _ordered_stack(series_uid: str, group: list[ReceivedInstance], min_slices: int, time_points: int) -> Stack:
    offsets = plane_of(group).offsets_mm
    order = sorted(range(len(group)), key=lambda n: (offsets[n], group[n].sop_uid))
    ordered = tuple(group[n] for n in order)
    fault = f"one of {time_points} time points" if time_points else slice_fault(ordered, min_slices)
    return Stack(series_uid, ordered, None, "", fault)


def slice_fault(ordered: Sequence[ReceivedInstance], min_slices: int) -> str:
    """What keeps parallel slices in slice order from being one regular volume, with its place in mm; "" if nothing does."""
    if len({instance.sop_uid for instance in ordered}) < len(ordered):
        return "two slices under one SOP Instance UID"
    plane = plane_of(ordered)
    offsets = plane.offsets_mm
    steps = np.diff(offsets)
    if repeated := int(np.count_nonzero(steps < 0.01)):
        return f"repeated positions: {repeated}, the first at {offsets[int(np.argmax(steps < 0.01))]:.2f} mm"
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
    if away[worst] > max(STEP_TOLERANCE * spacing, 0.01):
        place = plane.offsets_mm[worst]
        return f"irregular: the slice at {place:.2f} mm lies {away[worst]:.2f} mm off the even grid of {spacing:.2f} mm"
    return ""
