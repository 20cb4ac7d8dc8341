"""A received instance survives its way into a row and back."""

import json
from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from cmdiff_dicom.ledger.headers import instance_of, row_of
from cmdiff_dicom.records import Acquisition, Blob, ReceivedInstance
from tests.support.ledgers import NOON, instance

numbers = st.floats(allow_nan=False)
texts = st.text()
words = st.lists(texts, max_size=3).map(tuple)
acquisitions = st.builds(
    Acquisition,
    scanning_sequence=words,
    sequence_variant=words,
    scan_options=words,
    sequence_name=texts,
    acquisition_type=texts,
    repetition_time_ms=st.none() | numbers,
    echo_time_ms=st.none() | numbers,
    image_type=words,
    contrast_agent=st.booleans(),
    angio=st.booleans(),
    diffusion_b_value=st.none() | numbers,
    words=st.frozensets(texts, max_size=3),
    acquisition_number=st.none() | st.integers(),
    acquisition_day=st.none() | st.integers(),
    acquisition_time=texts,
)
received = st.builds(
    ReceivedInstance,
    study_uid=texts,
    series_uid=texts,
    sop_uid=texts,
    sop_class_uid=texts,
    transfer_syntax_uid=texts,
    blob=st.builds(Blob, texts, st.integers(0)),
    received_at=st.just(NOON),
    calling_ae=texts,
    rows=st.integers(0, 65535),
    number_of_frames=st.integers(0),
    orientation=st.just(()) | st.tuples(*[numbers] * 6),
    position_mm=st.just(()) | st.tuples(*[numbers] * 3),
    acquisition=acquisitions,
)


@given(received)
def test_an_instance_comes_back_as_it_was(one):
    assert instance_of(row_of(one)) == one


def test_what_only_an_older_version_recorded_is_passed_over():
    row = row_of(instance())
    header = json.loads(row["header"])
    header |= {"instance_number": 7, "acquisition": {**header["acquisition"], "field_strength_t": 3.0}}
    assert instance_of({**row, "header": json.dumps(header)}) == instance()


def test_what_the_header_is_silent_about_takes_no_room():
    silent = ReceivedInstance("1", "1.1", "1.1.1", "", "", Blob("", 0), NOON)
    assert row_of(silent)["header"] == "{}"


def test_every_field_of_an_instance_has_its_place():
    row = row_of(instance())
    kept = {*row, *json.loads(row["header"]), "blob"}
    silent = {"number_of_frames"}  # 1, as everybody supposes
    assert {field.name for field in fields(ReceivedInstance)} - silent <= kept
