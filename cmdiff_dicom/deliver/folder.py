"""A folder as a destination: one file per object, whole or not there."""

from __future__ import annotations

import os
import re
import uuid
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from pydicom import dcmread

from cmdiff_dicom.errors import DeliveryRefused, PacsUnavailable
from cmdiff_dicom.spool import sync_folder

_UID = re.compile(r"[0-9.]{1,64}")


def store(part10: bytes, folder: Path) -> str:
    """The object lies in `folder` under its SOP Instance UID, and stays there after a power cut. The UID.

    Raises: PacsUnavailable (the disk is full or away), DeliveryRefused (its UID is none).
    """
    sop_uid = str(dcmread(BytesIO(part10), specific_tags=["SOPInstanceUID"], stop_before_pixels=True).SOPInstanceUID)
    if not _UID.fullmatch(sop_uid):
        raise DeliveryRefused("the object's SOP Instance UID is no UID, so no file is named by it")
    aside = folder / f".{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with aside.open("xb") as file:
            file.write(part10)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(folder / f"{sop_uid}.dcm")
        sync_folder(folder)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise _unavailable(folder, error) from None
    return sop_uid


def check(folder: Path) -> str:
    """What a look at the folder says. Raises: PacsUnavailable (not there and not to be made, or not writable)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{uuid.uuid4().hex}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _unavailable(folder, error) from None
    return "writable"


def _unavailable(folder: Path, error: OSError) -> PacsUnavailable:
    return PacsUnavailable(f"folder {folder}: {error.strerror or type(error).__name__}; make room or mend the permission")
