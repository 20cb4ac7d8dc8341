"""One instance's bytes -> its pixels as numbers with a meaning: any transfer syntax, stored bits as declared, rescaled.

The spool holds data sets without file meta information; the transfer syntax comes from the ledger's record.
"""

from __future__ import annotations

import warnings
import zlib
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.errors import UnreadablePixels

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.uid import UID

DEFLATED = "1.2.840.10008.1.2.1.99"
RLE_LOSSLESS = "1.2.840.10008.1.2.5"
_JPEG = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70))
"""The four JPEG syntaxes of PS3.5 A.4.1: baseline, extended (12 bits), lossless."""
_FIRST_PIXEL_TAG = 0x7FE00008
_PIXEL_ITEMS = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"
_ITEM, _END_OF_ITEMS = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"
"""Pixel Data of undefined length, an item in it, and its Sequence Delimitation Item (PS3.5 A.4)."""
_UNSAID = (
    ("SamplesPerPixel", "samples_per_pixel", 1),
    ("PhotometricInterpretation", "photometric_interpretation", "MONOCHROME2"),
    ("PixelRepresentation", "pixel_representation", 0),
)
"""What careless exporters leave out, the decoder's name for it, and what it then is."""
_DECIMAL_STRINGS = ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept")


def read_data_set(data_set: bytes, transfer_syntax_uid: str, with_pixels: bool = True) -> Dataset:
    """The parsed data set, with as much file meta information as decoding asks for. Raises: UnreadablePixels."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.filereader import read_dataset
    from pydicom.uid import UID

    syntax = UID(transfer_syntax_uid)
    stop = None if with_pixels else (lambda tag, _vr, _length: tag >= _FIRST_PIXEL_TAG)
    try:
        if syntax == DEFLATED:
            data_set = zlib.decompress(data_set, -zlib.MAX_WBITS)
        if syntax.is_encapsulated and with_pixels:
            data_set = _ended(data_set)
        parsed = read_dataset(BytesIO(data_set), syntax.is_implicit_VR, syntax.is_little_endian, stop_when=stop)
    except Exception as error:  # a parser meeting cut bytes may fail in any way
        raise UnreadablePixels(f"data set is cut short or broken ({type(error).__name__}); send the instance again") from None
    parsed.file_meta = FileMetaDataset()
    parsed.file_meta.TransferSyntaxUID = syntax
    parsed.set_original_encoding(syntax.is_implicit_VR, syntax.is_little_endian)
    return parsed


def _ended(data_set: bytes) -> bytes:
    """With the delimiter after the last item of compressed pixels, which old archives overwrite with zeros or leave out."""
    at = data_set.rfind(_PIXEL_ITEMS) + len(_PIXEL_ITEMS)
    if at < len(_PIXEL_ITEMS):
        return data_set
    while data_set[at : at + 4] == _ITEM:
        at += 8 + int.from_bytes(data_set[at + 4 : at + 8], "little")
    is_whole = at <= len(data_set) and not data_set[at:].strip(b"\0")
    return data_set[:at] + _END_OF_ITEMS if is_whole else data_set


def decode_slice(data_set: Dataset) -> NDArray[np.float32]:
    """Rescaled values of a single-frame monochrome image; NaN where the header says padding.

    Shapes: float32 (Rows, Columns). Raises: UnreadablePixels: cut short, colour, or in a form that cannot be decoded.
    Source: PS3.3 C.7.6.3.1 (stored values), C.11.1.1.2 (rescale), C.7.5.1.1.2 (padding).
    """
    if number(data_set, "SamplesPerPixel", 1) != 1 or "PALETTE" in photometric_interpretation(data_set):
        raise UnreadablePixels("colour pixels where grey ones are wanted")
    syntax = data_set.file_meta.TransferSyntaxUID
    try:
        stored = _decoded(data_set)
    except Exception as error:  # every plugin raises its own kinds
        raise UnreadablePixels(_told(data_set, error)) from None
    words = stored
    if stored.dtype.kind in "iu" and (keeps_words(syntax) or number(data_set, "PixelRepresentation", 0) == 1):
        stored = stored_bits(words, data_set)
    slope, intercept = number(data_set, "RescaleSlope", 1.0) or 1.0, number(data_set, "RescaleIntercept", 0.0)
    values = np.asarray(stored * np.float32(slope) + np.float32(intercept), dtype=np.float32)
    if not np.all(np.isfinite(values)):
        raise UnreadablePixels("pixel values that are no numbers")
    if (padded := padding(words, stored, data_set)) is not None:
        values[padded] = np.nan
    return values


def _decoded(data_set: Dataset) -> NDArray[Any]:
    """The first frame's words as they are stored."""
    from pydicom.pixels.decoders.base import get_decoder

    syntax = data_set.file_meta.TransferSyntaxUID
    if syntax in _JPEG:
        return _decoded_jpeg(data_set)
    # words are asked for whole: the decoder takes High Bit for Bits Stored - 1
    options: dict[str, Any] = {"bits_stored": data_set.BitsAllocated} if keeps_words(syntax) else {}
    options |= {name: default for keyword, name, default in _UNSAID if not is_said(data_set, keyword)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # excess bytes after the image are legal in old files
        return get_decoder(syntax).as_array(data_set, raw=True, index=0, **options)[0]


def _decoded_jpeg(data_set: Dataset) -> NDArray[np.integer]:
    """The first frame by libjpeg-turbo, which reads all four syntaxes and survives broken streams."""
    from imagecodecs import jpeg8_decode
    from pydicom.encaps import generate_frames

    stored = np.asarray(jpeg8_decode(next(generate_frames(data_set.PixelData, number_of_frames=1))))
    if stored.shape != (data_set.Rows, data_set.Columns):
        raise ValueError(f"the JPEG image is {stored.shape}")
    is_signed = number(data_set, "PixelRepresentation", 0) == 1
    return stored_bits(stored.view(f"i{stored.itemsize}"), data_set) if is_signed else stored


def keeps_words(syntax: UID) -> bool:
    """True for native pixels and run lengths, which keep every bit of a word where it is; other codecs carry values."""
    return not syntax.is_encapsulated or syntax == RLE_LOSSLESS


def stored_bits(words: NDArray[np.integer], data_set: Dataset) -> NDArray[np.integer]:
    """Only the bits from High Bit down, Bits Stored of them; the rest may hold overlays or nothing. Sign extended.

    JPEG and JPEG-LS know no sign: what they carry of a signed image is its bits (PS3.5 8.2.3).
    """
    allocated = words.dtype.itemsize * 8
    stored = int(number(data_set, "BitsStored", allocated))
    high = int(number(data_set, "HighBit", stored - 1)) if keeps_words(data_set.file_meta.TransferSyntaxUID) else stored - 1
    shift = high + 1 - stored
    if not 0 < stored < allocated or shift < 0:
        return words
    values = (words.astype(np.int64) >> shift) & ((1 << stored) - 1)
    if number(data_set, "PixelRepresentation", 0) == 1:
        values = values - ((values >> (stored - 1)) << stored)
    return values


def padding(words: NDArray[np.number], stored: NDArray[np.number], data_set: Dataset) -> NDArray[np.bool_] | None:
    """Where the header says that pixels are no image, or None where it says nothing of the kind.

    The value may have been written with the other sign's VR, and need not fit into Bits Stored: whole words count too.
    """
    low = number(data_set, "PixelPaddingValue", np.nan)
    if np.isnan(low):
        return None
    ends = np.array([low, number(data_set, "PixelPaddingRangeLimit", low)])
    if stored.dtype.kind in "iu":
        if ends.min() < -(1 << 8 * words.itemsize - 1) or ends.max() >= 1 << 8 * words.itemsize:
            return None  # no pixel can have that value
        ends = ends.astype(np.int64).astype(words.dtype)  # 63536 means -2000 where words are signed
    padded = _between(stored, ends) | _between(words, ends)
    return None if padded.all() else padded


def _between(values: NDArray[np.number], ends: NDArray[np.number]) -> NDArray[np.bool_]:
    return np.asarray((values >= ends.min()) & (values <= ends.max()))


def number(data_set: Dataset, keyword: str, default: float) -> float:
    """A numeric element by the dictionary's meaning, whatever VR and form the file gives it; `default` where it has none."""
    try:
        element = data_set.get(keyword)
    except Exception:  # a value that its VR forbids
        element = data_set.get_item(keyword).value
    text = element.decode("latin-1") if isinstance(element, bytes) else str(element) if element is not None else ""
    try:
        return float(text.split("\\")[0].replace(",", ".").strip(" \0"))  # no decimal string has another comma
    except ValueError:
        return default


def is_said(data_set: Dataset, keyword: str) -> bool:
    """True where the element is there and not empty, whatever it says."""
    return keyword in data_set and data_set.get_item(keyword).value not in (None, "", b"")


def photometric_interpretation(data_set: Dataset) -> str:
    """How pixels become brightness, or what stands there instead; bytes of a broken element are not parsed."""
    keyword = "PhotometricInterpretation"
    return str(data_set.get_item(keyword).value) if keyword in data_set else ""


def oddities(data_set: Dataset) -> set[str]:
    """What was strange about a slice that could be read all the same."""
    odd = set()
    is_native = not data_set.file_meta.TransferSyntaxUID.is_encapsulated and "PixelData" in data_set
    if is_native and len(data_set.get_item("PixelData").value) > _wanted_bytes(data_set) + 1:
        odd.add("bytes after the end of the image, ignored")
    if any(not is_said(data_set, keyword) for keyword, *_ in _UNSAID) and "PixelData" in data_set:
        odd.add("pixels of which not all is said, read as grey and unsigned")
    vrs = {data_set.get_item(keyword).VR for keyword in _DECIMAL_STRINGS if keyword in data_set}
    if vrs - {"DS", "UN", None}:
        odd.add("numbers under a VR that is not theirs, read as numbers")
    return odd


def _wanted_bytes(data_set: Dataset) -> int:
    """Length of one native grey frame."""
    rows, columns, bits = (int(number(data_set, keyword, 0)) for keyword in ("Rows", "Columns", "BitsAllocated"))
    return rows * columns * bits // 8


def _told(data_set: Dataset, error: Exception) -> str:
    """Why pixels could not be had, without quoting the data set."""
    there = [name for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if name in data_set]
    if not there:
        return "no pixel data"
    syntax = data_set.file_meta.TransferSyntaxUID
    found = wanted = _wanted_bytes(data_set)
    with suppress(Exception):  # the element itself may be broken
        found = len(data_set[there[0]].value)
    if not syntax.is_encapsulated and found < wanted:
        return f"pixel data are cut short: {found} bytes found, {wanted} wanted; send the instance again"
    return f"pixel data of transfer syntax {syntax.name} could not be decoded ({type(error).__name__})"
