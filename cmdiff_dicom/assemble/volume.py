"""A stack's slices -> one Volume with exact geometry, one slice decoded at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from cmdiff_dicom.assemble.pixels import decode_slice, oddities, photometric_interpretation, read_data_set
from cmdiff_dicom.assemble.slices import geometry_of
from cmdiff_dicom.errors import UnreadablePixels
from cmdiff_dicom.geometry import Volume
from cmdiff_dicom.records import Stack

if TYPE_CHECKING:
    from pydicom import Dataset

ReadBytes = Callable[[str], bytes]
"""sha256 -> the data set's bytes, as `Spool.read` gives them."""


def read_volume(stack: Stack, read: ReadBytes) -> tuple[Volume, tuple[str, ...]]:
    """The stack's intensities on its own grid, every slice rescaled by its own pair, and what was odd about its files.

    Padding becomes the least value. Raises: UnreadablePixels with the slice's number, where one cannot be decoded.
    """
    geometry = geometry_of(stack)
    name = stack.sequence.value if stack.sequence else ""
    array = np.empty(geometry.shape, dtype=np.float32)
    odd: Counter[str] = Counter()
    is_inverted = False
    for k, instance in enumerate(stack.instances):
        place = f"{name}: slice {k + 1} of {geometry.shape[0]}"
        data_set_bytes = read(instance.blob.sha256)
        try:
            data_set = read_data_set(data_set_bytes, instance.transfer_syntax_uid)
            values = decode_slice(data_set)
        except UnreadablePixels as fault:
            raise UnreadablePixels(f"{place}: {fault}") from None
        if values.shape != geometry.shape[1:]:
            raise UnreadablePixels(f"{place}: {values.shape} pixels found, {geometry.shape[1:]} wanted")
        array[k] = values
        odd.update(oddities(data_set))
        is_inverted = is_inverted or "MONOCHROME1" in photometric_interpretation(data_set)
    if np.isnan(array).any():
        array[np.isnan(array)] = np.nanmin(array)
    if is_inverted:  # the least value is shown white (PS3.3 C.7.6.3.1.2)
        array = array.max() - array
    return Volume(array, geometry, name), tuple(f"{name}: {count} slice(s) with {what}" for what, count in sorted(odd.items()))


def source_datasets(stack: Stack, read: ReadBytes) -> list[Dataset]:
    """The headers of the stack's instances in slice order, without pixels, as a result object refers to them."""
    return [read_data_set(read(i.blob.sha256), i.transfer_syntax_uid, with_pixels=False) for i in stack.instances]
