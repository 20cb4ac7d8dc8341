"""A log line holds allow-listed fields and nothing that a foreign library said."""

from __future__ import annotations

import json
import threading

from cmdiff_dicom.logs import log, place, silence_libraries


def test_a_log_line_drops_fields_that_are_not_allowed(capsys):
    log("store", count=12, patient_name="MARKER")
    line = json.loads(capsys.readouterr().err)
    assert line["count"] == 12
    assert "MARKER" not in json.dumps(line)


def test_a_library_thread_that_dies_is_told_in_one_line_without_its_text(capsys, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # as it was, at the end
    silence_libraries()
    thread = threading.Thread(target=lambda: {}["MARKER"])
    thread.start()
    thread.join()
    told = capsys.readouterr().err
    assert "KeyError at test_logs.py" in json.loads(told)["where"]
    assert "MARKER" not in told


def test_a_foreign_exception_is_told_by_type_and_place_only():
    try:
        raise KeyError("MARKER^NAME")
    except KeyError as error:
        told = place(error)
    assert "KeyError" in told
    assert "test_logs.py" in told
    assert "MARKER" not in told
