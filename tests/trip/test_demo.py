"""`cmdiff-dicom demo`: the whole trip in one command, which leaves nothing behind however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow


def start_demo(folder: Path, *options: str) -> subprocess.Popen[str]:
    """The demo, with all that it makes below `folder`; its children's command lines name that folder."""
    (folder / "t").mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "cmdiff_dicom.cli", "demo", "--output", str(folder / "output"), *options],
        env=os.environ | {"TMPDIR": str(folder / "t")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  a background job ignores Ctrl-C
    )


def left_behind(folder: Path) -> list[str]:
    """Command lines of living processes that belong to the demo of `folder`, and files of it outside the output."""
    lines = []
    for process in psutil.process_iter():
        try:
            command = " ".join(process.cmdline())
            if str(folder) in command and process.pid != os.getpid():
                lines.append(command)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return lines + [str(path) for path in (folder / "t").iterdir()]


def test_the_demo_ends_with_a_committed_overlay_that_fits_the_truth_and_leaves_nothing_behind(tmp_path):
    demo = start_demo(tmp_path)
    told, _ = demo.communicate(timeout=600)
    assert demo.returncode == 0, told
    assert (tmp_path / "output" / "overlay.png").stat().st_size > 10_000
    for expected in ("Dice with the known truth", "Volumes", "seconds", "overlay.png"):
        assert expected in told
    assert left_behind(tmp_path) == []


def test_the_demo_that_is_interrupted_leaves_nothing_behind(tmp_path):
    demo = start_demo(tmp_path)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not any("worker" in line for line in left_behind(tmp_path)):
        time.sleep(0.2)
    time.sleep(1.0)
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=60)
    assert demo.returncode != 0
    time.sleep(0.5)
    assert left_behind(tmp_path) == []


def test_a_folder_without_dicom_is_said_to_be_one(tmp_path):
    (tmp_path / "empty").mkdir()
    demo = start_demo(tmp_path, "--study", str(tmp_path / "empty"))
    told, _ = demo.communicate(timeout=120)
    assert demo.returncode == 1
    assert "no DICOM instance" in told
    assert "Traceback" not in told
