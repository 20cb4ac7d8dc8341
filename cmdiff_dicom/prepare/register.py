"""Rigid registration of the other sequences to the reference, kept only where it is clearly better than the header's pose.

SimpleITK finds the pose (Mattes mutual information on a coarse grid inside the brain); this module's own measure, on voxels
that the fit did not see, decides whether it is kept, and whether any pose explains the two images at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.geometry import Affine, Geometry, Volume, box_around, crop_grid
from cmdiff_dicom.prepare.grid import onto_grid, patient_grid
from cmdiff_dicom.records import Sequence

WORK_SPACING_MM = 2.5
BINS = 32
SHADING_MM = 28.0
"""Brightness that changes over longer distances than this is taken for a coil's shading."""
SAMPLED_SHARE = 0.35
"""Share of the brain's work voxels that the fit samples at its fine level."""
SEED = 20
KEEP_MARGIN = 0.02
"""A fit is kept where its mutual information, on held-out voxels, is this share higher than the header pose's."""
SHIFT_MM = 10.0
MIN_QUALITY = 0.25
"""Below, ten millimetres more or less make little difference: no right pose was found. Right ones of real heads, with noise,
ghosts, few or thick slices, have .45 and more; wrong ones of such heads, and of heads upside down, .12 to .19."""
CHANCE_NATS = 0.05
"""Mutual information of a right pose is .15 to 1.3 nats; that of unrelated images, by chance alone, up to about .02."""
SURE_QUALITY = 0.5
"""From here on a pose is found and no further start is tried; sequences of one head reach 0.6 to 0.9."""
NODS_DEG = (-20.0, 20.0)
SIX_WAYS = np.concatenate([np.eye(3), -np.eye(3)])


@dataclass(frozen=True, eq=False)
class Alignment:
    """How a sequence lies to the reference.

    `sequence_mm_from_reference_mm` is a rigid (4, 4) LPS transform. `quality` is 1 - MI(shifted by 10 mm) / MI(pose): 0 where
    no pose explains the two images. `moved_mm` is the displacement of the brain's centre from the header's pose.
    """

    sequence_mm_from_reference_mm: Affine
    quality: float
    moved_mm: float

    @property
    def is_credible(self) -> bool:
        return self.quality >= MIN_QUALITY


def register(reference: Volume, others: Mapping[Sequence, Volume], brain: Volume) -> dict[Sequence, Alignment]:
    """The pose of each of `others` against `reference`. `brain` is 1 inside the brain, in the reference's millimetres."""
    target = _make_target(reference, brain)
    return {sequence: _align(target, volume) for sequence, volume in others.items()}


@dataclass(frozen=True, eq=False)
class _Target:
    """The reference on its work grid, what of it is brain, and the voxels that judge a pose with their brightness bins.

    Shapes: `mask` bool, the image's; `judges_mm` (n, 3); `judge_bins` (n,).
    """

    image: Volume
    mask: NDArray[np.bool_]
    judges_mm: NDArray[np.float64]
    judge_bins: NDArray[np.intp]

    @property
    def centre_mm(self) -> NDArray[np.float64]:
        return np.asarray(self.image.geometry.mm(np.argwhere(self.mask)).mean(0))

    def information(self, moving: Volume, moving_mm_from_target_mm: Affine) -> float:
        """Mutual information in nats between the target and `moving` at the judging voxels."""
        from scipy import ndimage

        chain = moving.geometry.index_from_mm @ moving_mm_from_target_mm
        index = self.judges_mm @ chain[:3, :3].T + chain[:3, 3]
        values = ndimage.map_coordinates(moving.array, index.T, order=1, mode="constant")
        joint = np.bincount(self.judge_bins * BINS + _bins(values), minlength=BINS * BINS).reshape(BINS, BINS) / len(values)
        apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
        filled = joint > 0
        return float((joint[filled] * np.log(joint[filled] / apart[filled])).sum())


def _make_target(reference: Volume, brain: Volume) -> _Target:
    grid = patient_grid(reference.geometry, WORK_SPACING_MM)
    mask = onto_grid(brain, grid) > 0.5
    box = box_around(mask, margin=4)
    grid, mask = crop_grid(grid, box), mask[box]
    image = _work_copy(reference, grid)
    k, j, i = np.nonzero(mask)
    judges = np.stack([k, j, i], axis=1)[(k + j + i) % 2 == 0]  # a checkerboard; the fit draws points between voxels
    return _Target(image, mask, grid.mm(judges), _bins(image.array[tuple(judges.T)]))


def _align(target: _Target, volume: Volume) -> Alignment:
    """The best pose found, with its quality: the header's, unless a fit is clearly better."""
    moving = _work_copy(volume, patient_grid(volume.geometry, WORK_SPACING_MM))
    header, best = target.information(moving, np.eye(4)), np.eye(4)
    for start in _starts(target, moving):
        fit = _fit(target, moving, start)
        if target.information(moving, fit) > target.information(moving, best):
            best = fit
        if _quality(target, moving, best) >= SURE_QUALITY:
            break
    if target.information(moving, best) <= header * (1 + KEEP_MARGIN):
        best = np.eye(4)
    centre = target.centre_mm
    moved_mm = float(np.linalg.norm(best[:3, :3] @ centre + best[:3, 3] - centre))
    return Alignment(best, _quality(target, moving, best), moved_mm)


def _starts(target: _Target, moving: Volume) -> Iterator[Affine]:
    """Poses to start from, the likeliest first: the header's, then centres laid on each other, upright and nodding."""
    yield np.eye(4)
    centre = target.centre_mm
    onto_bright = _translation(_bright_centre(moving) - centre)
    yield onto_bright
    yield _translation(moving.geometry.centre_mm - centre)
    for angle in NODS_DEG:
        yield onto_bright @ _translation(centre) @ _nod(angle) @ _translation(-centre)


def _quality(target: _Target, moving: Volume, pose: Affine) -> float:
    """1 - MI(shifted) / MI(pose), within 0..1; information that is no more than chance gives counts for little."""
    information = target.information(moving, pose)
    shifted = np.mean([target.information(moving, pose @ _translation(way * SHIFT_MM)) for way in SIX_WAYS])
    return float(np.clip((information - shifted) / max(information, CHANCE_NATS), 0, 1))


def _work_copy(volume: Volume, grid: Geometry) -> Volume:
    """The volume on a coarse grid, its brightest half per cent clipped and a coil's shading taken out.

    Shading alone moved fits by up to a millimetre: mutual information takes it for structure.
    """
    from scipy import ndimage

    array = onto_grid(volume, grid)
    array = np.minimum(array, np.percentile(array, 99.5))
    lit = array > 0.2 * array.mean(where=array > 0) if np.any(array > 0) else np.zeros(array.shape, dtype=bool)
    sigma = SHADING_MM / WORK_SPACING_MM
    total = ndimage.gaussian_filter(np.where(lit, array, np.float32(0)), sigma, truncate=2.5)
    share = ndimage.gaussian_filter(lit.astype(np.float32), sigma, truncate=2.5)
    shading = total / np.maximum(share, 0.02)
    return Volume(np.asarray(array / np.maximum(shading, 1e-3 * shading.max() + 1e-6), dtype=np.float32), grid)


def _bright_centre(volume: Volume) -> NDArray[np.float64]:
    """The centre in mm of what is brighter than the image's mean."""
    return np.asarray(volume.geometry.mm(np.argwhere(volume.array > volume.array.mean())).mean(0))


def _translation(mm: NDArray[np.float64]) -> Affine:
    matrix = np.eye(4)
    matrix[:3, 3] = mm
    return matrix


def _nod(degrees: float) -> Affine:
    """A turn about the patient's left-right axis."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]])


def _bins(values: NDArray[np.float32]) -> NDArray[np.intp]:
    """Brightness bins 0 to BINS - 1 between the first and last per cent."""
    low, high = np.percentile(values, [1, 99])
    return np.asarray(np.clip((values - low) / max(float(high - low), 1e-6) * BINS, 0, BINS - 1), dtype=np.intp)


def _fit(target: _Target, moving: Volume, start: Affine) -> Affine:
    """SimpleITK's best rigid pose from `start`: the (4, 4) that takes the target's mm to the moving image's."""
    import SimpleITK as sitk  # noqa: N813 - its usual name

    transform = sitk.Euler3DTransform()
    centre = target.centre_mm
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(start[:3, :3].ravel().tolist())
    transform.SetTranslation((start[:3, :3] @ centre + start[:3, 3] - centre).tolist())
    method = sitk.ImageRegistrationMethod()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # the order of summation decides last digits
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentagePerLevel([1.0, SAMPLED_SHARE], SEED)
    method.SetMetricFixedMask(_sitk_image(target.mask.astype(np.uint8), target.image.geometry))
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([WORK_SPACING_MM, 0.0])
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=0.003, numberOfIterations=120, relaxationFactor=0.6, gradientMagnitudeTolerance=1e-6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(_sitk_image(target.image.array, target.image.geometry), _sitk_image(moving.array, moving.geometry))
    except RuntimeError:  # its way of saying that the images do not overlap, or that one is uniform
        return start
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    matrix[:3, 3] = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    return matrix


def _sitk_image(array: NDArray[Any], grid: Geometry) -> Any:
    """A SimpleITK image of a grid along LPS axes: SimpleITK takes (k, j, i) arrays, and sizes and origins as x, y, z."""
    import SimpleITK as sitk  # noqa: N813 - its usual name

    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetOrigin(grid.mm_from_index[:3, 3].tolist())
    image.SetSpacing(grid.spacing_mm[::-1].tolist())
    return image
