"""The chosen stacks as volumes, once the pixels have been asked whether the headers tell the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cmdiff_dicom.assemble.choice import Choice, are_alike, reference_of
from cmdiff_dicom.assemble.evidence import enhancement, fluid
from cmdiff_dicom.assemble.volume import ReadBytes, read_volume
from cmdiff_dicom.errors import NoUsableSequence, UnreadablePixels
from cmdiff_dicom.geometry import Volume
from cmdiff_dicom.records import AssembledStudy, Sequence, Stack

Volumes = dict[Sequence, Volume]
Stacks = dict[Sequence, Stack]


def assemble_study(choice: Choice, read: ReadBytes) -> AssembledStudy:
    """The study's volumes, backgrounds no less than 0, and the sequence that carries the result.

    A stack with unreadable pixels counts as missing. Where pixels show that T2 and FLAIR, or T1 and a T1c of like
    technique, are the wrong way round, they are exchanged; where only pixels could tell T1c and do not, it is missing.
    All of it is noted.
    Raises: Refused by the choice's own refusal; UnreadablePixels or NoUsableSequence where neither FLAIR nor T2 is left.
    """
    if choice.refusal:
        raise choice.refusal
    volumes: Volumes = {}
    notes, unreadable = list(choice.notes), []
    for sequence, stack in choice.stacks.items():
        try:
            volume, odd = read_volume(stack, read)
            volumes[sequence] = _on_zero(volume)
            notes += odd
        except UnreadablePixels as fault:
            unreadable.append(str(fault))
            notes.append(f"not used: {fault}")
    stacks = {sequence: choice.stacks[sequence] for sequence in volumes}
    notes += _ask_about_contrast_agent(volumes, stacks, choice.pixels_decide)
    notes += _ask_about_fluid(volumes, stacks)
    reference = reference_of(volumes)
    if reference is None:
        raise UnreadablePixels("; ".join(unreadable)) if unreadable else NoUsableSequence("neither FLAIR nor T2 serves")
    return AssembledStudy(choice.study_uid, volumes, stacks, reference, tuple(notes))


def _on_zero(volume: Volume) -> Volume:
    """The volume on a background of 0, as scanners have it, where exporters have subtracted an offset."""
    background = float(np.median(volume.array[np.ix_((0, -1), (0, -1), (0, -1))]))
    return replace(volume, array=volume.array - np.float32(background)) if background < 0 else volume


def _ask_about_contrast_agent(volumes: Volumes, stacks: Stacks, pixels_decide: bool) -> list[str]:
    """Exchange or drop T1c by what the pixels of T1 and T1c show; what was done, in words."""
    if Sequence.T1C not in volumes:
        return []
    if Sequence.T1N not in volumes:
        if pixels_decide:
            _drop(volumes, stacks, Sequence.T1C)
            return ["T1c not identified: the T1 to compare it with cannot be read"]
        return []
    if not pixels_decide and not are_alike(stacks[Sequence.T1N], stacks[Sequence.T1C]):
        return []  # another technique, or fat suppressed: their pixels differ by more than the agent
    verdict = enhancement(volumes[Sequence.T1N], volumes[Sequence.T1C])
    if not pixels_decide and verdict >= 0:
        return []
    if pixels_decide and verdict > 0:
        return ["T1c identified by its pixels: it enhances over the T1 before it"]
    if verdict < 0 and (not pixels_decide or _are_simultaneous(stacks)):
        _exchange(volumes, stacks, Sequence.T1N, Sequence.T1C)
        return ["T1 and T1c exchanged: the pixels enhance the other way round"]
    _drop(volumes, stacks, Sequence.T1C)
    return ["T1c not identified: two T1 that neither agent, description nor pixels tell apart"]


def _ask_about_fluid(volumes: Volumes, stacks: Stacks) -> list[str]:
    """Exchange T2 and FLAIR where fluid is bright in what the header calls FLAIR; what was done, in words."""
    if not {Sequence.T2W, Sequence.T2F} <= set(volumes) or fluid(volumes[Sequence.T2W], volumes[Sequence.T2F]) >= 0:
        return []
    _exchange(volumes, stacks, Sequence.T2W, Sequence.T2F)
    return ["T2 and FLAIR exchanged: fluid is bright in what the header calls FLAIR and dark in its T2"]


def _are_simultaneous(stacks: Stacks) -> bool:
    """True where the headers do not say which T1 was the later."""
    return len({stacks[sequence].instances[0].acquisition.acquisition_time for sequence in (Sequence.T1N, Sequence.T1C)}) == 1


def _exchange(volumes: Volumes, stacks: Stacks, one: Sequence, other: Sequence) -> None:
    volumes[one], volumes[other] = replace(volumes[other], name=one.value), replace(volumes[one], name=other.value)
    stacks[one], stacks[other] = replace(stacks[other], sequence=one), replace(stacks[one], sequence=other)


def _drop(volumes: Volumes, stacks: Stacks, sequence: Sequence) -> None:
    del volumes[sequence], stacks[sequence]
