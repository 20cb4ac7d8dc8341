"""The model: `load_segmenter` gives a `Segmenter`, whose `segment` turns a prepared study into region probabilities."""

from cmdiff_dicom.segment.recipe import Recipe
from cmdiff_dicom.segment.segmenter import Segmenter, load_segmenter

__all__ = ["Recipe", "Segmenter", "load_segmenter"]
