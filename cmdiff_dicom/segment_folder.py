"""A folder of DICOM files instead of a PACS: the same steps as a job, without network, queue or ledger.

Writes segmentation.dcm, overlay.png and summary.json into the output folder and nothing anywhere else. The SEG's dates are
those of the newest file that went in, so that the same folder gives the same bytes again.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmdiff_dicom import __version__
from cmdiff_dicom.errors import Broken, Refused
from cmdiff_dicom.records import Analysis, AssembledStudy, Blob, ReceivedInstance, Sequence, Stack
from cmdiff_dicom.settings import SegmentSettings

if TYPE_CHECKING:
    from cmdiff_dicom.receive import FolderContent

SEGMENTED, NOT_ANALYSED, NO_TUMOUR = 0, 3, 4
SEG, PICTURE, SUMMARY = "segmentation.dcm", "overlay.png", "summary.json"


class NoStudy(Broken):
    """The folder holds no study, or more than one."""


@dataclass(frozen=True)
class Outcome:
    """How it ended: the exit status, and a few lines for the person who waits."""

    status: int
    text: str


def named(content: bytes) -> Blob:
    """What the spool would call these bytes, which are not kept."""
    return Blob(sha256(content).hexdigest(), len(content))


class Memory:
    """Bytes by their digest, as the spool keeps them, but only as long as the process lives."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}

    def keep(self, content: bytes) -> Blob:
        blob = named(content)
        self._contents[blob.sha256] = bytes(content)
        return blob

    def read(self, digest: str) -> bytes:
        return self._contents[digest]


def segment_folder(folder: Path, output: Path, settings: SegmentSettings, min_slices: int) -> Outcome:
    """The folder's study is segmented into `output`, or it is said why not.

    Raises: Broken (no such folder, no or several studies, weights, encoding).
    """
    from cmdiff_dicom.analyse import analyse
    from cmdiff_dicom.assemble import assemble_study, choose_stacks, job_key
    from cmdiff_dicom.segment import load_segmenter

    started = time.monotonic()
    memory = Memory()
    content = _one_study(folder, memory)
    choice = choose_stacks(content.instances, min_slices)
    summary: dict[str, Any] = {"version": __version__, "problems": content.problems, "notes": choice.notes}
    summary |= _stacks_summary(choice.stacks, choice.reference)
    output.mkdir(parents=True, exist_ok=True)
    if choice.refusal:
        return _ended(output, summary, NOT_ANALYSED, "not analysed", choice.refusal.reason)
    segmenter = load_segmenter(settings.weights_path, settings.device, settings.threads)
    try:
        study = assemble_study(choice, memory.read)
        summary["seconds"] = {"read and assemble": time.monotonic() - started}
        analysis = analyse(study.volumes, study.reference, segmenter)
    except Refused as error:
        return _ended(output, summary, NOT_ANALYSED, "not analysed", error.reason)
    summary |= _analysis_summary(study, analysis)
    summary |= {"seconds": summary["seconds"] | dict(analysis.seconds), "device": segmenter.device_name}
    if analysis.label_map.is_empty:
        return _ended(output, summary, NO_TUMOUR, "no tumour found", "")
    key = job_key(choice, segmenter.model.weights_sha256, __version__)
    _write_result(output, study, analysis, memory, key, _newest(folder, output))
    summary["seconds"]["in all"] = time.monotonic() - started
    return _ended(output, summary, SEGMENTED, "segmented", "")


def explain_folder(folder: Path, min_slices: int) -> str:
    """For every study in the folder: which stack would serve as which sequence, and why. Raises: NoStudy."""
    from cmdiff_dicom.assemble import choose_stacks, explain

    content = _content_of(folder, named)
    studies: dict[str, list[ReceivedInstance]] = defaultdict(list)
    for instance in content.instances:
        studies[instance.study_uid].append(instance)
    tables = [explain(choose_stacks(instances, min_slices)) for instances in studies.values()]
    return "\n\n".join([*tables, *content.problems])


def _one_study(folder: Path, memory: Memory) -> FolderContent:
    """What the folder of one study holds."""
    content = _content_of(folder, memory.keep)
    studies = {instance.study_uid for instance in content.instances}
    if len(studies) > 1:
        raise NoStudy(f"{folder}: found {len(studies)} studies, wanted one; give the folder of one study")
    return content


def _content_of(folder: Path, keep: Callable[[bytes], Blob]) -> FolderContent:
    from cmdiff_dicom.receive import read_folder

    if not folder.is_dir():
        raise NoStudy(f"{folder}: no such folder; give the folder that holds the study's DICOM files")
    content = read_folder(folder, keep)
    if not content.instances:
        found = ", ".join(content.problems) or "nothing"
        raise NoStudy(f"{folder}: holds no DICOM instance, but {found}; give the folder that holds the study's DICOM files")
    return content


def _stacks_summary(stacks: Mapping[Sequence, Stack], reference: Sequence | None) -> dict[str, Any]:
    sequences = {sequence.value: {"why": stack.why, "slices": len(stack.instances)} for sequence, stack in stacks.items()}
    return {"sequences": sequences, "reference": reference.value if reference else None}


def _analysis_summary(study: AssembledStudy, analysis: Analysis) -> dict[str, Any]:
    return _stacks_summary(study.stacks, study.reference) | {
        "volumes_ml": {label.name: round(ml, 2) for label, ml in analysis.label_map.volume_ml.items()},
        "registration": {sequence.value: round(q, 3) for sequence, q in analysis.prepared.registration.items()},
        "model": asdict(analysis.label_map.model),
        "notes": [*study.notes, *analysis.prepared.notes],
    }


def _write_result(
    output: Path, study: AssembledStudy, analysis: Analysis, memory: Memory, key: str, created_at: datetime
) -> None:
    from cmdiff_dicom.assemble import source_datasets
    from cmdiff_dicom.encode import encode_seg
    from cmdiff_dicom.overlay import draw_overlay

    sources = source_datasets(study.stacks[study.reference], memory.read)
    seg = encode_seg(analysis.label_map, sources, key, created_at, revision=1)
    (output / SEG).write_bytes(seg.part10)
    volumes = ", ".join(f"{label.name} {ml:.1f} ml" for label, ml in analysis.label_map.volume_ml.items())
    draw_overlay(study.volumes[study.reference], analysis.label_map.labels, output / PICTURE, volumes)


def _ended(output: Path, summary: dict[str, Any], status: int, outcome: str, reason: str) -> Outcome:
    """The summary is written; an older result in the same folder does not stay beside a newer outcome without one."""
    summary = {"outcome": outcome, "reason": reason} | summary
    if "seconds" in summary:
        summary["seconds"] = {name: round(seconds, 2) for name, seconds in summary["seconds"].items()}
    (output / SUMMARY).write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if status != SEGMENTED:
        for name in (SEG, PICTURE):
            (output / name).unlink(missing_ok=True)
    lines = [f"{outcome}: {reason}" if reason else outcome]
    lines += [f"  {name}: {ml:.1f} ml" for name, ml in summary.get("volumes_ml", {}).items() if ml]
    lines += [f"  {found['why']}" for found in summary["sequences"].values()]
    written = (SEG, PICTURE, SUMMARY) if status == SEGMENTED else (SUMMARY,)
    lines.append(f"  in {output}: {', '.join(written)}")
    return Outcome(status, "\n".join(lines))


def _newest(folder: Path, output: Path) -> datetime:
    """When the folder's newest file was written, in UTC to the second; what we wrote ourselves does not count."""
    ours = {output.resolve() / name for name in (SEG, PICTURE, SUMMARY)}
    files = (file for file in folder.resolve().rglob("*") if file.is_file() and file not in ours)
    return datetime.fromtimestamp(int(max(file.stat().st_mtime for file in files)), UTC)
