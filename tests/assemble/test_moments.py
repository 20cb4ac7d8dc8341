"""Several visits under one study UID: the result is of one of them, or says that it is of several."""

from __future__ import annotations

import pytest

from cmdiff_dicom.assemble import choose_stacks, explain
from cmdiff_dicom.records import Sequence
from tests.support.received import noise, oblique_grid, received, series

FINE = oblique_grid(spacing_mm=(3.0, 0.6, 0.6))
BOTH = "20250314", "20250520"


def visit(day: str, *sequences: Sequence, number: int = 0, **options: object) -> list:
    """A series of each of `sequences` (all four unless told), acquired that day."""
    return [
        series(sequence, number=number + n, AcquisitionDate=day, **options) for n, sequence in enumerate(sequences or Sequence, 1)
    ]


def days(choice) -> set[str]:
    """The dates of `BOTH` on which the chosen stacks were acquired."""
    day_of = {received(visit(day, Sequence.T2F)[0]).instances[0].acquisition.acquisition_day: day for day in BOTH}
    return {day_of[stack.instances[0].acquisition.acquisition_day] for stack in choice.stacks.values()}


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_visits_with_all_sequences_the_later_serves_however_fine_the_earlier_is_and_whatever_the_hour(first):
    fine = visit(BOTH[0], volume=noise(FINE), AcquisitionTime="160000")
    coarse = visit(BOTH[1], number=10, AcquisitionTime="080000")
    choice = choose_stacks(received(*(fine + coarse if first else coarse + fine)).instances)
    assert (set(choice.stacks), days(choice)) == (set(Sequence), {BOTH[1]})
    assert "of another day than the visit that serves" in explain(choice)
    assert not [note for note in choice.notes if "apart" in note]


def test_a_later_visit_that_lacks_a_sequence_does_not_break_up_the_whole_one():
    later = visit(BOTH[1], Sequence.T1C, Sequence.T2F, number=10)
    assert days(choose_stacks(received(*visit(BOTH[0]), *later).instances)) == {BOTH[0]}


def test_visits_that_only_together_have_all_serve_together_and_it_is_said():
    first, second = visit(BOTH[0], Sequence.T1N, Sequence.T2F), visit(BOTH[1], Sequence.T1C, Sequence.T2W, number=10)
    choice = choose_stacks(received(*first, *second).instances)
    assert (set(choice.stacks), days(choice)) == (set(Sequence), set(BOTH))
    assert "acquired up to 67 days apart" in " ".join(choice.notes)


def test_an_examination_past_midnight_and_series_without_a_date_are_one_visit():
    evening = visit("20250314", Sequence.T1N, Sequence.T2F, AcquisitionTime="235000")
    night = visit("20250315", Sequence.T1C, number=10, AcquisitionTime="002000")
    choice = choose_stacks(received(*evening, *night, series(Sequence.T2W, AcquisitionDate=None, AcquisitionTime="235500")).instances)
    assert set(choice.stacks) == set(Sequence)
    assert not [note for note in choice.notes if "apart" in note]


def test_sequences_that_are_hours_apart_are_said_to_be():
    choice = choose_stacks(received(series(Sequence.T2F), series(Sequence.T1C, AcquisitionTime="173000")).instances)
    assert "acquired up to 7 hours apart" in " ".join(choice.notes)
