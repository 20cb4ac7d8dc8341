"""PostgreSQL is killed in the middle of a study: nothing acknowledged is lost, and who writes meanwhile waits for its return."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from cmdiff_dicom.ledger import Arrival, open_ledger
from tests.support.ledgers import KEY, STUDY, instance, settled
from tests.support.postgres import postgres_server
from tests.support.waiting import until


def crash(server):
    """The server ends at once, as at a power cut: without a checkpoint, without a word to its clients."""
    pid = server.get_pid()
    os.kill(pid, signal.SIGQUIT)
    until(lambda: not psutil.pid_exists(pid), 20, "the server's end")


@pytest.mark.slow
def test_a_server_that_dies_and_comes_back_in_mid_study_loses_nothing_and_fails_nobody():
    with postgres_server() as server:
        ledger = open_ledger(server.get_uri())
        job = settled(ledger)
        ledger.claim(KEY, "worker")
        crash(server)
        with ThreadPoolExecutor(2) as pool:
            recorded = pool.submit(ledger.record_instance, instance(2))
            renewed = pool.submit(ledger.renew, KEY, "worker")
            server.ensure_postgres_running()
            assert recorded.result() is Arrival.NEW
            assert renewed.result()
        assert ledger.study(STUDY).arrivals == 2
        assert ledger.job(KEY).plan == job.plan
        ledger.close()
