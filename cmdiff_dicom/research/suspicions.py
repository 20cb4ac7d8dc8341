"""Do the sequences of a labelled study look like what they are called? Exchanged files are the worst silent error.

Four facts that hold in every glioma study seen so far, each broken by some exchange of two sequences. Values are z-scores
by the healthy brain, so scanners need not agree on units; a fact that a study is too small to show is not asked.
`tests/bench/bench_suspicions.py` measures how often right and exchanged studies break them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.records import Label, Sequence

HEALTHY_VOXELS = 100_000
"""A brain has several times as many at 1 mm."""
LABEL_VOXELS = 50
LOOKED_AT = 60_000
FLUID_SHARE = 4.0
"""Per cent of the healthy brain, the darkest in T1: mostly cerebrospinal fluid."""
ALIKE = 0.1
SLACK = 0.1


def suspicions(values: NDArray[np.float32], labels: NDArray[np.uint8]) -> Iterator[str]:
    """What should not be so if every sequence is what it is called. Shapes: (4, n) and (n,), the voxels of the brain."""
    healthy = values[:, labels == 0]
    if healthy.shape[1] < HEALTHY_VOXELS:
        return
    healthy = healthy[:, :: max(1, healthy.shape[1] // LOOKED_AT)].astype(np.float64)
    mean, deviation = healthy.mean(axis=1, keepdims=True), healthy.std(axis=1, keepdims=True)
    if not deviation.all():
        return
    t1, t1c, t2, flair = (s.channel for s in (Sequence.T1N, Sequence.T1C, Sequence.T2W, Sequence.T2F))
    score = (healthy - mean) / deviation
    if float((score[t1] * score[t1c]).mean()) < ALIKE:
        yield "T1 and T1c do not resemble each other in the healthy brain"
    fluid = score[:, score[t1] <= np.percentile(score[t1], FLUID_SHARE)].mean(axis=1)
    if fluid[flair] > fluid[t2] + SLACK:
        yield "fluid is brighter in FLAIR than in T2"
    for label, low, high, said in (
        (Label.ED, t1, flair, "edema is darker in FLAIR than in T1"),
        (Label.ED, t1c, flair, "edema is darker in FLAIR than in T1c"),
        (Label.ET, t1, t1c, "enhancing tumour is darker in T1c than in T1"),
    ):
        inside = values[:, labels == label]
        if inside.shape[1] >= LABEL_VOXELS:
            level = (inside.mean(axis=1) - mean[:, 0]) / deviation[:, 0]
            if level[high] < level[low] - SLACK:
                yield said
