"""Source headers as highdicom accepts them, and the patient and study as the source tells them.

Real MR headers make highdicom raise: orientations that differ in the last digit, attributes of type 2 that are
missing, decimal texts longer than 16 characters, a sex that is not M, F or O. So it is handed small copies that hold
only what places a frame; who the patient is and what the study is called is written onto the finished object
afterwards, element for element from the source, so that nothing a PACS matches by is reworded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from cmdiff_dicom.encode.uids import derived_uid
from cmdiff_dicom.errors import EncodingFault
from cmdiff_dicom.geometry import Geometry

ORIENTATION_JITTER = 1e-3
"""Direction cosines of one stack may differ by this much, which viewers take for equal; the first slice's serve for all."""

_BLANK_IF_MISSING = (
    "PatientName PatientID PatientBirthDate PatientSex "
    "StudyDate StudyTime ReferringPhysicianName StudyID AccessionNumber"
).split()
"""Type 2 of the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1)."""

_PATIENT_AND_STUDY = (
    # Patient (PS3.3 C.7.1.1)
    "IssuerOfPatientID IssuerOfPatientIDQualifiersSequence TypeOfPatientID PatientBirthTime OtherPatientNames "
    "OtherPatientIDsSequence EthnicGroup PatientComments QualityControlSubject PatientIdentityRemoved "
    "DeidentificationMethod DeidentificationMethodCodeSequence "
    # General Study (C.7.2.1)
    "StudyDescription IssuerOfAccessionNumberSequence ReferringPhysicianIdentificationSequence PhysiciansOfRecord "
    "NameOfPhysiciansReadingStudy RequestingService ReferencedStudySequence ProcedureCodeSequence "
    # Patient Study (C.7.2.2)
    "AdmittingDiagnosesDescription PatientAge PatientSize PatientWeight Occupation AdditionalPatientHistory AdmissionID "
    "IssuerOfAdmissionIDSequence ServiceEpisodeID "
    # Clinical Trial Subject and Study (C.7.1.3, C.7.2.3)
    "ClinicalTrialSponsorName ClinicalTrialProtocolID ClinicalTrialProtocolName ClinicalTrialSiteID ClinicalTrialSiteName "
    "ClinicalTrialSubjectID ClinicalTrialSubjectReadingID ClinicalTrialTimePointID ClinicalTrialTimePointDescription "
    # How the texts above are written, and from where times are counted
    "SpecificCharacterSet TimezoneOffsetFromUTC"
).split()

_EQUIPMENT_AND_LOSS = (
    "Manufacturer ManufacturerModelName SoftwareVersions DeviceSerialNumber PositionReferenceIndicator "
    "LossyImageCompression LossyImageCompressionRatio LossyImageCompressionMethod"
).split()


def repaired_copies(sources: Sequence[Dataset], grid: Geometry) -> list[Dataset]:
    """One small copy per source, in the same order, with every attribute that highdicom reads.

    Positions and spacings keep the source's text, which viewers compare; what the source lacks or garbles comes from
    `grid`, the volume that was assembled from these sources. Spacing Between Slices always does: some scanners
    write the gap there.
    """
    orientation = _shared_orientation(sources, grid)
    first = sources[0]
    frame_of_reference = (
        next((str(uid) for source in sources if (uid := value_of(source, "FrameOfReferenceUID"))), "")
        or grid.frame_of_reference_uid
        or derived_uid(str(first.SeriesInstanceUID), "frame of reference")
    )
    copies = []
    for k, source in enumerate(sources):
        copy = Dataset()
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
            setattr(copy, keyword, str(value_of(source, keyword)))
        for keyword in _EQUIPMENT_AND_LOSS:
            if value_of(source, keyword):
                _copy_element(source, copy, keyword)
        for keyword in _BLANK_IF_MISSING:
            setattr(copy, keyword, "")
        copy.Rows, copy.Columns = int(source.Rows), int(source.Columns)
        copy.FrameOfReferenceUID = frame_of_reference
        copy.ImageOrientationPatient = orientation
        copy.ImagePositionPatient = decimals(source, "ImagePositionPatient", 3) or as_text(grid.mm(np.array([[k, 0, 0]]))[0])
        copy.PixelSpacing = _positive(decimals(source, "PixelSpacing", 2)) or as_text(grid.spacing_mm[1:])
        copy.SliceThickness = (_positive(decimals(source, "SliceThickness", 1)) or as_text(grid.spacing_mm[:1]))[0]
        copy.SpacingBetweenSlices = as_text(grid.spacing_mm[:1])[0]
        copies.append(copy)
    return copies


def copy_patient_and_study(source: Dataset, onto: Dataset) -> None:
    """`onto` says of patient and study what `source` says, unchanged; what the standard wants at least blank is blank.

    With the source's character set its bytes survive too: pydicom writes a name that it read under the same
    character set as it came.
    """
    for keyword in (*_BLANK_IF_MISSING, *_PATIENT_AND_STUDY):
        if keyword in onto:
            delattr(onto, keyword)
        _copy_element(source, onto, keyword)
        if keyword not in onto and keyword in _BLANK_IF_MISSING:
            setattr(onto, keyword, "")


def value_of(source: Dataset, keyword: str) -> Any:
    """What an element says; None where it is absent, empty, or so garbled that pydicom cannot read it."""
    try:
        return source.get(keyword) or None
    except Exception:  # garbled bytes raise all kinds
        return None


def decimals(source: Dataset, keyword: str, count: int) -> list[str]:
    """The `count` decimal texts of an attribute as the source wrote them, or [] where they cannot be read.

    Read by the dictionary's meaning, not by the file's VR: a spacing written as one text "2.5\\2.5" is two numbers.
    Texts longer than a decimal string may be (16 characters, PS3.5 6.2) are rounded to fit.
    """
    try:
        value = source.get(keyword)
        if value is None or value == "":
            return []
        values = [value] if isinstance(value, str | bytes | int | float) else list(value)
        texts = [text for item in values for text in _text(item).split("\\")]
        numbers = [float(text) for text in texts]
    except (ValueError, TypeError, OverflowError, AttributeError):
        return []
    if len(numbers) != count or not np.all(np.isfinite(numbers)):
        return []
    return [text if len(text) <= 16 else format_number_as_ds(number) for text, number in zip(texts, numbers, strict=True)]


def as_text(numbers: NDArray[np.float64]) -> list[str]:
    """Decimal strings of `numbers`, as exact as 16 characters allow."""
    return [format_number_as_ds(float(number)) for number in numbers]


def _shared_orientation(sources: Sequence[Dataset], grid: Geometry) -> list[str]:
    directions = (grid.mm_from_index[:3, :3] / grid.spacing_mm).T
    from_grid = as_text(np.concatenate([directions[2], directions[1]]))
    texts = [decimals(source, "ImageOrientationPatient", 6) or from_grid for source in sources]
    cosines = np.array(texts, dtype=np.float64)
    jitter = float(np.abs(cosines - cosines[0]).max())
    if jitter > ORIENTATION_JITTER:
        raise EncodingFault(
            f"encode: Image Orientation (Patient) differs by {jitter:.2g} within the reference series, wanted at most "
            f"{ORIENTATION_JITTER:g}; the slices belong to more than one stack"
        )
    return texts[0]


def _positive(texts: list[str]) -> list[str]:
    return texts if all(float(text) > 0 for text in texts) else []


def _text(item: object) -> str:
    return (item.decode("ascii") if isinstance(item, bytes) else str(item)).strip(" \0")


def _copy_element(source: Dataset, onto: Dataset, keyword: str) -> None:
    """Copies an element as it is; a sequence without items, or whatever pydicom cannot read at all, is left out."""
    try:
        if keyword in source and not (source[keyword].VR == "SQ" and not source[keyword].value):
            onto.add(source[keyword])
    except Exception:  # garbled bytes raise all kinds, and none of these elements is worth the result
        return
