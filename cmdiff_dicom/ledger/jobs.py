"""Verbs about jobs: a study is settled, a worker claims it, renews its lease, and says how it ended.

Every change is a compare-and-set along the table of `states`: it happens once, or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from cmdiff_dicom.ledger.database import Verbs, insert_into, reads, writes
from cmdiff_dicom.ledger.history import record_event
from cmdiff_dicom.ledger.schema import deliveries, events, instances, jobs, studies
from cmdiff_dicom.ledger.states import DeliveryState, Job, JobEvent, JobState, sources, target

KEY_DIGITS = 8
"""So many digits of a job key at least name it."""
ENDED_BADLY = or_(
    deliveries.c.state == DeliveryState.FAILED,
    and_(deliveries.c.state == DeliveryState.SENT, deliveries.c.final, deliveries.c.reason != ""),
)
"""True of a delivery that failed, and of one that was sent and that nobody committed to."""
CONFLICTS = "conflicting instances"
WORKER_DIED = "the worker died"
WORKER_STOPPED = "the worker was stopped"


class JobVerbs(Verbs):
    """From a settled study to a result, a refusal or a failure."""

    @writes
    def settle(
        self,
        connection: Connection,
        study_uid: str,
        arrivals: int,
        key: str,
        plan: Mapping[str, Any],
        evidence: str,
        refusal: str = "",
    ) -> Job | None:
        """The study was looked at when it had `arrivals`; a new job where the key is new, else None.

        A new job supersedes those of the study that are not final, and their results that nobody is sending yet. With a
        `refusal` it is refused from the start. None also where more has come since (then nothing was looked at), and
        where a study whose pixels were purged got some late images that can make nothing by themselves.
        """
        study = lock_study(connection, study_uid)
        if study is None or study["arrivals"] != arrivals:
            return None
        connection.execute(update(studies).where(studies.c.study_uid == study_uid).values(looked_at_arrivals=arrivals))
        older = list(connection.scalars(select(jobs.c.key).where(jobs.c.study_uid == study_uid).order_by(jobs.c.revision)))
        if key in older:
            if key == older[-1]:  # sent again as a whole after a purge
                connection.execute(update(studies).where(studies.c.study_uid == study_uid).values(is_forgotten=False))
            record_event(connection, study_uid, "more images", "they change nothing of what is analysed", key)
            _tell_conflicts(connection, study, key)
            return None
        if refusal and older and study["is_forgotten"]:
            record_event(
                connection, study_uid, "late images", "came after the study's pixels were purged; nothing was made of them"
            )
            return None
        for former in older:
            _supersede(connection, former, len(older) + 1)
        _add_job(connection, study, key, len(older) + 1, plan, evidence, refusal)
        return _job(connection, key)

    @reads
    def waiting_jobs(self, connection: Connection) -> tuple[Job, ...]:
        """The jobs that no worker has, the oldest first."""
        return _jobs_in(connection, JobState.SETTLED)

    @reads
    def running_jobs(self, connection: Connection) -> tuple[Job, ...]:
        """The jobs that a worker has, the oldest first."""
        return _jobs_in(connection, JobState.SEGMENTING)

    @writes
    def take_ring(self, connection: Connection, key: str, rings_seen: int) -> bool:
        """True for the one caller who may ring a worker for this job now."""
        waits = and_(jobs.c.key == key, jobs.c.state == JobState.SETTLED, jobs.c.rings == rings_seen)
        return connection.execute(update(jobs).where(waits).values(rings=rings_seen + 1)).rowcount == 1

    def claim(self, key: str, owner: str) -> Job | None:
        """The job is this owner's; None where another has it or it is not to be done. Claiming twice changes nothing.

        `owner` names one process, so that a claim whose answer was lost with the connection is found again.
        """
        try:
            return self._claim(key, owner)
        except IntegrityError:  # another job of this study runs: the index forbids two
            return None

    @writes
    def _claim(self, connection: Connection, key: str, owner: str) -> Job | None:
        anew = jobs.c.renewals + 1  # who saw the same owner's last lease shall not take this one for it
        moved = _move(connection, key, JobEvent.CLAIM, detail=owner, owner=owner, rings=0, reason="", renewals=anew)
        job = _job(connection, key)
        mine = job is not None and job.state is JobState.SEGMENTING and job.owner == owner
        return job if moved or mine else None

    @writes
    def renew(self, connection: Connection, key: str, owner: str) -> bool:
        """The owner lives. False where the job is no longer its own: it was lost, superseded or ended."""
        held = and_(jobs.c.key == key, jobs.c.state == JobState.SEGMENTING, jobs.c.owner == owner)
        return connection.execute(update(jobs).where(held).values(renewals=jobs.c.renewals + 1)).rowcount == 1

    @writes
    def lose_lease(self, connection: Connection, key: str, renewals_seen: int, max_lost: int) -> bool:
        """The job waits again, or has failed where its lease was lost `max_lost` times; False where it was renewed since."""
        job = _job(connection, key)
        if job is None or job.renewals != renewals_seen:
            return False
        lost = job.lost_leases + 1
        event = JobEvent.FAIL if lost >= max_lost else JobEvent.LOSE_LEASE
        reason = WORKER_DIED if lost >= max_lost else f"{WORKER_DIED}, {lost} of {max_lost}"
        still = jobs.c.renewals == renewals_seen
        return _move(connection, key, event, detail=reason, where=still, owner="", lost_leases=lost, reason=reason)

    @writes
    def hand_back_jobs(self, connection: Connection, owners: str) -> int:
        """The jobs of all owners whose names begin so wait again, at once: those were stopped, not lost. How many."""
        theirs = jobs.c.owner.startswith(owners, autoescape=True)
        held = connection.scalars(select(jobs.c.key).where(jobs.c.state == JobState.SEGMENTING, theirs)).all()
        told = {"detail": WORKER_STOPPED, "reason": WORKER_STOPPED, "owner": ""}
        return sum(_move(connection, key, JobEvent.HAND_BACK, where=theirs, **told) for key in held)

    @writes
    def finish(
        self,
        connection: Connection,
        key: str,
        owner: str,
        blob_sha256: str,
        sop_uid: str,
        series_uid: str,
        volumes_ml: Mapping[str, float],
        destinations: tuple[str, ...],
        note: str = "",
    ) -> bool:
        """The job has a result, with one delivery for each destination. False where the job is no longer the owner's.

        `note` is what a person should know of it: a sequence that was not used, and why.
        """
        result: dict[str, Any] = {"blob_sha256": blob_sha256, "sop_uid": sop_uid, "series_uid": series_uid}
        result |= {"volumes_ml": dict(volumes_ml), "reason": note}
        if not _move(connection, key, JobEvent.FINISH, detail=note, owned_by=owner, owner="", **result):
            return False
        _add_deliveries(connection, key, destinations)
        return True

    @writes
    def no_tumour(self, connection: Connection, key: str, owner: str, note: str) -> bool:
        """The job ended well and found nothing: no result leaves. False where it is no longer the owner's."""
        return _move(connection, key, JobEvent.FIND_NOTHING, detail=note, owned_by=owner, owner="", reason=note)

    @writes
    def refuse(self, connection: Connection, key: str, owner: str, reason: str) -> bool:
        """The study cannot be analysed, and why. False where the job is no longer the owner's."""
        return _move(connection, key, JobEvent.REFUSE, detail=reason, owned_by=owner, owner="", reason=reason)

    @writes
    def fail(self, connection: Connection, key: str, owner: str, reason: str) -> bool:
        """The job failed for good, until a person retries it. False where it is no longer the owner's."""
        return _move(connection, key, JobEvent.FAIL, detail=reason, owned_by=owner, owner="", reason=reason)

    @writes
    def retry_later(self, connection: Connection, key: str, owner: str, reason: str, max_attempts: int) -> bool:
        """The job waits again, or has failed after `max_attempts`. False where it is no longer the owner's."""
        job = _job(connection, key)
        if job is None:
            return False
        attempts = job.attempts + 1
        event = JobEvent.FAIL if attempts >= max_attempts else JobEvent.PUT_OFF
        return _move(connection, key, event, detail=reason, owned_by=owner, owner="", attempts=attempts, reason=reason)

    @writes
    def retry(self, connection: Connection, key: str, destinations: tuple[str, ...] = ()) -> bool:
        """A failed or refused job waits again with all counts at zero, and its result is on its way to whoever lacks it.

        Those are the deliveries that ended badly, and whichever of `destinations` it was never meant for. False where there
        is nothing to retry, a newer revision has taken the job's place, or what it needs was purged.
        """
        job = _job(connection, key)
        if job is None:
            return False
        lock_study(connection, job.study_uid)
        if newest_key_of(connection, job.study_uid) != key:
            return False
        afresh: dict[str, Any] = {"reason": "", "attempts": 0, "lost_leases": 0, "rings": 0}
        an_instance = select(instances.c.id).where(instances.c.study_uid == job.study_uid).limit(1)
        moved = connection.scalar(an_instance) is not None and _move(connection, key, JobEvent.RETRY, owner="", **afresh)
        afresh |= {"state": DeliveryState.PENDING, "final": False, "resends": 0, "updated_at": datetime.now(UTC)}
        again = update(deliveries).where(deliveries.c.key == key, ENDED_BADLY).values(afresh)
        count = 0
        if job.blob_sha256:
            count = connection.execute(again).rowcount + _add_deliveries(connection, key, destinations)
        if count:
            record_event(connection, job.study_uid, "delivery retried", f"{count} deliveries", key)
        return moved or count > 0

    @reads
    def job(self, connection: Connection, key: str) -> Job | None:
        """The job of this key."""
        return _job(connection, key)

    @reads
    def newest_key(self, connection: Connection, study_uid: str) -> str | None:
        """The key of the study's newest revision."""
        return newest_key_of(connection, study_uid)

    @reads
    def jobs(self, connection: Connection, query: str | None = None, limit: int = 100) -> tuple[Job, ...]:
        """Jobs, the newest first: all, or those of a Study Instance UID, an accession number or the beginning of a key.

        That has `KEY_DIGITS` at least: an accession number is shorter, and shall not mean a key that happens to begin so.
        """
        found = select(jobs).order_by(jobs.c.created_at.desc(), jobs.c.revision.desc()).limit(limit)
        if query:
            names = [jobs.c.study_uid == query, jobs.c.accession_number == query]
            if len(query) >= KEY_DIGITS:
                names.append(jobs.c.key.startswith(query, autoescape=True))
            found = found.where(or_(*names))
        return tuple(_job_of(row) for row in connection.execute(found).mappings())


def lock_study(connection: Connection, study_uid: str) -> RowMapping | None:
    """The study's row, which nobody else changes until this transaction ends."""
    return connection.execute(select(studies).where(studies.c.study_uid == study_uid).with_for_update()).mappings().first()


def newest_key_of(connection: Connection, study_uid: str) -> str | None:
    newest = select(jobs.c.key).where(jobs.c.study_uid == study_uid).order_by(jobs.c.revision.desc()).limit(1)
    return connection.scalar(newest)


def _add_job(
    connection: Connection, study: RowMapping, key: str, revision: int, plan: Mapping[str, Any], evidence: str, refusal: str
) -> None:
    now, state = datetime.now(UTC), JobState.REFUSED if refusal else JobState.SETTLED
    identity = {
        "key": key,
        "study_uid": study["study_uid"],
        "accession_number": study["accession_number"],
        "revision": revision,
    }
    verdict = {"state": state, "reason": refusal, "plan": dict(plan), "evidence": evidence}
    connection.execute(insert(jobs).values(**identity, **verdict, created_at=now, updated_at=now))
    connection.execute(update(studies).where(studies.c.study_uid == study["study_uid"]).values(is_forgotten=False))
    record_event(connection, study["study_uid"], state.value, refusal or evidence, key)
    _tell_conflicts(connection, study, key)


def _tell_conflicts(connection: Connection, study: RowMapping, key: str) -> None:
    """The study's history says once how many of its instances conflict, and again where they have become more."""
    text = f"{study['conflicts']} came again under their UID with other bytes or in another series; all are kept"
    told = events.c.study_uid == study["study_uid"], events.c.what == CONFLICTS, events.c.detail == text
    if study["conflicts"] and connection.scalar(select(events.c.id).where(*told).limit(1)) is None:
        record_event(connection, study["study_uid"], CONFLICTS, text, key)


def _add_deliveries(connection: Connection, key: str, destinations: tuple[str, ...]) -> int:
    """One delivery waits for each destination that has none of this result yet; how many are new."""
    count, now = 0, datetime.now(UTC)
    for destination in destinations:
        row = {"key": key, "destination": destination, "state": DeliveryState.PENDING, "created_at": now, "updated_at": now}
        insertion = insert_into(connection.dialect.name, deliveries).values(row).on_conflict_do_nothing()
        count += connection.scalar(insertion.returning(deliveries.c.id)) is not None
    return count


def _move(
    connection: Connection,
    key: str,
    event: JobEvent,
    *,
    owned_by: str | None = None,
    where: Any = None,
    detail: str = "",
    **changes: Any,
) -> bool:
    """The event happened and stands in the study's history; False where the table, the owner or `where` forbids it."""
    allowed = [jobs.c.key == key, jobs.c.state.in_(sources(event))]
    if owned_by is not None:
        allowed.append(jobs.c.owner == owned_by)
    if where is not None:
        allowed.append(where)
    changed = update(jobs).where(*allowed).values(state=target(event), updated_at=datetime.now(UTC), **changes)
    study_uid = connection.scalar(changed.returning(jobs.c.study_uid))
    if study_uid is None:
        return False
    record_event(connection, study_uid, event.value, detail, key)
    return True


def _supersede(connection: Connection, key: str, by_revision: int) -> None:
    reason = f"superseded by revision {by_revision}"
    _move(connection, key, JobEvent.SUPERSEDE, detail=reason, owner="", reason=reason)
    unsent = and_(deliveries.c.key == key, deliveries.c.state == DeliveryState.PENDING, deliveries.c.owner == "")
    dropped = {"state": DeliveryState.FAILED, "final": True, "reason": reason, "updated_at": datetime.now(UTC)}
    connection.execute(update(deliveries).where(unsent).values(dropped))


def _jobs_in(connection: Connection, state: JobState) -> tuple[Job, ...]:
    rows = connection.execute(select(jobs).where(jobs.c.state == state).order_by(jobs.c.created_at, jobs.c.key))
    return tuple(_job_of(row) for row in rows.mappings())


def _job(connection: Connection, key: str) -> Job | None:
    row = connection.execute(select(jobs).where(jobs.c.key == key)).mappings().first()
    return None if row is None else _job_of(row)


def _job_of(row: RowMapping) -> Job:
    return Job(**row)
