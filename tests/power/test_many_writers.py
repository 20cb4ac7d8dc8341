"""Eight processes and a slow transaction on one SQLite file: everybody waits, nobody meets a lock."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cmdiff_dicom.ledger import JobState, open_ledger

ROOT = Path(__file__).parents[2]
WRITERS = 8
STUDIES_EACH = 12
SLOW_S = 3.0
WRITER = """
import sys
from cmdiff_dicom.ledger import open_ledger
from tests.support.ledgers import segmented

ledger = open_ledger(sys.argv[1])
for turn in range(int(sys.argv[3])):
    number = int(sys.argv[2]) * 1000 + turn
    segmented(ledger, f"{number:064x}", f"1.2.{number}")
"""


@pytest.mark.slow
def test_eight_processes_and_a_slow_transaction_meet_no_lock(tmp_path):
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    ledger = open_ledger(url)
    command = [sys.executable, "-c", WRITER, url]
    writers = [
        subprocess.Popen([*command, str(writer), str(STUDIES_EACH)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for writer in range(WRITERS)
    ]

    def dawdle(connection):
        connection.exec_driver_sql("UPDATE studies SET arrivals = arrivals")
        threading.Event().wait(SLOW_S)

    ledger._database.write(dawdle)
    faults = [writer.communicate()[1] for writer in writers]
    assert faults == [""] * WRITERS
    jobs = ledger.jobs(limit=1000)
    assert len(jobs) == WRITERS * STUDIES_EACH
    assert {job.state for job in jobs} == {JobState.SEGMENTED}
    ledger.close()
