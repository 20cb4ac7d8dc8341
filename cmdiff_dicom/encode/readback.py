"""A finished SEG is read by pydicom alone and compared with what was computed, before anyone sees it."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from cmdiff_dicom.encode.repair import decimals
from cmdiff_dicom.errors import EncodingFault
from cmdiff_dicom.records import Label

POSITION_TOLERANCE_MM = 1e-3
"""Viewers match a frame to its slice within this distance."""

ORIENTATION_TOLERANCE = 1e-3
"""Viewers call a frame oblique to its slice beyond this difference of a direction cosine."""


def check_written(
    part10: bytes, labels: NDArray[np.uint8], numbers: Mapping[Label, int], sources: Sequence[Dataset]
) -> None:
    """Nothing happens where the object says `labels` on the slices of `sources`, voxel for voxel.

    Shapes: `labels` (k, j, i), slice k on `sources[k]`. `numbers` gives each label's segment number.

    Raises: EncodingFault where a pixel, a position, an orientation or a reference differs.
    """
    seg = dcmread(BytesIO(part10))
    slice_of = {str(source.SOPInstanceUID): k for k, source in enumerate(sources)}
    _check_references(seg, slice_of)
    read = _labels_of_frames(seg, labels.shape, slice_of, {number: label for label, number in numbers.items()}, sources)
    wrong = int(np.count_nonzero(read != labels))
    if wrong:
        raise EncodingFault(f"encode: {wrong} voxels of the SEG differ from the label map when it is read back; it is not sent")


def _labels_of_frames(
    seg: Dataset,
    shape: tuple[int, ...],
    slice_of: Mapping[str, int],
    label_of: Mapping[int, Label],
    sources: Sequence[Dataset],
) -> NDArray[np.uint8]:
    """The label map (k, j, i) that the frames say, each placed by the instance that it refers to."""
    read = np.zeros(shape, dtype=np.uint8)
    pixels = seg.pixel_array.reshape(-1, int(seg.Rows), int(seg.Columns))
    shared = seg.SharedFunctionalGroupsSequence[0]
    if pixels.shape[1:] != shape[1:] or len(pixels) != len(seg.PerFrameFunctionalGroupsSequence):
        raise EncodingFault(f"encode: the SEG reads back as {pixels.shape}, wanted frames of {shape[1:]}; it is not sent")
    orientation = _numbers(shared.PlaneOrientationSequence[0], "ImageOrientationPatient", 6)
    for number, (frame, groups) in enumerate(zip(pixels, seg.PerFrameFunctionalGroupsSequence, strict=True), start=1):
        k = slice_of[_referenced_instance(groups, number, slice_of)]
        position = _numbers(groups.PlanePositionSequence[0], "ImagePositionPatient", 3)
        wanted_position = _numbers(sources[k], "ImagePositionPatient", 3)
        wanted_orientation = _numbers(sources[k], "ImageOrientationPatient", 6)
        _check_close(position, wanted_position, POSITION_TOLERANCE_MM, f"position of frame {number}")
        _check_close(orientation, wanted_orientation, ORIENTATION_TOLERANCE, f"orientation of frame {number}")
        identification = groups.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence
        inside = frame != 0
        if np.any(read[k][inside]):
            raise EncodingFault(f"encode: frame {number} overlaps another segment when the SEG is read back; it is not sent")
        read[k][inside] = int(label_of[int(identification[0].ReferencedSegmentNumber)])
    return read


def _referenced_instance(groups: Dataset, number: int, known: Container[str]) -> str:
    sources = [source for derivation in groups.DerivationImageSequence for source in derivation.SourceImageSequence]
    named = [str(source.ReferencedSOPInstanceUID) for source in sources if source.get("SpatialLocationsPreserved") == "YES"]
    if len(named) != 1 or named[0] not in known:
        raise EncodingFault(f"encode: frame {number} does not refer to exactly one source image with its locations kept")
    return named[0]


def _check_references(seg: Dataset, slice_of: Mapping[str, int]) -> None:
    items = [item for series in seg.ReferencedSeriesSequence for item in series.ReferencedInstanceSequence]
    named = {str(item.ReferencedSOPInstanceUID) for item in items}
    if named != set(slice_of):
        raise EncodingFault(f"encode: Referenced Series Sequence names {len(named)} instances, wanted the {len(slice_of)} used")


def _numbers(dataset: Dataset, keyword: str, count: int) -> NDArray[np.float64]:
    return np.array(decimals(dataset, keyword, count), dtype=np.float64)


def _check_close(found: NDArray[np.float64], wanted: NDArray[np.float64], tolerance: float, what: str) -> None:
    if wanted.size and (found.shape != wanted.shape or float(np.abs(found - wanted).max()) > tolerance):
        raise EncodingFault(f"encode: the {what} is not that of its source image within {tolerance:g}; the SEG is not sent")
