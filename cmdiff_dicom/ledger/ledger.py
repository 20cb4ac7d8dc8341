"""The ledger: the truth about every study, job and delivery. All its verbs are durable when they return."""

from __future__ import annotations

from sqlalchemy import Connection, text

from cmdiff_dicom.errors import StoreUnavailable
from cmdiff_dicom.ledger.database import Database
from cmdiff_dicom.ledger.deliveries import DeliveryVerbs
from cmdiff_dicom.ledger.jobs import JobVerbs
from cmdiff_dicom.ledger.schema import bring_up_to_date
from cmdiff_dicom.ledger.studies import StudyVerbs


class Ledger(StudyVerbs, JobVerbs, DeliveryVerbs):
    """Verbs of three kinds on one database; safe to call from any thread and from any number of processes."""

    def check(self) -> str:
        """Which database answers, and takes writes. Raises: StoreUnavailable."""
        kind = self._database.kind

        def version(connection: Connection) -> str:
            if kind == "postgresql" and connection.scalar(text("SHOW transaction_read_only")) == "on":
                raise StoreUnavailable("ledger (postgresql): takes no writes; name the primary server in [ledger] url")
            function = "sqlite_version()" if kind == "sqlite" else "version()"
            return str(connection.scalar(text(f"SELECT {function}")))

        return f"{kind} {self._database.read(version)}"

    def close(self) -> None:
        """All connections are closed; the next verb opens new ones."""
        self._database.close()


def open_ledger(url: str) -> Ledger:
    """The ledger at `url`, created or brought up to date where needed.

    Raises: SettingsFault (no such kind of database), StoreUnavailable (no answer), Broken (a newer version's ledger).
    """
    database = Database(url)
    database.write(bring_up_to_date)
    return Ledger(database)
