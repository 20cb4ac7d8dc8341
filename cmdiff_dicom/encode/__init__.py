"""A label map becomes a DICOM-SEG on the radiologist's own pixels."""

from cmdiff_dicom.encode.seg import encode_seg

__all__ = ["encode_seg"]
