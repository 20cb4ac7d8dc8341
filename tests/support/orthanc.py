"""A real Orthanc as a child process: a PACS that is not ours, on free ports, gone at the end of the test.

Started without root and without a system service. TCP_NODELAY must be in its environment: without it DCMTK, on which
Orthanc is built, waits 40 ms for a delayed acknowledgement at every message.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ORTHANC = shutil.which("Orthanc")
needs_orthanc = pytest.mark.skipif(ORTHANC is None, reason="Orthanc is not installed")

_PLUGINS = (Path("/usr/share/orthanc/plugins"), Path("/usr/lib/orthanc"))


class Orthanc:
    """A running Orthanc: its DICOM address, and its REST interface as `get` and `post`."""

    def __init__(self, ae_title: str, dicom_port: int, http_port: int) -> None:
        self.ae_title, self.dicom_port, self.http_port = ae_title, dicom_port, http_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def get(self, path: str) -> Any:
        return json.loads(self.get_bytes(path))

    def get_bytes(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return answer.read()

    def post(self, path: str, body: bytes | Mapping[str, Any]) -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data=content, method="POST"), timeout=120) as answer:
            return json.loads(answer.read())

    def find(self, level: str, **query: str) -> list[str]:
        """Orthanc's own identifiers of what matches, for example find("Series", Modality="SEG")."""
        return self.post("/tools/find", {"Level": level, "Query": query})


@contextmanager
def running_orthanc(
    folder: Path, ae_title: str = "ORTHANC", modalities: Mapping[str, tuple[str, int]] | None = None, **settings: Any
) -> Iterator[Orthanc]:
    """An Orthanc with its database in `folder`. `modalities`: name -> (AE title, port) of peers on this machine, storage commitment allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    dicom_port, http_port = _free_ports(2)
    configuration = {
        "Name": "tests",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "DicomAet": ae_title,
        "DicomPort": dicom_port,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "StableAge": 1,
        "SaveJobs": False,
        "Plugins": [str(path / "libOrthancDicomWeb.so") for path in _PLUGINS if (path / "libOrthancDicomWeb.so").exists()],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "DicomModalities": {
            name: {"AET": title, "Host": "127.0.0.1", "Port": port, "AllowStorageCommitment": True}
            for name, (title, port) in (modalities or {}).items()
        },
        **settings,
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    log = (folder / "orthanc.log").open("wb")
    process = subprocess.Popen(
        [str(ORTHANC), str(folder / "orthanc.json")],
        env={**os.environ, "TCP_NODELAY": "1"},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        orthanc = Orthanc(ae_title, dicom_port, http_port)
        _wait_until_up(orthanc, process, folder / "orthanc.log")
        yield orthanc
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _wait_until_up(orthanc: Orthanc, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            orthanc.get("/system")
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"Orthanc did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
