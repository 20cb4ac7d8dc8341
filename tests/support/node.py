"""The whole node as a hospital runs it, `cmdiff-dicom run` in a process of its own, with settings for a test."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cmdiff_dicom.ledger import Job, JobState, Ledger, open_ledger

QUIET_S = 2.0


@dataclass(frozen=True)
class Node:
    """A running node: the process at its root, and its ledger to look into."""

    pid: int
    ledger: Ledger


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_node(folder: Path, port: int, pacs: tuple[str, int], weights: str = "") -> Iterator[Node]:
    """Listener, dispatcher, workers and Redis below `folder`, delivering to `pacs` (AE title, port)."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "settings.toml"
    settings.write_text(
        f"""
state = "{folder / "state"}"
[listen]
host = "127.0.0.1"
port = {port}
[spool]
low_water_gb = 0.5
floor_gb = 0.2
[dispatch]
quiet_s = {QUIET_S}
give_up_s = 20.0
tick_s = 0.25
[segment]
weights = "{weights}"
[[destinations]]
name = "PACS"
ae_title = "{pacs[0]}"
host = "127.0.0.1"
port = {pacs[1]}
"""
    )
    with (folder / "node.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cmdiff_dicom.cli", "run", "--settings", str(settings)], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            _wait_until_listening(process, port, folder / "node.log")
            yield Node(process.pid, open_ledger(f"sqlite:///{folder / 'state' / 'ledger.sqlite'}"))
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for_result(ledger: Ledger, limit_s: float = 400.0) -> Job:
    """The only study's job, once it and its deliveries are final."""
    deadline = time.monotonic() + limit_s
    job = None
    while time.monotonic() < deadline:
        jobs = ledger.jobs()
        job = jobs[0] if jobs else None
        if job is not None and job.state not in {JobState.SETTLED, JobState.SEGMENTING}:
            deliveries = ledger.deliveries(job.key)
            if job.state is not JobState.SEGMENTED or all(d.state.name in {"COMMITTED", "FAILED"} for d in deliveries):
                return job
        time.sleep(0.25)
    raise AssertionError(f"no final result after {limit_s:.0f} s: {job}")


def stage_seconds(folder: Path) -> dict[str, float]:
    """Step -> seconds, as the node's own log tells them."""
    lines = (line for line in (folder / "node.log").read_text().splitlines() if line.startswith("{"))
    steps = (json.loads(line) for line in lines)
    return {step["step"]: step["seconds"] for step in steps if "seconds" in step}


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"the node did not come up:\n{log.read_text(errors='replace')[-2000:]}")
