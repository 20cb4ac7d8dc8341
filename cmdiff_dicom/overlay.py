"""A picture for people who would rather look than read: the image's own slices, without and with the labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.geometry import Volume
from cmdiff_dicom.records import LABEL_NAMES, LABEL_RGB, Label

SLICES = 4


def draw_overlay(
    image: Volume,
    labels: NDArray[np.uint8],
    path: Path,
    caption: str = "",
    truth: NDArray[np.uint8] | None = None,
) -> None:
    """A PNG at `path`: the slices with most of the tumour, above as they are, below with the labels, truth outlined in white.

    Shapes: `labels` and `truth` (k, j, i) on the image's own grid; slices are shown in their own rows and columns.
    """
    from matplotlib.patches import Patch

    pyplot = pyplot_without_display()
    chosen = _slices(labels if labels.any() or truth is None else truth)
    inside = image.array[image.array > 0]
    low, high = np.percentile(inside, (1, 99.5)) if inside.size else (0.0, 1.0)
    _, row_mm, column_mm = image.geometry.spacing_mm
    figure, axes = pyplot.subplots(2, len(chosen), figsize=(3.2 * len(chosen), 6.9), facecolor="black", squeeze=False)
    for column, k in enumerate(chosen):
        grey = np.repeat(np.clip((image.array[k] - low) / max(high - low, 1e-6), 0, 1)[..., None], 3, axis=2)
        coloured = grey.copy()
        for label, rgb in LABEL_RGB.items():
            where = labels[k] == label
            coloured[where] = 0.55 * coloured[where] + 0.45 * np.array(rgb) / 255
        for axis, picture in ((axes[0, column], grey), (axes[1, column], coloured)):
            axis.imshow(picture, aspect=row_mm / column_mm, interpolation="nearest")
            axis.axis("off")
        if truth is not None and truth[k].any():
            axes[1, column].contour(truth[k] > 0, levels=[0.5], colors="white", linewidths=0.7)
        axes[0, column].set_title(f"slice {k + 1} of {len(labels)}", color="white", fontsize=8)
    present = [label for label in Label if (labels == label).any()]
    patches = [Patch(color=np.array(LABEL_RGB[label]) / 255, label=LABEL_NAMES[label]) for label in present]
    if truth is not None:
        patches.append(Patch(facecolor="black", edgecolor="white", label="outline of the known truth"))
    figure.legend(handles=patches, loc="lower center", ncol=4, frameon=False, labelcolor="white", fontsize=9)
    figure.suptitle(f"{caption}\nResearch use, not for diagnosis".strip(), color="white", fontsize=10)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.89, bottom=0.06, wspace=0.02, hspace=0.02)
    figure.savefig(path, dpi=110, facecolor="black")
    pyplot.close(figure)


def pyplot_without_display() -> Any:
    """Matplotlib's pyplot, drawing into files."""
    from matplotlib import use

    use("Agg")
    from matplotlib import pyplot

    return pyplot


def _slices(labels: NDArray[np.uint8]) -> list[int]:
    """Up to four slice numbers spread over the extent of the tumour, or over the middle of the volume where there is none."""
    area = (labels > 0).sum(axis=(1, 2))
    if not area.any():
        ends = (len(labels) * 0.35, len(labels) * 0.7)
    else:
        occupied = np.nonzero(area >= 0.25 * area.max())[0]
        ends = (float(occupied[0]), float(occupied[-1]))
    return sorted({round(k) for k in np.linspace(*ends, SLICES)})
