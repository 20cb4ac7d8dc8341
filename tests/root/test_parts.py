"""What stops a node from being put together is told with what to mend."""

from __future__ import annotations

import socket

import pytest

from cmdiff_dicom.errors import SettingsFault, StoreUnavailable
from cmdiff_dicom.ledger import open_ledger
from cmdiff_dicom.parts import build_listener, open_spool
from cmdiff_dicom.settings import Settings
from tests.support.node import free_port
from tests.support.raw_peer import ASSOCIATE_AC, ASSOCIATE_RJ, RawPeer


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


def test_while_the_ledger_is_away_senders_are_asked_to_come_again_later(tmp_path):
    """Each image that is refused once its association stands is lost to many a sender; a congested node is tried again."""
    low_water = {"low_water_gb": 0, "floor_gb": 0}
    settings = Settings.model_validate({"state": tmp_path, "listen": {"host": "127.0.0.1", "port": free_port()}, "spool": low_water})
    ledger = open_ledger("sqlite://")
    listener = build_listener(settings, ledger, open_spool(settings))
    answers = []
    try:
        for check in (ledger.check, unavailable, ledger.check):
            ledger.check = check
            with RawPeer(listener.port) as peer:
                answers.append(peer.associate(called="CMDIFF"))
    finally:
        listener.stop()
    assert [kind for kind, _ in answers] == [ASSOCIATE_AC, ASSOCIATE_RJ, ASSOCIATE_AC]
    assert answers[1][1] == b"\0\2\3\1"


def unavailable():
    raise StoreUnavailable("no ledger")
