"""What pynetdicom's acceptor lacks to stand in a hospital's network: bounds on memory and time, and no idle sleeping.

    GuardedSocket    a PDU's length is judged before its memory is taken; it has to arrive whole within a deadline; waiting
                     for the next one is a wait on the socket, not a nap of a millisecond between two looks
    Checkpoint       the association's own thread rests until there is news for it
    StoringProvider  a message is bounded over all its fragments; a C-STORE is served by the thread that received it, and
                     answered by a response encoded here (the library takes longer to encode one than a disk to write)
    GuardedHandler   gives both to every accepted association, and a reader of requests that is not stricter than it has to be
    GuardedServer    bounds the connections that have not become associations

These reach into pynetdicom's own classes, so its version is bounded in pyproject.toml; `tests/receive/test_transport.py`
says what must hold of them. Everything else (state machine, negotiation, C-ECHO, N-EVENT-REPORT) is the library's.
"""

from __future__ import annotations

import queue
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from cmdiff_dicom.logs import log, place
from cmdiff_dicom.receive.request import ASSOCIATE_RQ, readable_request

ADVERTISED_PDU_BYTES = 131072
MAX_PDU_BYTES = 1 << 20
"""No PDU may be longer, an association request included; peers may overrun what we advertise by a little."""
SELECT_S = 0.005
"""How long the thread of a connection waits for its peer before it looks for something of ours to send."""
IDLE_S = 0.05
"""The same once the peer has been silent for BUSY_S, and how long an association's own thread rests without news."""
BUSY_S = 1.0
SPARE_CONNECTIONS = 50
"""Connections beyond the association limit: those that are being rejected, and those that never say a word."""

_ABORT_PDU = bytes((0x07, 0, 0, 0, 0, 4, 0, 0, 2, 6))
"""A-ABORT by the service provider: invalid PDU parameter value (PS3.8 Table 9-26)."""
_CONNECTION_CLOSED = "Evt17"
"""Makes the state machine close the connection and end the association (PS3.8 Table 9-10)."""
_NO_DATA_SET = 0x0101
_STORE_RESPONSE = 0x8001

Serve = Callable[[bytes, str, str], int]
"""Data set bytes, transfer syntax UID, calling AE title -> C-STORE status."""


@dataclass(frozen=True)
class Limits:
    """`pdu_timeout_s`: how long one PDU may take on its way; `message_bytes`: how long a command with its data set may be."""

    pdu_timeout_s: float
    message_bytes: int
    associations: int


class GuardedSocket(AssociationSocket):  # type: ignore[misc]
    """A connection to a peer that may stall, lie about lengths, or say nothing at all."""

    def __init__(self, assoc: Association, client_socket: socket.socket, limits: Limits) -> None:
        client_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client_socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        client_socket.settimeout(limits.pdu_timeout_s)
        self._timeout_s = limits.pdu_timeout_s
        self._last_read = time.monotonic()
        self._poll = select.poll()
        self._poll.register(client_socket, select.POLLIN)
        super().__init__(assoc, client_socket=client_socket)

    @property
    def ready(self) -> bool:
        """True once there is something to read, False after a short wait without."""
        is_busy = time.monotonic() - self._last_read < BUSY_S
        if self.socket is None or not self._is_connected:
            time.sleep(SELECT_S)
            return False
        return bool(self._poll.poll((SELECT_S if is_busy else IDLE_S) * 1000))

    def recv(self, nr_bytes: int) -> bytearray:
        """`nr_bytes` from the peer, fewer where it closed. Raises: OSError (too long, or too slow); the connection is over."""
        if nr_bytes > MAX_PDU_BYTES:
            self.send(_ABORT_PDU)
            raise OSError("PDU too long")  # the library takes it for a closed connection
        received = bytearray(nr_bytes)
        rest = memoryview(received)
        deadline = time.monotonic() + self._timeout_s
        try:
            while rest:
                self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
                count = self.socket.recv_into(rest)
                if count == 0:
                    break
                rest = rest[count:]
        finally:
            self.socket.settimeout(self._timeout_s)
        self._last_read = time.monotonic()
        left = len(rest)
        rest.release()
        return received[: nr_bytes - left] if left else received

    def give_up(self) -> None:
        """The association is aborted and the connection cut, whatever the peer is still sending."""
        self.send(_ABORT_PDU)
        self.event_queue.put(_CONNECTION_CLOSED)


class Checkpoint(threading.Event):
    """What the association's own thread waits at in each round: here until there is news, or IDLE_S has passed."""

    def __init__(self) -> None:
        super().__init__()
        self._news = threading.Event()
        self.set()

    def set(self) -> None:
        super().set()
        self._news.set()

    def wait(self, timeout: float | None = None) -> bool:
        is_open = super().wait(timeout)
        self._news.wait(IDLE_S)
        self._news.clear()
        return is_open

    def tell(self) -> None:
        """Something was put where the thread will look."""
        self._news.set()


class _AnnouncedQueue(queue.Queue):  # type: ignore[type-arg]
    """A queue that tells a checkpoint of everything put into it."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self._checkpoint = checkpoint

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._checkpoint.tell()


class _StoreFirst(_AnnouncedQueue):
    """The queue of received messages, past which C-STORE requests are served where they arrive."""

    def __init__(self, checkpoint: Checkpoint, store: Callable[[int, C_STORE], None]) -> None:
        super().__init__(checkpoint)
        self._store = store

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        context_id, message = item
        if isinstance(message, C_STORE) and message.MessageID is not None:  # all that an answer needs
            self._store(context_id, message)
        else:
            super().put(item, block, timeout)


class StoringProvider(DIMSEServiceProvider):  # type: ignore[misc]
    """Messages of one association, bounded; C-STORE requests served as they are complete."""

    def __init__(self, assoc: Association, checkpoint: Checkpoint, limits: Limits, serve: Serve) -> None:
        super().__init__(assoc)
        self._limit_bytes, self._timeout_s = limits.message_bytes, limits.pdu_timeout_s
        self._received_bytes = 0
        self.msg_queue = _StoreFirst(checkpoint, self._store)
        self._serve = serve

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Another fragment, or a whole message. Beyond the limit the association is aborted and what came is dropped."""
        self._wait_until_established()
        self._received_bytes += sum(len(fragment) for _, fragment in primitive.presentation_data_value_list)
        try:
            if self._received_bytes > self._limit_bytes:
                raise OverflowError
            super().receive_primitive(primitive)
        except Exception as error:  # a malformed command set fails the library's decoder in many ways
            log("receive.message", error=place(error))
            self.message = None
            self.dul.socket.give_up()
        if self.message is None:
            self._received_bytes = 0

    def _wait_until_established(self) -> None:
        """The library drops answers to a peer that is quicker than its own note that the association stands."""
        deadline = time.monotonic() + self._timeout_s
        while not self.assoc.is_established and not self.assoc.is_aborted and time.monotonic() < deadline:
            time.sleep(SELECT_S / 5)

    def _store(self, context_id: int, request: C_STORE) -> None:
        context = self.assoc._accepted_cx.get(context_id)
        if context is None or request.DataSet is None:
            self.dul.socket.give_up()
            return
        data_set = request.DataSet.getvalue()
        request.DataSet = None
        status = self._serve(data_set, str(context.transfer_syntax[0]), str(self.assoc.requestor.ae_title))
        response = P_DATA()
        response.presentation_data_value_list = [[context_id, b"\x03" + encode_store_response(request, status)]]
        self.dul.send_pdu(response)


class GuardedHandler(RequestHandler):  # type: ignore[misc]
    """Makes an association of a connection, guarded by the server's limits."""

    def _create_association(self) -> Association:
        association = super()._create_association()
        dul, checkpoint = association.dul, Checkpoint()
        dul.event_queue.get_nowait()  # the plain socket has announced the connection (Evt5); ours does so again
        dul.socket = GuardedSocket(association, self.request, self.server.limits)
        dul._run_loop_delay = 0.0  # the wait is in GuardedSocket.ready
        dul._decode_pdu = _lenient(dul._decode_pdu, str(self.client_address[0]))
        dul.to_user_queue = _AnnouncedQueue(checkpoint)
        association._reactor_checkpoint = checkpoint
        association.dimse = StoringProvider(association, checkpoint, self.server.limits, self.server.serve)
        return association


class GuardedServer(ThreadedAssociationServer):  # type: ignore[misc]
    """Accepts connections while there are not too many of them."""

    request_queue_size = 64
    daemon_threads = True

    def __init__(self, *arguments: Any, limits: Limits, serve: Serve, **options: Any) -> None:
        self.limits, self.serve = limits, serve
        super().__init__(*arguments, request_handler=GuardedHandler, **options)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """False closes the connection before anything is made for it."""
        return len(self.ae.active_associations) < self.limits.associations + SPARE_CONNECTIONS

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that went away while its connection was set up is no news."""


def _lenient(decode: Callable[[bytes], Any], peer: str) -> Callable[[bytes], Any]:
    """The library's decoder of PDUs, given association requests that it can read; one that it cannot is told in the log."""

    def decode_readable(pdu: bytes) -> Any:
        if pdu[0] != ASSOCIATE_RQ:
            return decode(pdu)
        try:
            request, event = decode(readable_request(pdu))
            request.to_primitive()  # here its faults end the association, later they end its thread
        except Exception as error:
            log("receive.association", state="aborted: request not readable", peer=peer, error=place(error))
            raise
        return request, event

    return decode_readable


def encode_store_response(request: C_STORE, status: int) -> bytes:
    """The command set of a C-STORE-RSP, Implicit VR Little Endian (PS3.7 9.3.1.2, 6.3.1)."""
    command = b"".join((
        _element(0x0002, _uid_bytes(request.AffectedSOPClassUID)),
        _element(0x0100, struct.pack("<H", _STORE_RESPONSE)),
        _element(0x0120, struct.pack("<H", request.MessageID)),
        _element(0x0800, struct.pack("<H", _NO_DATA_SET)),
        _element(0x0900, struct.pack("<H", status)),
        _element(0x1000, _uid_bytes(request.AffectedSOPInstanceUID)),
    ))  # fmt: skip
    return _element(0x0000, struct.pack("<L", len(command))) + command


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0x0000, number, len(value)) + value


def _uid_bytes(uid: str | None) -> bytes:
    encoded = (uid or "").encode("ascii", "replace")
    return encoded + b"\0" * (len(encoded) % 2)
