"""A SEG as a stranger reads it: pydicom alone, every voxel placed by its own frame's position in millimetres."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset

from cmdiff_dicom.encode.codes import MEANINGS
from cmdiff_dicom.geometry import Geometry, Volume, resample
from cmdiff_dicom.records import Label
from cmdiff_dicom.restore import regions_from_labels


def labels_on(seg: Dataset, grid: Geometry) -> np.ndarray:
    """The SEG's labels on `grid`, which must hold its frames voxel on voxel, in whatever order of slices, rows and columns."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    rows, columns = (float(x) for x in shared.PixelMeasuresSequence[0].PixelSpacing)
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    by_code = {meaning.kind.value: label for label, meaning in MEANINGS.items()}
    label_of = {s.SegmentNumber: by_code[s.SegmentedPropertyTypeCodeSequence[0].CodeValue] for s in seg.SegmentSequence}
    labels = np.zeros(grid.shape, np.uint8)
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    for groups, frame in zip(seg.PerFrameFunctionalGroupsSequence, frames, strict=True):
        number = (groups.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence)[0].ReferencedSegmentNumber
        inside = np.argwhere(frame)
        origin = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        index = grid.index(origin + inside[:, 1:] * columns * cosines[:3] + inside[:, :1] * rows * cosines[3:])
        assert np.abs(index - np.round(index)).max(initial=0) < 0.02, "the SEG does not lie on the grid's voxels"
        labels[tuple(np.round(index).astype(int).T)] = label_of[number]
    return labels


def resampled_labels(labels: np.ndarray, grid: Geometry, onto: Geometry) -> np.ndarray:
    """Labels on another grid: each nested region interpolated linearly and cut at a half, then labels again."""
    whole, core, enhancing = (
        resample(Volume(region.astype(np.float32), grid), onto) >= 0.5 for region in regions_from_labels(labels)
    )
    result = np.zeros(onto.shape, np.uint8)
    result[whole] = Label.ED
    result[whole & core] = Label.NCR
    result[whole & core & enhancing] = Label.ET
    return result


def dice_of_regions(labels: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Dice of WT, TC and ET."""
    from cmdiff_dicom.phantom.show import region_dice

    return {region.name: score for region, score in region_dice(labels, truth).items()}
