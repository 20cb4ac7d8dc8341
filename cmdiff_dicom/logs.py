"""One JSON line per step, with allow-listed fields only, so that no patient value can slip into a log.

Foreign libraries print what they like, patient names included; their loggers are silenced. Foreign exceptions are
told by type and place, never by text.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
import warnings
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

ALLOWED = frozenset({
    "job", "delivery", "seconds", "state", "error", "where", "count", "status", "device", "queue",
    "destination", "process", "version", "attempt", "free_bytes", "peer", "port", "quality",
})  # fmt: skip
NOISY = ("pynetdicom", "pydicom", "highdicom", "celery", "kombu", "redis", "sqlalchemy", "amqp", "PIL", "matplotlib", "deepbet")


def silence_libraries() -> None:
    """Library loggers say nothing below CRITICAL and hand nothing to the root logger; warnings, which quote values, are off.

    So are the texts of exceptions that end a library's thread.
    """
    threading.excepthook = _tell_thread
    for name in NOISY:
        warnings.filterwarnings("ignore", module=rf"{name}(\.|$)")
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
        logger.setLevel(logging.CRITICAL)


def log(step: str, **fields: str | int | float | bool | None) -> None:
    """Print one line: when, which step, and the allow-listed fields; others are dropped."""
    line: dict[str, object] = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "step": step}
    line |= {key: round(value, 3) if isinstance(value, float) else value for key, value in fields.items() if key in ALLOWED}
    with suppress(OSError, ValueError):  # a log that nobody reads any more stops nothing
        print(json.dumps(line), file=sys.stderr, flush=True)


def _tell_thread(fault: threading.ExceptHookArgs) -> None:
    if fault.exc_value is not None:
        log("thread", state="died", where=place(fault.exc_value))


def place(error: BaseException) -> str:
    """Type, file and line of an exception without its text, which may quote a header."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return f"{type(error).__name__} at {where}"
