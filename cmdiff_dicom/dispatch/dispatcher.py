"""One tick: settle what is complete, ring for what waits, take back what was lost, ask about what is unanswered, clean up.

Any number of dispatchers may run: each verb of the ledger compares before it sets. Nothing here trusts a wall clock but
the age of pixels that may be deleted: a `Stopwatch` on the ledger's counters decides the rest.

How often a bell rings. A job (a delivery alike) that waits is rung at once, then, while nobody claims it, 60, 120, 240, 480
and from then on every 900 s after the ring before: at most 7 times in its first hour and 4 times in each later one. So 500
waiting jobs ring at most 3,500 times in their first hour and 2,000 times an hour after that, and 500 times more whenever
Redis is found to have lost everything. A job that was put off rings as late as its attempts say: 60 s, doubling to 900 s.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import uuid4

from cmdiff_dicom.dispatch.settling import Recognise, Settling
from cmdiff_dicom.dispatch.stopwatch import Stopwatch
from cmdiff_dicom.errors import BrokerUnavailable, CmdiffError
from cmdiff_dicom.ledger import Delivery, Job, Ledger
from cmdiff_dicom.logs import log, place
from cmdiff_dicom.settings import Settings
from cmdiff_dicom.spool import Spool

Thing = tuple[str, str | int]
"""A kind, "job", "delivery" or "commitment", and the key or number that is rung."""
RING_AGAIN_S = 60.0
RING_AGAIN_LIMIT_S = 900.0
PURGE_EVERY_S = 60.0


class Bell(Protocol):
    """What wakes workers; every verb may raise BrokerUnavailable."""

    def ring(self, key: str) -> None: ...
    def ring_delivery(self, delivery_id: int) -> None: ...
    def ring_commitment(self, delivery_id: int) -> None: ...
    def found_empty(self) -> bool: ...


@dataclass
class Dispatcher:
    """Looks after the ledger; `tick()` every `tick_s` does all of it and raises nothing.

    `recognise` tells what a study's instances are; it is handed in, since this room knows no DICOM.
    """

    ledger: Ledger
    spool: Spool
    bell: Bell
    recognise: InitVar[Recognise]
    settings: Settings
    clock: Callable[[], float] = time.monotonic
    settling: Settling = field(init=False)
    _watch: Stopwatch = field(init=False)
    _owed: set[Thing] = field(init=False, default_factory=set)
    _purged: float | None = field(init=False, default=None)
    _bell_works: bool = field(init=False, default=True)
    _looked: float = field(init=False)
    _ledger_is_away: bool = field(init=False, default=False)

    def __post_init__(self, recognise: Recognise) -> None:
        self._watch, self._looked = Stopwatch(self.clock), self.clock()
        self.settling = Settling(self.ledger, recognise, self.settings.dispatch, self._watch)

    def tick(self) -> None:
        """All duties once, none while the ledger is away. One that fails is told in the log and done again at the next tick."""
        if not self._sees_ledger():
            return
        settle = self.settling.settle_studies
        duties = (settle, self.reclaim_leases, self.chase_commitments, self.ring_workers, self.purge_pixels)
        outcomes = [self._attempt(duty) for duty in duties]
        if all(outcomes):  # else what was not reached would be forgotten
            self._watch.forget_the_rest()

    def _sees_ledger(self) -> bool:
        """True where it answers. While it was away time stood still: nobody could be heard, so that silence proves nothing."""
        try:
            self.ledger.check()
        except Exception as error:
            if not self._ledger_is_away:
                log("dispatch.ledger", state="lost", where=place(error))
            self._ledger_is_away = True
            return False
        if self._ledger_is_away:
            log("dispatch.ledger", state="back")
            self._watch.leave_out(self.clock() - self._looked)
        self._ledger_is_away, self._looked = False, self.clock()
        return True

    def _attempt(self, duty: Callable[[], None]) -> bool:
        try:
            duty()
        except CmdiffError as error:
            log(f"dispatch.{duty.__name__}", state="put off", error=type(error).__name__)
            return False
        except Exception as error:
            log(f"dispatch.{duty.__name__}", state="failed", where=place(error))
            return False
        return True

    # --- ring -----------------------------------------------------------------------------------

    def ring_workers(self) -> None:
        """Every waiting job and delivery has been rung as often as its turn has come; without Redis, once it is back."""
        waiting: dict[Thing, Job | Delivery] = {("job", job.key): job for job in self.ledger.waiting_jobs()}
        waiting |= {("delivery", delivery.id): delivery for delivery in self.ledger.pending_deliveries()}
        still_s = {thing: self._watch.still_s(thing, (one.rings, one.attempts)) for thing, one in waiting.items()}
        try:
            lost_all = self.bell.found_empty()
            for thing, one in waiting.items():
                is_due = still_s[thing] >= wait_before_ring_s(one.rings, one.attempts) or (lost_all and one.rings > 0)
                if thing in self._owed or (is_due and self._count_ring(one)):
                    self._ring(thing)
            for thing in [thing for thing in self._owed if thing[0] == "commitment"]:
                self._ring(thing)
        except BrokerUnavailable as error:
            if self._bell_works:
                log("dispatch.bell", state="lost", error=type(error).__name__)
            self._bell_works = False
            return
        if not self._bell_works:
            log("dispatch.bell", state="back")
        self._bell_works = True
        self._owed &= set(waiting)  # what meanwhile went another way is owed no ring

    def _count_ring(self, one: Job | Delivery) -> bool:
        """True for the one dispatcher that may ring now. Counted before it rings: a worker takes only what was rung."""
        if isinstance(one, Job):
            return self.ledger.take_ring(one.key, one.rings)
        return self.ledger.take_delivery_ring(one.id, one.rings)

    def _ring(self, thing: Thing) -> None:
        """Rings; what Redis does not take is owed, and rung at the next contact."""
        self._owed.add(thing)
        kind, name = thing
        if kind == "job":
            self.bell.ring(str(name))
        elif kind == "delivery":
            self.bell.ring_delivery(int(name))
        else:
            self.bell.ring_commitment(int(name))
        self._owed.discard(thing)

    # --- take back, ask again, clean up ---------------------------------------------------------

    def reclaim_leases(self) -> None:
        """What a dead worker held waits again; what killed workers `max_lost_leases` times has failed."""
        limits = self.settings.dispatch
        for job in self.ledger.running_jobs():
            still_s = self._watch.still_s(("lease", job.key), (job.owner, job.renewals))
            if still_s >= limits.lease_s and self.ledger.lose_lease(job.key, job.renewals, limits.max_lost_leases):
                log("dispatch.lease_lost", job=job.key, seconds=still_s, attempt=job.lost_leases + 1)
        for delivery in self.ledger.running_deliveries():
            still_s = self._watch.still_s(("delivery lease", delivery.id), (delivery.owner, delivery.renewals))
            if still_s >= limits.lease_s and self.ledger.lose_delivery(delivery.id, delivery.renewals, limits.max_lost_leases):
                log("dispatch.lease_lost", delivery=delivery.id, seconds=still_s, attempt=delivery.lost_leases + 1)

    def chase_commitments(self) -> None:
        """What a destination was asked and did not answer is asked again under a new transaction, in the end flagged.

        One that cannot be reached, or that no worker asks, is not silent: it is tried again as late as any put-off delivery.
        """
        limits = self.settings.deliver
        for delivery in self.ledger.awaiting_commitment():
            counters = (delivery.transaction_uid, delivery.requests, delivery.attempts)
            still_s = self._watch.still_s(("commitment", delivery.id), counters)
            if still_s < (wait_before_ring_s(delivery.rings, delivery.attempts) or limits.commitment_wait_s):
                continue
            if delivery.requests >= limits.commitment_requests:
                answer = delivery.reason or "no commitment report (it may not know our AE title, host and port)"
                self.ledger.without_commitment(delivery.id, f"{answer}, after {delivery.requests} requests")
                log("dispatch.commitment", delivery=delivery.id, state="no report")
            else:
                self.ledger.new_transaction(delivery.id, f"2.25.{uuid4().int}")
                self._owed.add(("commitment", delivery.id))
                log("dispatch.commitment", delivery=delivery.id, state="asked again", attempt=delivery.requests + 1)

    def purge_pixels(self) -> None:
        """Pixels that nobody needs any more are gone: after `keep_days`, or at once, oldest first, while the disk is low."""
        now = self.clock()
        if self._purged is not None and now - self._purged < PURGE_EVERY_S and not self.spool.is_low():
            return
        self._purged = now
        moment = datetime.now(UTC)
        for study_uid in self.ledger.purgeable(moment - timedelta(days=self.settings.spool.keep_days)):
            self._purge(study_uid)
        if self.spool.is_low():
            for study_uid in self.ledger.purgeable(moment):
                if not self.spool.is_low():
                    break
                self._purge(study_uid)

    def _purge(self, study_uid: str) -> None:
        count = self.ledger.forget_pixels(study_uid, self.spool.delete)
        log("dispatch.purged", count=count, free_bytes=self.spool.free_bytes())


def wait_before_ring_s(rings: int, attempts: int) -> float:
    """Seconds that (rings, attempts) must have stood still before the next ring: 0, or 60 doubling to 900."""
    turns = rings or attempts
    doublings = min(turns - 1, 10)  # far beyond the limit, and never too large for a number, though it go on for months
    return min(RING_AGAIN_S * 2.0**doublings, RING_AGAIN_LIMIT_S) if turns else 0.0
