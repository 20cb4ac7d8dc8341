"""Verbs about what has come: instances, studies, and what of them may go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, RowMapping, and_, case, delete, exists, func, or_, select, update

from cmdiff_dicom.ledger.database import insert_into, reads, writes
from cmdiff_dicom.ledger.headers import instance_of
from cmdiff_dicom.ledger.history import history_of, record_event
from cmdiff_dicom.ledger.jobs import ENDED_BADLY, lock_study
from cmdiff_dicom.ledger.recording import Recording
from cmdiff_dicom.ledger.schema import associations, deliveries, instances, jobs, studies
from cmdiff_dicom.ledger.states import Association, DeliveryState, Event, JobState, StudyActivity
from cmdiff_dicom.records import Blob, ReceivedInstance

NOTE_AGAIN_S = 10.0
PAGE = 10_000


class StudyVerbs(Recording):
    """Instances arrive, are looked at, and are forgotten when nobody needs their pixels any more."""

    _last_caller: tuple[str, str] | None = None
    _noted_at = 0.0

    @reads
    def instances(self, connection: Connection, study_uid: str) -> tuple[ReceivedInstance, ...]:
        """All that came of a study and was not forgotten, in the order of arrival, conflicting duplicates included.

        Which of two instances with one SOP Instance UID serves is for `assemble` to decide.
        """
        rows = connection.execute(select(instances).where(instances.c.study_uid == study_uid).order_by(instances.c.id))
        return tuple(instance_of(row) for row in rows.mappings())

    def blobs(self) -> Iterator[Blob]:
        """Every blob that some instance needs, a page at a time, to be compared with what the spool has."""
        last = 0
        while page := self._blobs_after(last):
            yield from (Blob(sha256, size_bytes) for _, sha256, size_bytes in page)
            last = page[-1][0]

    @reads
    def _blobs_after(self, connection: Connection, last: int) -> Sequence[Row[int, str, int]]:
        columns = (instances.c.id, instances.c.sha256, instances.c.size_bytes)
        return connection.execute(select(*columns).where(instances.c.id > last).order_by(instances.c.id).limit(PAGE)).all()

    @reads
    def open_studies(self, connection: Connection) -> tuple[StudyActivity, ...]:
        """The studies of which something came that nobody has looked at yet, the longest waiting first."""
        open_ = studies.c.arrivals != studies.c.looked_at_arrivals
        rows = connection.execute(select(studies).where(open_).order_by(studies.c.first_arrival))
        return tuple(_activity_of(row) for row in rows.mappings())

    @reads
    def study(self, connection: Connection, study_uid: str) -> StudyActivity | None:
        """What is known of one study, with the number of its conflicting instances."""
        row = connection.execute(select(studies).where(studies.c.study_uid == study_uid)).mappings().first()
        return None if row is None else _activity_of(row)

    @reads
    def purgeable(self, connection: Connection, before: datetime) -> tuple[str, ...]:
        """The studies whose pixels nobody needs and where nothing has happened since `before`, the oldest first."""
        last = _last_change()
        query = select(studies.c.study_uid).where(_nobody_waits(), last < before).order_by(last)
        return tuple(connection.scalars(query))

    @writes
    def forget_pixels(self, connection: Connection, study_uid: str, remove: Callable[[str], object]) -> int:
        """The study's blobs are removed by `remove(sha256)` and its instances struck out; how many. 0 where somebody waits.

        A result that a destination lacks stays: it is small, and `retry` sends it once whatever was wrong there is mended.
        The blobs go while the study is locked: an instance that comes meanwhile is recorded afterwards, and whoever
        records it then sees that its blob is gone and writes it again.
        """
        lock_study(connection, study_uid)
        if connection.scalar(select(studies.c.study_uid).where(studies.c.study_uid == study_uid, _nobody_waits())) is None:
            return 0
        of_study = instances.c.study_uid == study_uid
        results = and_(jobs.c.study_uid == study_uid, _done_result())
        for blobs in (select(instances.c.sha256).where(of_study), select(jobs.c.blob_sha256).where(results)):
            for sha256 in connection.scalars(blobs).all():
                remove(sha256)
        connection.execute(update(jobs).where(results).values(blob_sha256=""))
        count = connection.execute(delete(instances).where(of_study)).rowcount
        connection.execute(update(studies).where(studies.c.study_uid == study_uid).values(is_forgotten=True))
        record_event(connection, study_uid, "pixels purged", f"{count} instances")
        return count

    @reads
    def events(self, connection: Connection, study_uid: str) -> tuple[Event, ...]:
        """The study's history, the oldest first."""
        return history_of(connection, study_uid)

    def note_association(self, calling_ae: str, peer: str) -> None:
        """`last_association` tells of this peer; for people who ask whether anybody ever reached us.

        A peer that sends each image on an association of its own is noted only now and then: a note is a wait for the disk.
        """
        now, caller = time.monotonic(), (calling_ae, peer)
        if caller == self._last_caller and now - self._noted_at < NOTE_AGAIN_S:
            return
        self._write_association(calling_ae, peer)
        self._last_caller, self._noted_at = caller, now

    @writes
    def _write_association(self, connection: Connection, calling_ae: str, peer: str) -> None:
        seen = {"peer": peer, "at": datetime.now(UTC)}
        insertion = insert_into(connection.dialect.name, associations).values(calling_ae=calling_ae, **seen)
        connection.execute(insertion.on_conflict_do_update(index_elements=["calling_ae"], set_=seen))

    @reads
    def last_association(self, connection: Connection) -> Association | None:
        """Who called us last; None where nobody ever did."""
        row = connection.execute(select(associations).order_by(associations.c.at.desc()).limit(1)).mappings().first()
        return None if row is None else Association(**row)


def _activity_of(row: RowMapping) -> StudyActivity:
    return StudyActivity(**{name: row[name] for name in StudyActivity.__dataclass_fields__})


def _nobody_waits() -> Any:
    """True of a study that was looked at, whose jobs and deliveries are final, and that still has pixels or a result."""
    waiting_job = exists().where(
        jobs.c.study_uid == studies.c.study_uid, jobs.c.state.in_([state for state in JobState if not state.is_final])
    )
    waiting_delivery = exists().where(
        jobs.c.study_uid == studies.c.study_uid,
        deliveries.c.key == jobs.c.key,
        or_(
            deliveries.c.state == DeliveryState.PENDING,
            and_(deliveries.c.state == DeliveryState.SENT, deliveries.c.final.is_(False)),
        ),
    )
    has_pixels = exists().where(instances.c.study_uid == studies.c.study_uid)
    has_result = exists().where(jobs.c.study_uid == studies.c.study_uid, _done_result())
    has_something = or_(has_pixels, has_result)
    return and_(studies.c.arrivals == studies.c.looked_at_arrivals, has_something, ~waiting_job, ~waiting_delivery)


def _done_result() -> Any:
    """True of a job with a result that nobody needs: a newer one took its place, or it arrived wherever it was meant for."""
    newer = jobs.alias()
    is_replaced = exists().where(newer.c.study_uid == jobs.c.study_uid, newer.c.revision > jobs.c.revision)
    was_meant = exists().where(deliveries.c.key == jobs.c.key)
    is_lacked = exists().where(deliveries.c.key == jobs.c.key, ENDED_BADLY)
    return and_(jobs.c.blob_sha256 != "", or_(is_replaced, and_(was_meant, ~is_lacked)))


def _last_change() -> Any:
    """When something last happened to a study: an arrival, or a change of a job or delivery."""
    job = select(func.max(jobs.c.updated_at)).where(jobs.c.study_uid == studies.c.study_uid).scalar_subquery()
    delivery = (
        select(func.max(deliveries.c.updated_at))
        .where(deliveries.c.key == jobs.c.key, jobs.c.study_uid == studies.c.study_uid)
        .scalar_subquery()
    )
    latest: Any = studies.c.last_arrival
    for other in (job, delivery):
        latest = case((and_(other.is_not(None), other > latest), other), else_=latest)
    return latest
