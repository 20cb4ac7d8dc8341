"""What `cmdiff-dicom jobs` shows the administrator: tables for people, JSON for programs.

The only place that prints Study Instance UIDs and accession numbers, because they are what an administrator asks by.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from datetime import datetime
from enum import Enum
from typing import Any

from cmdiff_dicom.errors import Broken
from cmdiff_dicom.ledger import Delivery, DeliveryState, Job, JobState, Ledger, StudyActivity, open_ledger
from cmdiff_dicom.settings import Settings

COLOURS = {
    JobState.SEGMENTED: "green",
    JobState.NO_TUMOUR: "green",
    JobState.REFUSED: "yellow",
    JobState.FAILED: "red",
    JobState.SUPERSEDED: "dim",
    DeliveryState.COMMITTED: "green",
    DeliveryState.FAILED: "red",
}
SHOWN_DIGITS = 12


class NothingFound(Broken):
    """No job answers to what was asked for."""


def show_list(settings: Settings, query: str | None, limit: int, as_json: bool) -> int:
    """The newest jobs, and above them the studies that are still arriving."""
    ledger = _ledger_of(settings)
    jobs = ledger.jobs(query, limit)
    arriving = _arriving(ledger, query) if query else ledger.open_studies()
    if as_json:
        found = {"arriving": [asdict(study) for study in arriving], "jobs": [_with_deliveries(job, ledger) for job in jobs]}
        print(json.dumps(found, default=_plain, indent=2))
        return 0
    if not jobs and not arriving:
        print("No study has arrived yet." if query is None else f"Nothing is known of {query}.")
        return 0
    if arriving:
        _print_arriving(arriving)
    if jobs:
        _print_jobs(jobs, ledger)
    if len(jobs) == limit:
        print(f"The newest {limit}; --limit shows more, and a Study Instance UID or accession number those of one study.")
    return 0


def show_one(settings: Settings, query: str, as_json: bool) -> int:
    """Everything about one study: its revisions with reason and evidence, their deliveries, its history."""
    ledger = _ledger_of(settings)
    arriving = _arriving(ledger, query)
    jobs = ledger.jobs(query) if arriving else _found(ledger, query)
    histories = {study_uid: ledger.events(study_uid) for study_uid in dict.fromkeys(job.study_uid for job in jobs)}
    if as_json:
        found = [_with_deliveries(job, ledger) | {"history": [asdict(e) for e in histories[job.study_uid]]} for job in jobs]
        open_ = [asdict(study) | {"why": _why_it_waits(study, ledger, settings)} for study in arriving]
        print(json.dumps({"arriving": open_, "jobs": found}, default=_plain, indent=2))
        return 0
    console = _console()
    if arriving:
        _print_arriving(arriving)
    for study in arriving:
        console.print(f"  {study.study_uid}: {_why_it_waits(study, ledger, settings)}", markup=False)
    for job in jobs:
        _print_job(console, job, ledger.deliveries(job.key))
    for study_uid, events in histories.items():
        console.print(f"\n[bold]History[/bold] of {study_uid}")
        for event in events:
            line = f"  {_when(event.at)}  {event.key[:SHOWN_DIGITS]:{SHOWN_DIGITS}}  {event.what}  {event.detail}"
            console.print(line, markup=False)
    return 0


def retry(settings: Settings, query: str, as_json: bool) -> int:
    """The newest job of each study that was asked for waits again; 1 where there is nothing to retry."""
    ledger = _ledger_of(settings)
    newest = {job.study_uid: job for job in sorted(_found(ledger, query), key=lambda job: job.revision)}
    destinations = tuple(destination.name for destination in settings.destinations)
    retried = {job.key: ledger.retry(job.key, destinations) for job in newest.values()}
    if as_json:
        print(json.dumps([{"key": key, "retried": done} for key, done in retried.items()]))
        return 0 if any(retried.values()) else 1
    for job in newest.values():
        told = "waits again; a worker takes it within seconds." if retried[job.key] else _why_not_retried(job, ledger)
        print(job.key[:SHOWN_DIGITS], told)
    return 0 if any(retried.values()) else 1


def _why_not_retried(job: Job, ledger: Ledger) -> str:
    """Why a job cannot be retried, and what can be done instead."""
    if ledger.newest_key(job.study_uid) != job.key:
        return "is no longer its study's newest revision; retry that: `cmdiff-dicom jobs show` with the study names it."
    if job.state in (JobState.FAILED, JobState.REFUSED):
        return f"is {job.state.value}, and its study's pixels are purged: have the study sent again, then retry."
    return f"is {job.state.value}: nothing of it has failed or was refused, so nothing to retry."


def _ledger_of(settings: Settings) -> Ledger:
    """The ledger, where there is one. Who only looks makes none: it would be his, and the service could not write it."""
    if not settings.has_ledger:
        raise NothingFound(
            f"no ledger in {settings.state}: the first `cmdiff-dicom run` or `listen` makes it. "
            "If one runs already, name its settings file with --settings or CMDIFF_SETTINGS"
        )
    return open_ledger(settings.ledger_url)


def _found(ledger: Ledger, query: str) -> tuple[Job, ...]:
    jobs = ledger.jobs(query)
    if not jobs:
        raise NothingFound(
            f"no job of '{query}': wanted a Study Instance UID, an accession number or 8 digits or more of a job key; "
            "`cmdiff-dicom jobs list` shows them, and the studies that are still arriving"
        )
    return jobs


def _arriving(ledger: Ledger, query: str) -> tuple[StudyActivity, ...]:
    """The studies of this UID or accession number of which images have come that nobody has looked at yet."""
    return tuple(study for study in ledger.open_studies() if query in (study.study_uid, study.accession_number))


def _why_it_waits(study: StudyActivity, ledger: Ledger, settings: Settings) -> str:
    """What the dispatcher waits for: silence alone, or a needed sequence that is not there or has a fault."""
    from cmdiff_dicom.assemble import choose_stacks

    limits = settings.dispatch
    choice = choose_stacks(ledger.instances(study.study_uid), limits.min_slices)
    missing = ", ".join(sequence.value for sequence in choice.missing(limits.needed_sequences))
    if not missing:
        return f"waits until it was quiet for {limits.quiet_s:g} s"
    faults = "; ".join(f"{stack.sequence.value}: {stack.fault}" for stack in choice.others if stack.sequence and stack.fault)
    told = f"waits for {missing}, for {limits.give_up_s:g} s after the last image"
    return f"{told} ({faults})" if faults else told


def _print_arriving(studies: tuple[StudyActivity, ...]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Arriving, or waiting to be quiet", title_justify="left")
    for heading in ("accession number", "study", "received", "first", "last"):
        table.add_column(heading, overflow="fold")
    for study in studies:
        came = (_when(study.first_arrival), _when(study.last_arrival))
        table.add_row(escape(study.accession_number), escape(study.study_uid), str(study.arrivals), *came)
    _console().print(table)


def _print_jobs(jobs: tuple[Job, ...], ledger: Ledger) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Jobs", title_justify="left", show_lines=True)
    for heading in ("key", "accession number", "study", "rev", "state", "reason", "deliveries", "since"):
        table.add_column(heading, overflow="fold")
    for job in jobs:
        sent = "\n".join(f"{delivery.destination}: {_delivery_word(delivery)}" for delivery in ledger.deliveries(job.key))
        table.add_row(
            job.key[:SHOWN_DIGITS], escape(job.accession_number), job.study_uid, str(job.revision),
            _coloured(job.state), escape(job.reason), escape(sent), _when(job.updated_at),
        )  # fmt: skip
    _console().print(table)


def _print_job(console: Any, job: Job, deliveries: tuple[Delivery, ...]) -> None:
    from rich.markup import escape

    console.print(f"\n[bold]{job.key[:SHOWN_DIGITS]}[/bold]  revision {job.revision}  {_coloured(job.state)}")
    lines = {
        "study": job.study_uid,
        "accession number": job.accession_number,
        "reason": job.reason,
        "evidence": job.evidence,
        "volumes": ", ".join(f"{name} {ml:.1f} ml" for name, ml in job.volumes_ml.items()),
        "tried": f"{job.attempts} times put off, {job.lost_leases} leases lost" if job.attempts or job.lost_leases else "",
        "settled": _when(job.created_at),
        "changed": _when(job.updated_at),
        "SEG": job.sop_uid,
    }
    for name, value in lines.items():
        if value:
            console.print(f"  {name:17} {escape(value)}")
    if job.state is JobState.SEGMENTED and not deliveries:
        console.print(f"  {'delivery':17} none: the settings named no destination; once they do, `jobs retry` sends the result")
    for delivery in deliveries:
        status = "" if delivery.status is None else f"status 0x{delivery.status:04X}"
        words = "; ".join(part for part in (_delivery_word(delivery), status, delivery.reason) if part)
        console.print(f"  {'delivery':17} {escape(delivery.destination)}: {escape(words)}")


def _delivery_word(delivery: Delivery) -> str:
    """The state in a word or two: what is stored with a warning says so, and so does what nobody has committed to."""
    if delivery.state is not DeliveryState.SENT:
        return str(delivery.state.value)
    warning = " with a warning" if delivery.status else ""
    if not delivery.final:
        return f"sent{warning}, commitment awaited"
    return f"sent{warning}, not committed" if delivery.reason else f"sent{warning}"


def _with_deliveries(job: Job, ledger: Ledger) -> dict[str, Any]:
    shown = {name: value for name, value in asdict(job).items() if name not in {"plan", "owner"}}
    return shown | {"deliveries": [asdict(delivery) for delivery in ledger.deliveries(job.key)]}


def _coloured(state: JobState) -> str:
    colour = COLOURS.get(state)
    return f"[{colour}]{state.value}[/{colour}]" if colour else state.value


def _console() -> Any:
    from rich.console import Console

    # Where no person looks, nothing is folded to 80 columns, so that `grep` finds a whole UID.
    return Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 250)


def _when(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _plain(value: object) -> str:
    return str(value.value if isinstance(value, Enum) else value)
