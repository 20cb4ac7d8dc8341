"""Of a free text only the words of physics are kept, wherever people and scanners put them."""

from __future__ import annotations

import pytest

from cmdiff_dicom.words import known_words, names_contrast_agent


def test_a_description_is_reduced_to_the_words_of_physics():
    assert known_words("AX T1 +C SE for Mr. MARKER") >= {"AX", "T1", "+C", "SE"}
    assert "MARKER" not in known_words("AX T1 +C SE for Mr. MARKER")


def test_words_are_found_where_scanners_glue_them():
    assert {"FLAIR", "3D"} <= known_words("t2_space_FLAIR_3D_sag")
    assert "T1" in known_words("t1_mprage_tra_iso")
    assert "T2STAR" in known_words("AX T2* GRE")


@pytest.mark.parametrize(
    ("description", "word"),
    [
        ("WIPMPRAGE2100SENSE", "MPRAGE"),
        ("T2W_FLAIR642.5nogapSENSE", "FLAIR"),
        ("t1sagknee", "KNEE"),
        ("AXT1POST", "POST"),
        ("AXT1POST", "T1"),
        ("t1+c", "+C"),
        ("SAG T1 +Gd", "GD"),
        ("T1c", "T1C"),
        ("t1 vor KM", "VOR"),
    ],
)
def test_words_are_found_where_people_run_them_together(description, word):
    assert word in known_words(description)


@pytest.mark.parametrize("description", ["TEST1", "part2", "Mr. Post-Op", "T1 postop", "t1 pre op"])
def test_what_only_looks_like_a_word_is_none(description):
    assert not known_words(description) & {"T2", "POST", "PRE", "GD"}
    assert "T1" not in known_words("TEST1")


@pytest.mark.parametrize("text", ["Gadovist 7.5 ml", "GADOLINIUM", "7.5", "102000", "YES", "Novagad"])
def test_an_agent_its_volume_or_its_time_says_that_something_was_given(text):
    assert names_contrast_agent(text)


@pytest.mark.parametrize("text", ["", " ", "NONE", "no", ".", "0", "0.0", "0 ml", "N/A", "without contrast", "NO CONTRAST GIVEN", "none given", "NON", "kein KM", "sin contraste"])
def test_words_for_nothing_are_no_agent(text):
    assert not names_contrast_agent(text)
