"""A data set's header -> ReceivedInstance: what tells an instance apart, places it in space and recognises its sequence.

Reading ends at Pixel Spacing: nothing after it is needed, so pixels, per-frame groups and vendors' large private
elements are not touched, unless a UID is missing by then. Of free text only the words of `words.py` are kept, since the
rest may name a patient.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from datetime import date, datetime, timedelta
from io import BytesIO

from pydicom.datadict import dictionary_description
from pydicom.filereader import data_element_generator
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian

from cmdiff_dicom.errors import UnreadableInstance
from cmdiff_dicom.receive.elements import Header, RawElement, integer, number, numbers, own_text, text, texts, whole_text
from cmdiff_dicom.records import Acquisition, Blob, ReceivedInstance
from cmdiff_dicom.words import known_words, names_contrast_agent

LAST_TAG = 0x00280030
"""Pixel Spacing, the last element that is read."""
INFLATED_HEADER_BYTES = 8 << 20
"""How much of a deflated data set is inflated: headers are smaller, and a bomb shall not go off."""
LONGEST_UID = 64
NOT_STORED = Blob("", 0)
"""Stands in while a header is judged: what cannot be read is not stored."""

_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_CONTRAST = ("ContrastBolusAgent", "ContrastBolusVolume", "ContrastBolusStartTime")
_DESCRIPTIONS = ("SeriesDescription", "ProtocolName")
"""Of the series. What was requested for the study says nothing about one series."""
_WANTED = (
    *_UIDS, *_CONTRAST, *_DESCRIPTIONS, "SpecificCharacterSet",
    "ImageType", "StudyDate", "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime", "AccessionNumber", "Modality",
    "PatientID", "BodyPartExamined", "ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "SequenceName",
    "AngioFlag", "RepetitionTime", "EchoTime", "InversionTime", "EchoTrainLength", "FlipAngle", "DiffusionBValue",
    "AcquisitionNumber", "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "TemporalPositionIdentifier",
    "NumberOfFrames", "Rows", "Columns", "PixelSpacing",
)  # fmt: skip
_KEYWORD_OF = {Tag(keyword): keyword for keyword in _WANTED}


def read_instance(
    data_set: bytes, transfer_syntax_uid: str, blob: Blob, calling_ae: str, received_at: datetime
) -> ReceivedInstance:
    """What the header of `data_set` (no preamble, no file meta information) says.

    Pixels may be cut short or missing: whoever decodes them judges them. Raises: UnreadableInstance.
    """
    transfer_syntax_uid = _true_syntax(data_set, transfer_syntax_uid)
    header = read_header(data_set, transfer_syntax_uid)
    sop_class_uid, sop_uid, study_uid, series_uid = (_uid(header, keyword) for keyword in _UIDS)
    return ReceivedInstance(
        study_uid=study_uid,
        series_uid=series_uid,
        sop_uid=sop_uid,
        sop_class_uid=sop_class_uid,
        transfer_syntax_uid=transfer_syntax_uid,
        blob=blob,
        received_at=received_at,
        calling_ae=calling_ae,
        accession_number=own_text(header, "AccessionNumber")[:64],
        patient_digest=_patient_digest(study_uid, own_text(header, "PatientID")),
        modality=text(header, "Modality")[:16],
        frame_of_reference_uid=text(header, "FrameOfReferenceUID")[:LONGEST_UID],
        rows=integer(header, "Rows") or 0,
        columns=integer(header, "Columns") or 0,
        number_of_frames=integer(header, "NumberOfFrames") or 1,
        orientation=_vector(header, "ImageOrientationPatient", 6),
        position_mm=_vector(header, "ImagePositionPatient", 3),
        pixel_spacing_mm=_vector(header, "PixelSpacing", 2),
        acquisition=_acquisition(header),
    )


def read_header(data_set: bytes, transfer_syntax_uid: str) -> Header:
    """The wanted elements of a data set. Raises: UnreadableInstance where the bytes are no data set."""
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        data_set = _inflated(data_set)
    header = _read_until(_is_past_header, data_set, transfer_syntax_uid)
    if not set(_UIDS) <= header.keys():  # elements may stand out of order, a delimiter alone between them
        header = _read_until(_is_pixels, data_set, transfer_syntax_uid)
    return header


def _read_until(stop: Callable[[int, str | None, int], bool], data_set: bytes, transfer_syntax_uid: str) -> Header:
    is_implicit, is_little = not _names_vrs(data_set), transfer_syntax_uid != ExplicitVRBigEndian
    header: dict[str, RawElement] = {}
    try:
        for element in data_element_generator(
            BytesIO(data_set), is_implicit, is_little, stop_when=stop, specific_tags=list(_KEYWORD_OF)
        ):
            if element.tag in _KEYWORD_OF and isinstance(element.value, bytes):
                vr = element.VR if element.VR not in (None, "UN") else ""
                header[_KEYWORD_OF[element.tag]] = RawElement(vr, element.value, is_little)
    except Exception as error:  # a parser meeting arbitrary bytes may fail in any way; its text may quote them
        if not set(_UIDS) <= header.keys():
            raise UnreadableInstance(f"data set: not readable as {transfer_syntax_uid} ({type(error).__name__})") from None
    return header


def _true_syntax(data_set: bytes, transfer_syntax_uid: str) -> str:
    """The agreed transfer syntax, but for a data set that was to be deflated and is not, as some senders leave it."""
    is_plain = transfer_syntax_uid == DeflatedExplicitVRLittleEndian and data_set[:2] == b"\x08\0" and _names_vrs(data_set)
    return ExplicitVRLittleEndian if is_plain else transfer_syntax_uid


def _names_vrs(data_set: bytes) -> bool:
    """True for Explicit VR, whatever was agreed: workstations and old archives send the one under the other's name."""
    return data_set[4:6].isalpha() and data_set[4:6].isupper()


def _is_past_header(tag: int, _vr: str | None, _length: int) -> bool:
    return tag > LAST_TAG


def _is_pixels(tag: int, _vr: str | None, _length: int) -> bool:
    return tag >> 16 == 0x7FE0


def _inflated(data_set: bytes) -> bytes:
    """The beginning of a deflated data set (raw deflate, PS3.5 A.5)."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data_set, INFLATED_HEADER_BYTES)
    except zlib.error:
        raise UnreadableInstance("data set: is not deflated although its transfer syntax says so") from None


def _uid(header: Header, keyword: str) -> str:
    """A UID that an instance needs. Texts that are no UIDs are kept as they are: they never become a path."""
    uid = text(header, keyword)
    if not uid or len(uid) > LONGEST_UID or not uid.isascii():
        found = "is missing" if not uid else "is longer than 64 characters or not ASCII"
        raise UnreadableInstance(f"data set: {dictionary_description(keyword)} {found}; the sender has to mend it")
    return uid


def _patient_digest(study_uid: str, patient_id: str) -> str:
    """Tells two patients under one study apart and names none; who issued the ID makes no second patient."""
    return hashlib.sha256(f"{study_uid}\0{patient_id}".encode()).hexdigest() if patient_id else ""


def _vector(header: Header, keyword: str, length: int) -> tuple[float, ...]:
    values = numbers(header, keyword)
    return values if len(values) == length else ()


def _acquisition(header: Header) -> Acquisition:
    return Acquisition(
        scanning_sequence=texts(header, "ScanningSequence"),
        sequence_variant=texts(header, "SequenceVariant"),
        scan_options=texts(header, "ScanOptions"),
        sequence_name=text(header, "SequenceName")[:16],
        acquisition_type=text(header, "MRAcquisitionType"),
        repetition_time_ms=number(header, "RepetitionTime"),
        echo_time_ms=number(header, "EchoTime"),
        inversion_time_ms=number(header, "InversionTime"),
        echo_train_length=number(header, "EchoTrainLength"),
        flip_angle_deg=number(header, "FlipAngle"),
        image_type=texts(header, "ImageType"),
        contrast_agent=any(names_contrast_agent(whole_text(header, keyword)) for keyword in _CONTRAST if keyword in header),
        angio=text(header, "AngioFlag").upper() == "Y",
        diffusion_b_value=number(header, "DiffusionBValue"),
        words=known_words(*(own_text(header, keyword) for keyword in _DESCRIPTIONS)),
        body_part=text(header, "BodyPartExamined")[:16],
        acquisition_number=integer(header, "AcquisitionNumber"),
        temporal_position=integer(header, "TemporalPositionIdentifier"),
        acquisition_day=_acquisition_day(header),
        acquisition_time=_acquisition_time(header),
    )


def _acquisition_date(header: Header) -> str:
    """Acquisition Date, else the date of Acquisition DateTime."""
    return text(header, "AcquisitionDate") or text(header, "AcquisitionDateTime")[:8]


def _acquisition_day(header: Header) -> int | None:
    """The day of acquisition, counted from a day that only the Study Instance UID gives."""
    beginning = int(hashlib.sha256(text(header, "StudyInstanceUID").encode()).hexdigest()[:4], 16)
    try:
        return date.fromisoformat(_acquisition_date(header)).toordinal() - beginning
    except ValueError:
        return None


def _acquisition_time(header: Header) -> str:
    """Acquisition Time, else the time of Acquisition DateTime: digits that compare within one study.

    Hours go on counting past the study's midnight, up to 47.
    """
    moment = text(header, "AcquisitionDateTime")
    time = text(header, "AcquisitionTime")[:14] or moment[8:22]
    if _is_next_day(text(header, "StudyDate"), _acquisition_date(header)) and time[:2].isdigit():
        return f"{int(time[:2]) + 24}{time[2:]}"
    return time


def _is_next_day(study_date: str, day: str) -> bool:
    try:
        return date.fromisoformat(day) - date.fromisoformat(study_date) == timedelta(days=1)
    except ValueError:
        return False
