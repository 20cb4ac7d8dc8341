"""Waiting for what another thread or process will do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psutil


def eventually(holds: Callable[[], Any], within_s: float = 20.0) -> Any:
    """What `holds()` answers as soon as that counts as true, else False after a time that only a hanging test takes."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.02)
    return False


def until(holds: Callable[[], Any], limit_s: float = 120.0, what: str = "it") -> Any:
    """The same, where the test has failed if it does not happen."""
    found = eventually(holds, limit_s)
    assert found, f"{what} did not happen within {limit_s:g} s"
    return found


def is_gone(pid: int) -> bool:
    """True once the process has ended, whether or not its parent has taken notice."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
