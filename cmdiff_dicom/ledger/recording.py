"""The one verb that a sender waits for: an instance is on the ledger's disk.

Its statements are built once, since building them costs more than running them, and its commits are shared: while one
thread waits for the disk, others queue up, and the next commit is for all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Executable, Select, bindparam, case, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from cmdiff_dicom.errors import StoreUnavailable
from cmdiff_dicom.ledger.database import Database, Verbs, insert_into
from cmdiff_dicom.ledger.group_commit import GroupCommit
from cmdiff_dicom.ledger.headers import row_of
from cmdiff_dicom.ledger.schema import instances, studies
from cmdiff_dicom.ledger.states import Arrival
from cmdiff_dicom.records import ReceivedInstance


@dataclass(frozen=True)
class _Statements:
    count_arrivals: Executable
    find_same_uid: Select[Any]
    add_instance: Executable
    count_conflict: Executable


class Recording(Verbs):
    """Instances become rows; their studies count them."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._statements = _build_statements(database)
        self._record = GroupCommit(self._record_all)

    def record_instance(self, instance: ReceivedInstance) -> Arrival:
        """The instance is on the ledger's disk. Every arrival counts: a resend too restarts its study's quiet time.

        Calls from several threads share one transaction. Raises: StoreUnavailable; then nothing was counted.
        """
        return self._record(instance)

    def _record_all(self, received: Sequence[ReceivedInstance]) -> list[Arrival]:
        try:
            return self._database.write(lambda connection: self._write_rows(connection, received))
        except (SQLAlchemyError, ValueError) as error:
            # Only the type: a driver's text may quote the row that it could not write.
            raise StoreUnavailable(f"ledger: {type(error).__name__}; the instance could not be recorded") from None

    def _write_rows(self, connection: Connection, received: Sequence[ReceivedInstance]) -> list[Arrival]:
        connection.execute(self._statements.count_arrivals, _study_rows(received))
        return [self._write_row(connection, instance) for instance in received]

    def _write_row(self, connection: Connection, instance: ReceivedInstance) -> Arrival:
        row = row_of(instance)
        known = {tuple(found) for found in connection.execute(self._statements.find_same_uid, row)}
        if (instance.series_uid, instance.blob.sha256) in known:
            return Arrival.SAME_BYTES
        connection.execute(self._statements.add_instance, row)
        if not known:
            return Arrival.NEW
        connection.execute(self._statements.count_conflict, {"conflicting_study": instance.study_uid})
        return Arrival.OTHER_BYTES


def _study_rows(received: Sequence[ReceivedInstance]) -> list[dict[str, Any]]:
    """One row for each study, in one order for all processes, lest two listeners wait for each other's rows."""
    newest = {instance.study_uid: instance for instance in sorted(received, key=lambda instance: instance.received_at)}
    return [
        {
            "study_uid": study_uid,
            "accession_number": _storable(newest[study_uid].accession_number),
            "arrivals": arrivals,
            "first_arrival": newest[study_uid].received_at,
            "last_arrival": newest[study_uid].received_at,
        }
        for study_uid, arrivals in sorted(Counter(instance.study_uid for instance in received).items())
    ]


def _storable(text: str) -> str:
    """The text without what a database cannot keep: NUL (PostgreSQL) and half characters (both)."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "")


def _build_statements(database: Database) -> _Statements:
    counting = insert_into(database.kind, studies)
    given = counting.excluded
    changes = {
        "arrivals": studies.c.arrivals + given.arrivals,
        "last_arrival": given.last_arrival,
        "accession_number": case((given.accession_number != "", given.accession_number), else_=studies.c.accession_number),
    }
    same_uid = (instances.c.study_uid == bindparam("study_uid"), instances.c.sop_uid == bindparam("sop_uid"))
    of_study = studies.c.study_uid == bindparam("conflicting_study")
    return _Statements(
        count_arrivals=counting.on_conflict_do_update(index_elements=["study_uid"], set_=changes),
        find_same_uid=select(instances.c.series_uid, instances.c.sha256).where(*same_uid),
        add_instance=insert(instances),
        count_conflict=update(studies).where(of_study).values(conflicts=studies.c.conflicts + 1),
    )
