"""Builds each long-running process: the only place where parts are joined. Rooms are imported inside the builders.

    listen     listener and dispatcher, one process, no torch
    dispatch   a dispatcher alone
    worker     a parent that keeps one Celery child for each queue: segment (one process, the model loaded once), deliver
    run        all of these on one machine, with a Redis of its own

Each runs until SIGTERM or SIGINT and then ends in order.
"""

from __future__ import annotations

import functools
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmdiff_dicom import __version__
from cmdiff_dicom.errors import Broken, BrokerUnavailable, CmdiffError, SettingsFault
from cmdiff_dicom.leases import FAMILY_VARIABLE, owners_of
from cmdiff_dicom.ledger import Ledger, open_ledger
from cmdiff_dicom.logs import log, place, silence_libraries
from cmdiff_dicom.machine import why_no_torch
from cmdiff_dicom.records import ReceivedInstance
from cmdiff_dicom.records import Sequence as MrSequence
from cmdiff_dicom.settings import Settings
from cmdiff_dicom.spool import Spool

if TYPE_CHECKING:
    from cmdiff_dicom.deliver import Destination
    from cmdiff_dicom.dispatch import Dispatcher, Recognised
    from cmdiff_dicom.receive import Listener

QUEUES = ("segment", "deliver")
GIGABYTE = 1_000_000_000
STOP_GRACE_S = 30.0
"""How long a child may take to end its running job; what it has not ended then is handed back."""
N_EVENT_REPORT_OK = 0x0000
N_EVENT_REPORT_FAILURE = 0x0110
"""Processing failure (PS3.7 10.1.1.1.8): an unknown transaction, a report that says nothing, or a ledger that is away."""


def open_spool(settings: Settings) -> Spool:
    """The spool of the settings, its folders made."""
    return Spool(
        settings.spool_folder, int(settings.spool.low_water_gb * GIGABYTE), int(settings.spool.floor_gb * GIGABYTE)
    )  # fmt: skip


def open_the_ledger(settings: Settings) -> Ledger:
    """The ledger of the settings; SQLite's folder is made."""
    if not settings.ledger.url:
        settings.state.mkdir(parents=True, exist_ok=True)
    return open_ledger(settings.ledger_url)


# --- listen and dispatch ------------------------------------------------------------------------


def recogniser(settings: Settings) -> Callable[[tuple[ReceivedInstance, ...]], Recognised]:
    """What tells the dispatcher what a study holds, by `assemble` and the weights that workers will use."""
    from cmdiff_dicom.assemble import choose_stacks, job_key, plan_of
    from cmdiff_dicom.dispatch import Recognised
    from cmdiff_dicom.segment import weights_identity

    needed = tuple(MrSequence(name) for name in settings.dispatch.needed_sequences)
    weights_sha256 = weights_identity(settings.segment.weights_path).weights_sha256

    def recognise(instances: tuple[ReceivedInstance, ...]) -> Recognised:
        choice = choose_stacks(instances, settings.dispatch.min_slices)
        return Recognised(
            key=job_key(choice, weights_sha256, __version__),
            plan=plan_of(choice),
            missing=tuple(sequence.value for sequence in choice.missing(needed)),
            refusal=choice.refusal,
            hopeless=choice.refusal.startswith("TwoPatients"),
        )

    return recognise


def build_dispatcher(settings: Settings, ledger: Ledger, spool: Spool) -> Dispatcher:
    from cmdiff_dicom.dispatch import Dispatcher, Doorbell, make_ringing_app

    bell = Doorbell(make_ringing_app(settings.queue.url))
    return Dispatcher(ledger, spool, bell, recogniser(settings), settings)


def build_listener(settings: Settings, ledger: Ledger, spool: Spool) -> Listener:
    """A listener that serves already; rejects as congested while the spool is low.

    `check` calls it under our own AE title, which therefore may always call, and is not told as the last caller. So may
    the destinations that we ask for storage commitment: most report it on an association of their own.
    """
    from cmdiff_dicom.receive import Intake, start_listener

    own, callers = settings.listen.ae_title, settings.listen.calling_ae_titles
    reporters = (destination.ae_title for destination in settings.destinations if destination.wants_commitment)
    listen = settings.listen.model_copy(update={"calling_ae_titles": (*callers, own, *reporters) if callers else ()})

    def note_association(calling_ae: str, peer: str) -> None:
        if calling_ae != own:
            ledger.note_association(calling_ae, peer)

    try:
        return start_listener(listen, Intake(spool, ledger), lambda: not spool.is_low(), report_taker(ledger), note_association)
    except OSError as error:
        raise SettingsFault(
            f"[listen] {listen.host}:{listen.port}: {error.strerror}; another program has this port, or it needs more rights; "
            "choose another port, or see which program has it"
        ) from None


def report_taker(ledger: Ledger) -> Callable[[int, Any], int]:
    """Puts a storage commitment report into the ledger and answers the status to send back; raises nothing."""
    from cmdiff_dicom.deliver import read_report

    def take(event_type: int, information: Any) -> int:
        try:
            known = ledger.record_commitment(read_report(event_type, information))
        except Exception as error:
            log("commitment.report", state="failed", where=place(error))
            return N_EVENT_REPORT_FAILURE
        log("commitment.report", state="taken" if known else "unknown")
        return N_EVENT_REPORT_OK if known else N_EVENT_REPORT_FAILURE

    return take


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
        with ticking(dispatcher, settings.dispatch.tick_s):
            yield listener
    finally:
        listener.stop()
        ledger.close()
        log("listen", state="stopped")


@contextmanager
def ticking(dispatcher: Dispatcher | None, every_s: float) -> Iterator[None]:
    """Inside, the dispatcher ticks in a thread of its own."""
    done = threading.Event()

    def tick_until_done() -> None:
        while dispatcher is not None and not done.wait(every_s):
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
    from cmdiff_dicom.dispatch import stop_signal

    with stop_signal() as stop, working(settings, queues, settings_path) as supervisor:
        while not stop.wait(1.0):
            if not supervisor.tick():
                log("worker", state="a child dies again and again")
                return 1
    return 0


@contextmanager
def working(
    settings: Settings, queues: Sequence[str], settings_path: Path | None, grace_s: float = STOP_GRACE_S
) -> Iterator[Any]:
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
    from cmdiff_dicom.dispatch import DELIVER_QUEUE, SEGMENT_QUEUE, make_celery_app, serve_queue

    if queue not in (SEGMENT_QUEUE, DELIVER_QUEUE):
        raise SettingsFault(f"queue '{queue}': wanted {SEGMENT_QUEUE} or {DELIVER_QUEUE}")
    ledger, spool = open_the_ledger(settings), open_spool(settings)
    at_start: Callable[[], Any]
    if queue == SEGMENT_QUEUE:
        fault = why_no_torch()
        if fault:  # else each child would end by it, again and again
            raise Broken(fault)
        segment, load = segment_worker(settings, ledger, spool)
        app, processes, at_start = make_celery_app(settings.queue.url, segment, _not_here, _not_here), 1, load
    else:
        deliver, ask = deliver_worker(settings, ledger, spool)
        app, processes = make_celery_app(settings.queue.url, _not_here, deliver, ask), settings.deliver.processes
        at_start = _nothing
    return serve_queue(app, queue, processes, at_start)


def segment_worker(settings: Settings, ledger: Ledger, spool: Spool) -> tuple[Callable[[str], None], Callable[[], Any]]:
    """What a segment worker does with a job key, and what loads its model before the first.

    Where loading killed a process of this host, a job loads instead: the ledger counts whom it kills, and ends the job.
    """
    from cmdiff_dicom.segment_job import SegmentWork, segment_job

    loading = settings.spool_folder / f"loading.{socket.gethostname()}"

    @functools.cache
    def segmenter() -> Any:
        from cmdiff_dicom.segment import load_segmenter

        with suppress(OSError):  # a full disk is no reason not to segment
            loading.touch()
        try:
            loaded = load_segmenter(settings.segment.weights_path, settings.segment.device, settings.segment.threads)
        finally:
            loading.unlink(missing_ok=True)
        log("segment.model", device=loaded.device_name, version=loaded.model.version)
        return loaded

    def load_at_start() -> None:
        if loading.exists():
            log("segment.model", state="a process died while it loaded; the next job loads")
        else:
            segmenter()

    work = SegmentWork(ledger, spool, settings, segmenter)
    return lambda key: segment_job(key, work), load_at_start


def deliver_worker(settings: Settings, ledger: Ledger, spool: Spool) -> tuple[Callable[[int], None], Callable[[int], None]]:
    """What a deliver worker does with a delivery's number: send it, and ask about it again."""
    from cmdiff_dicom.deliver_job import DeliverWork, commitment_job, deliver_job

    work = DeliverWork(ledger, spool, settings, destinations(settings, ledger))
    return lambda number: deliver_job(number, work), lambda number: commitment_job(number, work)


def destinations(settings: Settings, ledger: Ledger) -> Callable[[str], Destination | None]:
    """Opens a destination by its name in the settings; reports that come on our own associations go to the ledger."""
    from cmdiff_dicom.deliver import make_destination

    by_name = {destination.name: destination for destination in settings.destinations}

    @functools.cache
    def open_destination(name: str) -> Destination | None:
        found = by_name.get(name)
        if found is None:
            return None
        return make_destination(found, settings.deliver, settings.listen.ae_title, report_taker(ledger))

    return open_destination


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


def _not_here(_: object) -> None:
    raise CmdiffError("this worker does not serve that queue")


def _nothing() -> None:
    return None
