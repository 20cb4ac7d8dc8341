"""What each answer of a destination means: stored, to be tried again, or refused for good, by name and never by guess."""

import socket
import struct
import threading
import time
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_AC

from cmdiff_dicom.deliver import make_destination, read_report
from cmdiff_dicom.deliver.cstore import Outcome, outcome
from cmdiff_dicom.errors import CommitmentRefused, DeliveryRefused, PacsUnavailable
from cmdiff_dicom.phantom.pacs import BOTH_WAYS, NEVER, SAME_ASSOCIATION, DemoPacs, Faults
from cmdiff_dicom.settings import DeliverSettings, DestinationSettings
from tests.support.node import free_port
from tests.support.raw_peer import item, items_of

SEG = "1.2.840.10008.5.1.4.1.1.66.4"


@pytest.fixture
def reports():
    return []


@pytest.fixture
def pacs_with(tmp_path, reports):
    """Starts a PACS with faults; answers it and the destination that leads there."""
    running = []

    def start(timeout_s=5.0, **faults):
        pacs = DemoPacs(tmp_path / "pacs", faults=Faults(**faults)).__enter__()
        running.append(pacs)
        return pacs, destination_at(pacs.port, reports, timeout_s)

    yield start
    for pacs in running:
        pacs.__exit__()


def destination_at(port, reports=None, timeout_s=5.0):
    def take(event_type, information):
        reports.append(read_report(event_type, information))
        return 0x0000

    settings = DestinationSettings(name="archive", ae_title="DEMOPACS", host="127.0.0.1", port=port)
    return make_destination(settings, DeliverSettings(timeout_s=timeout_s), "CMDIFF", take)


def test_a_stored_object_is_the_one_that_was_sent(pacs_with, seg):
    pacs, destination = pacs_with()
    receipt = destination.send(seg.part10)
    assert (receipt.destination, receipt.sop_uid, receipt.dimse_status) == ("archive", seg.sop_uid, 0x0000)
    stored = dcmread(pacs.stored_segmentation())
    assert stored == dcmread(BytesIO(seg.part10))
    assert stored.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"


@pytest.mark.parametrize(
    ("context", "of_itself"),
    [
        pytest.param(b"", item(0x55, b"ARCHIVE_VERSION_2026"), id="an implementation version name of more than 16 characters"),
        pytest.param(b"", item(0x5F, b"?"), id="an item that nobody knows"),
        pytest.param(item(0x21, b"\2\0\0\0" + item(0x40, b"1.2.840.10008.1.2")), b"", id="a context that nobody proposed"),
        pytest.param(b"", item(0x52, b"1." * 34 + b"1"), id="a UID that is too long"),
    ],
)
def test_what_a_pacs_says_of_itself_does_not_keep_a_result_from_it(pacs_with, seg, monkeypatch, context, of_itself):
    encode = A_ASSOCIATE_AC.encode

    def spoilt(pdu):
        body = encode(pdu)[6:]
        items = context + b"".join(item(kind, value + of_itself * (kind == 0x50)) for kind, value in items_of(body[68:]))
        return struct.pack(">BBL", 2, 0, 68 + len(items)) + body[:68] + items

    monkeypatch.setattr(A_ASSOCIATE_AC, "encode", spoilt)
    _, destination = pacs_with()
    assert destination.send(seg.part10).dimse_status == 0x0000


def test_a_pacs_that_takes_implicit_vr_alone_gets_the_same_pixels(seg):
    stored = []
    ae = AE("DEMOPACS")
    ae.add_supported_context(SEG, ImplicitVRLittleEndian)
    handlers = [(evt.EVT_C_STORE, lambda event: stored.append(event.dataset) or 0x0000)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        assert destination_at(server.server_address[1]).send(seg.part10).dimse_status == 0x0000
    finally:
        server.shutdown()
    sent = dcmread(BytesIO(seg.part10))
    assert (stored[0].PixelData, stored[0].keys()) == (sent.PixelData, sent.keys())


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0x0000, Outcome.STORED),
        (0xB000, Outcome.STORED_WITH_WARNING),
        (0xB006, Outcome.STORED_WITH_WARNING),
        (0xB007, Outcome.STORED_WITH_WARNING),
        (0x0111, Outcome.STORED_WITH_WARNING),
        (0xA700, Outcome.TRY_AGAIN),
        (0xA7FF, Outcome.TRY_AGAIN),
        (0x0110, Outcome.TRY_AGAIN),
        (0xA900, Outcome.REFUSED),
        (0xC000, Outcome.REFUSED),
        (0x0122, Outcome.REFUSED),
        (0x0124, Outcome.REFUSED),
        (0x0001, Outcome.REFUSED),
        (0xFF00, Outcome.REFUSED),
    ],
)
def test_only_success_warnings_and_what_it_has_already_count_as_stored(status, expected):
    assert outcome(status) is expected


def test_statuses_in_turn_end_as_the_standard_means_them(pacs_with, seg):
    _, destination = pacs_with(statuses=(0xA900, 0xA700, 0xB000, 0xB007, 0xC000))
    with pytest.raises(DeliveryRefused, match="0xA900") as refused:
        destination.send(seg.part10)
    assert refused.value.peer_status == 0xA900
    with pytest.raises(PacsUnavailable, match="0xA700"):
        destination.send(seg.part10)
    assert [destination.send(seg.part10).dimse_status for _ in range(2)] == [0xB000, 0xB007]
    with pytest.raises(DeliveryRefused, match="0xC000"):
        destination.send(seg.part10)


def test_a_pacs_without_the_class_refuses_at_once_with_class_and_peer_named(pacs_with, seg):
    pacs, destination = pacs_with(refuses_segmentation=True)
    for ask in (lambda: destination.send(seg.part10), destination.check):
        with pytest.raises(DeliveryRefused, match=r"archive \(DEMOPACS at 127\.0\.0\.1.*Segmentation Storage"):
            ask()
    assert pacs.associations == 2


def test_a_pacs_that_refuses_every_context_is_asked_once(pacs_with, seg):
    pacs, destination = pacs_with(refuses_every_class=True)
    with pytest.raises(DeliveryRefused, match="no presentation context"):
        destination.send(seg.part10)
    assert pacs.associations == 1
    with pytest.raises(CommitmentRefused, match="does not offer storage commitment"):
        destination.request_commitment("2.25.1", SEG, seg.sop_uid)


def test_a_rejected_association_is_tried_again_and_says_why(pacs_with, seg):
    _, destination = pacs_with(rejects_associations=True)
    with pytest.raises(PacsUnavailable, match="Temporary congestion"):
        destination.send(seg.part10)


def test_a_closed_port_is_tried_again():
    with pytest.raises(PacsUnavailable, match="no connection"):
        destination_at(free_port()).check()


def test_an_unknown_host_is_tried_again(seg):
    settings = DestinationSettings(name="archive", ae_title="PACS", host="no-such-host.invalid", port=104)
    with pytest.raises(PacsUnavailable, match=r"no-such-host\.invalid"):
        make_destination(settings, DeliverSettings(timeout_s=2), "CMDIFF", None).send(seg.part10)


def test_a_peer_that_takes_the_connection_and_says_nothing_is_left_after_the_timeout(seg):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(PacsUnavailable, match="takes the connection, but"):
            destination_at(silent.getsockname()[1], timeout_s=0.3).send(seg.part10)


def test_an_association_cut_in_the_middle_is_tried_again(pacs_with, seg):
    _, destination = pacs_with(drops_after=0)
    with pytest.raises(PacsUnavailable, match="not answered"):
        destination.send(seg.part10)


def test_a_pacs_slower_than_the_timeout_is_tried_again(pacs_with, seg):
    _, destination = pacs_with(timeout_s=0.3, slow_s=2.0)
    with pytest.raises(PacsUnavailable, match="not answered"):
        destination.send(seg.part10)


def test_a_check_says_what_the_pacs_takes(pacs_with):
    _, destination = pacs_with()
    assert destination.check() == "answers C-ECHO, takes Segmentation Storage, offers storage commitment"


def test_a_report_on_the_asking_association_counts(pacs_with, seg, reports):
    _, destination = pacs_with(report=SAME_ASSOCIATION)
    destination.send(seg.part10)
    destination.request_commitment("2.25.77", SEG, seg.sop_uid)
    assert [(report.transaction_uid, report.committed, dict(report.failed)) for report in reports] == [
        ("2.25.77", (seg.sop_uid,), {})
    ]


def test_a_report_both_ways_is_no_fault(pacs_with, seg, reports):
    _, destination = pacs_with(report=BOTH_WAYS)
    destination.send(seg.part10)
    destination.request_commitment("2.25.77", SEG, seg.sop_uid)
    assert len(reports) == 1


def test_no_report_is_no_fault_of_the_request(pacs_with, seg, reports):
    pacs, destination = pacs_with(report=NEVER)
    destination.send(seg.part10)
    destination.request_commitment("2.25.77", SEG, seg.sop_uid)
    assert (reports, pacs.commitment_requests) == ([], 1)


@pytest.mark.timeout(60)
def test_a_report_that_is_answered_during_the_release_does_not_hold_it_up(pacs_with, seg, reports, monkeypatch):
    _, destination = pacs_with(report=SAME_ASSOCIATION)
    destination.send(seg.part10)
    is_releasing = threading.Event()
    serve, release = Association._serve_request, Association.release

    def answer_late(association, message, context_id):
        if message.msg_type == "N-EVENT-REPORT":
            assert is_releasing.wait(20)
        serve(association, message, context_id)

    def release_late(association):
        association._reactor_checkpoint.clear()  # as the release itself begins; then the report's thread ends
        time.sleep(0.1)
        is_releasing.set()
        time.sleep(0.3)
        release(association)

    monkeypatch.setattr(Association, "_serve_request", answer_late)
    monkeypatch.setattr(Association, "release", release_late)
    destination.request_commitment("2.25.77", SEG, seg.sop_uid)
    assert [report.transaction_uid for report in reports] == ["2.25.77"]


def test_a_refused_request_says_its_status(pacs_with, seg):
    _, destination = pacs_with(refuses_commitment=True)
    with pytest.raises(CommitmentRefused, match="0x0124") as refused:
        destination.request_commitment("2.25.77", SEG, seg.sop_uid)
    assert refused.value.peer_status == 0x0124


def test_a_forgotten_instance_is_reported_with_its_reason(pacs_with, seg, reports):
    _, destination = pacs_with(report=SAME_ASSOCIATION, forgets_instances=True)
    destination.send(seg.part10)
    destination.request_commitment("2.25.77", SEG, seg.sop_uid)
    (report,) = reports
    assert (report.committed, dict(report.failed)) == ((), {seg.sop_uid: 0x0112})


def test_deliveries_at_once_do_not_disturb_each_other(pacs_with, seg):
    _, destination = pacs_with()
    receipts = []
    threads = [threading.Thread(target=lambda: receipts.append(destination.send(seg.part10))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [receipt.dimse_status for receipt in receipts] == [0x0000] * 3
