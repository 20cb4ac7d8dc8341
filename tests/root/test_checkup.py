"""What `check` finds, and what it advises."""

from __future__ import annotations

import json
import socket
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from pynetdicom import build_context
from pynetdicom.sop_class import Verification

from cmdiff_dicom import checkup, services
from cmdiff_dicom.checkup import check_everything
from cmdiff_dicom.cli import main
from cmdiff_dicom.dispatch import EmbeddedRedis
from cmdiff_dicom.machine import WANTED_ON_X86, missing_instructions
from cmdiff_dicom.parts import open_spool, open_the_ledger
from cmdiff_dicom.phantom.pacs import DemoPacs, Faults
from cmdiff_dicom.settings import QueueSettings, Settings
from tests.support.ledgers import instance
from tests.support.node import free_port
from tests.support.raw_peer import ASSOCIATE_AC, RawPeer
from tests.support.small_weights import write_small_weights


@pytest.fixture
def settings_with(tmp_path):
    """Settings below a folder of their own; the slices given override."""

    def make(destinations=(), **slices):
        values = {
            "state": tmp_path / "state",
            "listen": {"host": "127.0.0.1", "port": free_port()},
            "spool": {"low_water_gb": 0, "floor_gb": 0},
            "segment": {"weights": str(write_small_weights(tmp_path / "w.safetensors")), "device": "cpu"},
            "deliver": {"timeout_s": 2},
            "destinations": list(destinations),
        }
        for name, values_of_slice in slices.items():
            values[name] = values.get(name, {}) | values_of_slice
        return Settings.model_validate(values)

    return make


def found(settings, about):
    (finding,) = [finding for finding in check_everything(settings) if finding.about == about]
    return finding


@contextmanager
def pacs_in(folder: Path, **faults):
    with DemoPacs(folder / "pacs", "PACS", faults=Faults(**faults)) as pacs:
        yield {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port}


def test_where_all_is_in_place_nothing_fails(settings_with, tmp_path):
    with EmbeddedRedis(tmp_path / "redis") as server, pacs_in(tmp_path) as pacs:
        settings = settings_with([pacs], queue={"url": server.url})
        with services.listening(settings):
            levels = {finding.about: finding.level for finding in check_everything(settings)}
    assert levels.pop("last caller") == "WARN"  # nobody called yet, and our own question does not count
    assert set(levels.values()) == {"OK"}


def test_it_asks_nothing_that_would_change_anything(settings_with, tmp_path):
    check_everything(settings_with())
    assert not (tmp_path / "state").exists()


def test_a_pacs_that_does_not_take_segmentations_is_told_before_the_first_result(settings_with, tmp_path):
    with pacs_in(tmp_path, refuses_segmentation=True) as pacs:
        finding = found(settings_with([pacs]), "destination pacs")
    assert finding.level == "FAIL" and "Segmentation Storage" in finding.found


def test_settings_that_no_file_was_read_for_are_told(tmp_path, monkeypatch, capsys):
    levels = []
    for file in (tmp_path / "settings.toml", None):
        monkeypatch.setattr(checkup, "check_everything", lambda settings: ())
        monkeypatch.setenv("CMDIFF_SETTINGS", str(file or ""))
        (tmp_path / "settings.toml").touch()
        assert main(["check", "--json"]) == 0
        levels += [finding["level"] for finding in json.loads(capsys.readouterr().out)]
    assert levels == ["OK", "WARN"]


def test_a_pacs_that_is_away_is_told(settings_with):
    finding = found(settings_with([{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": free_port()}]), "destination pacs")
    assert finding.level == "FAIL" and finding.advice


def test_a_port_that_another_program_has_is_told(settings_with):
    settings = settings_with()
    with socket.socket() as other:
        other.bind(("127.0.0.1", settings.listen.port))
        other.listen()
        finding = found(settings, "listener")
    assert finding.level == "FAIL" and "is taken" in finding.found


def test_our_own_listener_may_be_asked_also_where_only_some_may_call(settings_with):
    settings = settings_with(listen={"calling_ae_titles": ("SCANNER",)})
    with services.listening(settings):
        assert found(settings, "listener").level == "OK"
        assert found(settings, "last caller").level == "WARN"


@pytest.mark.parametrize("host", ["0.0.0.0", "::1", "::"])
def test_our_own_listener_is_found_on_whatever_address_it_has(settings_with, host):
    settings = settings_with(listen={"host": host})
    assert "the port is free" in found(settings, "listener").found
    with services.listening(settings):
        assert found(settings, "listener").level == "OK"


def test_a_destination_that_is_asked_to_commit_may_call_and_report_also_where_only_some_may(settings_with):
    """The archive's own AE title may be none of those that send: reports of commitment would be turned away."""
    commits, does_not = ({"name": name, "ae_title": name, "host": "127.0.0.1", "commitment": name == "PACS"} for name in ("PACS", "OTHER"))
    settings = settings_with(listen={"calling_ae_titles": ("SCANNER",)}, destinations=(commits, does_not))
    with services.listening(settings):
        for title, may in (("PACS", True), ("SCANNER", True), ("OTHER", False)):
            with RawPeer(settings.listen.port) as peer:
                assert (peer.associate(calling=title)[0] == ASSOCIATE_AC) == may


def test_the_last_caller_is_named(settings_with, tmp_path):
    settings = settings_with()
    with services.listening(settings):
        with DemoPacs(tmp_path / "pacs", "SCANNER", routes_to=("CMDIFF", "127.0.0.1", settings.listen.port)) as scanner:
            scanner._associate([build_context(Verification)]).release()
        finding = found(settings, "last caller")
    assert finding.level == "OK" and finding.found.startswith("SCANNER from 127.0.0.1")


def test_a_host_whose_spool_is_not_that_of_the_listener_is_told(settings_with):
    settings = settings_with()
    blob = open_spool(settings).put(b"received")
    open_the_ledger(settings).record_instance(replace(instance(), blob=blob))
    here, elsewhere = settings, settings.model_copy(update={"spool": settings.spool.model_copy(update={"folder": settings.state / "other"})})
    assert found(here, "spool").level == "OK"
    assert [finding.level for finding in check_everything(elsewhere) if finding.about == "spool"] == ["OK", "FAIL"]


def test_a_redis_that_was_named_and_is_away_fails(settings_with):
    assert found(settings_with(queue={"url": "redis://127.0.0.1:1/0"}), "Redis").level == "FAIL"


@pytest.mark.parametrize("queue", [{}, {"url": QueueSettings().url}], ids=["left out", "as in the example"])
def test_the_default_redis_only_warns_where_it_is_away_and_that_of_run_is_found(settings_with, tmp_path, queue):
    assert found(settings_with(queue=queue), "Redis").level in ("OK", "WARN")
    with EmbeddedRedis(tmp_path / "state" / "redis"):
        assert found(settings_with(queue=queue), "Redis").found.startswith("that of `cmdiff-dicom run`")


def test_a_redis_that_answers_and_takes_no_messages_fails(settings_with, tmp_path):
    with EmbeddedRedis(tmp_path / "redis") as server:
        redis.Redis(unix_socket_path=str(tmp_path / "redis" / "redis.sock")).config_set("maxmemory", "1")
        assert found(settings_with(queue={"url": server.url}), "Redis").level == "FAIL"


def test_no_password_of_redis_is_shown(settings_with):
    finding = found(settings_with(queue={"url": "redis://user:secret@127.0.0.1:1/0"}), "Redis")
    assert "secret" not in finding.found + finding.advice


def test_a_ledger_on_a_network_file_system_is_refused(settings_with, monkeypatch):
    monkeypatch.setattr("cmdiff_dicom.ledger.network_file_system", lambda url: "nfs4")
    finding = found(settings_with(), "ledger")
    assert finding.level == "FAIL" and "nfs4" in finding.found


def test_a_disk_below_its_marks_fails(settings_with):
    assert "rejected" in found(settings_with(spool={"low_water_gb": 1e9}), "spool").found
    assert "refused" in found(settings_with(spool={"low_water_gb": 1e9, "floor_gb": 1e9}), "spool").found


def test_weights_that_are_missing_fail(settings_with):
    finding = found(settings_with(segment={"weights": "/nowhere/w.safetensors"}), "weights")
    assert finding.level == "FAIL" and "/nowhere/w.safetensors" in finding.found


def test_without_destinations_it_warns(settings_with):
    assert found(settings_with(), "destinations").level == "WARN"


def test_the_instructions_that_a_cpu_lacks_are_named(settings_with, monkeypatch, tmp_path):
    cpu = tmp_path / "cpuinfo"
    cpu.write_text("processor\t: 0\nflags\t\t: fpu sse2 sse4_2\n")
    assert missing_instructions(cpu, "x86_64") == tuple(name for name in WANTED_ON_X86 if name != "sse4_2")
    assert missing_instructions(cpu, "aarch64") == ()
    monkeypatch.setattr(checkup, "missing_instructions", lambda: ("avx2",))
    finding = found(settings_with(), "CPU")
    assert finding.level == "FAIL" and "avx2" in finding.found


def test_the_exit_status_is_1_only_where_something_failed(tmp_path, capsys):
    good = tmp_path / "good.toml"
    weights = write_small_weights(tmp_path / "w.safetensors")
    text = f'state = "{tmp_path / "state"}"\n[listen]\nport = {free_port()}\n[spool]\nlow_water_gb = 0\nfloor_gb = 0\n[segment]\nweights = "{weights}"\n'
    good.write_text(text)
    bad = tmp_path / "bad.toml"
    bad.write_text(text.replace("low_water_gb = 0", "low_water_gb = 1e9"))
    assert main(["check", "--settings", str(good)]) == 0
    capsys.readouterr()
    assert main(["check", "--settings", str(bad), "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)
    assert [finding["about"] for finding in findings if finding["level"] == "FAIL"] == ["spool"]
