"""Association requests and acceptances as a strict reader takes them: what the standard tells to overlook is taken out.

pynetdicom aborts, without a word that reaches an administrator, over an AE title that is blank or padded with NUL, an item
that it does not know (to be ignored: PS3.8 9.3.1) and an Implementation Version Name of more than 16 characters; over a
presentation context without a transfer syntax, or with an even ID, its thread dies.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

ASSOCIATE_RQ, ASSOCIATE_AC = 0x01, 0x02
_TITLES = slice(10, 26), slice(26, 42)
"""Called and calling AE title (PS3.8 Table 9-11)."""
_FIRST_ITEM = 74
_APPLICATION_CONTEXT, _PROPOSED, _ANSWERED, _TRANSFER_SYNTAX, _USER_INFORMATION = 0x10, 0x20, 0x21, 0x40, 0x50
_VERSION_NAME = 0x55
_KNOWN_OF_USERS = range(0x51, 0x5A)
"""Maximum length to user identity (PS3.7 Annex D.3.3)."""
_LONGEST_VERSION_NAME, _LONGEST_UID = 16, 64
_READABLE = bytes(0x20 if code == 0 else code if 0x20 <= code < 0x7F and code != 0x5C else 0x3F for code in range(256))
"""NUL, which old devices pad with, is a space; what no title may hold is a "?", and so is a title that is not there."""

_Item = tuple[int, bytes]
"""Type and value."""


def readable(pdu: bytes) -> bytes:
    """The PDU without what its reader need not understand; as it came where it is another, or its lengths do not add up."""
    if pdu[0] not in (ASSOCIATE_RQ, ASSOCIATE_AC):
        return pdu
    head = bytearray(pdu[:_FIRST_ITEM])
    for title in _TITLES:
        legible = head[title].translate(_READABLE)
        head[title] = legible if legible.strip() else b"?".ljust(len(legible))
    try:
        items = _joined(_readable_items(pdu[_FIRST_ITEM:]))
    except struct.error:
        return bytes(head) + pdu[_FIRST_ITEM:]
    head[2:6] = struct.pack(">L", len(head) - 6 + len(items))
    return bytes(head) + items


def _readable_items(content: bytes) -> Iterator[_Item]:
    for kind, value in _parts(content):
        if kind == _APPLICATION_CONTEXT:
            yield kind, value
        elif kind in (_PROPOSED, _ANSWERED):
            inside = [(k, v) for k, v in _parts(value[4:]) if k != _TRANSFER_SYNTAX or 0 < len(v) <= _LONGEST_UID]
            names_syntax = kind == _ANSWERED or any(k == _TRANSFER_SYNTAX for k, _ in inside)
            if value[:1] and value[0] % 2 and names_syntax:
                yield kind, value[:4] + _joined(inside)
        elif kind == _USER_INFORMATION:
            yield kind, _joined((k, _short(v) if k == _VERSION_NAME else v) for k, v in _parts(value) if k in _KNOWN_OF_USERS)


def _short(version_name: bytes) -> bytes:
    return version_name[:_LONGEST_VERSION_NAME].translate(_READABLE)


def _parts(content: bytes) -> Iterator[_Item]:
    """The items in `content`. Raises: struct.error where the last one is cut short."""
    at = 0
    while at < len(content):
        kind, _, length = struct.unpack_from(">BBH", content, at)
        (value,) = struct.unpack_from(f"{length}s", content, at + 4)
        yield kind, value
        at += 4 + length


def _joined(items: Iterable[_Item]) -> bytes:
    return b"".join(struct.pack(">BBH", kind, 0, len(value)) + value for kind, value in items)
