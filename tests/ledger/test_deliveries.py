"""A delivery's way: pending, sent, committed, or failed, each by its owner's word or the destination's report."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from cmdiff_dicom.ledger import DeliveryState
from cmdiff_dicom.ledger.states import MAX_RESENDS
from cmdiff_dicom.records import CommitmentReport
from tests.support.ledgers import KEY, OTHER_KEY, STUDY, delivery, segmented, sent, settled


def committed(transaction, uid):
    return CommitmentReport(transaction, (uid,), {})


def not_committed(transaction, uid, reason):
    return CommitmentReport(transaction, (), {uid: reason})


def claimed(ledger):
    segmented(ledger)
    return ledger.claim_delivery(delivery(ledger).id, "sender")


# --- sending ----------------------------------------------------------------------------------------


def test_a_delivery_knows_the_result_that_it_brings(ledger):
    job = segmented(ledger)
    one = delivery(ledger)
    assert (one.key, one.study_uid, one.sop_uid, one.blob_sha256) == (job.key, job.study_uid, job.sop_uid, job.blob_sha256)
    assert ledger.pending_deliveries() == (one,)


def test_one_sender_of_many_gets_the_delivery(ledger):
    segmented(ledger)
    one = delivery(ledger)
    with ThreadPoolExecutor(3) as pool:
        claims = list(pool.map(lambda number: ledger.claim_delivery(one.id, f"sender {number}"), range(3)))
    assert sum(claim is not None for claim in claims) == 1
    assert ledger.pending_deliveries() == ()
    assert len(ledger.running_deliveries()) == 1


def test_a_claim_whose_answer_was_lost_is_found_again_by_its_owner(ledger):
    one = claimed(ledger)
    assert ledger.claim_delivery(one.id, "sender").owner == "sender"


def test_only_one_of_two_dispatchers_rings_and_nobody_while_it_is_being_sent(ledger):
    segmented(ledger)
    one = delivery(ledger)
    assert ledger.take_delivery_ring(one.id, 0)
    assert not ledger.take_delivery_ring(one.id, 0)
    ledger.claim_delivery(one.id, "sender")
    assert not ledger.take_delivery_ring(one.id, 0)


def test_a_result_that_is_not_its_studys_newest_is_not_delivered(ledger):
    one = claimed(ledger)
    settled(ledger, OTHER_KEY, number=2)
    ledger.lose_delivery(one.id, one.renewals, max_lost=3)
    assert ledger.claim_delivery(one.id, "sender") is None
    assert ledger.delivery(one.id).state is DeliveryState.FAILED
    assert ledger.delivery(one.id).reason == "superseded"


def test_what_stopped_senders_had_waits_again_to_be_rung(ledger):
    one = claimed(ledger)
    assert [ledger.hand_back_deliveries(owners) for owners in ("other@", "sender", "sender")] == [0, 1, 0]
    (back,) = ledger.pending_deliveries()
    assert (back.id, back.state, back.rings, back.lost_leases, back.reason) == (one.id, DeliveryState.PENDING, 0, 0, "the worker was stopped")


def test_a_lost_lease_lets_a_delivery_wait_again_and_the_third_ends_it(ledger):
    one = claimed(ledger)
    ledger.renew_delivery(one.id, "sender")
    assert not ledger.lose_delivery(one.id, one.renewals, max_lost=3)
    seen = ledger.delivery(one.id).renewals
    assert ledger.lose_delivery(one.id, seen, max_lost=3)
    for _ in range(2):
        again = ledger.claim_delivery(one.id, "sender")
        assert not ledger.lose_delivery(one.id, seen, max_lost=3)  # the same sender has it anew
        assert ledger.lose_delivery(one.id, again.renewals, max_lost=3)
    assert (ledger.delivery(one.id).state, ledger.delivery(one.id).reason) == (DeliveryState.FAILED, "the worker died")


def test_a_delivery_that_nobody_sends_loses_no_lease(ledger):
    segmented(ledger)
    assert not ledger.lose_delivery(delivery(ledger).id, 0, max_lost=3)


def test_only_the_owner_renews_and_ends_a_delivery(ledger):
    one = claimed(ledger)
    assert not ledger.renew_delivery(one.id, "another")
    assert not ledger.mark_sent(one.id, "another", 0, None, final=True)
    assert not ledger.delivery_failed(one.id, "another", "because")
    assert not ledger.delivery_later(one.id, "another", "because", 3)
    assert ledger.renew_delivery(one.id, "sender")


def test_a_sent_delivery_keeps_the_destinations_status(ledger):
    one = claimed(ledger)
    assert ledger.mark_sent(one.id, "sender", 0xB007, None, final=True)
    one = ledger.delivery(one.id)
    assert (one.state, one.status, one.final, one.owner) == (DeliveryState.SENT, 0xB007, True, "")
    assert ledger.awaiting_commitment() == ()


def test_a_refused_delivery_is_final_with_its_status_and_reason(ledger):
    one = claimed(ledger)
    assert ledger.delivery_failed(one.id, "sender", "DeliveryRefused: no such class", 0x0122)
    one = ledger.delivery(one.id)
    assert (one.state, one.status, one.reason) == (DeliveryState.FAILED, 0x0122, "DeliveryRefused: no such class")


def test_a_delivery_is_put_off_until_its_attempts_are_used_up(ledger):
    one = claimed(ledger)
    assert ledger.delivery_later(one.id, "sender", "PacsUnavailable", max_attempts=2)
    assert ledger.delivery(one.id).state is DeliveryState.PENDING
    ledger.claim_delivery(one.id, "sender")
    ledger.delivery_later(one.id, "sender", "PacsUnavailable", max_attempts=2)
    assert (ledger.delivery(one.id).state, ledger.delivery(one.id).attempts) == (DeliveryState.FAILED, 2)


def test_an_unknown_delivery_has_no_verbs(ledger):
    assert ledger.delivery(99) is None
    assert ledger.claim_delivery(99, "sender") is None
    assert not ledger.mark_sent(99, "sender", 0, None, final=True)
    assert not ledger.delivery_later(99, "sender", "because", 3)
    assert not ledger.new_transaction(99, "2.25.7")
    assert not ledger.without_commitment(99, "because")
    assert not ledger.commitment_asked(99)
    assert not ledger.commitment_later(99, "because", 3)
    assert not ledger.take_commitment_ring(99)


# --- commitment -------------------------------------------------------------------------------------


def test_a_committed_result_is_committed_for_good(ledger):
    one = sent(ledger)
    assert ledger.awaiting_commitment() == (one,)
    assert ledger.record_commitment(committed("2.25.100", one.sop_uid))
    assert ledger.delivery(one.id).state is DeliveryState.COMMITTED
    assert ledger.record_commitment(not_committed("2.25.100", one.sop_uid, 0x0112))
    assert ledger.delivery(one.id).state is DeliveryState.COMMITTED


def test_a_report_that_comes_twice_is_told_once(ledger):
    one = sent(ledger)
    assert ledger.record_commitment(committed("2.25.100", one.sop_uid))
    assert ledger.record_commitment(committed("2.25.100", one.sop_uid))
    assert [event.detail for event in ledger.events(STUDY)].count("committed") == 1


@pytest.mark.parametrize(
    "report",
    [committed("2.25.999", "2.25.a"), CommitmentReport("2.25.100", (), {}), committed("2.25.100", "1.2.3")],
    ids=["unknown transaction", "empty", "of another instance"],
)
def test_a_report_that_tells_nothing_of_ours_is_not_taken(ledger, report):
    one = sent(ledger)
    assert not ledger.record_commitment(report)
    assert ledger.delivery(one.id) == one


def test_a_report_on_an_older_transaction_still_commits(ledger):
    one = sent(ledger)
    assert ledger.new_transaction(one.id, "2.25.101")
    assert ledger.record_commitment(committed("2.25.100", one.sop_uid))
    assert ledger.delivery(one.id).state is DeliveryState.COMMITTED


def test_a_failure_on_an_older_transaction_is_past(ledger):
    one = sent(ledger)
    ledger.new_transaction(one.id, "2.25.101")
    assert ledger.record_commitment(not_committed("2.25.100", one.sop_uid, 0x0122))
    assert not ledger.delivery(one.id).final


def test_an_object_that_the_destination_does_not_know_is_sent_again_and_in_the_end_flagged(ledger):
    one = sent(ledger, "2.25.200")
    for turn in range(1, MAX_RESENDS + 1):
        ledger.record_commitment(not_committed(f"2.25.20{turn - 1}", one.sop_uid, 0x0112))
        assert [waiting.id for waiting in ledger.pending_deliveries()] == [one.id]
        ledger.claim_delivery(one.id, "sender")
        ledger.mark_sent(one.id, "sender", 0, f"2.25.20{turn}", final=False)
    ledger.record_commitment(not_committed(f"2.25.20{MAX_RESENDS}", one.sop_uid, 0x0112))
    one = ledger.delivery(one.id)
    assert (one.state, one.final, one.reason) == (DeliveryState.SENT, True, "commitment failed: no such object instance (0x0112)")


def test_a_passing_failure_leaves_the_delivery_to_be_asked_about_again(ledger):
    one = sent(ledger)
    ledger.record_commitment(not_committed("2.25.100", one.sop_uid, 0x0213))
    assert [waiting.id for waiting in ledger.awaiting_commitment()] == [one.id]
    assert "resource limitation" in ledger.delivery(one.id).reason


def test_a_final_failure_leaves_the_delivery_sent_and_says_why(ledger):
    one = sent(ledger)
    ledger.record_commitment(not_committed("2.25.100", one.sop_uid, 0x0122))
    assert ledger.awaiting_commitment() == ()
    assert "SOP class not supported (0x0122)" in ledger.delivery(one.id).reason


def test_a_refused_request_leaves_the_delivery_sent_and_says_so(ledger):
    one = sent(ledger)
    assert ledger.without_commitment(one.id, "status 0x0124")
    one = ledger.delivery(one.id)
    assert (one.state, one.final, one.reason) == (DeliveryState.SENT, True, "status 0x0124")
    assert not ledger.new_transaction(one.id, "2.25.101")


def test_a_report_that_comes_after_all_still_commits(ledger):
    one = sent(ledger)
    ledger.without_commitment(one.id, "no report")
    assert ledger.record_commitment(committed("2.25.100", one.sop_uid))
    assert ledger.delivery(one.id).state is DeliveryState.COMMITTED


def test_a_report_that_comes_while_it_is_sent_again_ends_the_sending(ledger):
    one = sent(ledger)
    ledger.new_transaction(one.id, "2.25.101")
    ledger.record_commitment(not_committed("2.25.101", one.sop_uid, 0x0112))
    ledger.claim_delivery(one.id, "sender")
    ledger.record_commitment(committed("2.25.100", one.sop_uid))
    assert not ledger.mark_sent(one.id, "sender", 0, "2.25.102", final=False)
    assert ledger.delivery(one.id).state is DeliveryState.COMMITTED


def test_however_often_it_is_rung_a_destination_is_asked_once_for_it(ledger):
    one = sent(ledger)
    assert not ledger.take_commitment_ring(one.id)
    ledger.new_transaction(one.id, "2.25.101")
    ledger.new_transaction(one.id, "2.25.102")
    assert [ledger.take_commitment_ring(one.id) for _ in range(2)] == [True, False]


def test_only_a_request_that_reached_the_destination_counts(ledger):
    one = sent(ledger)
    ledger.commitment_later(one.id, "PacsUnavailable: away", max_attempts=3)
    assert (ledger.delivery(one.id).requests, ledger.delivery(one.id).attempts) == (0, 1)
    ledger.commitment_asked(one.id)
    asked = ledger.delivery(one.id)
    assert (asked.requests, asked.attempts, asked.reason, asked.final) == (1, 0, "", False)


def test_what_it_reported_before_it_went_away_is_not_lost_by_asking_again(ledger):
    one = sent(ledger)
    ledger.record_commitment(not_committed("2.25.100", one.sop_uid, 0x0213))
    ledger.commitment_asked(one.id)
    assert "resource limitation" in ledger.delivery(one.id).reason


def test_a_destination_that_never_comes_back_is_not_asked_for_ever_and_the_result_stays_sent(ledger):
    one = sent(ledger)
    for _ in range(2):
        ledger.commitment_later(one.id, "PacsUnavailable: away", max_attempts=2)
    one = ledger.delivery(one.id)
    assert (one.state, one.final, one.reason) == (DeliveryState.SENT, True, "PacsUnavailable: away")


def test_a_destination_that_is_away_for_days_is_one_line_of_history(ledger):
    one = claimed(ledger)
    for _ in range(5):
        ledger.delivery_later(one.id, "sender", "PacsUnavailable: away", max_attempts=9)
        ledger.claim_delivery(one.id, "sender")
    ledger.delivery_later(one.id, "sender", "PacsUnavailable: rejected", max_attempts=9)
    told = [event.detail for event in ledger.events(STUDY) if "Pacs" in event.detail]
    assert told == ["PacsUnavailable: away", "PacsUnavailable: rejected"]


def test_the_two_deliveries_of_a_result_go_their_own_ways(ledger):
    one = sent(ledger, destinations=("PACS", "archive"))
    ledger.record_commitment(committed("2.25.100", one.sop_uid))
    assert [found.state for found in ledger.deliveries(KEY)] == [DeliveryState.COMMITTED, DeliveryState.PENDING]
