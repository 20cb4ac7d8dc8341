"""kill -9 at any moment: all that was acknowledged is there and whole, and the next process goes on at once."""

import random
import subprocess
import sys
import time
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from cmdiff_dicom.ledger import Arrival, open_ledger
from cmdiff_dicom.records import Blob
from cmdiff_dicom.spool import Spool
from tests.support.ledgers import STUDY, instance, number_of
from tests.support.receiving import SIZE_BYTES, content_of

ROOT = Path(__file__).parents[2]
ROUNDS = 4


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'ledger.sqlite'}"


@contextmanager
def receiving(verb, folder, url, first=1):
    """A process at work; killed at the end."""
    command = [sys.executable, "-m", "tests.support.receiving", verb, str(folder), url, str(first)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def acknowledged_before_a_kill(verb, folder, url, first=1, at_least=5, seed=0):
    """The numbers that a process acknowledged until it was killed at a moment that nobody chose."""
    with receiving(verb, folder, url, first) as process:
        numbers = [int(process.stdout.readline()) for _ in range(at_least)]
        time.sleep(random.Random(seed).uniform(0, 0.05))
        process.kill()
        rest = process.stdout.read()
        return numbers + [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.slow
def test_every_blob_that_was_acknowledged_is_whole_after_a_kill(folder, url):
    first = 1
    for seed in range(ROUNDS):
        acknowledged = acknowledged_before_a_kill("store", folder, url, first, seed=seed)
        spool = Spool(folder, 0, 0)
        spool.set_aside_damaged()
        contents = [content_of(number) for number in acknowledged]
        assert all(spool.read(sha256(content).hexdigest()) == content for content in contents)
        first = max(acknowledged) + 1
    homes = list(folder.glob("[0-9a-f][0-9a-f]/*"))
    assert {file.stat().st_size for file in homes} == {SIZE_BYTES}
    assert list((folder / "aside").iterdir()) == []


@pytest.mark.slow
def test_every_row_that_was_acknowledged_is_in_the_ledger_after_a_kill(folder, url):
    first, acknowledged = 1, set()
    for seed in range(ROUNDS):
        acknowledged |= {*acknowledged_before_a_kill("record", folder, url, first, seed=seed)}
        ledger = open_ledger(url)
        kept = [number_of(one) for one in ledger.instances(STUDY)]
        assert acknowledged <= {*kept}
        assert ledger.study(STUDY).arrivals >= len(kept) == len({*kept})
        assert ledger._database.read(lambda connection: connection.exec_driver_sql("PRAGMA integrity_check").scalar()) == "ok"
        first = max(kept) + 1
        ledger.close()


@pytest.mark.slow
def test_every_instance_that_was_acknowledged_has_its_row_and_its_bytes_after_a_kill(folder, url):
    acknowledged = acknowledged_before_a_kill("receive", folder, url)
    spool, ledger = Spool(folder, 0, 0), open_ledger(url)
    spool.set_aside_damaged(ledger.blobs())
    kept = {number_of(one): one.blob.sha256 for one in ledger.instances(STUDY)}
    assert {*acknowledged} <= {*kept}
    assert all(spool.read(digest) == content_of(number) for number, digest in kept.items())
    ledger.close()


def test_a_transaction_that_was_killed_in_its_middle_never_was_and_holds_nobody_up(folder, url):
    ledger = open_ledger(url)
    ledger.record_instance(instance(1))
    with receiving("dawdle", folder, url) as process:
        process.stdout.readline()
        process.kill()
        process.wait()
        assert ledger.record_instance(instance(2)) is Arrival.NEW
    assert ledger.study(STUDY).arrivals == 2
    ledger.close()


def test_a_kill_between_spool_and_ledger_leaves_a_harmless_blob_and_a_resend_is_new(folder, url):
    spool, ledger = Spool(folder, 0, 0), open_ledger(url)
    blob = spool.put(b"before the kill")
    assert ledger.instances(STUDY) == ()
    assert spool.put(b"before the kill") == blob == Blob(blob.sha256, 15)
    assert ledger.record_instance(instance(1)) is Arrival.NEW
    ledger.close()
