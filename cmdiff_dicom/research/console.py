"""What the commands of this room share: common options, and how they speak: results on stdout, progress on stderr."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic

Tell = Callable[[str], None]


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, device and threads."""
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with BraTS studies (any year's names), searched in depth"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ...; auto takes a GPU if there is one")
    parser.add_argument("--threads", type=int, help="CPU threads; results are the same to the bit at the same number")


def tell(text: str) -> None:
    """Progress, at once."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def say(text: str) -> None:
    """A result."""
    sys.stdout.write(text + "\n")


class Countdown:
    """Counts pieces of work off a known total, and reckons from their pace so far how long the rest takes."""

    def __init__(self, total: int, clock: Callable[[], float] = monotonic) -> None:
        self.total, self.count = total, 0
        self._clock, self._started = clock, clock()

    def next(self) -> str:
        """One more piece is done: "3/18, 12 min left"."""
        self.count += 1
        pace = (self._clock() - self._started) / self.count
        return f"{self.count}/{self.total}, {duration((self.total - self.count) * pace)} left"


def duration(seconds: float) -> str:
    """For the eye: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
