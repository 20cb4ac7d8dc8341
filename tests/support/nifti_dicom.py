"""NIfTI volumes as MR series, as a scanner of that grid would have written them (needs nibabel)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cmdiff_dicom.geometry import Geometry, Volume
from cmdiff_dicom.phantom.mri import StudyHeader, series_from_volume, uid_of, write_series
from cmdiff_dicom.phantom.study import PROTOCOLS
from cmdiff_dicom.records import Sequence
from tests.support.grids import turned

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_nifti(path: Path) -> Volume:
    """The file's own voxels, (k, j, i) from its (i, j, k), in LPS mm."""
    import nibabel

    image = nibabel.load(path)
    array = np.ascontiguousarray(np.asarray(image.dataobj, dtype=np.float32).transpose(2, 1, 0))
    affine = LPS_FROM_RAS @ image.affine
    affine[:, :3] = affine[:, [2, 1, 0]]
    return Volume(array, Geometry(array.shape, affine), path.name)


def write_nifti_study(folder: Path, files: Mapping[Sequence, Path], *, key: str = "", is_reversed: bool = False, turn_deg: float = 0.0) -> Path:
    """The files as one study below `folder`, one folder for each sequence, on their own grids or on turned ones.

    `is_reversed` numbers and names the instances against the slice order.
    """
    key = key or folder.name
    study = StudyHeader(uid_of("nifti", key), uid_of("nifti frame", key), "NIFTI^STUDY", "NIFTI")
    for number, sequence in enumerate(PROTOCOLS, start=1):
        if sequence not in files:
            continue
        volume = read_nifti(files[sequence])
        if turn_deg:
            volume = turned(volume, turn_deg)
        datasets = series_from_volume(volume, sequence, study, number=number, is_reversed=is_reversed)
        write_series(datasets[::-1] if is_reversed else datasets, folder / sequence.value)
    return folder


def native_files(real_data: Path) -> dict[Sequence, Path]:
    """The four sequences of the real tumour study on native grids."""
    folder = real_data / "native" / "tcga_fg_6692"
    return {sequence: folder / f"{sequence.value}.nii.gz" for sequence in Sequence}


def brats_files(folder: Path) -> dict[Sequence, Path]:
    """The four sequences of a BraTS study of any year."""
    endings = {Sequence.T1N: ("t1", "t1n"), Sequence.T1C: ("t1ce", "t1c"), Sequence.T2W: ("t2", "t2w"), Sequence.T2F: ("flair", "t2f")}
    found = {}
    for path in sorted(folder.glob("*.nii.gz")):
        name = path.name.removesuffix(".nii.gz").lower().replace("-", "_").rsplit("_", 1)[-1]
        found.update({sequence: path for sequence, names in endings.items() if name in names})
    return found
