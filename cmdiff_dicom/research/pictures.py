"""Pictures for the eye: overlays of answer and truth, reliability plots. Matplotlib, without a display."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.overlay import pyplot_without_display
from cmdiff_dicom.research.metrics import Reliability

COLOURS = ("#ffcf33", "#ff5e5e", "#4fc3f7")
"""Of WT, TC, ET."""


def overlay(
    path: Path,
    title: str,
    images: Mapping[str, NDArray[np.float32]],
    predicted: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    spread: NDArray[np.float32],
) -> None:
    """The slice with most tumour: images with outlines of answer (full) and truth (dashed), and the spread.

    Shapes: images (k, j, i); `predicted` and `truth` (3, k, j, i) nested regions; `spread` (3, k, j, i).
    """
    pyplot = pyplot_without_display()
    slice_number = int((predicted[0] | truth[0]).sum((1, 2)).argmax())
    figure, axes = pyplot.subplots(1, len(images) + 1, figsize=(3.4 * (len(images) + 1), 3.8), layout="constrained")
    for axis, (name, image) in zip(axes, images.items(), strict=False):
        axis.imshow(image[slice_number], cmap="gray", vmax=np.percentile(image[slice_number], 99.7) or 1)
        for region, colour in enumerate(COLOURS):
            for mask, style in ((predicted, "-"), (truth, "--")):
                if mask[region, slice_number].any():
                    axis.contour(mask[region, slice_number], levels=[0.5], colors=colour, linestyles=style, linewidths=1)
        axis.set_title(name)
    axes[-1].imshow(spread[:, slice_number].max(0), cmap="magma", vmin=0, vmax=0.5)
    axes[-1].set_title("spread over samples")
    for axis in axes:
        axis.axis("off")
    figure.suptitle(f"{title}, slice {slice_number}; full line: model, dashed: truth")
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def reliability_plot(path: Path, curves: Mapping[str, Mapping[str, Reliability]]) -> None:
    """Observed share against predicted probability, one panel a zone, one curve a region."""
    pyplot = pyplot_without_display()
    figure, axes = pyplot.subplots(1, len(curves), figsize=(4.5 * len(curves), 4.5), layout="constrained", squeeze=False)
    for axis, (zone, regions) in zip(axes[0], curves.items(), strict=True):
        axis.plot([0, 1], [0, 1], color="0.7")
        for (region, curve), colour in zip(regions.items(), ("#b8860b", "#c62828", "#0277bd"), strict=True):
            filled = curve.voxels > 0
            label = f"{region}, ECE {curve.ece:.3f}"
            axis.plot(curve.confidence[filled], curve.frequency[filled], marker=".", color=colour, label=label)
        axis.set(xlabel="predicted probability", ylabel="share of truth", title=zone, xlim=(0, 1), ylim=(0, 1))
        axis.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
