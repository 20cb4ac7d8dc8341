"""What `cmdiff-dicom check` asks, and what it advises: one finding per question, OK, WARN or FAIL, and what to mend."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from cmdiff_dicom.errors import CmdiffError, DeliveryRefused
from cmdiff_dicom.logs import place, silence_libraries
from cmdiff_dicom.machine import missing_instructions
from cmdiff_dicom.settings import GIGABYTE, DestinationSettings, QueueSettings, Settings
from cmdiff_dicom.spool import blob_path

if TYPE_CHECKING:
    from cmdiff_dicom.deliver import Destination

Level = Literal["OK", "WARN", "FAIL"]
OUR_OWN = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared with, not bound
"""Where we are found from this machine if we listen everywhere."""
COLOURS = {"OK": "green", "WARN": "yellow", "FAIL": "red"}


@dataclass(frozen=True)
class Finding:
    """One answer: about what, how bad, what was found, and what to mend."""

    about: str
    level: Level
    found: str
    advice: str = ""


def check_everything(settings: Settings) -> tuple[Finding, ...]:
    """All findings, in the order in which a study travels. A question that stumbles is a finding too."""
    silence_libraries()
    questions: tuple[Callable[[Settings], Iterable[Finding]], ...] = (
        _settings, _listener, _last_caller, _spool, _ledger, _redis, _device, _weights, _destinations,
    )  # fmt: skip
    return tuple(finding for question in questions for finding in _asked(question, settings))


def which_file(file: Path | None) -> Finding:
    """Which settings hold: whoever forgot to name the file has the defaults."""
    if file is None:
        return Finding("settings file", "WARN", "none: every key has its default", "name it with --settings or CMDIFF_SETTINGS")
    return Finding("settings file", "OK", str(file))


def print_findings(findings: Sequence[Finding]) -> None:
    """A line for each finding and, under it, what to mend."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        console.print(Text(f"{finding.level:5}", COLOURS[finding.level]), Text(f"{finding.about}: {finding.found}"), sep="")
        if finding.advice:
            console.print(Text(f"     -> {finding.advice}"))


def _asked(question: Callable[[Settings], Iterable[Finding]], settings: Settings) -> Iterator[Finding]:
    about = question.__name__.strip("_").replace("_", " ")
    try:
        yield from question(settings)
    except CmdiffError as error:
        yield Finding(about, "FAIL", error.reason)
    except Exception as error:
        yield Finding(about, "FAIL", place(error), "this should not happen; please report it")


# --- ourselves ----------------------------------------------------------------------------------


def _settings(settings: Settings) -> Iterator[Finding]:
    yield Finding("settings", "OK", f"state folder {settings.state}")
    if not settings.destinations:
        yield Finding("destinations", "WARN", "none: results stay here", "add a [[destinations]] entry for the PACS")
    if settings.dispatch.give_up_s < settings.dispatch.quiet_s:
        yield Finding("settings", "WARN", "give_up_s is shorter than quiet_s", "wait at least as long for what is missing")
    if settings.spool.floor_gb > settings.spool.low_water_gb:
        yield Finding("settings", "WARN", "floor_gb is above low_water_gb", "reject senders before instances are refused")


def _listener(settings: Settings) -> Iterator[Finding]:
    """Our own listener answers C-ECHO on its configured address, or its port is free for it."""
    listen = settings.listen
    host = OUR_OWN.get(listen.host, listen.host)
    address = f"{listen.ae_title} at {listen.host}:{listen.port}"
    if _port_is_free(listen.host, listen.port):
        yield Finding("listener", "WARN", f"{address} does not run; the port is free", "start `cmdiff-dicom listen` or `run`")
        return
    ours = DestinationSettings(name="ourselves", ae_title=listen.ae_title, host=host, port=listen.port, commitment=False)
    try:
        _destination(settings, ours).check()
    except DeliveryRefused:  # it answers; `only_sop_classes` may well leave Segmentation out
        yield Finding("listener", "OK", f"{address} answers")
        return
    except CmdiffError as error:
        advice = "another program may have this port, or our listener has another AE title; change [listen] port or ae_title"
        yield Finding("listener", "FAIL", f"{address} is taken, and C-ECHO fails: {error}", advice)
        return
    yield Finding("listener", "OK", f"{address} answers C-ECHO")


def _last_caller(settings: Settings) -> Iterator[Finding]:
    from cmdiff_dicom.ledger import open_ledger

    last = open_ledger(settings.ledger_url).last_association() if settings.has_ledger else None
    if last is None:
        advice = f"let the PACS send a C-ECHO to {settings.listen.ae_title}; a firewall between may be closed"
        yield Finding("last caller", "WARN", "nobody ever called", advice)
    else:
        minutes = (datetime.now(UTC) - last.at).total_seconds() / 60
        yield Finding("last caller", "OK", f"{last.calling_ae} from {last.peer}, {minutes:.0f} minutes ago")


def _spool(settings: Settings) -> Iterator[Finding]:
    folder, limits = settings.spool_folder, settings.spool
    if not _is_writable(folder):
        yield Finding("spool", "FAIL", f"{folder} is not writable", "give it to the user that runs this, or set [spool] folder")
        return
    free_gb = shutil.disk_usage(_existing(folder)).free / GIGABYTE
    found = f"{folder}, {free_gb:.1f} GB free"
    if free_gb < limits.floor_gb:
        yield Finding("spool", "FAIL", f"{found}: C-STORE is refused below {limits.floor_gb:g} GB", "make room; lower floor_gb")
    elif free_gb < limits.low_water_gb:
        advice = "make room, or lower low_water_gb or keep_days"
        yield Finding("spool", "FAIL", f"{found}: senders are rejected below {limits.low_water_gb:g} GB", advice)
    else:
        yield Finding("spool", "OK", found)


def _ledger(settings: Settings) -> Iterator[Finding]:
    from cmdiff_dicom.ledger import network_file_system, open_ledger

    kind = network_file_system(settings.ledger_url)
    if kind:
        advice = "put SQLite on a disk of this machine, or use PostgreSQL: its locks do not hold there"
        yield Finding("ledger", "FAIL", f"SQLite on a network file system ({kind})", advice)
    elif not settings.ledger.url and not _is_writable(settings.state):
        yield Finding("ledger", "FAIL", f"{settings.state} is not writable", "give it to the user that runs this, or set state")
    elif not settings.has_ledger:
        yield Finding("ledger", "OK", "none yet; the first start makes it")
    else:
        ledger = open_ledger(settings.ledger_url)
        yield Finding("ledger", "OK", ledger.check())
        known = next(ledger.blobs(), None)
        if known is not None and not blob_path(settings.spool_folder, known.sha256).is_file():
            advice = "mount the spool that the listener writes to at this path, or set [spool] folder to it"
            yield Finding("spool", "FAIL", f"{settings.spool_folder} lacks what the ledger knows to be in the spool", advice)


def _redis(settings: Settings) -> Iterator[Finding]:
    """The Redis that was named, or that of `run`, answers. Who wrote no other address than the default may want `run`."""
    from cmdiff_dicom.dispatch import DELIVER_QUEUE, SEGMENT_QUEUE, Doorbell, make_ringing_app

    own, is_default = settings.state / "redis" / "redis.sock", settings.queue == QueueSettings()
    is_own = is_default and own.is_socket()
    url = f"redis+socket://{own.absolute()}?virtual_host=0" if is_own else settings.queue.url
    where = "that of `cmdiff-dicom run`" if is_own else _without_password(url)
    bell = Doorbell(make_ringing_app(url))
    try:
        waiting = {queue: bell.waiting(queue) for queue in (SEGMENT_QUEUE, DELIVER_QUEUE)}
    except CmdiffError as error:
        level: Level = "WARN" if is_default else "FAIL"
        advice = "start Redis or correct [queue] url; `cmdiff-dicom run` brings its own"
        yield Finding("Redis", level, f"{where}: {error}", advice)
        return
    if not bell.takes_messages():
        advice = "see its memory, its disk, and whether it is a replica"
        yield Finding("Redis", "FAIL", f"{where} answers, but takes no messages", advice)
        return
    counts = ", ".join(f"{queue} {count}" for queue, count in waiting.items())
    yield Finding("Redis", "OK", f"{where}, messages waiting: {counts}")


# --- what works ---------------------------------------------------------------------------------


def _device(settings: Settings) -> Iterator[Finding]:
    missing = missing_instructions()
    if missing:
        advice = "give the virtual machine the host's CPU model (cpu host-passthrough), or another machine"
        yield Finding("CPU", "FAIL", f"lacks {', '.join(missing)}: torch would die of an illegal instruction", advice)
        return
    yield Finding("CPU", "OK", "has the instructions that torch wants")
    if importlib.util.find_spec("torch") is None:
        yield Finding("device", "WARN", "torch is not installed: this host can receive and deliver only",
                      "pip install 'cmdiff-dicom[infer]' where studies are segmented")  # fmt: skip
        return
    from cmdiff_dicom.segment import load_segmenter

    segmenter = load_segmenter(settings.segment.weights_path, settings.segment.device)
    yield Finding("device", "OK", f"{segmenter.device_name} ([segment] device = {settings.segment.device})")


def _weights(settings: Settings) -> Iterator[Finding]:
    from cmdiff_dicom.segment import weights_identity

    model = weights_identity(settings.segment.weights_path)
    where = settings.segment.weights or "as shipped"
    yield Finding("weights", "OK", f"{model.name} {model.version}, sha256 {model.weights_sha256[:16]}..., {where}")


def _destinations(settings: Settings) -> Iterator[Finding]:
    """Every destination answers, takes Segmentation Storage, and offers storage commitment where it is wanted."""
    for destination in settings.destinations:
        about = f"destination {destination.name}"
        try:
            answer = _destination(settings, destination).check()
        except CmdiffError as error:
            admitted = ", or have our AE title and Segmentation Storage admitted there" if destination.kind == "dicom" else ""
            yield Finding(about, "FAIL", str(error), f"correct its entry in [[destinations]]{admitted}")
        else:
            yield Finding(about, "OK", answer)


# --- small questions ----------------------------------------------------------------------------


def _port_is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())


def _is_writable(folder: Path) -> bool:
    """True where a file can be made in the folder, or in the one in which it would be made."""
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)):
            return True
    except OSError:
        return False


def _destination(settings: Settings, peer: DestinationSettings) -> Destination:
    from cmdiff_dicom.deliver import make_destination

    return make_destination(peer, settings.deliver, settings.listen.ae_title, lambda _type, _information: 0x0110)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
