"""One process with the parts of a node: an in-memory ledger, a spool, small series received, and analyses on demand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cmdiff_dicom import __version__
from cmdiff_dicom.assemble import choose_stacks, job_key, plan_of
from cmdiff_dicom.deliver_job import DeliverWork
from cmdiff_dicom.geometry import Volume
from cmdiff_dicom.ledger import Job, Ledger, open_ledger
from cmdiff_dicom.phantom.mri import StudyHeader, series_from_volume
from cmdiff_dicom.receive import Intake
from cmdiff_dicom.records import Analysis, Label, LabelMap, ModelIdentity, PreparedStudy, Sampling, SegmentationResult, Sequence
from cmdiff_dicom.segment_job import SegmentWork
from cmdiff_dicom.settings import Settings
from cmdiff_dicom.spool import Spool
from tests.support.received import encoded, oblique_grid

MODEL = ModelIdentity("cmdiff", "1", "ab" * 32)
SEQUENCES = tuple(Sequence)


def small_series(study: StudyHeader, sequences=SEQUENCES, **overrides: object):
    """Ten slices of 20 x 24 of each sequence, all on one oblique grid, and a little different from each other."""
    grid = oblique_grid()
    for number, sequence in enumerate(sequences, start=1):
        values = np.arange(np.prod(grid.shape), dtype=np.float32).reshape(grid.shape) % (90 + number)
        yield series_from_volume(Volume(values, grid), sequence, study, number=number, **overrides)


def an_analysis(volumes, reference, labels=(Label.NCR, Label.ED, Label.ET)) -> Analysis:
    """A cube of each of `labels` in the reference's own grid; without labels nothing was found."""
    grid = volumes[reference].geometry
    array = np.zeros(grid.shape, np.uint8)
    for number, label in enumerate(labels):
        array[3:6, 4 + 4 * number : 8 + 4 * number, 5:11] = label
    volume_ml = {label: float((array == label).sum()) * grid.voxel_ml for label in labels}
    nothing = np.zeros((4, 1, 1, 1), np.float32)
    there = np.ones(4, np.bool_)
    prepared = PreparedStudy(nothing, there, nothing[0] > 0, grid, grid, {Sequence.T2F: 0.9})
    result = SegmentationResult(nothing[:3], nothing[:3], grid, MODEL, Sampling(1, 0.0, 1, 1), there)
    return Analysis(prepared, result, LabelMap(array, grid, volume_ml, MODEL), {"segment": 0.5})


class FixedSegmenter:
    """Stands for a loaded model where the analysis itself is replaced."""

    model = MODEL
    device_name = "none"


class SmallNode:
    """`receive` takes series by the intake, `settle` opens their job as the dispatcher would, `ring` rings it."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.settings = Settings.model_validate({"state": folder, **settings})
        self.ledger: Ledger = open_ledger("sqlite://")
        self.spool = Spool(folder / "spool", 0, 0)
        self.segmenter_loads = 0
        self.work = SegmentWork(self.ledger, self.spool, self.settings, self._segmenter)

    def _segmenter(self):
        self.segmenter_loads += 1
        return FixedSegmenter()

    def receive(self, series) -> None:
        intake = Intake(self.spool, self.ledger)
        for data_set in (data_set for datasets in series for data_set in datasets):
            assert intake.accept(encoded(data_set), str(data_set.file_meta.TransferSyntaxUID), "PACS") == 0

    def settle(self, study: StudyHeader, weights_sha256: str = MODEL.weights_sha256) -> Job:
        choice = choose_stacks(self.ledger.instances(study.study_uid))
        arrivals = self.ledger.study(study.study_uid).arrivals
        key = job_key(choice, weights_sha256, __version__)
        job = self.ledger.settle(study.study_uid, arrivals, key, plan_of(choice), "a test", choice.refusal.reason if choice.refusal else "")
        assert job is not None
        self.ring(job.key)
        return job

    def ring(self, key: str) -> None:
        assert self.ledger.take_ring(key, self.ledger.job(key).rings)

    def deliver_work(self, destinations) -> DeliverWork:
        return DeliverWork(self.ledger, self.spool, self.settings, destinations)
