"""A folder as a destination holds whole files or none."""

import os
from io import BytesIO

import pytest
from pydicom import dcmread

from cmdiff_dicom.deliver import make_destination
from cmdiff_dicom.errors import CommitmentRefused, DeliveryRefused, PacsUnavailable
from cmdiff_dicom.settings import DeliverSettings, DestinationSettings
from tests.support.instances import file_bytes


def destination_in(folder):
    return make_destination(DestinationSettings(name="share", kind="folder", folder=folder), DeliverSettings(), "CMDIFF", None)


def test_the_file_is_the_object_and_is_named_by_its_uid(tmp_path, seg):
    receipt = destination_in(tmp_path / "new" / "share").send(seg.part10)
    (file,) = (tmp_path / "new" / "share").iterdir()
    assert (file.name, file.read_bytes()) == (f"{seg.sop_uid}.dcm", seg.part10)
    assert (receipt.destination, receipt.sop_uid, receipt.dimse_status) == ("share", seg.sop_uid, 0x0000)


def test_sending_again_leaves_one_file(tmp_path, seg):
    for _ in range(2):
        destination_in(tmp_path).send(seg.part10)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_failing_disk_leaves_nothing_and_is_tried_again(tmp_path, seg, monkeypatch):
    def fails(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(PacsUnavailable, match="No space left"):
        destination_in(tmp_path).send(seg.part10)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_is_a_file_is_tried_again(tmp_path, seg):
    (tmp_path / "share").touch()
    for ask in (lambda: destination_in(tmp_path / "share").send(seg.part10), destination_in(tmp_path / "share").check):
        with pytest.raises(PacsUnavailable):
            ask()


def test_a_uid_that_is_none_names_no_file(tmp_path, seg):
    instance = dcmread(BytesIO(seg.part10))
    instance.SOPInstanceUID = "../../x"
    with pytest.raises(DeliveryRefused):
        destination_in(tmp_path / "share").send(file_bytes(instance))
    assert not (tmp_path.parent / "x.dcm").exists()


def test_a_check_leaves_nothing_behind(tmp_path):
    assert destination_in(tmp_path).check() == "writable"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_commits_to_nothing(tmp_path):
    with pytest.raises(CommitmentRefused):
        destination_in(tmp_path).request_commitment("2.25.1", "1.2.840.10008.5.1.4.1.1.66.4", "1.2.3")
