"""A Celery worker on one queue that ends itself rather than stay mute, and begins once Redis takes messages.

After a lost connection Celery consumes again by itself; should it ever not, a worker that lives and takes nothing looks
well from outside. So each one watches its queue: messages there, nothing in hand, look after look, and it exits, to be
started again by its parent. A Redis that refuses writes, being full or unable to save, ends Celery's worker: that is no
fault of the worker's either, and the next one waits until Redis takes them.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

from cmdiff_dicom.dispatch.children import TRY_AGAIN, die_with_parent
from cmdiff_dicom.dispatch.tasks import Doorbell
from cmdiff_dicom.errors import BrokerUnavailable
from cmdiff_dicom.logs import log, place, silence_libraries

LOOK_EVERY_S = 10.0
MUTE_LOOKS = 4
"""So many looks in a row at a filled queue with empty hands: about 40 s."""
WAIT_FOR_REDIS_S = 2.0


def serve_queue(app: Any, queue: str, processes: int, at_start: Callable[[], None]) -> int:
    """Works on `queue` until SIGTERM or SIGINT; `at_start` runs once in each of the `processes` children. The exit status."""
    from celery.signals import worker_process_init, worker_ready, worker_shutting_down
    from celery.worker import state

    silence_libraries()
    warnings.filterwarnings("ignore", message="You're running the worker with superuser")  # no pickle, so root is no danger
    worker_pid = os.getpid()

    def start(**_: Any) -> None:
        die_with_parent(worker_pid, signal.SIGKILL)
        try:
            at_start()
        except Exception as error:  # each job meets it again and is told its reason
            log("worker.start", queue=queue, state="failed", where=place(error))

    def ready(**_: Any) -> None:
        log("worker.ready", queue=queue, count=processes)
        threading.Thread(target=_watch, args=(bell, queue, processes), name="mute-watch", daemon=True).start()

    def stopping(**_: Any) -> None:
        if not state.reserved_requests:  # nothing in hand: children that still load their model are not waited for
            state.should_terminate = 0

    bell = Doorbell(app)
    if not bell.takes_messages():
        log("worker.waits", queue=queue, state="Redis takes no messages")
        while not bell.takes_messages():
            time.sleep(WAIT_FOR_REDIS_S)
    worker_process_init.connect(start, weak=False)
    worker_ready.connect(ready, weak=False)
    worker_shutting_down.connect(stopping, weak=False)
    worker = app.Worker(
        pool_cls="prefork", concurrency=processes, queues=[queue], quiet=True, hostname=f"{queue}@%h",
        without_gossip=True, without_mingle=True, without_heartbeat=True,
    )  # fmt: skip
    worker.start()
    return TRY_AGAIN if worker.exitcode else 0


def _watch(bell: Doorbell, queue: str, processes: int) -> None:
    """Ends this process once its queue has stood filled beside empty hands for MUTE_LOOKS looks."""
    from celery.worker import state

    mute = 0
    while True:
        time.sleep(LOOK_EVERY_S)
        try:
            has_room = len(state.reserved_requests) < processes
            mute = mute + 1 if has_room and bell.waiting(queue) else 0
        except BrokerUnavailable:
            mute = 0  # Celery tries to connect, for ever
        if mute >= MUTE_LOOKS:
            log("worker.mute", queue=queue, state="exits to be started again")
            os._exit(TRY_AGAIN)
