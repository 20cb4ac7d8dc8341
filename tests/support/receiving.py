"""A process that receives for ever and says what it has acknowledged, to be killed at any moment.

    python -m tests.support.receiving store|record|receive|dawdle FOLDER URL [FIRST]
"""

import random
import sys
import threading
from pathlib import Path

from cmdiff_dicom.ledger import open_ledger
from cmdiff_dicom.spool import Spool
from tests.support.ledgers import instance

SIZE_BYTES = 60_000
SENDERS = 2


def content_of(number):
    """The bytes of the `number`th instance: others for each, the same in every process."""
    return random.Random(number).randbytes(SIZE_BYTES)


def acknowledge(number):
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def store(spool, ledger, first):
    number = first
    while True:
        spool.put(content_of(number))
        acknowledge(number)
        number += 1


def record(spool, ledger, first):
    """Several associations at once, each with every `SENDERS`th number."""

    def send(number):
        while True:
            ledger.record_instance(instance(number))
            acknowledge(number)
            number += SENDERS

    for sender in range(1, SENDERS):
        threading.Thread(target=send, args=(first + sender,), daemon=True).start()
    send(first)


def receive(spool, ledger, first):
    number = first
    while True:
        blob = spool.put(content_of(number))
        one = instance(number)
        ledger.record_instance(type(one)(**{**vars(one), "blob": blob}))
        acknowledge(number)
        number += 1


def dawdle(spool, ledger, first):
    """Stops in the middle of a transaction that has written."""

    def write_and_wait(connection):
        connection.exec_driver_sql("UPDATE studies SET arrivals = arrivals + 1000")
        acknowledge(first)
        threading.Event().wait()

    ledger._database.write(write_and_wait)


if __name__ == "__main__":
    verb, folder, url, *first = sys.argv[1:]
    {"store": store, "record": record, "receive": receive, "dawdle": dawdle}[verb](
        Spool(Path(folder), 0, 0), open_ledger(url), int(first[0]) if first else 1
    )
