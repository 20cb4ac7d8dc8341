"""The Celery application around functions that it is handed, and the doorbell that rings them.

A message carries a job key or a delivery's number and nothing else. The ledger is the truth and has the only retry
clock: a message that is lost is rung again, one that comes twice finds nothing to claim. So every setting below asks
Celery to do less. Names of tasks and queues stay as they are from version to version: messages outlive an upgrade.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cmdiff_dicom.errors import BrokerUnavailable
from cmdiff_dicom.logs import log, place, silence_libraries

SEGMENT_QUEUE = "segment"
DELIVER_QUEUE = "deliver"
SEGMENT_TASK = "cmdiff_dicom.segment"
DELIVER_TASK = "cmdiff_dicom.deliver"
COMMITMENT_TASK = "cmdiff_dicom.request_commitment"
MARKER_KEY = "cmdiff_dicom.marker"
PROBE_KEY = "cmdiff_dicom.probe"

SETTINGS: dict[str, Any] = {
    # -- what a message is
    "task_serializer": "json",
    "accept_content": ["json"],                  # never pickle: whoever reaches Redis would run code here
    "task_ignore_result": True,                  # results stand in the ledger; none with patients' data in Redis
    "result_backend": None,
    "task_default_queue": SEGMENT_QUEUE,
    "task_routes": {SEGMENT_TASK: {"queue": SEGMENT_QUEUE}, DELIVER_TASK: {"queue": DELIVER_QUEUE},
                    COMMITMENT_TASK: {"queue": DELIVER_QUEUE}},
    # -- who holds it
    "task_acks_late": False,                     # early: what a dead worker held is found by its lease in the ledger;
    "task_reject_on_worker_lost": False,         # late acknowledgement runs a long task twice and an impossible one for ever
    "worker_disable_prefetch": True,             # a busy worker holds no second message: another one may take it at once
    "worker_prefetch_multiplier": 1,
    "worker_deduplicate_successful_tasks": False,  # the ledger's claim does that
    # -- how long
    "task_time_limit": 3600.0,                   # seconds; a job that hangs renews its lease for ever: its process is ended
    "worker_proc_alive_timeout": 300.0,          # a child loads torch and the weights before it says that it lives
    "worker_max_tasks_per_child": None,          # the model is loaded once
    "worker_soft_shutdown_timeout": 0.0,
    # -- losing Redis
    "broker_connection_retry": True,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,       # for ever: the worker outlives any absence of Redis
    "broker_connection_timeout": 5.0,
    "worker_cancel_long_running_tasks_on_connection_loss": False,  # nothing is acknowledged late, so nothing runs twice
    "broker_transport_options": {
        "socket_timeout": 10.0,                  # a half-open connection is noticed
        "socket_connect_timeout": 5.0,
        "socket_keepalive": True,
        "health_check_interval": 25,
        "retry_on_timeout": False,
        "visibility_timeout": 3600,              # decides nothing: acknowledgement is early, a doubled message finds no job
    },
    # -- nothing that nobody asked for
    "worker_enable_remote_control": False,       # no broadcast queues in Redis
    "worker_send_task_events": False,
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,            # our log lines are whole already
    "task_send_sent_event": False,
    "enable_utc": True,
}  # fmt: skip


def make_celery_app(
    redis_url: str,
    segment: Callable[[str], None],
    deliver: Callable[[int], None],
    request_commitment: Callable[[int], None],
) -> Any:
    """The Celery application whose tasks call the functions given; made by workers and by whoever rings."""
    from celery import Celery
    from celery.signals import setup_logging

    app = Celery("cmdiff_dicom", broker=redis_url, set_as_current=False)
    app.conf.update(SETTINGS)
    setup_logging.connect(_quiet, weak=False, dispatch_uid="cmdiff_dicom.quiet")
    for name, function in ((SEGMENT_TASK, segment), (DELIVER_TASK, deliver), (COMMITMENT_TASK, request_commitment)):
        app.task(_guarded(name, function), name=name, shared=False)
    return app


def make_ringing_app(redis_url: str) -> Any:
    """The same application for a process that rings and never works."""
    return make_celery_app(redis_url, _nobody, _nobody, _nobody)


class Doorbell:
    """Rings workers through Redis. Every verb raises BrokerUnavailable at once where Redis does not take it."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._channel: Any = None

    def ring(self, key: str) -> None:
        self._send(SEGMENT_TASK, key)

    def ring_delivery(self, delivery_id: int) -> None:
        self._send(DELIVER_TASK, delivery_id)

    def ring_commitment(self, delivery_id: int) -> None:
        self._send(COMMITMENT_TASK, delivery_id)

    def found_empty(self) -> bool:
        """True where the marker that this node keeps in Redis was not there: a new server, or one that lost all."""
        return bool(self._ask(lambda client: client.set(MARKER_KEY, "1", nx=True)))

    def waiting(self, queue: str) -> int:
        """How many messages stand in `queue`."""
        return int(self._ask(lambda client: client.llen(queue)))

    def takes_messages(self) -> bool:
        """True where Redis answers and takes writes; one that is full, or cannot save, answers and takes none."""
        try:
            return bool(self._ask(lambda client: client.set(PROBE_KEY, "1")))
        except BrokerUnavailable:
            return False

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        try:
            if self._channel is None:
                self._channel = self._app.connection_for_write().channel()
            return question(self._channel.client)
        except Exception as error:
            self._channel = None
            raise _unavailable(error) from None

    def _send(self, task: str, argument: str | int) -> None:
        try:
            self._app.send_task(task, args=(argument,), ignore_result=True, retry=False)
        except Exception as error:
            raise _unavailable(error) from None


def _unavailable(error: Exception) -> BrokerUnavailable:
    """Whatever redis or kombu raise, a memory limit or a failing snapshot as well as no connection: the bell is out."""
    return BrokerUnavailable(f"Redis takes no message ({type(error).__name__}); jobs wait in the ledger and are rung again")


def _guarded(name: str, function: Callable[[Any], None]) -> Callable[[Any], None]:
    """The job functions turn every fault into a ledger state; what escapes all the same is told by its place alone."""

    def task(argument: Any) -> None:
        try:
            function(argument)
        except Exception as error:
            log(name, state="escaped", where=place(error))

    return task


def _quiet(**_: Any) -> None:
    silence_libraries()


def _nobody(_: Any) -> None:
    raise BrokerUnavailable("this process rings and does not work")
