"""A worker's lease on its work: renewed by a thread while it goes on, and how it ended told to the ledger."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cmdiff_dicom.errors import CmdiffError, NotNow, Refused
from cmdiff_dicom.logs import log, place

FAMILY_VARIABLE = "CMDIFF_WORKER_FAMILY"
"""Names the children of one parent, which hands back what they held when it has stopped them."""
_TOKEN = secrets.token_hex(4)


def owner_name() -> str:
    """This process among all that ever had a lease: its family, host, number, and a token, since numbers come again."""
    return f"{owners_of(os.environ.get(FAMILY_VARIABLE, ''))}{socket.gethostname()}:{os.getpid()}:{_TOKEN}"


def owners_of(family: str) -> str:
    """How the names of all owners of a family begin."""
    return f"{family}@"


@dataclass(frozen=True)
class Endings:
    """How the ledger is told, by one line, of work that did not end well; `fail` also takes the peer's DIMSE status."""

    refuse: Callable[[str], object]
    put_off: Callable[[str], object]
    fail: Callable[[str, int | None], object]


def carried_out(work: Callable[[], str], renew: Callable[[], bool], every_s: float, endings: Endings) -> str:
    """The state in which `work` ended, in a word. Its lease is renewed meanwhile; a fault ends here, told to the ledger."""
    with renewed(renew, every_s):
        try:
            return work()
        except Refused as error:
            endings.refuse(error.reason)
            return type(error).__name__
        except NotNow as error:
            endings.put_off(error.reason)
            return type(error).__name__
        except CmdiffError as error:
            endings.fail(error.reason, error.peer_status)
            return type(error).__name__
        except Exception as error:  # its text may quote a header, so only its place is told
            endings.fail(f"unexpected {place(error)}", None)
            return place(error)


@contextmanager
def renewed(renew: Callable[[], bool], every_s: float) -> Iterator[None]:
    """Inside, `renew` is called every `every_s` from a thread of its own, until it answers False: the lease is another's.

    The work goes on all the same; its end is then refused by the ledger, which compares owners.
    """
    done = threading.Event()

    def keep() -> None:
        while not done.wait(every_s):
            try:
                if not renew():
                    return
            except Exception as error:  # the ledger does not answer, or not as it should; the next turn may be in time
                log("lease", state="not renewed", where=place(error))

    thread = threading.Thread(target=keep, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
