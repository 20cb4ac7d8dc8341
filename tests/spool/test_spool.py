"""A blob in the spool is whole and stays; what cannot be stored safely is said and leaves nothing behind."""

import errno
import fcntl
import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cmdiff_dicom import spool as module
from cmdiff_dicom.errors import SpoolFull, StoreUnavailable
from cmdiff_dicom.records import Blob
from cmdiff_dicom.spool import Spool

CONTENT = b"data set " * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
HUGE = 1 << 62


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool", low_water_bytes=0, floor_bytes=0)


def files_of(spool):
    """All files in the spool, the damaged ones too."""
    return [file for file in spool.path("0" * 64).parents[1].rglob("*") if file.is_file()]


def file_of(descriptor):
    return Path(f"/proc/self/fd/{descriptor}").readlink()


# --- put, read, delete ------------------------------------------------------------------------------


def test_what_was_put_can_be_read(spool):
    assert spool.put(CONTENT) == Blob(DIGEST, len(CONTENT))
    assert spool.has(DIGEST)
    assert spool.read(DIGEST) == CONTENT


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda content: memoryview(content).cast("H")])
def test_bytes_of_any_kind_are_one_blob(spool, kind):
    assert spool.put(kind(CONTENT)) == Blob(DIGEST, len(CONTENT))
    assert spool.read(DIGEST) == CONTENT


def test_a_path_is_made_of_the_digest_alone_and_its_folder_is_there_already(spool, tmp_path):
    assert spool.path(DIGEST) == tmp_path / "spool" / DIGEST[:2] / DIGEST
    assert {f"{prefix:02x}" for prefix in range(256)} <= {folder.name for folder in (tmp_path / "spool").iterdir()}


@pytest.mark.parametrize("name", ["../../../etc/passwd", "", "A" * 64, "a" * 63, "a" * 64 + "\n", "1.2.840"])
def test_what_is_not_a_digest_has_no_path(spool, name):
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        spool.path(name)


def test_the_same_bytes_again_leave_the_file_untouched(spool):
    spool.put(CONTENT)
    before = spool.path(DIGEST).stat()
    assert spool.put(CONTENT) == Blob(DIGEST, len(CONTENT))
    after = spool.path(DIGEST).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert len(files_of(spool)) == 1


def test_a_file_cut_short_is_replaced_by_a_resend(spool):
    spool.put(CONTENT)
    os.truncate(spool.path(DIGEST), 10)
    spool.put(CONTENT)
    assert spool.read(DIGEST) == CONTENT


def test_the_same_bytes_from_several_senders_are_one_file(spool):
    with ThreadPoolExecutor(3) as pool:
        assert {*pool.map(spool.put, [CONTENT] * 12)} == {Blob(DIGEST, len(CONTENT))}
    assert files_of(spool) == [spool.path(DIGEST)]


def test_bytes_that_changed_on_the_disk_are_not_read_as_if_they_had_not(spool):
    spool.put(CONTENT)
    spool.path(DIGEST).write_bytes(b"X" + CONTENT[1:])
    with pytest.raises(StoreUnavailable, match="other bytes"):
        spool.read(DIGEST)


def test_what_is_not_there_cannot_be_read(spool):
    assert not spool.has(DIGEST)
    with pytest.raises(StoreUnavailable):
        spool.read(DIGEST)


def test_what_was_deleted_is_gone_and_may_be_deleted_again(spool):
    spool.put(CONTENT)
    spool.delete(DIGEST)
    spool.delete(DIGEST)
    assert not spool.has(DIGEST)


def test_a_spool_is_found_again_by_the_next_process(spool, tmp_path):
    spool.put(CONTENT)
    assert Spool(tmp_path / "spool", 0, 0).read(DIGEST) == CONTENT


# --- durable, in this order -------------------------------------------------------------------------


def test_the_bytes_are_on_the_disk_before_their_name_and_the_name_before_the_answer(spool, monkeypatch):
    steps = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor):
        steps.append(("fsync", file_of(descriptor)))
        real_fsync(descriptor)

    def replace(self, target):
        steps.append(("rename", target))
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    spool.put(CONTENT)
    home = spool.path(DIGEST)
    (first, aside), *rest = steps
    assert (first, aside.parent.name) == ("fsync", "aside")
    assert rest == [("rename", home), ("fsync", home.parent)]


def test_a_resend_too_is_answered_only_when_the_name_is_on_the_disk(spool, monkeypatch):
    spool.put(CONTENT)
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(file_of(descriptor)))
    spool.put(CONTENT)
    assert synced == [spool.path(DIGEST).parent]


def test_a_disk_that_takes_few_bytes_at_a_time_gets_them_all(spool, monkeypatch):
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: real_write(descriptor, content[:1000]))
    spool.put(CONTENT)
    assert spool.read(DIGEST) == CONTENT


FAULTS = [
    ("write", errno.ENOSPC, SpoolFull),
    ("write", errno.EDQUOT, SpoolFull),
    ("write", errno.EIO, StoreUnavailable),
    ("fsync", errno.EIO, StoreUnavailable),
    ("fsync", errno.ENOSPC, SpoolFull),
    ("open", errno.EROFS, StoreUnavailable),
]


@pytest.mark.parametrize(("call", "code", "error"), FAULTS)
def test_a_fault_of_the_disk_is_told_and_nothing_counts_as_stored(spool, monkeypatch, call, code, error):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as broken:
        broken.setattr(os, call, fail)
        with pytest.raises(error) as fault:
            spool.put(CONTENT)
    assert fault.value.dimse_status == 0xA700
    assert files_of(spool) == []
    assert spool.put(CONTENT) == Blob(DIGEST, len(CONTENT))


def test_a_rename_that_fails_is_told_and_leaves_nothing_behind(spool, monkeypatch):
    def fail(self, target):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "replace", fail)
        with pytest.raises(StoreUnavailable):
            spool.put(CONTENT)
    assert files_of(spool) == []


def test_a_name_that_did_not_reach_the_disk_is_not_answered_as_stored(spool, monkeypatch):
    real_fsync = os.fsync

    def fail_for_folders(descriptor):
        if file_of(descriptor).is_dir():
            raise OSError(errno.EIO, "Input/output error")
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_for_folders)
    for _ in range(2):  # the second finds the file already there
        with pytest.raises(StoreUnavailable):
            spool.put(CONTENT)


def test_a_spool_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(StoreUnavailable, match="mounted, writable and sound"):
        Spool(tmp_path / "spool", 0, 0)


# --- room -------------------------------------------------------------------------------------------


def test_below_the_low_water_mark_a_spool_is_low_and_still_stores(tmp_path):
    spool = Spool(tmp_path, low_water_bytes=HUGE, floor_bytes=0)
    assert spool.is_low()
    assert not spool.is_full()
    assert spool.put(CONTENT)


def test_at_the_floor_nothing_new_is_stored_but_a_resend_is_still_answered(tmp_path):
    Spool(tmp_path, 0, 0).put(CONTENT)
    full = Spool(tmp_path, low_water_bytes=HUGE, floor_bytes=HUGE)
    assert full.is_full()
    assert full.put(CONTENT) == Blob(DIGEST, len(CONTENT))
    with pytest.raises(SpoolFull, match=f"{HUGE} wanted"):
        full.put(b"other")
    assert full.has(DIGEST)


def test_a_spool_takes_again_once_there_is_room(tmp_path, monkeypatch):
    spool = Spool(tmp_path, low_water_bytes=1000, floor_bytes=100)
    free, now = [50], [0.0]
    monkeypatch.setattr(os, "statvfs", lambda folder: os.statvfs_result([1, 1, 0, 0, free[0], 0, 0, 0, 0, 255]))
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    assert (spool.is_low(), spool.is_full()) == (True, True)
    free[0] = 5000
    assert spool.is_full()  # known for a second
    now[0] = module.FREE_BYTES_AGE_S + 0.1
    assert (spool.is_low(), spool.is_full()) == (False, False)


def test_room_that_a_deletion_made_is_known_at_once(tmp_path, monkeypatch):
    """Else a purge under pressure would take more studies than it has to."""
    spool = Spool(tmp_path, low_water_bytes=1000, floor_bytes=100)
    free = [50]
    monkeypatch.setattr(os, "statvfs", lambda folder: os.statvfs_result([1, 1, 0, 0, free[0], 0, 0, 0, 0, 255]))
    assert spool.is_low()
    free[0] = 5000
    spool.delete(DIGEST)
    assert not spool.is_low()


# --- after a power cut ------------------------------------------------------------------------------


def test_empty_files_and_unfinished_writes_are_set_aside_and_counted(spool, tmp_path):
    spool.put(CONTENT)
    spool.path("0" * 64).touch()
    (tmp_path / "spool" / "aside" / "half").write_bytes(b"half a data s")
    assert spool.set_aside_damaged() == 2
    assert not spool.has("0" * 64)
    assert [file.stat().st_size for file in (tmp_path / "spool" / "damaged").iterdir()].count(13) == 1
    assert spool.read(DIGEST) == CONTENT
    assert spool.set_aside_damaged() == 0


def test_a_file_shorter_than_the_ledger_knows_is_set_aside_and_a_resend_puts_it_back(spool):
    blob = spool.put(CONTENT)
    other = spool.put(b"other")
    os.truncate(spool.path(DIGEST), len(CONTENT) - 1)
    assert spool.set_aside_damaged([blob, other]) == 1
    assert not spool.has(DIGEST)
    assert spool.read(other.sha256) == b"other"
    spool.put(CONTENT)
    assert spool.set_aside_damaged([blob, other]) == 0


def test_a_blob_that_the_ledger_knows_and_the_disk_does_not_is_no_reason_not_to_start(spool):
    assert spool.set_aside_damaged([Blob(DIGEST, 5)]) == 0


def test_a_file_that_another_process_is_writing_is_left_to_it(spool, tmp_path):
    with (tmp_path / "spool" / "aside" / "theirs").open("wb") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        assert spool.set_aside_damaged() == 0
    assert spool.set_aside_damaged() == 1


@pytest.mark.parametrize("becomes", ["locked", "stored"])
def test_a_file_that_another_process_has_just_made_is_left_to_it(spool, tmp_path, monkeypatch, becomes):
    with (tmp_path / "spool" / "aside" / "theirs").open("wb") as theirs:

        def a_moment_later(_seconds):
            if becomes == "locked":
                fcntl.flock(theirs, fcntl.LOCK_EX)
            else:
                Path(theirs.name).rename(tmp_path / "theirs")

        monkeypatch.setattr(time, "sleep", a_moment_later)
        assert spool.set_aside_damaged() == 0


def test_a_damaged_file_does_not_push_out_another_of_its_name(spool, tmp_path):
    for _ in range(2):
        spool.path(DIGEST).touch()
        spool.set_aside_damaged()
    assert len(list((tmp_path / "spool" / "damaged").iterdir())) == 2
