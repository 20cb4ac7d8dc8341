"""Pixels tell T1c from T1 and T2 from FLAIR, or say that they do not."""

from __future__ import annotations

import numpy as np
import pytest

from cmdiff_dicom.assemble.evidence import enhancement, fluid
from cmdiff_dicom.geometry import Geometry, Volume
from cmdiff_dicom.records import Sequence
from cmdiff_dicom.synthesis import Tissue, acquire, make_head, render
from tests.support.nifti_dicom import brats_files, native_files, read_nifti


@pytest.fixture(scope="module", params=[True, False], ids=["tumour", "healthy"])
def head(request):
    head = make_head(11, tumour=request.param, spacing_mm=3.0)
    return {sequence: render(head, sequence, bias=0.2) for sequence in Sequence}


def rescanned(volume: Volume, degrees=1.0, shift_mm=0.5, gain=1.7) -> Volume:
    """The same head once more: moved a little, other gain, new noise."""
    turn = np.radians(degrees)
    moved = np.eye(4)
    moved[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    moved[:3, 3] = shift_mm
    again = acquire(volume, volume.geometry, noise=0.03, seed=5, volume_mm_from_onto_mm=moved)
    return Volume(again.array * np.float32(gain), again.geometry)


def test_contrast_agent_shows_over_the_t1_before_it(head):
    assert enhancement(head[Sequence.T1N], rescanned(head[Sequence.T1C])) == 1
    assert enhancement(rescanned(head[Sequence.T1C]), head[Sequence.T1N]) == -1


@pytest.mark.parametrize("sequence", [Sequence.T1N, Sequence.T1C])
def test_a_repeated_scan_is_no_enhancement(head, sequence):
    assert enhancement(head[sequence], rescanned(head[sequence])) == 0
    assert enhancement(head[sequence], rescanned(head[sequence], degrees=3.0, shift_mm=2.0)) == 0
    assert enhancement(head[sequence], head[sequence]) == 0


def test_fluid_tells_t2_from_flair(head):
    assert fluid(head[Sequence.T2W], rescanned(head[Sequence.T2F])) == 1
    assert fluid(rescanned(head[Sequence.T2F]), head[Sequence.T2W]) == -1


@pytest.mark.parametrize("suppressed", [Sequence.T2W, Sequence.T2F])
def test_fat_suppression_of_one_is_not_taken_for_fluid(suppressed):
    head = make_head(12, spacing_mm=3.0)
    images = {sequence: render(head, sequence) for sequence in (Sequence.T2W, Sequence.T2F)}
    fat = np.isin(head.tissue, (Tissue.FAT, Tissue.MARROW))
    images[suppressed] = Volume(np.where(fat, 0.1, 1).astype(np.float32) * images[suppressed].array, head.geometry)
    assert fluid(images[Sequence.T2W], images[Sequence.T2F]) == 1


def test_one_image_twice_is_not_told_apart(head):
    assert fluid(head[Sequence.T2W], head[Sequence.T2W]) == 0


def test_without_a_head_nothing_is_told():
    grid = Geometry((20, 20, 20), np.eye(4))
    dark = Volume(np.zeros(grid.shape, dtype=np.float32), grid)
    noise = Volume(np.random.default_rng(0).random(grid.shape, dtype=np.float32), grid)
    assert [f(a, b) for f in (enhancement, fluid) for a in (dark, noise) for b in (dark, noise)] == [0] * 8


@pytest.mark.slow
def test_real_tumours_are_never_taken_the_wrong_way_round(real_data):
    studies = [native_files(real_data)] + [brats_files(folder) for folder in sorted((real_data / "brats").iterdir())[:12] if folder.is_dir()]
    agent, water = [], []
    for files in studies:
        agent.append(enhancement(read_nifti(files[Sequence.T1N]), read_nifti(files[Sequence.T1C])))
        water.append(fluid(read_nifti(files[Sequence.T2W]), read_nifti(files[Sequence.T2F])))
    assert -1 not in water + agent
    assert sum(water) >= 0.9 * len(studies)
    assert sum(agent) >= 0.7 * len(studies)
