"""One result's trip to a PACS, and every way that it may end."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from cmdiff_dicom.deliver_job import commitment_job, deliver_job
from cmdiff_dicom.ledger import DeliveryState
from cmdiff_dicom.parts import destinations
from cmdiff_dicom.phantom.mri import StudyHeader
from cmdiff_dicom.phantom.pacs import NEVER, SAME_ASSOCIATION, DemoPacs, Faults
from cmdiff_dicom.records import Sequence
from cmdiff_dicom.segment_job import segment_job
from tests.support.small_node import SmallNode, an_analysis, small_series

STUDY = StudyHeader.of_seed(5)
SEG_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"


@pytest.fixture
def trip(tmp_path, monkeypatch):
    """`trip(faults)`: a node with a result, a PACS with these faults, and their delivery, rung and ready to go."""
    monkeypatch.setattr("os.fsync", lambda _: None)  # durability has its own tests
    monkeypatch.setattr("cmdiff_dicom.analyse.analyse", lambda volumes, reference, segmenter: an_analysis(volumes, reference))
    with ExitStack() as stack:
        yield lambda *faults, **settings: Trip(stack, tmp_path, *faults, **settings)


class Trip:
    def __init__(self, stack, folder, faults=None, commitment=True, **deliver):
        self.pacs = stack.enter_context(DemoPacs(folder / "pacs", "PACS", faults=faults or Faults()))
        pacs = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": self.pacs.port, "commitment": commitment}
        self.node = SmallNode(folder, destinations=[pacs], deliver={"timeout_s": 5, **deliver})
        self.node.receive(small_series(STUDY, [Sequence.T1C, Sequence.T2F]))
        self.job = self.node.settle(STUDY)
        segment_job(self.job.key, self.node.work)
        self.work = self.node.deliver_work(destinations(self.node.settings, self.node.ledger))
        self.number = self.node.ledger.deliveries(self.job.key)[0].id

    @property
    def delivery(self):
        return self.node.ledger.delivery(self.number)

    def ring(self):
        assert self.node.ledger.take_delivery_ring(self.number, self.delivery.rings)

    def deliver(self):
        self.ring()
        deliver_job(self.number, self.work)
        return self.delivery


def test_a_result_is_stored_and_its_commitment_asked_for(trip):
    trip = trip(Faults(report=NEVER))
    sent = trip.deliver()
    assert (sent.state, sent.final, sent.status, sent.requests) == (DeliveryState.SENT, False, 0, 1)
    assert trip.pacs.commitment_requests == 1
    assert trip.pacs.stored_segmentation().stem == trip.node.ledger.job(trip.job.key).sop_uid


def test_it_is_committed_by_the_report_alone(trip):
    trip = trip(Faults(report=SAME_ASSOCIATION))
    assert trip.deliver().state is DeliveryState.COMMITTED


def test_without_commitment_sent_is_the_end_and_says_so(trip):
    trip = trip(commitment=False)
    sent = trip.deliver()
    assert (sent.state, sent.final) == (DeliveryState.SENT, True)
    assert trip.pacs.commitment_requests == 0


@pytest.mark.parametrize("status", [0xB000, 0xB007])
def test_stored_with_a_warning_is_stored_and_keeps_its_status(trip, status):
    sent = trip(Faults(statuses=(status,), report=NEVER)).deliver()
    assert (sent.state, sent.status) == (DeliveryState.SENT, status)


def test_a_resend_that_the_pacs_has_already_is_no_failure_and_its_commitment_decides(trip):
    trip = trip(Faults(statuses=(0x0111,), report=NEVER))
    sent = trip.deliver()
    assert (sent.state, sent.status, trip.pacs.commitment_requests) == (DeliveryState.SENT, 0x0111, 1)


@pytest.mark.parametrize("status", [0xA900, 0xC000])
def test_a_refusal_is_final_and_keeps_its_status(trip, status):
    failed = trip(Faults(statuses=(status,))).deliver()
    assert (failed.state, failed.status) == (DeliveryState.FAILED, status)
    assert failed.reason.startswith("DeliveryRefused")


def test_a_pacs_that_does_not_take_the_class_is_told_at_once_and_not_tried_again(trip):
    failed = trip(Faults(refuses_segmentation=True)).deliver()
    assert (failed.state, failed.attempts) == (DeliveryState.FAILED, 0)
    assert "Segmentation Storage" in failed.reason


def test_a_pacs_out_of_resources_is_tried_again_after_a_backoff(trip):
    trip = trip(Faults(statuses=(0xA700, 0x0000), report=NEVER))
    waiting = trip.deliver()
    assert (waiting.state, waiting.attempts) == (DeliveryState.PENDING, 1)
    deliver_job(trip.number, trip.work)  # a message left over: the backoff is not over
    assert trip.delivery.attempts == 1
    assert trip.deliver().state is DeliveryState.SENT


def test_an_unreachable_pacs_is_tried_until_the_attempts_are_spent(trip):
    trip = trip(Faults(rejects_associations=True), max_attempts=3)
    states = [trip.deliver().state for _ in range(3)]
    assert states == [DeliveryState.PENDING, DeliveryState.PENDING, DeliveryState.FAILED]
    assert trip.delivery.reason.startswith("PacsUnavailable")


def test_a_refused_commitment_request_leaves_it_sent_and_says_so(trip):
    sent = trip(Faults(refuses_commitment=True)).deliver()
    assert (sent.state, sent.final) == (DeliveryState.SENT, True)
    assert "commitment refused" in sent.reason


def test_asked_again_the_pacs_gets_the_newest_transaction(trip):
    trip = trip(Faults(report=NEVER))
    first = trip.deliver().transaction_uid
    trip.node.ledger.new_transaction(trip.number, "2.25.99")
    commitment_job(trip.number, trip.work)
    assert (trip.pacs.commitment_requests, trip.delivery.transaction_uid) == (2, "2.25.99")
    assert first != "2.25.99"


def test_a_pacs_that_went_away_after_it_stored_is_asked_once_it_is_back(trip):
    trip = trip(Faults(report=NEVER), timeout_s=2)
    trip.deliver()
    trip.pacs.__exit__()
    for number in range(2):
        trip.node.ledger.new_transaction(trip.number, f"2.25.{number}")
        commitment_job(trip.number, trip.work)
        commitment_job(trip.number, trip.work)  # a message left over
    away = trip.delivery
    assert (away.state, away.final, away.requests, away.attempts) == (DeliveryState.SENT, False, 1, 2)
    assert away.reason.startswith("PacsUnavailable")


def test_what_is_committed_is_not_asked_about_again(trip):
    trip = trip(Faults(report=SAME_ASSOCIATION))
    trip.deliver()
    commitment_job(trip.number, trip.work)
    assert trip.pacs.commitment_requests == 1


def test_a_result_that_is_no_longer_the_newest_is_not_delivered(trip):
    trip = trip()
    trip.node.receive(small_series(STUDY, [Sequence.T2W]))
    trip.ring()
    trip.node.settle(STUDY)
    deliver_job(trip.number, trip.work)
    assert trip.pacs.stored(SEG_CLASS) == []
    assert trip.delivery.state is DeliveryState.FAILED and trip.delivery.reason.startswith("superseded")


def test_a_destination_that_left_the_settings_is_told(trip):
    trip = trip()
    trip.work = trip.node.deliver_work(lambda name: None)
    failed = trip.deliver()
    assert failed.state is DeliveryState.FAILED and "not in the settings" in failed.reason


def test_a_result_that_was_purged_meanwhile_is_told(trip):
    trip = trip()
    trip.node.spool.delete(trip.delivery.blob_sha256)
    failed = trip.deliver()
    assert failed.state is DeliveryState.FAILED and "purged" in failed.reason


def test_after_a_person_mended_it_a_failed_delivery_goes_the_same_bytes(trip):
    trip = trip(Faults(statuses=(0xC000, 0x0000), report=NEVER))
    blob = trip.deliver().blob_sha256
    assert trip.node.ledger.retry(trip.job.key)
    again = trip.deliver()
    assert (again.state, again.blob_sha256) == (DeliveryState.SENT, blob)
