"""The transition table: what may become of a job, and what follows from a commitment that failed."""

import pytest

from cmdiff_dicom.ledger.states import (
    COMMITMENT_FAILURES,
    MAX_RESENDS,
    NEXT,
    AfterFailedCommitment,
    JobEvent,
    JobState,
    after_failed_commitment,
    sources,
    target,
)


@pytest.mark.parametrize("event", JobEvent)
def test_an_event_leads_to_one_state_wherever_it_starts(event):
    assert {state for (_, happening), state in NEXT.items() if happening is event} == {target(event)}


def test_a_final_job_changes_only_when_a_person_retries_it():
    assert {event for state, event in NEXT if state.is_final} == {JobEvent.RETRY}


def test_what_has_a_result_or_was_superseded_stays_as_it_is():
    assert not {state for state, _ in NEXT} & {JobState.SEGMENTED, JobState.NO_TUMOUR, JobState.SUPERSEDED}


def test_every_state_can_be_reached():
    assert {*NEXT.values()} == {*JobState}


def test_only_a_job_that_nobody_has_can_be_claimed():
    assert sources(JobEvent.CLAIM) == {JobState.SETTLED}


def test_whatever_is_not_final_can_be_superseded():
    assert sources(JobEvent.SUPERSEDE) == {state for state in JobState if not state.is_final}


def test_an_object_that_the_destination_does_not_know_is_sent_again_a_few_times_only():
    assert after_failed_commitment(0x0112, MAX_RESENDS - 1)[1] is AfterFailedCommitment.SEND_AGAIN
    assert after_failed_commitment(0x0112, MAX_RESENDS)[1] is AfterFailedCommitment.GIVE_UP


def test_an_unknown_failure_reason_is_told_by_its_number_and_final():
    text, action = after_failed_commitment(0x0ABC, 0)
    assert "0x0ABC" in text
    assert action is AfterFailedCommitment.GIVE_UP


@pytest.mark.parametrize("reason", COMMITMENT_FAILURES)
def test_a_known_failure_reason_is_told_in_words(reason):
    assert COMMITMENT_FAILURES[reason][0] in after_failed_commitment(reason, 0)[0]
