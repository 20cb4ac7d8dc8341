"""A stopwatch measures how long a counter has stood still, whatever the wall clock does."""

from cmdiff_dicom.dispatch.stopwatch import Stopwatch
from tests.support.dispatching import Clock


def test_a_counter_that_stands_still_ages_with_the_clock():
    clock = Clock()
    watch = Stopwatch(clock)
    assert watch.still_s("study", 1) == 0
    clock.now += 5
    assert watch.still_s("study", 1) == 5


def test_a_counter_that_moved_begins_anew_without_a_head_start():
    clock = Clock()
    watch = Stopwatch(clock)
    assert watch.still_s("study", 1, head_start_s=30) == 30
    clock.now += 5
    assert watch.still_s("study", 2, head_start_s=30) == 0


def test_things_do_not_share_their_time():
    clock = Clock()
    watch = Stopwatch(clock)
    watch.still_s("one", 1)
    clock.now += 5
    assert (watch.still_s("one", 1), watch.still_s("other", 1)) == (5, 0)


def test_what_is_no_longer_asked_for_is_forgotten():
    clock = Clock()
    watch = Stopwatch(clock)
    for things in (("gone", "there"), ("there",)):
        for thing in things:
            watch.still_s(thing, 1)
        watch.forget_the_rest()
    clock.now += 5
    assert (watch.still_s("gone", 1), watch.still_s("there", 1)) == (0, 5)
