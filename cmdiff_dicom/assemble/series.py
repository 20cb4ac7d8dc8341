"""Instances become stacks: parallel slices of one acquisition, in slice order, with what keeps them from serving.

Series are told apart by their UID alone. One holds several stacks where orientation, matrix, pixel spacing, echo time,
Image Type, frame of reference or time point differ, or where slices in one place are of other protocols.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from operator import attrgetter
from typing import TypeVar

from cmdiff_dicom.assemble.slices import has_place, has_repeats, plane_of, slice_fault
from cmdiff_dicom.records import Acquisition, ReceivedInstance, Stack

MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = frozenset({"1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.3", "1.2.840.10008.5.1.4.1.1.4.4"})

JITTER = 1e-3
"""Largest difference of a direction cosine, or in mm of a pixel's edge, within one stack: the last digits only."""
CUT_SHORT = 1.05
"""By this factor another byte stream of one image has to be longer for the first to count as cut short."""
ENHANCED_FAULT = "Enhanced MR is stored, not read by this version"

CORRECTIONS = frozenset({"ND", "NORM", "DIS2D", "DIS3D", "FM", "FIL"})
"""Values of Image Type that tell how an image was corrected, as Siemens writes them, and not what it shows."""

Value = TypeVar("Value")
Likeness = tuple[object, ...]


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
    slices: list[ReceivedInstance] = []
    rest: list[ReceivedInstance] = []
    for instance in instances:
        (rest if _image_fault(instance) else slices).append(instance)
    stacks = [
        Stack(series_uid, tuple(group), None, "", _image_fault(group[0])) for group in _by(rest, lambda i: i.sop_class_uid)
    ]
    for group in _rejoined(_alike(slices), min_slices):
        points = _by_time(group)
        many = len(points) if len(points) > 2 else 0
        parts = points if len(points) > 1 else _by_protocol(group)
        stacks.extend(_ordered_stack(series_uid, part, min_slices, many) for part in parts)
    return _without_relaxometry(stacks)


def _image_fault(instance: ReceivedInstance) -> str:
    """What keeps an image from being a slice of any stack, or ""."""
    if instance.sop_class_uid in ENHANCED_MR:
        return ENHANCED_FAULT
    if instance.sop_class_uid != MR_IMAGE_STORAGE:
        return "not MR Image Storage"
    if instance.number_of_frames != 1:
        return "several frames in one MR Image Storage instance"
    return "" if has_place(instance) else "orientation, position, pixel spacing or matrix is missing or unusable"


def _by(instances: Iterable[ReceivedInstance], key: Callable[[ReceivedInstance], object]) -> list[list[ReceivedInstance]]:
    groups: dict[object, list[ReceivedInstance]] = defaultdict(list)
    for instance in instances:
        groups[key(instance)].append(instance)
    return [groups[name] for name in sorted(groups, key=str)]


def _alike(instances: list[ReceivedInstance]) -> dict[Likeness, list[ReceivedInstance]]:
    """Groups of one orientation, echo time, matrix with pixel spacing, Image Type and frame of reference."""
    orientations: list[tuple[float, ...]] = []
    echoes: list[float] = []
    spacings: list[tuple[float, ...]] = []
    groups: dict[Likeness, list[ReceivedInstance]] = defaultdict(list)
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
    return groups


def _rejoined(groups: Mapping[Likeness, list[ReceivedInstance]], min_slices: int) -> list[list[ReceivedInstance]]:
    """The groups, but as one where slices only together are a regular volume and no more than a slip tells them apart.

    A slip is a mark of a correction in Image Type, or a frame of reference that some slices lack.
    """
    families: dict[Likeness, list[list[ReceivedInstance]]] = defaultdict(list)
    for key, group in groups.items():
        shown = tuple(value for value in group[0].acquisition.image_type if value not in CORRECTIONS)
        families[(*key[:-2], shown)].append(group)
    joined: list[list[ReceivedInstance]] = []
    for family in families.values():
        if len(family) == 1:
            joined += family
            continue
        whole = [instance for group in family for instance in group]
        frames = {instance.frame_of_reference_uid for instance in whole} - {""}
        faults = [_ordered_stack("", group, min_slices, 0).fault for group in (whole, *family)]
        joined.extend([whole] if len(frames) < 2 and not faults[0] and any(faults[1:]) else family)
    return joined


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
    for name in ("temporal_position", "acquisition_number"):
        number_of = attrgetter(f"acquisition.{name}")
        parts = _apart(group, number_of)
        if len(parts) > 1 and all(number_of(part[0]) is not None for part in parts):
            return parts
    return [group]


def _by_protocol(group: list[ReceivedInstance]) -> list[list[ReceivedInstance]]:
    """The group, or its series where positions repeat: software that rewrites UIDs may give several series one.

    Agent, inversion and description tell them apart; other times and angles may vary within one series, for a map.
    """
    return _apart(group, lambda i: _described(i.acquisition))


def _described(a: Acquisition) -> tuple[object, ...]:
    return a.contrast_agent, a.inversion_time_ms is None, *sorted(a.words)


def _apart(group: list[ReceivedInstance], key: Callable[[ReceivedInstance], object]) -> list[list[ReceivedInstance]]:
    """The group by `key` where its positions repeat and those of no part do, else as one."""
    parts = _by(group, key) if has_repeats(group) else [group]
    return [group] if any(map(has_repeats, parts)) else parts


def _without_relaxometry(stacks: list[Stack]) -> list[Stack]:
    """Stacks of a spin echo with three or more echo times serve a map of T2, not a contrast."""
    echoes = {s.instances[0].acquisition.echo_time_ms for s in stacks if "SE" in s.instances[0].acquisition.scanning_sequence}
    if len(echoes - {None}) < 3:
        return stacks
    return [replace(s, fault=s.fault or f"one of {len(echoes)} spin echoes: the source of a T2 map") for s in stacks]


def _ordered_stack(series_uid: str, group: list[ReceivedInstance], min_slices: int, time_points: int) -> Stack:
    offsets = plane_of(group).offsets_mm
    order = sorted(range(len(group)), key=lambda n: (offsets[n], group[n].sop_uid))
    ordered = tuple(group[n] for n in order)
    fault = f"one of {time_points} time points" if time_points else slice_fault(ordered, min_slices)
    return Stack(series_uid, ordered, None, "", fault)
