"""The doorbell and the workers that hear it, over a real Redis."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import redis

from cmdiff_dicom.dispatch import Doorbell, EmbeddedRedis, Supervisor, make_ringing_app
from cmdiff_dicom.dispatch.tasks import SETTINGS
from cmdiff_dicom.errors import BrokerUnavailable
from tests.support.waiting import is_gone, until

KEY = "ab" * 32
WORKER = Path(__file__).parents[1] / "support" / "plain_worker.py"


@pytest.fixture
def server(tmp_path):
    with EmbeddedRedis(tmp_path / "redis") as started:
        yield started


def bell_at(url):
    return Doorbell(make_ringing_app(url))


def client_of(server):
    return redis.Redis(unix_socket_path=server.url.removeprefix("redis+socket://").partition("?")[0])


@contextmanager
def working(url, queue, log, seconds=0.0, loading=0.0):
    log.touch()
    arguments = [url, queue, str(log), str(seconds), str(loading)]
    worker = subprocess.Popen([sys.executable, str(WORKER), *arguments], cwd=WORKER.parents[2])
    try:
        yield worker
    finally:
        worker.send_signal(signal.SIGTERM)
        try:
            worker.wait(15)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def until_logged(log, count, limit_s=60.0):
    return until(lambda: len(lines := log.read_text().splitlines()) >= count and lines, limit_s, f"line {count} of the log")


# --- the doorbell -------------------------------------------------------------------------------


def test_a_message_is_a_job_key_and_nothing_else(server):
    bell_at(server.url).ring(KEY)
    (raw,) = client_of(server).lrange("segment", 0, -1)
    message = json.loads(raw)
    arguments, named, _ = json.loads(base64.b64decode(message["body"]))
    assert (arguments, named) == ([KEY], {})
    assert message["headers"]["argsrepr"] == repr((KEY,))


def test_segmenting_and_delivering_have_queues_of_their_own(server):
    bell = bell_at(server.url)
    bell.ring(KEY)
    bell.ring_delivery(7)
    bell.ring_commitment(7)
    assert (bell.waiting("segment"), bell.waiting("deliver")) == (1, 2)


def test_a_redis_that_lost_everything_is_found_empty_once(server):
    bell = bell_at(server.url)
    assert bell.found_empty()
    assert not bell.found_empty()
    client_of(server).flushall()
    assert bell_at(server.url).found_empty()
    assert not bell.found_empty()


def test_without_redis_the_bell_says_so_and_rings_once_it_is_there(tmp_path):
    with EmbeddedRedis(tmp_path) as server:
        bell = bell_at(server.url)
        bell.found_empty()
        bell.ring(KEY)
    for verb in (lambda: bell.ring(KEY), bell.found_empty, lambda: bell.waiting("segment")):
        with pytest.raises(BrokerUnavailable):
            verb()
    with EmbeddedRedis(tmp_path):
        assert not bell.found_empty()
        bell.ring(KEY)
        assert bell.waiting("segment") == 2


@pytest.mark.parametrize("refusal", [("maxmemory", "1"), ("min-replicas-to-write", "1")])
def test_a_redis_that_refuses_writes_is_no_failure_and_takes_them_again_later(server, refusal):
    client, bell = client_of(server), bell_at(server.url)
    client.config_set(*refusal)
    with pytest.raises(BrokerUnavailable):
        bell.ring(KEY)
    with pytest.raises(BrokerUnavailable):
        bell.found_empty()
    client.config_set(refusal[0], "0")
    bell.ring(KEY)
    assert bell.waiting("segment") == 1


def test_what_makes_it_safe_is_set():
    assert SETTINGS["worker_disable_prefetch"] is True
    assert SETTINGS["task_acks_late"] is False
    assert SETTINGS["accept_content"] == ["json"]
    assert SETTINGS["result_backend"] is None
    assert SETTINGS["broker_connection_max_retries"] is None


# --- workers ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_messages_of_other_versions_are_no_loss(server, tmp_path):
    """An unknown task and other arguments are dropped; the worker goes on with what it knows."""
    app, log = make_ringing_app(server.url), tmp_path / "log"
    app.send_task("cmdiff_dicom.of_a_later_version", args=("x",), queue="segment")
    app.send_task("cmdiff_dicom.segment", args=("x", "y", 3), kwargs={"more": 1}, queue="segment")
    Doorbell(app).ring(KEY)
    with working(server.url, "segment", log):
        assert until_logged(log, 1) == [f"segment {KEY}"]


@pytest.mark.slow
def test_a_busy_worker_holds_no_second_message_so_that_its_death_loses_one_at_most(server, tmp_path):
    bell, log = bell_at(server.url), tmp_path / "log"
    with working(server.url, "segment", log, seconds=30) as worker:
        for number in range(3):
            bell.ring(f"{number}")
        until_logged(log, 1)
        time.sleep(1)
        assert bell.waiting("segment") == 2
        assert client_of(server).hlen("unacked") == 0, "nothing that a visibility timeout could run a second time"
        family = [worker.pid, *(child.pid for child in psutil.Process(worker.pid).children(recursive=True))]
        worker.kill()
        worker.wait()
        until(lambda: all(map(is_gone, family)), 10, "the end of the worker's children")
    other = tmp_path / "other"
    with working(server.url, "segment", other):
        assert until_logged(other, 2) == ["segment 1", "segment 2"]


@pytest.mark.slow
def test_a_worker_consumes_again_after_its_connections_were_cut_several_times(server, tmp_path):
    bell, log = bell_at(server.url), tmp_path / "log"
    with working(server.url, "deliver", log):
        bell.ring_delivery(1)
        until_logged(log, 1)
        for _ in range(4):
            client_of(server).execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            time.sleep(0.7)
        bell_at(server.url).ring_delivery(2)
        assert until_logged(log, 2, limit_s=60) == ["deliver 1", "deliver 2"]


@pytest.mark.slow
@pytest.mark.parametrize("refusal", [("maxmemory", "1"), ("min-replicas-to-write", "1")])
def test_jobs_run_when_a_redis_that_refused_writes_takes_them_again(server, tmp_path, refusal):
    """As where it cannot save its snapshot, or is full. The worker may end of it; its parent starts another, which waits."""
    client, bell, log = client_of(server), bell_at(server.url), tmp_path / "log"
    log.touch()
    command = [sys.executable, str(WORKER), server.url, "deliver", str(log), "0", "0"]
    worker = Supervisor({"worker": command}, options={"cwd": WORKER.parents[2]})
    try:
        worker.tick()
        bell.ring_delivery(1)
        until_logged(log, 1)
        client.config_set(*refusal)
        for _ in range(8):
            time.sleep(1)
            assert worker.tick(), "never given up"
        client.config_set(refusal[0], "0")
        bell.ring_delivery(2)
        for _ in range(60):
            assert worker.tick()
            if len(log.read_text().splitlines()) > 1:
                break
            time.sleep(1)
        assert log.read_text().splitlines() == ["deliver 1", "deliver 2"]
    finally:
        worker.stop(15)


@pytest.mark.slow
def test_a_worker_with_nothing_in_hand_ends_at_once_though_its_model_is_still_loading(server, tmp_path):
    log = tmp_path / "log"
    with working(server.url, "segment", log, loading=60) as worker:
        until_logged(log, 1)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0


@pytest.mark.slow
def test_a_worker_that_starts_before_redis_waits_for_it(tmp_path):
    log, folder = tmp_path / "log", tmp_path / "redis"
    with working(f"redis+socket://{folder / 'redis.sock'}?virtual_host=0", "deliver", log):
        time.sleep(6)
        with EmbeddedRedis(folder) as server:
            bell_at(server.url).ring_delivery(1)
            assert until_logged(log, 1) == ["deliver 1"]


@pytest.mark.slow
def test_a_worker_outlives_a_redis_that_stops_and_comes_back_empty(tmp_path):
    log = tmp_path / "log"
    with EmbeddedRedis(tmp_path / "redis") as server:
        url = server.url
        worker = working(url, "deliver", log)
        worker.__enter__()
        bell_at(url).ring_delivery(1)
        until_logged(log, 1)
    for entry in (tmp_path / "redis" / "appendonlydir").iterdir():
        entry.unlink()
    with EmbeddedRedis(tmp_path / "redis"):
        bell_at(url).ring_delivery(2)
        assert until_logged(log, 2, limit_s=60) == ["deliver 1", "deliver 2"]
        worker.__exit__(None, None, None)
