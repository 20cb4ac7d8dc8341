"""Redis lost, workers killed, the whole node killed: studies end all the same, once, and no process stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest

from cmdiff_dicom.dispatch import Dispatcher, Doorbell, EmbeddedRedis, Supervisor, make_ringing_app
from cmdiff_dicom.dispatch.children import start_child, stop_child
from cmdiff_dicom.ledger import JobState, open_ledger
from cmdiff_dicom.phantom.mri import StudyHeader, write_series
from cmdiff_dicom.phantom.pacs import DemoPacs
from cmdiff_dicom.phantom.study import write_study
from cmdiff_dicom.records import Sequence
from cmdiff_dicom.settings import Settings
from cmdiff_dicom.spool import Spool
from tests.support.dispatching import recognise_by_series
from tests.support.ledgers import settled
from tests.support.node import free_port
from tests.support.small_node import small_series
from tests.support.small_weights import write_small_weights
from tests.support.waiting import until

pytestmark = pytest.mark.slow
STUDY = StudyHeader.of_seed(11)


class Node:
    """The node's processes one by one, around a Redis that the test holds."""

    def __init__(self, stack: ExitStack, folder: Path, redis_url: str = "", **dispatch: object) -> None:
        self.folder, self.port = folder, free_port()
        self.pacs = stack.enter_context(DemoPacs(folder / "pacs", "PACS", routes_to=("CMDIFF", "127.0.0.1", self.port)))
        waits = {"quiet_s": 2.0, "give_up_s": 6.0, "tick_s": 0.25, "lease_s": 4.0} | dispatch
        self.settings_path = folder / "settings.toml"
        self.settings_path.write_text(
            f'state = "{folder / "state"}"\n[listen]\nhost = "127.0.0.1"\nport = {self.port}\n'
            f'[spool]\nlow_water_gb = 0\nfloor_gb = 0\n[segment]\nweights = "{write_small_weights(folder / "w.safetensors")}"\n'
            + (f'[queue]\nurl = "{redis_url}"\n' if redis_url else "")
            + "[dispatch]\n" + "".join(f"{name} = {value}\n" for name, value in waits.items())
            + f'[[destinations]]\nname = "PACS"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {self.pacs.port}\n'
        )
        self._stack, self._log = stack, stack.enter_context((folder / "log").open("wb"))

    @property
    def ledger(self):
        return open_ledger(f"sqlite:///{self.folder / 'state' / 'ledger.sqlite'}")

    def start(self, command: str) -> subprocess.Popen[bytes]:
        child = start_child(
            [sys.executable, "-m", "cmdiff_dicom.cli", command, "--settings", str(self.settings_path)], stdout=self._log, stderr=self._log
        )
        self._stack.callback(stop_child, child, 20)
        if command in ("listen", "run"):
            until(lambda: psutil.Process(child.pid).net_connections() or child.poll() is not None, what="listening")
        return child

    def write_small(self, *sequences: Sequence) -> Path:
        folder = self.folder / "-".join(sequence.name for sequence in sequences)
        for series in small_series(STUDY, sequences):
            write_series(series, folder / series[0].SeriesInstanceUID)
        return folder

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")


@contextmanager
def emptied(folder: Path):
    """A Redis on the socket of the one before it, with nothing in it."""
    for entry in (folder / "appendonlydir").iterdir():
        entry.unlink()
    with EmbeddedRedis(folder) as server:
        yield server


def family_of(pid: int, at_least: int = 1) -> list[psutil.Process]:
    """The process and all below it, once they are so many."""
    found = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return found if len(found) >= at_least else []


def are_gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def test_redis_stopped_in_mid_study_and_back_empty_loses_nothing(tmp_path):
    """Reception goes on with 0x0000, the study settles without Redis, and is done once there is one again."""
    with ExitStack() as stack:
        with EmbeddedRedis(tmp_path / "redis") as redis:
            node = Node(stack, tmp_path, redis.url)
            node.start("listen")
            node.start("worker")
            until(lambda: node.log().count("worker.ready") == 2, what="the workers' start")
            assert node.pacs.route(node.write_small(Sequence.T1N, Sequence.T1C)) == 20
        assert node.pacs.route(node.write_small(Sequence.T2W, Sequence.T2F)) == 20
        (job,) = until(node.ledger.jobs, what="settling")
        assert job.state is JobState.SETTLED
        with emptied(tmp_path / "redis"):
            until(lambda: node.ledger.job(job.key).state is not JobState.SETTLED, limit_s=60, what="the job's start")


def test_a_worker_killed_in_mid_job_is_replaced_and_one_result_arrives(tmp_path):
    with ExitStack() as stack:
        redis = stack.enter_context(EmbeddedRedis(tmp_path / "redis"))
        node = Node(stack, tmp_path, redis.url)
        node.start("listen")
        worker = node.start("worker")
        study = write_study(tmp_path / "study", 3, coarse=2.5)
        for sequence in (Sequence.T1C, Sequence.T2F):  # two are enough, and quicker
            node.pacs.route(study.series[sequence])
        (job,) = until(node.ledger.running_jobs, what="the job's start")
        os.kill(int(job.owner.split(":")[1]), signal.SIGKILL)
        until(lambda: node.ledger.job(job.key).lost_leases == 1, what="the lost lease")
        done = until(lambda: (found := node.ledger.job(job.key)).state.is_final and found, limit_s=400, what="the job's end")
        assert done.state is JobState.SEGMENTED, done.reason
        until(lambda: node.ledger.deliveries(job.key)[0].final, what="the delivery")
        assert [path.stem for path in node.pacs.stored("1.2.840.10008.5.1.4.1.1.66.4")] == [done.sop_uid]
        gone = family_of(worker.pid)
        stop_child(worker, 20)
        until(partial(are_gone, gone), limit_s=10, what="the end of all workers")


def test_a_study_that_kills_every_worker_is_set_aside_and_the_next_one_runs(tmp_path):
    deadly, harmless = "a" * 64, "b" * 64
    settings = Settings.model_validate({"state": tmp_path, "dispatch": {"lease_s": 1.0, "quiet_s": 0.1}})
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    ledger = open_ledger(url)
    for number, key in enumerate((deadly, harmless)):
        settled(ledger, key, f"9.{number}")
    with EmbeddedRedis(tmp_path / "redis") as redis:
        bell = Doorbell(make_ringing_app(redis.url))
        dispatcher = Dispatcher(ledger, Spool(tmp_path / "spool", 0, 0), bell, recognise_by_series, settings)
        script = Path(__file__).parent / "dying_worker.py"
        worker = start_child([sys.executable, str(script), url, redis.url, deadly], cwd=Path(__file__).parents[2])
        try:

            def both_ended():
                dispatcher.tick()
                return all(ledger.job(key).state.is_final for key in (deadly, harmless))

            until(both_ended, what="the end of both jobs")
        finally:
            stop_child(worker, 10)
    assert (ledger.job(deadly).state, ledger.job(deadly).reason) == (JobState.FAILED, "the worker died")
    assert ledger.job(harmless).state is JobState.NO_TUMOUR


def test_weights_that_kill_every_process_that_loads_them_end_the_job_and_not_the_workers_for_ever(tmp_path):
    settings = Settings.model_validate({"state": tmp_path, "dispatch": {"lease_s": 1.0, "quiet_s": 0.1}})
    ledger, key = open_ledger(settings.ledger_url), "a" * 64
    settled(ledger, key)
    with EmbeddedRedis(tmp_path / "redis") as redis:
        bell = Doorbell(make_ringing_app(redis.url))
        dispatcher = Dispatcher(ledger, Spool(settings.spool_folder, 0, 0), bell, recognise_by_series, settings)
        command = [sys.executable, str(Path(__file__).parent / "deadly_weights.py"), str(tmp_path), redis.url]
        worker = Supervisor({"segment": command}, options={"cwd": Path(__file__).parents[2]})
        try:

            def ended():
                assert worker.tick()
                dispatcher.tick()
                return ledger.job(key).state.is_final

            until(ended, limit_s=300, what="the job's end")
        finally:
            worker.stop(10)
    assert (ledger.job(key).state, ledger.job(key).reason) == (JobState.FAILED, "the worker died")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_run_leaves_no_process_behind_however_it_ends_and_starts_again(tmp_path, how):
    with ExitStack() as stack:
        node = Node(stack, tmp_path)
        for _ in range(2):
            parent = node.start("run")
            gone = until(partial(family_of, parent.pid, 6), what="all processes")  # Redis, two workers, their children
            parent.send_signal(how)
            try:
                parent.wait(150)
            except subprocess.TimeoutExpired:
                pytest.fail(f"it goes on: {node.log()[-2000:]}")
            until(partial(are_gone, gone), limit_s=30, what=f"the end of {gone}")
            assert parent.returncode == (-how if how == signal.SIGKILL else 0)


def test_a_listener_killed_while_a_study_arrives_has_all_that_it_acknowledged(tmp_path):
    with ExitStack() as stack:
        redis = stack.enter_context(EmbeddedRedis(tmp_path / "redis"))
        node = Node(stack, tmp_path, redis.url)
        listener = node.start("listen")
        acknowledged = node.pacs.route(node.write_small(Sequence.T1N, Sequence.T2F))
        listener.kill()
        listener.wait()
        assert len(node.ledger.instances(STUDY.study_uid)) == acknowledged == 20
        node.start("listen")
        node.pacs.route(node.write_small(Sequence.T1C, Sequence.T2W))
        (job,) = until(node.ledger.jobs, what="settling")
        assert sorted(job.plan["stacks"]) == ["FLAIR", "T1", "T1c", "T2"]
