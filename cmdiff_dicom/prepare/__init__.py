"""The four sequences come onto one 1 mm grid along the patient's axes, with a brain mask."""

from cmdiff_dicom.prepare.study import prepare_study

__all__ = ["prepare_study"]
