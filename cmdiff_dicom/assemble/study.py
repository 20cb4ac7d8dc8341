"""The chosen stacks as volumes, once the pixels have been asked whether the headers tell the truth."""

from __future__ import annotations

from cmdiff_dicom import errors
from cmdiff_dicom.assemble.choice import Choice, reference_of
from cmdiff_dicom.assemble.volume import ReadBytes, read_volume
from cmdiff_dicom.errors import NoUsableSequence, Refused, UnreadablePixels
from cmdiff_dicom.geometry import Volume
from cmdiff_dicom.records import AssembledStudy, Sequence


def assemble_study(choice: Choice, read: ReadBytes) -> AssembledStudy:
    """The study's volumes and the sequence that carries the result.

    A stack with unreadable pixels counts as missing and is noted.
    Raises: Refused by the choice's own refusal, or UnreadablePixels and NoUsableSequence where neither FLAIR nor T2 is left.
    """
    if choice.refusal:
        raise refusal_error(choice.refusal)
    volumes: dict[Sequence, Volume] = {}
    notes = list(choice.notes)
    unreadable: list[str] = []
    for sequence, stack in choice.stacks.items():
        try:
            volumes[sequence] = read_volume(stack, read)
        except UnreadablePixels as fault:
            unreadable.append(str(fault))
            notes.append(f"not used: {fault}")
    reference = reference_of(volumes)
    if reference is None:
        if unreadable:
            raise UnreadablePixels("; ".join(unreadable))
        raise NoUsableSequence("neither FLAIR nor T2 serves")
    stacks = {sequence: choice.stacks[sequence] for sequence in volumes}
    return AssembledStudy(choice.study_uid, volumes, stacks, reference, tuple(notes))


def refusal_error(refusal: str) -> Refused:
    """The error that a one-line refusal "Kind: text" names."""
    kind, _, text = refusal.partition(": ")
    named = getattr(errors, kind, None)
    if isinstance(named, type) and issubclass(named, Refused):
        return named(text)
    return NoUsableSequence(refusal)
