"""The whole trip in one command: a small PACS routes a study to our own processes and gets the overlay back.

Nothing is short-cut: the listener, the dispatcher and the worker are the commands that a hospital runs, in processes of their
own; Redis is a real server; the study goes in by C-STORE and the result is read from what the PACS stored.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cmdiff_dicom.errors import Broken
from cmdiff_dicom.geometry import Volume
from cmdiff_dicom.ledger import DeliveryState, Job, JobState, Ledger, open_ledger
from cmdiff_dicom.phantom.show import Trip, report

if TYPE_CHECKING:
    from cmdiff_dicom.dispatch import Supervisor
    from cmdiff_dicom.phantom.pacs import DemoPacs

PASSING_DICE = 0.70
"""The demo fails where the whole tumour's Dice with the known truth is below this."""
QUIET_S = 3.0
LIMIT_S = 600.0
LOG = "node.log"
"""What listener and worker say, in the demo's own folder; kept in the output's where the trip fails."""


class DemoFailed(Broken):
    """The trip did not end as it must; the text says where it stopped and why."""


class TripStopped(DemoFailed):
    """Our own processes did not do their part, and their log says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `cmdiff-dicom demo`."""
    add = parser.add_argument
    add("--seed", type=int, default=1, metavar="N", help="another number, another patient (default %(default)s)")
    add("--study", type=Path, metavar="FOLDER", help="your own DICOM study, not the synthetic one (no truth, so no Dice)")
    add("--output", type=Path, default=Path("output"), metavar="FOLDER", help="gets the picture (default ./%(default)s)")
    add("--weights", default="", metavar="FILE", help="other weights than those that ship")


def run(arguments: argparse.Namespace) -> int:
    """0 where the PACS has the committed SEG and, with the synthetic study, Dice is at least PASSING_DICE."""
    arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cmdiff-demo-") as name:
        folder = Path(name)
        try:
            with _node(folder, arguments.weights) as (pacs, ledger):
                study, truth = _study(folder, arguments)
                trip = _travel(pacs, ledger, study, folder / LOG)
        except TripStopped as stopped:
            log = shutil.copy(folder / LOG, arguments.output.absolute() / LOG)
            raise DemoFailed(f"{stopped}; the log is {log}") from None
        return report(trip, study, truth, arguments.output, PASSING_DICE)


def _study(folder: Path, arguments: argparse.Namespace) -> tuple[Path, Volume | None]:
    """The folder of DICOM files to send and, for a synthetic one, its truth."""
    if arguments.study is not None:
        if not arguments.study.is_dir():
            raise DemoFailed(f"{arguments.study}: no such folder; --study wants a folder of DICOM files")
        return arguments.study, None
    from cmdiff_dicom.phantom.study import write_study

    print(f"Making the synthetic patient of seed {arguments.seed} ...", flush=True)
    phantom = write_study(folder / "study", arguments.seed)
    return phantom.folder, phantom.truth


@contextmanager
def _node(folder: Path, weights: str) -> Iterator[tuple[DemoPacs, Ledger]]:
    """PACS, Redis, listener with dispatcher, and worker, all running; inside out they stop again."""
    from cmdiff_dicom.dispatch import EmbeddedRedis, Supervisor
    from cmdiff_dicom.phantom.pacs import DemoPacs

    port = _free_port()
    pacs = DemoPacs(folder / "pacs", "DEMOPACS", routes_to=("CMDIFF", "127.0.0.1", port))
    with pacs, EmbeddedRedis(folder / "redis") as redis:
        settings = folder / "settings.toml"
        settings.write_text(_settings(folder, port, redis.url, pacs.port, weights), encoding="utf-8")
        with (folder / LOG).open("wb") as sink:
            command = [sys.executable, "-m", "cmdiff_dicom.cli"]
            children = Supervisor(
                {
                    "listen": [*command, "listen", "--settings", str(settings)],
                    "worker": [*command, "worker", "--settings", str(settings)],
                },
                options={"stdout": sink, "stderr": sink},
            )
            children.tick()
            try:
                _wait_for_port(port, children)
                yield pacs, open_ledger(f"sqlite:///{(folder / 'state' / 'ledger.sqlite').absolute()}")
            finally:
                children.stop(grace_s=10.0)


def _settings(folder: Path, port: int, redis_url: str, pacs_port: int, weights: str) -> str:
    return f"""
state = "{folder / "state"}"
[listen]
ae_title = "CMDIFF"
host = "127.0.0.1"
port = {port}
[queue]
url = "{redis_url}"
[spool]
low_water_gb = 0.5
floor_gb = 0.2
[dispatch]
quiet_s = {QUIET_S}
give_up_s = {4 * QUIET_S}
tick_s = 0.25
[segment]
weights = {json.dumps(weights)}
[[destinations]]
name = "demo PACS"
ae_title = "DEMOPACS"
host = "127.0.0.1"
port = {pacs_port}
"""


def _travel(pacs: DemoPacs, ledger: Ledger, study: Path, log: Path) -> Trip:
    """Sends the study as auto-routing would and waits, with a progress display, until its result is final."""
    from rich.console import Console

    console = Console()
    start = time.monotonic()
    with console.status("Sending the study by C-STORE ...") as status:
        sent = pacs.route(study)
        if not sent:
            raise DemoFailed(f"{study}: holds no DICOM instance that could be sent")
        console.print(f"  {sent} instances sent by C-STORE and acknowledged: {time.monotonic() - start:.1f} s")
        last, since, stored = "waiting until the study is quiet", time.monotonic(), time.monotonic()
        while time.monotonic() - start < LIMIT_S:
            status.update(f"{last} ... {time.monotonic() - since:.0f} s")
            job, now = _where(ledger)
            if now != last:
                console.print(f"  {last}: {time.monotonic() - since:.1f} s")
                last, since = now, time.monotonic()
            if job is not None and now in {"done", "ended"}:
                committed = pacs.stored_segmentation() if now == "done" else None
                return Trip(job, committed, _stages(log), time.monotonic() - stored)
            time.sleep(0.1)
    raise TripStopped(f"nothing final after {LIMIT_S:.0f} s ({last})")


def _stages(log: Path) -> dict[str, float]:
    """The seconds of each step, as the worker's own log tells them."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
    rooms = ("segment.", "analyse.", "deliver.")
    return {line["step"]: line["seconds"] for line in lines if line["step"].startswith(rooms) and "seconds" in line}


def _where(ledger: Ledger) -> tuple[Job | None, str]:
    """The only study's job and, in a few words, where it stands."""
    jobs = ledger.jobs()
    if not jobs:
        return None, "waiting until the study is quiet"
    job = jobs[0]
    if job.state is JobState.SETTLED:
        return job, "waiting for the worker"
    if job.state is JobState.SEGMENTING:
        return job, "registering, segmenting, encoding"
    if job.state is not JobState.SEGMENTED:
        return job, "ended"
    states = {delivery.state for delivery in ledger.deliveries(job.key)}
    if states == {DeliveryState.COMMITTED}:
        return job, "done"
    if DeliveryState.FAILED in states:
        return job, "ended"
    return job, "waiting for storage commitment" if states == {DeliveryState.SENT} else "sending the result to the PACS"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_port(port: int, children: Supervisor) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if "listen" not in children.pids():
            break
        time.sleep(0.1)
    raise TripStopped("the listener did not start")
