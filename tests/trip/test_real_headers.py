"""Series of real scanners carry a SEG: headers that nobody here wrote, and that no standard would pass as they are."""

import hashlib
import shutil
import subprocess
import sysconfig
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from cmdiff_dicom.assemble import choose_stacks, source_datasets
from cmdiff_dicom.assemble.slices import geometry_of
from cmdiff_dicom.encode import encode_seg
from cmdiff_dicom.receive.folder import read_folder
from cmdiff_dicom.records import Blob, LabelMap
from tests.support.sources import MODEL

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
    spool: dict[str, bytes] = {}

    def keep(data: bytes) -> Blob:
        digest = hashlib.sha256(data).hexdigest()
        spool[digest] = bytes(data)
        return Blob(digest, len(data))

    choice = choose_stacks(read_folder(folder, keep).instances, min_slices=3)
    (stack,) = [stack for stack in (*choice.stacks.values(), *choice.others) if not stack.fault and len(stack.instances) > 8]
    geometry = geometry_of(stack)
    labels = np.random.default_rng(0).integers(0, 4, geometry.shape).astype(np.uint8)
    result = encode_seg(
        LabelMap(labels, geometry, {}, MODEL), source_datasets(stack, spool.__getitem__), "7" * 64, datetime(2026, 1, 2, tzinfo=UTC), 1
    )
    return geometry.shape, result.part10


@pytest.mark.parametrize("name", list(SERIES))
def test_a_real_series_carries_a_seg_that_says_the_same(name, real_data, tmp_path):
    shape, _ = seg_of_archive(real_data / "dicom" / f"{name}.tar.xz", tmp_path)
    assert shape == SERIES[name]


@pytest.mark.parametrize("name", [name for name in SERIES if name != "ge_signa_pd_fse_ax_obl"])  # whose own UIDs are none
def test_dciodvfy_complains_of_nothing_but_the_patients_name_as_the_source_wrote_it(name, real_data, tmp_path):
    script = Path(sysconfig.get_path("scripts")) / "dciodvfy"
    tool = str(script) if script.exists() else shutil.which("dciodvfy")
    if tool is None:
        pytest.skip("dciodvfy is not installed")
    _, part10 = seg_of_archive(real_data / "dicom" / f"{name}.tar.xz", tmp_path / "source")
    (tmp_path / "seg.dcm").write_bytes(part10)
    said = subprocess.run([tool, "-new", str(tmp_path / "seg.dcm")], capture_output=True, text=True, check=False)
    complaints = [line for line in said.stderr.splitlines() if line.startswith(("Error", "Warning"))]
    assert [line for line in complaints if "PatientName" not in line] == []
