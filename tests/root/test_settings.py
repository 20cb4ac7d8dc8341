"""Settings: read once, all faults at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmdiff_dicom.errors import SettingsFault
from cmdiff_dicom.settings import Settings, read_settings


def written(tmp_path, text):
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_the_defaults_hold():
    assert read_settings(None, {}) == Settings()


def test_the_environment_overrides_the_file(tmp_path):
    path = written(tmp_path, "[listen]\nport = 4242\n")
    settings = read_settings(path, {"CMDIFF_LISTEN__PORT": "104", "CMDIFF_LISTEN__CALLING_AE_TITLES": "PACS, SCANNER", "CMDIFF_STATE": "/data"})
    assert (settings.listen.port, settings.state) == (104, Path("/data"))
    assert settings.listen.calling_ae_titles == ("PACS", "SCANNER")


def test_all_faults_are_told_at_once(tmp_path):
    path = written(tmp_path, '[listen]\nport = 99999\nprot = 1\n[dispatch]\nquiet_s = "soon"\n')
    with pytest.raises(SettingsFault) as fault:
        read_settings(path, {})
    assert all(key in str(fault.value) for key in ("listen.port", "listen.prot", "dispatch.quiet_s"))


SEVERAL_FAULTS = """
stat = "/srv"
[listen]
calling_ae_titles = "PACS"
[spool]
keep_days = 1e9
[dispatch]
quiet_s = inf
needed_sequences = ["T1", "T1Gd"]
[ledger]
url = "mysql://db/cmdiff"
[queue]
url = "localhost:6379"
[segment]
device = "gpu"
[[destinations]]
name = "archive"
host = "10.0.0.5"
port = 0
[[destinations]]
name = "archive"
kind = "folder"
"""


@pytest.mark.parametrize(
    "told",
    [
        "stat: there is no such key; state perhaps",
        'listen.calling_ae_titles: wanted a list, as ["A", "B"]',
        "spool.keep_days: should be less than or equal to 36500, not 1000000000.0",
        "dispatch.quiet_s: should be a finite number, not inf",
        "dispatch.needed_sequences.1: should be 'T1', 'T1c', 'T2' or 'FLAIR', not 'T1Gd'",
        "ledger.url: wanted sqlite:///PATH or postgresql://USER@HOST/NAME, or nothing for SQLite in the state folder",
        "queue.url: wanted redis://HOST:PORT/0, rediss:// for TLS, or redis+socket:///PATH",
        "segment.device: wanted auto, cpu, cuda or cuda:1",
        "[[destinations]] 1 (archive): ae_title: a destination of kind 'dicom' needs ae_title, host and port",
        "[[destinations]] 1 (archive): port: should be greater than or equal to 1, not 0",
        "[[destinations]] 2 (archive): folder: a destination of kind 'folder' needs it",
        "destinations: two destinations have the same name",
    ],
)
def test_each_of_several_faults_says_where_it_is_and_what_was_wanted(tmp_path, told):
    path = written(tmp_path, SEVERAL_FAULTS)
    with pytest.raises(SettingsFault) as fault:
        read_settings(path, {})
    assert f"{path}: {told}" in str(fault.value).splitlines()


def test_no_password_of_a_url_is_told(tmp_path):
    with pytest.raises(SettingsFault) as fault:
        read_settings(written(tmp_path, '[ledger]\nurl = "mysql://user:secret@db/cmdiff"\n'), {})
    assert "secret" not in str(fault.value)


@pytest.mark.parametrize("text", ["[destinations]\nname = 'pacs'", "destinations = ['pacs']"])
def test_destinations_written_otherwise_are_a_fault_that_names_them(tmp_path, text):
    with pytest.raises(SettingsFault, match="destinations"):
        read_settings(written(tmp_path, text), {})


def test_a_path_may_begin_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = read_settings(written(tmp_path, 'state = "~/state"\n[segment]\nweights = "~/w.pt"\n'), {})
    assert (settings.state, settings.segment.weights_path) == (tmp_path / "state", tmp_path / "w.pt")


def test_a_fault_of_the_environment_names_its_variable(tmp_path):
    path = written(tmp_path, "[listen]\nport = 99999\n")
    variables = {
        "CMDIFF_SPOOL__KEEP_DAYS": "soon", "CMDIFF_LISTN__PORT": "104", "CMDIFF_SPOOL__FOLDR": "/", "CMDIFF_LISTEN_PORT": "104",
        "CMDIFF_DESTINATIONS__0__PORT": "104", "CMDIFF_TEST_DATA": "/data", "CMDIFF_WORKER_FAMILY": "f00d",
        "CMDIFF_QUEUE_URL": "tcp://10.0.0.1:6379",
    }  # fmt: skip
    with pytest.raises(SettingsFault) as fault:
        read_settings(path, variables)
    told = str(fault.value).splitlines()
    beginnings = [
        "CMDIFF_SPOOL__KEEP_DAYS: spool.keep_days:", "CMDIFF_LISTN__PORT: listn:", "CMDIFF_SPOOL__FOLDR: spool.foldr:",
        "CMDIFF_LISTEN_PORT: sets nothing; CMDIFF_LISTEN__PORT perhaps", "CMDIFF_DESTINATIONS__0__PORT: destinations", f"{path}: listen.port:",
    ]  # fmt: skip
    assert all(any(line.startswith(beginning) for line in told) for beginning in beginnings)
    assert len(told) == len(beginnings) + 1


def test_a_destination_without_address_is_a_fault(tmp_path):
    path = written(tmp_path, '[[destinations]]\nname = "pacs"\nae_title = "PACS"\n')
    with pytest.raises(SettingsFault, match="needs ae_title, host and port"):
        read_settings(path, {})


def test_an_ae_title_of_seventeen_characters_is_a_fault(tmp_path):
    with pytest.raises(SettingsFault, match="1 to 16"):
        read_settings(written(tmp_path, '[listen]\nae_title = "ABCDEFGHIJKLMNOPQ"\n'), {})


def test_a_missing_file_is_a_fault_that_names_it(tmp_path):
    with pytest.raises(SettingsFault, match=r"nowhere\.toml"):
        read_settings(tmp_path / "nowhere.toml", {})


def test_a_file_that_is_no_toml_is_a_fault(tmp_path):
    with pytest.raises(SettingsFault, match="is not TOML"):
        read_settings(written(tmp_path, "listen: {port: 104}"), {})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('calling_ae_titles = ["SCANNER", "ABCDEFGHIJKLMNOPQ"]', "1 to 16"),
        ('only_sop_classes = ["MR Image Storage"]', "listen.only_sop_classes.0: wanted the UID of a SOP class"),
    ],
)
def test_callers_and_classes_that_nobody_could_have_are_faults(tmp_path, line, words):
    with pytest.raises(SettingsFault, match=words):
        read_settings(written(tmp_path, f"[listen]\n{line}\n"), {})


def test_a_section_that_is_none_is_a_fault_also_where_the_environment_names_one_of_its_keys(tmp_path):
    with pytest.raises(SettingsFault, match="listen"):
        read_settings(written(tmp_path, "listen = 3\n"), {"CMDIFF_LISTEN__PORT": "104"})


def test_a_file_may_begin_with_the_mark_that_editors_on_windows_write(tmp_path):
    assert read_settings(written(tmp_path, "\ufeff[listen]\nport = 104\n"), {}).listen.port == 104
