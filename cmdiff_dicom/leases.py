"""A worker shows that it lives: a thread renews its lease while the work goes on."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cmdiff_dicom.errors import CmdiffError

_TOKEN = secrets.token_hex(4)


def owner_name() -> str:
    """This process among all that ever had a lease: host, process number, and a token, since numbers come again."""
    return f"{socket.gethostname()}:{os.getpid()}:{_TOKEN}"


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
            except CmdiffError:
                continue  # the ledger does not answer; the next turn may be in time

    thread = threading.Thread(target=keep, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
