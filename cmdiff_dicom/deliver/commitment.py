"""Storage commitment: a peer is asked to vouch for what it stored, and says later what became of it (PS3.4 Annex J).

Its report comes when it likes: on the association that asked, if that is still open, or on one of its own, which the
listener takes. Both go to the same place, so it counts however it comes; twice does no harm.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from pydicom import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from cmdiff_dicom.deliver.association import Peer, accepts, association_with
from cmdiff_dicom.errors import CommitmentRefused, PacsUnavailable, UnreadableInstance
from cmdiff_dicom.logs import log, place
from cmdiff_dicom.records import CommitmentReport

REQUEST_COMMITMENT = 1
"""Action Type ID (PS3.4 Table J.3-1)."""
ALL_COMMITTED, SOME_FAILED = 1, 2
"""Event Type ID (PS3.4 Table J.3-2)."""
PROCESSING_FAILURE, RESOURCE_LIMITATION = 0x0110, 0x0213
REPORT_WAIT_S = 1.0
"""How long the asking association stays open for a report that comes at once."""

TakeReport = Callable[[int, Dataset], int]
"""Event Type ID and Event Information of a report -> the status to answer."""


def request_commitment(
    peer: Peer, transaction_uid: str, sop_class_uid: str, sop_uid: str, on_report: TakeReport
) -> None:
    """The peer was reached and asked to commit to one object. Where it gave no answer it may report all the same.

    Raises: PacsUnavailable (unreachable, rejected, out of resources), CommitmentRefused (not supported, or refused).
    """
    reported = threading.Event()

    def take(event: evt.Event) -> tuple[int, None]:
        status = _status_of(event, on_report)
        reported.set()
        return status, None

    with association_with(peer, [StorageCommitmentPushModel], take) as association:
        if not accepts(association, StorageCommitmentPushModel):
            raise CommitmentRefused(f"{peer} does not offer storage commitment; switch it off for this destination")
        status = _ask(association, transaction_uid, sop_class_uid, sop_uid)
        if status == 0x0000:
            reported.wait(REPORT_WAIT_S)
    if status is None or status == 0x0000:
        return
    if status in (PROCESSING_FAILURE, RESOURCE_LIMITATION):
        raise PacsUnavailable(f"{peer}: storage commitment request answered 0x{status:04X}, failed for the moment")
    raise CommitmentRefused(f"{peer} refused the storage commitment request with status 0x{status:04X}", status)


def read_report(event_type: int, information: Dataset) -> CommitmentReport:
    """What a peer reports of a transaction: items that name no instance say nothing, one that also failed is not committed.

    Raises: UnreadableInstance (no Transaction UID, or an unknown event type).
    """
    transaction_uid = str(information.get("TransactionUID", "") or "")
    if not transaction_uid:
        raise UnreadableInstance("storage commitment report: Transaction UID is missing")
    if event_type not in (ALL_COMMITTED, SOME_FAILED):
        raise UnreadableInstance(f"storage commitment report: Event Type ID {event_type}, wanted 1 or 2")
    refused = _named(information, "FailedSOPSequence")
    failed = {uid: int(item.get("FailureReason") or PROCESSING_FAILURE) for uid, item in refused}
    committed = tuple(uid for uid, _ in _named(information, "ReferencedSOPSequence") if uid not in failed)
    return CommitmentReport(transaction_uid, committed, failed)


def _named(information: Dataset, keyword: str) -> list[tuple[str, Dataset]]:
    """The items of a sequence that name an instance, each with its UID."""
    items = information.get(keyword) or ()
    return [(str(item.ReferencedSOPInstanceUID), item) for item in items if item.get("ReferencedSOPInstanceUID")]


def _ask(association: Association, transaction_uid: str, sop_class_uid: str, sop_uid: str) -> int | None:
    """The status of the N-ACTION response, or None where none came."""
    referenced = Dataset()
    referenced.ReferencedSOPClassUID, referenced.ReferencedSOPInstanceUID = sop_class_uid, sop_uid
    request = Dataset()
    request.TransactionUID, request.ReferencedSOPSequence = transaction_uid, [referenced]
    try:
        answer, _ = association.send_n_action(
            request, REQUEST_COMMITMENT, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
    except RuntimeError:  # the association ended between its opening and now
        return None
    return int(answer.Status) if "Status" in answer else None


def _status_of(event: evt.Event, on_report: TakeReport) -> int:
    try:
        return on_report(event.event_type, event.event_information)
    except Exception as error:
        log("deliver.report", error=place(error))
        return PROCESSING_FAILURE
