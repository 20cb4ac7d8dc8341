"""A study by C-STORE to a listener that a PACS would see, settled by the dispatcher beside it, and its result back in the PACS."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack

import pytest
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import MRImageStorage

from cmdiff_dicom import parts, services
from cmdiff_dicom.ledger import DeliveryState, JobState
from cmdiff_dicom.phantom.mri import StudyHeader, write_series
from cmdiff_dicom.phantom.pacs import DemoPacs
from cmdiff_dicom.records import Sequence
from cmdiff_dicom.segment_job import SegmentWork, segment_job
from cmdiff_dicom.settings import Settings
from tests.support.node import free_port
from tests.support.small_node import FixedSegmenter, an_analysis, small_series
from tests.support.small_weights import write_small_weights
from tests.support.waiting import until

pytestmark = pytest.mark.slow
QUIET_S = 0.6
STUDY = StudyHeader.of_seed(21)
SEG = "1.2.840.10008.5.1.4.1.1.66.4"


class Node:
    """Listener and dispatcher in this process, a PACS beside them; Redis is away, so that the test does the workers' part."""

    def __init__(self, stack: ExitStack, folder, **dispatch) -> None:
        port = free_port()
        self.folder = folder
        self.pacs = stack.enter_context(DemoPacs(folder / "pacs", "PACS", routes_to=("CMDIFF", "127.0.0.1", port)))
        pacs = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": self.pacs.port}
        waits = {"quiet_s": QUIET_S, "give_up_s": 3.0, "tick_s": 0.05} | dispatch
        self.settings = Settings.model_validate({
            "state": folder / "state", "listen": {"host": "127.0.0.1", "port": port}, "dispatch": waits,
            "spool": {"low_water_gb": 0, "floor_gb": 0}, "queue": {"url": f"redis+socket://{folder / 'none'}"},
            "segment": {"weights": str(write_small_weights(folder / "w.safetensors"))}, "destinations": [pacs],
        })  # fmt: skip
        stack.enter_context(services.listening(self.settings))
        self.ledger, self.spool = parts.open_the_ledger(self.settings), parts.open_spool(self.settings)
        self.work = SegmentWork(self.ledger, self.spool, self.settings, FixedSegmenter)

    def send(self, *sequences: Sequence, **overrides) -> None:
        folder = self.folder / f"sent {time.monotonic()}"
        count = 0
        for series in small_series(STUDY, sequences, **overrides):
            write_series(series, folder / series[0].SeriesInstanceUID)
            count += len(series)
        assert self.pacs.route(folder) == count

    def jobs(self, count: int):
        """The study's jobs, the newest first, once they are so many; and no more of them a good while later."""
        until(lambda: len(self.ledger.jobs()) >= count)
        time.sleep(3 * QUIET_S)
        found = self.ledger.jobs()
        assert len(found) == count
        return found

    def segment_and_deliver(self, job) -> None:
        self.ledger.take_ring(job.key, self.ledger.job(job.key).rings)
        segment_job(job.key, self.work)
        (delivery,) = self.ledger.deliveries(job.key)
        self.ledger.take_delivery_ring(delivery.id, delivery.rings)
        opened = parts.deliver_worker(self.settings, self.ledger, self.spool)[0]
        opened(delivery.id)


@pytest.fixture
def node(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)  # durability has its own tests
    monkeypatch.setattr("cmdiff_dicom.analyse.analyse", lambda volumes, reference, segmenter: an_analysis(volumes, reference))
    with ExitStack() as stack:
        yield Node(stack, tmp_path)


def test_a_whole_study_comes_back_to_the_pacs_as_a_committed_seg(node):
    node.send(*Sequence)
    (job,) = node.jobs(1)
    assert job.evidence == f"quiet for {QUIET_S:g} s with T1, T1c, T2, FLAIR"
    assert job.accession_number == STUDY.accession_number
    node.segment_and_deliver(job)
    until(lambda: node.ledger.deliveries(job.key)[0].state is DeliveryState.COMMITTED)
    assert node.pacs.stored_segmentation().stem == node.ledger.job(job.key).sop_uid
    assert node.pacs.report_statuses == [0x0000]


def test_our_own_result_routed_back_the_same_bytes_again_and_a_dwi_open_no_revision(node):
    node.send(*Sequence)
    (job,) = node.jobs(1)
    node.segment_and_deliver(job)
    back = node.folder / "back"
    back.mkdir()
    part10 = node.spool.read(node.ledger.job(job.key).blob_sha256)
    (back / "seg.dcm").write_bytes(part10)
    assert node.pacs.route(back) == 1
    node.send(*Sequence)
    node.send(Sequence.T2W, SeriesInstanceUID="2.25.3", ImageType=["ORIGINAL", "PRIMARY", "DIFFUSION"], ScanningSequence="EP", DiffusionBValue=1000.0)
    until(lambda: node.ledger.open_studies() == ())
    (still,) = node.jobs(1)
    assert still.key == job.key


def test_each_image_on_an_association_of_its_own_and_in_any_order_is_one_study(node):
    datasets = [data_set for series in small_series(STUDY, [Sequence.T1C, Sequence.T2F]) for data_set in series]
    random.Random(1).shuffle(datasets)
    ae = AE("PACS")
    ae.add_requested_context(MRImageStorage)
    for data_set in datasets:
        association = ae.associate("127.0.0.1", node.settings.listen.port, ae_title="CMDIFF")
        assert association.send_c_store(data_set).Status == 0
        association.release()
    (job,) = node.jobs(1)
    assert job.evidence == "gave up 3 s after the last image; missing: T1, T2"


def test_pieces_make_no_revision_and_a_late_needed_sequence_makes_exactly_one(node):
    node.send(Sequence.T1N, Sequence.T1C, Sequence.T2F)
    (first,) = node.jobs(1)
    node.send(Sequence.T2W)
    second, former = node.jobs(2)
    assert (second.revision, second.state, former.key) == (2, JobState.SETTLED, first.key)
    assert former.state is JobState.SUPERSEDED
    node.send(Sequence.T1N, SeriesInstanceUID="2.25.4", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesDescription="localizer")
    assert node.jobs(2)[0].key == second.key


def test_a_gap_counts_as_missing_until_its_slice_comes(node):
    (flair,) = small_series(STUDY, [Sequence.T2F])
    write_series([data_set for number, data_set in enumerate(flair) if number != 4], node.folder / "gap")
    write_series([flair[4]], node.folder / "late")
    node.send(Sequence.T1N, Sequence.T1C, Sequence.T2W)
    assert node.pacs.route(node.folder / "gap") == 9
    time.sleep(2 * QUIET_S)
    assert node.ledger.jobs() == ()
    assert node.pacs.route(node.folder / "late") == 1
    (job,) = node.jobs(1)
    assert "quiet" in job.evidence and "FLAIR" in job.plan["stacks"]


def test_two_patients_under_one_study_uid_are_not_analysed(node):
    node.send(Sequence.T1C, Sequence.T2F)
    node.send(Sequence.T2W, SeriesInstanceUID="2.25.5", PatientID="ANOTHER")
    (job,) = node.jobs(1)
    assert job.state is JobState.REFUSED and job.reason.startswith("TwoPatients")


def test_an_issuer_that_differs_is_no_second_patient(node):
    node.send(Sequence.T1C, Sequence.T2F)
    node.send(Sequence.T1N, Sequence.T2W, IssuerOfPatientID="ELSEWHERE")
    (job,) = node.jobs(1)
    assert job.state is JobState.SETTLED


def test_a_report_on_an_unknown_transaction_is_answered_with_a_failure(node):
    report = parts.report_taker(node.ledger)
    information = Dataset()
    information.TransactionUID = "2.25.404"
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = SEG, "2.25.1"
    information.ReferencedSOPSequence = [item]
    assert report(1, information) == parts.N_EVENT_REPORT_FAILURE
    assert report(1, Dataset()) == parts.N_EVENT_REPORT_FAILURE


def test_a_low_disk_rejects_new_senders_and_recovers_by_itself(node, monkeypatch):
    monkeypatch.setattr("cmdiff_dicom.spool.Spool.is_low", lambda self: True)
    ae = AE("PACS")
    ae.add_requested_context(MRImageStorage)
    assert ae.associate("127.0.0.1", node.settings.listen.port, ae_title="CMDIFF").is_rejected
    monkeypatch.undo()
    association = ae.associate("127.0.0.1", node.settings.listen.port, ae_title="CMDIFF")
    assert association.is_established
    association.release()
