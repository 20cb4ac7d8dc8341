"""UIDs that follow from the job key, so that a retry of the same job names the same objects."""

from __future__ import annotations

import hashlib
import uuid

_VERSION_8 = 8 << 76
_VARIANT = 2 << 62


def derived_uid(key: str, *parts: str) -> str:
    """The UID of one `parts` of the result of job `key`: always the same, and different for every other.

    Source: PS3.5 B.2 (a UUID in decimal under root 2.25); RFC 9562 section 5.8 (version 8, own digest).
    """
    digest = hashlib.sha256("\n".join((key, *parts)).encode()).digest()
    bits = int.from_bytes(digest[:16], "big") & ~(0xF << 76) & ~(0x3 << 62)
    return f"2.25.{uuid.UUID(int=bits | _VERSION_8 | _VARIANT).int}"
