"""MR data sets as the node has them: indexed instances, and bytes by digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from pydicom.dataset import Dataset

from cmdiff_dicom.assemble.series import split_into_stacks
from cmdiff_dicom.geometry import Geometry, Volume
from cmdiff_dicom.phantom.mri import StudyHeader, series_from_volume
from cmdiff_dicom.receive import read_instance
from cmdiff_dicom.records import Blob, ReceivedInstance, Sequence, Stack
from tests.support import instances

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
STUDY = StudyHeader.of_seed(7)


@dataclass
class Received:
    """What came, and a spool in memory."""

    instances: list[ReceivedInstance] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)

    def read(self, sha256: str) -> bytes:
        return self.blobs[sha256]

    def add(self, data_set: bytes, transfer_syntax_uid: str, at: datetime = NOON) -> None:
        """These bytes came in this transfer syntax."""
        blob = Blob(hashlib.sha256(data_set).hexdigest(), len(data_set))
        self.blobs[blob.sha256] = data_set
        self.instances.append(read_instance(data_set, transfer_syntax_uid, blob, "SCANNER", at))


def encoded(data_set: Dataset) -> bytes:
    """The data set's bytes in the transfer syntax of its file meta information."""
    return instances.encoded(data_set, data_set.file_meta.TransferSyntaxUID)


def received(*series: Iterable[Dataset], at: datetime = NOON) -> Received:
    """All data sets, received in the order given."""
    everything = Received()
    for data_set in (data_set for datasets in series for data_set in datasets):
        everything.add(encoded(data_set), str(data_set.file_meta.TransferSyntaxUID), at)
    return everything


def oblique_grid(shape=(10, 20, 24), spacing_mm=(4.0, 1.2, 0.9), origin_mm=(-13.5, 7.25, -20.125)) -> Geometry:
    """A grid turned about all three axes."""
    from scipy.spatial.transform import Rotation

    axes = Rotation.from_euler("xyz", (12, -7, 23), degrees=True).as_matrix()[:, ::-1]
    affine = np.eye(4)
    affine[:3, :3] = axes * np.array(spacing_mm)
    affine[:3, 3] = origin_mm
    return Geometry(shape, affine, STUDY.frame_of_reference_uid)


def noise(geometry: Geometry | None = None, seed: int = 0) -> Volume:
    """Whole numbers of 11 bits."""
    grid = geometry or oblique_grid()
    return Volume(np.random.default_rng(seed).integers(0, 2048, grid.shape).astype(np.float32), grid)


def series(sequence: Sequence = Sequence.T2F, volume: Volume | None = None, **options: object) -> list[Dataset]:
    """One series of noise, or of `volume`; `options` as `series_from_volume` takes them."""
    number = options.pop("number", 1 + list(Sequence).index(sequence))
    return series_from_volume(volume or noise(seed=number), sequence, STUDY, number=number, **options)


def merged(*datasets: list[Dataset]) -> tuple[list[Dataset], ...]:
    """The series under one UID, as software that rewrites UIDs may leave them."""
    for number, one in enumerate(datasets):
        for n, data_set in enumerate(one):
            data_set.SeriesInstanceUID, data_set.SOPInstanceUID = "1.2.3", f"1.2.4.{number}.{n}"
    return datasets


def stacks_of(*datasets: Iterable[Dataset], min_slices: int = 8) -> tuple[Stack, ...]:
    """What the data sets' series split into."""
    return split_into_stacks(received(*datasets).instances, min_slices)[0]


def only(*datasets: Iterable[Dataset]) -> Stack:
    """The one stack that they are."""
    (stack,) = stacks_of(*datasets)
    return stack
