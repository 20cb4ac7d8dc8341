"""One result's trip: spool -> destination -> storage commitment asked for. Knows no torch.

Every way that it may end is told to the ledger. COMMITTED comes only from the destination's report, which the
listener or the same association may bring at any time after the transaction stands in the ledger.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from cmdiff_dicom.errors import Broken, CmdiffError, NotNow
from cmdiff_dicom.leases import Endings, carried_out, owner_name
from cmdiff_dicom.ledger import Delivery, DeliveryState, Ledger
from cmdiff_dicom.logs import log, place
from cmdiff_dicom.settings import Settings
from cmdiff_dicom.spool import Spool

if TYPE_CHECKING:
    from cmdiff_dicom.deliver import Destination

SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"


@dataclass(frozen=True)
class DeliverWork:
    """What a deliver worker works with. `destination` opens the destination of a name; None where the settings have none."""

    ledger: Ledger
    spool: Spool
    settings: Settings
    destination: Callable[[str], Destination | None]


def deliver_job(delivery_id: int, work: DeliverWork) -> None:
    """The delivery of this number is sent, refused or put off; nothing where it is another's or its turn has not come."""
    ledger, owner = work.ledger, owner_name()
    waiting = ledger.delivery(delivery_id)
    if waiting is None or waiting.state is not DeliveryState.PENDING or waiting.rings == 0:
        return
    delivery = ledger.claim_delivery(delivery_id, owner)
    if delivery is None:
        return
    started = time.monotonic()
    endings = Endings(
        refuse=lambda reason: ledger.delivery_failed(delivery_id, owner, reason),
        put_off=lambda reason: ledger.delivery_later(delivery_id, owner, reason, work.settings.deliver.max_attempts),
        fail=lambda reason, status: ledger.delivery_failed(delivery_id, owner, reason, status),
    )
    renew, every_s = (lambda: ledger.renew_delivery(delivery_id, owner)), work.settings.dispatch.lease_s / 4
    state = carried_out(lambda: _send(delivery, owner, work), renew, every_s, endings)
    log("deliver.done", delivery=delivery_id, job=delivery.key, destination=delivery.destination, state=state,
        seconds=time.monotonic() - started)  # fmt: skip


def commitment_job(delivery_id: int, work: DeliverWork) -> None:
    """A sent result's destination was asked once more to commit, under the delivery's newest transaction.

    Nothing where it was asked since it was last rung for: messages pile up while a destination cannot be reached.
    """
    is_ours = work.ledger.take_commitment_ring(delivery_id)
    delivery = work.ledger.delivery(delivery_id)
    if is_ours and delivery is not None:
        _ask(delivery, delivery.transaction_uid, work)


def _send(delivery: Delivery, owner: str, work: DeliverWork) -> str:
    """The result is at its destination, and commitment is asked for where it is wanted. The state."""
    destination = work.destination(delivery.destination)
    if destination is None:
        raise Broken(f"destination '{delivery.destination}' is not in the settings any more; add it and retry the job")
    if not (delivery.blob_sha256 and work.spool.has(delivery.blob_sha256)):
        raise Broken("the result's bytes were purged with its study; have the study sent again")
    receipt = destination.send(work.spool.read(delivery.blob_sha256))
    wants_commitment = _wants_commitment(delivery.destination, work.settings)
    transaction_uid = f"2.25.{uuid4().int}" if wants_commitment else None
    sent = work.ledger.mark_sent(delivery.id, owner, receipt.dimse_status, transaction_uid, final=not wants_commitment)
    if sent and transaction_uid is not None:
        _ask(delivery, transaction_uid, work)
    return "sent" if sent else "lease lost"


def _ask(delivery: Delivery, transaction_uid: str, work: DeliverWork) -> None:
    """The destination is asked to commit. Where it cannot be reached the dispatcher lets it be asked again, for days."""
    destination = work.destination(delivery.destination)
    if destination is None:
        work.ledger.without_commitment(delivery.id, f"destination '{delivery.destination}' is not in the settings any more")
        return
    state = "asked"
    try:
        destination.request_commitment(transaction_uid, SEGMENTATION_STORAGE, delivery.sop_uid)
        work.ledger.commitment_asked(delivery.id)
    except NotNow as error:
        work.ledger.commitment_later(delivery.id, error.reason, work.settings.deliver.max_attempts)
        state = type(error).__name__
    except CmdiffError as error:
        work.ledger.without_commitment(delivery.id, f"commitment refused: {error}")
        state = type(error).__name__
    except Exception as error:
        state = place(error)
    log("deliver.commitment", delivery=delivery.id, destination=delivery.destination, state=state)


def _wants_commitment(name: str, settings: Settings) -> bool:
    return any(destination.name == name and destination.wants_commitment for destination in settings.destinations)
