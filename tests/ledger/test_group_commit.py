"""Whoever gets the turn writes for all who wait; each gets its own answer, and its own error."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cmdiff_dicom.ledger.group_commit import GroupCommit
from tests.support.waiting import until


def while_one_is_written(write):
    """The futures of 1, 2 and 3, which came while 0 was being written, after that of 0; and the batches that were written."""
    batches, may_go_on = [], threading.Event()

    def held(items):
        batches.append([*items])
        if items == [0]:
            may_go_on.wait(10)
        return write(items)

    commit = GroupCommit(held)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(commit, 0)]
        until(lambda: batches)
        futures += [pool.submit(commit, number) for number in (1, 2, 3)]
        until(lambda: len(commit._waiting) == 3)
        may_go_on.set()
    return futures, batches


def test_what_waits_while_one_is_written_is_written_together():
    futures, batches = while_one_is_written(lambda items: [item * 10 for item in items])
    assert [future.result() for future in futures] == [0, 10, 20, 30]
    assert [sorted(batch) for batch in batches] == [[0], [1, 2, 3]]


def test_one_that_cannot_be_written_fails_alone():
    def write(items):
        if 2 in items:
            raise ValueError("two")
        return [*items]

    futures, _ = while_one_is_written(write)
    assert [futures[number].result() for number in (0, 1, 3)] == [0, 1, 3]
    with pytest.raises(ValueError, match="two"):
        futures[2].result()


def test_a_failure_does_not_stick():
    failing = [True]

    def write(items):
        if failing.pop():
            raise ValueError
        return [*items]

    commit = GroupCommit(write)
    with pytest.raises(ValueError):
        commit(1)
    failing.append(False)
    assert commit(1) == 1


def test_nothing_is_written_twice_at_once():
    writing, most = [0], [0]

    def write(items):
        writing[0] += 1
        most[0] = max(most[0], writing[0])
        time.sleep(0.001)
        writing[0] -= 1
        return [*items]

    commit = GroupCommit(write)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(commit, range(40))) == [*range(40)]
    assert most == [1]
