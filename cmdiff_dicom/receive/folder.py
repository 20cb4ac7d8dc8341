"""A folder of DICOM files becomes instances, the same ones as if each had come by C-STORE.

Names and extensions say nothing; every file is looked into. A DICOMDIR is no image. What is not DICOM is counted, never
named: file names may hold patients' names.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from pydicom.filereader import data_element_generator
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, MediaStorageDirectoryStorage

from cmdiff_dicom.errors import UnreadableInstance
from cmdiff_dicom.receive.identity import NOT_STORED, read_instance
from cmdiff_dicom.records import Blob, ReceivedInstance

_TRANSFER_SYNTAX_TAG, _SOP_CLASS_TAG = 0x00020010, 0x00020002
_PREAMBLE_BYTES = 128


@dataclass(frozen=True)
class FolderContent:
    """The instances of a folder, and one line for each kind of file that is none."""

    instances: tuple[ReceivedInstance, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class DicomFile:
    """A file's data set as it would travel by C-STORE: without preamble and file meta information."""

    data_set: bytes
    transfer_syntax_uid: str
    is_directory: bool = False


def read_folder(folder: Path, keep: Callable[[bytes], Blob]) -> FolderContent:
    """Every instance below `folder`; `keep` stores each data set's bytes and says under which digest."""
    instances: list[ReceivedInstance] = []
    problems: Counter[str] = Counter()
    for path in _files(folder):
        try:
            content = read_dicom_file(path)
            if content is None:
                problems["not DICOM"] += 1
            elif not content.is_directory:
                instance = read_instance(content.data_set, content.transfer_syntax_uid, NOT_STORED, "", datetime.now(UTC))
                instances.append(replace(instance, blob=keep(content.data_set)))
        except UnreadableInstance:
            problems["DICOM, but without a readable header"] += 1
        except OSError:
            problems["not readable by this user"] += 1
    return FolderContent(tuple(instances), tuple(f"{count} file(s) {what}" for what, count in sorted(problems.items())))


def read_dicom_file(path: Path) -> DicomFile | None:
    """The data set of a Part 10 file, or of a file that is a bare data set; None where it is neither.

    Raises: UnreadableInstance (file meta information cut short), OSError.
    """
    with path.open("rb") as file:
        start = file.read(_PREAMBLE_BYTES + 4)
        if start[_PREAMBLE_BYTES:] == b"DICM":
            return _after_meta(file.read())
        if start[:2] == b"\x02\x00":
            return _after_meta(start + file.read())
        syntax = _bare_transfer_syntax(start)
        return None if syntax is None else DicomFile(start + file.read(), syntax)


def _files(folder: Path) -> Iterator[Path]:
    """All files below `folder`, in one order on every machine."""
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(root) / name for name in sorted(names))


def _after_meta(content: bytes) -> DicomFile:
    """`content` begins with file meta information: group 0002 in Little Endian, in Explicit VR as it should be or without.

    Where it does not name the transfer syntax (PS3.10 7.1), the data set's first bytes show it, but for compressed pixels.
    """
    stream = BytesIO(content)
    is_implicit = not content[4:6].isalpha()
    elements = data_element_generator(stream, is_implicit, True, stop_when=_is_past_meta)
    meta = {int(element.tag): element.value for element in elements}
    data_set = content[stream.tell() :]
    syntax, sop_class = (_text(meta.get(tag)) for tag in (_TRANSFER_SYNTAX_TAG, _SOP_CLASS_TAG))
    syntax = syntax or _bare_transfer_syntax(data_set) or ""
    if not syntax:
        raise UnreadableInstance("file meta information: Transfer Syntax UID is missing")
    return DicomFile(data_set, syntax, sop_class == MediaStorageDirectoryStorage)


def _is_past_meta(tag: int, _vr: str | None, _length: int) -> bool:
    return tag >> 16 != 2


def _text(value: object) -> str:
    return value.decode("latin-1").strip(" \0") if isinstance(value, bytes) else ""


def _bare_transfer_syntax(start: bytes) -> str | None:
    """The transfer syntax of a data set without file meta information: its first element is of group 0008."""
    if len(start) < 8:
        return None
    if start[:2] == b"\x00\x08" and start[4:6].isalpha():
        return str(ExplicitVRBigEndian)
    if start[:2] != b"\x08\x00":
        return None
    if start[4:6].isalpha() and start[4:6].isupper():
        return str(ExplicitVRLittleEndian)
    return str(ImplicitVRLittleEndian) if int.from_bytes(start[4:8], "little") < 1 << 16 else None
