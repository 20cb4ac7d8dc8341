"""The DICOM node that peers call: C-ECHO, C-STORE into the intake, storage commitment reports.

An association is refused before anything is sent where it could not be served (PS3.8 Table 9-21): 1/1/3 and 1/1/7 for AE
titles, 2/3/1 while the disk is low, 2/3/2 above the limit. Running associations are served to their end, and who only
reports on storage commitment brings nothing that needs room.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from pynetdicom import AE, _config, evt, timer
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from cmdiff_dicom import __version__
from cmdiff_dicom.logs import log, place
from cmdiff_dicom.receive.intake import Intake
from cmdiff_dicom.receive.negotiation import supported_contexts
from cmdiff_dicom.receive.transport import ADVERTISED_PDU_BYTES, GuardedServer, Limits
from cmdiff_dicom.settings import ListenSettings

IMPLEMENTATION_CLASS_UID = "2.25.218058493862105756941838541516577712045"
IMPLEMENTATION_VERSION = f"CMDIFF_{__version__}"[:16]
ASSOCIATION_TIMEOUT_S = 30.0
"""How long a connection may last without an association request (the ARTIM timer of PS3.8 9.1.5)."""
STOP_LOOK_S = 0.1
"""How often the listening thread looks whether it shall stop."""
STOP_WAIT_S = 0.5
"""How long an association may take to end when the listener stops; then its connection is cut."""

TEMPORARY_CONGESTION = (2, 3, 1)
LOCAL_LIMIT_EXCEEDED = (2, 3, 2)
PROCESSING_FAILURE = 0x0110


class Listener:
    """A serving node. `port` is the one it is bound to, which differs from the settings' where that is 0."""

    def __init__(self, server: GuardedServer, thread: threading.Thread) -> None:
        self._server = server
        self._thread = thread
        self.port = int(server.server_address[1])

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Nobody is accepted any more, running associations are aborted, and the port is free. Again does nothing."""
        if not self.is_alive:
            return
        self._server.shutdown()
        for association in self._server.active_associations:
            if association.is_established:
                association.acse.send_abort(0x00)
            else:
                _cut(association)
        deadline = time.monotonic() + STOP_WAIT_S
        while self._server.active_associations and time.monotonic() < deadline:
            time.sleep(0.02)
        for association in self._server.active_associations:
            _cut(association)
        self._thread.join()


def start_listener(
    settings: ListenSettings,
    intake: Intake,
    may_accept: Callable[[], bool],
    on_report: Callable[[int, Any], int],
    note_association: Callable[[str, str], None],
) -> Listener:
    """A listener that serves already, in threads of its own.

    `may_accept`: False rejects new associations as congested. `on_report`: event type and information of a storage
    commitment report -> status. `note_association`: calling AE title and peer address. Raises: OSError (the port is taken).
    """
    _config.LOG_HANDLER_LEVEL = "none"  # its log lines quote data sets
    _config.VALIDATORS["UI"] = lambda _uid: (True, "")  # it would abort over 65 characters; the intake judges what counts
    timer.time = SimpleNamespace(time=time.monotonic)  # a clock that is set by an hour would end every association
    ae = _application_entity(settings)
    limits = Limits(settings.idle_timeout_s, settings.max_object_mb * 1_000_000, settings.max_associations)
    door = _Door(settings, may_accept, note_association)
    server = ae.make_server(
        (settings.host, settings.port),
        evt_handlers=[
            (evt.EVT_REQUESTED, door.judge),
            (evt.EVT_ESTABLISHED, door.note),
            (evt.EVT_REJECTED, _log_title_rejection),
            (evt.EVT_CONN_CLOSE, _forget_silent_connection),
            (evt.EVT_C_ECHO, lambda _event: 0x0000),
            (evt.EVT_N_EVENT_REPORT, lambda event: (_report_status(event, on_report), None)),
        ],
        server_class=GuardedServer,
        limits=limits,
        serve=intake.accept,
    )
    ae._servers.append(server)  # `shutdown` takes it out again
    thread = threading.Thread(target=server.serve_forever, args=(STOP_LOOK_S,), name="listener", daemon=True)
    thread.start()
    return Listener(server, thread)


def _application_entity(settings: ListenSettings) -> AE:
    ae = AE(ae_title=settings.ae_title)
    ae.implementation_class_uid, ae.implementation_version_name = IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
    ae.maximum_pdu_size = ADVERTISED_PDU_BYTES
    ae.require_called_aet = settings.check_called_ae_title
    ae.require_calling_aet = list(settings.calling_ae_titles)
    ae.maximum_associations = 1 << 16  # `_Door` counts, since the library counts silent connections too
    ae.acse_timeout = ASSOCIATION_TIMEOUT_S
    ae.network_timeout = ae.dimse_timeout = settings.idle_timeout_s
    ae.add_supported_context(Verification)  # the others are made for each association, by what its peer proposes
    return ae


def _cut(association: Any) -> None:
    """The connection is closed, which ends a read that waits for a stalled peer."""
    if association.dul.socket is not None and association.dul.socket.socket is not None:
        association.dul.socket._shutdown_socket()


class _Door:
    """Judges each association request before it is negotiated."""

    def __init__(
        self, settings: ListenSettings, may_accept: Callable[[], bool], note_association: Callable[[str, str], None]
    ) -> None:
        self._settings = settings
        self._may_accept = may_accept
        self._note_association = note_association
        self._lock = threading.Lock()

    def judge(self, event: evt.Event) -> None:
        """The request is rejected, or what will be negotiated is prepared by what it proposes."""
        association = event.assoc
        rejection = self._rejection(association)
        if rejection is not None:
            log("receive.association", state="rejected {}/{}/{}".format(*rejection), peer=str(association.requestor.address))
            association.acse.send_reject(*rejection)
            association.kill()
            return
        request = association.requestor.primitive
        contexts = supported_contexts(request.presentation_context_definition_list, self._settings.only_sop_classes)
        association.acceptor.supported_contexts = contexts

    def note(self, event: evt.Event) -> None:
        """An established association is the last one that `check` shows."""
        requestor = event.assoc.requestor
        try:
            self._note_association(str(requestor.ae_title), str(requestor.address))
        except Exception as error:  # only a note for `check`; what may not be lost has answers of its own
            log("receive.association", error=place(error))

    def _rejection(self, association: Any) -> tuple[int, int, int] | None:
        """Why the association cannot be served now; AE titles are judged by the library."""
        try:
            if not (_only_reports(association) or self._may_accept()):
                return TEMPORARY_CONGESTION
        except Exception as error:
            log("receive.association", error=place(error))
            return TEMPORARY_CONGESTION
        with self._lock:
            others = sum(getattr(other, "has_place", False) for other in association.ae.active_associations)
            if others >= self._settings.max_associations:
                return LOCAL_LIMIT_EXCEEDED
            association.has_place = True
        return None


def _only_reports(association: Any) -> bool:
    """True where the peer proposes storage commitment and nothing else: what it brings needs no room."""
    proposed = association.requestor.primitive.presentation_context_definition_list
    return {context.abstract_syntax for context in proposed} == {StorageCommitmentPushModel}


def _log_title_rejection(event: evt.Event) -> None:
    """The library has judged the AE titles: here a sender's administrator finds why nothing comes."""
    request = event.assoc.requestor.primitive
    titles = f"{request.calling_ae_title} calls {request.called_ae_title}"
    log("receive.association", state="rejected: AE title", peer=f"{event.assoc.requestor.address}, {titles}")


def _forget_silent_connection(event: evt.Event) -> None:
    """A connection that closed before it asked for an association gives its thread back at once, not at the time limit."""
    if event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(None)


def _report_status(event: evt.Event, on_report: Callable[[int, Any], int]) -> int:
    try:
        return on_report(event.event_type, event.event_information)
    except Exception as error:
        log("receive.report", error=place(error))
        return PROCESSING_FAILURE
