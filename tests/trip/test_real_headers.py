"""Series of real scanners carry a SEG: headers that nobody here wrote, and that no standard would pass as they are."""

import tarfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from cmdiff_dicom.assemble import choose_stacks, source_datasets
from cmdiff_dicom.assemble.slices import geometry_of
from cmdiff_dicom.encode import encode_seg
from cmdiff_dicom.receive import read_folder
from cmdiff_dicom.records import LabelMap
from cmdiff_dicom.segment_folder import Memory
from tests.support.sources import MODEL
from tests.support.tools import dciodvfy

pytestmark = pytest.mark.slow

SERIES = {
    "canon_galan_dti_classic": (40, 80, 80),
    "ge_signa_pd_fse_ax_obl": (20, 256, 256),
    "philips_ingenia_t1_mprage_sag": (57, 256, 256),
    "siemens_prisma_t1_fl2d_hfdl": (35, 256, 256),
}
"""Archive -> slices, rows and columns of its one regular series."""


def seg_of_archive(archive: Path, folder: Path) -> tuple[tuple[int, ...], bytes]:
    """The shape of the archive's one regular stack, and a SEG of random labels on it that was read back and agreed."""
    with tarfile.open(archive) as content:
        content.extractall(folder, filter="data")
    memory = Memory()
    choice = choose_stacks(read_folder(folder, memory.keep).instances, min_slices=3)
    (stack,) = [stack for stack in (*choice.stacks.values(), *choice.others) if not stack.fault and len(stack.instances) > 8]
    geometry = geometry_of(stack)
    labels = np.random.default_rng(0).integers(0, 4, geometry.shape).astype(np.uint8)
    result = encode_seg(
        LabelMap(labels, geometry, {}, MODEL), source_datasets(stack, memory.read), "7" * 64, datetime(2026, 1, 2, tzinfo=UTC), 1
    )
    return geometry.shape, result.part10


@pytest.mark.parametrize("name", list(SERIES))
def test_a_real_series_carries_a_seg_that_says_the_same(name, real_data, tmp_path):
    shape, _ = seg_of_archive(real_data / "dicom" / f"{name}.tar.xz", tmp_path)
    assert shape == SERIES[name]


@pytest.mark.parametrize("name", [name for name in SERIES if name != "ge_signa_pd_fse_ax_obl"])  # whose own UIDs are none
def test_dciodvfy_complains_of_nothing_but_the_patients_name_as_the_source_wrote_it(name, real_data, tmp_path):
    _, part10 = seg_of_archive(real_data / "dicom" / f"{name}.tar.xz", tmp_path / "source")
    (tmp_path / "seg.dcm").write_bytes(part10)
    assert [line for line in dciodvfy(tmp_path / "seg.dcm") if "PatientName" not in line] == []
