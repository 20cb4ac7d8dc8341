"""Each long-running process, from its start to its end.

    listen     listener and dispatcher, one process, no torch
    dispatch   a dispatcher alone
    worker     a parent that keeps one Celery child for each queue: segment (one process, the model loaded once), deliver
    run        all of these on one machine, with a Redis of its own

Each runs until SIGTERM or SIGINT and then ends in order. What it is made of stands in `parts.py`.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cmdiff_dicom.errors import Broken, BrokerUnavailable, CmdiffError
from cmdiff_dicom.leases import FAMILY_VARIABLE, owners_of
from cmdiff_dicom.logs import log, silence_libraries
from cmdiff_dicom.machine import why_no_torch
from cmdiff_dicom.parts import build_dispatcher, build_listener, deliver_worker, open_spool, open_the_ledger, segment_worker
from cmdiff_dicom.settings import Settings

if TYPE_CHECKING:
    from cmdiff_dicom.dispatch import Dispatcher, Supervisor
    from cmdiff_dicom.receive import Listener

STOP_GRACE_S = 30.0
"""How long a child may take to end its running job; what it has not ended then is handed back."""


# --- listen and dispatch ------------------------------------------------------------------------


def listen(settings: Settings, with_dispatcher: bool = True) -> int:
    """Receives until told to stop."""
    from cmdiff_dicom.dispatch import stop_signal

    with stop_signal() as stop, listening(settings, with_dispatcher) as listener:
        while not stop.wait(1.0):
            if not listener.is_alive:
                log("listen", state="died")
                return 1
    return 0


@contextmanager
def listening(settings: Settings, with_dispatcher: bool = True) -> Iterator[Listener]:
    """Inside, a listener serves and, beside it, a dispatcher looks after what it received."""
    silence_libraries()
    spool, ledger = open_spool(settings), open_the_ledger(settings)
    set_aside = spool.set_aside_damaged(ledger.blobs())
    if set_aside:
        log("spool.damaged", count=set_aside)
    dispatcher = build_dispatcher(settings, ledger, spool) if with_dispatcher else None
    listener = build_listener(settings, ledger, spool)
    log("listen", state="ready", port=listener.port)
    try:
        with nullcontext() if dispatcher is None else ticking(dispatcher, settings.dispatch.tick_s):
            yield listener
    finally:
        listener.stop()
        ledger.close()
        log("listen", state="stopped")


@contextmanager
def ticking(dispatcher: Dispatcher, every_s: float) -> Iterator[None]:
    """Inside, the dispatcher ticks in a thread of its own."""
    done = threading.Event()

    def tick_until_done() -> None:
        while not done.wait(every_s):
            dispatcher.tick()

    thread = threading.Thread(target=tick_until_done, name="dispatcher", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=10.0)


def dispatch(settings: Settings) -> int:
    """Dispatches until told to stop."""
    from cmdiff_dicom.dispatch import stop_signal

    silence_libraries()
    with stop_signal() as stop:
        ledger = open_the_ledger(settings)
        dispatcher = build_dispatcher(settings, ledger, open_spool(settings))
        log("dispatch", state="ready")
        while not stop.wait(settings.dispatch.tick_s):
            dispatcher.tick()
        ledger.close()
        log("dispatch", state="stopped")
    return 0


# --- worker -------------------------------------------------------------------------------------


def worker(settings: Settings, queues: Sequence[str], settings_path: Path | None) -> int:
    """Keeps one child for each queue until told to stop; 1 where one cannot be kept alive."""
    from cmdiff_dicom.dispatch import SEGMENT_QUEUE, stop_signal

    if SEGMENT_QUEUE in queues:
        _want_torch()  # told once and here, not by each child
    with stop_signal() as stop, working(settings, queues, settings_path) as supervisor:
        while not stop.wait(1.0):
            if not supervisor.tick():
                log("worker", state="a child dies again and again")
                return 1
    return 0


@contextmanager
def working(
    settings: Settings, queues: Sequence[str], settings_path: Path | None, grace_s: float = STOP_GRACE_S
) -> Iterator[Supervisor]:
    """Inside, a Supervisor's children serve the queues; its `tick` is the caller's to call.

    What they had in hand when they were stopped waits again at once, and not until its lease has run out.
    """
    from cmdiff_dicom.dispatch import Supervisor

    open_the_ledger(settings).close()  # a fault of the settings is told once and here, not by each child
    family = secrets.token_hex(4)
    environment = os.environ | {"CMDIFF_QUEUE__URL": settings.queue.url, FAMILY_VARIABLE: family}  # what only we know
    options = {"env": environment, "stdout": subprocess.DEVNULL}  # what Celery says when it stops; our log goes to stderr
    supervisor = Supervisor({queue: child_command(queue, settings_path) for queue in queues}, options=options)
    supervisor.tick()
    try:
        yield supervisor
    finally:
        supervisor.stop(grace_s)
        hand_back(settings, family)


def hand_back(settings: Settings, family: str) -> None:
    """Nobody of the family holds a job or a delivery; where the ledger is away, the dispatcher finds their leases still."""
    with suppress(CmdiffError):
        ledger = open_the_ledger(settings)
        count = ledger.hand_back_jobs(owners_of(family)) + ledger.hand_back_deliveries(owners_of(family))
        ledger.close()
        if count:
            log("worker.handed_back", count=count)


def child_command(queue: str, settings_path: Path | None) -> list[str]:
    """The command of one queue's child: this program again."""
    command = [sys.executable, "-m", "cmdiff_dicom.cli", "worker", "--queues", queue, "--child"]
    return command if settings_path is None else [*command, "--settings", str(settings_path)]


def serve(settings: Settings, queue: str) -> int:
    """One child: a Celery worker on one queue, until SIGTERM or SIGINT."""
    from cmdiff_dicom.dispatch import SEGMENT_QUEUE, make_celery_app, serve_queue

    ledger, spool = open_the_ledger(settings), open_spool(settings)
    if queue == SEGMENT_QUEUE:
        _want_torch()  # else the process that loads it dies without a word, again and again
        segment, load_model = segment_worker(settings, ledger, spool)
        app = make_celery_app(settings.queue.url, segment, _not_here, _not_here)
        return serve_queue(app, queue, 1, load_model)
    deliver, ask = deliver_worker(settings, ledger, spool)
    app = make_celery_app(settings.queue.url, _not_here, deliver, ask)
    return serve_queue(app, queue, settings.deliver.processes, lambda: None)


def _want_torch() -> None:
    if fault := why_no_torch():
        raise Broken(fault)


def _not_here(_: object) -> None:
    raise CmdiffError("this worker does not serve that queue")


# --- run ----------------------------------------------------------------------------------------


def run(settings: Settings, settings_path: Path | None) -> int:
    """Everything on this machine, with a Redis in the state folder, until told to stop; no process stays behind."""
    from cmdiff_dicom.dispatch import DELIVER_QUEUE, SEGMENT_QUEUE, EmbeddedRedis, stop_signal

    with stop_signal() as stop, EmbeddedRedis(settings.state / "redis") as redis:
        queue = settings.queue.model_copy(update={"url": redis.url})
        own = settings.model_copy(update={"queue": queue})
        with listening(own) as listener, working(own, (SEGMENT_QUEUE, DELIVER_QUEUE), settings_path) as supervisor:
            while not stop.wait(1.0):
                supervisor.tick()  # reception goes on, also where workers die again and again
                if not redis.is_alive:
                    log("run", state="Redis died; started again")
                    with suppress(BrokerUnavailable):  # the next turn tries again
                        redis.start_again()
                if not listener.is_alive:
                    log("run", state="the listener died; all stop")
                    return 1
    return 0
