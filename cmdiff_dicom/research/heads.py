"""Synthetic heads as training studies: what no challenge has, heads without a tumour, and the demo's kind of patient.

They come from `synthesis`, as the demo study does, with seeds that the demo and the benchmarks do not use.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cmdiff_dicom.geometry import Geometry, Volume, resample
from cmdiff_dicom.records import Sequence
from cmdiff_dicom.research.augment import TrainingStudy
from cmdiff_dicom.research.brats import LabelledStudy
from cmdiff_dicom.research.studies import training_study
from cmdiff_dicom.synthesis import Head, acquire, make_head, render

FIRST_SEED = 900_001
HEALTHY_EVERY = 2
"""Every second head has no tumour."""
SLICES_MM = {Sequence.T2W: 4.4, Sequence.T2F: 5.5}
"""Spacing of the slices of the 2-D sequences; the others are 3-D at 1 mm."""
TO_ATLAS = (-15, -1, 22)
"""Voxels (k, j, i) from a head's place in its grid to a brain's in the challenge's frame, so that tumours mix in place."""


def synthetic_studies(count: int) -> list[TrainingStudy]:
    """The first `count` training heads, always the same."""
    studies = [training_study(synthetic_study(FIRST_SEED + n, n % HEALTHY_EVERY == 0)) for n in range(count)]
    k, j, i = TO_ATLAS
    return [replace(s, corner=(s.corner[0] + k, s.corner[1] + j, s.corner[2] + i)) for s in studies]


def synthetic_study(seed: int, tumour: bool) -> LabelledStudy:
    """One head in four contrasts, skull-stripped by its true mask, on its own 1 mm grid along the patient's axes."""
    head = make_head(seed, tumour=tumour)
    volumes = {}
    for number, sequence in enumerate(Sequence):
        scanned = _scanned(head, sequence, 1000 * seed + number)
        volumes[sequence] = Volume(np.asarray(scanned.array * head.brain, dtype=np.float32), head.geometry, sequence.value)
    return LabelledStudy(f"synthetic-{seed}", volumes, head.label, head.geometry)


def _scanned(head: Head, sequence: Sequence, seed: int) -> Volume:
    """The head through a scanner, in slices of the sequence's own thickness, back on the head's grid."""
    thickness = SLICES_MM.get(sequence, 1.0)
    shape, matrix = head.geometry.shape, head.geometry.mm_from_index.copy()
    matrix[:3, 0] *= thickness
    slices = Geometry((round(shape[0] / thickness), shape[1], shape[2]), matrix)
    scanned = acquire(render(head, sequence, bias=0.15), slices, seed=seed, slice_thickness_mm=thickness)
    return scanned if thickness == 1.0 else Volume(resample(scanned, head.geometry), head.geometry, sequence.value)
