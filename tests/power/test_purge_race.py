"""A study is sent again at the very moment at which its pixels are purged: no acknowledged instance is without its bytes."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from cmdiff_dicom.ledger import open_ledger
from cmdiff_dicom.receive import Intake
from cmdiff_dicom.spool import Spool
from tests.support.instances import EXPLICIT, mr_data_set
from tests.support.ledgers import KEY


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool", 0, 0)


@pytest.fixture
def ledger(tmp_path):
    opened = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield opened
    opened.close()


def finish(ledger):
    """The one study is looked at and done; its UID."""
    (study,) = ledger.open_studies()
    if ledger.settle(study.study_uid, study.arrivals, KEY, {}, "quiet") is not None:
        ledger.claim(KEY, "worker")
        ledger.no_tumour(KEY, "worker", "no tumour found")
    return study.study_uid


def test_a_resend_whose_blob_is_purged_before_its_row_is_written_has_its_bytes_again(spool, ledger, monkeypatch):
    intake, data_set = Intake(spool, ledger), mr_data_set()
    assert intake.accept(data_set, EXPLICIT, "PACS") == 0
    study_uid = finish(ledger)
    record = ledger.record_instance

    def purge_first(instance):
        assert ledger.forget_pixels(study_uid, spool.delete) == 1
        return record(instance)

    monkeypatch.setattr(ledger, "record_instance", purge_first)
    assert intake.accept(data_set, EXPLICIT, "PACS") == 0
    (instance,) = ledger.instances(study_uid)
    assert spool.read(instance.blob.sha256) == data_set


def test_purging_and_sending_at_once_loses_nothing_that_was_acknowledged(spool, ledger):
    intake = Intake(spool, ledger)
    data_sets = [mr_data_set(sop_uid=f"1.2.{number}", instance_number=number + 1) for number in range(10)]

    def send(data_set):
        return intake.accept(data_set, EXPLICIT, "PACS")

    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            assert {*pool.map(send, data_sets)} == {0}
            study_uid = finish(ledger)
            purging = pool.submit(ledger.forget_pixels, study_uid, spool.delete)
            assert {*map(send, data_sets)} == {0}
            purging.result()
            kept = {instance.blob.sha256 for instance in ledger.instances(study_uid)}
            assert len(kept) == len(data_sets)
            assert all(spool.has(sha256) for sha256 in kept)
