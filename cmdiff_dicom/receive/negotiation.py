"""What is agreed with a peer before anything is sent: which classes, in which transfer syntax, in which role.

Every class that may be a storage class is taken, unknown and private ones too: PACS route whole studies, and one refused
class can stop a peer's queue. All transfer syntaxes are taken, since bytes are kept as they come; where a peer offers
several for one class, Explicit VR Little Endian is chosen.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, sop_class
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import ServiceClass, StorageServiceClass
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

PREFERRED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""Chosen in this order where a peer offers several for one class."""


def is_storage(sop_class_uid: str) -> bool:
    """True for every storage class, and for every class that no other service is known to have."""
    return sop_class.uid_to_service_class(sop_class_uid) in (StorageServiceClass, ServiceClass)


def supported_contexts(proposed: Iterable[PresentationContext], only_sop_classes: Iterable[str]) -> list[PresentationContext]:
    """Contexts to negotiate a peer's proposal with: all of its storage classes, C-ECHO and storage commitment.

    `only_sop_classes` narrows the storage classes; empty takes all. Storage commitment is answered with the SCP role
    allowed: a peer that wants to report on an association of its own asks for it, and may refuse to send without.
    """
    only = frozenset(only_sop_classes)
    syntaxes: dict[str, list[str]] = {}
    for context in proposed:
        uid = str(context.abstract_syntax)
        if is_storage(uid) and (not only or uid in only):
            syntaxes.setdefault(uid, []).extend(context.transfer_syntax)
    commitment = build_context(StorageCommitmentPushModel)
    commitment.scu_role, commitment.scp_role = False, True
    return [build_context(Verification), commitment, *(build_context(uid, _in_order(found)) for uid, found in syntaxes.items())]


def _in_order(transfer_syntaxes: list[str]) -> list[str]:
    """Without repetition, the preferred first: the acceptor's order decides."""
    preferred = [uid for uid in PREFERRED if uid in transfer_syntaxes]
    return list(dict.fromkeys([*preferred, *transfer_syntaxes]))
