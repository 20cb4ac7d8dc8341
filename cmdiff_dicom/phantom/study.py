"""The phantom patient as four series on disk: each with a protocol's own grid, a little turned against the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmdiff_dicom.geometry import Geometry, Volume
from cmdiff_dicom.phantom.mri import StudyHeader, series_from_volume, write_series
from cmdiff_dicom.phantom.scanners import SIEMENS
from cmdiff_dicom.records import Sequence


@dataclass(frozen=True, eq=False)
class PhantomStudy:
    """A study on disk. `truth` holds its label values, float32, on the head's own grid."""

    folder: Path
    study_uid: str
    series: Mapping[Sequence, Path]
    truth: Volume


@dataclass(frozen=True)
class Protocol:
    """A series' grid before its tilt: matrix (k, j, i), spacing in mm (k, j, i), slice thickness, plane."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    slice_thickness_mm: float
    plane: str = "axial"


PROTOCOLS: Mapping[Sequence, Protocol] = {
    Sequence.T1N: Protocol((176, 256, 256), (1.0, 1.0, 1.0), 1.0, "sagittal"),
    Sequence.T2W: Protocol((44, 320, 320), (4.4, 0.75, 0.75), 4.0),
    Sequence.T2F: Protocol((36, 256, 256), (5.5, 0.9375, 0.9375), 5.0),
    Sequence.T1C: Protocol((184, 240, 240), (1.0, 1.0, 1.0), 1.0),
}
"""In the order of acquisition."""

# columns: directions of k, j, i
_PLANES = {
    "axial": np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]]),
    "sagittal": np.array([[-1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
}
_CENTRE_MM = (0.0, 2.0, -6.0)
COUNTS = 8
"""Stored value of a brightness of 1; white matter has about 100."""


def grid_of(
    protocol: Protocol, tilt_deg: tuple[float, float, float], frame_of_reference_uid: str, coarse: float = 1.0
) -> Geometry:
    """The protocol's grid about the head's centre, turned about x, y and z; `coarse` enlarges its voxels."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler("xyz", tilt_deg, degrees=True).as_matrix()
    shape = (protocol.shape[0], *(round(n / coarse) for n in protocol.shape[1:]))
    spacing = np.array(protocol.spacing_mm) * (1.0, coarse, coarse)
    affine = np.eye(4)
    affine[:3, :3] = turn @ _PLANES[protocol.plane] * spacing
    affine[:3, 3] = np.array(_CENTRE_MM) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Geometry((shape[0], shape[1], shape[2]), affine, frame_of_reference_uid)


def write_study(folder: Path, seed: int, *, tumour: bool = True, vendor: str = SIEMENS, coarse: float = 1.0) -> PhantomStudy:
    """The phantom patient of `seed` as four series below `folder`, one folder each, and the truth about its tumour.

    `coarse` enlarges voxels within the slices (and the head's own), for tests that need no detail.
    """
    from cmdiff_dicom.synthesis import acquire, make_head, render

    head = make_head(seed, tumour=tumour, spacing_mm=coarse)
    study = StudyHeader.of_seed(seed)
    rng = np.random.default_rng([seed, 30])
    folders = {}
    for number, (sequence, protocol) in enumerate(PROTOCOLS.items(), start=1):
        x, y, z = (float(angle) for angle in rng.uniform(-5, 5, size=3))
        grid = grid_of(protocol, (x, y, z), study.frame_of_reference_uid, coarse)
        image = render(head, sequence, bias=0.15)
        thickness = protocol.slice_thickness_mm
        scanned = acquire(image, grid, noise=0.02, seed=1000 * seed + number, slice_thickness_mm=thickness)
        counts = Volume(np.round(scanned.array * COUNTS), grid, sequence.value)
        datasets = series_from_volume(counts, sequence, study, number=number, vendor=vendor, slice_thickness_mm=thickness)
        folders[sequence] = write_series(datasets, folder / sequence.value)
    truth = Volume(head.label.astype(np.float32), head.geometry, "truth")
    return PhantomStudy(folder, study.study_uid, folders, truth)
