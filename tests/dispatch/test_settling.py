"""When a study is complete: quiet long enough for what it holds."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cmdiff_dicom.ledger import JobState
from tests.support.dispatching import NEEDED

HOUR_S = 3600.0


def test_a_whole_study_settles_once_it_has_been_quiet(node):
    node.receive_all()
    node.wait(58)
    assert node.ledger.jobs() == ()
    node.wait(4)
    (job,) = node.ledger.jobs()
    assert job.state is JobState.SETTLED
    assert job.evidence == "quiet for 60 s with T1, T1c, T2, FLAIR"


def test_every_instance_restarts_the_clock_of_its_study(node):
    for sequence in NEEDED:
        for number in range(8):
            node.receive(sequence, 1, first=number)
            node.wait(50, tick_s=10)
    assert node.ledger.jobs() == ()
    node.wait(24)
    assert len(node.ledger.jobs()) == 1


def test_a_study_without_a_needed_sequence_waits_until_give_up(node):
    for sequence in ("T1", "T1c", "FLAIR"):
        node.receive(sequence)
    node.wait(890, tick_s=10)
    assert node.ledger.jobs() == ()
    node.wait(20)
    (job,) = node.ledger.jobs()
    assert job.state is JobState.SETTLED
    assert job.evidence == "gave up 900 s after the last image; missing: T2"


def test_a_study_that_cannot_be_analysed_is_refused_at_give_up_and_says_why(node):
    node.receive("DWI")
    node.wait(890, tick_s=10)
    assert node.ledger.jobs() == ()
    node.wait(20)
    (job,) = node.ledger.jobs()
    assert (job.state, job.reason) == (JobState.REFUSED, "NoUsableSequence: neither FLAIR nor T2")


def test_two_patients_are_refused_as_soon_as_the_study_is_quiet(node):
    node.receive("T1", patient="one")
    node.receive("FLAIR", patient="other")
    node.wait(62)
    (job,) = node.ledger.jobs()
    assert job.state is JobState.REFUSED and job.reason.startswith("TwoPatients")


def test_late_images_that_are_not_needed_open_no_revision(node):
    job = node.settled()
    node.receive("DWI")
    node.receive("T1")  # the same bytes again
    node.wait(1000, tick_s=10)
    assert [found.key for found in node.ledger.jobs()] == [job.key]


@pytest.mark.parametrize(("images", "revisions"), [("the same", 1), ("others", 2)])
def test_after_an_upgrade_late_images_open_a_revision_only_where_they_change_what_is_analysed(node, images, revisions):
    recognise = node.dispatcher.settling.recognise

    def of_version(number, images):
        def recognise_by(instances):
            found = recognise(instances)
            return replace(found, key=hashlib.sha256(f"{found.key} {number}".encode()).hexdigest(), plan={**found.plan, "images": images})

        return recognise_by

    node.dispatcher.settling.recognise = of_version(1, "the same")
    node.settled()
    node.dispatcher.settling.recognise = of_version(2, images)
    node.receive("SEG")  # our own result, routed back
    node.wait(62)
    assert len(node.ledger.jobs()) == revisions
    assert node.ledger.open_studies() == ()


def test_a_late_needed_sequence_opens_exactly_one_revision_and_supersedes_the_waiting_job(node):
    node.receive("T1")
    node.receive("FLAIR")
    node.wait(910, tick_s=10)
    first = node.ledger.jobs()[0]
    node.receive("T2")
    node.receive("T1c")
    node.wait(1000, tick_s=10)
    second, former = node.ledger.jobs()
    assert (second.revision, second.state) == (2, JobState.SETTLED)
    assert (former.key, former.state) == (first.key, JobState.SUPERSEDED)


def test_one_study_does_not_wait_for_another(node):
    node.receive_all("1.1")
    node.receive("T1", study_uid="1.2")
    node.wait(62)
    assert [job.study_uid for job in node.ledger.jobs()] == ["1.1"]


def test_headers_that_make_us_stumble_keep_no_other_study_waiting(node):
    inner = node.dispatcher.settling.recognise

    def stumble(instances):
        if instances[0].study_uid == "1.1":
            raise ZeroDivisionError("a header")
        return inner(instances)

    node.dispatcher.settling.recognise = stumble
    node.receive_all("1.1")
    node.receive_all("1.2")
    node.wait(62)
    assert [job.study_uid for job in node.ledger.jobs()] == ["1.2"]


def test_headers_that_nothing_understands_end_by_name_at_give_up(node):
    def stumble(instances):
        raise KeyError("DOE^JANE")

    node.dispatcher.settling.recognise = stumble
    node.receive_all()
    node.wait(910, tick_s=10)
    (job,) = node.ledger.jobs()
    assert job.state is JobState.REFUSED
    assert "KeyError at test_settling.py" in job.reason and "DOE" not in job.reason


def test_silence_while_nobody_listened_proves_nothing(node):
    """After a start the study waits its quiet time, however old its last image is: the sender could not reach us."""
    node.wall = datetime(2020, 1, 1, tzinfo=UTC)
    node.receive_all()
    node.dispatcher = node.new_dispatcher()
    node.wait(58)
    assert node.ledger.jobs() == ()
    node.wait(4)
    assert len(node.ledger.jobs()) == 1


def test_a_restart_does_not_make_an_incomplete_study_wait_all_over_again(node):
    node.wall = datetime(2020, 1, 1, tzinfo=UTC)
    node.receive("FLAIR")
    node.dispatcher = node.new_dispatcher()
    node.wait(64)
    assert len(node.ledger.jobs()) == 1


@pytest.mark.parametrize("jump_h", [-1, 1])
def test_a_clock_that_jumps_by_an_hour_settles_nothing_early_and_delays_nothing(node, monkeypatch, jump_h):
    class Jumped(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromtimestamp(datetime.now(UTC).timestamp() + jump_h * HOUR_S, tz)

    node.wait(2)
    for sequence in NEEDED:
        node.receive(sequence)
        node.wait(10)
    monkeypatch.setattr("cmdiff_dicom.dispatch.settling.datetime", Jumped)
    node.wait(48)
    assert node.ledger.jobs() == ()
    node.wait(4)
    assert len(node.ledger.jobs()) == 1
