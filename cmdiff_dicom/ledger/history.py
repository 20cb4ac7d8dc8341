"""A study's history: lines that are only ever added, in the transaction that changed something."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, insert, select

from cmdiff_dicom.ledger.schema import events
from cmdiff_dicom.ledger.states import Event


def record_event(connection: Connection, study_uid: str, what: str, detail: str = "", key: str = "") -> None:
    """The study's history says that `what` happened, to which job, and why."""
    connection.execute(insert(events).values(at=datetime.now(UTC), study_uid=study_uid, key=key, what=what, detail=detail))


def history_of(connection: Connection, study_uid: str) -> tuple[Event, ...]:
    """All lines of one study, the oldest first."""
    rows = connection.execute(select(events).where(events.c.study_uid == study_uid).order_by(events.c.id))
    return tuple(Event(row["at"], row["study_uid"], row["key"], row["what"], row["detail"]) for row in rows.mappings())
