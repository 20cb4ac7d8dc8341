"""Bytes on a disk, named by their own digest, and there after a power cut once `put` has returned.

A path is made of the digest alone, never of a header. The order makes it safe: the bytes are written aside on the
spool's own disk under a name of their own and fsynced; the rename gives them their name; the folder's fsync keeps it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from cmdiff_dicom.errors import SpoolFull, StoreUnavailable
from cmdiff_dicom.records import Blob

_DIGEST = re.compile(r"[0-9a-f]{64}")
FREE_BYTES_AGE_S = 1.0
"""How old the known amount of free space may be; asking the disk for every instance would cost as much as a write."""
LOCKED_WITHIN_S = 0.5
"""A file is locked by its writer so soon after it was made, also on a busy machine."""


class Spool:
    """Blobs in the 256 folders of `folder`. Below `low_water_bytes` of free space it is low, below `floor_bytes` full."""

    def __init__(self, folder: Path, low_water_bytes: int, floor_bytes: int) -> None:
        self._folder = folder
        self._aside = folder / "aside"
        self._damaged = folder / "damaged"
        self._low_water_bytes = low_water_bytes
        self._floor_bytes = floor_bytes
        self._known_free: tuple[float, int] | None = None
        try:
            for home in (self._aside, self._damaged, *(folder / f"{prefix:02x}" for prefix in range(256))):
                home.mkdir(parents=True, exist_ok=True)
            sync_folder(folder)
        except OSError as error:
            raise _unavailable(error, f"{folder}: ") from None

    def put(self, content: bytes | bytearray | memoryview) -> Blob:
        """The bytes are in the spool for good. What is there already whole is left untouched.

        Raises: SpoolFull (floor reached, or the disk said so); StoreUnavailable (any other fault of the disk).
        """
        blob = Blob(hashlib.sha256(content).hexdigest(), memoryview(content).nbytes)
        home = self.path(blob.sha256)
        try:
            if home.stat().st_size == blob.size_bytes:
                sync_folder(home.parent)  # whoever wrote it may not have come so far
                return blob
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _unavailable(error) from None
        if self.is_full():
            raise SpoolFull(f"spool: {self.free_bytes()} bytes free, {self._floor_bytes} wanted; make room or add a disk")
        self._write(content, home)
        return blob

    def read(self, sha256: str) -> bytes:
        """The bytes of this digest. Raises: StoreUnavailable where they are gone, or are others."""
        try:
            content = self.path(sha256).read_bytes()
        except OSError as error:
            raise _unavailable(error) from None
        if hashlib.sha256(content).hexdigest() != sha256:
            raise StoreUnavailable(f"spool: blob {sha256[:12]} has other bytes than its name says; have the study sent again")
        return content

    def path(self, sha256: str) -> Path:
        """Where the bytes of this digest are, or would be."""
        return blob_path(self._folder, sha256)

    def has(self, sha256: str) -> bool:
        """True where there is a blob of this digest."""
        return self.path(sha256).is_file()

    def delete(self, sha256: str) -> None:
        """There is no blob of this digest."""
        self._known_free = None  # whoever makes room wants to know when there is enough
        try:
            self.path(sha256).unlink(missing_ok=True)
        except OSError as error:
            raise _unavailable(error) from None

    def free_bytes(self) -> int:
        """Free space for us on the spool's disk, at most a second old."""
        now = time.monotonic()
        if self._known_free is None or now - self._known_free[0] > FREE_BYTES_AGE_S:
            try:
                disk = os.statvfs(self._folder)
            except OSError as error:
                raise _unavailable(error) from None
            self._known_free = (now, disk.f_bavail * disk.f_frsize)
        return self._known_free[1]

    def is_low(self) -> bool:
        """True where no new sender should be let in."""
        return self.free_bytes() < self._low_water_bytes

    def is_full(self) -> bool:
        """True where nothing more may be stored."""
        return self.free_bytes() < self._floor_bytes

    def set_aside_damaged(self, expected: Iterable[Blob] = ()) -> int:
        """Empty files, files cut short and writes that nobody will finish are in `damaged/`; how many.

        `expected` are the blobs that the ledger knows. Others may be writing meanwhile: theirs is left to them. What was
        acknowledged is only among these where the disk itself lost bytes, and a resend puts it back.
        """
        suspects = [file for file in self._aside.iterdir() if _is_abandoned(file)]
        if suspects:
            time.sleep(LOCKED_WITHIN_S)
            suspects = [file for file in suspects if _is_abandoned(file)]
        suspects += [file for file in self._folder.glob("[0-9a-f][0-9a-f]/*") if _size_bytes(file) == 0]
        known_sizes = ((self.path(blob.sha256), blob.size_bytes) for blob in expected)
        suspects += [file for file, size_bytes in known_sizes if _size_bytes(file) not in (None, 0, size_bytes)]
        for file in suspects:
            with suppress(FileNotFoundError):  # purged meanwhile
                file.replace(self._damaged / f"{file.name}.{uuid.uuid4().hex}")
        return len(suspects)

    def _write(self, content: bytes | bytearray | memoryview, home: Path) -> None:
        aside = self._aside / uuid.uuid4().hex
        try:
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # says that somebody is at it, until the process ends
                _write_all(descriptor, content)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            aside.replace(home)
            sync_folder(home.parent)
        except OSError as error:
            self._known_free = None
            aside.unlink(missing_ok=True)
            raise _unavailable(error) from None


def blob_path(folder: Path, sha256: str) -> Path:
    """Where a spool in `folder` has the bytes of this digest, or would have them."""
    if not _DIGEST.fullmatch(sha256):
        raise ValueError("a blob's name is 64 hexadecimal digits in lower case")
    return folder / sha256[:2] / sha256


def sync_folder(folder: Path) -> None:
    """The names in `folder` are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, content: bytes | bytearray | memoryview) -> None:
    rest = memoryview(content).cast("B")
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _size_bytes(file: Path) -> int | None:
    """None where there is no such file, or no more."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None


def _is_abandoned(file: Path) -> bool:
    """True where the process that wrote the file is gone, which gave its lock back; or has not taken it yet."""
    try:
        descriptor = os.open(file, os.O_RDWR)  # network file systems lock no other for one alone
    except FileNotFoundError:  # it has its own name by now
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _unavailable(error: OSError, where: str = "") -> SpoolFull | StoreUnavailable:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SpoolFull("spool: the disk is full; make room or add a disk")
    return StoreUnavailable(
        f"spool: {where}{error.strerror or type(error).__name__}; see that the spool's disk is mounted, writable and sound"
    )
