"""python plain_worker.py REDIS_URL QUEUE LOG SECONDS LOADING: a worker that notes what it is asked to do and takes its time.

It does so for each message, and once LOADING seconds before the first.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from cmdiff_dicom.dispatch import make_celery_app, serve_queue

if __name__ == "__main__":
    url, queue, log, seconds, loading = sys.argv[1:]

    def note(kind: str, argument: object) -> None:
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(f"{kind} {argument}\n")
        time.sleep(float(seconds))

    app = make_celery_app(url, lambda key: note("segment", key), lambda number: note("deliver", number), lambda number: note("ask", number))

    def load() -> None:
        if float(loading):
            note("load", queue)
            time.sleep(float(loading))

    sys.exit(serve_queue(app, queue, 1, load))
