"""A choice as the ledger keeps it: the key that is the revision's identity, and the plan that gives the choice back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from cmdiff_dicom.assemble.choice import Choice
from cmdiff_dicom.errors import NoUsableSequence
from cmdiff_dicom.records import ReceivedInstance, Sequence, Stack


def job_key(choice: Choice, weights_sha256: str, version: str) -> str:
    """The revision's identity: hex sha256 over the chosen (SOP UID, bytes) pairs, the weights (recipe inside), the version."""
    return _digest([*_content(choice), weights_sha256, version])


def _content(choice: Choice) -> list[Any]:
    """What was chosen of which study, or which kind of refusal."""
    pairs = {
        sequence.value: sorted((instance.sop_uid, instance.blob.sha256) for instance in stack.instances)
        for sequence, stack in choice.stacks.items()
    }
    return [choice.study_uid, pairs, type(choice.refusal).__name__ if choice.refusal else ""]


def _digest(content: list[Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def plan_of(choice: Choice) -> dict[str, Any]:
    """The choice as JSON for the ledger; instances by the digest of their bytes. Without a reference it is refused.

    "images" is alike for two choices exactly where they are of the same images, whatever weights or version analyse them.
    """
    return {
        "study_uid": choice.study_uid,
        "images": _digest(_content(choice)),
        "stacks": {
            sequence.value: {
                "series_uid": stack.series_uid,
                "why": stack.why,
                "instances": [instance.blob.sha256 for instance in stack.instances],
            }
            for sequence, stack in choice.stacks.items()
        },
        "reference": choice.reference.value if choice.reference else None,
        "notes": list(choice.notes),
        "pixels_decide": choice.pixels_decide,
    }


def choice_from_plan(plan: Mapping[str, Any], instances: Iterable[ReceivedInstance]) -> Choice:
    """The choice that `plan_of` wrote, with a reference, and the ledger's instances; what does not serve is not restored.

    Raises: NoUsableSequence where an instance of the plan is no longer among `instances`.
    """
    by_digest = {(instance.series_uid, instance.blob.sha256): instance for instance in instances}
    stacks = {}
    for name, part in plan["stacks"].items():
        found = [by_digest.get((part["series_uid"], sha256)) for sha256 in part["instances"]]
        slices = tuple(instance for instance in found if instance)
        if len(slices) < len(found):
            raise NoUsableSequence(
                f"{name}: {len(found) - len(slices)} of {len(found)} images have been purged; send the study again"
            )
        stacks[Sequence(name)] = Stack(part["series_uid"], slices, Sequence(name), part["why"])
    reference = Sequence(plan["reference"])
    return Choice(plan["study_uid"], stacks, (), reference, None, tuple(plan["notes"]), plan["pixels_decide"])
