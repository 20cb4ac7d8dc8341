"""One database, SQLite or PostgreSQL: durable transactions that survive a lock, a restart and a cut connection.

A verb is a function of a connection that may run more than once: all its statements are one transaction, and after a
lost connection it runs again from the start. So each verb is written to be harmless when repeated.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.pool import StaticPool

from cmdiff_dicom.errors import SettingsFault, StoreUnavailable

PATIENCE_S = 15.0
"""How long one verb waits for another writer or a lost database: a server's restart, and less than a sender waits."""
PAUSES_S = (0.05, 1.6)
"""Between the tries of one verb: the first pause, doubling to the longest."""
POSTGRESQL_CONNECTION = {"connect_timeout": 5, "keepalives_idle": 30, "tcp_user_timeout": 15_000}
"""A server that vanished without a word is noticed within seconds."""
READ_ONLY = "25006"
"""What PostgreSQL says of a write to a replica, as it is for a while when another server takes over."""

Answer = TypeVar("Answer")
Given = ParamSpec("Given")


class Verbs:
    """What has verbs on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database


Room = TypeVar("Room", bound=Verbs)


def writes(verb: Callable[Concatenate[Room, Connection, Given], Answer]) -> Callable[Concatenate[Room, Given], Answer]:
    """The verb is one durable transaction of its own."""

    @functools.wraps(verb)
    def whole(self: Room, *given: Given.args, **named: Given.kwargs) -> Answer:
        return self._database.write(lambda connection: verb(self, connection, *given, **named))

    return whole  # type: ignore[return-value]  # only the name of `self` differs


def reads(verb: Callable[Concatenate[Room, Connection, Given], Answer]) -> Callable[Concatenate[Room, Given], Answer]:
    """The verb sees one moment of the database and changes nothing."""

    @functools.wraps(verb)
    def whole(self: Room, *given: Given.args, **named: Given.kwargs) -> Answer:
        return self._database.read(lambda connection: verb(self, connection, *given, **named))

    return whole  # type: ignore[return-value]  # only the name of `self` differs


class Database:
    """Transactions on the database of `url` (sqlite:///PATH, postgresql://...; "sqlite://" is one in memory, for tests)."""

    def __init__(self, url: str) -> None:
        self._engine, in_memory = _engine_for(url)
        self._readers = self._engine.execution_options(only_reads=True)
        # A database in memory is one connection, so that its transactions must take turns.
        self._turn: AbstractContextManager[Any] = threading.RLock() if in_memory else nullcontext()
        self._process = os.getpid()

    @property
    def kind(self) -> str:
        return self._engine.dialect.name

    def write(self, work: Callable[[Connection], Answer]) -> Answer:
        """What `work` answers, once all that it wrote is on the disk. Raises: StoreUnavailable."""
        return self._with_retries(self._engine, work)

    def read(self, work: Callable[[Connection], Answer]) -> Answer:
        """What `work` answers. Raises: StoreUnavailable."""
        return self._with_retries(self._readers, work)

    def close(self) -> None:
        self._engine.dispose()

    def _with_retries(self, engine: Engine, work: Callable[[Connection], Answer]) -> Answer:
        if self._process != os.getpid():  # connections are not shared with the process that forked this one
            self._engine.dispose(close=False)
            self._process = os.getpid()
        pause_s, longest_s = PAUSES_S
        give_up_at = time.monotonic() + PATIENCE_S
        while True:
            try:
                with self._turn, engine.begin() as connection:
                    return work(connection)
            except DBAPIError as error:
                if time.monotonic() + pause_s > give_up_at or not _may_pass(error):
                    raise (self._unavailable(error) if _is_outside(error) else error) from None
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, longest_s)

    def _unavailable(self, error: DBAPIError) -> StoreUnavailable:
        # The text of a connection that did not come about quotes no row, as others may.
        told = " ".join(str(error.orig).split()) if error.statement is None else type(error.orig).__name__
        return StoreUnavailable(
            f"ledger ({self.kind}): {told}; see that the database runs, that its disk has room, "
            "and that [ledger] url names it"
        )


def insert_into(kind: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows ON CONFLICT, which both databases spell alike."""
    return postgresql.insert(table) if kind == "postgresql" else sqlite.insert(table)


def _is_outside(error: DBAPIError) -> bool:
    """True where the database, not the statement, is at fault."""
    is_outside = error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
    return is_outside or getattr(error.orig, "sqlstate", None) == READ_ONLY


def _may_pass(error: DBAPIError) -> bool:
    """True where the same transaction may succeed a moment later."""
    if error.connection_invalidated:
        return True
    name = getattr(error.orig, "sqlite_errorname", None)
    if name is not None:
        return str(name).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
    # 40001 and 40P01: PostgreSQL ended this transaction for another's sake.
    return isinstance(error, OperationalError) or getattr(error.orig, "sqlstate", None) in ("40001", "40P01", READ_ONLY)


def _engine_for(url: str) -> tuple[Engine, bool]:
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgres", "postgresql"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise ArgumentError("another kind of database")
        is_sqlite = parsed.get_backend_name() == "sqlite"
        in_memory = is_sqlite and parsed.database in (None, "", ":memory:")
        if in_memory:
            extra: dict[str, Any] = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
        elif is_sqlite:
            extra = {"connect_args": {"check_same_thread": False}}
        else:
            extra = {"pool_pre_ping": True, "connect_args": POSTGRESQL_CONNECTION}
        engine = create_engine(parsed, hide_parameters=True, **extra)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise SettingsFault(
            f"[ledger] url: {type(error).__name__}; wanted sqlite:///PATH, "
            "or postgresql://USER@HOST/NAME with the extra 'postgres'"
        ) from None
    if is_sqlite:
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine, in_memory


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says so
    for pragma in (f"busy_timeout={PATIENCE_S * 1000:.0f}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """Writers take the lock at once: a reader that becomes a writer later cannot wait for it, and fails."""
    only_reads = connection.get_execution_options().get("only_reads")
    connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")
