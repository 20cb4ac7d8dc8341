"""Arrays become MR series as a scanner writes them: valid MR Image Storage with a plausible header on any grid.

Everything follows from the seed or the study's header, UIDs included (root 2.25), so that the same phantom is the same
bytes. Options give the variants of vendors and archives that `assemble` has to understand. mm are patient LPS.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.geometry import Geometry, Volume
from cmdiff_dicom.phantom.scanners import SIEMENS, physics_of
from cmdiff_dicom.records import Sequence

if TYPE_CHECKING:
    from pydicom import Dataset

MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"


@dataclass(frozen=True)
class StudyHeader:
    """What every instance of one study says about patient and study."""

    study_uid: str
    frame_of_reference_uid: str
    patient_name: str
    patient_id: str
    accession_number: str = "ACC0"
    study_id: str = "1"
    birth_date: str = "19700101"
    sex: str = "O"
    date: str = "20250314"
    description: str = "MR BRAIN"

    @staticmethod
    def of_seed(seed: int) -> StudyHeader:
        """The phantom patient of `seed`."""
        name = f"PHANTOM^SEED {seed}"
        study_uid, frame_uid = uid_of("study", str(seed)), uid_of("frame of reference", str(seed))
        return StudyHeader(study_uid, frame_uid, name, f"PHANTOM-{seed}", f"PH{seed}", str(seed))


def uid_of(*parts: str) -> str:
    """A UID under 2.25 that these words always give (PS3.5 B.2)."""
    return f"2.25.{int(hashlib.sha256('|'.join(parts).encode()).hexdigest()[:32], 16)}"


def series_from_volume(
    volume: Volume,
    sequence: Sequence,
    study: StudyHeader,
    *,
    number: int = 1,
    vendor: str = SIEMENS,
    is_reversed: bool = False,
    rescale_per_slice: bool = False,
    slice_thickness_mm: float | None = None,
    **overrides: Any,
) -> list[Dataset]:
    """The volume as one series on its own grid, in slice order, with file meta information.

    Whole numbers from 0 to 65535 are stored as they are, other values with a rescale slope. `is_reversed` numbers the
    instances against the slice order; `rescale_per_slice` gives every slice a slope of its own. `overrides` set
    attributes of every instance by keyword; None removes one.
    """
    geometry = volume.geometry
    if np.abs(np.linalg.inv(directions(geometry)) - directions(geometry).T).max() > 1e-4:
        raise ValueError("slices of a series stand at right angles on their normal")
    series_uid = str(overrides.pop("SeriesInstanceUID", uid_of(study.study_uid, "series", str(number), sequence.value)))
    count = geometry.shape[0]
    stored, slopes, intercept = stored_values(volume.array, rescale_per_slice)
    common = _common_header(study, sequence, series_uid, number, vendor)
    common |= _plane_header(geometry, slice_thickness_mm) | _pixel_header(stored)
    datasets = []
    for k in range(count):
        place = {
            "SOPInstanceUID": uid_of(series_uid, str(k)),
            "InstanceNumber": count - k if is_reversed else k + 1,
            "ImagePositionPatient": [_ds(x) for x in geometry.mm(np.array([[k, 0, 0]]))[0]],
        }
        if slopes is not None:
            place |= {"RescaleSlope": _ds(slopes[k]), "RescaleIntercept": _ds(intercept), "RescaleType": "US"}
        datasets.append(_data_set(common | place | overrides, stored[k]))
    return datasets


def directions(geometry: Geometry) -> NDArray[np.float64]:
    """Unit steps along k, j and i as columns (3, 3)."""
    return np.asarray(geometry.mm_from_index[:3, :3] / geometry.spacing_mm, dtype=np.float64)


def stored_values(
    array: NDArray[np.float32], rescale_per_slice: bool = False
) -> tuple[NDArray[np.uint16], NDArray[np.float64] | None, float]:
    """(stored uint16 (k, j, i), slope of each slice or None, intercept): slope * stored + intercept gives the values back."""
    low, high = float(array.min()), float(array.max())
    is_whole = low >= 0 and high <= 65535 and bool(np.all(array == np.round(array)))
    if is_whole and not rescale_per_slice:
        return array.astype(np.uint16), None, 0.0
    intercept = min(low, 0.0)
    tops = array.max(axis=(1, 2)) if rescale_per_slice else np.full(len(array), high)
    # as the header will say it, so that no digit is lost between writing and reading
    slopes = np.array([float(_ds(max(top - intercept, 1e-6) / 32767.0)) for top in tops])
    return np.round((array - intercept) / slopes[:, None, None]).astype(np.uint16), slopes, intercept


def _ds(value: float) -> str:
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value))


def _common_header(study: StudyHeader, sequence: Sequence, series_uid: str, number: int, vendor: str) -> dict[str, Any]:
    minutes = 5 * number
    time = f"10{minutes:02d}00" if minutes < 60 else f"{10 + minutes // 60}{minutes % 60:02d}00"
    return {
        "SpecificCharacterSet": "ISO_IR 100",
        "SOPClassUID": MR_IMAGE_STORAGE,
        "StudyDate": study.date,
        "SeriesDate": study.date,
        "AcquisitionDate": study.date,
        "StudyTime": "100000",
        "SeriesTime": time,
        "AcquisitionTime": time,
        "AccessionNumber": study.accession_number,
        "Modality": "MR",
        "Manufacturer": vendor,
        "ReferringPhysicianName": "",
        "StudyDescription": study.description,
        "ManufacturerModelName": "Phantom",
        "PatientName": study.patient_name,
        "PatientID": study.patient_id,
        "PatientBirthDate": study.birth_date,
        "PatientSex": study.sex,
        "BodyPartExamined": "BRAIN",
        "MagneticFieldStrength": 3,
        "ProtocolName": physics_of(sequence, vendor)["SeriesDescription"],
        "PatientPosition": "HFS",
        "StudyInstanceUID": study.study_uid,
        "SeriesInstanceUID": series_uid,
        "StudyID": study.study_id,
        "SeriesNumber": number,
        "AcquisitionNumber": 1,
        "FrameOfReferenceUID": study.frame_of_reference_uid,
        "PositionReferenceIndicator": "",
        **physics_of(sequence, vendor),
    }


def _plane_header(geometry: Geometry, slice_thickness_mm: float | None) -> dict[str, Any]:
    spacing, turned = geometry.spacing_mm, directions(geometry)
    return {
        "Rows": geometry.shape[1],
        "Columns": geometry.shape[2],
        "PixelSpacing": [_ds(spacing[1]), _ds(spacing[2])],
        "SliceThickness": _ds(slice_thickness_mm or spacing[0]),
        "SpacingBetweenSlices": _ds(spacing[0]),
        "ImageOrientationPatient": [_ds(x) for x in (*turned[:, 2], *turned[:, 1])],
    }


def _pixel_header(stored: NDArray[np.uint16]) -> dict[str, Any]:
    bits = 12 if int(stored.max()) < 4096 else 16
    return {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": 0,
    }


def _data_set(values: Mapping[str, Any], pixels: NDArray[np.uint16]) -> Dataset:
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    data_set = Dataset()
    for keyword, value in values.items():
        if value is not None:
            setattr(data_set, keyword, value)
    data_set.PixelData = pixels.astype("<u2").tobytes()
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data_set.file_meta.MediaStorageSOPClassUID = data_set.SOPClassUID
    data_set.file_meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    return data_set


def write_series(datasets: list[Dataset], folder: Path) -> Path:
    """The series as files 0001.dcm, ... of `folder`, in the order given."""
    folder.mkdir(parents=True, exist_ok=True)
    for n, data_set in enumerate(datasets, start=1):
        data_set.save_as(folder / f"{n:04d}.dcm", enforce_file_format=True)
    return folder
