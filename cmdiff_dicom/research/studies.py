"""Data folders as training sees them: read, cropped to the brain and standardised as serving does it, split by patient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from cmdiff_dicom.records import Sequence
from cmdiff_dicom.research.augment import TrainingStudy, tumour_depth
from cmdiff_dicom.research.brats import LabelledStudy, UnusableStudy, find_studies, read_study
from cmdiff_dicom.segment.standardise import standardise

Tell = Callable[[str], None]


def load_studies(folder: Path, tell: Tell, only: set[str] | None = None) -> dict[str, TrainingStudy]:
    """Every usable study of `folder` by name, or those named in `only`.

    Corrupt studies are named, skipped and counted; identical sequences are warned of.
    """
    found = find_studies(folder)
    loaded: dict[str, TrainingStudy] = {}
    skipped = 0
    for name, place in found.items():
        if only is not None and name not in only:
            continue
        try:
            study = read_study(name, place)
        except UnusableStudy as fault:
            skipped += 1
            tell(f"skipped: {fault}")
            continue
        for warning in study.warnings:
            tell(f"warning: {warning}")
        loaded[name] = training_study(study)
    tell(f"{len(loaded)} studies read, {skipped} skipped")
    if not loaded:
        raise UnusableStudy(f"{folder} holds no usable study; wanted BraTS folders with four sequences and a segmentation each")
    return loaded


def training_study(study: LabelledStudy) -> TrainingStudy:
    """The study cropped to its brain and standardised within it, in half precision."""
    image = np.stack([study.volumes[sequence].array for sequence in Sequence])
    brain = brain_of(image)
    box = bounding_box(brain)
    inside, labels = brain[box], study.truth[box]
    everything = torch.ones(4, dtype=torch.bool)
    values, _ = standardise(torch.from_numpy(image[(slice(None), *box)].copy()), everything, torch.from_numpy(inside))
    corner = tuple(side.start for side in box)
    return TrainingStudy(study.name, values.numpy().astype(np.float16), labels, inside, tumour_depth(labels), corner)


def brain_of(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The brain of a skull-stripped study: where any sequence is not 0, holes filled. Shapes: (4, k, j, i) -> (k, j, i)."""
    return np.asarray(ndimage.binary_fill_holes((image != 0).any(axis=0)))


def bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """The smallest box around what is true."""
    sides = [np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis))) for axis in range(3)]
    first, second, third = (slice(int(side[0]), int(side[-1]) + 1) for side in sides)
    return first, second, third


def volumes_ml(studies: Mapping[str, TrainingStudy]) -> dict[str, tuple[float, float]]:
    """(whole tumour, enhancing tumour) in ml of 1 mm voxels, by study."""
    return {
        name: (float((study.labels > 0).sum()) / 1000, float((study.labels == 3).sum()) / 1000)
        for name, study in studies.items()
    }
