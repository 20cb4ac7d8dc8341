"""What this machine lacks: CPU instructions without which torch ends a process by signal 4 and says nothing."""

from __future__ import annotations

import importlib.util
import platform
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
WANTED_ON_X86 = ("sse4_2", "avx", "avx2", "fma")
"""What the distributed builds of torch use without asking first. A virtual machine of a generic CPU model hides them."""


def missing_instructions(cpu_info: Path = CPU_INFO, machine: str = "") -> tuple[str, ...]:
    """The instruction sets that torch wants and this CPU does not show; () where that is unknown."""
    if (machine or platform.machine()) not in ("x86_64", "AMD64") or not cpu_info.is_file():
        return ()
    for line in cpu_info.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            shown = set(value.split())
            return tuple(wanted for wanted in WANTED_ON_X86 if wanted not in shown)
    return ()


def why_no_torch() -> str:
    """Why this machine cannot segment, and what to do; "" where nothing speaks against it. Loads nothing."""
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed; pip install 'cmdiff-dicom[infer]', or serve --queues deliver only"
    lacking = missing_instructions()
    if lacking:
        return f"this CPU lacks {', '.join(lacking)}; give the virtual machine its host's CPU model (cpu host-passthrough)"
    return ""
