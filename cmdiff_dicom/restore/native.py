"""Region probabilities go back from the model grid to the scanner's own voxels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.geometry import Geometry, Volume, resample
from cmdiff_dicom.records import SegmentationResult


def restore_probability(result: SegmentationResult, scanner_grid: Geometry) -> NDArray[np.float32]:
    """Probabilities of WT, TC and ET at the scanner's voxel centres.

    Both grids are in the reference's millimetres, so no transform stands between them. Shapes: float32 (3, k, j, i).
    """
    return np.stack([resample(Volume(region, result.grid), scanner_grid) for region in result.probability])
