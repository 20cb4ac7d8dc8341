"""The parts of a node, made from its settings and joined: spool, ledger, dispatcher, listener, what the workers do.

The only place where rooms meet. They are imported inside the builders, so that a process loads only what it needs.
"""

from __future__ import annotations

import errno
import functools
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cmdiff_dicom import __version__
from cmdiff_dicom.errors import SettingsFault, TwoPatients
from cmdiff_dicom.ledger import Ledger, open_ledger
from cmdiff_dicom.logs import log, place
from cmdiff_dicom.records import ReceivedInstance
from cmdiff_dicom.settings import Settings
from cmdiff_dicom.spool import Spool

if TYPE_CHECKING:
    from cmdiff_dicom.deliver import Destination
    from cmdiff_dicom.dispatch import Dispatcher, Recognise
    from cmdiff_dicom.receive import Listener

N_EVENT_REPORT_OK = 0x0000
N_EVENT_REPORT_FAILURE = 0x0110
"""Processing failure (PS3.7 10.1.1.1.8): an unknown transaction, a report that says nothing, or a ledger that is away."""


def open_spool(settings: Settings) -> Spool:
    """The spool of the settings, its folders made."""
    return Spool(settings.spool_folder, settings.spool.low_water_bytes, settings.spool.floor_bytes)


def open_the_ledger(settings: Settings) -> Ledger:
    """The ledger of the settings; SQLite's folder is made."""
    if not settings.ledger.url:
        settings.state.mkdir(parents=True, exist_ok=True)
    return open_ledger(settings.ledger_url)


# --- listen and dispatch ------------------------------------------------------------------------


def recogniser(settings: Settings) -> Recognise:
    """What tells the dispatcher what a study holds, by `assemble` and the weights that workers will use."""
    from cmdiff_dicom.assemble import choose_stacks, job_key, plan_of
    from cmdiff_dicom.dispatch import Recognised
    from cmdiff_dicom.segment import weights_identity

    weights_sha256 = weights_identity(settings.segment.weights_path).weights_sha256

    def recognise(instances: tuple[ReceivedInstance, ...]) -> Recognised:
        choice = choose_stacks(instances, settings.dispatch.min_slices)
        return Recognised(
            key=job_key(choice, weights_sha256, __version__),
            plan=plan_of(choice),
            missing=tuple(sequence.value for sequence in choice.missing(settings.dispatch.needed_sequences)),
            refusal=choice.refusal.reason if choice.refusal else "",
            hopeless=isinstance(choice.refusal, TwoPatients),
        )

    return recognise


def build_dispatcher(settings: Settings, ledger: Ledger, spool: Spool) -> Dispatcher:
    """A dispatcher that rings through the Redis of the settings."""
    from cmdiff_dicom.dispatch import Dispatcher, Doorbell, make_ringing_app

    bell = Doorbell(make_ringing_app(settings.queue.url))
    return Dispatcher(ledger, spool, bell, recogniser(settings), settings)


def build_listener(settings: Settings, ledger: Ledger, spool: Spool) -> Listener:
    """A listener that serves already; rejects as congested while the spool is low or the ledger is away.

    `check` calls it under our own AE title, which therefore may always call, and is not told as the last caller. So may
    the destinations that we ask for storage commitment: most report it on an association of their own.
    """
    from cmdiff_dicom.receive import Intake, start_listener

    own, callers = settings.listen.ae_title, settings.listen.calling_ae_titles
    reporters = (destination.ae_title for destination in settings.destinations if destination.wants_commitment)
    listen = settings.listen.model_copy(update={"calling_ae_titles": (*callers, own, *reporters) if callers else ()})

    def note_association(calling_ae: str, peer: str) -> None:
        if calling_ae != own:
            ledger.note_association(calling_ae, peer)

    def may_accept() -> bool:
        ledger.check()  # where it is away this raises, which rejects too: better asked again later than each image refused
        return not spool.is_low()

    try:
        return start_listener(listen, Intake(spool, ledger), may_accept, report_taker(ledger), note_association)
    except OSError as error:
        raise SettingsFault(f"[listen] {listen.host}:{listen.port}: {error.strerror}; {_advice_on(error)}") from None


def _advice_on(error: OSError) -> str:
    """What to mend where the address of the settings cannot be listened on."""
    if error.errno == errno.EACCES:
        return "ports below 1024 need a right of their own; choose another port, or let this user bind it"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "host is no address of this machine; 0.0.0.0 is every one of them"
    return "another program has this port; choose another one, or see which program has it"


def report_taker(ledger: Ledger) -> Callable[[int, Any], int]:
    """Puts a storage commitment report into the ledger and answers the status to send back; raises nothing."""
    from cmdiff_dicom.deliver import read_report

    def take(event_type: int, information: Any) -> int:
        try:
            known = ledger.record_commitment(read_report(event_type, information))
        except Exception as error:
            log("commitment.report", state="failed", where=place(error))
            return N_EVENT_REPORT_FAILURE
        log("commitment.report", state="taken" if known else "unknown")
        return N_EVENT_REPORT_OK if known else N_EVENT_REPORT_FAILURE

    return take


# --- work ---------------------------------------------------------------------------------------


def segment_worker(settings: Settings, ledger: Ledger, spool: Spool) -> tuple[Callable[[str], None], Callable[[], Any]]:
    """What a segment worker does with a job key, and what loads its model before the first.

    Where loading killed a process of this host, a job loads instead: the ledger counts whom it kills, and ends the job.
    """
    from cmdiff_dicom.segment_job import SegmentWork, segment_job

    loading = settings.spool_folder / f"loading.{socket.gethostname()}"

    @functools.cache
    def segmenter() -> Any:
        from cmdiff_dicom.segment import load_segmenter

        with suppress(OSError):  # a full disk is no reason not to segment
            loading.touch()
        try:
            loaded = load_segmenter(settings.segment.weights_path, settings.segment.device, settings.segment.threads)
        finally:
            loading.unlink(missing_ok=True)
        log("segment.model", device=loaded.device_name, version=loaded.model.version)
        return loaded

    def load_at_start() -> None:
        if loading.exists():
            log("segment.model", state="a process died while it loaded; the next job loads")
        else:
            segmenter()

    work = SegmentWork(ledger, spool, settings, segmenter)
    return lambda key: segment_job(key, work), load_at_start


def deliver_worker(settings: Settings, ledger: Ledger, spool: Spool) -> tuple[Callable[[int], None], Callable[[int], None]]:
    """What a deliver worker does with a delivery's number: send it, and ask about it again."""
    from cmdiff_dicom.deliver_job import DeliverWork, commitment_job, deliver_job

    work = DeliverWork(ledger, spool, settings, destinations(settings, ledger))
    return lambda number: deliver_job(number, work), lambda number: commitment_job(number, work)


def destinations(settings: Settings, ledger: Ledger) -> Callable[[str], Destination | None]:
    """Opens a destination by its name in the settings; reports that come on our own associations go to the ledger."""
    from cmdiff_dicom.deliver import make_destination

    by_name = {destination.name: destination for destination in settings.destinations}

    @functools.cache
    def open_destination(name: str) -> Destination | None:
        found = by_name.get(name)
        if found is None:
            return None
        return make_destination(found, settings.deliver, settings.listen.ae_title, report_taker(ledger))

    return open_destination
