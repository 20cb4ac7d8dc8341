"""The command line: teaches, tells faults in one message, and keeps its exit codes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cmdiff_dicom.cli import main
from cmdiff_dicom.ledger import open_ledger
from cmdiff_dicom.phantom.mri import StudyHeader, write_series
from cmdiff_dicom.records import Label, Sequence
from tests.support.ledgers import instance
from tests.support.received import received
from tests.support.small_node import FixedSegmenter, an_analysis, small_series
from tests.support.small_weights import write_small_weights

COMMANDS = ("run", "listen", "dispatch", "worker", "segment", "check", "explain", "demo", "train", "evaluate", "ablate")
VERBS = ("list", "show", "retry")
STUDY = StudyHeader.of_seed(5)


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    """Whatever the terminal that the tests run in, no sentence is wrapped."""
    monkeypatch.setenv("COLUMNS", "250")


def told(capsys, *arguments):
    """(exit status, stdout, stderr) of one command."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as ended:
        status = ended.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture
def settings_file(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text(f'state = "{tmp_path / "state"}"\n[spool]\nlow_water_gb = 0\nfloor_gb = 0\n')
    return path


@pytest.fixture
def ledger(settings_file, tmp_path):
    (tmp_path / "state").mkdir()
    return open_ledger(f"sqlite:///{tmp_path / 'state' / 'ledger.sqlite'}")


def a_job(ledger, study_uid="1.2.3", accession_number="ACC7", refusal=""):
    one = instance(study=study_uid, accession=accession_number)
    ledger.record_instance(one)
    return ledger.settle(study_uid, 1, one.blob.sha256, {}, "quiet for 60 s", refusal)


# --- help and faults ----------------------------------------------------------------------------


@pytest.mark.parametrize("command", [*COMMANDS, "jobs", *(f"jobs {verb}" for verb in VERBS)])
def test_every_command_teaches_by_an_example(capsys, command):
    status, out, _ = told(capsys, *command.split(), "--help")
    assert status == 0
    assert f"Example:\n  cmdiff-dicom {command}" in out


def test_the_first_help_names_every_command_and_the_exit_codes(capsys):
    status, out, _ = told(capsys, "--help")
    assert status == 0
    assert all(f"\n    {command}" in out for command in (*COMMANDS, "jobs"))
    assert "3 not analysed, 4 no tumour found" in out


@pytest.mark.parametrize("arguments", [["nonsense"], [], ["segment"], ["jobs"], ["jobs", "show"], ["worker", "--nonsense"], ["jobs", "list", "--limit", "0"]])
def test_a_wrong_command_line_is_2_and_shows_the_usage(capsys, arguments):
    status, _, err = told(capsys, *arguments)
    assert status == 2
    assert err.startswith("usage: cmdiff-dicom")


def test_all_faults_of_the_settings_are_told_at_once_and_without_a_traceback(capsys, tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_text('[listen]\nport = 99999\nae_title = "much too long for an AE title"\n[nonsense]\n')
    for command in ("check", "listen", "worker", "run", "dispatch"):
        status, _, err = told(capsys, command, "--settings", path)
        assert status == 1
        assert all(word in err for word in ("listen.port", "listen.ae_title", "nonsense"))
        assert "Traceback" not in err


def test_a_queue_that_is_none_is_told(capsys, settings_file):
    status, _, err = told(capsys, "worker", "--queues", "paint", "--settings", settings_file)
    assert (status, "segment or deliver" in err) == (1, True)


def test_a_worker_that_cannot_segment_says_so_before_it_starts_children(capsys, settings_file, monkeypatch):
    monkeypatch.setattr("cmdiff_dicom.services.why_no_torch", lambda: "torch is not installed")
    status, _, err = told(capsys, "worker", "--settings", settings_file)
    assert (status, err) == (1, "cmdiff-dicom: torch is not installed\n")


def test_a_ledger_of_no_kind_is_told(capsys, tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text(f'state = "{tmp_path}"\n[ledger]\nurl = "nonsense://x"\n')
    status, _, err = told(capsys, "worker", "--settings", path)
    assert (status, "ledger.url" in err) == (1, True)


def test_a_port_that_is_taken_is_told(capsys, settings_file, tmp_path):
    weights = write_small_weights(tmp_path / "w.safetensors")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        settings_file.write_text(settings_file.read_text() + f'[listen]\nhost = "127.0.0.1"\nport = {port}\n[segment]\nweights = "{weights}"\n')
        status, _, err = told(capsys, "listen", "--settings", settings_file)
    assert (status, f"127.0.0.1:{port}" in err) == (1, True)


def test_weights_that_are_not_there_stop_the_listener_at_its_start(capsys, settings_file):
    settings_file.write_text(settings_file.read_text() + '[segment]\nweights = "/nowhere/w.safetensors"\n')
    status, _, err = told(capsys, "listen", "--settings", settings_file)
    assert (status, "/nowhere/w.safetensors" in err) == (1, True)


@pytest.mark.parametrize(("missing", "command"), [("cmdiff_dicom.assemble", "explain"), ("cmdiff_dicom.research.evaluate", "evaluate")])
def test_a_missing_package_is_named_with_what_installs_it(capsys, monkeypatch, tmp_path, missing, command):
    monkeypatch.setitem(sys.modules, missing, None)
    status, _, err = told(capsys, command, tmp_path)
    assert (status, f"{missing} is needed: pip install" in err) == (1, True)


def test_a_folder_that_cannot_be_written_is_told(capsys, tmp_path):
    for series in small_series(STUDY, [Sequence.T1N]):
        write_series(series, tmp_path / "in")
    (tmp_path / "out").write_text("a file, not a folder")
    status, _, err = told(capsys, "segment", tmp_path / "in", "--output", tmp_path / "out")
    assert (status, str(tmp_path / "out") in err) == (1, True)


# --- folders ------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there_or_holds_no_dicom_is_told(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "letter.txt").write_text("Dear colleague")
    for name, words in (("none", "no such folder"), ("empty", "no DICOM"), ("texts", "no DICOM")):
        for command in (["explain"], ["segment", "--output", tmp_path / "out"]):
            status, _, err = told(capsys, *command, tmp_path / name)
            assert status == 1
            assert words in err
    assert not (tmp_path / "out").exists()


def test_two_studies_in_one_folder_are_told_and_explained_one_after_the_other(capsys, tmp_path):
    for seed in (1, 2):
        for series in small_series(StudyHeader.of_seed(seed), [Sequence.T2F]):
            write_series(series, tmp_path / "in" / str(seed))
    status, _, err = told(capsys, "segment", tmp_path / "in", "--output", tmp_path / "out")
    assert (status, "found 2 studies" in err) == (1, True)
    status, out, _ = told(capsys, "explain", tmp_path / "in")
    assert (status, out.count("FLAIR (reference)")) == (0, 2)


def test_a_study_that_cannot_be_analysed_ends_as_3_with_its_reason_and_a_summary(capsys, tmp_path):
    for series in small_series(STUDY, [Sequence.T1N]):
        write_series(series, tmp_path / "in")
    status, out, _ = told(capsys, "segment", tmp_path / "in", "--output", tmp_path / "out")
    assert status == 3
    assert "not analysed: NoUsableSequence" in out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["outcome"] == "not analysed" and summary["reason"].startswith("NoUsableSequence")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["summary.json"]


def test_two_patients_in_one_study_end_as_3(capsys, tmp_path):
    for series in small_series(STUDY, [Sequence.T2F]):
        write_series(series, tmp_path / "in" / "one")
    for series in small_series(STUDY, [Sequence.T2W], PatientID="ANOTHER"):
        write_series(series, tmp_path / "in" / "other")
    status, out, _ = told(capsys, "segment", tmp_path / "in", "--output", tmp_path / "out")
    assert status == 3
    assert "TwoPatients" in out and "ANOTHER" not in out


@pytest.fixture
def analysis(monkeypatch):
    """The analysis by a function of the test; a cube of each label unless told otherwise."""

    def replace_by(labels):
        monkeypatch.setattr("cmdiff_dicom.analyse.analyse", lambda volumes, reference, _: an_analysis(volumes, reference, labels))

    monkeypatch.setattr("cmdiff_dicom.segment.load_segmenter", lambda *_: FixedSegmenter())
    replace_by((Label.NCR, Label.ED, Label.ET))
    return replace_by


@pytest.mark.parametrize("place", ["out", "in/out", "in"])
def test_a_tumour_ends_as_0_and_the_same_folder_gives_the_same_bytes_again(capsys, tmp_path, analysis, place):
    for series in small_series(STUDY):
        write_series(series, tmp_path / "in")
    found = []
    for _ in range(2):
        status, out, _ = told(capsys, "segment", tmp_path / "in", "--output", tmp_path / place)
        assert (status, out.startswith("segmented\n  NCR: ")) == (0, True)
        found.append((tmp_path / place / "segmentation.dcm").read_bytes())
        for name in ("segmentation.dcm", "overlay.png", "summary.json"):
            os.utime(tmp_path / place / name, (2e9, 2e9))
    assert found[0] == found[1]
    assert json.loads((tmp_path / place / "summary.json").read_text())["outcome"] == "segmented"
    assert (tmp_path / place / "overlay.png").stat().st_size > 1000


def test_no_tumour_ends_as_4_and_takes_an_older_result_away(capsys, tmp_path, analysis):
    for series in small_series(STUDY):
        write_series(series, tmp_path / "in")
    assert told(capsys, "segment", tmp_path / "in", "--output", tmp_path / "out")[0] == 0
    analysis(())
    status, out, _ = told(capsys, "segment", tmp_path / "in", "--output", tmp_path / "out")
    assert (status, out.startswith("no tumour found\n")) == (4, True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["summary.json"]


def test_explain_says_what_serves_as_what_and_why_under_a_bare_locale(tmp_path):
    folder = tmp_path / "Kopf-ä-頭"
    for series in small_series(STUDY):
        write_series(series, folder / series[0].SeriesInstanceUID)
    (folder / "notes.txt").write_text("no DICOM")
    command = [sys.executable, "-m", "cmdiff_dicom.cli", "explain", str(folder)]
    environment = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
    explained = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[2], encoding="utf-8")
    assert explained.returncode == 0, explained.stderr
    assert all(name in explained.stdout for name in ("T1 ", "T1c (reference)", "T2 ", "FLAIR ", "1 file(s) not DICOM"))


# --- jobs ---------------------------------------------------------------------------------------


def test_without_a_study_the_list_says_so(capsys, settings_file, ledger):
    assert told(capsys, "jobs", "list", "--settings", settings_file)[:2] == (0, "No study has arrived yet.\n")


def test_who_only_looks_makes_no_ledger_and_is_told_whose_settings_to_name(capsys, settings_file, tmp_path):
    for words in (["list"], ["show", "ACC7"], ["retry", "ACC7"]):
        status, _, err = told(capsys, "jobs", *words, "--settings", settings_file)
        assert (status, f"no ledger in {tmp_path / 'state'}" in err, "--settings" in err) == (1, True, True)
    assert not (tmp_path / "state").exists()


def test_the_list_shows_study_accession_number_state_and_reason(capsys, settings_file, ledger):
    a_job(ledger)
    a_job(ledger, "4.5.6", "ACC8", refusal="NoUsableSequence: neither FLAIR nor T2")
    status, out, _ = told(capsys, "jobs", "list", "--settings", settings_file, "--json")
    found = {job["study_uid"]: job for job in json.loads(out)["jobs"]}
    assert status == 0
    assert (found["1.2.3"]["accession_number"], found["1.2.3"]["state"]) == ("ACC7", "settled")
    assert (found["4.5.6"]["state"], found["4.5.6"]["reason"]) == ("refused", "NoUsableSequence: neither FLAIR nor T2")
    _, table, _ = told(capsys, "jobs", "list", "--settings", settings_file)
    assert all(word in table for word in ("ACC7", "1.2.3", "ACC8", "settled", "refused"))


def test_a_list_that_ends_before_the_last_job_says_so(capsys, settings_file, ledger):
    for number in range(3):
        a_job(ledger, f"1.2.{number}")
    for limit, ends in ((2, True), (4, False)):
        _, out, _ = told(capsys, "jobs", "list", "--settings", settings_file, "--limit", limit)
        assert ("--limit shows more" in out) is ends


def test_a_study_that_is_still_arriving_is_listed_too(capsys, settings_file, ledger):
    ledger.record_instance(instance(study="7.7.7", accession="ACC9"))
    for words in (["list"], ["list", "ACC9"], ["show", "7.7.7"], ["show", "ACC9"]):
        status, out, _ = told(capsys, "jobs", *words, "--settings", settings_file)
        assert status == 0 and "7.7.7" in out and "ACC9" in out


def test_a_study_that_is_still_arriving_says_what_it_waits_for(capsys, settings_file, ledger):
    everything = received(*small_series(STUDY, [Sequence.T1N, Sequence.T1C, Sequence.T2F])).instances
    gap = next(n for n, one in enumerate(everything) if one.series_uid == everything[-1].series_uid) + 4

    def shown():
        return told(capsys, "jobs", "show", STUDY.study_uid, "--settings", settings_file)[1]

    for one in everything[:gap] + everything[gap + 1 :]:
        ledger.record_instance(one)
    assert "waits for T2, FLAIR, for 900 s after the last image (FLAIR: gap of 8.00 mm" in shown()
    for one in [everything[gap], *received(*small_series(STUDY, [Sequence.T2W])).instances]:
        ledger.record_instance(one)
    assert f"{STUDY.study_uid}: waits until it was quiet for 60 s\n" in shown()
    _, out, _ = told(capsys, "jobs", "show", STUDY.study_uid, "--settings", settings_file, "--json")
    assert json.loads(out)["arriving"][0]["why"] == "waits until it was quiet for 60 s"


@pytest.mark.parametrize("query", ["1.2.3", "ACC7", "key"])
def test_one_study_is_found_by_uid_accession_number_or_key(capsys, settings_file, ledger, query):
    job = a_job(ledger)
    status, out, _ = told(capsys, "jobs", "show", job.key[:8] if query == "key" else query, "--settings", settings_file)
    assert status == 0
    assert all(word in out for word in ("1.2.3", "ACC7", "quiet for 60 s", "History"))


def test_what_nobody_knows_is_told(capsys, settings_file, ledger):
    for verb in ("show", "retry"):
        status, _, err = told(capsys, "jobs", verb, "9.9", "--settings", settings_file)
        assert (status, "no job of '9.9'" in err) == (1, True)


def test_a_refused_job_is_retried_and_a_waiting_one_is_not(capsys, settings_file, ledger):
    job = a_job(ledger, refusal="NoUsableSequence: neither FLAIR nor T2")
    status, out, _ = told(capsys, "jobs", "retry", "ACC7", "--settings", settings_file)
    assert (status, "waits again" in out) == (0, True)
    assert ledger.job(job.key).state.value == "settled"
    assert told(capsys, "jobs", "retry", "ACC7", "--settings", settings_file)[0] == 1


def test_a_retry_that_cannot_be_says_what_can_be_done_instead(capsys, settings_file, ledger):
    refused = a_job(ledger, refusal="NoUsableSequence: nothing")
    ledger.forget_pixels("1.2.3", lambda _sha256: None)
    _, out, _ = told(capsys, "jobs", "retry", "ACC7", "--settings", settings_file)
    assert "purged: have the study sent again" in out
    ledger.record_instance(instance(2, "1.2.3"))
    assert ledger.settle("1.2.3", 2, "e" * 64, {}, "quiet for 60 s").revision == 2
    _, out, _ = told(capsys, "jobs", "retry", refused.key, "--settings", settings_file)
    assert "no longer its study's newest revision" in out


def test_a_result_without_a_destination_says_so_and_a_retry_sends_it_to_those_that_were_added(capsys, settings_file, ledger):
    job = a_job(ledger)
    ledger.claim(job.key, "worker")
    ledger.finish(job.key, "worker", "f" * 64, "2.25.1", "2.25.2", {}, ())
    assert "the settings named no destination" in told(capsys, "jobs", "show", "ACC7", "--settings", settings_file)[1]
    with settings_file.open("a") as file:
        file.write('\n[[destinations]]\nname = "PACS"\nae_title = "PACS"\nhost = "pacs"\n')
    assert told(capsys, "jobs", "retry", "ACC7", "--settings", settings_file)[0] == 0
    assert [delivery.destination for delivery in ledger.pending_deliveries()] == ["PACS"]


def test_every_study_of_an_accession_number_is_retried(capsys, settings_file, ledger):
    keys = [a_job(ledger, study_uid, "ACC7", refusal="NoUsableSequence: nothing").key for study_uid in ("1.1", "1.2")]
    _, out, _ = told(capsys, "jobs", "retry", "ACC7", "--settings", settings_file, "--json")
    assert {entry["key"]: entry["retried"] for entry in json.loads(out)} == dict.fromkeys(keys, True)


def test_a_result_that_nobody_committed_to_is_told_apart_from_one_that_nobody_asked_about(capsys, settings_file, ledger):
    job = a_job(ledger)
    ledger.claim(job.key, "worker")
    ledger.finish(job.key, "worker", "f" * 64, "2.25.1", "2.25.2", {}, ("PACS", "archive"))
    asked, not_asked = ledger.deliveries(job.key)
    for delivery in (asked, not_asked):
        ledger.claim_delivery(delivery.id, "sender")
    ledger.mark_sent(asked.id, "sender", 0, "2.25.9", final=False)
    ledger.without_commitment(asked.id, "no commitment report to 3 requests")
    ledger.mark_sent(not_asked.id, "sender", 0, None, final=True)
    _, shown, _ = told(capsys, "jobs", "show", "ACC7", "--settings", settings_file)
    assert "PACS: sent, not committed; status 0x0000; no commitment report to 3 requests\n" in shown
    assert "archive: sent; status 0x0000\n" in shown
    _, listed, _ = told(capsys, "jobs", "list", "--settings", settings_file)
    assert "sent, not committed" in listed


def test_names_with_brackets_are_shown_as_they_are(capsys, settings_file, ledger):
    a_job(ledger, accession_number="[red]A[/red]")
    ledger.record_instance(instance(study="4.5.6", accession="[b]B[/b]"))
    assert "[red]A[/red]" in told(capsys, "jobs", "show", "1.2.3", "--settings", settings_file)[1]
    assert "[b]B[/b]" in told(capsys, "jobs", "list", "--settings", settings_file)[1]
