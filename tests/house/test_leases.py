"""A lease is renewed while the work goes on, and no longer."""

from __future__ import annotations

import threading

from cmdiff_dicom.errors import StoreUnavailable
from cmdiff_dicom.leases import owner_name, renewed
from tests.support.waiting import eventually


def test_it_is_renewed_while_the_work_goes_on_and_not_after():
    renewals = []
    with renewed(lambda: bool(renewals.append(1)) or True, every_s=0.01):
        assert eventually(lambda: len(renewals) >= 3)
    count = len(renewals)
    assert not [thread for thread in threading.enumerate() if thread.name == "lease"]
    assert len(renewals) == count


def test_a_lease_that_is_anothers_is_not_asked_about_again():
    asked = []
    with renewed(lambda: bool(asked.append(1)), every_s=0.01):
        assert eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "lease"])
    assert len(asked) == 1


def test_a_ledger_that_is_away_for_a_moment_is_asked_again():
    asked = []

    def away():
        asked.append(1)
        raise StoreUnavailable("a restart")

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
