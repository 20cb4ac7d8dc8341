"""What may go, what must stay, and what happens to instances that come while their study's pixels go."""

from datetime import UTC, datetime, timedelta

import pytest

from cmdiff_dicom.ledger import Arrival, JobState
from cmdiff_dicom.records import CommitmentReport
from tests.support.ledgers import KEY, OTHER_KEY, STUDY, delivery, instance, segmented, sent, settled

LATER = datetime.now(UTC) + timedelta(days=30)


def finished(ledger, key=KEY, study=STUDY):
    settled(ledger, key, study)
    ledger.claim(key, "worker")
    ledger.no_tumour(key, "worker", "no tumour found")


def forget(ledger, study=STUDY):
    removed = []
    return ledger.forget_pixels(study, removed.append), removed


def test_a_study_whose_job_is_final_may_go(ledger):
    finished(ledger)
    assert ledger.purgeable(LATER) == (STUDY,)


def test_nothing_goes_before_its_time(ledger):
    finished(ledger)
    assert ledger.purgeable(datetime.now(UTC) - timedelta(days=1)) == ()


def test_the_oldest_goes_first(ledger):
    finished(ledger, OTHER_KEY, "1.3")
    finished(ledger, KEY, "1.2")
    assert ledger.purgeable(LATER) == ("1.3", "1.2")


@pytest.mark.parametrize("wait", ["unlooked", "settled", "running", "unsent", "uncommitted"])
def test_a_study_that_waits_for_anything_never_goes(ledger, wait):
    if wait == "unlooked":
        finished(ledger)
        ledger.record_instance(instance(2))
    elif wait == "settled":
        settled(ledger)
    elif wait == "running":
        settled(ledger)
        ledger.claim(KEY, "worker")
    elif wait == "unsent":
        segmented(ledger)
    else:
        sent(ledger)
    assert ledger.purgeable(LATER) == ()
    assert forget(ledger) == (0, [])


@pytest.mark.parametrize("end", ["committed", "failed", "sent and final"])
def test_a_delivery_at_its_end_lets_the_study_go(ledger, end):
    if end == "committed":
        one = sent(ledger)
        ledger.record_commitment(CommitmentReport("2.25.100", (one.sop_uid,), {}))
    elif end == "failed":
        segmented(ledger)
        ledger.claim_delivery(delivery(ledger).id, "sender")
        ledger.delivery_failed(delivery(ledger).id, "sender", "refused")
    else:
        one = sent(ledger)
        ledger.without_commitment(one.id, "no report")
    assert ledger.purgeable(LATER) == (STUDY,)


def test_what_goes_are_the_studys_own_blobs_and_its_result(ledger):
    ledger.record_instance(instance(study="1.3"))
    one = sent(ledger)
    ledger.record_commitment(CommitmentReport("2.25.100", (one.sop_uid,), {}))
    count, removed = forget(ledger)
    assert count == 1
    assert sorted(removed) == sorted([instance().blob.sha256, one.blob_sha256])
    assert ledger.instances(STUDY) == ()
    assert len(ledger.instances("1.3")) == 1


def test_a_forgotten_study_does_not_go_twice_and_keeps_its_jobs_and_history(ledger):
    finished(ledger)
    forget(ledger)
    assert ledger.purgeable(LATER) == ()
    assert ledger.job(KEY).state is JobState.NO_TUMOUR
    assert ledger.events(STUDY)[-1].what == "pixels purged"


def test_a_removal_that_fails_leaves_the_study_to_be_purged_again(ledger):
    finished(ledger)

    def fails(sha256):
        raise OSError

    with pytest.raises(OSError):
        ledger.forget_pixels(STUDY, fails)
    assert len(ledger.instances(STUDY)) == 1
    assert ledger.purgeable(LATER) == (STUDY,)


def test_a_forgotten_study_that_is_sent_again_is_the_same_job_and_may_go_again(ledger):
    finished(ledger)
    forget(ledger)
    assert ledger.record_instance(instance()) is Arrival.NEW
    assert ledger.settle(STUDY, ledger.study(STUDY).arrivals, KEY, {}, "quiet") is None
    assert ledger.newest_key(STUDY) == KEY
    assert ledger.purgeable(LATER) == (STUDY,)


def test_a_few_late_images_of_a_forgotten_study_do_not_take_its_results_place(ledger):
    finished(ledger)
    forget(ledger)
    ledger.record_instance(instance(2))
    assert ledger.settle(STUDY, ledger.study(STUDY).arrivals, OTHER_KEY, {}, "gave up", "NoUsableSequence") is None
    assert ledger.newest_key(STUDY) == KEY
    assert ledger.open_studies() == ()


def test_a_forgotten_study_that_comes_with_other_images_is_a_new_revision(ledger):
    finished(ledger)
    forget(ledger)
    assert settled(ledger, OTHER_KEY, number=2).revision == 2


def test_a_job_without_pixels_is_not_retried(ledger):
    settled(ledger)
    ledger.claim(KEY, "worker")
    ledger.fail(KEY, "worker", "because")
    forget(ledger)
    assert not ledger.retry(KEY)


@pytest.mark.parametrize("end", ["failed", "not committed", "no destination"])
def test_a_result_that_a_destination_lacks_outlives_its_pixels_and_goes_once_it_has_arrived(ledger, end):
    segmented(ledger, destinations=() if end == "no destination" else ("PACS",))
    if end != "no destination":
        ledger.claim_delivery(delivery(ledger).id, "sender")
    if end == "failed":
        ledger.delivery_failed(delivery(ledger).id, "sender", "PACS away for a week")
    elif end == "not committed":
        ledger.mark_sent(delivery(ledger).id, "sender", 0, "2.25.1", final=False)
        ledger.without_commitment(delivery(ledger).id, "no commitment report")
    assert forget(ledger) == (1, [instance().blob.sha256])
    assert ledger.purgeable(LATER) == ()

    assert ledger.retry(KEY, ("PACS",))
    waiting = ledger.claim_delivery(delivery(ledger).id, "sender")
    assert waiting.blob_sha256 == "f" * 64
    ledger.mark_sent(waiting.id, "sender", 0, None, final=True)
    assert ledger.purgeable(LATER) == (STUDY,)
    assert forget(ledger)[1] == ["f" * 64]
    assert ledger.purgeable(LATER) == ()


def test_a_result_that_arrived_and_was_purged_is_not_sent_to_a_new_destination(ledger):
    one = sent(ledger)
    ledger.record_commitment(CommitmentReport("2.25.100", (one.sop_uid,), {}))
    forget(ledger)
    assert not ledger.retry(KEY, ("PACS", "archive"))
    assert ledger.pending_deliveries() == ()


def test_the_result_of_a_revision_that_was_replaced_goes_whatever_became_of_it(ledger):
    segmented(ledger)
    finished(ledger, OTHER_KEY)
    assert "f" * 64 in forget(ledger)[1]


def test_every_blob_that_an_instance_needs_is_known_with_its_size_however_many_there_are(ledger, monkeypatch):
    monkeypatch.setattr("cmdiff_dicom.ledger.studies.PAGE", 2)
    for number in range(1, 6):
        ledger.record_instance(instance(number))
    assert [*ledger.blobs()] == [instance(number).blob for number in range(1, 6)]
