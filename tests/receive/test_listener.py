"""What peers get from the node: who may call, what is taken, in which form, and how reports are answered."""

import socket
import threading
import time

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless

from cmdiff_dicom.receive.connection import IDLE_S
from tests.support.instances import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, encoded, mr_data_set
from tests.support.raw_peer import (
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    COMMITMENT,
    MR,
    VERIFICATION,
    RawPeer,
    accepted,
    association_request,
    item,
    roles_in,
)
from tests.support.waiting import eventually

REJECT_CALLING, REJECT_CALLED, CONGESTED, LIMIT = b"\0\1\1\3", b"\0\1\1\7", b"\0\2\3\1", b"\0\2\3\2"


def test_an_echo_is_answered(node):
    with RawPeer(node.port) as peer:
        assert peer.associate([(VERIFICATION, (EXPLICIT,))])[0] == ASSOCIATE_AC
        assert peer.echo() == 0x0000


def test_a_stored_instance_has_the_bytes_that_were_sent(node):
    data_set = mr_data_set()
    with RawPeer(node.port) as peer:
        peer.associate()
        assert peer.store(data_set) == 0x0000
        peer.release()
    (instance,) = node.stored()
    assert node.spool.read(instance.blob.sha256) == data_set
    assert instance.calling_ae == "PEER"


@pytest.mark.parametrize("transfer_syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_every_transfer_syntax_is_kept_as_it_comes(node, transfer_syntax):
    data_set = mr_data_set(transfer_syntax=transfer_syntax)
    with RawPeer(node.port) as peer:
        peer.associate([(MR, (transfer_syntax,))])
        assert peer.store(data_set) == 0x0000
    (instance,) = node.stored()
    assert (instance.transfer_syntax_uid, node.spool.read(instance.blob.sha256)) == (transfer_syntax, data_set)


@pytest.mark.parametrize(
    "sop_class",
    [
        "1.2.840.10008.5.1.4.1.1.7",
        "1.2.840.10008.5.1.4.1.1.66.4",
        "1.2.840.10008.5.1.4.1.1.6",
        "1.3.12.2.1107.5.9.1",
        "2.25.99",
    ],
)
def test_every_storage_class_is_taken_known_retired_private_or_new(node, sop_class):
    with RawPeer(node.port) as peer:
        peer.associate([(sop_class, (EXPLICIT,))])
        assert peer.store(mr_data_set(SOPClassUID=sop_class), sop_class=sop_class) == 0x0000
    assert [instance.sop_class_uid for instance in node.stored()] == [sop_class]


def test_classes_of_other_services_are_not_taken_for_storage(node):
    with RawPeer(node.port) as peer:
        _, body = peer.associate([("1.2.840.10008.5.1.4.1.2.2.1", (EXPLICIT,)), (MR, (EXPLICIT,))])
    assert [result for result, _ in accepted(body).values()] == [3, 0]


def test_a_setting_narrows_the_classes(start_node):
    node = start_node(only_sop_classes=(MR,))
    with RawPeer(node.port) as peer:
        _, body = peer.associate([("1.2.840.10008.5.1.4.1.1.7", (EXPLICIT,)), (MR, (EXPLICIT,)), (VERIFICATION, (IMPLICIT,))])
    assert [result for result, _ in accepted(body).values()] == [3, 0, 0]


def test_of_several_transfer_syntaxes_explicit_little_endian_is_chosen(node):
    with RawPeer(node.port) as peer:
        _, body = peer.associate(
            [(MR, (BIG_ENDIAN, IMPLICIT, EXPLICIT)), (MR, (JPEG2000Lossless,)), (MR, (IMPLICIT, JPEG2000Lossless))]
        )
    assert [syntax for _, syntax in accepted(body).values()] == [EXPLICIT, JPEG2000Lossless, IMPLICIT]


def test_all_contexts_of_a_full_request_are_answered(node):
    with RawPeer(node.port) as peer:
        _, body = peer.associate([(f"2.25.{number}", (EXPLICIT, IMPLICIT)) for number in range(128)])
    assert len(accepted(body)) == 128
    assert all(result == 0 for result, _ in accepted(body).values())


@pytest.mark.parametrize("max_pdu", [0, 4096, 16384, 1 << 20])
def test_peers_of_any_pdu_length_are_answered(node, max_pdu):
    with RawPeer(node.port) as peer:
        peer.associate(max_pdu=max_pdu)
        assert peer.store(mr_data_set()) == 0x0000


def test_a_wrong_called_title_is_rejected_for_good_and_the_log_says_which(node, capsys):
    with RawPeer(node.port) as peer:
        assert peer.associate(called="WRONG", calling="SCANNER") == (ASSOCIATE_RJ, REJECT_CALLED)
    logged = []
    assert eventually(lambda: logged.append(capsys.readouterr().err) or "SCANNER calls WRONG" in "".join(logged))


@pytest.mark.parametrize(("title", "noted"), [("SCANNER\0\0", "SCANNER"), ("M\xdcLLER", "M??LLER"), ("A\\B\n", "A?B?"), ("", "?")])
def test_titles_that_the_standard_forbids_keep_nobody_from_sending(start_node, title, noted):
    node = start_node(check_called_ae_title=True)
    with RawPeer(node.port) as peer:
        assert peer.associate(called="CMDIFF\0\0", calling=title)[0] == ASSOCIATE_AC
        assert peer.store(mr_data_set()) == 0x0000
    assert node.stored()[0].calling_ae == noted


@pytest.mark.parametrize(
    "user_items",
    [
        pytest.param(item(0x55, b"WORKSTATION_VERSION_2026"), id="an implementation version name of more than 16 characters"),
        pytest.param(item(0x5A, b"?"), id="an item that nobody knows"),
        pytest.param(item(0x58, b"\x02\x01\x00\x04jane\x00\x02pw"), id="a user's identity"),
        pytest.param(item(0x53, b"\0\0\0\0"), id="any number of operations at once"),
    ],
)
def test_what_a_peer_says_of_itself_does_not_keep_it_from_sending(node, user_items):
    with RawPeer(node.port) as peer:
        assert peer.associate(user_items=user_items)[0] == ASSOCIATE_AC
        assert peer.store(mr_data_set()) == 0x0000


def test_a_called_title_that_is_blank_is_taken_only_where_any_is(node, start_node):
    with RawPeer(node.port) as peer:
        assert peer.associate(called="") == (ASSOCIATE_RJ, REJECT_CALLED)
    with RawPeer(start_node(check_called_ae_title=False).port) as peer:
        assert peer.associate(called="")[0] == ASSOCIATE_AC


def test_a_context_with_an_even_id_does_no_harm_to_the_others(node):
    even = item(0x20, bytes((2, 0, 0, 0)) + item(0x30, MR.encode()) + item(0x40, EXPLICIT.encode()))
    with RawPeer(node.port) as peer:
        peer.send(ASSOCIATE_RQ, association_request([(MR, (EXPLICIT,))]) + even)
        answer, body = peer.receive()
        assert (answer, accepted(body)) == (ASSOCIATE_AC, {1: (0, EXPLICIT)})
        assert peer.store(mr_data_set()) == 0x0000


@pytest.mark.parametrize("syntaxes", [(), ("1" * 65,)])
def test_a_context_that_offers_no_transfer_syntax_does_no_harm_to_the_others(node, syntaxes):
    with RawPeer(node.port) as peer:
        _, body = peer.associate([(MR, syntaxes), (MR, (EXPLICIT,))])
        assert accepted(body) == {3: (0, EXPLICIT)}
        assert peer.store(mr_data_set(), context_id=3) == 0x0000


@pytest.mark.parametrize("sop_uid", ["", "1" * 65, "no UID"])
def test_what_the_command_calls_an_instance_is_left_to_its_data_set(node, sop_uid):
    """Some modalities write longer UIDs than the standard allows, or none, into the command."""
    with RawPeer(node.port) as peer:
        peer.associate()
        assert peer.store(mr_data_set(), sop_uid=sop_uid) == 0x0000
    assert [instance.sop_uid for instance in node.stored()] == ["1.2.3"]


def test_any_called_title_is_taken_where_the_setting_says_so(start_node):
    node = start_node(check_called_ae_title=False)
    with RawPeer(node.port) as peer:
        assert peer.associate(called="WRONG")[0] == ASSOCIATE_AC


def test_only_named_callers_are_taken_where_some_are_named(start_node):
    node = start_node(calling_ae_titles=("SCANNER",))
    for title, expected in (("PEER", ASSOCIATE_RJ), ("SCANNER", ASSOCIATE_AC)):
        with RawPeer(node.port) as peer:
            answer = peer.associate(calling=title)
            assert answer[0] == expected
            assert expected == ASSOCIATE_AC or answer[1] == REJECT_CALLING


def test_while_the_disk_is_low_new_associations_are_congested_and_running_ones_served(node):
    with RawPeer(node.port) as running, RawPeer(node.port) as late:
        running.associate()
        node.may_accept.clear()
        assert late.associate() == (ASSOCIATE_RJ, CONGESTED)
        assert running.store(mr_data_set()) == 0x0000
        node.may_accept.set()
        with RawPeer(node.port) as again:
            assert again.associate()[0] == ASSOCIATE_AC


def test_a_clock_that_is_set_by_an_hour_ends_no_association(node, monkeypatch):
    with RawPeer(node.port) as peer:
        peer.associate()
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 3600)
        time.sleep(5 * IDLE_S)  # in which the association looks at its time limit
        assert peer.store(mr_data_set()) == 0x0000


def test_beyond_the_limit_associations_are_rejected_until_one_ends(start_node):
    node = start_node(max_associations=2)
    with RawPeer(node.port) as first, RawPeer(node.port) as second:
        first.associate()
        second.associate()
        with RawPeer(node.port) as third:
            assert third.associate() == (ASSOCIATE_RJ, LIMIT)
        first.release()
        assert eventually(lambda: is_accepted(node.port))


def test_connections_that_say_nothing_take_no_place(start_node):
    node = start_node(max_associations=1)
    silent = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(5)]
    with RawPeer(node.port) as peer:
        assert peer.associate()[0] == ASSOCIATE_AC
    for one in silent:
        one.close()


def test_an_unreadable_instance_is_refused_and_the_next_is_stored(node):
    with RawPeer(node.port) as peer:
        peer.associate()
        assert peer.store(b"this is no data set.") == 0xC000
        assert peer.store(mr_data_set()) == 0x0000


def test_the_last_association_is_noted(node):
    with RawPeer(node.port) as peer:
        peer.associate(calling="SCANNER")
        peer.store(mr_data_set())
    assert node.ledger.last_association().calling_ae == "SCANNER"


def test_a_peer_may_report_storage_commitment_on_an_association_of_its_own(node):
    with reporting_peer(node.port) as peer:
        assert peer.report(report_on("1.2.77"), event_type=2) == 0x0000
        peer.release()
    ((event_type, information),) = node.reports
    assert (event_type, information.TransactionUID) == (2, "1.2.77")


@pytest.mark.parametrize("left_out", [(0x0002, 0x1000), (0x1002,)], ids=["class and instance", "event type"])
def test_a_report_whose_command_leaves_something_out_is_answered_and_taken(node, left_out):
    with reporting_peer(node.port) as peer:
        assert peer.report(report_on("1.2.77"), left_out=left_out) == 0x0000
    assert len(node.reports) == 1


def test_an_echo_that_names_no_class_is_answered(node):
    with RawPeer(node.port) as peer:
        peer.associate([(VERIFICATION, (IMPLICIT,))])
        assert peer.echo(left_out=(0x0002,)) == 0x0000


def test_reports_are_taken_while_the_disk_is_low(node):
    """Their senders try them once, and they bring nothing to store."""
    node.may_accept.clear()
    with reporting_peer(node.port) as peer:
        assert peer.report(report_on("1.2.77")) == 0x0000
    with RawPeer(node.port) as peer:
        assert peer.associate([(COMMITMENT, (IMPLICIT,)), (MR, (EXPLICIT,))]) == (ASSOCIATE_RJ, CONGESTED)


def test_the_role_that_a_reporting_peer_asks_for_is_granted(node):
    with RawPeer(node.port) as peer:
        _, body = peer.associate([(COMMITMENT, (IMPLICIT,))], roles=[(COMMITMENT, 0, 1)])
    assert roles_in(body) == {COMMITMENT: (0, 1)}


def test_a_report_that_names_no_role_is_taken_too(node):
    with RawPeer(node.port) as peer:
        _, body = peer.associate([(COMMITMENT, (IMPLICIT,))])
    assert [result for result, _ in accepted(body).values()] == [0]


def test_a_report_that_is_not_taken_is_answered_with_a_failure_and_the_association_goes_on(node):
    with reporting_peer(node.port) as peer:
        node.report_status = 0x0110
        assert peer.report(report_on("1.2.78")) == 0x0110
        node.report_status = 0x0000
        assert peer.report(report_on("1.2.79")) == 0x0000


@pytest.mark.parametrize("information", [b"", b"\xff" * 40, b"this is no data set"], ids=["empty", "noise", "text"])
def test_a_report_that_cannot_be_read_is_answered_with_a_failure_and_the_association_goes_on(node, information):
    node.unreadable_is_a_fault = True
    with reporting_peer(node.port) as peer:
        assert peer.report(information) == 0x0110
        assert peer.report(report_on("1.2.79")) == 0x0000


def test_four_senders_at_once_are_all_stored(node):
    def send(number):
        with RawPeer(node.port) as peer:
            peer.associate()
            statuses.extend(peer.store(mr_data_set(f"1.2.{number}.{index}"), f"1.2.{number}.{index}") for index in range(5))
            peer.release()

    statuses = []
    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0x0000] * 20
    assert len(node.stored()) == 20


def test_one_instance_sent_three_times_at_once_is_stored_once_and_always_answered_with_success(node):
    def send():
        with RawPeer(node.port) as peer:
            peer.associate()
            statuses.extend(peer.store(data_set) for _ in range(3))
            peer.release()

    data_set, statuses = mr_data_set(), []
    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0x0000] * 9
    (instance,) = node.stored()
    assert node.spool.read(instance.blob.sha256) == data_set


def test_each_instance_may_come_on_an_association_of_its_own(node):
    for number in (3, 1, 4, 2):
        with RawPeer(node.port) as peer:
            peer.associate()
            assert peer.store(mr_data_set(f"1.2.{number}", number), f"1.2.{number}") == 0x0000
            peer.release()
    assert {instance.sop_uid for instance in node.stored()} == {"1.2.1", "1.2.2", "1.2.3", "1.2.4"}


def test_a_stopped_listener_frees_its_port_and_ends_its_associations(start_node):
    node = start_node()
    with RawPeer(node.port) as peer:
        peer.associate()
        peer.socket.sendall(b"\x04\0\0\0\x10\0half of a message")  # stalls in the middle of a PDU
        node.listener.stop()
        assert not node.listener.is_alive
        while peer.receive()[0] not in (0, 7):
            pass
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", node.port)) != 0


def is_accepted(port: int) -> bool:
    with RawPeer(port) as peer:
        return peer.associate()[0] == ASSOCIATE_AC


def reporting_peer(port: int) -> RawPeer:
    peer = RawPeer(port)
    peer.associate([(COMMITMENT, (IMPLICIT,))], roles=[(COMMITMENT, 0, 1)])
    return peer


def report_on(transaction_uid: str) -> bytes:
    information = Dataset()
    information.TransactionUID = transaction_uid
    return encoded(information, IMPLICIT)
