"""229 real series' headers: none is called a wrong one of the four, and at least nine of ten are recognised."""

from __future__ import annotations

import csv
from collections import Counter

import pytest

from cmdiff_dicom.assemble.identify import recognise
from cmdiff_dicom.records import Acquisition
from cmdiff_dicom.words import known_words, names_contrast_agent

FOUR = ("T1", "T1c", "T2", "FLAIR")


def number(text: str) -> float | None:
    return float(text) if text else None


def values(text: str) -> tuple[str, ...]:
    return tuple(value.strip() for value in text.split("\\")) if text else ()


def acquisition_of(row: dict[str, str]) -> Acquisition:
    """What the listener keeps of such a header."""
    return Acquisition(
        scanning_sequence=values(row["ScanningSequence"]),
        sequence_variant=values(row["SequenceVariant"]),
        scan_options=values(row["ScanOptions"]),
        sequence_name=row["SequenceName"],
        acquisition_type=row["MRAcquisitionType"],
        repetition_time_ms=number(row["RepetitionTime_ms"]),
        echo_time_ms=number(row["EchoTime_ms"]),
        inversion_time_ms=number(row["InversionTime_ms"]),
        echo_train_length=number(row["EchoTrainLength"]),
        flip_angle_deg=number(row["FlipAngle"]),
        image_type=values(row["ImageType"]),
        contrast_agent=names_contrast_agent(row["ContrastBolusAgent"]),
        words=known_words(row["SeriesDescription"], row["ProtocolName"]),
        body_part=row["BodyPartExamined"],
    )


@pytest.fixture(scope="module")
def table(real_data) -> list[tuple[dict[str, str], str, str]]:
    """(row, what it was called or "-", why)."""
    with (real_data / "dicom_headers.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    seen = [recognise(acquisition_of(row)) for row in rows]
    return [(row, found.sequence.value if found.sequence else "-", found.why) for row, found in zip(rows, seen, strict=True)]


def test_no_real_header_is_called_a_wrong_one_of_the_four(table, capsys):
    counts = Counter((row["truth"], called) for row, called, _ in table)
    with capsys.disabled():
        print("\ntruth".ljust(31) + "".join(name.rjust(7) for name in (*FOUR, "-")))
        for truth in sorted({truth for truth, _ in counts}, key=lambda name: (name not in FOUR, name)):
            print(truth.ljust(30) + "".join(str(counts[truth, called] or "").rjust(7) for called in (*FOUR, "-")))
    assert len(table) == 229
    wrong = [(row["id"], row["truth"], called, why) for row, called, why in table if called not in ("-", row["truth"])]
    assert not wrong


@pytest.mark.parametrize(("truth", "share"), [("T1", 0.9), ("T2", 0.9), ("FLAIR", 0.9), ("T1c", 1.0)])
def test_real_headers_are_recognised(table, truth, share):
    called = [called == truth for row, called, _ in table if row["truth"] == truth]
    assert sum(called) >= share * len(called)


def test_why_is_always_said(table):
    assert all(why for _, _, why in table)


def test_physics_alone_recognises_most_and_is_never_wrong(real_data):
    """Without any description: nothing hangs on words."""
    with (real_data / "dicom_headers.csv").open(newline="", encoding="utf-8") as file:
        rows = [row | {"SeriesDescription": "", "ProtocolName": ""} for row in csv.DictReader(file)]
    wanted = [row for row in rows if row["truth"] in FOUR[:1] + FOUR[2:]]
    called = [recognise(acquisition_of(row)).sequence for row in wanted]
    assert not [row["id"] for row, seen in zip(wanted, called, strict=True) if seen and seen.value != row["truth"]]
    assert sum(seen is not None for seen in called) >= 0.85 * len(called)
