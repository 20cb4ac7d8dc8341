"""C-STORE of one object to one peer, and what each answer means for its delivery."""

from __future__ import annotations

from enum import Enum
from io import BytesIO

from pydicom import Dataset, dcmread
from pynetdicom.association import Association

from cmdiff_dicom.deliver.association import Peer, accepts, association_with, class_name
from cmdiff_dicom.errors import DeliveryRefused, PacsUnavailable

DUPLICATE = 0x0111
"""Duplicate SOP Instance (PS3.7 Annex C). Only this result has its UID, so the peer took it before and its answer was lost."""


class Outcome(Enum):
    """What a C-STORE status makes of a delivery."""

    STORED = "stored"
    STORED_WITH_WARNING = "stored, shown as a warning"
    TRY_AGAIN = "tried again later"
    REFUSED = "refused for good"


def outcome(status: int) -> Outcome:
    """Only 0x0000, 0xBxxx and "I have it already" mean stored. Source: PS3.4 Table B.2-1, PS3.7 Annex C."""
    if status == 0x0000:
        return Outcome.STORED
    if status & 0xF000 == 0xB000 or status == DUPLICATE:
        return Outcome.STORED_WITH_WARNING
    if status & 0xFF00 == 0xA700 or status == 0x0110:  # out of resources; processing failure, which says too little to give up
        return Outcome.TRY_AGAIN
    return Outcome.REFUSED


def store(part10: bytes, peer: Peer) -> tuple[str, int]:
    """The object is stored at the peer: its SOP Instance UID and the status, 0x0000, 0xBxxx or 0x0111.

    Raises: PacsUnavailable (unreachable, rejected, out of resources, no answer), DeliveryRefused (class not taken, any
    other status).
    """
    instance = dcmread(BytesIO(part10))
    sop_class_uid, sop_uid = str(instance.SOPClassUID), str(instance.SOPInstanceUID)
    with association_with(peer, [sop_class_uid]) as association:
        if not accepts(association, sop_class_uid):
            raise DeliveryRefused(
                f"{peer} does not take {class_name(sop_class_uid)}: no presentation context accepted; let it store this class"
            )
        status = _send(association, instance)
    if status is None:
        raise PacsUnavailable(f"{peer}: C-STORE was not answered (association cut, or silent for {peer.timeout_s:g} s)")
    meaning = outcome(status)
    if meaning is Outcome.TRY_AGAIN:
        raise PacsUnavailable(f"{peer}: C-STORE answered 0x{status:04X}, out of resources or failed for the moment")
    if meaning is Outcome.REFUSED:
        raise DeliveryRefused(f"{peer} refused {class_name(sop_class_uid)} with C-STORE status 0x{status:04X}", status)
    return sop_uid, status


def _send(association: Association, instance: Dataset) -> int | None:
    """The peer's status, or None where it gave none."""
    try:
        answer = association.send_c_store(instance)
    except RuntimeError:  # the association ended between its opening and now
        return None
    return int(answer.Status) if "Status" in answer else None
