"""Vendor oddities of headers that would mislead recognition: when each holds, what is meant, where it was seen.

One row each; `without_quirks` applies all that hold. A new oddity is a row here, a variant in the phantom and a test.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from cmdiff_dicom.records import Acquisition


@dataclass(frozen=True)
class Quirk:
    """`when` it holds, `repair` gives the acquisition as it is meant; `evidence` says where it was seen."""

    name: str
    when: Callable[[Acquisition], bool]
    repair: Callable[[Acquisition], Acquisition]
    evidence: str


def is_flow_compensated(a: Acquisition) -> bool:
    return any(option.startswith("FC") for option in a.scan_options)


def _is_zero(value: float | None) -> bool:
    return value is not None and value <= 0


QUIRKS = (
    Quirk(
        "a time of 0 ms means not given",
        lambda a: any(map(_is_zero, (a.repetition_time_ms, a.echo_time_ms, a.inversion_time_ms))),
        lambda a: replace(
            a,
            repetition_time_ms=None if _is_zero(a.repetition_time_ms) else a.repetition_time_ms,
            echo_time_ms=None if _is_zero(a.echo_time_ms) else a.echo_time_ms,
            inversion_time_ms=None if _is_zero(a.inversion_time_ms) else a.inversion_time_ms,
        ),
        "Philips and GE write Inversion Time 0 where there is no inversion; Philips Echo Time 0 on combined echoes",
    ),
    Quirk(
        "research mode hides a gradient echo",
        lambda a: (
            "RM" in a.scanning_sequence and not {"SE", "GR", "EP"} & set(a.scanning_sequence) and (a.echo_time_ms or 99) < 7
        ),
        lambda a: replace(a, scanning_sequence=(*a.scanning_sequence, "GR")),
        r"GE MP-RAGE says RM\IR with TE 2 to 3 ms",
    ),
    Quirk(
        "echo planar imaging that only the sequence name tells",
        lambda a: (
            "EP" not in a.scanning_sequence
            and any(mark in a.sequence_name.lower() for mark in ("ep2d", "epfid", "epse", "ep_b", "seepi", "ep_seg"))
        ),
        lambda a: replace(a, scanning_sequence=(*a.scanning_sequence, "EP")),
        "Siemens XA and Canon",
    ),
    Quirk(
        "an inversion that only the sequence name tells",
        lambda a: (
            "IR" not in a.scanning_sequence
            and any(mark in a.sequence_name.lower().lstrip("*_") for mark in ("tir2d", "tir3d", "spcir"))
        ),
        lambda a: replace(a, scanning_sequence=(*a.scanning_sequence, "IR")),
        "Siemens TIRM and SPACE with inversion in converted headers",
    ),
    Quirk(
        "flow compensation that only the sequence name tells",
        lambda a: not is_flow_compensated(a) and bool(re.match(r"[*_]*f[il][23]d[0-9]*r", a.sequence_name.lower())),
        lambda a: replace(a, scan_options=(*a.scan_options, "FC")),
        "Siemens time of flight: fi3d1r, fl3d1r_t70 (names in MRtrix3 pull request 1056)",
    ),
)


def without_quirks(acquisition: Acquisition) -> Acquisition:
    """The acquisition as its scanner meant it."""
    for quirk in QUIRKS:
        if quirk.when(acquisition):
            acquisition = quirk.repair(acquisition)
    return acquisition
