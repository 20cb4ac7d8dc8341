"""Values of raw data elements by what the dictionary says they mean, whatever VR the file gives them.

Scanners write Pixel Spacing as UT, IS with a fraction, numbers of no length: all of it readable, none of it a reason to
refuse an image. What cannot be read as a number is None; nothing here raises for a strange value.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR

_ESCAPE = b"\x1b"
_REPLACED = "\ufffd"
"""What the library puts where a byte does not fit."""
_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_PADDING = " \0"
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class RawElement:
    """An element as it lies in the data set. `vr` is the file's own, or "" where it has none or says UN."""

    vr: str
    value: bytes
    is_little_endian: bool


Header = Mapping[str, RawElement]
"""Keyword -> element, of the elements that were asked for and are there."""


def texts(header: Header, keyword: str) -> tuple[str, ...]:
    """The values of a text element, without padding and control characters; () where there is none.

    Bytes beyond ASCII stay one character each: what is compared here (codes, UIDs, words) is ASCII.
    """
    element = header.get(keyword)
    return _values(element.value.decode("latin-1")) if element is not None and element.value else ()


def text(header: Header, keyword: str) -> str:
    """The first value of a text element, or ""."""
    return next(iter(texts(header, keyword)), "")


def whole_text(header: Header, keyword: str) -> str:
    """A text element of one value, in which a backslash is a character like others (LT, UT, and what people type)."""
    return " ".join(texts(header, keyword))


def own_text(header: Header, keyword: str) -> str:
    """The same in the data set's own character set: what people know a study by, and what two files of one patient share."""
    element = header.get(keyword)
    if element is None or not element.value:
        return ""
    return " ".join(_values(_decoded(element.value, texts(header, "SpecificCharacterSet"))))


def numbers(header: Header, keyword: str) -> tuple[float, ...]:
    """The values of a numeric element; () where it is absent, empty or not made of finite numbers."""
    element = header.get(keyword)
    if element is None or not element.value:
        return ()
    vr = element.vr or dictionary_VR(keyword)
    values = _unpacked(element, _BINARY[vr]) if vr in _BINARY else tuple(map(_parsed, texts(header, keyword)))
    finite = tuple(value for value in values if value is not None and math.isfinite(value))
    return finite if len(finite) == len(values) else ()


def number(header: Header, keyword: str) -> float | None:
    """The first value of a numeric element, or None."""
    return next(iter(numbers(header, keyword)), None)


def integer(header: Header, keyword: str) -> int | None:
    """The first value of a numeric element as an integer ("14.5" is 14), or None."""
    value = number(header, keyword)
    return None if value is None or abs(value) > 2**53 else int(value)


def _values(text: str) -> tuple[str, ...]:
    return tuple(_UNPRINTABLE.sub("", value.strip(_PADDING)) for value in text.split("\\"))


def _decoded(value: bytes, character_sets: tuple[str, ...]) -> str:
    """`value` as its character sets say (PS3.3 C.12.1.1.2); one character for each byte where they are none or do not fit."""
    if value.isascii() and _ESCAPE not in value:
        return value.decode("ascii")
    try:
        decoded = decode_bytes(value, convert_encodings(list(character_sets)), set())
    except Exception:  # an unknown name, a code that is none
        decoded = _REPLACED
    return value.decode("latin-1") if _REPLACED in decoded else decoded


def _unpacked(element: RawElement, code: str) -> tuple[float, ...]:
    size = struct.calcsize(f"={code}")
    count = len(element.value) // size
    order = "<" if element.is_little_endian else ">"
    return struct.unpack(f"{order}{count}{code}", element.value[: count * size])


def _parsed(value: str) -> float | None:
    """A decimal comma, which some software writes in countries that use it, can mean nothing else."""
    try:
        return float(value.replace(",", "."))
    except ValueError:
        return None
