"""Peers that stall, lie or say nothing cost neither memory nor a place for long.

The listener here waits 0.3 s where one in a hospital waits a minute.
"""

import struct
import threading
import time
from io import BytesIO
from pathlib import Path

import pytest
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode

from cmdiff_dicom.receive.connection import MAX_PDU_BYTES
from cmdiff_dicom.receive.storing import encode_store_response
from tests.support.instances import mr_data_set
from tests.support.raw_peer import ABORT, ASSOCIATE_AC, EXPLICIT, MR, P_DATA, RawPeer, association_request, item, store_message
from tests.support.waiting import eventually

MEGABYTE = 1 << 20


@pytest.fixture
def hasty(start_node):
    return start_node(max_associations=2, idle_timeout_s=0.3, max_object_mb=1)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def is_over(peer: RawPeer) -> bool:
    """True once the listener has aborted or closed; False where the peer's own patience ends first."""
    try:
        while True:
            pdu_type, _ = peer.receive()
            if pdu_type in (0, ABORT):
                return True
    except TimeoutError:
        return False


def serves(port: int) -> bool:
    with RawPeer(port) as peer:
        return peer.associate()[0] == ASSOCIATE_AC and peer.store(mr_data_set()) == 0x0000


def test_peers_that_fall_silent_after_an_instance_lose_their_places(hasty):
    """Three times the limit, one after another, sockets held open."""
    silent = []
    for _ in range(3):
        pair = [RawPeer(hasty.port), RawPeer(hasty.port)]
        for peer in pair:
            peer.associate()
            peer.store(mr_data_set())
        assert all(is_over(peer) for peer in pair)
        silent += pair
    assert eventually(lambda: serves(hasty.port))
    for peer in silent:
        peer.socket.close()


def test_peers_that_stall_within_a_pdu_lose_their_places(hasty):
    stalled = [RawPeer(hasty.port), RawPeer(hasty.port)]
    for peer in stalled:
        peer.associate()
        peer.socket.sendall(struct.pack(">BBL", P_DATA, 0, 5000) + b"only the beginning")
    assert all(is_over(peer) for peer in stalled)
    assert eventually(lambda: serves(hasty.port))


def test_a_peer_that_trickles_a_pdu_byte_by_byte_is_not_waited_for(hasty):
    with RawPeer(hasty.port) as peer:
        peer.associate()
        peer.socket.sendall(struct.pack(">BBL", P_DATA, 0, 5000))
        with pytest.raises(OSError):  # the connection is cut under it
            for _ in range(200):
                peer.socket.sendall(b"x")
                time.sleep(0.02)


def test_a_peer_that_stalls_before_an_association_is_cut_off(hasty):
    with RawPeer(hasty.port) as peer:
        peer.socket.sendall(struct.pack(">BBL", 1, 0, 5000) + b"half a request")
        assert is_over(peer)


@pytest.mark.parametrize("length", [MAX_PDU_BYTES + 1, 1 << 31, (1 << 32) - 1])
def test_an_endless_pdu_ends_the_association_before_its_memory_is_taken(hasty, length):
    with RawPeer(hasty.port) as peer:
        peer.associate()
        before = resident_bytes()
        peer.socket.sendall(struct.pack(">BBL", P_DATA, 0, length))
        assert is_over(peer)
        assert resident_bytes() - before < 20 * MEGABYTE


def test_an_endless_association_request_is_cut_off_before_its_memory_is_taken(hasty):
    with RawPeer(hasty.port) as peer:
        before = resident_bytes()
        peer.socket.sendall(struct.pack(">BBL", 1, 0, 1 << 31))
        assert is_over(peer)
        assert resident_bytes() - before < 20 * MEGABYTE
    assert eventually(lambda: serves(hasty.port))


def test_a_message_without_a_last_fragment_is_aborted_at_the_size_limit(hasty):
    """The limit here is 1 MB; the peer would go on for ever."""
    fragment = struct.pack(">LBB", 65536 + 2, 1, 0) + bytes(65536)
    head = store_message(b"", "1.2.3")[: -6 - 6]
    with RawPeer(hasty.port) as peer:
        peer.associate()
        before = resident_bytes()
        peer.socket.sendall(head)
        with pytest.raises(OSError):
            for _ in range(400):
                peer.send(P_DATA, fragment)
        assert resident_bytes() - before < 20 * MEGABYTE
    assert eventually(lambda: serves(hasty.port))


def test_each_message_is_measured_by_itself(hasty):
    """Twenty instances of 128 KB pass a limit of 1 MB for each."""
    instances = [mr_data_set(f"1.2.{number}", number) for number in range(20)]  # made before, since this listener waits for nobody
    with RawPeer(hasty.port) as peer:
        peer.associate()
        assert [peer.store(instance) for instance in instances] == [0x0000] * 20


@pytest.mark.parametrize(
    "command", [b"\xff" * 30, b"", struct.pack("<HHLH", 0, 0x0100, 2, 0xBEEF)], ids=["noise", "empty", "unknown command"]
)
def test_a_command_that_is_none_ends_only_its_association(hasty, command):
    with RawPeer(hasty.port) as peer:
        peer.associate()
        peer.send(P_DATA, struct.pack(">LBB", len(command) + 2, 1, 3) + command)
        assert is_over(peer)
    assert eventually(lambda: serves(hasty.port))


def test_an_instance_in_a_context_that_was_not_accepted_ends_its_association(hasty):
    with RawPeer(hasty.port) as peer:
        peer.associate()
        assert peer.store(mr_data_set(), context_id=99) == -1
    assert hasty.stored() == ()


def test_connections_that_close_without_a_word_leave_no_thread(node):
    """A load balancer asks so whether the port is open, once a second for ever."""
    before = threading.active_count()
    for _ in range(20):
        RawPeer(node.port).socket.close()
    assert eventually(lambda: threading.active_count() <= before)


def test_a_request_of_garbage_is_cut_off(hasty):
    with RawPeer(hasty.port) as peer:
        peer.socket.sendall(b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n")
        assert is_over(peer)
    with RawPeer(hasty.port) as peer:
        peer.send(1, association_request([])[:60])
        assert is_over(peer)
    assert eventually(lambda: serves(hasty.port))


def test_a_request_that_cannot_be_read_is_aborted_at_once_and_told_with_its_peer(node, capsys):
    body = association_request([(MR, (EXPLICIT,))], called="CMDIFF")
    with RawPeer(node.port) as peer:
        peer.send(1, body[: body.index(item(0x40, EXPLICIT.encode())) + 2])  # cut within an item
        assert is_over(peer)
    logged = []
    assert eventually(lambda: logged.append(capsys.readouterr().err) or "request not readable" in "".join(logged))
    assert '"peer": "127.0.0.1"' in "".join(logged)
    assert "Traceback" not in "".join(logged)


def test_ended_associations_leave_no_thread_behind(node):
    before = threading.active_count()
    for ending in range(9):
        with RawPeer(node.port) as peer:
            peer.associate()
            if ending % 3 == 0:
                peer.release()
            elif ending % 3 == 1:
                peer.send(ABORT, bytes(4))
    assert eventually(lambda: threading.active_count() <= before)


def test_the_response_is_what_the_library_would_read():
    request = C_STORE()
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID, request.MessageID = "1.2.840.10008.5.1.4.1.1.4", "1.2.3", 513
    command = decode(BytesIO(encode_store_response(request, 0xA700)), True, True)
    assert (command.CommandField, command.MessageIDBeingRespondedTo, command.Status) == (0x8001, 513, 0xA700)
    assert (command.AffectedSOPClassUID, command.AffectedSOPInstanceUID) == (
        request.AffectedSOPClassUID,
        request.AffectedSOPInstanceUID,
    )
    assert command.CommandDataSetType == 0x0101
    assert command.CommandGroupLength == len(encode_store_response(request, 0xA700)) - 12
