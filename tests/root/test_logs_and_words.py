"""What may be said: allow-listed fields, and known words."""

from __future__ import annotations

import json

from cmdiff_dicom.logs import log, place
from cmdiff_dicom.words import known_words


def test_a_log_line_drops_fields_that_are_not_allowed(capsys):
    log("store", bytes=12, patient_name="MARKER")
    line = json.loads(capsys.readouterr().err)
    assert line["bytes"] == 12
    assert "MARKER" not in json.dumps(line)


def test_a_foreign_exception_is_told_by_type_and_place_only():
    try:
        raise KeyError("MARKER^NAME")
    except KeyError as error:
        told = place(error)
    assert "KeyError" in told
    assert "test_logs_and_words.py" in told
    assert "MARKER" not in told


def test_a_description_is_reduced_to_the_words_of_physics():
    assert known_words("AX T1 +C SE for Mr. MARKER") >= {"AX", "T1", "+C", "SE"}
    assert "MARKER" not in known_words("AX T1 +C SE for Mr. MARKER")


def test_words_are_found_where_scanners_glue_them():
    assert {"FLAIR", "3D"} <= known_words("t2_space_FLAIR_3D_sag")
    assert "T1" in known_words("t1_mprage_tra_iso")
    assert "T2STAR" in known_words("AX T2* GRE")
