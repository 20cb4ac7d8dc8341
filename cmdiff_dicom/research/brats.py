"""Reads studies in the folder layouts of the BraTS challenges of 2015 to 2023: names, axis orders, and ET as 4 or 3."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.errors import CmdiffError
from cmdiff_dicom.geometry import Geometry, Volume
from cmdiff_dicom.records import Label, Sequence
from cmdiff_dicom.research.suspicions import suspicions

ENDINGS: Mapping[str, Sequence] = {
    "t1": Sequence.T1N,
    "t1n": Sequence.T1N,
    "t1ce": Sequence.T1C,
    "t1gd": Sequence.T1C,
    "t1c": Sequence.T1C,
    "t2": Sequence.T2W,
    "t2w": Sequence.T2W,
    "flair": Sequence.T2F,
    "t2f": Sequence.T2F,
}
TRUTH = ("seg", "label", "truth")
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_NAME = re.compile(r"^(?P<case>.+)[-_](?P<ending>[A-Za-z0-9]+)\.nii(\.gz)?$")


class UnusableStudy(CmdiffError):
    """A study of a data folder that cannot be read; it is named, skipped and counted."""


@dataclass(frozen=True, eq=False)
class LabelledStudy:
    """One study with truth. Shapes: volumes and `truth` uint8 (k, j, i) on one grid, LPS; truth holds NCR 1, ED 2, ET 3."""

    name: str
    volumes: Mapping[Sequence, Volume]
    truth: NDArray[np.uint8]
    geometry: Geometry
    warnings: tuple[str, ...] = ()


def find_studies(folder: Path) -> dict[str, Path]:
    """Study name -> folder, wherever below `folder` a file named as a study's segmentation lies, in order of the names."""
    found = {}
    for place, _, files in os.walk(folder, followlinks=True):
        for file in files:
            match = _NAME.match(file)
            if match and match["ending"].lower() in TRUTH:
                found[match["case"]] = Path(place)
    return dict(sorted(found.items()))


def read_study(name: str, folder: Path) -> LabelledStudy:
    """The study with all four sequences, and its truth. Raises: UnusableStudy, naming the file and what is wrong with it."""
    files: dict[Sequence, Path] = {}
    truth_file = None
    for file in sorted(folder.glob("*.nii*")):
        match = _NAME.match(file.name)
        if not match or match["case"] != name:
            continue
        ending = match["ending"].lower()
        if ending in TRUTH:
            truth_file = file
        elif ending in ENDINGS:
            files[ENDINGS[ending]] = file
    missing = [sequence.value for sequence in Sequence if sequence not in files]
    if truth_file is None or missing:
        raise UnusableStudy(f"{name}: missing {', '.join(missing + ([] if truth_file else ['segmentation']))}")
    volumes = {sequence: Volume(*_read(files[sequence]), name=sequence.value) for sequence in Sequence}
    geometry = next(iter(volumes.values())).geometry
    raw, place = _read(truth_file)
    for sequence, volume in volumes.items():
        if not np.isfinite(volume.array).all():
            raise UnusableStudy(f"{name}: {files[sequence].name} holds NaN or infinite voxels")
        if _says_nothing(volume.array):
            raise UnusableStudy(f"{name}: {files[sequence].name} is constant")
        if volume.geometry.shape != raw.shape:
            raise UnusableStudy(f"{name}: {files[sequence].name} is {volume.geometry.shape}, the segmentation {raw.shape}")
    labels = _labels(name, raw)
    warnings = [*_twins(volumes), *_elsewhere(volumes, place), *_exchanged(volumes, labels)]
    return LabelledStudy(name, volumes, labels, geometry, tuple(f"{name}: {warning}" for warning in warnings))


def _read(file: Path) -> tuple[NDArray[np.float32], Geometry]:
    """Voxels as (k, j, i) along the patient's L, P, S axes, and their grid in LPS millimetres."""
    import nibabel

    try:
        image = nibabel.load(file)
        to_lps = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(("L", "P", "S"))
        )
        image = image.as_reoriented(to_lps)
        array: NDArray[np.float32] = np.asarray(image.dataobj, dtype=np.float32)
    except Exception as error:
        raise UnusableStudy(f"{file.name} cannot be read ({type(error).__name__})") from error
    if array.ndim != 3:
        raise UnusableStudy(f"{file.name} has {array.ndim} dimensions, wanted 3")
    mm_from_kji = (LPS_FROM_RAS @ image.affine)[:, [2, 1, 0, 3]]
    array = np.ascontiguousarray(array.transpose(2, 1, 0))
    return array, Geometry(array.shape, mm_from_kji)


def _labels(name: str, raw: NDArray[np.float32]) -> NDArray[np.uint8]:
    """NCR 1, ED 2, ET 3, from truth that writes ET as 4 (up to 2021) or 3 (from 2023). 3 beside 4 is the core of 2015."""
    values = set(np.unique(raw).tolist())
    if not values <= {0.0, 1.0, 2.0, 3.0, 4.0}:
        raise UnusableStudy(f"{name}: the segmentation holds labels {sorted(values - {0.0, 1.0, 2.0, 3.0, 4.0})}")
    labels = raw.astype(np.uint8)
    if 4.0 in values:
        labels[raw == 3] = Label.NCR
        labels[raw == 4] = Label.ET
    return labels


def _says_nothing(array: NDArray[np.float32]) -> bool:
    """True for a constant volume, and for a mask: one value beside 0."""
    values = array[array != 0]
    return not values.size or bool(values.min() == values.max())


def _twins(volumes: Mapping[Sequence, Volume]) -> Iterator[str]:
    """A warning for each pair of sequences with the same voxels: one series never serves as two."""
    for (first, a), (second, b) in combinations(volumes.items(), 2):
        if np.array_equal(a.array, b.array):
            yield f"{first.value} and {second.value} are identical"


def _elsewhere(volumes: Mapping[Sequence, Volume], truth: Geometry) -> Iterator[str]:
    """A warning for each sequence that does not lie where the segmentation does, by the headers."""
    for sequence, volume in volumes.items():
        if not volume.geometry.is_close(truth):
            yield f"{sequence.value} lies elsewhere than the segmentation; voxels are compared index by index"


def _exchanged(volumes: Mapping[Sequence, Volume], labels: NDArray[np.uint8]) -> Iterator[str]:
    """A warning where sequences do not look like what they are called."""
    brain = np.any([volume.array != 0 for volume in volumes.values()], axis=0)
    found = list(suspicions(np.stack([volumes[sequence].array[brain] for sequence in Sequence]), labels[brain]))
    if found:
        yield f"are sequences exchanged? {'; '.join(found)}"
