"""0x0000 only when bytes and index are durable; every fault is a status."""

import pytest

from cmdiff_dicom.errors import SpoolFull, StoreUnavailable
from cmdiff_dicom.ledger import open_ledger
from cmdiff_dicom.receive import Intake
from cmdiff_dicom.receive.intake import STATUSES
from cmdiff_dicom.spool import Spool
from tests.support.instances import EXPLICIT, STUDY, mr_data_set


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool", 0, 0)


@pytest.fixture
def ledger(tmp_path):
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield ledger
    ledger.close()


def test_what_is_answered_with_success_is_in_spool_and_ledger(spool, ledger):
    data_set = mr_data_set()
    assert Intake(spool, ledger).accept(data_set, EXPLICIT, "SCANNER") == 0x0000
    (instance,) = ledger.instances(STUDY)
    assert spool.read(instance.blob.sha256) == data_set
    assert (instance.calling_ae, instance.transfer_syntax_uid) == ("SCANNER", EXPLICIT)


def test_a_resend_is_answered_with_success_and_leaves_the_file_alone(spool, ledger):
    intake = Intake(spool, ledger)
    intake.accept(mr_data_set(), EXPLICIT, "SCANNER")
    path = spool.path(ledger.instances(STUDY)[0].blob.sha256)
    before = path.stat().st_mtime_ns, path.stat().st_ino
    assert intake.accept(mr_data_set(), EXPLICIT, "SCANNER") == 0x0000
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert len(ledger.instances(STUDY)) == 1


def test_the_same_uid_with_other_bytes_or_in_another_series_is_kept_beside_the_first(spool, ledger):
    intake = Intake(spool, ledger)
    for data_set in (mr_data_set(), mr_data_set(EchoTime="13"), mr_data_set(SeriesInstanceUID="1.2.99")):
        assert intake.accept(data_set, EXPLICIT, "SCANNER") == 0x0000
    instances = ledger.instances(STUDY)
    assert len({instance.blob.sha256 for instance in instances}) == 3
    assert all(spool.has(instance.blob.sha256) for instance in instances)


def test_what_cannot_be_read_is_refused_and_not_stored(tmp_path, spool, ledger):
    assert Intake(spool, ledger).accept(b"no data set", EXPLICIT, "SCANNER") == 0xC000
    assert not [path for path in (tmp_path / "spool").rglob("*") if path.is_file()]


def test_a_full_disk_is_out_of_resources(tmp_path, ledger):
    full = Spool(tmp_path / "full", 0, 1 << 60)
    assert Intake(full, ledger).accept(mr_data_set(), EXPLICIT, "SCANNER") == 0xA700
    assert ledger.instances(STUDY) == ()


@pytest.mark.parametrize(
    "fault", [SpoolFull("full"), StoreUnavailable("away"), OSError("text with ZEBRA"), RuntimeError("ZEBRA")]
)
@pytest.mark.parametrize("where", ["spool", "ledger"])
def test_any_fault_of_spool_or_ledger_is_out_of_resources_and_nothing_is_counted(
    spool, ledger, monkeypatch, capsys, fault, where
):
    def fails(*_):
        raise fault

    monkeypatch.setattr(spool, "put", fails) if where == "spool" else monkeypatch.setattr(ledger, "record_instance", fails)
    assert Intake(spool, ledger).accept(mr_data_set(), EXPLICIT, "SCANNER") == 0xA700
    assert ledger.instances(STUDY) == ()
    assert "ZEBRA" not in capsys.readouterr().err


def test_every_status_of_the_intake_is_a_storage_status_of_the_standard():
    from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

    assert STATUSES.keys() <= STORAGE_SERVICE_CLASS_STATUS.keys()
