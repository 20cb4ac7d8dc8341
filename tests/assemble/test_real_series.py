"""Every real series of the collection goes from folder to choice to pixels: nothing raises, none is taken for another."""

from __future__ import annotations

import tarfile
from collections import defaultdict

import numpy as np
import pytest

from cmdiff_dicom.assemble import choose_stacks
from cmdiff_dicom.assemble.series import MR_IMAGE_STORAGE
from cmdiff_dicom.assemble.slices import has_place
from cmdiff_dicom.assemble.volume import read_volume, source_datasets
from cmdiff_dicom.errors import UnreadablePixels
from cmdiff_dicom.receive import read_folder
from cmdiff_dicom.records import Sequence, Stack
from cmdiff_dicom.segment_folder import Memory

pytestmark = pytest.mark.slow

SERVING = {
    "philips_ingenia_t1_mprage_sag": {Sequence.T1N},
    "siemens_prisma_t1_fl2d_hfdl": {Sequence.T1N},
}
"""What serves of each archive; nothing of the others."""
GAPS = {"siemens_trio_t1_memprage_rms": "gap of 4.00 mm", "siemens_trio_t2_tse_ax": "gap of 10.00 mm"}
REFUSALS = {"nema_enhanced_tumour_study": "EnhancedNotSupported", "siemens_xa30_t1_enhanced": "EnhancedNotSupported"}


class Archive:
    """One archive's instances by study, and their bytes."""

    def __init__(self, folder):
        self.memory, self.studies = Memory(), defaultdict(list)
        self.content = read_folder(folder, self.memory.keep)
        for instance in self.content.instances:
            self.studies[instance.study_uid].append(instance)

    def choices(self, min_slices=8):
        return [choose_stacks(instances, min_slices) for instances in self.studies.values()]


@pytest.fixture(scope="module")
def archives(real_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dicom")
    found = {}
    for path in sorted((real_data / "dicom").glob("*.tar.xz")):
        name = path.name.removesuffix(".tar.xz")
        with tarfile.open(path) as archive:
            archive.extractall(folder / name, filter="data")
        found[name] = Archive(folder / name)
    assert len(found) > 15
    return found


def test_no_real_series_is_taken_for_another(archives):
    for name, archive in archives.items():
        served = {sequence for choice in archive.choices() for sequence in choice.stacks}
        assert served == SERVING.get(name, set()), name


def test_real_gaps_are_named_with_their_width(archives):
    for name, text in GAPS.items():
        (choice,) = archives[name].choices()
        assert text in choice.others[0].fault


def test_real_enhanced_studies_are_refused_by_name(archives):
    for name, kind in REFUSALS.items():
        assert [type(choice.refusal).__name__ for choice in archives[name].choices()] == [kind]


def test_two_echoes_of_one_real_series_are_stacks_of_their_own(archives):
    (choice,) = archives["siemens_multiecho_phantom"].choices()
    assert {stack.instances[0].acquisition.echo_time_ms for stack in choice.others} == {20, 40, 60}


def test_spacing_comes_from_positions_where_the_header_is_wrong(archives):
    (choice,) = archives["philips_ingenia_t1_mprage_sag"].choices()
    stack, read = choice.stacks[Sequence.T1N], archives["philips_ingenia_t1_mprage_sag"].memory.read
    volume, _ = read_volume(stack, read)
    assert source_datasets(stack, read)[0].SliceThickness == 1
    assert volume.geometry.spacing_mm[0] == pytest.approx(3.0, abs=1e-3)


def readable(stack: Stack) -> bool:
    """Single frames with a place each."""
    first = stack.instances[0]
    return first.sop_class_uid == MR_IMAGE_STORAGE and first.number_of_frames == 1 and has_place(first) and "repeated" not in stack.fault


def test_every_real_single_frame_series_is_decoded(archives):
    for archive in archives.values():
        for choice in archive.choices():
            for stack in filter(readable, (*choice.stacks.values(), *choice.others)):
                volume, _ = read_volume(stack, archive.memory.read)
                assert np.isfinite(volume.array).all()


def test_one_real_image_is_the_same_in_every_transfer_syntax(archives):
    """Nine files of one 64 x 64 image: explicit, implicit, big endian, RLE, JPEG 2000, JPEG-LS, padded, and one cut short."""
    archive = archives["pydicom_mr_small_family"]
    values, refused = defaultdict(set), []
    for instance in archive.content.instances:
        try:
            volume, _ = read_volume(Stack(instance.series_uid, (instance,), None, ""), archive.memory.read)
            values[volume.array.tobytes()].add(instance.transfer_syntax_uid)
        except UnreadablePixels as fault:
            refused.append(str(fault))
    assert len(values) == 1
    assert len(next(iter(values.values()))) >= 5
    assert len(refused) == 1
    assert "cut short" in refused[0]
