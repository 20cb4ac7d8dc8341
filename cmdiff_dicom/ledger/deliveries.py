"""Verbs about deliveries: a result is sent to a destination, which then commits to keeping it, or does not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, and_, select, update

from cmdiff_dicom.ledger.database import Verbs, insert_into, reads, writes
from cmdiff_dicom.ledger.history import record_event
from cmdiff_dicom.ledger.jobs import WORKER_DIED, WORKER_STOPPED, newest_key_of
from cmdiff_dicom.ledger.schema import deliveries, jobs, transactions
from cmdiff_dicom.ledger.states import AfterFailedCommitment, Delivery, DeliveryState, after_failed_commitment
from cmdiff_dicom.records import CommitmentReport

_PENDING = deliveries.c.state == DeliveryState.PENDING
_SENT = deliveries.c.state == DeliveryState.SENT
_AWAITED = and_(_SENT, deliveries.c.final.is_(False))


class DeliveryVerbs(Verbs):
    """From a finished result to a destination that has committed to keeping it."""

    @reads
    def deliveries(self, connection: Connection, key: str) -> tuple[Delivery, ...]:
        """The deliveries of one job's result."""
        return _found(connection, _select().where(deliveries.c.key == key))

    @reads
    def delivery(self, connection: Connection, delivery_id: int) -> Delivery | None:
        """One delivery."""
        return _delivery(connection, delivery_id)

    @reads
    def pending_deliveries(self, connection: Connection) -> tuple[Delivery, ...]:
        """The deliveries that nobody is sending, the oldest first."""
        return _found(connection, _select().where(_PENDING, deliveries.c.owner == ""))

    @reads
    def running_deliveries(self, connection: Connection) -> tuple[Delivery, ...]:
        """The deliveries that somebody is sending, the oldest first."""
        return _found(connection, _select().where(_PENDING, deliveries.c.owner != ""))

    @reads
    def awaiting_commitment(self, connection: Connection) -> tuple[Delivery, ...]:
        """The deliveries that are sent and not committed yet, the oldest first."""
        return _found(connection, _select().where(_AWAITED))

    @writes
    def take_delivery_ring(self, connection: Connection, delivery_id: int, rings_seen: int) -> bool:
        """True for the one caller who may ring a worker for this delivery now."""
        waits = (deliveries.c.id == delivery_id, _PENDING, deliveries.c.owner == "", deliveries.c.rings == rings_seen)
        return connection.execute(update(deliveries).where(*waits).values(rings=rings_seen + 1)).rowcount == 1

    @writes
    def claim_delivery(self, connection: Connection, delivery_id: int, owner: str) -> Delivery | None:
        """The delivery is this owner's; None where another has it, it is done, or its result is not its study's newest."""
        delivery = _delivery(connection, delivery_id)
        if delivery is None or delivery.state is not DeliveryState.PENDING or delivery.owner not in ("", owner):
            return None
        if newest_key_of(connection, delivery.study_uid) != delivery.key:
            _change(connection, delivery, "superseded", _PENDING, state=DeliveryState.FAILED, final=True, reason="superseded")
            return None
        free = and_(_PENDING, deliveries.c.owner.in_(("", owner)))
        _change(connection, delivery, "", free, owner=owner, rings=0, renewals=deliveries.c.renewals + 1)
        mine = _delivery(connection, delivery_id)
        return mine if mine is not None and mine.owner == owner else None

    @writes
    def renew_delivery(self, connection: Connection, delivery_id: int, owner: str) -> bool:
        """The owner lives. False where the delivery is no longer its own."""
        held = (deliveries.c.id == delivery_id, _held_by(owner))
        return connection.execute(update(deliveries).where(*held).values(renewals=deliveries.c.renewals + 1)).rowcount == 1

    @writes
    def lose_delivery(self, connection: Connection, delivery_id: int, renewals_seen: int, max_lost: int) -> bool:
        """The delivery waits again, or has failed at the `max_lost`th lost lease; False where it was renewed since."""
        delivery = _delivery(connection, delivery_id)
        if delivery is None or delivery.owner == "":
            return False
        lost = delivery.lost_leases + 1
        ends = lost >= max_lost
        state = DeliveryState.FAILED if ends else DeliveryState.PENDING
        reason = WORKER_DIED if ends else f"{WORKER_DIED}, {lost} of {max_lost}"
        still = and_(_PENDING, deliveries.c.owner != "", deliveries.c.renewals == renewals_seen)
        return _change(connection, delivery, reason, still, state=state, final=ends, owner="", lost_leases=lost, reason=reason)

    @writes
    def hand_back_deliveries(self, connection: Connection, owners: str) -> int:
        """The deliveries of all owners whose names begin so wait again, at once: those were stopped, not lost. How many."""
        theirs = and_(_PENDING, deliveries.c.owner.startswith(owners, autoescape=True))
        held, back = _found(connection, _select().where(theirs)), {"owner": "", "reason": WORKER_STOPPED}
        return sum(_change(connection, delivery, WORKER_STOPPED, theirs, **back) for delivery in held)

    @writes
    def mark_sent(
        self, connection: Connection, delivery_id: int, owner: str, status: int, transaction_uid: str | None, final: bool
    ) -> bool:
        """The destination has the result. Its commitment report may come from now on; where `final`, none is asked for.

        False where the delivery is no longer the owner's.
        """
        delivery = _delivery(connection, delivery_id)
        done = {"state": DeliveryState.SENT, "final": final, "owner": "", "status": status, "reason": ""}
        sent = {**done, "requests": 0, "attempts": 0}
        if delivery is None or not _change(connection, delivery, f"sent, status 0x{status:04X}", _held_by(owner), **sent):
            return False
        if transaction_uid:
            _begin_transaction(connection, delivery, transaction_uid)
        return True

    @writes
    def delivery_failed(
        self, connection: Connection, delivery_id: int, owner: str, reason: str, status: int | None = None
    ) -> bool:
        """The destination refused for good, and why. False where the delivery is no longer the owner's."""
        delivery = _delivery(connection, delivery_id)
        failed = {"state": DeliveryState.FAILED, "final": True, "owner": "", "status": status, "reason": reason}
        return delivery is not None and _change(connection, delivery, reason, _held_by(owner), **failed)

    @writes
    def delivery_later(self, connection: Connection, delivery_id: int, owner: str, reason: str, max_attempts: int) -> bool:
        """The delivery waits again, or has failed after `max_attempts`. False where it is no longer the owner's."""
        delivery = _delivery(connection, delivery_id)
        if delivery is None:
            return False
        attempts = delivery.attempts + 1
        ends = attempts >= max_attempts
        put_off = {"state": DeliveryState.FAILED if ends else DeliveryState.PENDING, "final": ends}
        what = reason if ends else _news(delivery, reason)
        return _change(connection, delivery, what, _held_by(owner), owner="", attempts=attempts, reason=reason, **put_off)

    @writes
    def new_transaction(self, connection: Connection, delivery_id: int, transaction_uid: str) -> bool:
        """A worker is about to be rung to ask again under a new UID; a report on an older one still counts."""
        delivery = _delivery(connection, delivery_id)
        if delivery is None or delivery.state is not DeliveryState.SENT or delivery.final:
            return False
        _begin_transaction(connection, delivery, transaction_uid)
        _change(connection, delivery, "", _AWAITED, rings=deliveries.c.rings + 1)
        return True

    @writes
    def take_commitment_ring(self, connection: Connection, delivery_id: int) -> bool:
        """True for the one worker that asks now; however often it was rung meanwhile, the destination is asked once."""
        rung = and_(deliveries.c.id == delivery_id, _AWAITED, deliveries.c.rings > 0)
        return connection.execute(update(deliveries).where(rung).values(rings=0)).rowcount == 1

    @writes
    def commitment_asked(self, connection: Connection, delivery_id: int) -> bool:
        """The destination was reached and asked, so that its silence counts from now on."""
        delivery = _delivery(connection, delivery_id)
        if delivery is None:
            return False
        reason = "" if delivery.attempts else delivery.reason  # it was why the destination could not be reached
        return _change(connection, delivery, "", _AWAITED, requests=delivery.requests + 1, attempts=0, reason=reason)

    @writes
    def commitment_later(self, connection: Connection, delivery_id: int, reason: str, max_attempts: int) -> bool:
        """The destination could not be asked, which is no silence of its own; `max_attempts` in a row end it."""
        delivery = _delivery(connection, delivery_id)
        if delivery is None:
            return False
        attempts = delivery.attempts + 1
        ends = attempts >= max_attempts
        what = f"not asked to commit: {reason}" if ends or not delivery.attempts else _news(delivery, reason)
        return _change(connection, delivery, what, _AWAITED, attempts=attempts, final=ends, reason=reason)

    @writes
    def without_commitment(self, connection: Connection, delivery_id: int, reason: str) -> bool:
        """The delivery stays sent, is not asked about any more, and says why."""
        delivery = _delivery(connection, delivery_id)
        return delivery is not None and _change(connection, delivery, reason, _SENT, final=True, reason=reason)

    @writes
    def record_commitment(self, connection: Connection, report: CommitmentReport) -> bool:
        """What the destination says is in the ledger. False where the transaction is unknown or the report tells nothing of it.

        Reports may come twice, late, and on transactions that were given up; a committed result stays so.
        """
        transaction = select(transactions.c.delivery).where(transactions.c.transaction_uid == report.transaction_uid)
        delivery_id = connection.scalar(transaction)
        delivery = None if delivery_id is None else _delivery(connection, delivery_id)
        if delivery is None:
            return False
        if delivery.sop_uid in report.committed:
            if delivery.state is not DeliveryState.COMMITTED:
                done = {"state": DeliveryState.COMMITTED, "final": True, "owner": "", "reason": ""}
                _change(connection, delivery, "committed", deliveries.c.state != DeliveryState.COMMITTED, **done)
            return True
        if delivery.sop_uid not in report.failed:
            return False
        if delivery.state is DeliveryState.SENT and report.transaction_uid == delivery.transaction_uid:
            _take_failed_commitment(connection, delivery, report.failed[delivery.sop_uid])
        return True


def _take_failed_commitment(connection: Connection, delivery: Delivery, code: int) -> None:
    reason, action = after_failed_commitment(code, delivery.resends)
    if action is AfterFailedCommitment.SEND_AGAIN:
        _send_again(connection, delivery, reason)
    elif action is AfterFailedCommitment.ASK_AGAIN:
        _change(connection, delivery, reason, _SENT, reason=reason, attempts=0)
    else:
        _change(connection, delivery, reason, _SENT, final=True, reason=reason)


def _send_again(connection: Connection, delivery: Delivery, reason: str) -> bool:
    """The delivery waits as one that was put off as often: archives that index late do not know at once what they took."""
    resends = delivery.resends + 1
    again = {"state": DeliveryState.PENDING, "owner": "", "resends": resends, "attempts": resends, "reason": reason, "rings": 0}
    return _change(connection, delivery, f"sent again: {reason}", _AWAITED, **again)


def _begin_transaction(connection: Connection, delivery: Delivery, transaction_uid: str) -> None:
    begun = {"transaction_uid": transaction_uid, "delivery": delivery.id, "begun_at": datetime.now(UTC)}
    connection.execute(insert_into(connection.dialect.name, transactions).values(begun).on_conflict_do_nothing())
    newest = update(deliveries).where(deliveries.c.id == delivery.id).values(transaction_uid=transaction_uid)
    connection.execute(newest)


def _news(delivery: Delivery, reason: str) -> str:
    """`reason`, or "" where it is what the history says already: a peer that is away for days is one line there."""
    return "" if reason == delivery.reason else reason


def _held_by(owner: str) -> Any:
    return and_(_PENDING, deliveries.c.owner == owner)


def _change(connection: Connection, delivery: Delivery, what: str, where: Any, **changes: Any) -> bool:
    """The delivery changed, and its study's history says so where there is something to say; False where `where` forbids it."""
    changed = update(deliveries).where(deliveries.c.id == delivery.id, where).values(updated_at=datetime.now(UTC), **changes)
    if connection.execute(changed).rowcount != 1:
        return False
    if what:
        record_event(connection, delivery.study_uid, f"delivery to {delivery.destination}", what, delivery.key)
    return True


def _select() -> Select[Any]:
    of_job = (jobs.c.study_uid, jobs.c.blob_sha256, jobs.c.sop_uid)
    return select(deliveries, *of_job).join(jobs, jobs.c.key == deliveries.c.key).order_by(deliveries.c.id)


def _found(connection: Connection, query: Select[Any]) -> tuple[Delivery, ...]:
    return tuple(_delivery_of(row) for row in connection.execute(query).mappings())


def _delivery(connection: Connection, delivery_id: int) -> Delivery | None:
    row = connection.execute(_select().where(deliveries.c.id == delivery_id)).mappings().first()
    return None if row is None else _delivery_of(row)


def _delivery_of(row: RowMapping) -> Delivery:
    return Delivery(**row)
