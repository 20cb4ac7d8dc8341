"""A worker that takes nothing from a filled queue ends itself, so that it is started again."""

from __future__ import annotations

import pytest
from celery.worker import state

from cmdiff_dicom.dispatch import serving
from cmdiff_dicom.errors import BrokerUnavailable


class Ended(Exception):
    pass


class Looks(Exception):
    pass


@pytest.fixture
def look(monkeypatch):
    """Looks at queues of the given fillings, one after another; True where the worker ended itself."""
    monkeypatch.setattr(serving.time, "sleep", lambda _: None)

    def end(status):
        assert status == serving.TRY_AGAIN
        raise Ended

    def run(fillings):
        fillings = iter(fillings)

        class Bell:
            def waiting(self, queue):
                filling = next(fillings, None)
                if filling is None:
                    raise Looks
                if filling < 0:
                    raise BrokerUnavailable("away")
                return filling

        monkeypatch.setattr(serving.os, "_exit", end)
        try:
            serving._watch(Bell(), "segment", 1)
        except Ended:
            return True
        except Looks:
            return False

    return run


def test_messages_there_and_nothing_in_hand_look_after_look_is_mute(look):
    assert look([1] * serving.MUTE_LOOKS)


def test_a_queue_that_was_empty_in_between_is_not(look):
    assert not look([1, 1, 1, 0, 1, 1, 1])


def test_a_redis_that_is_away_is_not(look):
    assert not look([1, 1, 1, -1, 1, 1, 1])


def test_a_worker_at_work_is_not(look, monkeypatch):
    monkeypatch.setattr(state, "reserved_requests", {"a request"})
    naps = iter(range(3 * serving.MUTE_LOOKS))

    def nap(_):
        if next(naps, None) is None:
            raise Looks

    monkeypatch.setattr(serving.time, "sleep", nap)
    assert not look([1] * serving.MUTE_LOOKS)
