"""The chosen stacks as volumes, once the pixels have been asked."""

from __future__ import annotations

import numpy as np
import pytest

from cmdiff_dicom.assemble import assemble_study, choose_stacks
from cmdiff_dicom.errors import EnhancedNotSupported, NoUsableSequence, TwoPatients, UnreadablePixels
from cmdiff_dicom.geometry import Volume
from cmdiff_dicom.records import Sequence
from cmdiff_dicom.synthesis import acquire, make_head, render
from tests.support.received import received, series


@pytest.fixture(scope="module")
def head():
    head = make_head(4, spacing_mm=3.0)
    return {sequence: render(head, sequence) for sequence in Sequence}


def scanned(volume: Volume, seed=1) -> Volume:
    return acquire(volume, volume.geometry, noise=0.02, seed=seed)


def assembled(*datasets):
    everything = received(*datasets)
    return assemble_study(choose_stacks(everything.instances), everything.read)


def four(head, **swapped):
    """The four series; `swapped` gives a sequence's name the image of another."""
    return [series(s, volume=scanned(head[swapped.get(s.name, s)])) for s in Sequence]


def test_a_study_becomes_four_volumes_on_their_own_grids(head):
    study = assembled(*four(head))
    assert set(study.volumes) == set(study.stacks) == set(Sequence)
    assert study.reference is Sequence.T1C
    assert all(volume.geometry.is_close(head[sequence].geometry, 1e-4) for sequence, volume in study.volumes.items())
    assert not study.notes


def test_an_offset_that_an_exporter_subtracted_is_taken_back(head):
    fluid_bright, fluid_dark = (scanned(head[s]) for s in (Sequence.T2W, Sequence.T2F))
    below = [Volume(volume.array - 1000, volume.geometry) for volume in (fluid_dark, fluid_bright)]
    study = assembled(series(Sequence.T2W, volume=below[0]), series(Sequence.T2F, volume=below[1]))
    assert "exchanged" in study.notes[0]
    np.testing.assert_allclose(study.volumes[Sequence.T2W].array, fluid_bright.array, atol=5)


def test_a_stack_with_unreadable_pixels_counts_as_missing_and_is_noted(head):
    datasets = four(head)
    datasets[1][3].PixelData = datasets[1][3].PixelData[:-100]
    study = assembled(*datasets)
    assert Sequence.T1C not in study.volumes
    assert study.reference is Sequence.T2F
    assert study.notes[0].startswith("not used: T1c: slice 4 of")


def test_without_readable_flair_and_t2_the_study_is_refused(head):
    datasets = four(head)
    for broken in datasets[2:]:
        broken[3].PixelData = broken[3].PixelData[:-100]
    with pytest.raises(UnreadablePixels, match=r"T2: slice 4 .*; FLAIR: slice 4"):
        assembled(*datasets)


def test_a_t1c_without_any_tag_is_identified_by_its_enhancement(head):
    before = series(Sequence.T1N, volume=scanned(head[Sequence.T1N]), number=1)
    after = series(Sequence.T1N, volume=scanned(head[Sequence.T1C]), number=4)
    study = assembled(before, after, series(Sequence.T2F, volume=head[Sequence.T2F]))
    assert study.stacks[Sequence.T1C].series_uid == after[0].SeriesInstanceUID
    assert study.reference is Sequence.T1C
    assert "identified by its pixels" in study.notes[0]


def test_two_t1_that_nothing_tells_apart_leave_t1c_unidentified(head):
    before = series(Sequence.T1N, volume=scanned(head[Sequence.T1N], seed=1), number=1)
    after = series(Sequence.T1N, volume=scanned(head[Sequence.T1N], seed=2), number=4)
    study = assembled(before, after, series(Sequence.T2F, volume=head[Sequence.T2F]))
    assert set(study.volumes) == {Sequence.T1N, Sequence.T2F}
    assert study.reference is Sequence.T2F
    assert study.notes[0].startswith("T1c not identified")


def test_without_times_the_brighter_of_two_t1_is_the_one_after_contrast(head):
    timeless = {"AcquisitionTime": None}
    after = series(Sequence.T1N, volume=scanned(head[Sequence.T1C]), number=1, **timeless)
    before = series(Sequence.T1N, volume=scanned(head[Sequence.T1N]), number=4, **timeless)
    study = assembled(before, after, series(Sequence.T2F, volume=head[Sequence.T2F]))
    assert study.stacks[Sequence.T1C].series_uid == after[0].SeriesInstanceUID


def test_an_earlier_t1_that_is_brighter_contradicts_the_clock_and_leaves_t1c_unidentified(head):
    first = series(Sequence.T1N, volume=scanned(head[Sequence.T1C]), number=1)
    second = series(Sequence.T1N, volume=scanned(head[Sequence.T1N]), number=4)
    study = assembled(first, second, series(Sequence.T2F, volume=head[Sequence.T2F]))
    assert Sequence.T1C not in study.volumes


@pytest.mark.parametrize(("one", "other"), [(Sequence.T1N, Sequence.T1C), (Sequence.T2W, Sequence.T2F)])
def test_sequences_whose_headers_are_the_wrong_way_round_are_exchanged_and_noted(head, one, other):
    study = assembled(*four(head, **{one.name: other, other.name: one}))
    for sequence in (one, other):
        assert study.volumes[sequence].name == sequence.value
        assert study.stacks[sequence].sequence is sequence
        true, read = head[sequence].array, study.volumes[sequence].array
        assert np.corrcoef(true.ravel(), read.ravel())[0, 1] > 0.98
    assert "exchanged" in study.notes[0]


def test_a_fat_suppressed_t1c_is_not_compared_with_a_plain_t1(head):
    datasets = four(head, **{Sequence.T1N.name: Sequence.T1C, Sequence.T1C.name: Sequence.T1N})
    for data_set in datasets[1]:
        data_set.ScanOptions = ["IR", "FS"]
    assert not assembled(*datasets).notes


def test_a_refused_choice_raises_its_own_error():
    cases = [
        (TwoPatients, [series(Sequence.T1C), series(Sequence.T2F, PatientID="P2")]),
        (NoUsableSequence, [series(Sequence.T1C)]),
        (EnhancedNotSupported, [series(SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1")]),
    ]
    for error, datasets in cases:
        with pytest.raises(error):
            assembled(*datasets)
