"""python dying_worker.py LEDGER_URL REDIS_URL KEY: a segment worker that the job KEY always kills, and that does every other."""

from __future__ import annotations

import os
import signal
import sys

from cmdiff_dicom.dispatch import make_celery_app, serve_queue
from cmdiff_dicom.ledger import open_ledger

if __name__ == "__main__":
    ledger_url, redis_url, deadly = sys.argv[1:]
    ledger = open_ledger(ledger_url)

    def segment(key: str) -> None:
        job = ledger.claim(key, f"worker {os.getpid()}")
        if job is None:
            return
        if key == deadly:
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does where memory is short
        ledger.no_tumour(key, job.owner, "done")

    app = make_celery_app(redis_url, segment, print, print)
    sys.exit(serve_queue(app, "segment", 1, lambda: None))
