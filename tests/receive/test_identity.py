"""What a header says, in every uncompressed transfer syntax and in the disorder of real files."""

import tarfile
from datetime import UTC, datetime

import pytest
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from cmdiff_dicom.errors import UnreadableInstance
from cmdiff_dicom.receive import read_instance
from cmdiff_dicom.receive.folder import read_dicom_file
from cmdiff_dicom.records import Blob
from tests.support.instances import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, encoded, mr_data_set, mr_header

NOON = datetime(2025, 1, 2, 12, tzinfo=UTC)


def read(data_set: bytes, transfer_syntax=EXPLICIT):
    return read_instance(data_set, transfer_syntax, Blob("ab" * 32, len(data_set)), "SCANNER", NOON)


def read_header(transfer_syntax=EXPLICIT, **overrides):
    return read(mr_data_set(transfer_syntax=transfer_syntax, **overrides), transfer_syntax)


def test_identity_place_and_physics_are_read():
    instance = read_header()
    assert (instance.sop_uid, instance.accession_number, instance.calling_ae, instance.modality) == (
        "1.2.3",
        "A1",
        "SCANNER",
        "MR",
    )
    assert (instance.rows, instance.columns, instance.number_of_frames) == (256, 256, 1)
    assert instance.orientation == (1, 0, 0, 0, 1, 0)
    assert instance.position_mm == (-112.5, -100.25, 5.5)
    assert instance.pixel_spacing_mm == (0.9, 0.8)
    physics = instance.acquisition
    assert (physics.scanning_sequence, physics.repetition_time_ms, physics.echo_time_ms) == (("SE",), 550.0, 12.0)
    assert physics.inversion_time_ms is None
    assert physics.contrast_agent
    assert physics.image_type == ("ORIGINAL", "PRIMARY", "M", "ND")
    assert {"T1", "AX", "+C"} <= physics.words
    assert physics.acquisition_time == "101112.5"


@pytest.mark.parametrize("transfer_syntax", [IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_every_uncompressed_transfer_syntax_reads_alike(transfer_syntax):
    other, plain = read_header(transfer_syntax), read_header()
    assert other.acquisition == plain.acquisition
    assert (other.orientation, other.position_mm, other.pixel_spacing_mm) == (
        plain.orientation,
        plain.position_mm,
        plain.pixel_spacing_mm,
    )
    assert (other.rows, other.study_uid, other.patient_digest) == (plain.rows, plain.study_uid, plain.patient_digest)


@pytest.mark.parametrize(("agreed", "sent"), [(EXPLICIT, IMPLICIT), (IMPLICIT, EXPLICIT)])
def test_implicit_vr_under_the_name_of_explicit_vr_is_read_and_the_reverse(agreed, sent):
    assert read(encoded(mr_header(), sent), agreed).acquisition == read_header().acquisition


def test_a_data_set_that_was_to_be_deflated_and_is_not_is_kept_under_its_true_transfer_syntax():
    instance = read(encoded(mr_header()), DEFLATED)
    assert (instance.transfer_syntax_uid, instance.acquisition) == (EXPLICIT, read_header().acquisition)


@pytest.mark.parametrize(
    ("character_set", "number"),
    [
        ("ISO_IR 100", "Kopf-Ä7"),
        ("ISO_IR 192", "Kopf-Ä7"),
        ("ISO_IR 144", "МРТ7"),
        ("GB18030", "脑7"),
        (["", "ISO 2022 IR 87"], "頭7"),
        ("ISO_IR 192", "A7"),
    ],
)
def test_an_accession_number_is_read_as_people_write_it(character_set, number):
    assert read_header(SpecificCharacterSet=character_set, AccessionNumber=number).accession_number == number


def test_bytes_that_are_not_of_their_character_set_are_kept_one_by_one():
    data_set = encoded(mr_header(SpecificCharacterSet="ISO_IR 192")).replace(b"A1", b"\xc4\xff")
    assert read(data_set).accession_number == "Äÿ"


def test_one_patient_id_in_two_character_sets_is_one_patient():
    ids = [read_header(SpecificCharacterSet=name, PatientID="Ä7").patient_digest for name in ("ISO_IR 100", "ISO_IR 192")]
    assert ids[0] == ids[1]


def test_pixel_spacing_under_another_vr_reads_like_the_clean_file():
    header = mr_header()
    header["PixelSpacing"] = DataElement(0x00280030, "UT", "0.9\\0.8")
    assert read(encoded(header)).pixel_spacing_mm == read_header().pixel_spacing_mm


def test_an_integer_string_with_a_fraction_is_no_obstacle():
    data_set = encoded(mr_header()).replace(b"\x20\x00\x12\x00IS\x02\x001 ", b"\x20\x00\x12\x00IS\x04\x0014.5")
    assert read(data_set).acquisition.acquisition_number == 14


def test_numeric_attributes_of_no_length_are_absent():
    instance = read_header(RepetitionTime=None, EchoTime="", FlipAngle="", AcquisitionNumber="", PixelSpacing=None)
    physics = instance.acquisition
    assert (physics.repetition_time_ms, physics.echo_time_ms, physics.flip_angle_deg) == (None, None, None)
    assert (physics.acquisition_number, instance.pixel_spacing_mm) == (None, ())


def test_a_position_of_two_values_is_no_position():
    assert read(encoded(mr_header()).replace(b"-112.5\\-100.25\\5.5", b"-112.5\\-100.25.5.5")).position_mm == ()


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_without_one_of_the_four_uids_it_is_no_instance(keyword):
    for value in (None, ""):
        with pytest.raises(UnreadableInstance, match="UID"):
            read_header(**{keyword: value})


@pytest.mark.parametrize("content", [b"", b"no dicom at all", b"\x08\x00\x16\x00UI\xff\xff1.2", bytes(2000), b"\xff" * 2000])
@pytest.mark.parametrize("transfer_syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_bytes_that_are_no_data_set_are_unreadable(content, transfer_syntax):
    with pytest.raises(UnreadableInstance):
        read(content, transfer_syntax)


def test_a_data_set_cut_in_its_pixels_is_read():
    data_set = mr_data_set()
    assert read(data_set[: len(data_set) // 2]).pixel_spacing_mm == (0.9, 0.8)


def test_a_deflated_bomb_is_not_inflated_whole():
    bomb = mr_header()
    bomb.add_new(0x00091010, "OB", bytes(30_000_000))
    content = encoded(bomb, DEFLATED)
    assert len(content) < 100_000
    with pytest.raises(UnreadableInstance):  # its UIDs lie behind thirty megabytes of nothing
        read(content, DEFLATED)


@pytest.mark.parametrize(
    ("changes", "time"),
    [
        ({"AcquisitionDate": "20250103", "AcquisitionTime": "001012.5"}, "241012.5"),
        ({"AcquisitionDateTime": "20250103001012.5", "AcquisitionTime": None}, "241012.5"),
        ({"AcquisitionDate": "20250102", "AcquisitionTime": "235959"}, "235959"),
        ({"AcquisitionDate": "20250301", "AcquisitionTime": "001012"}, "001012"),
        ({"AcquisitionDate": "", "AcquisitionTime": "001012"}, "001012"),
    ],
)
def test_hours_go_on_counting_past_the_studys_midnight(changes, time):
    assert read_header(**changes).acquisition.acquisition_time == time


def test_days_are_told_apart_and_no_date_is_kept():
    day, later, elsewhere = (
        read_header(AcquisitionDate=date, **study).acquisition.acquisition_day
        for date, study in (("20250102", {}), ("20250310", {}), ("20250102", {"StudyInstanceUID": "1.2.9"}))
    )
    assert later - day == 67
    assert day != elsewhere
    assert read_header(AcquisitionDate="unknown").acquisition.acquisition_day is None
    assert read_header(AcquisitionDateTime="20250310001012.5").acquisition.acquisition_day == later


def test_the_same_patient_has_one_digest_whoever_issued_the_id():
    assert (
        read_header(IssuerOfPatientID="A").patient_digest
        == read_header(IssuerOfPatientID="B").patient_digest
        == read_header().patient_digest
    )


def test_another_patient_id_or_another_study_has_another_digest():
    digests = {
        read_header().patient_digest,
        read_header(PatientID="P2").patient_digest,
        read_header(StudyInstanceUID="1.2.9").patient_digest,
    }
    assert len(digests) == 3
    assert read_header(PatientID="").patient_digest == ""


def test_no_patient_value_is_kept():
    canary = "ZEBRA"
    instance = read_header(
        PatientName=canary,
        PatientID=canary,
        SeriesDescription=f"{canary} T1 AX",
        ProtocolName=canary,
        Manufacturer=canary,
        ContrastBolusAgent=canary,
    )
    assert canary not in repr(instance)
    assert instance.acquisition.words == {"T1", "AX"}
    assert instance.acquisition.contrast_agent


@pytest.mark.parametrize(
    ("agent", "given"), [("NONE", False), ("", False), (".", False), ("NO", False), ("Gadovist 1.0", True)]
)
def test_a_word_for_none_is_no_contrast_agent(agent, given):
    assert read_header(ContrastBolusAgent=agent).acquisition.contrast_agent is given


@pytest.mark.parametrize(
    ("character_set", "description", "word"),
    [
        ("GB18030", "T1WI增强", "+C"),
        ("ISO_IR 192", "T1 pós gadolínio", "POST"),
        ("ISO_IR 100", "T1 après", "APRES"),
        ("ISO_IR 144", "Т1 с контрастом", "+C"),
        (["", "ISO 2022 IR 87"], "T1 造影", "+C"),
        (["", "ISO 2022 IR 149"], "\x1b$)CT1 조영", "+C"),
    ],
)
def test_words_are_found_in_the_letters_of_the_hospitals_language(character_set, description, word):
    words = read_header(SpecificCharacterSet=character_set, SeriesDescription=description, ProtocolName="").acquisition.words
    assert words == {"T1", word} | ({"T1WI"} if "T1WI" in description else set()) | ({"+C"} if "gadol" in description else set())


@pytest.mark.parametrize("character_set", [{}, {"SpecificCharacterSet": ""}, {"SpecificCharacterSet": "UNKNOWN"}])
def test_bytes_of_no_known_character_set_hide_no_word_beside_them(character_set):
    data_set = encoded(mr_header(**character_set, SeriesDescription="T1 XXXX GD", ProtocolName=""))
    assert read(data_set.replace(b"XXXX", "增强".encode("gb18030"))).acquisition.words == {"T1", "GD"}


def test_what_was_requested_for_the_study_says_nothing_about_a_series():
    instance = read_header(
        SeriesDescription="AX T1", ProtocolName="", StudyDescription="MR BRAIN W CONTRAST", ContrastBolusAgent=None
    )
    assert instance.acquisition.words == {"AX", "T1"}
    assert not instance.acquisition.contrast_agent


def test_enhanced_mr_is_told_by_class_and_frames():
    enhanced = "1.2.840.10008.5.1.4.1.1.4.1"
    shared = Dataset()
    shared.PlaneOrientationSequence = [Dataset()]
    instance = read_header(SOPClassUID=enhanced, NumberOfFrames="24", SharedFunctionalGroupsSequence=[shared])
    assert (instance.sop_class_uid, instance.number_of_frames) == (enhanced, 24)


def test_uids_of_any_text_are_kept_since_none_becomes_a_path():
    assert read_header(sop_uid="../../x").sop_uid == "../../x"


def test_reading_ends_before_the_pixels():
    """What lies behind Pixel Spacing is never parsed: bytes that are no elements are no obstacle."""
    data_set = mr_data_set()
    end = data_set.index(b"\x28\x00\x00\x01")  # Bits Allocated
    assert read(data_set[:end] + b"\xff" * 500).rows == 256


@pytest.mark.parametrize("stray", [b"\x32\0\x60\x10LO\4\0HEAD", b"\xfe\xff\xdd\xe0\0\0\0\0"], ids=["element", "delimiter"])
def test_an_element_out_of_order_or_a_delimiter_alone_hides_nothing(stray):
    data_set = mr_data_set()
    at = data_set.index(b"\x10\0\x10\0PN")
    odd = read(data_set[:at] + stray + data_set[at:])
    assert odd.acquisition == read(data_set).acquisition
    assert (odd.study_uid, odd.position_mm, odd.rows) == (read(data_set).study_uid, read(data_set).position_mm, 256)


@pytest.mark.slow
def test_real_series_of_many_makers_read_as_pydicom_reads_them(real_data, tmp_path):
    files = 0
    for archive in sorted((real_data / "dicom").glob("*.tar.xz")):
        with tarfile.open(archive) as tar:
            tar.extractall(tmp_path, filter="data")
    for instance, header in (
        (i, h) for path in sorted(tmp_path.rglob("*")) if path.is_file() for i, h in [both_readings(path)]
    ):
        files += 1
        assert instance.sop_uid == header.SOPInstanceUID
        assert (instance.rows, instance.columns) == (header.get("Rows") or 0, header.get("Columns") or 0)
        assert list(instance.position_mm) == [float(value) for value in header.get("ImagePositionPatient") or ()]
        assert list(instance.orientation) == [float(value) for value in header.get("ImageOrientationPatient") or ()]
        assert instance.acquisition.echo_time_ms == header.get("EchoTime")
        assert instance.number_of_frames == (header.get("NumberOfFrames") or 1)
    assert files > 400


def both_readings(path):
    content = read_dicom_file(path)
    return read(content.data_set, content.transfer_syntax_uid), dcmread(path, stop_before_pixels=True)
