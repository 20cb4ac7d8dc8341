"""dcm2niix and we read the same numbers at the same places of the patient."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from cmdiff_dicom.assemble.series import split_into_stacks
from cmdiff_dicom.assemble.volume import read_volume
from cmdiff_dicom.geometry import Geometry, Volume
from cmdiff_dicom.phantom.mri import write_series
from cmdiff_dicom.phantom.study import Protocol as Grid
from cmdiff_dicom.phantom.study import grid_of
from cmdiff_dicom.receive import read_folder
from cmdiff_dicom.records import Sequence
from cmdiff_dicom.segment_folder import Memory
from tests.support.nifti_dicom import read_nifti
from tests.support.received import noise, oblique_grid, series
from tests.support.tools import tool


def ours(folder: Path) -> Volume:
    memory = Memory()
    (stack,), _ = split_into_stacks(read_folder(folder, memory.keep).instances, 8)
    assert not stack.fault
    return read_volume(stack, memory.read)[0]


def theirs(folder: Path, output: Path) -> Volume:
    output.mkdir()
    # -p n: Philips' displayed values, which Rescale Slope gives, not its private scale
    command = [tool("dcm2niix"), "-b", "n", "-z", "n", "-p", "n", "-f", "volume", "-o", output, folder]
    result = subprocess.run(command, capture_output=True, text=True)
    files = list(output.glob("*.nii"))
    assert len(files) == 1, result.stdout
    return read_nifti(files[0])


def assert_same_numbers_at_the_same_places(one: Volume, other: Volume, tolerance: float) -> None:
    """Every voxel of `one`, found in `other` through the patient's millimetres."""
    assert sorted(one.geometry.shape) == sorted(other.geometry.shape)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in one.geometry.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    there = other.geometry.index(one.geometry.mm(index))
    nearest = np.round(there).astype(int)
    assert np.abs(there - nearest).max() < 0.01
    assert np.abs(other.array[tuple(nearest.T)] - one.array.ravel()).max() <= tolerance


def left_handed() -> Volume:
    affine = oblique_grid().mm_from_index.copy()
    affine[:3, 0] *= -1
    return noise(Geometry(oblique_grid().shape, affine))


def sagittal() -> Volume:
    return noise(grid_of(Grid((12, 20, 24), (3.0, 1.1, 0.8), 3.0, "sagittal"), (4, -3, 6), ""))


@pytest.mark.parametrize(
    ("volume", "options"),
    [
        (noise(), {}),
        (noise(), {"is_reversed": True}),
        (sagittal(), {}),
        (left_handed(), {}),
        (noise(), {"vendor": "Philips Medical Systems"}),
        (noise(), {"vendor": "GE MEDICAL SYSTEMS"}),
    ],
    ids=["oblique", "reversed", "sagittal", "left-handed", "philips", "ge"],
)
def test_a_written_series_is_read_alike(tmp_path, volume, options):
    write_series(series(Sequence.T2W, volume=volume, **options), tmp_path / "dicom")
    assert_same_numbers_at_the_same_places(ours(tmp_path / "dicom"), theirs(tmp_path / "dicom", tmp_path / "nifti"), 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["philips_ingenia_t1_mprage_sag", "siemens_prisma_t1_fl2d_hfdl"])
def test_a_real_series_is_read_alike(real_data, tmp_path, name):
    with tarfile.open(real_data / "dicom" / f"{name}.tar.xz") as archive:
        archive.extractall(tmp_path / "dicom", filter="data")
    one, other = ours(tmp_path / "dicom"), theirs(tmp_path / "dicom", tmp_path / "nifti")
    assert_same_numbers_at_the_same_places(one, other, 1e-3 * float(one.array.max()))
