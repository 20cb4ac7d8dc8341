"""The model: `load_segmenter` gives a `Segmenter`, whose `segment` turns a prepared study into region probabilities.

`weights_identity` says which weights a file holds. It needs no torch, which the others load when they are first asked for.
"""

from typing import TYPE_CHECKING, Any

from cmdiff_dicom.segment.identity import weights_identity
from cmdiff_dicom.segment.recipe import Recipe

if TYPE_CHECKING:
    from cmdiff_dicom.segment.segmenter import Segmenter, load_segmenter

__all__ = ["Recipe", "Segmenter", "load_segmenter", "weights_identity"]


def __getattr__(name: str) -> Any:
    if name in ("Segmenter", "load_segmenter"):
        from cmdiff_dicom.segment import segmenter

        return getattr(segmenter, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
