"""The tables: made once, brought up to date in order, without a column for a patient, with a history that stays."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import delete, insert, inspect, select, text, update
from sqlalchemy.exc import DBAPIError

from cmdiff_dicom.errors import Broken, SettingsFault, StoreUnavailable
from cmdiff_dicom.ledger import open_ledger, schema
from tests.support.ledgers import KEY, NOON, STUDY, settled

PATIENT_WORDS = ("patient", "name", "birth", "sex", "age", "physician", "description")


def test_a_ledger_is_made_once_and_found_again(ledger, url):
    settled(ledger)
    again = open_ledger(url)
    assert again.job(KEY) == ledger.job(KEY)
    again.close()


def test_processes_that_start_at_once_make_one_ledger(url):
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: open_ledger(url), range(4)))
    numbers = opened[0]._database.read(lambda connection: list(connection.scalars(select(schema.versions.c.number))))
    assert numbers == [schema.NEWEST]
    for one in opened:
        one.close()


def test_an_older_ledger_takes_each_upgrade_in_order_and_once(ledger, url, monkeypatch):
    settled(ledger)
    first, second = schema.NEWEST + 1, schema.NEWEST + 2
    upgrades = {
        first: ("ALTER TABLE jobs ADD COLUMN colour TEXT NOT NULL DEFAULT ''",),
        second: ("UPDATE jobs SET colour = 'blue'", "ALTER TABLE studies ADD COLUMN mood TEXT"),
    }
    monkeypatch.setattr(schema, "UPGRADES", upgrades)
    monkeypatch.setattr(schema, "NEWEST", second)
    for _ in range(2):
        newer = open_ledger(url)
        assert newer._database.read(lambda connection: connection.scalar(text("SELECT colour FROM jobs"))) == "blue"
        newer.close()


def test_an_upgrade_that_fails_leaves_the_ledger_as_it_was(ledger, url, monkeypatch):
    settled(ledger)
    number = schema.NEWEST + 1
    monkeypatch.setattr(schema, "UPGRADES", {number: ("ALTER TABLE jobs ADD COLUMN colour TEXT", "SELECT nothing FROM nowhere")})
    monkeypatch.setattr(schema, "NEWEST", number)
    with pytest.raises((DBAPIError, StoreUnavailable)):
        open_ledger(url)
    columns = ledger._database.read(lambda connection: [column["name"] for column in inspect(connection).get_columns("jobs")])
    assert "colour" not in columns


def test_a_ledger_of_a_newer_version_is_not_touched(ledger, url):
    newer = insert(schema.versions).values(number=schema.NEWEST + 1, applied_at=NOON)
    ledger._database.write(lambda connection: connection.execute(newer))
    with pytest.raises(Broken, match=f"found version {schema.NEWEST + 1}, this program knows {schema.NEWEST}"):
        open_ledger(url)


@pytest.mark.parametrize("change", [update(schema.events).values(what="nothing"), delete(schema.events)])
def test_history_is_never_changed_or_deleted(ledger, change):
    settled(ledger)
    with pytest.raises((DBAPIError, StoreUnavailable)):
        ledger._database.write(lambda connection: connection.execute(change))
    assert [event.what for event in ledger.events(STUDY)] == ["settled"]


def test_no_column_is_for_a_patient():
    columns = [f"{table.name}.{column.name}" for table in schema.metadata.tables.values() for column in table.columns]
    assert not [column for column in columns if any(word in column for word in PATIENT_WORDS)]


@pytest.mark.parametrize("address", ["mysql://localhost/ledger", "oracle+nothing://x", "ledger.sqlite", ""])
def test_an_address_of_no_known_database_is_a_fault_of_the_settings(address):
    with pytest.raises(SettingsFault, match=r"\[ledger\] url"):
        open_ledger(address)


def test_a_password_in_the_address_is_not_told():
    with pytest.raises(SettingsFault) as fault:
        open_ledger("mysql://someone:secret@localhost/ledger")
    assert "secret" not in str(fault.value)
