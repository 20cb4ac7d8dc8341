"""No patient's value in any line that is printed or logged while instances and reports come in, with every logger heard."""

import logging

import pytest
from pydicom.dataset import Dataset

from tests.support.instances import IMPLICIT, encoded, mr_data_set
from tests.support.raw_peer import COMMITMENT, RawPeer

CANARY = "ZEBRAFINCH"
PATIENT = (
    "PatientName",
    "PatientID",
    "OtherPatientNames",
    "PatientAddress",
    "PatientComments",
    "PatientMotherBirthName",
    "MilitaryRank",
    "Occupation",
)
OTHERS = (
    "ReferringPhysicianName",
    "OperatorsName",
    "InstitutionName",
    "StudyDescription",
    "StationName",
    "DeviceSerialNumber",
    "ImageComments",
)


@pytest.fixture
def heard(caplog, capfd):
    """All that any logger says at DEBUG, and all that is printed."""
    caplog.set_level(logging.DEBUG)
    for name in ("pynetdicom", "pydicom", "sqlalchemy"):
        caplog.set_level(logging.DEBUG, logger=name)
    return lambda: caplog.text + "".join(capfd.readouterr())


def marked(**overrides) -> bytes:
    return mr_data_set(**dict.fromkeys((*PATIENT, *OTHERS), CANARY), **overrides)


def test_the_canary_is_in_what_is_sent():
    assert marked().count(CANARY.encode()) == len(PATIENT) + len(OTHERS)


def test_instances_that_are_taken_and_refused_leave_no_patient_value(node, heard):
    with RawPeer(node.port) as peer:
        peer.associate()
        assert peer.store(marked()) == 0x0000
        assert peer.store(marked(StudyInstanceUID="")) == 0xC000
        assert peer.store(marked()[:700]) in (0x0000, 0xC000)
        assert peer.store(marked(), context_id=77) == -1
    assert CANARY not in heard()


def test_a_fault_of_the_disk_leaves_no_patient_value(node, heard, monkeypatch):
    def fails(content):
        raise OSError(bytes(content).decode("latin-1"))

    monkeypatch.setattr(node.spool, "put", fails)
    with RawPeer(node.port) as peer:
        peer.associate()
        assert peer.store(marked()) == 0xA700
    assert CANARY not in heard()


def test_a_report_leaves_no_patient_value(node, heard):
    information = Dataset()
    information.TransactionUID, information.PatientName = "1.2.3", CANARY
    node.report_status = CANARY  # what the report's taker answers is no status either
    with RawPeer(node.port) as peer:
        peer.associate([(COMMITMENT, (IMPLICIT,))])
        peer.report(encoded(information, IMPLICIT))
    assert CANARY not in heard()
