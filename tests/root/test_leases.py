"""A lease is renewed while the work goes on, and no longer; however the work ends, the ledger is told once."""

from __future__ import annotations

import sys
import threading

import pytest

from cmdiff_dicom import services
from cmdiff_dicom.errors import BrainNotFound, CmdiffError, DeliveryRefused, PacsUnavailable, StoreUnavailable, WeightsFault
from cmdiff_dicom.leases import Endings, carried_out, owner_name, renewed
from cmdiff_dicom.ledger import JobState, open_ledger
from cmdiff_dicom.settings import Settings
from tests.support.ledgers import settled
from tests.support.waiting import eventually


def test_it_is_renewed_while_the_work_goes_on_and_not_after():
    renewals = []
    with renewed(lambda: renewals.append(1) is None, every_s=0.01):
        assert eventually(lambda: len(renewals) >= 3)
    assert not [thread for thread in threading.enumerate() if thread.name == "lease"]


def test_a_lease_that_is_anothers_is_not_asked_about_again():
    asked = []
    with renewed(lambda: asked.append(1) is not None, every_s=0.01):
        assert eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "lease"])
    assert len(asked) == 1


@pytest.mark.parametrize("fault", [StoreUnavailable("a restart"), RuntimeError("what nobody thought of")])
def test_a_ledger_that_is_away_for_a_moment_is_asked_again(fault):
    asked = []

    def away():
        asked.append(1)
        raise fault

    with renewed(away, every_s=0.01):
        assert eventually(lambda: len(asked) >= 3)


def test_the_work_ends_as_it_ends_and_takes_its_thread_along():
    try:
        with renewed(lambda: True, every_s=60):
            raise ValueError
    except ValueError:
        pass
    assert not [thread for thread in threading.enumerate() if thread.name == "lease"]


def test_an_owner_is_this_process():
    assert owner_name() == owner_name()
    assert len(owner_name().split(":")) == 3


def test_owners_of_one_parent_begin_alike_and_are_told_apart(monkeypatch):
    alone = owner_name()
    monkeypatch.setenv("CMDIFF_WORKER_FAMILY", "f00d")
    assert owner_name() == "f00d" + alone


# --- how it ended ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (BrainNotFound("none"), ("refuse", "BrainNotFound: none")),
        (PacsUnavailable("away"), ("put off", "PacsUnavailable: away")),
        (StoreUnavailable("away"), ("put off", "StoreUnavailable: away")),
        (WeightsFault("altered"), ("fail", "WeightsFault: altered", None)),
        (DeliveryRefused("no", 0xA900), ("fail", "DeliveryRefused: no", 0xA900)),
        (CmdiffError("odd"), ("fail", "CmdiffError: odd", None)),
    ],
)
def test_every_kind_of_fault_is_told_in_its_own_way(fault, told):
    heard = []
    endings = Endings(lambda *why: heard.append(("refuse", *why)), lambda *why: heard.append(("put off", *why)), lambda *why: heard.append(("fail", *why)))

    def work():
        raise fault

    assert carried_out(work, lambda: True, 60, endings) == type(fault).__name__
    assert heard == [told]


def test_work_that_ends_well_is_told_by_itself():
    def unexpected(*_):
        raise AssertionError

    assert carried_out(lambda: "done", lambda: True, 60, Endings(unexpected, unexpected, unexpected)) == "done"


# --- a worker that is stopped -----------------------------------------------------------------------

AT_WORK = """
import sys, time
from cmdiff_dicom.leases import owner_name
from cmdiff_dicom.ledger import open_ledger
open_ledger(sys.argv[1]).claim(sys.argv[2], owner_name())
time.sleep(60)
"""


def test_what_a_stopped_worker_had_in_hand_waits_again_at_once(tmp_path, monkeypatch):
    settings, held, anothers = Settings.model_validate({"state": tmp_path}), "a" * 64, "b" * 64
    ledger = open_ledger(settings.ledger_url)
    for number, key in enumerate((held, anothers)):
        settled(ledger, key, f"9.{number}")
    ledger.claim(anothers, owner_name())
    monkeypatch.setattr(services, "child_command", lambda *_: [sys.executable, "-c", AT_WORK, settings.ledger_url, held])
    with services.working(settings, ["segment"], None, grace_s=0.1):
        assert eventually(lambda: ledger.job(held).state is JobState.SEGMENTING, 60)
    job = ledger.job(held)
    assert (job.state, job.owner, job.lost_leases, job.reason) == (JobState.SETTLED, "", 0, "the worker was stopped")
    assert ledger.job(anothers).state is JobState.SEGMENTING
