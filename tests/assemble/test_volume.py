"""Stored bytes become the numbers they mean, in any transfer syntax, on the grid that the header says."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from imagecodecs import jpeg8_encode, jpegls_encode
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from cmdiff_dicom.assemble import source_datasets
from cmdiff_dicom.assemble.pixels import decode_slice, oddities, read_data_set
from cmdiff_dicom.assemble.series import split_into_stacks
from cmdiff_dicom.assemble.volume import read_volume
from cmdiff_dicom.errors import UnreadablePixels
from cmdiff_dicom.geometry import Volume
from tests.support.received import Received, encoded, noise, oblique_grid, received, series


def volume_of(everything: Received) -> Volume:
    (stack,), _ = split_into_stacks(everything.instances, 8)
    return read_volume(stack, everything.read)[0]


def notes_of(everything: Received) -> tuple[str, ...]:
    (stack,), _ = split_into_stacks(everything.instances, 8)
    return read_volume(stack, everything.read)[1]


def deflated(datasets) -> Received:
    for data_set in datasets:
        data_set.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return received(datasets)


def with_pixels(datasets, words: np.ndarray, **attributes):
    """The series with these 16-bit words and header attributes."""
    for data_set, plane in zip(datasets, words, strict=True):
        data_set.PixelData = plane.astype("<u2").tobytes()
        for keyword, value in attributes.items():
            setattr(data_set, keyword, value)
    return datasets


def test_whole_numbers_come_back_as_they_were():
    original = noise()
    assert np.array_equal(volume_of(received(series(volume=original))).array, original.array)


@pytest.mark.parametrize(
    ("sent", "agreed"), [(ImplicitVRLittleEndian, ExplicitVRLittleEndian), (ExplicitVRLittleEndian, ImplicitVRLittleEndian)]
)
def test_implicit_vr_under_the_name_of_explicit_vr_gives_the_same_volume_and_the_reverse(sent, agreed):
    original = noise()
    datasets = series(volume=original)
    for data_set in datasets:
        data_set.file_meta.TransferSyntaxUID = sent
    everything = received(datasets)
    everything.instances = [replace(instance, transfer_syntax_uid=str(agreed)) for instance in everything.instances]
    assert np.array_equal(volume_of(everything).array, original.array)
    assert len(source_datasets(split_into_stacks(everything.instances, 8)[0][0], everything.read)) == original.array.shape[0]


def compress(data_set, syntax):
    """Encapsulates the pixels in place; JPEG by imagecodecs, which pydicom does not write."""
    if syntax in (JPEGLosslessSV1, JPEGExtended12Bit):
        words = data_set.pixel_array.astype(np.uint16)
        how = {"lossless": True, "bitspersample": 16} if syntax == JPEGLosslessSV1 else {"level": 95, "bitspersample": 12}
        frame = jpeg8_encode(words if how.get("lossless") else np.minimum(words, 4095), **how)
        data_set.PixelData = encapsulate([frame])
        data_set["PixelData"].is_undefined_length = True
        data_set.file_meta.TransferSyntaxUID = syntax
    else:
        data_set.compress(syntax, generate_instance_uid=False)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless])
def test_every_transfer_syntax_gives_the_same_volume(syntax):
    original = noise(oblique_grid(shape=(8, 40, 48)))
    datasets = series(volume=original)
    for data_set in datasets:
        if syntax.is_encapsulated:
            compress(data_set, syntax)
        data_set.file_meta.TransferSyntaxUID = syntax
    assert np.array_equal(volume_of(received(datasets)).array, original.array)


def test_extended_jpeg_of_twelve_bits_gives_nearly_the_same_volume():
    smooth = oblique_grid(shape=(8, 40, 48))
    k, j, i = np.meshgrid(*(np.linspace(0, 1, n) for n in smooth.shape), indexing="ij")
    original = Volume(np.round(2000 * (1 + np.sin(3 * i) * j * k)).astype(np.float32), smooth)
    datasets = series(volume=original, BitsStored=12, HighBit=11)
    for data_set in datasets:
        compress(data_set, JPEGExtended12Bit)
    assert np.abs(volume_of(received(datasets)).array - original.array).max() < 20


def test_signed_lossless_jpeg_gives_the_same_volume():
    values = np.random.default_rng(3).integers(-2048, 2048, oblique_grid().shape)
    datasets = with_pixels(series(), values & 0xFFFF, PixelRepresentation=1)
    for data_set in datasets:
        data_set.PixelRepresentation = 0
        compress(data_set, JPEGLosslessSV1)
        data_set.PixelRepresentation = 1
    assert np.array_equal(volume_of(received(datasets)).array, values)


def test_big_endian_gives_the_same_volume_to_the_last_voxel():
    original = noise()
    datasets = series(volume=original)
    for data_set, plane in zip(datasets, original.array, strict=True):
        data_set.PixelData = plane.astype(">u2").tobytes()
        data_set["PixelData"].VR = "OW"
        data_set.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        data_set.set_original_encoding(False, False)
    everything = received(datasets)
    assert np.array_equal(volume_of(everything).array, original.array)


def test_a_deflated_data_set_gives_the_same_volume():
    original = noise()
    assert np.array_equal(volume_of(deflated(series(volume=original))).array, original.array)


def test_each_slice_is_rescaled_by_its_own_pair():
    smooth = oblique_grid()
    k, j, i = np.meshgrid(*(np.linspace(0, 1, n) for n in smooth.shape), indexing="ij")
    original = Volume((3.7 * k**2 + j + np.sin(3 * i) - 0.4).astype(np.float32), smooth)
    datasets = series(volume=original, rescale_per_slice=True)
    assert len({str(data_set.RescaleSlope) for data_set in datasets}) > 5
    assert np.abs(volume_of(received(datasets)).array - original.array).max() < 2e-4


def test_signed_values_of_twelve_bits_are_sign_extended():
    values = np.random.default_rng(2).integers(-2048, 2048, oblique_grid().shape)
    header = {"PixelRepresentation": 1, "BitsStored": 12, "HighBit": 11}
    masked = volume_of(received(with_pixels(series(), values & 0x0FFF, **header)))
    assert np.array_equal(masked.array, values)


def test_signed_jpeg_ls_of_twelve_bits_gives_the_same_volume():
    values = np.random.default_rng(2).integers(-2048, 2048, oblique_grid().shape)
    datasets = series(PixelRepresentation=1, BitsStored=12, HighBit=11)
    for data_set, plane in zip(datasets, values, strict=True):
        data_set.PixelData = encapsulate([jpegls_encode((plane & 0x0FFF).astype(np.uint16))])
        data_set["PixelData"].is_undefined_length = True
        data_set.file_meta.TransferSyntaxUID = JPEGLSLossless
    assert np.array_equal(volume_of(received(datasets)).array, values)


def test_bits_above_those_stored_are_masked():
    original = noise()
    words = original.array.astype(int) | (np.arange(original.array.size).reshape(original.array.shape) % 2 << 15)
    assert np.array_equal(volume_of(received(with_pixels(series(), words, BitsStored=12, HighBit=11))).array, original.array)


@pytest.mark.parametrize("compressed", [False, True])
def test_bits_below_the_high_bit_are_taken(compressed):
    original = noise()
    datasets = with_pixels(series(), original.array.astype(int) << 4, BitsStored=16, HighBit=15)
    for data_set in datasets:
        if compressed:
            data_set.compress(RLELossless, generate_instance_uid=False)
        data_set.BitsStored = 12
    assert np.array_equal(volume_of(received(datasets)).array, original.array)


def test_excess_bytes_after_the_image_are_ignored_and_noted():
    original = noise()
    datasets = series(volume=original)
    for data_set in datasets:
        data_set.PixelData += bytes(17_000)
    assert np.array_equal(volume_of(received(datasets)).array, original.array)
    assert "10 slice(s) with bytes after the end of the image" in notes_of(received(datasets))[0]
    assert not notes_of(received(series()))


def test_a_slope_of_zero_is_no_slope():
    original = noise()
    assert np.array_equal(
        volume_of(received(series(volume=original, RescaleSlope="0", RescaleIntercept="0"))).array, original.array
    )


@pytest.mark.parametrize("compress", [False, True])
def test_missing_bytes_make_a_slice_unusable_by_name(compress):
    datasets = series()
    if compress:
        datasets[6].compress(RLELossless, generate_instance_uid=False)
    datasets[6].PixelData = datasets[6].PixelData[: len(datasets[6].PixelData) * 3 // 4 // 2 * 2]
    with pytest.raises(UnreadablePixels, match=r"slice 7 of 10"):
        volume_of(received(datasets))


def test_a_data_set_cut_in_its_pixels_is_unusable_by_name():
    everything = received(series())
    sha256 = everything.instances[3].blob.sha256
    everything.blobs[sha256] = everything.blobs[sha256][:-200]
    with pytest.raises(UnreadablePixels, match=r"slice 4 of 10: pixel data are cut short: 760 bytes found, 960 wanted"):
        volume_of(everything)


@pytest.mark.filterwarnings("ignore:End of file reached")
def test_a_compressed_data_set_cut_in_its_pixels_is_unusable_by_name():
    datasets = series()
    for data_set in datasets:
        data_set.compress(RLELossless, generate_instance_uid=False)
    everything = received(datasets)
    sha256 = everything.instances[3].blob.sha256
    everything.blobs[sha256] = everything.blobs[sha256][:-300]
    with pytest.raises(UnreadablePixels, match="slice 4 of 10"):
        volume_of(everything)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLosslessSV1, JPEGExtended12Bit, JPEGLSLossless, JPEG2000Lossless]
)
def test_broken_bytes_are_decoded_or_refused_and_nothing_else_happens(syntax):
    data_set = series(volume=noise(oblique_grid(shape=(8, 40, 48))), rescale_per_slice=True)[3]
    if syntax.is_encapsulated:
        compress(data_set, syntax)
    whole = encoded(data_set)
    rng = np.random.default_rng(0)
    refused = 0
    for n in range(150):
        broken = bytearray(whole)
        for place in rng.integers(0, len(whole), size=3):
            broken[place] = rng.integers(0, 256)
        if n % 5 == 0:
            del broken[rng.integers(10, len(whole)) :]
        try:
            read = read_data_set(bytes(broken), syntax)
            decode_slice(read)
            oddities(read)
        except UnreadablePixels:
            refused += 1
    assert refused >= 20


@pytest.mark.parametrize("instead", [b"", bytes(8), bytes(64)])
def test_compressed_pixels_without_their_last_delimiter_are_read(instead):
    original, delimiter = noise(), b"\xfe\xff\xdd\xe0\0\0\0\0"
    odd = Received()
    for data_set in series(volume=original):
        data_set.compress(RLELossless)
        raw = encoded(data_set)
        assert raw.endswith(delimiter)
        odd.add(raw.removesuffix(delimiter) + instead, RLELossless)
    assert np.array_equal(volume_of(odd).array, original.array)


def test_an_image_without_pixels_is_unusable_by_name():
    datasets = series()
    del datasets[0].PixelData
    with pytest.raises(UnreadablePixels, match="no pixel data"):
        volume_of(received(datasets))


@pytest.mark.parametrize(("samples", "meaning"), [(3, "RGB"), (1, "PALETTE COLOR")])
def test_colour_is_unusable_by_name(samples, meaning):
    datasets = series(SamplesPerPixel=samples, PhotometricInterpretation=meaning, PlanarConfiguration=0)
    with pytest.raises(UnreadablePixels, match="colour"):
        volume_of(received(datasets))


def test_padding_becomes_the_least_value():
    original = noise()
    words = original.array.astype(int) + 5
    words[:, :2] = 4000
    read = volume_of(received(with_pixels(series(), words, PixelPaddingValue=4000))).array
    assert np.array_equal(read[:, 2:], original.array[:, 2:] + 5)
    assert np.all(read[:, :2] == read[:, 2:].min())


@pytest.mark.parametrize(
    ("vr", "value", "attributes"),
    [
        ("SS", -2000, {"PixelRepresentation": 1, "BitsStored": 16, "HighBit": 15}),
        ("US", 63536, {"PixelRepresentation": 1, "BitsStored": 16, "HighBit": 15}),
        ("SS", -2000, {"PixelRepresentation": 0, "BitsStored": 16, "HighBit": 15}),
        ("US", 63536, {"PixelRepresentation": 0, "BitsStored": 12, "HighBit": 11}),
    ],
)
def test_padding_is_known_under_either_sign_and_outside_the_bits_stored(vr, value, attributes):
    words = noise().array.astype(np.uint16)
    padded = words.copy()
    padded[:, :3] = 63536
    datasets = with_pixels(series(), padded, **attributes)
    for data_set in datasets:
        data_set.add_new("PixelPaddingValue", vr, value)
    wanted = np.where(padded == 63536, words[:, 3:].min(), words)
    assert np.array_equal(volume_of(received(datasets)).array, wanted)


@pytest.mark.parametrize("keyword", ["SamplesPerPixel", "PhotometricInterpretation", "PixelRepresentation"])
@pytest.mark.parametrize("is_empty", [True, False])
def test_pixels_of_which_not_all_is_said_are_grey_and_unsigned_and_it_is_noted(keyword, is_empty):
    original = noise()
    datasets = series(volume=original)
    for data_set in datasets:
        setattr(data_set, keyword, None) if is_empty else delattr(data_set, keyword)
    assert np.array_equal(volume_of(received(datasets)).array, original.array)
    assert "not all is said" in notes_of(received(datasets))[0]


def test_a_decimal_comma_is_a_decimal_point():
    original = noise()
    plain = received(series(volume=original, RescaleSlope="2.5", RescaleIntercept="-0.5"))
    odd = Received()
    for instance in plain.instances:
        raw = plain.read(instance.blob.sha256)
        for text in (b"2.5", b"-0.5", b"1.20000000000000\\0.90000000000000"):
            assert text in raw
            raw = raw.replace(text, text.replace(b".", b","))
        odd.add(raw, instance.transfer_syntax_uid)
    assert np.array_equal(volume_of(odd).array, volume_of(plain).array)
    assert volume_of(odd).geometry.is_close(volume_of(plain).geometry)


def test_a_data_set_that_was_to_be_deflated_and_is_not_gives_the_same_volume():
    original = noise()
    odd = Received()
    for data_set in series(volume=original):
        odd.add(encoded(data_set), DeflatedExplicitVRLittleEndian)
    assert np.array_equal(volume_of(odd).array, original.array)


def test_where_the_least_value_is_white_the_volume_is_inverted():
    original = noise()
    read = volume_of(received(series(volume=original, PhotometricInterpretation="MONOCHROME1"))).array
    assert np.array_equal(read, original.array.max() - original.array)


def test_float_pixels_are_read():
    original = Volume(np.random.default_rng(1).normal(size=oblique_grid().shape).astype(np.float32), oblique_grid())
    datasets = series(RescaleSlope=None, RescaleIntercept=None, RescaleType=None)
    for data_set, plane in zip(datasets, original.array, strict=True):
        del data_set.PixelData
        data_set.FloatPixelData, data_set.BitsAllocated = plane.tobytes(), 32
        for keyword in ("BitsStored", "HighBit", "PixelRepresentation"):
            delattr(data_set, keyword)
    assert np.array_equal(volume_of(received(datasets)).array, original.array)


def test_numbers_under_a_wrong_vr_are_read_by_the_dictionarys_meaning():
    original = noise()
    datasets = series(volume=original, RescaleSlope="2", RescaleIntercept="-3")
    strange = copy.deepcopy(datasets)
    for data_set in strange:
        raw = {
            keyword: "\\".join(map(str, np.atleast_1d(data_set[keyword].value))) for keyword in ("PixelSpacing", "RescaleSlope")
        }
        for keyword, text in raw.items():
            data_set.add_new(data_set[keyword].tag, "UT", text)
        data_set.add_new("EchoTrainLength", "UT", "14.5")
    plain, odd = volume_of(received(datasets)), volume_of(received(strange))
    assert np.array_equal(odd.array, plain.array)
    assert np.array_equal(plain.array, 2 * original.array - 3)
    assert odd.geometry.is_close(plain.geometry)
    assert "numbers under a VR that is not theirs" in notes_of(received(strange))[0]


def test_headers_for_the_result_come_in_slice_order_without_pixels():
    everything = received(series(is_reversed=True)[::-1])
    (stack,), _ = split_into_stacks(everything.instances, 8)
    headers = source_datasets(stack, everything.read)
    assert [header.SOPInstanceUID for header in headers] == [i.sop_uid for i in stack.instances]
    assert [header.InstanceNumber for header in headers] == list(range(10, 0, -1))
    assert not any("PixelData" in header for header in headers)
    assert headers[0].file_meta.TransferSyntaxUID == stack.instances[0].transfer_syntax_uid


def test_the_same_slices_in_another_order_give_the_same_volume():
    datasets = series()
    one, other = volume_of(received(datasets)), volume_of(received(datasets[::-1]))
    assert np.array_equal(one.array, other.array)
    assert one.geometry.is_close(other.geometry, 0)
