"""What pynetdicom's acceptor lacks to stand in a hospital's network: bounds on memory and time, and no idle sleeping.

    GuardedServer    bounds the connections that have not become associations
    GuardedHandler   gives every accepted association its guards, and a reader of requests no stricter than it has to be
    GuardedSocket    guards the connection (`connection.py`)
    StoringProvider  guards the messages, and serves C-STORE at once (`storing.py`)

These reach into pynetdicom's own classes, so its version is bounded in pyproject.toml; `tests/receive/test_transport.py`
says what must hold of them. Everything else (state machine, negotiation, C-ECHO, N-EVENT-REPORT) is the library's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pynetdicom.association import Association
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from cmdiff_dicom.association_pdu import ASSOCIATE_RQ, readable
from cmdiff_dicom.logs import log, place
from cmdiff_dicom.receive.connection import GuardedSocket
from cmdiff_dicom.receive.storing import AnnouncedQueue, Checkpoint, Serve, StoringProvider

ADVERTISED_PDU_BYTES = 131072
SPARE_CONNECTIONS = 50
"""Connections beyond the association limit: those that are being rejected, and those that never say a word."""


@dataclass(frozen=True)
class Limits:
    """`pdu_timeout_s`: how long one PDU may take on its way; `message_bytes`: how long a command with its data set may be."""

    pdu_timeout_s: float
    message_bytes: int
    associations: int


class GuardedHandler(RequestHandler):  # type: ignore[misc]  # pynetdicom has no types
    """Makes an association of a connection, guarded by the server's limits."""

    def _create_association(self) -> Association:
        association = super()._create_association()
        dul, limits, checkpoint = association.dul, self.server.limits, Checkpoint()
        dul.event_queue.get_nowait()  # the plain socket has announced the connection (Evt5); ours does so again
        dul.socket = GuardedSocket(association, self.request, limits.pdu_timeout_s)
        dul._run_loop_delay = 0.0  # the wait is in GuardedSocket.ready
        dul._decode_pdu = _lenient(dul._decode_pdu, str(self.client_address[0]))
        dul.to_user_queue = AnnouncedQueue(checkpoint)
        association._reactor_checkpoint = checkpoint
        association.dimse = StoringProvider(
            association, checkpoint, self.server.serve, limits.message_bytes, limits.pdu_timeout_s
        )
        return association


class GuardedServer(ThreadedAssociationServer):  # type: ignore[misc]  # pynetdicom has no types
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
            request, event = decode(readable(pdu))
            request.to_primitive()  # here its faults end the association, later they end its thread
        except Exception as error:
            log("receive.association", state="aborted: request not readable", peer=peer, error=place(error))
            raise
        return request, event

    return decode_readable
