"""What a received instance is to the ledger: new, a resend, or another under the same UID."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.exc import OperationalError

from cmdiff_dicom.errors import StoreUnavailable
from cmdiff_dicom.ledger import Arrival, open_ledger
from tests.support.ledgers import NOON, STUDY, instance, number_of


def test_a_first_instance_is_new_and_comes_back_whole(ledger):
    assert ledger.record_instance(instance()) is Arrival.NEW
    assert ledger.instances(STUDY) == (instance(),)


def test_the_same_bytes_again_are_one_row_and_still_restart_the_quiet_time(ledger):
    ledger.record_instance(instance())
    assert ledger.record_instance(instance(seconds=30)) is Arrival.SAME_BYTES
    assert len(ledger.instances(STUDY)) == 1
    assert ledger.study(STUDY).arrivals == 2
    assert ledger.study(STUDY).conflicts == 0


def test_other_bytes_under_one_uid_are_both_kept_and_flagged(ledger):
    ledger.record_instance(instance(content="one"))
    assert ledger.record_instance(instance(content="other")) is Arrival.OTHER_BYTES
    assert len({one.blob for one in ledger.instances(STUDY)}) == 2
    assert ledger.study(STUDY).conflicts == 1


def test_one_uid_in_two_series_is_kept_in_both_and_flagged(ledger):
    ledger.record_instance(instance(series="1"))
    assert ledger.record_instance(instance(series="2")) is Arrival.OTHER_BYTES
    assert [one.series_uid for one in ledger.instances(STUDY)] == [f"{STUDY}.1", f"{STUDY}.2"]
    assert ledger.study(STUDY).conflicts == 1


def test_a_resend_of_both_of_a_conflict_flags_nothing_more(ledger):
    for content in ("one", "other", "one", "other"):
        ledger.record_instance(instance(content=content))
    assert ledger.study(STUDY).conflicts == 1


def test_instances_come_in_the_order_of_their_arrival(ledger):
    for number in (3, 1, 2):
        ledger.record_instance(instance(number))
    assert [number_of(one) for one in ledger.instances(STUDY)] == [3, 1, 2]


def test_studies_are_kept_apart(ledger):
    ledger.record_instance(instance(study="1.2"))
    ledger.record_instance(instance(study="1.3"))
    assert [one.study_uid for one in ledger.instances("1.2")] == ["1.2"]
    assert ledger.study("1.3").arrivals == 1


def test_a_study_knows_when_its_first_and_its_last_instance_came(ledger):
    for seconds in (0, 7):
        ledger.record_instance(instance(int(seconds) + 1, seconds=seconds))
    study = ledger.study(STUDY)
    assert (study.last_arrival - study.first_arrival).total_seconds() == 7
    assert study.first_arrival == NOON


def test_an_accession_number_is_not_lost_to_a_later_instance_without_one(ledger):
    ledger.record_instance(instance(1, accession="A17"))
    ledger.record_instance(instance(2, accession=""))
    assert ledger.study(STUDY).accession_number == "A17"


@pytest.mark.parametrize("accession", ["A\x0017", "A'17; DROP TABLE jobs", "\ud800", "Ä17"])
def test_no_odd_accession_number_keeps_an_instance_out(ledger, accession):
    assert ledger.record_instance(instance(accession=accession)) is Arrival.NEW


def test_an_unknown_study_has_nothing(ledger):
    assert ledger.instances("1.2.3") == ()
    assert ledger.study("1.2.3") is None


def test_concurrent_senders_of_one_study_are_all_counted_and_nothing_twice(ledger):
    def send(sender):
        return [ledger.record_instance(instance(number)) for number in range(1, 21)]

    with ThreadPoolExecutor(3) as pool:
        arrivals = [arrival for answers in pool.map(send, range(3)) for arrival in answers]
    assert arrivals.count(Arrival.NEW) == 20
    assert arrivals.count(Arrival.SAME_BYTES) == 40
    assert ledger.study(STUDY).arrivals == 60


def test_a_commit_that_fails_is_told_and_counts_nothing(ledger, monkeypatch):
    def broken_commit(connection):
        raise OperationalError("COMMIT", {}, OSError("patient DOE^JANE"))

    monkeypatch.setattr("sqlalchemy.engine.default.DefaultDialect.do_commit", lambda dialect, connection: broken_commit(connection))
    monkeypatch.setattr("cmdiff_dicom.ledger.database.PATIENCE_S", 0.0)
    with pytest.raises(StoreUnavailable) as fault:
        ledger.record_instance(instance())
    assert "DOE" not in str(fault.value)
    assert fault.value.dimse_status == 0xA700
    monkeypatch.undo()
    assert ledger.instances(STUDY) == ()


def test_what_was_recorded_is_there_for_another_process(ledger, url):
    ledger.record_instance(instance())
    other = open_ledger(url)
    assert other.instances(STUDY) == (instance(),)
    other.close()
