"""Transactions hold: against other writers, a slow one among them, against cut connections, and after a fork."""

import multiprocessing
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cmdiff_dicom.errors import StoreUnavailable
from cmdiff_dicom.ledger import Arrival, JobState, database, open_ledger
from cmdiff_dicom.records import CommitmentReport
from tests.support.ledgers import KEY, STUDY, delivery, instance, number_of, settled

CUT_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"


def pragma(ledger, name):
    return ledger._database.read(lambda connection: connection.exec_driver_sql(f"PRAGMA {name}").scalar())


def test_sqlite_is_set_up_to_survive_a_power_cut(tmp_path):
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    assert pragma(ledger, "journal_mode") == "wal"
    assert pragma(ledger, "synchronous") == 2  # FULL
    assert pragma(ledger, "foreign_keys") == 1
    assert pragma(ledger, "busy_timeout") == database.PATIENCE_S * 1000


def test_a_writer_takes_the_lock_before_it_reads(tmp_path):
    path = tmp_path / "ledger.sqlite"
    ledger = open_ledger(f"sqlite:///{path}")

    def somebody_else_cannot_write(connection):
        other = sqlite3.connect(path, timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()

    ledger._database.write(somebody_else_cannot_write)


def test_a_reader_does_not_wait_for_a_writer(ledger):
    settled(ledger)
    assert ledger._database.write(lambda connection: ledger.job(KEY)).key == KEY


def test_a_verb_waits_for_a_slow_writer_and_then_succeeds(ledger):
    in_the_middle = threading.Event()

    def dawdle(connection):
        connection.exec_driver_sql("UPDATE studies SET arrivals = arrivals")
        in_the_middle.set()
        time.sleep(0.5)

    ledger.record_instance(instance(1))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(ledger._database.write, dawdle)
        in_the_middle.wait()
        ledger.record_instance(instance(2))
        slow.result()
    assert ledger.study(STUDY).arrivals == 2


def test_a_verb_that_waits_too_long_says_that_the_store_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE_S", 0.05)
    path = tmp_path / "ledger.sqlite"
    ledger = open_ledger(f"sqlite:///{path}")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="sqlite"):
        ledger.record_instance(instance())
    other.execute("ROLLBACK")
    other.close()
    assert ledger.study(STUDY) is None


def test_a_ledger_that_cannot_be_opened_is_unavailable(tmp_path):
    with pytest.raises(StoreUnavailable, match="unable to open database file"):
        open_ledger(f"sqlite:///{tmp_path / 'no such folder' / 'ledger.sqlite'}")


def test_a_server_that_is_not_there_is_unavailable_and_says_why_without_a_password(monkeypatch):
    monkeypatch.setattr(database, "PATIENCE_S", 0.05)
    with pytest.raises(StoreUnavailable) as fault:
        open_ledger("postgresql://someone:secret@127.0.0.1:1/ledger")
    assert "secret" not in str(fault.value)
    assert "Connection refused" in str(fault.value)


def test_no_verb_of_a_studys_whole_way_fails_when_every_session_is_cut_before_it(postgres, postgres_url):
    ledger = open_ledger(postgres_url)

    def cut(verb, *given, **named):
        postgres.psql(CUT_ALL)
        return getattr(ledger, verb)(*given, **named)

    cut("record_instance", instance())
    arrivals = cut("open_studies")[0].arrivals
    assert cut("settle", STUDY, arrivals, KEY, {}, "quiet").state is JobState.SETTLED
    assert cut("take_ring", KEY, 0)
    assert cut("claim", KEY, "worker").key == KEY
    assert cut("renew", KEY, "worker")
    assert cut("finish", KEY, "worker", "f" * 64, "2.25.1", "2.25.2", {}, ("PACS",))
    one = cut("pending_deliveries")[0]
    assert cut("claim_delivery", one.id, "sender").id == one.id
    assert cut("mark_sent", one.id, "sender", 0, "2.25.3", final=False)
    assert cut("record_commitment", CommitmentReport("2.25.3", ("2.25.1",), {}))
    assert delivery(ledger).state.value == "committed"
    ledger.close()


def test_a_session_cut_in_the_middle_of_a_transaction_begins_it_again(postgres, postgres_url):
    ledger = open_ledger(postgres_url)
    tries = []

    def cut_once(connection):
        connection.exec_driver_sql("INSERT INTO associations (calling_ae, peer, at) VALUES ('A', 'B', 'now')")
        tries.append(1)
        if len(tries) == 1:
            postgres.psql(CUT_ALL)
        return connection.exec_driver_sql("SELECT count(*) FROM associations").scalar()

    assert ledger._database.write(cut_once) == 1
    assert len(tries) == 2
    ledger.close()


def test_a_server_that_has_become_a_replica_is_away_until_writes_are_taken_again(postgres, postgres_url, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE_S", 0.05)
    ledger = open_ledger(postgres_url)
    postgres.psql(f"ALTER DATABASE postgres SET default_transaction_read_only = on; {CUT_ALL}")
    try:
        for verb in (ledger.check, lambda: ledger.record_instance(instance()), lambda: ledger.renew(KEY, "worker")):
            with pytest.raises(StoreUnavailable):
                verb()
    finally:
        postgres.psql(f"BEGIN READ WRITE; ALTER DATABASE postgres RESET default_transaction_read_only; COMMIT; {CUT_ALL}")
    assert ledger.record_instance(instance()) is Arrival.NEW
    ledger.close()


def test_sessions_cut_at_random_lose_no_instance_and_count_none_twice(postgres, postgres_url):
    ledger = open_ledger(postgres_url)
    done = threading.Event()

    def keep_cutting():
        while not done.wait(0.15):
            postgres.psql(CUT_ALL)

    with ThreadPoolExecutor(1) as pool:
        cutter = pool.submit(keep_cutting)
        for number in range(1, 101):
            ledger.record_instance(instance(number))
        done.set()
        cutter.result()
    assert [number_of(one) for one in ledger.instances(STUDY)] == [*range(1, 101)]
    ledger.close()


def record_in_a_child(ledger, number):
    ledger.record_instance(instance(number))


def test_a_forked_child_uses_connections_of_its_own(ledger):
    ledger.record_instance(instance(1))
    child = multiprocessing.get_context("fork").Process(target=record_in_a_child, args=(ledger, 2))
    child.start()
    child.join(30)
    ledger.record_instance(instance(3))
    assert child.exitcode == 0
    assert [number_of(one) for one in ledger.instances(STUDY)] == [1, 2, 3]


def test_a_ledger_in_memory_serves_several_threads():
    ledger = open_ledger("sqlite://")
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda number: ledger.record_instance(instance(number)), range(30)))
    assert len(ledger.instances(STUDY)) == 30


def test_the_database_tells_its_kind_and_version(ledger):
    assert ledger.check().startswith(("sqlite 3", "postgresql PostgreSQL"))
