"""What stops a node from being put together is told with what to mend."""

from __future__ import annotations

import socket

import pytest

from cmdiff_dicom.errors import SettingsFault
from cmdiff_dicom.ledger import open_ledger
from cmdiff_dicom.parts import build_listener, open_spool
from cmdiff_dicom.settings import Settings


def refusal_to_listen(folder, host, port):
    settings = Settings.model_validate({"state": folder, "listen": {"host": host, "port": port}})
    with pytest.raises(SettingsFault) as fault:
        build_listener(settings, open_ledger("sqlite://"), open_spool(settings))
    return str(fault.value)


def test_a_port_that_another_program_has_is_told_so(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        told = refusal_to_listen(tmp_path, "127.0.0.1", other.getsockname()[1])
    assert "another program has this port" in told


@pytest.mark.parametrize("host", ["999.1.1.1", "203.0.113.7"], ids=["no address", "an address of another machine"])
def test_a_host_that_is_not_ours_is_not_told_as_a_port_that_is_taken(tmp_path, host):
    told = refusal_to_listen(tmp_path, host, 11112)
    assert "no address of this machine" in told and "another program" not in told
