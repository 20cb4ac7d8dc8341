"""Which stack serves as which sequence, and what happens where none does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cmdiff_dicom.assemble import Choice, choose_stacks, explain, plan_of
from cmdiff_dicom.errors import TwoPatients
from cmdiff_dicom.records import Sequence
from tests.support.received import merged, noise, oblique_grid, received, series

FOUR = tuple(Sequence)


def study(*sequences):
    return [series(sequence) for sequence in sequences or FOUR]


def choice(*datasets, **options) -> Choice:
    return choose_stacks(received(*datasets).instances, **options)


def series_of(chosen: Choice, sequence: Sequence) -> str:
    return chosen.stacks[sequence].series_uid


def test_four_series_serve_as_the_four_sequences_and_t1c_is_the_reference():
    chosen = choice(*study())
    assert set(chosen.stacks) == set(FOUR)
    assert chosen.reference is Sequence.T1C
    assert not chosen.refusal
    assert not chosen.others
    assert chosen.missing(["T1", "T1c", "T2", "FLAIR"]) == ()


@pytest.mark.parametrize(
    ("there", "reference"),
    [
        ((Sequence.T1N, Sequence.T2W, Sequence.T2F), Sequence.T2F),
        ((Sequence.T1N, Sequence.T2W), Sequence.T2W),
        ((Sequence.T1C, Sequence.T2W), Sequence.T1C),
        ((Sequence.T2F,), Sequence.T2F),
    ],
)
def test_without_t1c_flair_is_the_reference_and_else_t2(there, reference):
    chosen = choice(*study(*there))
    assert chosen.reference is reference
    assert not chosen.refusal
    assert chosen.missing(["T1", "T1c", "T2", "FLAIR"]) == tuple(s for s in FOUR if s not in there)


@pytest.mark.parametrize("there", [(Sequence.T1N,), (Sequence.T1C,), (Sequence.T1N, Sequence.T1C)])
def test_without_flair_and_t2_a_study_is_refused_with_what_was_found(there):
    chosen = choice(*study(*there))
    assert chosen.refusal.reason.startswith("NoUsableSequence: neither FLAIR nor T2")
    assert f"{there[0].value}: 10 image(s)" in chosen.refusal.reason
    assert chosen.reference is None


def test_an_empty_study_is_refused():
    assert choose_stacks([]).refusal.reason == "NoUsableSequence: the study holds no image"


def test_a_stack_with_a_gap_counts_as_missing_and_its_gap_is_told():
    flair = series(Sequence.T2F)
    del flair[4]
    chosen = choice(*study(Sequence.T1C, Sequence.T2W), flair)
    assert chosen.missing(["FLAIR"]) == (Sequence.T2F,)
    assert "gap of 8.00 mm" in explain(chosen)


def test_two_patients_under_one_study_are_refused():
    chosen = choice(series(Sequence.T1C), series(Sequence.T2F, PatientID="ANOTHER"))
    assert isinstance(chosen.refusal, TwoPatients)
    assert "ANOTHER" not in chosen.refusal.reason
    assert not chosen.stacks


@pytest.mark.parametrize("overrides", [{"PatientID": ""}, {"PatientID": None}, {"IssuerOfPatientID": "HOSPITAL"}])
def test_a_missing_patient_id_or_another_issuer_is_no_second_patient(overrides):
    assert not choice(series(Sequence.T1C), series(Sequence.T2F, **overrides)).refusal


def test_what_is_no_mr_makes_no_second_patient():
    """An archive may rewrite Patient IDs: then our own result comes back under another one than its images."""
    flair, other = received(series(Sequence.T2F)).instances, received(series(Sequence.T1C, PatientID="REWRITTEN")).instances[:1]
    seg = replace(other[0], sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4", modality="SEG")
    enhanced = replace(other[0], sop_class_uid="1.2.840.10008.5.1.4.1.1.4.1")
    assert not choose_stacks([*flair, seg]).refusal
    assert isinstance(choose_stacks([*flair, enhanced]).refusal, TwoPatients)


def test_no_stack_serves_as_two_sequences():
    chosen = choice(*study(), series(Sequence.T1N, number=9))
    instances = [i.sop_uid for stack in chosen.stacks.values() for i in stack.instances]
    assert len(instances) == len(set(instances)) == 40


def test_of_several_the_finest_voxel_serves():
    fine = noise(oblique_grid(spacing_mm=(2.0, 1.0, 1.0)))
    chosen = choice(*study(), series(Sequence.T2F, volume=fine, number=9))
    assert series_of(chosen, Sequence.T2F) == series(Sequence.T2F, volume=fine, number=9)[0].SeriesInstanceUID


def test_of_equal_voxels_the_best_coverage_serves():
    tall = noise(oblique_grid(shape=(14, 20, 24)))
    chosen = choice(*study(), series(Sequence.T2F, volume=tall, number=9))
    assert len(chosen.stacks[Sequence.T2F].instances) == 14


def test_of_equals_the_latest_serves():
    again = series(Sequence.T2F, number=9)
    assert series_of(choice(*study(), again), Sequence.T2F) == again[0].SeriesInstanceUID


def test_a_thin_fine_slab_does_not_displace_a_whole_head():
    head = noise(oblique_grid(shape=(30, 40, 40), spacing_mm=(5, 5, 5)))
    slab = noise(oblique_grid(shape=(12, 200, 200), spacing_mm=(2, 0.5, 0.5)))
    chosen = choice(series(Sequence.T2F), series(Sequence.T1C, volume=head, number=8), series(Sequence.T1C, volume=slab, number=9))
    assert len(chosen.stacks[Sequence.T1C].instances) == 30


def test_a_reference_that_covers_a_part_of_the_head_is_noted():
    head = noise(oblique_grid(shape=(30, 40, 40), spacing_mm=(5, 5, 5)))
    assert "T1c, the reference, covers only 22 mm" in choice(*study()).notes[0]
    assert not choice(series(Sequence.T2F, volume=head)).notes


def test_two_acquisitions_in_one_series_serve_as_one_whole():
    first, second = merged(*(series(Sequence.T2F, AcquisitionNumber=n) for n in (1, 2)))
    chosen = choice([data_set for pair in zip(first, second, strict=True) for data_set in pair])
    assert len({i.acquisition.acquisition_number for i in chosen.stacks[Sequence.T2F].instances}) == 1
    assert [len(stack.instances) for stack in chosen.others] == [10]


def test_fat_suppressed_images_serve_only_where_nothing_else_does():
    fine = noise(oblique_grid(spacing_mm=(2.0, 1.0, 1.0)))
    fat_suppressed = series(Sequence.T1C, volume=fine, number=9, ScanOptions=["IR", "FS"])
    assert series_of(choice(*study(), fat_suppressed), Sequence.T1C) != fat_suppressed[0].SeriesInstanceUID
    assert series_of(choice(series(Sequence.T2F), fat_suppressed), Sequence.T1C) == fat_suppressed[0].SeriesInstanceUID


def test_the_water_image_of_a_dixon_serves_only_where_nothing_else_does_and_its_fat_image_never():
    images = {kind: series(number=n, ImageType=["DERIVED", "PRIMARY", "DIXON", kind]) for n, kind in enumerate(("WATER", "IN_PHASE", "FAT", "OPP_PHASE"), 5)}
    assert series_of(choice(*images.values()), Sequence.T2F) == images["IN_PHASE"][0].SeriesInstanceUID
    assert series_of(choice(*(images[kind] for kind in ("WATER", "FAT"))), Sequence.T2F) == images["WATER"][0].SeriesInstanceUID
    assert choice(images["FAT"], images["OPP_PHASE"]).refusal


def test_contrast_words_that_stand_on_every_series_describe_the_study():
    chosen = choice(*(series(s, ProtocolName="BRAIN POST GAD") for s in (Sequence.T1N, Sequence.T2W, Sequence.T2F)))
    assert Sequence.T1C not in chosen.stacks


def test_what_was_requested_for_the_study_makes_no_t1c():
    requested = {"StudyDescription": "MR BRAIN W CONTRAST", "RequestedProcedureDescription": "MR BRAIN W CONTRAST"}
    chosen = choice(*(series(s, **requested) for s in (Sequence.T1N, Sequence.T2W, Sequence.T2F)))
    assert chosen.missing(["T1c"]) == (Sequence.T1C,)


def plain_t1(number, **overrides):
    return series(Sequence.T1N, number=number, volume=noise(seed=number), **overrides)


def test_the_later_of_two_like_t1_may_be_after_contrast_and_pixels_decide():
    before, after = plain_t1(1), plain_t1(4)
    chosen = choice(after, before, series(Sequence.T2F, number=2))
    assert chosen.pixels_decide
    assert series_of(chosen, Sequence.T1N) == before[0].SeriesInstanceUID
    assert series_of(chosen, Sequence.T1C) == after[0].SeriesInstanceUID
    assert "if its pixels enhance" in chosen.stacks[Sequence.T1C].why


def test_one_acquisition_kept_with_and_without_correction_is_no_pair_and_hides_none():
    """Scanners keep a corrected and an uncorrected series of every scan, with one time and two Image Types."""
    kept_twice = [
        (plain_t1(number, ImageType=["ORIGINAL", "PRIMARY", "M", "NORM", "DIS3D"], AcquisitionTime=time),
         plain_t1(number + 10, ImageType=["ORIGINAL", "PRIMARY", "M", "ND"], AcquisitionTime=time))
        for number, time in ((1, "101000"), (4, "102000"))
    ]  # fmt: skip
    flair = series(Sequence.T2F, number=2)
    assert Sequence.T1C not in choice(*kept_twice[0], flair).stacks
    chosen = choice(*kept_twice[0], *kept_twice[1], flair)
    times = [chosen.stacks[s].instances[0].acquisition.acquisition_time for s in (Sequence.T1N, Sequence.T1C)]
    assert times == ["101000", "102000"]


def test_two_t1_of_another_kind_are_no_pair():
    chosen = choice(plain_t1(1), plain_t1(4, EchoTime=7, RepetitionTime=1500), series(Sequence.T2F, number=2))
    assert Sequence.T1C not in chosen.stacks


def test_screen_captures_and_other_objects_never_serve():
    capture = series(Sequence.T2F, number=8, ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"])
    secondary = series(Sequence.T2F, number=9, SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    chosen = choice(*study(), capture, secondary)
    assert {stack.series_uid for stack in chosen.others} == {capture[0].SeriesInstanceUID, secondary[0].SeriesInstanceUID}


def test_min_slices_is_the_callers():
    assert choice(series(), min_slices=11).refusal
    assert not choice(series(), min_slices=10).refusal


def test_the_choice_does_not_depend_on_the_order_of_arrival():
    instances = received(*study(), plain_t1(8), series(Sequence.T2F, number=9)).instances
    shuffled = [instances[n] for n in np.random.default_rng(5).permutation(len(instances))]
    assert plan_of(choose_stacks(instances)) == plan_of(choose_stacks(shuffled))


def test_the_explanation_names_every_stack_and_why():
    t1 = series(Sequence.T1N, number=1, SeriesDescription="AX T2", ProtocolName="AX T2")
    text = explain(choice(t1, series(Sequence.T2F), series(Sequence.T2W)[:5]))
    assert "contradicts the description, which says T2" in text
    assert "FLAIR (reference)" in text
    assert "5 slice(s), at least 8 wanted" in text
    assert text.count("\n") == 4
