"""Physics and Image Type decide, words only help; what cannot be told is named unknown."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmdiff_dicom.assemble.identify import recognise
from cmdiff_dicom.assemble.quirks import QUIRKS, without_quirks
from cmdiff_dicom.records import Acquisition, Sequence
from cmdiff_dicom.words import VOCABULARY, known_words

M = ("ORIGINAL", "PRIMARY", "M", "ND")
T1_SE = Acquisition(scanning_sequence=("SE",), acquisition_type="2D", repetition_time_ms=550, echo_time_ms=12, flip_angle_deg=90, image_type=M)
MPRAGE = Acquisition(
    scanning_sequence=("GR", "IR"), sequence_variant=("SK", "SP", "MP"), acquisition_type="3D", repetition_time_ms=2300,
    echo_time_ms=2.98, inversion_time_ms=900, flip_angle_deg=9, image_type=M,
)  # fmt: skip
BRAVO = replace(MPRAGE, scanning_sequence=("GR",), sequence_variant=("SS", "SP", "SK"), repetition_time_ms=8.2, inversion_time_ms=450)
T2 = Acquisition(
    scanning_sequence=("SE",), acquisition_type="2D", repetition_time_ms=5000, echo_time_ms=98, echo_train_length=17,
    flip_angle_deg=150, image_type=M,
)  # fmt: skip
FLAIR = replace(T2, scanning_sequence=("SE", "IR"), repetition_time_ms=9000, inversion_time_ms=2500)


def seen(acquisition, description="", **changes):
    return recognise(replace(acquisition, words=known_words(description), **changes)).sequence


def why(acquisition, description="", **changes):
    return recognise(replace(acquisition, words=known_words(description), **changes)).why


@pytest.mark.parametrize(
    ("acquisition", "sequence"),
    [
        (T1_SE, Sequence.T1N),
        (MPRAGE, Sequence.T1N),
        (BRAVO, Sequence.T1N),
        (T2, Sequence.T2W),
        (replace(T2, acquisition_type="3D", repetition_time_ms=3200, echo_time_ms=565, echo_train_length=314), Sequence.T2W),
        (FLAIR, Sequence.T2F),
        (replace(FLAIR, acquisition_type="3D", repetition_time_ms=5000, echo_time_ms=388, inversion_time_ms=1800), Sequence.T2F),
        (replace(FLAIR, scanning_sequence=("IR",), inversion_time_ms=None), Sequence.T2F),
        (replace(T1_SE, scanning_sequence=("SE", "IR"), repetition_time_ms=2500, inversion_time_ms=860), Sequence.T1N),
    ],
)
def test_physics_alone_is_enough(acquisition, sequence):
    assert recognise(acquisition).sequence is sequence


@pytest.mark.parametrize(
    ("acquisition", "kind"),
    [
        (replace(T2, scanning_sequence=("SE", "IR"), echo_time_ms=60, inversion_time_ms=150), "STIR"),
        (replace(T2, repetition_time_ms=2500, echo_time_ms=20), "PD"),
        (replace(BRAVO, acquisition_type="2D", repetition_time_ms=700, echo_time_ms=20, inversion_time_ms=None), "T2*"),
        (replace(MPRAGE, repetition_time_ms=5000, inversion_time_ms=700), "MP2RAGE"),
        (replace(MPRAGE, repetition_time_ms=3000, inversion_time_ms=409), "white matter nulled"),
        (replace(BRAVO, repetition_time_ms=24, flip_angle_deg=6, inversion_time_ms=None), "PD"),
        (replace(BRAVO, sequence_variant=("SS",), repetition_time_ms=6, flip_angle_deg=50, inversion_time_ms=None), "bSSFP"),
    ],
)
def test_other_contrasts_are_called_by_their_name(acquisition, kind):
    assert recognise(acquisition).sequence is None
    assert why(acquisition).startswith(kind)


@pytest.mark.parametrize("value", ["ADC", "MPR", "MIP", "PROJECTION IMAGE", "SUBTRACTION", "SCREEN SAVE", "DIFFUSION", "REFORMATTED", "LOCALIZER", "MOSAIC", "FAT", "F", "OPP_PHASE", "MAP"])
@pytest.mark.parametrize("acquisition", [T1_SE, T2, FLAIR])
def test_derived_images_and_screen_captures_never_serve(acquisition, value):
    assert seen(acquisition, image_type=("DERIVED", "PRIMARY", value)) is None
    assert seen(acquisition, image_type=("ORIGINAL", "PRIMARY", "M", value)) is None


def test_secondary_derivations_never_serve_and_corrected_originals_do():
    assert seen(T2, image_type=("DERIVED", "SECONDARY", "OTHER")) is None
    assert seen(T2, image_type=("DERIVED", "PRIMARY", "M", "DIS2D")) is Sequence.T2W


@pytest.mark.parametrize("description", ["localizer", "DWI b1000", "ep2d_diff", "TOF 3D", "SWI", "perfusion", "T2 STIR", "SAG T1 SUB", "MIP", "T2* map", "AAHead_Scout", "T1 subtracted", "t1_subtr"])
def test_words_for_other_purposes_keep_a_series_from_serving(description):
    assert seen(MPRAGE, description) is None
    assert seen(T2, description) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"scanning_sequence": ("SE", "EP")},
        {"sequence_name": "*ep2d_b1000"},
        {"diffusion_b_value": 1000.0},
        {"angio": True},
        {"body_part": "LSPINE"},
        {"body_part": "KNEE"},
    ],
)
def test_physics_and_body_parts_of_other_purposes_keep_a_series_from_serving(changes):
    assert seen(T2, **changes) is None


@pytest.mark.parametrize("part", ["HEAD", "BRAIN", "HEADNECK", "ORBIT", "", "KOPF", "UNKNOWN"])
def test_heads_and_unknown_body_parts_serve(part):
    assert seen(T2, body_part=part) is Sequence.T2W


def test_a_description_of_the_series_outweighs_the_body_part_which_is_often_that_of_the_whole_study():
    assert seen(T2, "AX T2 BRAIN", body_part="CSPINE") is Sequence.T2W
    assert seen(T2, "AX T2 NECK", body_part="HEAD") is None
    assert seen(T2, "AX T2 HEAD/NECK") is Sequence.T2W


def test_a_b_value_of_zero_is_no_diffusion():
    assert seen(T2, diffusion_b_value=0.0) is Sequence.T2W


def test_physics_outranks_the_description_and_the_contradiction_is_said():
    assert seen(T1_SE, "AX T2") is Sequence.T1N
    assert "contradicts the description, which says T2" in why(T1_SE, "AX T2")


def test_without_times_a_description_needs_a_second_piece_of_evidence():
    silent = replace(T1_SE, repetition_time_ms=None, echo_time_ms=None)
    assert seen(silent, "AX T2") is None
    assert why(silent, "AX T2").startswith("unknown")
    assert seen(silent, "AX T2", image_type=("ORIGINAL", "PRIMARY", "T2", "NONE")) is Sequence.T2W
    assert seen(replace(MPRAGE, repetition_time_ms=None, echo_time_ms=None), "t1 mprage") is Sequence.T1N
    assert seen(replace(FLAIR, repetition_time_ms=None, echo_time_ms=None), "T2 FLAIR") is Sequence.T2F


@pytest.mark.parametrize("description", ["", "brain", "AX"])
def test_without_times_and_words_a_series_is_unknown(description):
    assert why(Acquisition(), description).startswith("unknown")


def test_a_flair_whose_inversion_time_is_not_given_needs_its_description():
    silent = replace(T2, repetition_time_ms=8000, echo_time_ms=125)
    assert seen(silent, "FLAIR_longTR") is Sequence.T2F
    assert seen(silent, "T2W_TSE") is Sequence.T2W


def test_a_wait_of_ten_seconds_is_t2_only_where_something_says_so():
    waiting = replace(T2, repetition_time_ms=11000)
    assert seen(waiting) is None
    assert seen(waiting, "ax t2") is Sequence.T2W
    assert seen(waiting, "ax t2 flair") is Sequence.T2F


def test_dark_fluid_with_a_short_echo_is_a_t1():
    tirm = replace(FLAIR, repetition_time_ms=4100, echo_time_ms=8.5, inversion_time_ms=1600)
    assert seen(tirm, "t1_tirm_tra_dark-fluid") is Sequence.T1N


@pytest.mark.parametrize("description", ["T1 GD", "t1_mprage +C", "T1 C+", "AX T1 POST", "T1 CE", "t1 tra KM", "T1c", "T1 GAD", "AX T1 W CONTRAST", "T1 Dotarem", "T1 con contraste", "T1 POSTCON", "T1 GADOLINIUM", "T1 contrast-enhanced", "t1 pós contraste", "T1 após injeção +C", "T1 après injection", "T1 na contrast", "T1 po kontraście", "T1WI增强", "T1 造影後", "Ｔ１＋Ｃ", "Т1 с контрастом", "Т1 +КУ", "ceT1w", "GdT1", "t1 med kontr", "T1 po KL", "T1 +K", "T1 kontrastlı", "T1 gadobutrol", "T1 con contrasto", "T1 enhanced"])
def test_a_description_after_contrast_makes_a_t1c(description):
    assert seen(T1_SE, description) is Sequence.T1C


@pytest.mark.parametrize("description", ["T1 PRE GAD", "T1 W/O GAD", "T1 without contrast", "T1 nativ", "T1 vor KM", "T1 sans gado", "T1 NO GAD", "T1 NON-CONTRAST", "T1 PRECON", "T1W WO CONTRAST", "T1 sem contraste", "T1 bez kontrastu", "T1 före kontrast", "T1 voor contrast", "T1平扫", "T1 造影前", "Т1 без контраста", "Т1 до КУ", "T1 o. KM", "T1 s/ contraste", "T1 s/mdc", "T1 u/ kontrast", "T1 kontrastsız", "T1 non-enhanced", "T1 before contrast", "T1 contrast-free"])
def test_a_description_before_contrast_makes_none(description):
    assert seen(T1_SE, description) is Sequence.T1N
    assert seen(T1_SE, description, contrast_agent=True) is Sequence.T1N
    assert "although an agent is given" in why(T1_SE, description, contrast_agent=True)


def test_an_agent_makes_a_t1c_of_a_t1_and_nothing_of_a_t2():
    assert seen(T1_SE, contrast_agent=True) is Sequence.T1C
    assert seen(T2, "T2 POST", contrast_agent=True) is Sequence.T2W
    assert seen(FLAIR, contrast_agent=True) is Sequence.T2F


def test_a_flow_compensated_gradient_echo_may_be_a_time_of_flight_unless_it_says_t1():
    slow = replace(BRAVO, repetition_time_ms=25, echo_time_ms=5, flip_angle_deg=20, inversion_time_ms=None, scan_options=("FC_SLICE_AX_GEMS",))
    assert seen(slow) is None
    assert seen(replace(slow, scan_options=(), sequence_name="*fi3d1r")) is None
    assert seen(replace(slow, scan_options=(), sequence_name="*fl3d1")) is Sequence.T1N
    assert seen(slow, "3D T1 SPGR") is Sequence.T1N
    assert seen(slow, "3D TOF COW") is None


def test_a_sagittal_2d_t2_may_be_a_spine_unless_it_says_head():
    assert seen(T2, "Sag T2") is None
    assert seen(T2, "Sag T2", body_part="BRAIN") is Sequence.T2W
    assert seen(T2, "Ax T2") is Sequence.T2W


@pytest.mark.parametrize("what", ["post-op", "POST OPERATIVE", "POST FOSSA", "post radiation", "POST TREATMENT", "W/WO", "PRE & POST", "with and without contrast", "PRE/POST GAD", "post RT", "nach OP", "après chirurgie", "-KM", "-GD"])
def test_an_operation_a_place_a_hyphen_and_both_at_once_say_nothing_about_an_agent(what):
    assert seen(T1_SE, f"AX T1 {what}") is Sequence.T1N
    assert seen(T1_SE, f"AX T1 {what}", contrast_agent=True) is Sequence.T1C


@pytest.mark.parametrize("what", ["POST W/O FS", "+C WITHOUT FATSAT", "post no fat sat"])
def test_what_is_without_fat_suppression_is_not_without_an_agent(what):
    assert seen(T1_SE, f"AX T1 {what}") is Sequence.T1C
    assert "fat suppressed" not in why(T1_SE, f"AX T1 {what}")


@pytest.mark.parametrize("description", ["t2_spc_dir3d_p2", "3D DIR"])
def test_a_double_inversion_is_no_flair_though_one_of_its_inversions_is(description):
    assert seen(FLAIR, description) is None


@given(
    st.builds(
        Acquisition,
        scanning_sequence=st.lists(st.sampled_from(["SE", "GR", "IR", "EP", "RM", ""])).map(tuple),
        sequence_variant=st.lists(st.sampled_from(["SP", "MP", "SS", "NONE", ""])).map(tuple),
        scan_options=st.lists(st.sampled_from(["IR", "FS", "FC", ""])).map(tuple),
        sequence_name=st.sampled_from(["", "*tfl3d1", "ep2d", "tir2d1"]),
        acquisition_type=st.sampled_from(["2D", "3D", "", "X"]),
        repetition_time_ms=st.none() | st.floats(0, 30000),
        echo_time_ms=st.none() | st.floats(0, 1000),
        inversion_time_ms=st.none() | st.floats(-1, 7000),
        echo_train_length=st.none() | st.floats(0, 400),
        flip_angle_deg=st.none() | st.floats(0, 360),
        image_type=st.lists(st.sampled_from(["ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY", "M", "T1", "MPR", "UNI", ""])).map(tuple),
        contrast_agent=st.booleans(),
        words=st.frozensets(st.sampled_from(sorted(VOCABULARY))),
        body_part=st.text(max_size=16),
    )
)
def test_no_header_whatever_raises_and_an_answer_always_has_a_reason(acquisition):
    found = recognise(acquisition)
    assert found.why
    assert found.sequence is None or found.why.startswith(f"{found.sequence.value}: ")


def test_fat_suppression_is_said():
    assert why(T1_SE, scan_options=("FS",)).endswith("fat suppressed")


def test_every_quirk_changes_what_it_meets_and_nothing_else():
    met = {
        QUIRKS[0].name: replace(T2, inversion_time_ms=0.0),
        QUIRKS[1].name: replace(MPRAGE, scanning_sequence=("RM", "IR")),
        QUIRKS[2].name: replace(T2, scanning_sequence=(), sequence_name="*epfid2d1_64"),
        QUIRKS[3].name: replace(FLAIR, scanning_sequence=("SE",), sequence_name="*spcir_278ns"),
        QUIRKS[4].name: replace(BRAVO, sequence_name="*fl3d1r_t70"),
    }
    for quirk in QUIRKS:
        assert without_quirks(met[quirk.name]) != met[quirk.name]
        assert quirk.evidence
    assert [without_quirks(plain) for plain in (T1_SE, MPRAGE, BRAVO, T2, FLAIR)] == [T1_SE, MPRAGE, BRAVO, T2, FLAIR]
