"""Data folders as training sees them: read, cropped to the brain, and standardised as serving does it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from cmdiff_dicom.errors import SettingsFault
from cmdiff_dicom.geometry import box_around
from cmdiff_dicom.records import Label, Sequence
from cmdiff_dicom.research.augment import TrainingStudy, tumour_depth
from cmdiff_dicom.research.brats import LabelledStudy, UnusableStudy, find_studies, read_study
from cmdiff_dicom.research.console import Tell
from cmdiff_dicom.research.split import Split, split_by_patient
from cmdiff_dicom.segment.recipe import Recipe
from cmdiff_dicom.segment.segmenter import prepare_image


def usable_studies(folder: Path, tell: Tell, only: set[str] | None = None) -> Iterator[LabelledStudy]:
    """Every usable study of `folder`, or of those named in `only`, one at a time.

    Corrupt studies are named, skipped and counted; suspicions (identical or exchanged sequences) are told.
    Raises: UnusableStudy at the end where there was none.
    """
    read, skipped = 0, 0
    for name, place in find_studies(folder).items():
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
        read += 1
        yield study
    tell(f"{read} studies read, {skipped} skipped")
    if not read:
        raise UnusableStudy(f"{folder} holds no usable study; wanted BraTS folders with four sequences and a segmentation each")


def load_studies(folder: Path, tell: Tell, only: set[str] | None = None) -> dict[str, TrainingStudy]:
    """Every usable study of `folder` by name, or of those named in `only`, standardised and in memory."""
    return {study.name: training_study(study) for study in usable_studies(folder, tell, only)}


def studies_of_split(folder: Path, split: Split, tell: Tell) -> tuple[list[TrainingStudy], list[TrainingStudy], Split]:
    """Studies to train on, studies to tune on, and the split, which is drawn where the given one knows none of this folder.

    Studies of the test part are not even read where the split is known. Raises: SettingsFault where none is left to train on.
    """
    if not set(split.get("train", ())) & set(find_studies(folder)):
        split = {}
    studies = load_studies(folder, tell, {*split["train"], *split["tune"]} if split else None)
    split = split or split_by_patient(volumes_ml(studies))
    train, tune = ([studies[name] for name in split[part] if name in studies] for part in ("train", "tune"))
    if not train:
        raise SettingsFault("no study of this folder is left to train on")
    return train, tune, split


def training_study(study: LabelledStudy, recipe: Recipe | None = None) -> TrainingStudy:
    """The study cropped to its brain, and filtered and standardised within it as the recipe says, in half precision."""
    image = np.stack([study.volumes[sequence].array for sequence in Sequence])
    brain = brain_of(image)
    box = box_around(brain)
    inside, labels = brain[box], study.truth[box]
    everything = torch.ones(4, dtype=torch.bool)
    cropped = torch.from_numpy(image[(slice(None), *box)].copy())
    values, _ = prepare_image(cropped, everything, torch.from_numpy(inside), recipe or Recipe())
    corner = (box[0].start, box[1].start, box[2].start)
    return TrainingStudy(study.name, values.numpy().astype(np.float16), labels, inside, tumour_depth(labels), corner)


def brain_of(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The brain of a skull-stripped study: where any sequence is not 0, holes filled. Shapes: (4, k, j, i) -> (k, j, i)."""
    return np.asarray(ndimage.binary_fill_holes((image != 0).any(axis=0)))


def volumes_ml(studies: Mapping[str, TrainingStudy]) -> dict[str, tuple[float, float]]:
    """(whole tumour, enhancing tumour) in ml of 1 mm voxels, by study."""
    return {
        name: (float((study.labels > 0).sum()) / 1000, float((study.labels == Label.ET).sum()) / 1000)
        for name, study in studies.items()
    }
