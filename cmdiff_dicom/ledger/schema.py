"""The ledger's tables, on SQLite and on PostgreSQL, and how an older ledger becomes a newer one.

A new ledger is created as it is described here and stamped with the newest number; an older one takes each upgrade after
its own number, in order and in one transaction. What a patient is called, was born or was told stands in no column.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Dialect,
    Enum,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.types import TypeDecorator

from cmdiff_dicom.errors import Broken
from cmdiff_dicom.ledger.states import DeliveryState, JobState


class Stamp(TypeDecorator[datetime]):
    """A moment in UTC as text of constant width, so that it sorts alike in both databases."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        return None if value is None else value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value)


metadata = MetaData()
_identity = BigInteger().with_variant(Integer, "sqlite")


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, default=0, server_default="0")


def _words(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, default="", server_default="")


def _stamp(name: str) -> Column[datetime]:
    return Column(name, Stamp, nullable=False)


def _state(states: type[JobState] | type[DeliveryState]) -> Column[Any]:
    """A state under its own word, without a check that would need a new one for every new state."""
    words = Enum(
        states, native_enum=False, create_constraint=False, length=32, values_callable=lambda all_: [one.value for one in all_]
    )
    return Column("state", words, nullable=False)


studies = Table(
    "studies",
    metadata,
    Column("study_uid", Text, primary_key=True),
    _words("accession_number"),
    _count("arrivals"),
    _count("looked_at_arrivals"),
    _count("conflicts"),
    Column("is_forgotten", Boolean, nullable=False, default=False, server_default=text("false")),
    _stamp("first_arrival"),
    _stamp("last_arrival"),
)

instances = Table(
    "instances",
    metadata,
    Column("id", _identity, primary_key=True, autoincrement=True),
    Column("study_uid", Text, ForeignKey("studies.study_uid"), nullable=False),
    Column("sop_uid", Text, nullable=False),
    Column("series_uid", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    _stamp("received_at"),
    Column("header", Text, nullable=False),
    UniqueConstraint("study_uid", "sop_uid", "series_uid", "sha256", name="one_row_for_the_same_bytes"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("study_uid", Text, ForeignKey("studies.study_uid"), nullable=False),
    _words("accession_number"),
    Column("revision", Integer, nullable=False),
    _state(JobState),
    _words("reason"),
    _count("attempts"),
    _count("lost_leases"),
    _count("renewals"),
    _count("rings"),
    _words("owner"),
    _stamp("created_at"),
    _stamp("updated_at"),
    Column("plan", JSON, nullable=False),
    _words("evidence"),
    _words("blob_sha256"),
    _words("sop_uid"),
    _words("series_uid"),
    Column("volumes_ml", JSON, nullable=False, default=dict),
    UniqueConstraint("study_uid", "revision", name="revisions_are_counted"),
)
_running = jobs.c.state == JobState.SEGMENTING
Index("one_running_job_for_a_study", jobs.c.study_uid, unique=True, sqlite_where=_running, postgresql_where=_running)
Index("jobs_by_state", jobs.c.state)
Index("jobs_by_accession_number", jobs.c.accession_number)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", _identity, primary_key=True, autoincrement=True),
    Column("key", String(64), ForeignKey("jobs.key"), nullable=False),
    Column("destination", Text, nullable=False),
    _state(DeliveryState),
    Column("final", Boolean, nullable=False, default=False),
    _words("reason"),
    Column("status", Integer),
    _count("attempts"),
    _count("resends"),
    _count("lost_leases"),
    _count("renewals"),
    _count("rings"),
    _words("owner"),
    _words("transaction_uid"),
    _count("requests"),
    _stamp("created_at"),
    _stamp("updated_at"),
    UniqueConstraint("key", "destination", name="one_delivery_for_a_destination"),
)
Index("deliveries_by_state", deliveries.c.state)

transactions = Table(
    "transactions",
    metadata,
    Column("transaction_uid", Text, primary_key=True),
    Column("delivery", ForeignKey("deliveries.id"), nullable=False),
    _stamp("begun_at"),
)

events = Table(
    "events",
    metadata,
    Column("id", _identity, primary_key=True, autoincrement=True),
    _stamp("at"),
    Column("study_uid", Text, nullable=False),
    _words("key"),
    Column("what", Text, nullable=False),
    _words("detail"),
)
Index("events_by_study", events.c.study_uid, events.c.id)

associations = Table(
    "associations",
    metadata,
    Column("calling_ae", Text, primary_key=True),
    _words("peer"),
    _stamp("at"),
)

versions = Table("versions", metadata, Column("number", Integer, primary_key=True), _stamp("applied_at"))

NEWEST = 1
UPGRADES: dict[int, tuple[str, ...]] = {}
"""Number -> the statements that make a ledger of the number before into one of this number, alike in both databases."""

_APPEND_ONLY = {
    "sqlite": (
        "CREATE TRIGGER events_stay_{verb} BEFORE {verb} ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END",
    ),
    "postgresql": (
        "CREATE OR REPLACE FUNCTION events_stay() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'events are append-only'; END $$",
        "CREATE TRIGGER events_stay_{verb} BEFORE {verb} ON events FOR EACH ROW EXECUTE FUNCTION events_stay()",
    ),
}
_SCHEMA_LOCK = 0x636D6469


def bring_up_to_date(connection: Connection) -> None:
    """The tables are there in their newest form; two processes that start at once do not do it twice.

    Raises: Broken where a newer version of this program has written the ledger.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
    now = datetime.now(UTC)
    if not inspect(connection).has_table(versions.name):
        metadata.create_all(connection)
        for verb in ("UPDATE", "DELETE"):
            for statement in _APPEND_ONLY[connection.dialect.name]:
                connection.exec_driver_sql(statement.format(verb=verb))
        connection.execute(insert(versions).values(number=NEWEST, applied_at=now))
        return
    found = connection.scalar(select(func.max(versions.c.number))) or 0
    if found > NEWEST:
        raise Broken(
            f"ledger: found version {found}, this program knows {NEWEST}; a newer cmdiff-dicom has used it. "
            "Install that version, or start with a new ledger."
        )
    for number in range(found + 1, NEWEST + 1):
        for statement in UPGRADES[number]:
            connection.exec_driver_sql(statement)
        connection.execute(insert(versions).values(number=number, applied_at=now))
