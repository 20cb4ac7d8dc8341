"""What a sender waits for at the ledger, and at the spool, beside what one bare fsync costs on the same disk in the same run.

    python tests/bench/bench_record_instance.py [FOLDER] [INSTANCES]

FOLDER lies on the disk in question. A call of `record_instance` is one commit, one wait for the disk; several associations
share it. A call of `put` is two: the bytes, then their name.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from cmdiff_dicom.ledger import open_ledger
from cmdiff_dicom.spool import Spool
from tests.support.ledgers import instance

BLOB_BYTES = 512 * 1024
WANTED_MS = 1.5


def milliseconds(work: Callable[[int], object], numbers: range) -> list[float]:
    """What each call of `work` took."""
    took = []
    for number in numbers:
        start = time.perf_counter()
        work(number)
        took.append((time.perf_counter() - start) * 1000)
    return took


def milliseconds_of(threads: int, work: Callable[[int], object], count: int) -> float:
    """Milliseconds of the clock for each instance, where `threads` send `count` instances together."""
    share = count // threads
    senders = [
        threading.Thread(target=milliseconds, args=(work, range(10_000 * (one + 1), 10_000 * (one + 1) + share)))
        for one in range(threads)
    ]
    start = time.perf_counter()
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    return (time.perf_counter() - start) * 1000 / (share * threads)


def main(parent: str = "", count: int = 400) -> int:
    with tempfile.TemporaryDirectory(dir=parent or None) as name:
        folder = Path(name)
        ledger, spool = open_ledger(f"sqlite:///{folder / 'ledger.sqlite'}"), Spool(folder / "spool", 0, 0)
        bare = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT)

        def sync(number: int) -> None:
            os.write(bare, b"x" * 4096)
            os.fsync(bare)

        def record(number: int) -> None:
            ledger.record_instance(instance(number, seconds=number))

        in_memory = open_ledger("sqlite://")
        milliseconds(lambda number: in_memory.record_instance(instance(number)), range(100))
        computing = statistics.median(milliseconds(lambda number: in_memory.record_instance(instance(number)), range(100, 500)))
        fsync, recording = (statistics.median(milliseconds(work, range(1, count))) for work in (sync, record))
        putting = statistics.median(milliseconds(lambda number: spool.put(os.urandom(BLOB_BYTES)), range(count // 4)))
        print(f"one bare fsync                      {fsync:6.2f} ms")
        print(f"record_instance, 1 association      {recording:6.2f} ms (without a disk {computing:.2f} ms; wanted {WANTED_MS})")
        for threads in (4, 8):
            print(f"record_instance, {threads} associations     {milliseconds_of(threads, record, count):6.2f} ms for each instance")
        print(f"spool.put of {BLOB_BYTES // 1024} KiB               {putting:6.2f} ms")
        os.close(bare)
        ledger.close()
    return 0 if recording <= max(WANTED_MS, computing + 2 * fsync) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "", int(sys.argv[2]) if len(sys.argv) > 2 else 400))
