"""Region probabilities go back from the model grid to the scanner's own voxels.

A thick voxel takes the probability at its centre, not the mean over its slice. Measured on synthetic tumours in tilted
slices of 5.5 mm, against labels that tell what fills most of each voxel: whole tumour .979 by centre and .974 by mean,
enhancing rim .939 and .919, and the mean lost 16 % of the rim's volume where the centre lost 8 %.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.geometry import Box, Geometry, Volume, resample
from cmdiff_dicom.records import Region, SegmentationResult


def restore_probability(result: SegmentationResult, scanner_grid: Geometry) -> NDArray[np.float32]:
    """Probabilities of WT, TC and ET at the scanner's voxel centres, 0 beyond the model grid.

    Both grids are in the reference's millimetres, so no transform stands between them; where they share a lattice the
    values are copied, else they are linear. Shapes: float32 (3, k, j, i).
    """
    return np.stack([resample(Volume(region, result.grid), scanner_grid) for region in result.probability])


def told_box(result: SegmentationResult, scanner_grid: Geometry, threshold: float) -> Box:
    """The scanner's voxels among which all lie whose whole-tumour probability reaches the threshold; one voxel where none does.

    A linear value reaches it only beside a model voxel that does, so the box is one model voxel wider than those.
    """
    places = np.argwhere(result.probability[Region.WT.value] >= threshold)
    if not len(places):
        return (slice(0, 1),) * 3
    first, last = places.min(axis=0) - 1, places.max(axis=0) + 1
    corners = first + (last - first) * np.array(list(product((0, 1), repeat=3)))
    index = scanner_grid.index(result.grid.mm(corners))
    shape = np.array(scanner_grid.shape)
    low = np.clip(np.floor(index.min(axis=0)).astype(int), 0, shape - 1)
    high = np.clip(np.ceil(index.max(axis=0)).astype(int) + 1, low + 1, shape)
    k, j, i = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return k, j, i
