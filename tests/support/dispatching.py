"""A dispatcher on an in-memory ledger, with a clock that only the test moves and a bell that writes down who was rung."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cmdiff_dicom.dispatch import Dispatcher, Recognised
from cmdiff_dicom.errors import BrokerUnavailable
from cmdiff_dicom.ledger import Ledger, open_ledger
from cmdiff_dicom.records import Blob, ReceivedInstance
from cmdiff_dicom.settings import Settings
from cmdiff_dicom.spool import Spool

NEEDED = ("T1", "T1c", "T2", "FLAIR")
STUDY = "1.2.3"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class WrittenBell:
    """A bell that writes down what it rang; `works` and `is_empty` are for the test to set."""

    def __init__(self) -> None:
        self.rung: list[object] = []
        self.asked: list[int] = []
        self.works = True
        self.is_empty = False

    def ring(self, key: str) -> None:
        self._needs_redis()
        self.rung.append(key)

    def ring_delivery(self, delivery_id: int) -> None:
        self._needs_redis()
        self.rung.append(delivery_id)

    def ring_commitment(self, delivery_id: int) -> None:
        self._needs_redis()
        self.asked.append(delivery_id)

    def found_empty(self) -> bool:
        self._needs_redis()
        was_empty, self.is_empty = self.is_empty, False
        return was_empty

    def _needs_redis(self) -> None:
        if not self.works:
            raise BrokerUnavailable("no Redis")


def recognise_by_series(instances: tuple[ReceivedInstance, ...]) -> Recognised:
    """Series UIDs of the form "study.T1": eight instances make a sequence; two patients are refused for good."""
    series: dict[str, list[str]] = {}
    for instance in instances:
        series.setdefault(instance.series_uid.rpartition(".")[2], []).append(instance.blob.sha256)
    there = {name: sorted(digests) for name, digests in series.items() if name in NEEDED and len(digests) >= 8}
    two = len({instance.patient_digest for instance in instances}) > 1
    refusal = "TwoPatients: two" if two else "" if {"T2", "FLAIR"} & set(there) else "NoUsableSequence: neither FLAIR nor T2"
    study_uid = instances[0].study_uid if instances else ""
    key = hashlib.sha256(repr((study_uid, sorted(there.items()), refusal)).encode()).hexdigest()
    return Recognised(key, {"stacks": there}, tuple(n for n in NEEDED if n not in there), refusal, hopeless=two)


class Node:
    """Ledger, spool, bell and dispatcher of one test. `wait(s)` lets time pass in ticks of `tick_s`."""

    def __init__(self, folder: Path, **dispatch: object) -> None:
        self.clock, self.bell = Clock(), WrittenBell()
        self.settings = Settings.model_validate(
            {"state": folder, "dispatch": {"quiet_s": 60, "give_up_s": 900, **dispatch}, "spool": {"keep_days": 7}}
        )
        self.ledger: Ledger = open_ledger("sqlite://")
        self.spool = Spool(folder / "spool", 0, 0)
        self.wall = datetime.now(UTC)
        self.dispatcher = self.new_dispatcher()

    def new_dispatcher(self) -> Dispatcher:
        return Dispatcher(self.ledger, self.spool, self.bell, recognise_by_series, self.settings, self.clock)

    def receive(self, sequence: str, count: int = 8, study_uid: str = STUDY, patient: str = "p", first: int = 0) -> None:
        for number in range(first, first + count):
            content = f"{study_uid} {sequence} {number}".encode()
            blob = Blob(hashlib.sha256(content).hexdigest(), len(content))
            self.spool.path(blob.sha256).write_bytes(content)  # as `put` does, without waiting for the disk
            self.ledger.record_instance(
                ReceivedInstance(
                    study_uid, f"{study_uid}.{sequence}", f"{study_uid}.{sequence}.{number}", "1.2", "1.2.840.10008.1.2.1",
                    blob, self.wall, patient_digest=patient, accession_number="ACC1",
                )
            )  # fmt: skip

    def receive_all(self, study_uid: str = STUDY) -> None:
        for sequence in NEEDED:
            self.receive(sequence, study_uid=study_uid)

    def wait(self, seconds: float, tick_s: float = 2.0) -> None:
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now = min(end, self.clock.now + tick_s)
            self.wall += timedelta(seconds=tick_s)
            self.dispatcher.tick()

    def settled(self, study_uid: str = STUDY):
        """The study's only job, settled by the dispatcher."""
        self.receive_all(study_uid)
        self.wait(62)
        return self.ledger.jobs(study_uid)[0]

    def delivered(self, commitment: bool = True):
        """A delivery that is sent, and awaits a report where `commitment`."""
        job = self.settled()
        self.ledger.claim(job.key, "w")
        blob = self.spool.put(b"a SEG")
        self.ledger.finish(job.key, "w", blob.sha256, "1.9", "1.8", {"ET": 1.0}, ("pacs",))
        delivery = self.ledger.deliveries(job.key)[0]
        self.ledger.claim_delivery(delivery.id, "d")
        self.ledger.mark_sent(delivery.id, "d", 0, "2.25.1" if commitment else None, final=not commitment)
        return self.ledger.deliveries(job.key)[0]
