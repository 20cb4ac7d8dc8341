"""A DICOM node that segments brain tumours with CMDiff. Research use, not for diagnosis."""

__version__ = "0.1.0"
