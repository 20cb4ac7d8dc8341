"""The job's key and its plan."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cmdiff_dicom.assemble import Choice, choice_from_plan, choose_stacks, job_key, plan_of
from cmdiff_dicom.errors import EnhancedNotSupported, NoUsableSequence, TwoPatients
from cmdiff_dicom.records import Sequence
from tests.support.received import noise, received, series


def study(*sequences):
    return [series(sequence) for sequence in sequences or Sequence]


def choice(*datasets) -> Choice:
    return choose_stacks(received(*datasets).instances)


def test_the_key_follows_the_chosen_bytes_the_weights_and_the_version():
    chosen = choice(*study())
    changed = choice(*study(Sequence.T1N, Sequence.T1C, Sequence.T2W), series(Sequence.T2F, volume=noise(seed=99)))
    keys = {job_key(chosen, "w", "1"), job_key(chosen, "v", "1"), job_key(chosen, "w", "2"), job_key(changed, "w", "1")}
    assert len(keys) == 4
    assert all(len(key) == 64 for key in keys)


def test_images_that_do_not_serve_leave_the_key_as_it_is():
    dwi = series(Sequence.T2W, number=9, SeriesDescription="ep2d_diff", ScanningSequence=["SE", "EP"])
    four = study()
    assert job_key(choice(*four), "w", "1") == job_key(choice(dwi, *four, four[0]), "w", "1")


def test_a_plan_tells_whether_it_is_of_the_same_images():
    four = study()
    dwi = series(Sequence.T2W, number=9, SeriesDescription="ep2d_diff", ScanningSequence=["SE", "EP"])
    images = [plan_of(choice(*datasets))["images"] for datasets in (four, (dwi, *four), four[:3], [four[0]])]
    assert images[0] == images[1]
    assert len(set(images)) == 3


def test_a_plan_is_json_and_gives_the_choice_back():
    everything = received(*study())
    chosen = choose_stacks(everything.instances)
    plan = json.loads(json.dumps(plan_of(chosen)))
    again = choice_from_plan(plan, everything.instances[::-1])
    assert again == chosen
    assert job_key(again, "w", "1") == job_key(chosen, "w", "1")


def test_a_plan_whose_images_were_purged_says_so():
    everything = received(*study())
    plan = plan_of(choose_stacks(everything.instances))
    with pytest.raises(NoUsableSequence, match=r"1 of 10 images have been purged"):
        choice_from_plan(plan, everything.instances[1:])


REFUSED = {
    NoUsableSequence: [series(Sequence.T1N)],
    EnhancedNotSupported: [series(Sequence.T2F, SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1")],
    TwoPatients: [series(Sequence.T1C), series(Sequence.T2F, PatientID="ANOTHER")],
}


@pytest.mark.parametrize("kind", REFUSED)
def test_the_plan_of_a_refused_study_has_no_reference_and_tells_its_kind_apart(kind):
    refused = choose_stacks(received(*REFUSED[kind]).instances)
    plan = json.loads(json.dumps(plan_of(refused)))
    assert type(refused.refusal) is kind
    assert plan["reference"] is None
    assert plan["images"] != plan_of(replace(refused, refusal=None))["images"]
