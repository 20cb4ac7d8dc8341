"""Orthanc as the PACS: it gets the result, commits to it on an association of its own, and routes studies to us."""


import pytest

from cmdiff_dicom.deliver import make_destination, read_report
from cmdiff_dicom.errors import DeliveryRefused, PacsUnavailable
from cmdiff_dicom.ledger import open_ledger
from cmdiff_dicom.receive import Intake, start_listener
from cmdiff_dicom.settings import DeliverSettings, DestinationSettings, ListenSettings
from cmdiff_dicom.spool import Spool
from tests.support.instances import EXPLICIT, STUDY, file_bytes, mr_header
from tests.support.orthanc import needs_orthanc, running_orthanc
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, needs_orthanc]

SEG = "1.2.840.10008.5.1.4.1.1.66.4"


@pytest.fixture
def reports():
    return []


@pytest.fixture
def node(tmp_path, reports):
    ledger, spool = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}"), Spool(tmp_path / "spool", 0, 0)

    def take(event_type, information):
        reports.append(read_report(event_type, information))
        return 0x0000

    settings = ListenSettings(host="127.0.0.1").model_copy(update={"port": 0})
    listener = start_listener(settings, Intake(spool, ledger), lambda: True, take, ledger.note_association)
    yield listener, ledger
    listener.stop()
    ledger.close()


def destination_at(orthanc, own_ae_title="CMDIFF"):
    settings = DestinationSettings(name="Orthanc", ae_title=orthanc.ae_title, host="127.0.0.1", port=orthanc.dicom_port)
    return make_destination(settings, DeliverSettings(timeout_s=20), own_ae_title, lambda _type, _information: 0x0000)


def test_the_result_is_stored_and_committed_to_on_an_association_of_its_own(tmp_path, node, reports, seg):
    listener, _ = node
    with running_orthanc(tmp_path / "orthanc", modalities={"cm": ("CMDIFF", listener.port)}) as orthanc:
        destination = destination_at(orthanc)
        assert "offers storage commitment" in destination.check()
        assert destination.send(seg.part10).dimse_status == 0x0000
        assert orthanc.find("Series", Modality="SEG")
        destination.request_commitment("2.25.77", SEG, seg.sop_uid)
        assert eventually(lambda: bool(reports), within_s=60)
        destination.request_commitment("2.25.78", SEG, "1.2.3.4")
        assert eventually(lambda: len(reports) == 2, within_s=60)
    assert [(report.transaction_uid, report.committed, dict(report.failed)) for report in reports] == [
        ("2.25.77", (seg.sop_uid,), {}),
        ("2.25.78", (), {"1.2.3.4": 0x0112}),
    ]


def test_an_archive_that_does_not_know_us_was_asked_but_reports_nothing(tmp_path, node, reports, seg):
    with running_orthanc(tmp_path / "orthanc") as orthanc:
        destination = destination_at(orthanc, own_ae_title="STRANGER")
        destination.send(seg.part10)
        destination.request_commitment("2.25.77", SEG, seg.sop_uid)  # no exception: only a peer that is away is not asked
        assert not eventually(lambda: bool(reports), within_s=3)


def test_an_archive_that_takes_no_strangers_objects_refuses_by_name(tmp_path, seg):
    with running_orthanc(tmp_path / "orthanc", DicomAlwaysAllowStore=False) as orthanc:
        with pytest.raises((DeliveryRefused, PacsUnavailable), match="Orthanc"):
            destination_at(orthanc, own_ae_title="STRANGER").send(seg.part10)


def test_a_study_that_orthanc_routes_to_us_arrives(tmp_path, node):
    listener, ledger = node
    with running_orthanc(tmp_path / "orthanc", modalities={"cm": ("CMDIFF", listener.port)}) as orthanc:
        sent = {orthanc.post("/instances", part10(f"1.2.3.{number}", number))["ID"] for number in range(1, 21)}
        answer = orthanc.post("/modalities/cm/store", {"Resources": sorted(sent), "Synchronous": True})
        assert answer["FailedInstancesCount"] == 0
    assert {instance.sop_uid for instance in ledger.instances(STUDY)} == {f"1.2.3.{number}" for number in range(1, 21)}
    assert ledger.last_association().calling_ae == "ORTHANC"


def part10(sop_uid: str, number: int) -> bytes:
    header = mr_header(sop_uid, number)
    header.PixelData = bytes(2 * 256 * 256)
    header["PixelData"].VR = "OW"
    return file_bytes(header, EXPLICIT)
