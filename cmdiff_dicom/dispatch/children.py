"""Child processes that die with their parent, and the parent that starts a dead one again.

Each child leads a session of its own, so that Ctrl-C at a terminal reaches the parent alone, which then stops its
children in order. On Linux the kernel ends a child whose parent was killed; elsewhere only an orderly stop does.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

from cmdiff_dicom.logs import log

PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

HEALTHY_AFTER_S = 30.0
"""A child that lived this long had started well: its next death counts as the first again."""
QUICK_DEATHS = 5
"""So many deaths in a row, each before HEALTHY_AFTER_S, mean that starting again does not help."""
TRY_AGAIN = 75
"""Exit status of a child that ended for something outside (EX_TEMPFAIL of sysexits.h): it starts again, and is not counted."""


def die_with_parent(parent_pid: int, death_signal: int = signal.SIGTERM) -> None:
    """From now on the kernel sends this process `death_signal` when the thread that started it ends (Linux)."""
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, death_signal)
        if os.getppid() != parent_pid:
            os.kill(os.getpid(), death_signal)  # the parent was gone before we asked


def start_child(command: Sequence[str], death_signal: int = signal.SIGTERM, **options: Any) -> subprocess.Popen[bytes]:
    """The running child, in a session of its own; to be called from a thread that lives as long as the parent.

    `death_signal` is what it gets where the parent was killed.
    """
    ends_with_us = partial(die_with_parent, os.getpid(), death_signal)  # two system calls and no lock, so threads do not matter
    return subprocess.Popen(command, start_new_session=True, preexec_fn=ends_with_us, **options)  # noqa: PLW1509  see above


def stop_child(child: subprocess.Popen[bytes], grace_s: float) -> None:
    """The child and everything in its session are gone: asked by SIGTERM, after `grace_s` not asked any more."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(grace_s)
        except subprocess.TimeoutExpired:
            log("child.killed", process=str(child.pid))
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


class Stop:
    """Told by a signal's handler, waited for by the thread that the handler interrupts.

    No threading.Event: its lock is not reentrant, so a signal that comes while `wait` holds it would end nothing, ever.
    """

    def __init__(self) -> None:
        self._news: SimpleQueue[None] = SimpleQueue()  # its `put` may interrupt its `get`
        self._is_told = False

    def tell(self) -> None:
        self._news.put(None)

    def wait(self, timeout_s: float) -> bool:
        """True as soon as it has been told, False after so long without."""
        if not self._is_told:
            with suppress(Empty):
                self._news.get(timeout=timeout_s)
                self._is_told = True
        return self._is_told


@contextmanager
def stop_signal() -> Iterator[Stop]:
    """What SIGTERM and SIGINT tell to stop; the former handlers return at the end."""
    stop = Stop()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.tell()

    former = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@dataclass
class Supervisor:
    """Keeps one child per name alive; a dead one starts again after 1 s, doubling to a minute while deaths are quick.

    `tick()` is to be called about once a second. It answers False while a child has died QUICK_DEATHS times in a row, so
    that a caller may leave it to the service manager, which knows how to tell a person; it tries on all the same.
    """

    commands: dict[str, list[str]]
    clock: Callable[[], float] = time.monotonic
    options: dict[str, Any] = field(default_factory=dict)
    _children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _started: dict[str, float] = field(default_factory=dict)
    _deaths: dict[str, int] = field(default_factory=dict)
    _wait_until: dict[str, float] = field(default_factory=dict)

    def tick(self) -> bool:
        """Every dead child whose time has come is started again. False where that seems not to help."""
        for name, command in self.commands.items():
            child = self._children.get(name)
            if child is not None and child.poll() is None:
                continue
            if child is not None:
                self._bury(name, child)
            if self.clock() >= self._wait_until.get(name, 0.0):
                # Whatever was running is found by its lease; a child that took its time would outlive us by minutes.
                self._children[name] = start_child(command, signal.SIGKILL, **self.options)
                self._started[name] = self.clock()
        return all(deaths < QUICK_DEATHS for deaths in self._deaths.values())

    def pids(self) -> dict[str, int]:
        return {name: child.pid for name, child in self._children.items() if child.poll() is None}

    def stop(self, grace_s: float) -> None:
        """Every child is gone, all asked at once."""
        for child in self._children.values():
            if child.poll() is None:
                child.terminate()
        deadline = self.clock() + grace_s
        for child in self._children.values():
            stop_child(child, max(0.0, deadline - self.clock()))
        self._children.clear()

    def _bury(self, name: str, child: subprocess.Popen[bytes]) -> None:
        """Notes a death: its leftovers are ended, and the next start is put off."""
        stop_child(child, grace_s=0.0)
        del self._children[name]
        lived_s = self.clock() - self._started[name]
        quick = 0 if lived_s >= HEALTHY_AFTER_S else self._deaths.get(name, 0)
        self._deaths[name] = quick + (child.returncode != TRY_AGAIN)
        wait_s = min(60.0, 2.0 ** max(self._deaths[name] - 1, 0))
        self._wait_until[name] = self.clock() + wait_s
        log("child.died", process=name, status=child.returncode, attempt=self._deaths[name], seconds=lived_s)
