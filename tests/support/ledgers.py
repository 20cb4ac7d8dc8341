"""Received instances and jobs for tests of the ledger."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cmdiff_dicom.records import Acquisition, Blob, ReceivedInstance

STUDY = "1.2.826.0.1.3680043.8.498.1"
NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
KEY = "a" * 64
OTHER_KEY = "b" * 64


def instance(number=1, study=STUDY, series="1", content=None, accession="A17", seconds=0.0):
    """The `number`th slice of a series; `content` are its bytes, else bytes of its own."""
    stored = (content or f"{study} {series} {number}").encode()
    return ReceivedInstance(
        study_uid=study,
        series_uid=f"{study}.{series}",
        sop_uid=f"{study}.9.{number}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        blob=Blob(sha256(stored).hexdigest(), len(stored)),
        received_at=NOON + timedelta(seconds=seconds),
        calling_ae="SCANNER",
        accession_number=accession,
        patient_digest="d" * 64,
        modality="MR",
        frame_of_reference_uid=f"{study}.7",
        rows=256,
        columns=224,
        orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        position_mm=(-120.0, -110.5, float(number)),
        pixel_spacing_mm=(0.9, 0.9),
        acquisition=Acquisition(scanning_sequence=("GR", "IR"), echo_time_ms=3.1, words=frozenset({"T1", "MPRAGE"})),
    )


def number_of(one):
    """Which slice of its series an `instance` is."""
    return round(one.position_mm[2])


def settled(ledger, key=KEY, study=STUDY, number=1):
    """A job of a study that has one more instance."""
    ledger.record_instance(instance(number, study))
    return ledger.settle(study, ledger.study(study).arrivals, key, {"T1": [key[:4]]}, "quiet for 60 s")


def segmented(ledger, key=KEY, study=STUDY, number=1, destinations=("PACS",)):
    """A job with a result that waits to be delivered."""
    settled(ledger, key, study, number)
    ledger.claim(key, "worker")
    ledger.finish(key, "worker", "f" * 64, f"2.25.{key[0]}", "2.25.5", {"ET": 1.5}, destinations)
    return ledger.job(key)


def delivery(ledger, key=KEY):
    """The first delivery of a job."""
    return ledger.deliveries(key)[0]


def sent(ledger, transaction="2.25.100", **how):
    """A result that was sent and whose commitment was asked for."""
    segmented(ledger, **how)
    waiting = delivery(ledger, how.get("key", KEY))
    ledger.claim_delivery(waiting.id, "sender")
    ledger.mark_sent(waiting.id, "sender", 0, transaction, final=False)
    return ledger.delivery(waiting.id)
