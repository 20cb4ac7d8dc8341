"""No patient's value in any line that is printed or logged while instances and reports come in, with every logger heard."""

import logging
import warnings

import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from cmdiff_dicom.logs import NOISY, silence_libraries
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


@pytest.fixture
def loggers_restored():
    """What a process does once and for all is undone for the tests that come after."""
    loggers = [logging.getLogger(name) for name in NOISY]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    yield
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.mark.usefixtures("loggers_restored")
def test_a_library_that_warns_of_a_value_is_not_heard_once_libraries_are_silenced():
    def spoken() -> list[str]:
        with warnings.catch_warnings(record=True) as told:
            warnings.resetwarnings()
            if silenced:
                silence_libraries()
            DataElement(0x00100030, "DA", CANARY)  # no date: the library's warning quotes it
        return [str(warning.message) for warning in told]

    silenced = False
    assert any(CANARY in line for line in spoken())
    silenced = True
    assert spoken() == []
