"""MR instances as bytes, the way they travel: a data set without file meta information, in any uncompressed transfer syntax."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from io import BytesIO

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

STUDY, SERIES = "1.2.826.0.1.3680043.8.498.10", "1.2.826.0.1.3680043.8.498.11"
MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT, IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"


def mr_header(sop_uid="1.2.3", instance_number=1, **overrides: object) -> Dataset:
    """A T1 slice of 256 x 256; `overrides` set attributes, None removes one."""
    header = Dataset()
    header.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    header.SOPClassUID, header.SOPInstanceUID = MR, sop_uid
    header.StudyDate, header.AcquisitionTime, header.Modality, header.Manufacturer = "20250102", "101112.5", "MR", "SIEMENS"
    header.AccessionNumber, header.SeriesDescription, header.ProtocolName = "A1", "T1 AX +C", "t1_se"
    header.PatientName, header.PatientID, header.PatientBirthDate = "Doe^Jane", "P1", "19700101"
    header.BodyPartExamined, header.ScanningSequence, header.SequenceVariant = "BRAIN", "SE", ["SP", "OSP"]
    header.MRAcquisitionType, header.SequenceName = "2D", "*se2d1"
    header.RepetitionTime, header.EchoTime, header.FlipAngle, header.SliceThickness = "550", "12", "90", "5"
    header.ContrastBolusAgent = "Gadovist"
    header.StudyInstanceUID, header.SeriesInstanceUID = STUDY, SERIES
    header.InstanceNumber, header.AcquisitionNumber = instance_number, 1
    header.ImagePositionPatient = [-112.5, -100.25, 5.5 * instance_number]
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    header.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.12"
    header.Rows = header.Columns = 256
    header.PixelSpacing = [0.9, 0.8]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    return changed(header, overrides)


def changed(header: Dataset, overrides: Mapping[str, object]) -> Dataset:
    """The same header with attributes set; None removes one."""
    for keyword, value in overrides.items():
        if value is None:
            delattr(header, keyword)
        else:
            setattr(header, keyword, value)
    return header


def mr_data_set(sop_uid="1.2.3", instance_number=1, transfer_syntax=EXPLICIT, **overrides: object) -> bytes:
    """The same with noise for pixels, encoded."""
    header = mr_header(sop_uid, instance_number, **overrides)
    pixels = np.random.default_rng(instance_number).integers(0, 4096, (256, 256)).astype("<u2")
    header.PixelData = pixels.tobytes() if transfer_syntax != BIG_ENDIAN else pixels.byteswap().tobytes()
    header["PixelData"].VR = "OW"
    return encoded(header, transfer_syntax)


def file_bytes(data_set: Dataset, transfer_syntax: str = "") -> bytes:
    """A data set as a file: in `transfer_syntax`, else in its own."""
    if transfer_syntax:
        data_set.file_meta = FileMetaDataset()
        data_set.file_meta.TransferSyntaxUID = transfer_syntax
    stream = BytesIO()
    dcmwrite(stream, data_set, enforce_file_format=True)
    return stream.getvalue()


def encoded(data_set: Dataset, transfer_syntax=EXPLICIT) -> bytes:
    """A data set's bytes without file meta information."""
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = transfer_syntax == IMPLICIT, transfer_syntax != BIG_ENDIAN
    write_dataset(stream, data_set)
    content = stream.getvalue()
    if transfer_syntax != DEFLATED:
        return content
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(content) + deflate.flush()
