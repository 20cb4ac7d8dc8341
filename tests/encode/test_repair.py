"""Headers that make highdicom raise are repaired on copies, and the patient is told as the source tells it."""

from datetime import UTC, datetime
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from cmdiff_dicom.encode import encode_seg
from cmdiff_dicom.encode.repair import decimals
from cmdiff_dicom.errors import EncodingFault
from tests.support.sources import OBLIQUE, grid, label_map, reread, series

NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)
TYPE_2 = "PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber ReferringPhysicianName".split()


def encoded(sources, geometry):
    return dcmread(BytesIO(encode_seg(label_map(geometry), sources, "key", NOON, 1).part10))


@pytest.mark.parametrize("jitter", ["0.000001", "-0.0009"])
def test_orientations_that_differ_in_their_last_digits_are_unified(jitter):
    geometry = grid(directions=OBLIQUE)
    sources = series(geometry)
    for source in sources[1::2]:
        source.ImageOrientationPatient[1] = jitter
    assert encoded(sources, geometry).SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient == (
        sources[0].ImageOrientationPatient
    )


def test_orientations_that_differ_more_are_no_one_stack():
    geometry = grid()
    sources = series(geometry)
    sources[3].ImageOrientationPatient[1] = "0.002"
    with pytest.raises(EncodingFault, match="Image Orientation"):
        encoded(sources, geometry)


@pytest.mark.parametrize("keyword", TYPE_2)
def test_a_missing_attribute_of_type_2_is_blank_in_the_result(keyword):
    geometry = grid()
    seg = encoded(series(geometry, **{keyword: None}), geometry)
    assert keyword in seg
    assert not seg[keyword].value


@pytest.mark.parametrize("keyword", TYPE_2)
def test_an_empty_attribute_of_type_2_stays_empty(keyword):
    geometry = grid()
    seg = encoded(series(geometry, **{keyword: ""}), geometry)
    assert keyword in seg
    assert not seg[keyword].value


def test_the_sources_are_left_as_they_were():
    geometry = grid()
    sources = series(geometry, PatientSex=None, SliceThickness=None)
    before = [source.to_json() for source in sources]
    encoded(sources, geometry)
    assert [source.to_json() for source in sources] == before


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "Müller^Zoë"),
        ("ISO_IR 192", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
    ],
)
def test_names_survive_in_their_own_character_set_byte_for_byte(character_set, name):
    geometry = grid()
    sources = series(geometry, SpecificCharacterSet=character_set, PatientName=name, StudyDescription=name.split("^")[0])
    original = bytes(sources[0].get_item("PatientName").value)
    part10 = encode_seg(label_map(geometry), sources, "key", NOON, 1).part10
    seg = dcmread(BytesIO(part10))
    assert original.rstrip() in part10
    assert str(seg.PatientName) == name
    assert seg.SpecificCharacterSet == sources[0].SpecificCharacterSet
    assert seg.StudyDescription == sources[0].StudyDescription


@pytest.mark.parametrize("character_set", ["ISO_IR_100", "NONSENSE 7"])
def test_a_misspelt_character_set_does_not_stop_the_result(character_set):
    geometry = grid()
    sources = series(geometry)
    for source in sources:
        source.SpecificCharacterSet = character_set
    assert encoded(sources, geometry).PatientName == "Doe^Jane"


def test_latin_1_bytes_without_a_declared_character_set_survive():
    geometry = grid()
    sources = series(geometry, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Zoë")
    undeclared = []
    for source in sources:
        del source.SpecificCharacterSet
        source[0x00100010] = DataElement(0x00100010, "UN", b"M\xfcller^Zo\xeb")
        undeclared.append(reread(source))
    assert b"M\xfcller^Zo\xeb" in encode_seg(label_map(geometry), undeclared, "key", NOON, 1).part10


def test_a_sex_that_is_no_enumerated_value_is_copied_unchanged():
    geometry = grid()
    assert encoded(series(geometry, PatientSex="W"), geometry).PatientSex == "W"


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_sequences_and_numbers_survive_from_other_transfer_syntaxes(syntax):
    geometry = grid()
    other = Dataset()
    other.PatientID, other.TypeOfPatientID = "OTHER", "TEXT"
    referenced = Dataset()
    referenced.ReferencedSOPClassUID, referenced.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", "1.2.3.4"
    plain = series(geometry, OtherPatientIDsSequence=[other], ReferencedStudySequence=[referenced], PatientWeight="71.5")
    seg = encoded([reread(source, syntax) for source in plain], geometry)
    assert seg.OtherPatientIDsSequence[0].PatientID == "OTHER"
    assert seg.ReferencedStudySequence[0].ReferencedSOPInstanceUID == "1.2.3.4"
    assert seg.PatientWeight == 71.5
    assert (seg.Rows, seg.Columns) == geometry.shape[1:]


def test_an_empty_optional_sequence_is_left_out():
    geometry = grid()
    assert "ProcedureCodeSequence" not in encoded(series(geometry, ProcedureCodeSequence=[]), geometry)


def test_a_sequence_cut_short_is_left_out_and_does_not_stop_the_result():
    geometry = grid()
    sources = series(geometry)
    tag = Tag("ReferencedStudySequence")
    sources[0][tag] = RawDataElement(tag, "SQ", 2, b"\x01\x02", 0, False, True)
    assert "ReferencedStudySequence" not in encoded(sources, geometry)


@pytest.mark.parametrize("keyword", ["PatientID", "DeviceSerialNumber", "LossyImageCompression", "TimezoneOffsetFromUTC", "PatientName"])
def test_an_element_of_a_vr_that_does_not_exist_does_not_stop_the_result(keyword):
    geometry = grid()
    sources = series(geometry)
    for source in sources:
        source[keyword] = RawDataElement(Tag(keyword), "Q?", 4, b"\x01\x02ab", 0, False, True)
    assert encoded(sources, geometry).Modality == "SEG"


def test_where_the_first_slice_names_no_patient_the_next_that_does_tells_who_it_is():
    geometry = grid()
    sources = series(geometry)
    sources[0].PatientID, sources[0].PatientName = "", ""
    seg = encoded(sources, geometry)
    assert (seg.PatientID, seg.PatientName) == ("P1", "Doe^Jane")


@pytest.mark.parametrize("without", [slice(0, 1), slice(3, 5)])
def test_slices_without_a_frame_of_reference_are_in_that_of_the_others(without):
    geometry = grid()
    sources = series(geometry)
    for source in sources[without]:
        del source.FrameOfReferenceUID
    assert encoded(sources, geometry).FrameOfReferenceUID == geometry.frame_of_reference_uid


def test_identity_beyond_the_bare_minimum_is_copied():
    geometry = grid()
    seg = encoded(series(geometry, IssuerOfPatientID="WEST", PatientAge="055Y", AdmissionID="77"), geometry)
    assert (seg.IssuerOfPatientID, seg.PatientAge, seg.AdmissionID) == ("WEST", "055Y", "77")


@pytest.mark.parametrize("keyword", ["SliceThickness", "PixelSpacing", "FrameOfReferenceUID", "PositionReferenceIndicator", "Manufacturer"])
@pytest.mark.parametrize("value", [None, ""])
def test_missing_geometry_and_equipment_come_from_the_grid_or_are_left_out(keyword, value):
    geometry = grid()
    measures = encoded(series(geometry, **{keyword: value}), geometry).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    np.testing.assert_allclose(
        [measures.SpacingBetweenSlices, measures.SliceThickness, *measures.PixelSpacing], [3.0, 3.0, 0.9, 0.7], atol=1e-6
    )


def test_a_series_without_any_frame_of_reference_gets_one_that_is_always_the_same():
    geometry = grid()
    bare = type(geometry)(geometry.shape, geometry.mm_from_index)
    first, second = (encoded(series(geometry, FrameOfReferenceUID=None), bare).FrameOfReferenceUID for _ in range(2))
    assert first == second
    assert first.startswith("2.25.")


def test_a_gap_written_as_spacing_between_slices_does_not_reach_the_result():
    geometry = grid(spacing_mm=(7.0, 0.9, 0.7))
    measures = encoded(series(geometry, SpacingBetweenSlices="2.0", SliceThickness="5.0"), geometry)
    measures = measures.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (float(measures.SpacingBetweenSlices), float(measures.SliceThickness)) == (7.0, 5.0)


def test_a_spacing_written_as_one_text_is_two_numbers():
    source = series(grid())[0]
    source[0x00280030] = DataElement(0x00280030, "UT", "2.5\\2.25")
    assert decimals(source, "PixelSpacing", 2) == ["2.5", "2.25"]


def test_overlong_decimal_texts_are_rounded_to_what_the_standard_allows():
    source = series(grid())[0]
    source[0x00200032] = DataElement(0x00200032, "UT", "-123.45678901234567\\1\\2")
    assert decimals(source, "ImagePositionPatient", 3) == ["-123.45678901235", "1", "2"]


@pytest.mark.parametrize("value", ["", "one", "1\\2\\3\\4", "nan\\1\\2"])
def test_numbers_that_cannot_be_read_are_none(value):
    source = series(grid())[0]
    source[0x00200032] = DataElement(0x00200032, "UT", value)
    assert decimals(source, "ImagePositionPatient", 3) == []
