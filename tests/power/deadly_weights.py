"""python deadly_weights.py STATE REDIS_URL: a segment worker whose process dies of loading the weights."""

from __future__ import annotations

import os
import signal
import sys
import time

from cmdiff_dicom import segment, services
from cmdiff_dicom.settings import Settings


def load_segmenter(*_: object) -> None:
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does where memory is short, or a CPU lacks an instruction


if __name__ == "__main__":
    state, url = sys.argv[1:]
    segment.load_segmenter = load_segmenter
    sys.exit(services.serve(Settings.model_validate({"state": state, "queue": {"url": url}}), "segment"))
