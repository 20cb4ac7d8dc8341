"""Values are read by the dictionary's meaning; strange ones are absent, never an error."""

import pytest

from cmdiff_dicom.receive.elements import RawElement, integer, number, numbers, text, texts, whole_text

SPACING, ROWS = "PixelSpacing", "Rows"


def header(value: bytes, vr: str = "", is_little_endian: bool = True):
    return dict.fromkeys((SPACING, ROWS), RawElement(vr, value, is_little_endian))


@pytest.mark.parametrize("vr", ["DS", "UT", "LO", ""])
def test_numbers_as_text_are_read_whatever_text_vr_the_file_names(vr):
    assert numbers(header(b"2.5\\2.5 ", vr), SPACING) == (2.5, 2.5)


def test_a_decimal_comma_is_a_decimal_point():
    assert numbers(header(b"0,5\\-1,25e1 ", "DS"), SPACING) == (0.5, -12.5)


def test_an_integer_string_with_a_fraction_is_its_whole_part():
    assert integer(header(b"14.5", "IS"), SPACING) == 14


@pytest.mark.parametrize(
    ("vr", "value"), [("US", b"\x00\x01"), ("UL", b"\x00\x01\x00\x00"), ("IS", b"256 "), ("", b"\x00\x01")]
)
def test_a_matrix_size_is_read_in_binary_and_in_text(vr, value):
    assert integer(header(value, vr), ROWS) == 256


def test_big_endian_words_are_read_in_their_own_order():
    assert integer(header(b"\x01\x00", "US", is_little_endian=False), ROWS) == 256


@pytest.mark.parametrize("value", [b"", b"  ", b"abc", b"nan", b"inf", b"1e999", b"1.5\\x", b"\xff\xff"])
def test_what_is_no_finite_number_is_absent(value):
    assert numbers(header(value, "DS"), SPACING) == ()
    assert number(header(value, "DS"), SPACING) is None
    assert integer(header(value, "DS"), SPACING) is None


def test_absent_elements_have_no_values():
    assert (texts({}, SPACING), text({}, SPACING), whole_text({}, SPACING), numbers({}, SPACING)) == ((), "", "", ())


def test_texts_lose_padding_and_control_characters():
    assert texts(header(b"ORIGINAL\\ PRIMARY \\M\0"), SPACING) == ("ORIGINAL", "PRIMARY", "M")
    assert text(header(b"A\x001\n2 "), SPACING) == "A12"


def test_a_binary_value_cut_short_gives_its_whole_words():
    assert numbers(header(b"\x01\x00\x02", "US"), ROWS) == (1.0,)
