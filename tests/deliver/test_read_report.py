"""A storage commitment report as PACS write it, and as they should not."""

import pytest
from pydicom.dataset import Dataset

from cmdiff_dicom.deliver import read_report
from cmdiff_dicom.errors import UnreadableInstance


def information(transaction_uid="2.25.1", committed=(), failed=()) -> Dataset:
    report = Dataset()
    report.TransactionUID = transaction_uid
    for keyword, items in (("ReferencedSOPSequence", committed), ("FailedSOPSequence", failed)):
        if items:
            setattr(report, keyword, [item(*values) for values in items])
    return report


def item(sop_uid, reason=None) -> Dataset:
    referenced = Dataset()
    referenced.ReferencedSOPClassUID, referenced.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.66.4", sop_uid
    if reason is not None:
        referenced.FailureReason = reason
    return referenced


def test_all_committed():
    report = read_report(1, information(committed=[("1.2.3",), ("1.2.4",)]))
    assert (report.transaction_uid, report.committed, dict(report.failed)) == ("2.25.1", ("1.2.3", "1.2.4"), {})


def test_some_failed():
    report = read_report(2, information(committed=[("1.2.3",)], failed=[("1.2.4", 0x0112)]))
    assert (report.committed, dict(report.failed)) == (("1.2.3",), {"1.2.4": 0x0112})


def test_a_failure_without_a_reason_is_a_processing_failure():
    assert dict(read_report(2, information(failed=[("1.2.4",)])).failed) == {"1.2.4": 0x0110}


def test_an_item_that_names_no_instance_does_not_spoil_the_others():
    report = read_report(2, information(committed=[("1.2.3",)], failed=[("", 0x0112), ("1.2.4", 0x0213)]))
    assert (report.committed, dict(report.failed)) == (("1.2.3",), {"1.2.4": 0x0213})


def test_what_is_reported_both_ways_is_not_committed():
    report = read_report(2, information(committed=[("1.2.3",)], failed=[("1.2.3", 0x0112)]))
    assert (report.committed, dict(report.failed)) == ((), {"1.2.3": 0x0112})


def test_all_failed_has_no_committed_sequence():
    assert read_report(2, information(failed=[("1.2.4", 0x0213)])).committed == ()


@pytest.mark.parametrize("transaction_uid", ["", None])
def test_without_a_transaction_it_is_no_report(transaction_uid):
    with pytest.raises(UnreadableInstance, match="Transaction UID"):
        read_report(1, information(transaction_uid))


def test_an_empty_data_set_is_no_report():
    with pytest.raises(UnreadableInstance):
        read_report(1, Dataset())


def test_an_unknown_event_type_is_no_report():
    with pytest.raises(UnreadableInstance, match="Event Type ID 3"):
        read_report(3, information(committed=[("1.2.3",)]))
