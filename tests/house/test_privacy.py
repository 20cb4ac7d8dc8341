"""No patient value leaves the pixels' own path: a marker stands in every element that may name a person, and is looked for."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from pydicom import Dataset

from cmdiff_dicom.assemble import assemble_study, choose_stacks, explain, plan_of
from cmdiff_dicom.errors import Refused
from cmdiff_dicom.geometry import Geometry, Volume
from cmdiff_dicom.ledger import open_ledger
from cmdiff_dicom.phantom.mri import StudyHeader, series_from_volume
from cmdiff_dicom.receive import Intake
from cmdiff_dicom.records import Sequence
from cmdiff_dicom.spool import Spool
from tests.support.received import encoded

MARKER = "CANARYBIRD"
BIRTH = "18770707"
NAMING = {
    "PatientName": f"{MARKER}^NAME", "PatientID": MARKER, "OtherPatientNames": f"{MARKER}^OTHER", "PatientBirthDate": BIRTH,
    "PatientAddress": MARKER, "PatientComments": MARKER, "PatientMotherBirthName": f"{MARKER}^M", "EthnicGroup": MARKER,
    "ReferringPhysicianName": f"{MARKER}^R", "OperatorsName": f"{MARKER}^O", "PerformingPhysicianName": f"{MARKER}^P",
    "InstitutionName": MARKER, "InstitutionAddress": MARKER, "StationName": MARKER, "StudyDescription": MARKER,
    "SeriesDescription": f"t1 {MARKER}", "ProtocolName": MARKER, "RequestedProcedureDescription": MARKER,
    "ContrastBolusAgent": f"GD {MARKER}", "ImageComments": MARKER, "IssuerOfPatientID": MARKER, "AdditionalPatientHistory": MARKER,
    "ManufacturerModelName": MARKER, "DeviceSerialNumber": MARKER,
}  # fmt: skip


def instances(**overrides) -> list[Dataset]:
    grid = Geometry((10, 16, 16), np.diag([1.0, 1.0, 1.0, 1.0])[:, [2, 1, 0, 3]] * np.array([4.0, 1, 1, 1]))
    pixels = np.random.default_rng(0).integers(0, 500, grid.shape).astype(np.float32)
    header = StudyHeader.of_seed(3)
    return [
        instance
        for number, sequence in enumerate(Sequence)
        for instance in series_from_volume(Volume(pixels, grid), sequence, header, number=number + 1, **(NAMING | overrides))
    ]


def everything_written(folder, capfd) -> str:
    """All text that a person or a program could find: the ledger's files, names of files, and what was printed."""
    ledger_files = [path.read_bytes() for path in folder.glob("ledger.sqlite*")]
    names = " ".join(str(path) for path in folder.rglob("*"))
    printed = capfd.readouterr()
    return b" ".join(ledger_files).decode("latin-1") + names + printed.out + printed.err


@pytest.fixture
def loud_libraries():
    """Every library's logger at DEBUG and heard, so that silence is ours and not a level's."""
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.DEBUG)
    handler = logging.StreamHandler()
    root.addHandler(handler)
    yield
    root.removeHandler(handler)
    root.setLevel(level)


REFUSALS = {
    "nothing": {},
    "two time points in every place": {"ImagePositionPatient": [0, 0, 0]},
    "no physics": {"RepetitionTime": None, "EchoTime": None, "InversionTime": None, "ScanningSequence": None},
    "pixels cut short": {"Rows": 4096},
    "another modality": {"Modality": "OT", "ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
}


@pytest.mark.parametrize("fault", REFUSALS)
def test_a_marker_in_every_naming_element_is_found_in_no_ledger_no_log_no_reason_and_no_file_name(fault, tmp_path, capfd, loud_libraries):
    spool, ledger = Spool(tmp_path / "spool", 0, 0), open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    intake = Intake(spool, ledger)
    sent = instances(**REFUSALS[fault])
    assert MARKER in encoded(sent[0]).decode("latin-1")
    for instance in sent:
        assert intake.accept(encoded(instance), "1.2.840.10008.1.2.1", "SCANNER") == 0x0000
    assert intake.accept(encoded(sent[0])[:100], "1.2.840.10008.1.2.1", "SCANNER") != 0x0000

    (study,) = ledger.open_studies()
    received = ledger.instances(study.study_uid)
    choice = choose_stacks(received)
    told = [explain(choice), str(choice.notes)]
    try:
        assemble_study(choice, spool.read)
    except Refused as error:
        told.append(error.reason)
    ledger.settle(study.study_uid, study.arrivals, "k" * 64, plan_of(choice), "quiet", choice.refusal.reason if choice.refusal else "")
    written = everything_written(tmp_path, capfd) + " ".join(told)
    assert MARKER not in written.upper()
    assert BIRTH not in written
