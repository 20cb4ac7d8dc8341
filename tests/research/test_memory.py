"""Freed memory stays with a training process."""

import subprocess
import sys

PROGRAM = """
import resource, sys, numpy
from cmdiff_dicom.research.memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
numpy.ones(30_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    numpy.ones(30_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Page faults of five arrays of 240 MB, made and dropped one after another, after a first one."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True, timeout=100)
    return int(done.stdout)


def test_large_blocks_are_used_again_without_asking_the_system():
    assert faults("kept") < 0.1 * faults("given back")
