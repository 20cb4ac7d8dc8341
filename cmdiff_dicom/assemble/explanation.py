"""A choice for people: which stack serves as what, on which grid, and why; what `explain` prints."""

from __future__ import annotations

from cmdiff_dicom.assemble.choice import Choice
from cmdiff_dicom.assemble.slices import geometry_of, has_place
from cmdiff_dicom.records import Sequence, Stack


def explain(choice: Choice) -> str:
    """A table for people: every stack, what it serves as, its grid, and why."""
    rows = [("serves as", "images", "grid", "voxel mm", "series", "why")]
    for sequence in Sequence:
        if stack := choice.stacks.get(sequence):
            mark = " (reference)" if sequence is choice.reference else ""
            rows.append((sequence.value + mark, *_described(stack), stack.why))
    rows += [("-", *_described(stack), f"{stack.fault}; {stack.why}" if stack.fault else stack.why) for stack in choice.others]
    widths = [max(len(row[n]) for row in rows) for n in range(5)]
    lines = ["  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5])) for row in rows]
    lines += [f"note: {note}" for note in choice.notes]
    return "\n".join([*lines, choice.refusal.reason] if choice.refusal else lines)


def _described(stack: Stack) -> tuple[str, str, str, str]:
    first = stack.instances[0]
    grid = f"{first.columns}x{first.rows}" if first.rows else "-"
    voxel = (
        "x".join(f"{edge:.3g}" for edge in geometry_of(stack).spacing_mm[::-1]) if has_place(first) and not stack.fault else "-"
    )
    return str(len(stack.instances)), grid, voxel, stack.series_uid
