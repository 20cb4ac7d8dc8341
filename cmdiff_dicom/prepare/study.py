"""A study's volumes come onto one 1 mm grid, registered to the reference, with the brain marked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cmdiff_dicom.errors import BrainNotFound, RegistrationFailed
from cmdiff_dicom.geometry import Geometry, Volume, box_around, crop_grid
from cmdiff_dicom.prepare.brain import Mask, find_brain, finish_mask, stripped_brain
from cmdiff_dicom.prepare.grid import onto_grid, patient_grid
from cmdiff_dicom.prepare.register import Alignment, register
from cmdiff_dicom.records import PreparedStudy, Sequence

BRAIN_ORDER = (Sequence.T1C, Sequence.T1N, Sequence.T2F, Sequence.T2W)
"""In which sequence the brain is sought first: T1-weighted heads are what the extraction was trained on."""
BRIGHT_TUMOUR = (Sequence.T2F, Sequence.T1C)
"""Sequences in which tumour outshines brain."""
EDEMA_SEQUENCES = (Sequence.T2F, Sequence.T2W)
"""Without one of these there is no whole tumour."""
MARGIN_VOXELS = 5
GROWTH_VOXELS = 10
"""Room around a raw brain mask for what finishing it adds."""
SAME_PLACE_DICE = 0.9
"""Skull-stripped brains that overlap less than this do not lie in one place."""
STRIPPED = "skull-stripped before it came: brain and poses taken as they are"
OWN_POSE = Alignment(np.eye(4), 1.0, 0.0)

Poses = dict[Sequence, Alignment]


def prepare_study(volumes: Mapping[Sequence, Volume], reference: Sequence) -> PreparedStudy:
    """All sequences on the 1 mm model grid, in the reference's own millimetres, each at the pose that explains it.

    A sequence that no pose explains is left out, with a note. A skull-stripped study keeps its brain and its poses.

    Raises:
        BrainNotFound: no sequence gave a plausible brain.
        RegistrationFailed: neither FLAIR nor T2 is left.
    """
    own = stripped_brain(volumes[reference])
    if own is not None:
        grid, brain, poses, note = _place_stripped(volumes, reference, own)
    else:
        grid, brain, poses, note = _place_head(volumes, reference)
    used = {sequence: pose for sequence, pose in poses.items() if pose.is_credible}
    notes = [note, *(_describe(sequence, pose) for sequence, pose in poses.items() if sequence != reference)]
    if not any(sequence in used for sequence in EDEMA_SEQUENCES):
        raise RegistrationFailed(
            f"prepare: {'; '.join(notes)}: wanted FLAIR or T2 on {reference.value}; "
            "check that all series show the same head, or send the study without the stray series"
        )
    images = {s: onto_grid(volumes[s], grid, pose.sequence_mm_from_reference_mm) for s, pose in used.items()}
    if note != STRIPPED:
        brain = finish_mask(brain, [images[s] for s in BRIGHT_TUMOUR if s in images])
    box = box_around(brain, MARGIN_VOXELS)
    return PreparedStudy(
        image=np.stack([images[s][box] if s in images else np.zeros_like(brain[box], dtype=np.float32) for s in Sequence]),
        available=np.array([s in images for s in Sequence]),
        brain=brain[box],
        grid=crop_grid(grid, box),
        scanner_grid=volumes[reference].geometry,
        registration={s: pose.quality for s, pose in used.items() if s != reference},
        notes=tuple(notes),
    )


def _describe(sequence: Sequence, pose: Alignment) -> str:
    """One note about a sequence's pose."""
    if not pose.is_credible:
        return f"{sequence.value}: no pose explains it (quality {pose.quality:.2f}), left out"
    if pose.moved_mm == 0 and np.array_equal(pose.sequence_mm_from_reference_mm, np.eye(4)):
        return f"{sequence.value}: pose of the header (quality {pose.quality:.2f})"
    return f"{sequence.value}: registered, {pose.moved_mm:.1f} mm from the header's pose (quality {pose.quality:.2f})"


def _place_stripped(
    volumes: Mapping[Sequence, Volume], reference: Sequence, reference_brain: Mask
) -> tuple[Geometry, Mask, Poses, str]:
    """Grid, brain and poses of a study whose brain was cut out before: brain is what any stripped sequence shows."""
    grid = patient_grid(volumes[reference].geometry)
    found = {s: reference_brain if s == reference else stripped_brain(volume) for s, volume in volumes.items()}
    cut = {s: Volume(mask.astype(np.float32), volumes[s].geometry) for s, mask in found.items() if mask is not None}
    own = onto_grid(cut[reference], grid) > 0.5
    poses, brain = dict.fromkeys(volumes, OWN_POSE), own
    for sequence, volume in volumes.items():
        there = onto_grid(cut[sequence], grid) > 0.5 if sequence in cut else own
        if 2 * np.count_nonzero(own & there) < SAME_PLACE_DICE * (np.count_nonzero(own) + np.count_nonzero(there)):
            poses |= register(volumes[reference], {sequence: volume}, cut[reference])
            there = onto_grid(cut[sequence], grid, poses[sequence].sequence_mm_from_reference_mm) > 0.5
        if poses[sequence].is_credible:
            brain = brain | there
    return grid, brain, poses, STRIPPED


def _place_head(volumes: Mapping[Sequence, Volume], reference: Sequence) -> tuple[Geometry, Mask, Poses, str]:
    """Grid, raw brain mask and poses of a study with skull: the first sequence with a plausible brain shows where it is."""
    reasons, poses = [], {reference: OWN_POSE}
    for sequence in (s for s in BRAIN_ORDER if s in volumes):
        mask, reason = find_brain(volumes[sequence])
        if mask is None:
            reasons.append(f"{sequence.value}: {reason}")
            continue
        brain = Volume(mask.astype(np.float32), volumes[sequence].geometry)
        if sequence not in poses:
            poses |= register(volumes[reference], {sequence: volumes[sequence]}, brain)
        if not poses[sequence].is_credible:
            reasons.append(f"{sequence.value}: a brain that no pose brings onto {reference.value}")
            continue
        brain = _moved(brain, poses[sequence])
        rest = {s: volume for s, volume in volumes.items() if s not in poses}
        poses |= register(volumes[reference], rest, brain)
        grid = patient_grid(volumes[reference].geometry)
        raw = onto_grid(brain, grid) > 0.5
        box = box_around(raw, GROWTH_VOXELS)
        return crop_grid(grid, box), raw[box], {s: poses[s] for s in volumes}, f"brain found on {sequence.value}"
    raise BrainNotFound(
        f"prepare: {'; '.join(reasons)}; wanted one connected brain; "
        "check that the series cover a whole adult head, or send the study skull-stripped"
    )


def _moved(brain: Volume, pose: Alignment) -> Volume:
    """A mask drawn in a sequence's millimetres, in the reference's."""
    grid = brain.geometry
    reference_mm_from_index = np.linalg.inv(pose.sequence_mm_from_reference_mm) @ grid.mm_from_index
    return Volume(brain.array, Geometry(grid.shape, reference_mm_from_index, grid.frame_of_reference_uid))
