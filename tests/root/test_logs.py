"""A log line holds allow-listed fields and nothing that a foreign library said."""

from __future__ import annotations

import json

from cmdiff_dicom.logs import log, place


def test_a_log_line_drops_fields_that_are_not_allowed(capsys):
    log("store", count=12, patient_name="MARKER")
    line = json.loads(capsys.readouterr().err)
    assert line["count"] == 12
    assert "MARKER" not in json.dumps(line)


def test_a_foreign_exception_is_told_by_type_and_place_only():
    try:
        raise KeyError("MARKER^NAME")
    except KeyError as error:
        told = place(error)
    assert "KeyError" in told
    assert "test_logs.py" in told
    assert "MARKER" not in told
