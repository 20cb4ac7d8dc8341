"""Small MR series as a scanner would write them, and label maps on their grid."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import format_number_as_ds

from cmdiff_dicom.geometry import Geometry
from cmdiff_dicom.records import Label, LabelMap, ModelIdentity
from tests.support.instances import changed, file_bytes

AXIAL = np.eye(3)
"""Rows of this matrix: direction of increasing column, of increasing row, and the slice normal."""

SAGITTAL = np.array([[0.0, 1, 0], [0, 0, -1], [-1, 0, 0]])

_TILT = np.deg2rad(17.0)
OBLIQUE = np.array([[1.0, 0, 0], [0, np.cos(_TILT), np.sin(_TILT)], [0, -np.sin(_TILT), np.cos(_TILT)]])

MODEL = ModelIdentity(name="cmdiff", version="1.0.0", weights_sha256="ab" * 32)


def grid(shape=(7, 35, 33), directions=AXIAL, spacing_mm=(3.0, 0.9, 0.7), origin_mm=(-11.5, -13.25, 20.125)) -> Geometry:
    """A grid of `shape` (k, j, i): `directions` as rows (i, j, k), `spacing_mm` (k, j, i)."""
    mm_from_index = np.eye(4)
    mm_from_index[:3, 0] = directions[2] * spacing_mm[0]
    mm_from_index[:3, 1] = directions[1] * spacing_mm[1]
    mm_from_index[:3, 2] = directions[0] * spacing_mm[2]
    mm_from_index[:3, 3] = origin_mm
    return Geometry(shape, mm_from_index, "1.2.826.0.1.3680043.8.498.1")


def series(geometry: Geometry, **overrides: object) -> list[Dataset]:
    """Headers of one MR series on `geometry`, in slice order, read back from bytes as a receiver reads them.

    `overrides` set attributes of every instance; None removes one.
    """
    spacing, steps = geometry.spacing_mm, geometry.mm_from_index[:3, :3]
    datasets = []
    for k in range(geometry.shape[0]):
        header = Dataset()
        header.SOPClassUID, header.SOPInstanceUID = MRImageStorage, f"1.2.826.0.1.3680043.8.498.2.{k + 1}"
        header.StudyInstanceUID, header.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.3", "1.2.826.0.1.3680043.8.498.4"
        header.FrameOfReferenceUID, header.PositionReferenceIndicator = geometry.frame_of_reference_uid, ""
        header.Modality, header.Manufacturer, header.ManufacturerModelName = "MR", "ACME", "Magnet"
        header.PatientName, header.PatientID, header.PatientBirthDate, header.PatientSex = "Doe^Jane", "P1", "19700101", "F"
        header.StudyID, header.AccessionNumber, header.ReferringPhysicianName = "S1", "A1", ""
        header.StudyDate, header.StudyTime, header.StudyDescription = "20250102", "101112", "Brain"
        header.SeriesNumber, header.InstanceNumber = 3, k + 1
        header.Rows, header.Columns = geometry.shape[1:]
        header.PixelSpacing = [format_number_as_ds(float(spacing[1])), format_number_as_ds(float(spacing[2]))]
        header.SliceThickness = format_number_as_ds(float(spacing[0]))
        cosines = np.concatenate([steps[:, 2] / spacing[2], steps[:, 1] / spacing[1]])
        header.ImageOrientationPatient = [format_number_as_ds(float(c)) for c in cosines]
        header.ImagePositionPatient = [format_number_as_ds(float(x)) for x in geometry.mm(np.array([[k, 0, 0]]))[0]]
        datasets.append(reread(changed(header, overrides)))
    return datasets


def reread(header: Dataset, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> Dataset:
    """The same header after one trip through bytes."""
    return dcmread(BytesIO(file_bytes(header, transfer_syntax_uid)))


def label_map(geometry: Geometry, labels: np.ndarray | None = None, seed: int = 0) -> LabelMap:
    """`labels`, or a lesion of all three tumour labels with empty slices inside and at both ends."""
    if labels is None:
        labels = np.zeros(geometry.shape, np.uint8)
        random = np.random.default_rng(seed)
        filled = [k for k in range(1, geometry.shape[0] - 1) if k != geometry.shape[0] // 2]
        labels[filled] = random.choice([0, 0, 1, 2, 3], size=(len(filled), *geometry.shape[1:])).astype(np.uint8)
    volume_ml = {label: float(np.count_nonzero(labels == label)) * geometry.voxel_ml for label in Label if np.any(labels == label)}
    return LabelMap(labels=labels, geometry=geometry, volume_ml=volume_ml, model=MODEL)
