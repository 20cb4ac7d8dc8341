"""One study's trip through a worker, and every way that it may end."""

from __future__ import annotations

import json
from io import BytesIO

import numpy as np
import pydicom
import pytest

from cmdiff_dicom.errors import BrainNotFound, DeviceOutOfMemory, EncodingFault, WeightsFault
from cmdiff_dicom.ledger import JobState
from cmdiff_dicom.phantom.mri import StudyHeader
from cmdiff_dicom.records import Sequence
from cmdiff_dicom.segment_job import SegmentWork, segment_job
from tests.support.small_node import SmallNode, an_analysis, small_series

STUDY = StudyHeader.of_seed(5)
DESTINATIONS = [{"name": "one", "kind": "folder", "folder": "/tmp"}, {"name": "other", "kind": "folder", "folder": "/tmp"}]


@pytest.fixture
def node(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)  # durability has its own tests
    node = SmallNode(tmp_path, destinations=DESTINATIONS)
    node.receive(small_series(STUDY))
    return node


@pytest.fixture
def analysis(monkeypatch):
    """What the worker's analysis does: `analysis(function)` replaces it; a cube of each label unless told otherwise."""

    def replace_by(function):
        monkeypatch.setattr("cmdiff_dicom.analyse.analyse", function)

    replace_by(lambda volumes, reference, segmenter: an_analysis(volumes, reference))
    return replace_by


def raising(error):
    def analyse(volumes, reference, segmenter):
        raise error

    return analyse


def test_a_tumour_becomes_a_stored_seg_and_a_delivery_for_each_destination(node, analysis):
    job = node.settle(STUDY)
    segment_job(job.key, node.work)
    done = node.ledger.job(job.key)
    assert done.state is JobState.SEGMENTED
    seg = pydicom.dcmread(BytesIO(node.spool.read(done.blob_sha256)))
    assert (seg.SOPInstanceUID, seg.SeriesInstanceUID, seg.StudyInstanceUID) == (done.sop_uid, done.series_uid, STUDY.study_uid)
    assert {delivery.destination for delivery in node.ledger.deliveries(job.key)} == {"one", "other"}
    assert done.volumes_ml == {name: pytest.approx(72 * 4.0 * 1.2 * 0.9 / 1000, abs=1e-3) for name in ("NCR", "ED", "ET")}


def test_the_reference_is_t1c_and_the_volumes_are_what_was_received(node, analysis):
    seen = {}

    def look(volumes, reference, segmenter):
        seen.update(volumes, reference=reference)
        return an_analysis(volumes, reference)

    analysis(look)
    segment_job(node.settle(STUDY).key, node.work)
    assert seen.pop("reference") is Sequence.T1C
    assert set(seen) == set(Sequence)
    assert np.ptp(seen[Sequence.T2F].array) == 93


def test_no_tumour_ends_as_such_and_makes_no_seg(node, analysis):
    analysis(lambda volumes, reference, segmenter: an_analysis(volumes, reference, labels=()))
    job = node.settle(STUDY)
    segment_job(job.key, node.work)
    done = node.ledger.job(job.key)
    assert (done.state, done.blob_sha256) == (JobState.NO_TUMOUR, "")
    assert node.ledger.deliveries(job.key) == ()


@pytest.mark.parametrize("plan", [{}, {"stacks": {}, "reference": None}], ids=["unexpected", "refused"])
def test_a_study_refused_by_its_headers_is_read_anew_when_a_person_asks_again(node, analysis, plan):
    job = node.ledger.settle(STUDY.study_uid, node.ledger.study(STUDY.study_uid).arrivals, "d" * 64, plan, "a test", "an older version")
    assert job.state is JobState.REFUSED
    assert node.ledger.retry(job.key)
    node.ring(job.key)
    segment_job(job.key, node.work)
    assert node.ledger.job(job.key).state is JobState.SEGMENTED


def test_a_refusal_is_told_by_name_and_not_tried_again(node, analysis):
    analysis(raising(BrainNotFound("no mask of a plausible size")))
    job = node.settle(STUDY)
    segment_job(job.key, node.work)
    done = node.ledger.job(job.key)
    assert (done.state, done.reason) == (JobState.REFUSED, "BrainNotFound: no mask of a plausible size")


def test_a_missing_outer_thing_puts_the_job_off_until_its_attempts_are_spent(node, analysis):
    analysis(raising(DeviceOutOfMemory("full")))
    job = node.settle(STUDY)
    limit = node.settings.dispatch.max_attempts
    for attempt in range(1, limit):
        segment_job(job.key, node.work)
        waiting = node.ledger.job(job.key)
        assert (waiting.state, waiting.attempts) == (JobState.SETTLED, attempt)
        node.ring(job.key)
    segment_job(job.key, node.work)
    assert node.ledger.job(job.key).state is JobState.FAILED


@pytest.mark.parametrize("fault", [EncodingFault("a frame is elsewhere"), WeightsFault("altered")])
def test_a_fault_of_ours_fails_the_job_with_its_reason(node, analysis, fault):
    analysis(raising(fault))
    job = node.settle(STUDY)
    segment_job(job.key, node.work)
    done = node.ledger.job(job.key)
    assert (done.state, done.reason) == (JobState.FAILED, fault.reason)


def test_an_unexpected_fault_is_told_by_its_place_and_never_by_its_text(node, analysis, capsys):
    analysis(raising(KeyError("DOE^JANE")))
    job = node.settle(STUDY)
    segment_job(job.key, node.work)
    done = node.ledger.job(job.key)
    assert done.state is JobState.FAILED
    assert "KeyError at test_segment_job.py" in done.reason
    told = json.dumps([event.detail for event in node.ledger.events(STUDY.study_uid)]) + done.reason + capsys.readouterr().err
    assert "DOE" not in told


def test_a_message_that_is_left_over_starts_nothing_before_the_backoff_is_over(node, analysis):
    analysis(raising(DeviceOutOfMemory("full")))
    job = node.settle(STUDY)
    segment_job(job.key, node.work)
    segment_job(job.key, node.work)  # the same message again
    assert node.ledger.job(job.key).attempts == 1


def test_a_second_message_for_a_running_or_finished_job_does_nothing(node, analysis):
    runs = []

    def once(volumes, reference, segmenter):
        runs.append(1)
        segment_job(job.key, node.work)
        return an_analysis(volumes, reference)

    analysis(once)
    job = node.settle(STUDY)
    segment_job(job.key, node.work)
    segment_job(job.key, node.work)
    assert len(runs) == 1


def test_an_unknown_key_does_nothing(node):
    segment_job("f" * 64, node.work)
    assert node.segmenter_loads == 0


def test_a_worker_that_died_in_mid_job_leaves_what_another_does_to_the_same_bytes(node, analysis):
    """The first dies after storing the SEG and before telling the ledger; the second makes the same blob again."""
    job = node.settle(STUDY)

    def die(*_args, **_named):
        raise KeyboardInterrupt

    finish, node.ledger.finish = node.ledger.finish, die
    with pytest.raises(KeyboardInterrupt):
        segment_job(job.key, node.work)
    node.ledger.finish = finish
    stored = {path.name for path in node.settings.state.glob("spool/[0-9a-f][0-9a-f]/*")}
    assert node.ledger.lose_lease(job.key, node.ledger.job(job.key).renewals, 3)
    node.ring(job.key)
    segment_job(job.key, node.work)
    assert node.ledger.job(job.key).state is JobState.SEGMENTED
    assert {path.name for path in node.settings.state.glob("spool/[0-9a-f][0-9a-f]/*")} == stored


def test_a_job_superseded_while_it_ran_delivers_nothing(node, analysis):
    def and_something_came(volumes, reference, segmenter):
        later = small_series(STUDY, [Sequence.T2F], SeriesInstanceUID="2.25.77", AcquisitionTime="235959")
        node.receive(later)
        node.settle(STUDY)
        return an_analysis(volumes, reference)

    analysis(and_something_came)
    job = node.settle(STUDY)
    segment_job(job.key, node.work)
    assert node.ledger.job(job.key).state is JobState.SUPERSEDED
    assert node.ledger.deliveries(job.key) == ()


@pytest.mark.parametrize("settled_with", ["cd" * 32, "ab" * 32])
def test_a_job_settled_for_other_weights_is_done_by_the_worker_that_is_there_and_the_seg_says_by_which(node, analysis, settled_with):
    """After an upgrade, or before one: no job is lost, and the object names the weights that made it."""
    job = node.settle(STUDY, weights_sha256=settled_with)
    segment_job(job.key, node.work)
    done = node.ledger.job(job.key)
    assert done.state is JobState.SEGMENTED
    seg = pydicom.dcmread(BytesIO(node.spool.read(done.blob_sha256)))
    assert "ab" * 16 in seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion


def test_a_second_revision_says_so(node, analysis):
    segment_job(node.settle(STUDY).key, node.work)
    node.receive(small_series(STUDY, [Sequence.T2F], SeriesInstanceUID="2.25.77", AcquisitionTime="235959"))
    second = node.settle(STUDY)
    segment_job(second.key, node.work)
    seg = pydicom.dcmread(BytesIO(node.spool.read(node.ledger.job(second.key).blob_sha256)))
    assert seg.SeriesDescription.endswith("rev 2")


def test_pixels_that_are_gone_are_no_crash(node, analysis):
    job = node.settle(STUDY)
    for instance in node.ledger.instances(STUDY.study_uid):
        node.spool.delete(instance.blob.sha256)
    segment_job(job.key, node.work)
    waiting = node.ledger.job(job.key)
    assert (waiting.state, waiting.attempts) == (JobState.SETTLED, 1)


def test_weights_that_cannot_be_loaded_fail_the_job_with_their_reason(node):
    def load():
        raise WeightsFault("no such file")

    job = node.settle(STUDY)
    segment_job(job.key, SegmentWork(node.ledger, node.spool, node.settings, load))
    assert node.ledger.job(job.key).reason == "WeightsFault: no such file"


def test_one_line_is_logged_for_each_step_with_seconds_and_nobodys_name(node, analysis, capsys):
    segment_job(node.settle(STUDY).key, node.work)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    steps = {line["step"] for line in lines if "seconds" in line}
    assert {"segment.assemble", "segment.analyse", "segment.encode", "segment.store", "segment.done"} <= steps
    assert not any(value in json.dumps(lines) for value in (STUDY.patient_name, STUDY.patient_id, STUDY.study_uid))
