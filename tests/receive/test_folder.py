"""A folder gives the instances that the network would have given."""

import struct
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread, dcmwrite

from cmdiff_dicom.receive import read_folder, read_instance
from cmdiff_dicom.segment_folder import named
from tests.support.instances import BIG_ENDIAN, EXPLICIT, IMPLICIT, encoded, file_bytes, mr_data_set, mr_header


def part10(transfer_syntax=EXPLICIT, **overrides) -> bytes:
    return file_bytes(mr_header(**overrides), transfer_syntax)


def instances_in(folder: Path):
    return read_folder(folder, named).instances


@pytest.mark.parametrize("transfer_syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_a_file_gives_the_instance_of_its_data_set(tmp_path, transfer_syntax):
    (tmp_path / "IM0001").write_bytes(part10(transfer_syntax))
    data_set = encoded(mr_header(), transfer_syntax)
    (instance,) = instances_in(tmp_path)
    assert instance.blob == named(data_set)
    assert instance == read_instance(data_set, transfer_syntax, named(data_set), "", instance.received_at)


@pytest.mark.parametrize("transfer_syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_a_bare_data_set_is_read_too(tmp_path, transfer_syntax):
    (tmp_path / "bare").write_bytes(mr_data_set(transfer_syntax=transfer_syntax))
    (instance,) = instances_in(tmp_path)
    assert (instance.transfer_syntax_uid, instance.rows) == (transfer_syntax, 256)


def test_a_file_without_preamble_is_read(tmp_path):
    (tmp_path / "old").write_bytes(part10()[132:])
    assert [instance.sop_uid for instance in instances_in(tmp_path)] == ["1.2.3"]


def meta(*elements: tuple[int, bytes], is_implicit=False) -> bytes:
    """A preamble and these elements of group 0002, all of them UIDs."""
    encoded_ = b"".join(
        struct.pack("<HH", 2, number) + (struct.pack("<L", len(v)) if is_implicit else b"UI" + struct.pack("<H", len(v))) + v
        for number, v in elements
    )
    return bytes(128) + b"DICM" + encoded_


@pytest.mark.parametrize("transfer_syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("elements", [(), ((0x0002, b"1.2.840.10008.5.1.4.1.1.4\0"),)])
def test_a_file_that_does_not_name_its_transfer_syntax_is_read_by_its_first_bytes(tmp_path, transfer_syntax, elements):
    (tmp_path / "IM1").write_bytes(meta(*elements) + mr_data_set(transfer_syntax=transfer_syntax))
    (instance,) = instances_in(tmp_path)
    assert (instance.transfer_syntax_uid, instance.rows) == (transfer_syntax, 256)


def test_file_meta_information_in_implicit_vr_is_read(tmp_path):
    (tmp_path / "IM1").write_bytes(
        meta((0x0010, b"1.2.840.10008.1.2\0"), is_implicit=True) + mr_data_set(transfer_syntax=IMPLICIT)
    )
    (instance,) = instances_in(tmp_path)
    assert (instance.transfer_syntax_uid, instance.rows) == (IMPLICIT, 256)


def test_names_and_depth_say_nothing(tmp_path):
    for number, name in enumerate(("a.txt", "Kopf-ä-頭/b", "c.d/e/f.jpg")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(part10(sop_uid=f"1.2.{number}"))
    assert {instance.sop_uid for instance in instances_in(tmp_path)} == {"1.2.0", "1.2.1", "1.2.2"}


def test_other_files_are_counted_and_not_named(tmp_path):
    (tmp_path / "Doe_Jane.txt").write_text("notes on a patient, long enough to be looked into for a preamble" * 4)
    (tmp_path / "empty").touch()
    (tmp_path / "bad.dcm").write_bytes(part10()[:200])
    (tmp_path / "good").write_bytes(part10())
    content = read_folder(tmp_path, named)
    assert len(content.instances) == 1
    assert any("2 file(s) not DICOM" in problem for problem in content.problems)
    assert any("1 file(s) DICOM, but without a readable header" in problem for problem in content.problems)
    assert "Doe" not in str(content.problems)


def test_a_directory_file_is_no_image_and_no_problem(tmp_path):
    directory = dcmread(BytesIO(part10()))
    directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    dcmwrite(tmp_path / "DICOMDIR", directory)
    content = read_folder(tmp_path, named)
    assert (content.instances, content.problems) == ((), ())


def test_an_unreadable_header_is_not_kept(tmp_path):
    kept = []
    (tmp_path / "no_study").write_bytes(part10(StudyInstanceUID=""))
    read_folder(tmp_path, lambda content: kept.append(content) or named(content))
    assert kept == []


def test_an_empty_folder_gives_nothing(tmp_path):
    assert instances_in(tmp_path) == ()


def test_the_order_does_not_depend_on_the_file_system(tmp_path):
    for name in ("b", "a", "c"):
        (tmp_path / name).write_bytes(part10(sop_uid=f"1.2.{ord(name)}"))
    assert [instance.sop_uid for instance in instances_in(tmp_path)] == ["1.2.97", "1.2.98", "1.2.99"]
