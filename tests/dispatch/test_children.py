"""Children live as long as their parent wants, and no longer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from cmdiff_dicom.dispatch.children import QUICK_DEATHS, TRY_AGAIN, Supervisor, start_child, stop_child, stop_signal
from tests.support.dispatching import Clock
from tests.support.waiting import eventually, is_gone

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
DIE = [sys.executable, "-c", "raise SystemExit(3)"]


def test_a_dead_child_starts_again():
    clock = Clock()
    supervisor = Supervisor({"one": SLEEP}, clock)
    supervisor.tick()
    first = supervisor.pids()["one"]
    psutil.Process(first).kill()
    assert eventually(lambda: supervisor.pids() == {})
    assert supervisor.tick()
    assert supervisor.pids() == {}, "not at once"
    clock.now += 2
    assert supervisor.tick()
    assert supervisor.pids()["one"] != first
    supervisor.stop(1)


def test_a_child_that_dies_again_and_again_is_given_up():
    clock = Clock()
    supervisor = Supervisor({"one": DIE}, clock)
    ticks = 0
    while supervisor.tick():
        assert eventually(lambda: supervisor.pids() == {})
        clock.now += 20
        ticks += 1
        assert ticks < 20
    assert ticks >= QUICK_DEATHS - 1


def test_a_child_that_ended_for_something_outside_is_started_again_for_ever():
    clock = Clock()
    supervisor = Supervisor({"one": [sys.executable, "-c", f"raise SystemExit({TRY_AGAIN})"]}, clock)
    for _ in range(2 * QUICK_DEATHS):
        assert supervisor.tick()
        assert eventually(lambda: supervisor.pids() == {})
        clock.now += 2
    supervisor.stop(1)


def test_stopping_leaves_no_process_of_the_childs_session():
    code = "import subprocess, sys, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    child = start_child([sys.executable, "-c", code], stdout=subprocess.PIPE)
    grandchild = int(child.stdout.readline())
    stop_child(child, grace_s=5)
    assert is_gone(child.pid)
    assert eventually(lambda: is_gone(grandchild))


def test_a_child_that_ignores_the_request_is_ended_after_the_grace():
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    child = start_child([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child.stdout.readline()
    stop_child(child, grace_s=0.1)
    assert child.returncode == -9


@pytest.mark.timeout(60)
@pytest.mark.parametrize("depth", range(1, 9))
def test_a_stop_told_in_the_midst_of_a_wait_ends_it_wherever_the_signal_strikes(depth):
    calls = 0

    def strike(_frame, _event, _argument):
        nonlocal calls
        calls += 1
        if calls == depth:
            os.kill(os.getpid(), signal.SIGTERM)

    with stop_signal() as stop:
        sys.setprofile(strike)
        try:
            while not stop.wait(0.01):
                pass
        finally:
            sys.setprofile(None)
    assert calls >= depth


def test_a_stop_stays_told():
    with stop_signal() as stop:
        assert not stop.wait(0.001)
        os.kill(os.getpid(), signal.SIGINT)
        assert [stop.wait(20), stop.wait(0.001)] == [True, True]


def test_children_of_a_killed_parent_end():
    code = (
        "import sys, time; from cmdiff_dicom.dispatch.children import start_child\n"
        "print(start_child([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    assert eventually(lambda: is_gone(child))
