"""Curves of a training: its loss against Dice on the tuning studies, as a table and as a picture."""

from __future__ import annotations

import csv
from pathlib import Path

from cmdiff_dicom.overlay import pyplot_without_display


def write_curves(out: Path, rows: list[dict[str, float]]) -> None:
    """`curves.csv` and `curves.png` in `out`; a row holds step, loss, and Dice as "direct_WT", "sampled_ET" and so on."""
    with (out / "curves.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[-1]))
        writer.writeheader()
        writer.writerows(rows)
    pyplot = pyplot_without_display()
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    steps = [row["step"] for row in rows]
    left.plot(steps, [row["loss"] for row in rows], marker=".")
    left.set(xlabel="step", ylabel="training loss", title="training studies")
    for name in rows[-1]:
        if name.startswith(("direct_", "sampled_")):
            style = "--" if name.startswith("direct_") else "-"
            right.plot(steps, [row[name] for row in rows], style, label=name.replace("_", " "))
    right.set(xlabel="step", ylabel="mean Dice", title="tuning studies", ylim=(0, 1))
    if right.lines:  # a small folder has no tuning studies
        right.legend(fontsize="small")
    figure.savefig(out / "curves.png", dpi=110)
    pyplot.close(figure)
