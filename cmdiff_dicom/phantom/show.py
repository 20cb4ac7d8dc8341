"""What the demo tells at its end: what the PACS stored, how well it fits the truth, and a picture of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.geometry import Geometry, Volume, resample
from cmdiff_dicom.ledger import Job, JobState
from cmdiff_dicom.overlay import draw_overlay
from cmdiff_dicom.records import LABEL_NAMES, Label, Region
from cmdiff_dicom.research.metrics import dice
from cmdiff_dicom.restore import regions_from_labels

if TYPE_CHECKING:
    import pydicom

REGION_NAMES = {Region.WT: "whole tumour", Region.TC: "tumour core", Region.ET: "enhancing tumour"}


@dataclass(frozen=True)
class Trip:
    """What came back: the final job, and where the PACS stored its result, if it committed to it."""

    job: Job
    seg_path: Path | None
    step_seconds: dict[str, float]
    """The worker's steps, by name."""
    seconds_to_result: float
    """From the last C-STORE response to storage commitment."""


def report(trip: Trip, study: Path, truth: Volume | None, output: Path, passing_dice: float) -> int:
    """Prints the outcome and draws the picture; 0 only if the PACS holds a committed SEG that is good enough."""
    print("The worker's steps, in seconds:")
    print("  " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in trip.step_seconds.items()))
    if trip.job.state is not JobState.SEGMENTED or trip.seg_path is None:
        print(f"Ended as: {trip.job.state.value}. {trip.job.reason}")
        return 1
    image, labels = read_stored(trip.seg_path, study)
    volumes = {label: (labels == label).sum() * image.geometry.voxel_ml for label in Label if (labels == label).any()}
    print("Volumes: " + ", ".join(f"{LABEL_NAMES[label]} {ml:.1f} ml" for label, ml in volumes.items()))
    wanted = None if truth is None else resample(truth, image.geometry, order=0).astype(np.uint8)
    picture = output / "overlay.png"
    draw_overlay(image, labels, picture, f"{trip.seconds_to_result:.0f} s after the last image", wanted)
    print(f"Stored and committed by the PACS. Picture: {picture.absolute()}")
    if wanted is None:
        return 0
    scores = region_dice(labels, wanted)
    print("Dice with the known truth: " + ", ".join(f"{REGION_NAMES[region]} {score:.3f}" for region, score in scores.items()))
    if scores[Region.WT] < passing_dice:
        print(f"Failed: the whole tumour's Dice is below {passing_dice:.2f}.")
        return 1
    return 0


def region_dice(labels: NDArray[np.uint8], truth: NDArray[np.uint8]) -> dict[Region, float]:
    """The Dice of each region. Shapes: both (k, j, i), of labels."""
    pairs = zip(Region, regions_from_labels(labels), regions_from_labels(truth), strict=True)
    return {region: dice(ours, theirs) for region, ours, theirs in pairs}


def read_stored(seg_path: Path, study: Path) -> tuple[Volume, NDArray[np.uint8]]:
    """The referenced series as a volume and the stored SEG's labels on it, read by pydicom alone from what the PACS stored.

    Each frame is put on the slice whose position it states, whatever order anything came in.
    """
    import pydicom

    seg = pydicom.dcmread(seg_path)
    series_uid = seg.ReferencedSeriesSequence[0].SeriesInstanceUID
    slices = [source for source in _instances(study) if source.get("SeriesInstanceUID") == series_uid]
    cosines = np.array(slices[0].ImageOrientationPatient, dtype=np.float64)
    normal = np.cross(cosines[:3], cosines[3:])
    slices.sort(key=lambda source: float(np.dot(normal, np.array(source.ImagePositionPatient, dtype=np.float64))))
    positions = np.array([source.ImagePositionPatient for source in slices], dtype=np.float64)
    row_mm, column_mm = map(float, slices[0].PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0] = (positions[-1] - positions[0]) / (len(slices) - 1)
    affine[:3, 1], affine[:3, 2], affine[:3, 3] = cosines[3:] * row_mm, cosines[:3] * column_mm, positions[0]
    array = np.stack([source.pixel_array.astype(np.float32) for source in slices])
    labels = np.zeros(array.shape, np.uint8)
    names = {int(item.SegmentNumber): _label(item) for item in seg.SegmentSequence}
    for frame, item in zip(np.atleast_3d(seg.pixel_array), seg.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(item.PlanePositionSequence[0].ImagePositionPatient, dtype=np.float64)
        k = int(np.argmin(np.linalg.norm(positions - position, axis=1)))
        labels[k][frame > 0] = names[int(item.SegmentIdentificationSequence[0].ReferencedSegmentNumber)]
    return Volume(array, Geometry(array.shape, affine)), labels


def _label(segment: pydicom.Dataset) -> Label:
    """The label that a segment's property type code names."""
    code = segment.SegmentedPropertyTypeCodeSequence[0].CodeValue
    return {"6574001": Label.NCR, "79654002": Label.ED, "C113842": Label.ET}.get(code, Label.WT)


def _instances(folder: Path) -> list[pydicom.Dataset]:
    import pydicom
    from pydicom.errors import InvalidDicomError

    found: list[pydicom.Dataset] = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            try:
                found.append(pydicom.dcmread(path))
            except InvalidDicomError:
                continue
    return found
