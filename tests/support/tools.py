"""Command line tools that are not ours and judge what we write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def tool(name: str) -> str:
    """A tool of the test environment, or of the machine; the test is skipped by name where there is none."""
    found = shutil.which(name, path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def complaints(text: str) -> list[str]:
    """The errors and warnings that a tool has told."""
    return [line for line in text.splitlines() if line.startswith(("Error", "Warning"))]


def dciodvfy(file: Path) -> list[str]:
    """What the validator complains of in an MR image or a segmentation."""
    done = subprocess.run([tool("dciodvfy"), "-new", str(file)], capture_output=True, text=True, timeout=120)
    said = done.stdout + done.stderr
    assert "MRImage" in said or "Segmentation" in said, f"it judged nothing: {said}"
    return complaints(said)
