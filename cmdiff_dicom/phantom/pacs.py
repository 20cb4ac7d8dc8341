"""A small PACS: takes C-ECHO and C-STORE into a folder, routes studies on, reports storage commitment; misbehaves on demand.

It stands for the hospital's archive in the demo and in tests. Its commitment report comes on an association of its own,
as most archives do it, unless its `Faults` say otherwise.
"""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Self

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, _config, build_context, build_role, evt
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (
    SegmentationStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from cmdiff_dicom.errors import PacsUnavailable

MAX_CONTEXTS = 128
NO_SUCH_INSTANCE = 0x0112
NOT_AUTHORIZED = 0x0124
CANNOT_UNDERSTAND = 0xC000
OWN_ASSOCIATION, SAME_ASSOCIATION, BOTH_WAYS, NEVER = "own association", "same association", "both ways", "never"


@dataclass(frozen=True)
class Faults:
    """How this PACS misbehaves. The default is a good one.

    `statuses` answers C-STOREs in turn, again and again; what is answered with a failure is not kept.
    """

    refuses_segmentation: bool = False
    refuses_every_class: bool = False
    rejects_associations: bool = False
    statuses: tuple[int, ...] = (0x0000,)
    report: str = OWN_ASSOCIATION
    refuses_commitment: bool = False
    forgets_instances: bool = False
    """Stores, answers 0x0000, and reports in the commitment that it knows no such instance."""
    drops_after: int = -1
    """Aborts the association at the C-STORE after this many."""
    slow_s: float = 0.0


class DemoPacs:
    """A PACS in a folder, on this machine. A context manager: inside, it serves at `port`."""

    def __init__(
        self,
        folder: Path,
        ae_title: str = "DEMOPACS",
        routes_to: tuple[str, str, int] | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.folder = folder
        self.ae_title = ae_title
        self.port = 0
        self.routes_to = routes_to
        self.faults = faults or Faults()
        self.associations = 0
        """How often it was asked for one, rejected ones included."""
        self.commitment_requests = 0
        self.report_statuses: list[int | None] = []
        """What peers answered to the reports of this PACS; None where one gave no answer."""
        self._statuses = cycle(self.faults.statuses)
        self._stores = 0
        self._server: Any = None

    def __enter__(self) -> Self:
        _config.LOG_HANDLER_LEVEL = "none"
        self.folder.mkdir(parents=True, exist_ok=True)
        ae = AE(self.ae_title)
        ae.maximum_pdu_size = 131072
        handlers = [
            (evt.EVT_REQUESTED, self._judge),
            (evt.EVT_CONN_OPEN, _no_delay),
            (evt.EVT_C_ECHO, lambda _event: 0x0000),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_ACTION, self._take_commitment_request),
        ]
        contexts = _contexts(self.faults)
        self._server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, contexts=contexts)
        self.port = self._server.server_address[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._server.ae.shutdown()

    # --- what it stored -----------------------------------------------------------------------

    def stored(self, sop_class_uid: str = "") -> list[Path]:
        """The files it keeps, oldest first; of one class, or of all."""
        files = sorted(self.folder.glob("*.dcm"), key=lambda path: (path.stat().st_mtime_ns, path.name))
        return [path for path in files if not sop_class_uid or _file_class(path) == sop_class_uid]

    def stored_segmentation(self) -> Path | None:
        """The newest Segmentation it keeps."""
        return next(iter(reversed(self.stored(SegmentationStorage))), None)

    # --- what it sends ------------------------------------------------------------------------

    def route(self, folder: Path) -> int:
        """Sends every instance below `folder` to `routes_to`, one association for each 128 contexts; how many were stored.

        Raises: PacsUnavailable where the peer cannot be reached or rejects.
        """
        instances: dict[tuple[str, str], list[Path]] = {}
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            kind = _kind(path)
            if kind is not None:
                instances.setdefault(kind, []).append(path)
        kinds = sorted(instances)
        stored = 0
        for start in range(0, len(kinds), MAX_CONTEXTS):
            part = kinds[start : start + MAX_CONTEXTS]
            paths = sorted(path for kind in part for path in instances[kind])
            stored += self._send(paths, [build_context(*kind) for kind in part])
        return stored

    def _send(self, paths: Iterable[Path], contexts: list[PresentationContext]) -> int:
        association = self._associate(contexts)
        stored = 0
        try:
            for path in paths:
                answer = association.send_c_store(dcmread(path))
                stored += answer.get("Status") == 0x0000
        finally:
            association.release()
        return stored

    def _associate(self, contexts: list[PresentationContext], roles: Iterable[Any] = ()) -> Any:
        if self.routes_to is None:
            raise PacsUnavailable("the demo PACS knows no peer; give it routes_to")
        title, host, port = self.routes_to
        ae = AE(self.ae_title)
        association = ae.associate(
            host, port, contexts, title, ext_neg=list(roles), evt_handlers=[(evt.EVT_CONN_OPEN, _no_delay)]
        )
        if not association.is_established:
            raise PacsUnavailable(f"{title} at {host}:{port} did not accept the demo PACS's association")
        get_message = association.dimse.get_msg  # the library's background loop must not take answers off the queue
        association.dimse.get_msg = lambda block=False: get_message(block) if block else (None, None)
        return association

    # --- what it answers ----------------------------------------------------------------------

    def _judge(self, event: evt.Event) -> None:
        self.associations += 1
        if self.faults.rejects_associations:
            event.assoc.acse.send_reject(2, 3, 1)
            event.assoc.kill()

    def _store(self, event: evt.Event) -> int:
        self._stores += 1
        if 0 <= self.faults.drops_after < self._stores:
            event.assoc.abort()
            return CANNOT_UNDERSTAND
        time.sleep(self.faults.slow_s)
        status = next(self._statuses)
        if status == 0x0000 or status & 0xF000 == 0xB000:
            sop_uid = UID(event.request.AffectedSOPInstanceUID)
            if not sop_uid.is_valid:  # it names a file
                return CANNOT_UNDERSTAND
            path = self.folder / f"{sop_uid}.dcm"
            aside = path.with_suffix(f".{uuid.uuid4().hex}.part")  # the same instance may come on two associations at once
            aside.write_bytes(event.encoded_dataset())
            aside.replace(path)
        return status

    def _take_commitment_request(self, event: evt.Event) -> tuple[int, None]:
        self.commitment_requests += 1
        if self.faults.refuses_commitment:
            return NOT_AUTHORIZED, None
        report = self._report_on(event.action_information)
        if self.faults.report in (SAME_ASSOCIATION, BOTH_WAYS):
            threading.Thread(target=self._report_after_response, args=(event.assoc, report), daemon=True).start()
        if self.faults.report in (OWN_ASSOCIATION, BOTH_WAYS):
            threading.Thread(target=self._report_on_own_association, args=(report,), daemon=True).start()
        return 0x0000, None

    def _report_on(self, request: Dataset) -> Dataset:
        """Event Information: what of the request is in the folder, and what is not (PS3.4 J.3.3)."""
        report = Dataset()
        report.TransactionUID = request.TransactionUID
        known, unknown = [], []
        for item in request.ReferencedSOPSequence:
            answer = Dataset()
            answer.ReferencedSOPClassUID = item.ReferencedSOPClassUID
            answer.ReferencedSOPInstanceUID = item.ReferencedSOPInstanceUID
            is_known = (self.folder / f"{item.ReferencedSOPInstanceUID}.dcm").exists()
            if is_known and not self.faults.forgets_instances:
                known.append(answer)
            else:
                answer.FailureReason = NO_SUCH_INSTANCE
                unknown.append(answer)
        if known:
            report.ReferencedSOPSequence = known
        if unknown:
            report.FailedSOPSequence = unknown
        return report

    def _report_on_own_association(self, report: Dataset) -> None:
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        context = build_context(StorageCommitmentPushModel, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        try:
            association = self._associate([context], [role])
        except PacsUnavailable:
            self.report_statuses.append(None)
            return
        self._report(association, report)
        association.release()

    def _report_after_response(self, association: Any, report: Dataset) -> None:
        time.sleep(0.05)  # the N-ACTION response goes first
        self._report(association, report)

    def _report(self, association: Any, report: Dataset) -> None:
        event_type = 2 if "FailedSOPSequence" in report else 1
        answer, _ = association.send_n_event_report(
            report, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        self.report_statuses.append(answer.get("Status"))


def _contexts(faults: Faults) -> list[PresentationContext]:
    """Storage classes in every transfer syntax that pydicom names, C-ECHO, storage commitment."""
    commitment = build_context(StorageCommitmentPushModel)
    if faults.refuses_every_class:
        return [build_context("1.2.3.4")]
    storage = [
        context
        for context in AllStoragePresentationContexts
        if not (faults.refuses_segmentation and context.abstract_syntax == SegmentationStorage)
    ]
    return [build_context(Verification), commitment, *storage]


def _kind(path: Path) -> tuple[str, str] | None:
    """SOP class and transfer syntax of a DICOM file; None for other files and for a DICOMDIR."""
    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    except (InvalidDicomError, OSError):
        return None
    if "SOPClassUID" not in header or "TransferSyntaxUID" not in header.file_meta:
        return None
    return str(header.SOPClassUID), str(header.file_meta.TransferSyntaxUID)


def _file_class(path: Path) -> str:
    return str(dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"]).SOPClassUID)


def _no_delay(event: evt.Event) -> None:
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
