"""What one tick does besides settling: ring, take back, ask again, clean up."""

from __future__ import annotations

from itertools import pairwise

from cmdiff_dicom.dispatch.dispatcher import wait_before_ring_s
from cmdiff_dicom.errors import StoreUnavailable
from cmdiff_dicom.ledger import DeliveryState, JobState
from cmdiff_dicom.records import CommitmentReport
from tests.support.dispatching import STUDY
from tests.support.ledgers import settled

HOUR_S = 3600.0


# --- ring ---------------------------------------------------------------------------------------


def test_a_settled_job_is_rung_in_the_same_tick(node):
    job = node.settled()
    assert node.bell.rung == [job.key]


def test_a_waiting_job_rings_again_after_a_minute_doubling_to_fifteen(node):
    node.settled()
    tick_s, times = 10, [node.clock.now]
    while node.clock.now < times[0] + HOUR_S:
        before = len(node.bell.rung)
        node.wait(tick_s, tick_s)
        if len(node.bell.rung) > before:
            times.append(node.clock.now)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(wait <= gap <= wait + tick_s for gap, wait in zip(gaps, [60, 120, 240, 480, 900, 900], strict=True))


def test_the_waits_between_rings_are_those_that_the_docstring_states():
    waits = [wait_before_ring_s(rings, 0) for rings in range(8)]
    assert waits == [0, 60, 120, 240, 480, 900, 900, 900]
    assert [wait_before_ring_s(0, attempts) for attempts in range(1, 6)] == [60, 120, 240, 480, 900]


def test_a_destination_that_cannot_be_reached_is_tried_for_a_week_as_the_settings_say(node):
    tries = node.settings.deliver.max_attempts
    assert 7 <= sum(wait_before_ring_s(0, attempts) for attempts in range(1, tries)) / (24 * HOUR_S) < 8


def test_what_has_waited_for_months_without_a_worker_is_rung_on():
    assert wait_before_ring_s(5000, 0) == wait_before_ring_s(0, 5000) == 900


def test_five_hundred_waiting_jobs_ring_at_most_3500_times_in_an_hour_and_then_2000(node):
    for number in range(500):
        settled(node.ledger, f"{number:064d}", f"9.{number}")
    node.wait(HOUR_S, tick_s=60)
    assert 3000 < len(node.bell.rung) <= 3500
    first = len(node.bell.rung)
    node.wait(HOUR_S, tick_s=60)
    assert 1500 < len(node.bell.rung) - first <= 2000


def test_a_claimed_job_is_not_rung(node):
    job = node.settled()
    assert node.ledger.claim(job.key, "w")
    for _ in range(50):
        node.ledger.renew(job.key, "w")
        node.wait(20)
    assert node.bell.rung == [job.key]


def test_a_redis_found_empty_rings_all_that_waits_at_once(node):
    job = node.settled()
    node.bell.is_empty = True
    node.wait(2)
    assert node.bell.rung == [job.key, job.key]
    node.wait(50)
    assert len(node.bell.rung) == 2


def test_without_redis_studies_settle_and_ring_when_it_returns(node):
    node.bell.works = False
    job = node.settled()
    node.wait(HOUR_S, tick_s=30)
    assert node.bell.rung == []
    node.bell.works = True
    node.wait(2)
    assert node.bell.rung == [job.key]


def test_a_ring_that_was_counted_and_not_heard_is_owed(node):
    """Redis goes away between the look and the ring: the job is rung at the next contact, not a minute later."""
    node.receive_all()
    node.wait(58)
    node.bell.found_empty = lambda: False
    node.bell.works = False
    node.wait(10)
    (job,) = node.ledger.jobs()
    assert job.rings == 1
    node.bell.works = True
    node.wait(2)
    assert node.bell.rung == [job.key]


def test_a_job_that_was_put_off_rings_as_late_as_its_attempts_say(node):
    job = node.settled()
    node.ledger.claim(job.key, "w")
    node.ledger.retry_later(job.key, "w", "SpoolFull", 10)
    node.wait(58)
    assert len(node.bell.rung) == 1
    node.wait(6)
    assert len(node.bell.rung) == 2


def test_two_dispatchers_ring_once(node):
    other = node.new_dispatcher()
    node.receive_all()
    for _ in range(40):
        node.wait(2)
        other.tick()
    assert len(node.bell.rung) == 1


def test_a_backoff_goes_on_while_redis_is_away(node):
    """A job rung twice before waits its two minutes from its last ring, not from the return of Redis."""
    node.settled()
    node.wait(62)
    assert len(node.bell.rung) == 2
    node.bell.works = False
    node.wait(100, tick_s=10)
    node.bell.works = True
    node.wait(30)
    assert len(node.bell.rung) == 3


# --- lost leases --------------------------------------------------------------------------------


def test_a_worker_that_stops_renewing_loses_its_job_after_the_lease(node):
    job = node.settled()
    node.ledger.claim(job.key, "w")
    node.wait(118)
    assert node.ledger.job(job.key).state is JobState.SEGMENTING
    node.wait(6)
    assert node.ledger.job(job.key).state is JobState.SETTLED
    assert node.bell.rung == [job.key, job.key]


def test_a_worker_that_renews_keeps_its_job_for_as_long_as_it_takes(node):
    job = node.settled()
    node.ledger.claim(job.key, "w")
    for _ in range(100):
        node.wait(60, tick_s=20)
        assert node.ledger.renew(job.key, "w")


def test_a_ledger_that_is_away_costs_no_worker_its_job_and_no_sender_its_time(node):
    job = node.settled()
    node.ledger.claim(job.key, "w")
    node.receive("T1", study_uid="7.7")
    node.wait(2)
    looks, node.ledger.check = node.ledger.check, unavailable
    node.wait(HOUR_S, tick_s=15)
    node.ledger.check = looks
    node.wait(60)
    assert node.ledger.job(job.key).state is JobState.SEGMENTING
    assert node.ledger.jobs("7.7") == ()
    node.wait(70)
    assert node.ledger.job(job.key).state is JobState.SETTLED


def test_three_lost_leases_end_a_job_as_the_worker_died_and_the_next_study_runs(node):
    job = node.settled()
    for attempt in range(3):
        assert node.ledger.claim(job.key, f"w{attempt}")
        node.wait(130)
    failed = node.ledger.job(job.key)
    assert (failed.state, failed.reason) == (JobState.FAILED, "the worker died")
    other = node.settled("7.7")
    assert node.ledger.claim(other.key, "w")


def test_a_sender_that_dies_loses_its_delivery_after_the_lease(node):
    job = node.settled()
    node.ledger.claim(job.key, "w")
    node.ledger.finish(job.key, "w", "0" * 64, "1.9", "1.8", {}, ("pacs",))
    (delivery,) = node.ledger.deliveries(job.key)
    node.wait(2)
    node.ledger.claim_delivery(delivery.id, "dead")
    node.wait(126)
    assert node.ledger.pending_deliveries()[0].id == delivery.id
    assert node.bell.rung == [job.key, delivery.id, delivery.id]


# --- commitment ---------------------------------------------------------------------------------


def test_an_unanswered_commitment_is_asked_again_under_a_new_transaction(node):
    delivery = node.delivered()
    node.wait(298)
    assert node.bell.asked == []
    node.wait(6)
    again = node.ledger.delivery(delivery.id)
    assert node.bell.asked == [delivery.id]
    assert again.transaction_uid != "2.25.1" and len(again.transaction_uid) <= 64


def test_a_commitment_never_answered_is_flagged_and_not_pending_for_ever(node):
    delivery = node.delivered()
    node.ledger.commitment_asked(delivery.id)
    node.bell.ring_commitment = lambda number: _worker(node, lambda: node.ledger.commitment_asked(number))
    node.wait(4000, tick_s=10)
    flagged = node.ledger.delivery(delivery.id)
    assert flagged.requests == node.settings.deliver.commitment_requests
    assert flagged.state is DeliveryState.SENT and flagged.final
    assert "no commitment report" in flagged.reason
    assert node.ledger.awaiting_commitment() == ()


def test_a_pacs_that_is_away_for_a_weekend_after_it_stored_the_result_is_asked_until_it_is_back(node):
    delivery = node.delivered()
    answers = node.ledger.commitment_later
    node.bell.ring_commitment = lambda number: _worker(node, lambda: answers(number, "PacsUnavailable: no connection", 700))
    node.wait(64 * HOUR_S, tick_s=300)
    waiting = node.ledger.delivery(delivery.id)
    assert (waiting.state, waiting.final, waiting.requests) == (DeliveryState.SENT, False, 0)
    assert 64 * 2.5 < waiting.attempts < 64 * 4 + 4
    assert [event.detail for event in node.ledger.events(STUDY)].count("not asked to commit: PacsUnavailable: no connection") == 1
    node.bell.ring_commitment = lambda number: _worker(node, lambda: node.ledger.commitment_asked(number))
    asked_after_s = 0
    while (asked := node.ledger.delivery(delivery.id)).requests == 0:
        node.wait(60, tick_s=60)
        asked_after_s += 60
    assert asked_after_s <= 900 + 60
    assert (asked.final, asked.requests, asked.attempts, asked.reason) == (False, 1, 0, "")


def test_an_archive_that_does_not_know_yet_what_it_took_gets_a_minute_then_two_before_it_is_sent_again(node):
    delivery = node.delivered()
    node.bell.rung.clear()
    for resend, wait_s in enumerate((60, 120)):
        transaction_uid = node.ledger.delivery(delivery.id).transaction_uid
        node.ledger.record_commitment(CommitmentReport(transaction_uid, (), {delivery.sop_uid: 0x0112}))
        node.wait(wait_s - 4)
        assert node.bell.rung == [delivery.id] * resend
        node.wait(8)
        assert node.bell.rung == [delivery.id] * (resend + 1)
        node.ledger.claim_delivery(delivery.id, "d")
        node.ledger.mark_sent(delivery.id, "d", 0, f"2.25.5{resend}", final=False)


def test_no_worker_for_a_day_is_no_silence_of_the_pacs(node):
    delivery = node.delivered()
    node.wait(24 * HOUR_S, tick_s=300)
    waiting = node.ledger.delivery(delivery.id)
    assert (waiting.state, waiting.final, waiting.requests) == (DeliveryState.SENT, False, 0)
    assert len(node.bell.asked) <= 24 * 4 + 4


def test_a_pacs_that_reports_the_same_passing_failure_each_time_is_flagged_with_it(node):
    delivery = node.delivered()

    def ask(number):
        node.ledger.commitment_asked(number)
        transaction_uid = node.ledger.delivery(number).transaction_uid
        node.ledger.record_commitment(CommitmentReport(transaction_uid, (), {delivery.sop_uid: 0x0213}))

    node.bell.ring_commitment = lambda number: _worker(node, lambda: ask(number))
    node.wait(4000, tick_s=10)
    flagged = node.ledger.delivery(delivery.id)
    assert flagged.final and flagged.reason == "commitment failed: resource limitation (0x0213), after 3 requests"


def test_a_delivery_without_commitment_is_never_asked_about(node):
    node.delivered(commitment=False)
    node.wait(4000, tick_s=10)
    assert node.bell.asked == []


# --- purge --------------------------------------------------------------------------------------


def test_pixels_go_when_nobody_needs_them_any_more(node):
    node.delivered(commitment=False)
    digests = [instance.blob.sha256 for instance in node.ledger.instances(STUDY)]
    node.wait(120)
    assert all(node.spool.has(digest) for digest in digests)
    node.dispatcher.settings = node.settings.model_copy(update={"spool": node.settings.spool.model_copy(update={"keep_days": 0})})
    node.wait(120)
    assert not any(node.spool.has(digest) for digest in digests)


def test_under_disk_pressure_final_studies_go_before_their_time_and_waiting_ones_never(node):
    node.delivered(commitment=False)
    gone = [instance.blob.sha256 for instance in node.ledger.instances(STUDY)]
    waiting = node.settled("7.7")
    node.spool.is_low = lambda: True
    node.wait(4)
    assert not any(node.spool.has(digest) for digest in gone)
    assert all(node.spool.has(instance.blob.sha256) for instance in node.ledger.instances(waiting.study_uid))


def test_a_result_that_awaits_its_commitment_keeps_its_bytes(node):
    delivery = node.delivered()
    node.spool.is_low = lambda: True
    node.wait(4)
    assert node.spool.has(delivery.blob_sha256)


# --- a tick raises nothing ----------------------------------------------------------------------


def test_a_duty_that_fails_keeps_no_other_from_being_done(node):
    job = node.settled()
    node.ledger.claim(job.key, "w")

    def fail():
        raise OSError("a disk")

    node.dispatcher.ledger.open_studies = fail
    node.wait(126)
    assert node.ledger.job(job.key).state is JobState.SETTLED


def unavailable():
    raise StoreUnavailable("no ledger")


def _worker(node, ask):
    """What a worker does that is rung for the only delivery's commitment."""
    (delivery,) = node.ledger.awaiting_commitment()
    if node.ledger.take_commitment_ring(delivery.id):
        ask()
