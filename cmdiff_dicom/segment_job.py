"""One study's trip: ledger and spool -> assemble -> analyse -> SEG -> spool and ledger.

Every way that it may end is told to the ledger, so that it outlives a change of broker.

A job that was settled for other weights or another version, before an upgrade or beside one, is done all the same: the
SEG names the weights that made it, and the ledger lets one result leave for a key, so that its UIDs never name two.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cmdiff_dicom.leases import Endings, carried_out, owner_name
from cmdiff_dicom.ledger import Job, JobState, Ledger
from cmdiff_dicom.logs import log
from cmdiff_dicom.records import Analysis, LabelMap, SegObject, Stack
from cmdiff_dicom.settings import Settings
from cmdiff_dicom.spool import Spool

if TYPE_CHECKING:
    from cmdiff_dicom.assemble import Choice
    from cmdiff_dicom.segment import Segmenter


@dataclass(frozen=True)
class SegmentWork:
    """What a segment worker works with. `segmenter` loads the model at its first call and answers the same one ever after."""

    ledger: Ledger
    spool: Spool
    settings: Settings
    segmenter: Callable[[], Segmenter]


def segment_job(key: str, work: SegmentWork) -> None:
    """The job of this key is done, refused, failed or put off; nothing where it is another's or its turn has not come.

    A waiting job that nobody has rung since it was last claimed is being held back: such a message is a leftover.
    """
    ledger, owner, limits = work.ledger, owner_name(), work.settings.dispatch
    waiting = ledger.job(key)
    if waiting is None or waiting.state is not JobState.SETTLED or waiting.rings == 0:
        return
    job = ledger.claim(key, owner)
    if job is None:
        return
    started = time.monotonic()
    endings = Endings(
        refuse=lambda reason: ledger.refuse(key, owner, reason),
        put_off=lambda reason: ledger.retry_later(key, owner, reason, limits.max_attempts),
        fail=lambda reason, _status: ledger.fail(key, owner, reason),
    )
    state = carried_out(lambda: _do(job, owner, work), lambda: ledger.renew(key, owner), limits.lease_s / 4, endings)
    log("segment.done", job=key, state=state, seconds=time.monotonic() - started)


def _do(job: Job, owner: str, work: SegmentWork) -> str:
    """The steps of the trip; the state that the job ends in."""
    from cmdiff_dicom.analyse import analyse
    from cmdiff_dicom.assemble import assemble_study

    segmenter = work.segmenter()
    with _step("assemble", job.key):
        study = assemble_study(_choice(job, work), work.spool.read)
    with _step("analyse", job.key):
        analysis = analyse(study.volumes, study.reference, segmenter)
    _log_analysis(job.key, analysis)
    notes = "; ".join((*study.notes, *analysis.prepared.notes))
    if analysis.label_map.is_empty:
        note = "; ".join(filter(None, ("no tumour found, no SEG was made", notes)))
        return "no tumour" if work.ledger.no_tumour(job.key, owner, note) else "lease lost"
    with _step("encode", job.key):
        seg = _encode(job, analysis.label_map, study.stacks[study.reference], work)
    with _step("store", job.key):
        blob = work.spool.put(seg.part10)
        destinations = tuple(destination.name for destination in work.settings.destinations)
        volumes_ml = {label.name: round(ml, 3) for label, ml in analysis.label_map.volume_ml.items()}
        kept = work.ledger.finish(job.key, owner, blob.sha256, seg.sop_uid, seg.series_uid, volumes_ml, destinations, notes)
    return "segmented" if kept else "lease lost"


def _choice(job: Job, work: SegmentWork) -> Choice:
    """What the job's plan chose. A study refused by its headers comes here when a person asks again: they are read anew."""
    from cmdiff_dicom.assemble import choice_from_plan, choose_stacks

    instances = work.ledger.instances(job.study_uid)
    if job.plan.get("reference"):
        return choice_from_plan(dict(job.plan), instances)
    return choose_stacks(instances, work.settings.dispatch.min_slices)


def _encode(job: Job, label_map: LabelMap, stack: Stack, work: SegmentWork) -> SegObject:
    from cmdiff_dicom.assemble import source_datasets
    from cmdiff_dicom.encode import encode_seg

    sources = source_datasets(stack, work.spool.read)
    return encode_seg(label_map, sources, job.key, job.created_at, job.revision)


def _log_analysis(key: str, analysis: Analysis) -> None:
    """One line for each step inside the analysis, and one for each registration's quality."""
    for step, seconds in analysis.seconds.items():
        log(f"analyse.{step}", job=key, seconds=seconds)
    for sequence, quality in analysis.prepared.registration.items():
        log(f"register.{sequence.value}", job=key, quality=quality)


@contextmanager
def _step(name: str, key: str) -> Iterator[None]:
    """One log line for the step, with its seconds, whether it ends well or not."""
    started = time.monotonic()
    state = "failed"
    try:
        yield
        state = "done"
    finally:
        log(f"segment.{name}", job=key, state=state, seconds=time.monotonic() - started)
