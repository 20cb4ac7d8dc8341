"""When stacks were acquired: several examinations may stand under one study UID, and a result is of one of them.

Hospitals and archives append a second visit, or the scan after an operation, to the study of the first; trials merge them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cmdiff_dicom.records import Sequence, Stack

LONG_HOURS = 4
"""Sequences further apart within one day may show the patient before and after an operation."""


def of_one_visit(stacks: tuple[Stack, ...]) -> tuple[Stack, ...]:
    """Of days that each offer all sequences that the study has, only the latest day's stacks serve; others get a fault.

    No day alone does: nothing is kept from serving, since a missing or altered date must not cost a sequence.
    """
    usable = [stack for stack in stacks if stack.sequence and not stack.fault]
    there = {stack.sequence for stack in usable}
    visits = _visits({day for stack in usable if (day := _day(stack)) is not None})
    whole = [visit for visit in visits if there == {stack.sequence for stack in usable if _day(stack) in (None, *visit)}]
    if len(visits) < 2 or not whole:
        return stacks
    return tuple(
        replace(stack, fault=stack.fault or "of another day than the visit that serves")
        if stack.sequence and _day(stack) not in (None, *whole[-1])
        else stack
        for stack in stacks
    )


def notes_on_times(chosen: Mapping[Sequence, Stack]) -> tuple[str, ...]:
    """A note where the chosen stacks are so far apart that they may not show one state of the patient."""
    days = [day for stack in chosen.values() if (day := _day(stack)) is not None]
    hours = [hour for stack in chosen.values() if (hour := _hour(stack)) is not None]
    apart_days = max(days) - min(days) if days else 0
    apart_hours = max(hours) - min(hours) if hours else 0
    if apart_days <= 1 and apart_hours <= LONG_HOURS:
        return ()
    apart = f"{apart_days} days" if apart_days > 1 else f"{apart_hours} hours"
    return (f"the sequences were acquired up to {apart} apart: check that they show one state of the patient",)


def _visits(days: set[int]) -> list[list[int]]:
    """Days that follow each other are one visit: an examination may go on past midnight. The earliest first."""
    visits: list[list[int]] = []
    for day in sorted(days):
        if visits and day - visits[-1][-1] <= 1:
            visits[-1].append(day)
        else:
            visits.append([day])
    return visits


def _day(stack: Stack) -> int | None:
    return stack.instances[0].acquisition.acquisition_day


def _hour(stack: Stack) -> int | None:
    hour = stack.instances[0].acquisition.acquisition_time[:2]
    return int(hour) if hour.isdigit() else None
