"""Which stack serves as which sequence, from headers alone, or why the study cannot be done.

Pure: the dispatcher asks it on every look at a study, the worker gets the same answer back from the plan (`plan.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.assemble.identify import CONTRAST_WORDS, WITHOUT_WORDS, is_fat_suppressed, recognise, technique
from cmdiff_dicom.assemble.moments import notes_on_times, of_one_visit
from cmdiff_dicom.assemble.series import ENHANCED_FAULT, ENHANCED_MR, MR_IMAGE_STORAGE, split_into_stacks
from cmdiff_dicom.assemble.slices import geometry_of
from cmdiff_dicom.errors import EnhancedNotSupported, NoUsableSequence, Refused, TwoPatients
from cmdiff_dicom.records import Acquisition, ReceivedInstance, Sequence, Stack

REFERENCE_ORDER = (Sequence.T1C, Sequence.T2F, Sequence.T2W)
HEAD_MM = 100.0
"""A stack that reaches less far in any direction covers a part of the head only."""


@dataclass(frozen=True)
class Choice:
    """What a study offers, or with which error it is refused; `others` are the stacks that do not serve.

    `pixels_decide`: T1c is only the later of two like T1; the pixels have to show the agent (`assemble_study` asks them).
    """

    study_uid: str
    stacks: Mapping[Sequence, Stack]
    others: tuple[Stack, ...] = ()
    reference: Sequence | None = None
    refusal: Refused | None = None
    notes: tuple[str, ...] = ()
    pixels_decide: bool = False

    def missing(self, needed: Iterable[Sequence | str]) -> tuple[Sequence, ...]:
        """Which of `needed` (sequences or their names) no regular stack serves as."""
        return tuple(sequence for sequence in map(Sequence, needed) if sequence not in self.stacks)


def choose_stacks(instances: Iterable[ReceivedInstance], min_slices: int = 8) -> Choice:
    """One study's instances -> the stack that serves as each sequence, the reference, or a refusal by name."""
    received = list(instances)
    study_uid = received[0].study_uid if received else ""
    split, notes = split_into_stacks(received, min_slices)
    stacks = of_one_visit(_recognised(split))
    # an archive that rewrites Patient IDs sends our own result back under another: only what may serve is asked
    patients = {instance.patient_digest for instance in received if instance.sop_class_uid in {MR_IMAGE_STORAGE, *ENHANCED_MR}}
    if len(patients - {""}) > 1:
        two = TwoPatients("two Patient IDs stand under one Study Instance UID")
        return Choice(study_uid, {}, stacks, None, two, notes)
    chosen = {}
    for sequence in Sequence:
        candidates = [stack for stack in stacks if stack.sequence is sequence and not stack.fault]
        if candidates:
            chosen[sequence] = max(candidates, key=_preference)
    pixels_decide = False
    if Sequence.T1C not in chosen and (pair := _pair_of_t1(stacks)):
        before, after = pair
        chosen[Sequence.T1N] = before
        chosen[Sequence.T1C] = replace(
            after, sequence=Sequence.T1C, why=f"T1c: the later of two like T1, if its pixels enhance ({after.why})"
        )
        pixels_decide = True
    serving = {(stack.series_uid, stack.instances) for stack in chosen.values()}
    others = tuple(stack for stack in stacks if (stack.series_uid, stack.instances) not in serving)
    reference = reference_of(chosen)
    if reference and (thin_mm := float(_extent_mm(chosen[reference]).min())) < HEAD_MM:
        notes = (*notes, f"{reference.value}, the reference, covers only {thin_mm:.0f} mm; nothing beyond is segmented")
    refusal = None if reference else _refusal(stacks)
    return Choice(study_uid, chosen, others, reference, refusal, (*notes, *notes_on_times(chosen)), pixels_decide)


def reference_of(available: Iterable[Sequence]) -> Sequence | None:
    """The sequence whose series carries the result: T1c, else FLAIR, else T2; None without FLAIR and T2, which show edema."""
    there = set(available)
    if not there & {Sequence.T2F, Sequence.T2W}:
        return None
    return next(sequence for sequence in REFERENCE_ORDER if sequence in there)


# --- recognition across the study ---------------------------------------------------------------


def acquisition_of(stack: Stack) -> Acquisition:
    """The stack's physics: its first slice's, with an agent where any slice names one."""
    first = stack.instances[0].acquisition
    return replace(first, contrast_agent=any(instance.acquisition.contrast_agent for instance in stack.instances))


def _recognised(stacks: tuple[Stack, ...]) -> tuple[Stack, ...]:
    common = _study_words(stacks)
    named = []
    for stack in stacks:
        acquisition = acquisition_of(stack)
        seen = recognise(replace(acquisition, words=acquisition.words - common))
        named.append(replace(stack, sequence=seen.sequence, why=seen.why))
    return tuple(named)


def _study_words(stacks: tuple[Stack, ...]) -> frozenset[str]:
    """Words about contrast that stand on T1 and on other weightings alike: they describe the study, not a series."""
    described = [(stack, acquisition_of(stack)) for stack in stacks if stack.instances[0].acquisition.words]
    weightings = {recognise(acquisition).sequence in (Sequence.T1N, Sequence.T1C) for _, acquisition in described}
    if len(weightings) < 2:
        return frozenset()
    common = frozenset.intersection(*(acquisition.words for _, acquisition in described))
    return common & (CONTRAST_WORDS | WITHOUT_WORDS | {"CONTRAST", "W", "WITH"})


def _preference(stack: Stack) -> tuple[object, ...]:
    """Greater is better: covers a head, no fat suppression, original, finest voxel, best coverage, latest."""
    acquisition, geometry, extent_mm = acquisition_of(stack), geometry_of(stack), _extent_mm(stack)
    latest = max(instance.acquisition.acquisition_time for instance in stack.instances)
    return (
        bool(extent_mm.min() >= HEAD_MM),
        not is_fat_suppressed(acquisition),
        acquisition.image_type[:1] != ("DERIVED",),
        -round(float(geometry.spacing_mm.max()), 1),
        -round(geometry.voxel_ml * 1000, 2),
        round(float(np.prod(extent_mm)) / 1e6, 2),
        latest,
        stack.series_uid,
    )


def _extent_mm(stack: Stack) -> NDArray[np.float64]:
    """How far a stack reaches along k, j and i."""
    geometry = geometry_of(stack)
    return np.asarray(geometry.spacing_mm * np.array(geometry.shape), dtype=np.float64)


def _pair_of_t1(stacks: tuple[Stack, ...]) -> tuple[Stack, Stack] | None:
    """The best two like T1 of one study, earlier first: the later may be after contrast.

    Two of one time are one acquisition, which scanners also keep without its corrections, and tell nothing.
    """
    candidates = sorted((s for s in stacks if s.sequence is Sequence.T1N and not s.fault), key=_preference, reverse=True)
    for n, best in enumerate(candidates):
        for other in candidates[n + 1 :]:
            if are_alike(best, other) and (not _time(best) or _time(best) != _time(other)):
                before, after = sorted((best, other), key=lambda s: (_time(s), s.series_uid))
                return before, after
    return None


def _time(stack: Stack) -> str:
    return stack.instances[0].acquisition.acquisition_time


def are_alike(one: Stack, other: Stack) -> bool:
    """Same technique, fat suppression, plane, voxel, TR and TE, within what a technologist's copy of a protocol changes."""
    a, b, first, second = acquisition_of(one), acquisition_of(other), geometry_of(one), geometry_of(other)
    normals = abs(float(first.mm_from_index[:3, 0] @ second.mm_from_index[:3, 0])) / (
        first.spacing_mm[0] * second.spacing_mm[0]
    )
    times = [(a.repetition_time_ms, b.repetition_time_ms), (a.echo_time_ms, b.echo_time_ms)]
    return (
        technique(a) == technique(b)
        and is_fat_suppressed(a) == is_fat_suppressed(b)
        and normals > np.cos(np.radians(15))
        and bool(np.allclose(first.spacing_mm, second.spacing_mm, rtol=0.2))
        and all(x is None or y is None or abs(x - y) <= 0.2 * max(x, y) for x, y in times)
    )


def _refusal(stacks: tuple[Stack, ...]) -> Refused:
    """Why no stack can carry a result: what was found, what was wanted."""
    if not stacks:
        return NoUsableSequence("the study holds no image")
    lines = [f"{_kind(stack)}: {len(stack.instances)} image(s), {stack.fault or stack.why}" for stack in stacks]
    found = "; ".join(lines[:8]) + (f"; and {len(lines) - 8} more" if len(lines) > 8 else "")
    images = [stack for stack in stacks if stack.instances[0].modality in ("MR", "")]
    if any(stack.fault == ENHANCED_FAULT for stack in images) and all(stack.fault for stack in images):
        return EnhancedNotSupported(f"neither FLAIR nor T2 as single-frame MR Image Storage. Found: {found}")
    return NoUsableSequence(f"neither FLAIR nor T2 serves, and at least one is needed. Found: {found}")


def _kind(stack: Stack) -> str:
    return stack.sequence.value if stack.sequence else stack.instances[0].modality or "unknown"
