"""A digital head with a tumour whose truth is known; arrays only."""

from cmdiff_dicom.synthesis.contrast import acquire, render
from cmdiff_dicom.synthesis.head import Head, Tissue, make_head

__all__ = ["Head", "Tissue", "acquire", "make_head", "render"]
