"""Real tumour studies written as DICOM come back voxel by voxel, in any instance order and on any grid."""

from __future__ import annotations

import numpy as np
import pytest

from cmdiff_dicom.assemble import assemble_study, choose_stacks
from cmdiff_dicom.geometry import resample
from cmdiff_dicom.receive import read_folder
from cmdiff_dicom.records import AssembledStudy, Sequence
from cmdiff_dicom.segment_folder import Memory
from tests.support.nifti_dicom import brats_files, native_files, read_nifti, write_nifti_study

pytestmark = pytest.mark.slow


def assembled(folder) -> AssembledStudy:
    memory = Memory()
    return assemble_study(choose_stacks(read_folder(folder, memory.keep).instances), memory.read)


def assert_same_voxels(study: AssembledStudy, files) -> None:
    """The DICOM volume's voxels (50,000 of them, drawn) are the NIfTI's voxels at the same places of the patient."""
    assert set(study.volumes) == set(files)
    for sequence, volume in study.volumes.items():
        original = read_nifti(files[sequence])
        index = np.random.default_rng(0).integers(0, volume.geometry.shape, size=(50_000, 3))
        there = original.geometry.index(volume.geometry.mm(index))
        nearest = np.round(there).astype(int)
        assert np.abs(there - nearest).max() < 1e-4
        assert np.array_equal(original.array[tuple(nearest.T)], volume.array[tuple(index.T)])


@pytest.mark.parametrize("is_reversed", [False, True], ids=["straight", "reversed"])
def test_a_study_on_oblique_native_grids_comes_back_voxel_by_voxel(real_data, tmp_path, is_reversed):
    files = native_files(real_data)
    study = assembled(write_nifti_study(tmp_path, files, is_reversed=is_reversed))
    assert study.reference is Sequence.T1C
    assert not study.notes
    assert_same_voxels(study, files)


def test_a_brats_study_comes_back_voxel_by_voxel(real_data, tmp_path):
    folder = sorted(path for path in (real_data / "brats").iterdir() if path.is_dir())[0]
    files = brats_files(folder)
    assert_same_voxels(assembled(write_nifti_study(tmp_path, files)), files)


def test_a_study_on_a_turned_grid_shows_the_same_head_at_the_same_place(real_data, tmp_path):
    files = {sequence: path for sequence, path in native_files(real_data).items() if sequence in (Sequence.T1C, Sequence.T2F)}
    study = assembled(write_nifti_study(tmp_path, files, turn_deg=20))
    for sequence, volume in study.volumes.items():
        original = read_nifti(files[sequence])
        normals = [geometry.mm_from_index[:3, 0] / geometry.spacing_mm[0] for geometry in (original.geometry, volume.geometry)]
        assert 10 < np.degrees(np.arccos(abs(normals[0] @ normals[1]))) < 21
        back = resample(volume, original.geometry)
        assert np.corrcoef(back.ravel(), original.array.ravel())[0, 1] > 0.95
