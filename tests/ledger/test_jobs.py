"""A job's way: settled, claimed, renewed, and ended in one of its states, each once."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import insert, update
from sqlalchemy.exc import IntegrityError

from cmdiff_dicom.ledger import DeliveryState, JobState
from cmdiff_dicom.ledger.schema import jobs
from tests.support.ledgers import KEY, NOON, OTHER_KEY, STUDY, delivery, instance, segmented, settled

# --- settle ---------------------------------------------------------------------------------------


def test_a_settled_study_has_a_first_revision_that_waits(ledger):
    job = settled(ledger)
    assert (job.revision, job.state, job.study_uid, job.accession_number) == (1, JobState.SETTLED, STUDY, "A17")
    assert job.plan == {"T1": ["aaaa"]}
    assert job.evidence == "quiet for 60 s"
    assert ledger.waiting_jobs() == (job,)
    assert ledger.job(KEY) == job


def test_a_study_that_was_looked_at_is_open_again_only_with_the_next_instance(ledger):
    ledger.record_instance(instance(1))
    assert [study.study_uid for study in ledger.open_studies()] == [STUDY]
    settled(ledger, number=2)
    assert ledger.open_studies() == ()
    ledger.record_instance(instance(3))
    assert [study.arrivals for study in ledger.open_studies()] == [3]


def test_nothing_is_settled_where_more_has_come_since_somebody_looked(ledger):
    ledger.record_instance(instance(1))
    ledger.record_instance(instance(2))
    assert ledger.settle(STUDY, 1, KEY, {}, "quiet") is None
    assert ledger.jobs() == ()
    assert len(ledger.open_studies()) == 1


def test_images_that_leave_the_key_as_it_is_make_no_revision_but_are_looked_at(ledger):
    settled(ledger)
    assert settled(ledger, number=2) is None
    assert ledger.open_studies() == ()
    assert len(ledger.jobs()) == 1
    assert [event.what for event in ledger.events(STUDY)] == ["settled", "more images"]


def test_a_new_key_supersedes_the_job_that_waits(ledger):
    settled(ledger)
    newer = settled(ledger, OTHER_KEY, number=2)
    assert newer.revision == 2
    assert ledger.job(KEY).state is JobState.SUPERSEDED
    assert ledger.job(KEY).reason == "superseded by revision 2"
    assert ledger.newest_key(STUDY) == OTHER_KEY


def test_a_result_tells_what_was_not_used(ledger):
    settled(ledger)
    ledger.claim(KEY, "worker")
    assert ledger.finish(KEY, "worker", "f" * 64, "2.25.1", "2.25.2", {}, ("PACS",), note="T1c not identified")
    assert ledger.job(KEY).reason == "T1c not identified"
    assert any("T1c not identified" in event.detail for event in ledger.events(STUDY))


def test_a_new_key_takes_the_running_job_from_its_worker(ledger):
    settled(ledger)
    ledger.claim(KEY, "worker")
    settled(ledger, OTHER_KEY, number=2)
    assert not ledger.renew(KEY, "worker")
    assert not ledger.finish(KEY, "worker", "f" * 64, "2.25.1", "2.25.2", {}, ("PACS",))
    assert ledger.deliveries(KEY) == ()


def test_a_final_result_keeps_its_state_under_a_newer_revision(ledger):
    segmented(ledger)
    settled(ledger, OTHER_KEY, number=2)
    assert ledger.job(KEY).state is JobState.SEGMENTED


def test_an_unsent_result_is_not_sent_any_more_once_it_is_superseded(ledger):
    segmented(ledger)
    settled(ledger, OTHER_KEY, number=2)
    assert ledger.pending_deliveries() == ()
    assert delivery(ledger).state is DeliveryState.FAILED
    assert delivery(ledger).reason == "superseded by revision 2"


def test_a_refusal_settles_a_study_as_refused(ledger):
    ledger.record_instance(instance())
    job = ledger.settle(STUDY, 1, KEY, {}, "gave up", "NoUsableSequence: no T1c, FLAIR or T2")
    assert job.state is JobState.REFUSED
    assert job.reason == "NoUsableSequence: no T1c, FLAIR or T2"
    assert ledger.waiting_jobs() == ()


def test_an_unknown_study_cannot_be_settled(ledger):
    assert ledger.settle("1.2.3", 0, KEY, {}, "quiet") is None


def test_conflicting_instances_are_told_in_the_history_of_the_job_that_was_made_of_them(ledger):
    ledger.record_instance(instance(1, content="one"))
    ledger.record_instance(instance(1, content="other"))
    settled(ledger, number=2)
    told = [event for event in ledger.events(STUDY) if event.what == "conflicting instances"]
    assert [(event.key, event.detail.split()[0]) for event in told] == [(KEY, "1")]


def test_conflicting_instances_that_come_late_and_change_nothing_are_told_too_and_once(ledger):
    settled(ledger)
    for content in ("other", "other", "a third"):
        ledger.record_instance(instance(1, content=content))
        ledger.settle(STUDY, ledger.study(STUDY).arrivals, KEY, {}, "quiet")
    told = [event.detail.split()[0] for event in ledger.events(STUDY) if event.what == "conflicting instances"]
    assert told == ["1", "2"]


def test_two_dispatchers_that_settle_at_once_make_one_job(ledger):
    ledger.record_instance(instance())
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: ledger.settle(STUDY, 1, KEY, {}, "quiet"), range(2)))
    assert sum(job is not None for job in made) == 1
    assert len(ledger.jobs()) == 1


# --- ring, claim, renew -----------------------------------------------------------------------------


def test_only_one_of_two_dispatchers_rings(ledger):
    settled(ledger)
    assert ledger.take_ring(KEY, 0)
    assert not ledger.take_ring(KEY, 0)
    assert ledger.take_ring(KEY, 1)


def test_nobody_rings_for_a_job_that_runs(ledger):
    settled(ledger)
    ledger.claim(KEY, "worker")
    assert not ledger.take_ring(KEY, 0)


def test_a_claim_starts_the_rings_anew(ledger):
    settled(ledger)
    ledger.take_ring(KEY, 0)
    assert ledger.claim(KEY, "worker").rings == 0


def test_one_worker_of_many_gets_the_job(ledger):
    settled(ledger)
    with ThreadPoolExecutor(3) as pool:
        claims = list(pool.map(lambda number: ledger.claim(KEY, f"worker {number}"), range(3)))
    winners = [job for job in claims if job is not None]
    assert [job.state for job in winners] == [JobState.SEGMENTING]
    assert ledger.running_jobs() == tuple(winners)


def test_a_claim_whose_answer_was_lost_is_found_again_by_its_owner(ledger):
    settled(ledger)
    assert ledger.claim(KEY, "worker") == ledger.claim(KEY, "worker")


def test_a_job_that_ended_or_does_not_exist_cannot_be_claimed(ledger):
    segmented(ledger)
    assert ledger.claim(KEY, "worker") is None
    assert ledger.claim(OTHER_KEY, "worker") is None


def test_the_database_itself_forbids_two_running_jobs_of_one_study(ledger):
    settled(ledger)
    ledger.claim(KEY, "worker")
    second = ledger.job(KEY).__dict__ | {"key": OTHER_KEY, "revision": 2}
    with pytest.raises(IntegrityError):
        ledger._database.write(lambda connection: connection.execute(insert(jobs).values(second)))


def test_a_second_job_of_a_study_is_not_claimed_while_the_first_runs(ledger):
    settled(ledger)
    settled(ledger, OTHER_KEY, number=2)
    revive = update(jobs).where(jobs.c.key == KEY).values(state=JobState.SEGMENTING)
    ledger._database.write(lambda connection: connection.execute(revive))
    assert ledger.claim(OTHER_KEY, "worker") is None
    assert ledger.job(OTHER_KEY).state is JobState.SETTLED


def test_a_lease_is_renewed_by_its_owner_only(ledger):
    settled(ledger)
    ledger.claim(KEY, "worker")
    assert ledger.renew(KEY, "worker")
    assert not ledger.renew(KEY, "another")
    assert ledger.job(KEY).renewals == 2  # with the claim


def test_a_lease_that_stood_still_is_lost_and_the_job_waits_again(ledger):
    settled(ledger)
    ledger.claim(KEY, "worker")
    assert ledger.lose_lease(KEY, ledger.job(KEY).renewals, max_lost=3)
    job = ledger.job(KEY)
    assert (job.state, job.lost_leases, job.owner) == (JobState.SETTLED, 1, "")
    assert not ledger.renew(KEY, "worker")


def test_a_lease_that_was_renewed_meanwhile_is_not_lost(ledger):
    settled(ledger)
    ledger.claim(KEY, "worker")
    seen = ledger.job(KEY).renewals
    ledger.renew(KEY, "worker")
    assert not ledger.lose_lease(KEY, seen, max_lost=3)
    assert ledger.job(KEY).state is JobState.SEGMENTING


def test_a_lease_that_the_same_worker_has_anew_is_not_taken_for_its_lost_one(ledger):
    settled(ledger)
    ledger.claim(KEY, "worker")
    seen = ledger.job(KEY).renewals
    assert ledger.lose_lease(KEY, seen, max_lost=3)
    ledger.claim(KEY, "worker")
    assert not ledger.lose_lease(KEY, seen, max_lost=3)


def test_the_third_lost_lease_ends_the_job_as_the_worker_died(ledger):
    settled(ledger)
    for _ in range(3):
        ledger.claim(KEY, "worker")
        assert ledger.lose_lease(KEY, ledger.job(KEY).renewals, max_lost=3)
    job = ledger.job(KEY)
    assert (job.state, job.reason, job.lost_leases) == (JobState.FAILED, "the worker died", 3)
    assert ledger.waiting_jobs() == ()


def test_what_stopped_workers_had_waits_again_to_be_rung_and_nobody_elses_does(ledger):
    for number, (key, owner) in enumerate({KEY: "f00d@host:7", OTHER_KEY: "f00d%@host:7"}.items()):
        settled(ledger, key, f"{STUDY}.{number}")
        ledger.take_ring(key, 0)
        ledger.claim(key, owner)
    assert [ledger.hand_back_jobs(owners) for owners in ("f%@", "f00d@", "f00d@")] == [0, 1, 0]
    job = ledger.job(KEY)
    assert (job.state, job.owner, job.rings, job.lost_leases) == (JobState.SETTLED, "", 0, 0)
    assert job.reason == "the worker was stopped"
    assert ledger.running_jobs() == (ledger.job(OTHER_KEY),)
    assert not ledger.finish(KEY, "f00d@host:7", "f" * 64, "1", "2", {}, ())


def test_a_job_that_nobody_has_loses_no_lease(ledger):
    settled(ledger)
    assert not ledger.lose_lease(KEY, ledger.job(KEY).renewals, max_lost=3)
    assert not ledger.lose_lease(OTHER_KEY, 0, max_lost=3)


# --- ends -------------------------------------------------------------------------------------------


def test_a_result_has_one_delivery_for_each_destination(ledger):
    job = segmented(ledger, destinations=("PACS", "folder"))
    assert (job.state, job.owner, job.blob_sha256) == (JobState.SEGMENTED, "", "f" * 64)
    assert job.volumes_ml == {"ET": 1.5}
    assert [(one.destination, one.state, one.sop_uid) for one in ledger.deliveries(KEY)] == [
        ("PACS", DeliveryState.PENDING, job.sop_uid),
        ("folder", DeliveryState.PENDING, job.sop_uid),
    ]


def test_a_result_told_twice_counts_once(ledger):
    segmented(ledger)
    assert not ledger.finish(KEY, "worker", "f" * 64, "2.25.1", "2.25.2", {}, ("PACS",))
    assert len(ledger.deliveries(KEY)) == 1


@pytest.mark.parametrize(
    ("verb", "state"), [("no_tumour", JobState.NO_TUMOUR), ("refuse", JobState.REFUSED), ("fail", JobState.FAILED)]
)
def test_a_job_ends_by_its_owners_word_with_its_reason(ledger, verb, state):
    settled(ledger)
    ledger.claim(KEY, "worker")
    assert not getattr(ledger, verb)(KEY, "another", "because")
    assert getattr(ledger, verb)(KEY, "worker", "because")
    job = ledger.job(KEY)
    assert (job.state, job.reason, job.owner) == (state, "because", "")
    assert ledger.pending_deliveries() == ()


def test_a_job_that_was_put_off_waits_again_until_its_attempts_are_used_up(ledger):
    settled(ledger)
    for attempt in (1, 2):
        ledger.claim(KEY, "worker")
        assert ledger.retry_later(KEY, "worker", "SpoolFull", max_attempts=3)
        assert (ledger.job(KEY).state, ledger.job(KEY).attempts) == (JobState.SETTLED, attempt)
    ledger.claim(KEY, "worker")
    ledger.retry_later(KEY, "worker", "SpoolFull", max_attempts=3)
    assert (ledger.job(KEY).state, ledger.job(KEY).reason) == (JobState.FAILED, "SpoolFull")


def test_only_the_owner_puts_a_job_off(ledger):
    settled(ledger)
    ledger.claim(KEY, "worker")
    assert not ledger.retry_later(KEY, "another", "SpoolFull", max_attempts=3)
    assert not ledger.retry_later(OTHER_KEY, "worker", "SpoolFull", max_attempts=3)


# --- retry ------------------------------------------------------------------------------------------


def test_a_person_may_retry_a_failed_job_with_all_counts_at_zero(ledger):
    settled(ledger)
    for _ in range(3):
        ledger.claim(KEY, "worker")
        ledger.lose_lease(KEY, ledger.job(KEY).renewals, max_lost=3)
    assert ledger.retry(KEY)
    job = ledger.job(KEY)
    assert (job.state, job.reason, job.lost_leases, job.attempts, job.rings) == (JobState.SETTLED, "", 0, 0, 0)


def test_a_retry_of_a_result_sends_what_failed_and_leaves_what_arrived(ledger):
    segmented(ledger, destinations=("PACS", "folder"))
    pacs, folder = ledger.deliveries(KEY)
    ledger.claim_delivery(pacs.id, "sender")
    ledger.delivery_failed(pacs.id, "sender", "DeliveryRefused", 0xA900)
    ledger.claim_delivery(folder.id, "sender")
    ledger.mark_sent(folder.id, "sender", 0, None, final=True)
    assert ledger.retry(KEY)
    assert [one.destination for one in ledger.pending_deliveries()] == ["PACS"]
    assert ledger.delivery(folder.id).state is DeliveryState.SENT


def test_a_retry_sends_again_what_nobody_committed_to_but_not_what_needs_no_commitment(ledger):
    segmented(ledger, destinations=("PACS", "archive", "folder"))
    pacs, archive, folder = ledger.deliveries(KEY)
    for one, final in ((pacs, False), (archive, False), (folder, True)):
        ledger.claim_delivery(one.id, "sender")
        ledger.mark_sent(one.id, "sender", 0, None if final else f"2.25.{one.id}", final=final)
    ledger.without_commitment(pacs.id, "no commitment report")
    assert ledger.retry(KEY)
    assert [one.destination for one in ledger.pending_deliveries()] == ["PACS"]
    assert [one.destination for one in ledger.awaiting_commitment()] == ["archive"]


def test_a_retry_sends_a_result_to_the_destinations_that_came_into_the_settings_since(ledger):
    segmented(ledger, destinations=())
    assert ledger.retry(KEY, ("PACS", "archive"))
    assert [one.destination for one in ledger.pending_deliveries()] == ["PACS", "archive"]
    assert not ledger.retry(KEY, ("PACS", "archive"))


def test_nothing_is_retried_that_runs_is_done_or_was_superseded(ledger):
    settled(ledger)
    assert not ledger.retry(KEY)
    ledger.claim(KEY, "worker")
    ledger.fail(KEY, "worker", "because")
    settled(ledger, OTHER_KEY, number=2)
    assert not ledger.retry(KEY)
    assert not ledger.retry("c" * 64)


# --- queries ----------------------------------------------------------------------------------------


def test_jobs_are_found_by_study_accession_number_and_the_beginning_of_a_key(ledger):
    settled(ledger, KEY, "1.2", 1)
    ledger.record_instance(instance(study="1.3", accession="B18"))
    ledger.settle("1.3", 1, OTHER_KEY, {}, "quiet")
    assert [job.key for job in ledger.jobs("1.2")] == [KEY]
    assert [job.key for job in ledger.jobs("B18")] == [OTHER_KEY]
    assert [job.key for job in ledger.jobs(OTHER_KEY[:8])] == [OTHER_KEY]
    assert ledger.jobs("%" * 8) == ()
    assert [job.key for job in ledger.jobs()] == [OTHER_KEY, KEY]
    assert len(ledger.jobs(limit=1)) == 1


def test_an_accession_number_means_no_job_whose_key_begins_so(ledger):
    settled(ledger, "4711" + "0" * 60, "1.2")
    ledger.record_instance(instance(study="1.3", accession="4711"))
    ledger.settle("1.3", 1, OTHER_KEY, {}, "quiet")
    assert [job.key for job in ledger.jobs("4711")] == [OTHER_KEY]


def test_waiting_jobs_come_in_the_order_in_which_they_were_settled(ledger):
    settled(ledger, OTHER_KEY, "1.2")
    settled(ledger, KEY, "1.3")
    assert [job.key for job in ledger.waiting_jobs()] == [OTHER_KEY, KEY]


def test_the_newest_key_of_an_unknown_study_is_none(ledger):
    assert ledger.newest_key("1.2.3") is None
    assert ledger.job(KEY) is None


def test_the_history_tells_what_happened_in_order_and_why(ledger):
    settled(ledger)
    ledger.claim(KEY, "worker")
    ledger.retry_later(KEY, "worker", "SpoolFull", max_attempts=3)
    ledger.claim(KEY, "worker")
    ledger.refuse(KEY, "worker", "BrainNotFound")
    told = [(event.what, event.detail) for event in ledger.events(STUDY)]
    assert told == [
        ("settled", "quiet for 60 s"),
        ("claimed", "worker"),
        ("put off", "SpoolFull"),
        ("claimed", "worker"),
        ("refused", "BrainNotFound"),
    ]
    assert {event.key for event in ledger.events(STUDY)} == {KEY}
    assert all(event.at > NOON.replace(year=2000) for event in ledger.events(STUDY))
