"""An association that we request: opened, used once, released; every way that it may fail has its name.

Unreachable, rejected, silent, cut: the ledger tries again. No presentation context for what is to be sent: the peer
does not take this kind of object, and trying again would end the same way.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.association import Association

from cmdiff_dicom.association_pdu import readable
from cmdiff_dicom.errors import PacsUnavailable

TRANSFER_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""Offered for every class, each in a context of its own: objects are Explicit VR; Implicit VR is the standard's default."""
REJECTED_PERMANENT = 1
"""Result of an A-ASSOCIATE-RJ (PS3.8 Table 9-21). Not permanent for us: a person may correct an AE title meanwhile."""


@dataclass(frozen=True)
class Peer:
    """A DICOM application entity that we call, how we name it in messages, and how we call it.

    `own_ae_title` is ours; every wait for the peer ends after `timeout_s`.
    """

    name: str
    ae_title: str
    host: str
    port: int
    own_ae_title: str
    timeout_s: float

    def __str__(self) -> str:
        return f"{self.name} ({self.ae_title} at {self.host}:{self.port})"


@contextmanager
def association_with(
    peer: Peer,
    sop_classes: Sequence[str],
    on_event_report: Callable[[evt.Event], tuple[int, None]] | None = None,
) -> Iterator[Association]:
    """An association that proposes `sop_classes`; released at the end, aborted where the block raised.

    The peer may have accepted some of them, or none: `accepts` tells.
    Raises: PacsUnavailable (unreachable, rejected, aborted, silent).
    """
    _config.LOG_HANDLER_LEVEL = "none"  # its log lines quote data sets
    _config.VALIDATORS["UI"] = lambda _uid: (True, "")  # it would abort over a peer's own UIDs, which nothing here reads
    ae = AE(ae_title=peer.own_ae_title)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = peer.timeout_s
    contexts = [build_context(uid, syntax) for uid in sop_classes for syntax in TRANSFER_SYNTAXES]
    connected = threading.Event()

    def set_options(event: evt.Event) -> None:
        connected.set()
        _set_options(event, peer.timeout_s)
        decode = event.assoc.dul._decode_pdu
        event.assoc.dul._decode_pdu = lambda pdu: decode(readable(pdu))

    handlers: list[Any] = [(evt.EVT_CONN_OPEN, set_options)]
    if on_event_report is not None:
        handlers.append((evt.EVT_N_EVENT_REPORT, on_event_report))
    try:
        association = ae.associate(peer.host, peer.port, contexts, peer.ae_title, evt_handlers=handlers)
    except OSError as error:
        raise PacsUnavailable(f"{peer}: {error.strerror or 'host not found'}; check the destination's host and port") from None
    if not association.is_established and not _refused_all_contexts(association):
        raise PacsUnavailable(f"{peer}: {_why_not_established(association, peer.timeout_s, connected.is_set())}")
    _keep_answers_for_callers(association)
    _stay_paused_for_callers(association)
    try:
        yield association
    except BaseException:
        association.abort()
        raise
    if association.is_established:
        association.release()


def accepts(association: Association, sop_class_uid: str) -> bool:
    """True where the peer accepted a presentation context for the class."""
    return any(context.abstract_syntax == sop_class_uid for context in association.accepted_contexts)


def class_name(sop_class_uid: str) -> str:
    """The name of a class and its UID, as a PACS administrator looks for it."""
    return f"{UID(sop_class_uid).name} ({sop_class_uid})"


def _set_options(event: evt.Event, timeout_s: float) -> None:
    """Without TCP_NODELAY each message waits 40 ms for a delayed acknowledgement; without a timeout a stalled peer holds us."""
    connection = event.assoc.dul.socket.socket
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.settimeout(timeout_s)


def _keep_answers_for_callers(association: Association) -> None:
    """Every answer reaches the call that waits for it.

    The library's background loop looks for requests of the peer in the same queue, and on a busy machine takes an answer
    from it at times. Here no request comes that way (reports have threads of their own), so the loop finds nothing.
    """
    get_message = association.dimse.get_msg
    association.dimse.get_msg = lambda block=False: get_message(block) if block else (None, None)


def _stay_paused_for_callers(association: Association) -> None:
    """A report that is answered while we release the association does not keep us waiting for ever.

    A call waits for the library's background loop to pause, without end; a report's thread, done, says that the loop runs,
    though it has paused for the call meanwhile.
    """
    serve_request = association._serve_request

    def serve(message: Any, context_id: int) -> None:
        serve_request(message, context_id)
        association._is_paused = not association._reactor_checkpoint.is_set()

    association._serve_request = serve


def _refused_all_contexts(association: Association) -> bool:
    """True where the peer accepted the association and none of its contexts; the library then aborts it by itself."""
    return bool(association.rejected_contexts) and not association.accepted_contexts


def _why_not_established(association: Association, timeout_s: float, is_connected: bool) -> str:
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        advice = "; let it know our AE title, and check its own" if answer.result == REJECTED_PERMANENT else ""
        return f"association rejected ({answer.result_str}; {answer.reason_str}){advice}"
    if association.is_aborted and answer is not None:
        return "association aborted by the peer"
    if is_connected:
        return (
            f"takes the connection, but closes it or says nothing for {timeout_s:g} s; "
            "see that its DICOM service has this port, without TLS"
        )
    return f"no connection within {timeout_s:g} s; see that it runs, and check host, port and firewall"
