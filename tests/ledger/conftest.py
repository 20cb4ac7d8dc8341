"""Every test of the ledger runs on SQLite and on PostgreSQL."""

from itertools import count
from urllib.parse import quote

import pytest

from cmdiff_dicom.ledger import open_ledger
from tests.support.postgres import postgres_server

_schemas = count()


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server that ends with the tests."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres):
    """An empty schema of its own."""
    schema = f"test_{next(_schemas)}"
    postgres.psql(f"CREATE SCHEMA {schema}")
    url = postgres.get_uri()
    return f"{url}{'&' if '?' in url else '?'}options={quote(f'-csearch_path={schema}')}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """The address of an empty ledger."""
    return f"sqlite:///{tmp_path / 'ledger.sqlite'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def ledger(url):
    """An empty ledger."""
    opened = open_ledger(url)
    yield opened
    opened.close()
