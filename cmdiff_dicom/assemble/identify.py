"""Which contrast a header describes: physics and Image Type first, words last, and the reason in words.

Times are ms, angles degrees. Bounds were set on the physics of spin and gradient echoes at 0.3 to 3 T and measured on
229 real headers. What cannot be told apart is named unknown: a wrong sequence is worse than a missing one.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import acos, degrees, exp

from cmdiff_dicom.assemble.exclusion import never_serves, says_head
from cmdiff_dicom.assemble.quirks import is_flow_compensated, without_quirks
from cmdiff_dicom.records import Acquisition, Sequence


@dataclass(frozen=True)
class Recognition:
    """`sequence` is None where the header is of none of the four, or does not say enough; `why` says which."""

    sequence: Sequence | None
    why: str


# --- physics -----------------------------------------------------------------------------------


def within(value: float | None, low: float, high: float) -> bool:
    """True where the value is given and low <= value <= high."""
    return value is not None and low <= value <= high


def technique(a: Acquisition) -> str:
    """Spin echo "SE" (with or without inversion), gradient echo "GR", or "" where the header does not tell."""
    if "SE" in a.scanning_sequence:
        return "SE"
    if "GR" in a.scanning_sequence:
        return "GR"
    if a.echo_time_ms is not None and a.echo_time_ms < 7:
        return "GR"  # no spin echo refocuses so early
    if within(a.repetition_time_ms, 0, 150) or within(a.flip_angle_deg, 0, 65):
        return "GR"
    if "IR" in a.scanning_sequence or within(a.echo_time_ms, 7, 1000):
        return "SE"
    return ""


def has_inversion(a: Acquisition) -> bool:
    return "IR" in a.scanning_sequence or "IR" in a.scan_options or a.inversion_time_ms is not None


def physics(a: Acquisition) -> tuple[str, str]:
    """What TR, TE, TI and flip angle make of the image: (contrast, reason).

    Contrast is "T1", "T2", "FLAIR", another name for what is none of the four, or "" where the header is silent or
    the numbers allow more than one.
    """
    if a.repetition_time_ms is None or a.echo_time_ms is None:
        return "", "TR or TE is missing"
    numbers = f"TR {a.repetition_time_ms:g}, TE {a.echo_time_ms:g}" + (
        f", TI {a.inversion_time_ms:g}" if a.inversion_time_ms else ""
    )
    contrast, remark = _gradient_echo(a) if technique(a) == "GR" else _spin_echo(a)
    return contrast, f"{numbers}: {remark}"


def _gradient_echo(a: Acquisition) -> tuple[str, str]:
    tr, te, ti, flip = a.repetition_time_ms or 0.0, a.echo_time_ms or 0.0, a.inversion_time_ms, a.flip_angle_deg
    if te > 10:
        return "T2*", "gradient echo with a long TE"
    if tr >= 1200:
        if tr > 3500 and not {"UNI"} & ({*a.image_type} | a.words):
            return "MP2RAGE", "one inversion of an MP2RAGE"
        if tr >= 2000 and within(ti, 300, 599):
            return "white matter nulled", "gradient echo after too short an inversion for a T1"
        if within(ti or 900, 300, 1350) and within(flip or 9, 1, 20):
            return "T1", "magnetisation-prepared gradient echo"
        return "", "gradient echo of another kind"
    if within(tr, 100, 349) and te <= 8 and within(flip or 80, 65, 100):
        return "T1", "2-D spoiled gradient echo"
    if tr < 5 or tr > 50:
        return "", "gradient echo of another kind"
    is_spoiled = "SP" in a.sequence_variant or "MP" in a.sequence_variant or ti is not None
    if a.acquisition_type == "2D" or not (a.acquisition_type == "3D" or is_spoiled):
        return "", "fast gradient echo, not known to be 3-D"
    if not is_spoiled and flip is not None and flip > 30:
        return "bSSFP", "balanced gradient echo"
    if is_flow_compensated(a) and tr >= 18 and ti is None:
        return "", "flow-compensated 3-D gradient echo: T1 or time of flight"
    if ti is None and "MP" not in a.sequence_variant and flip is not None and flip < 0.6 * _ernst_deg(tr):
        return "PD", "3-D gradient echo whose flip angle is small for its TR, as for a map of T1"
    return "T1", "3-D spoiled gradient echo"


def _ernst_deg(tr_ms: float) -> float:
    """The flip angle of most signal in white matter (T1 900 ms), about where T1 weighting begins: real T1 have .94 of it."""
    return degrees(acos(exp(-tr_ms / 900)))


def _spin_echo(a: Acquisition) -> tuple[str, str]:
    tr, te, ti = a.repetition_time_ms or 0.0, a.echo_time_ms or 0.0, a.inversion_time_ms
    if has_inversion(a):
        return _inversion_spin_echo(tr, te, ti)
    if te <= 30 and within(tr, 200, 1200):
        if te > 25 and not says_head(a):
            return "", "spin echo with a long TE for T1 and no body part"
        return "T1", "spin echo"
    if te < 70 and tr >= 1800:
        return "PD", "proton density"
    if te < 70 or tr < 1800:
        return "", "spin echo of mixed weighting"
    # CSF has relaxed after 9 s: who waits longer, or reads an echo train of 250 ms after 4.5 s, mostly inverts first
    is_patient = tr > 9000 or (te >= 250 and tr >= 4500)
    says_no_inversion = bool(a.scanning_sequence)
    if not is_patient and (says_no_inversion or tr <= 4500):
        return "T2", "spin echo"
    if not says_no_inversion and (te >= 250 or (tr >= 12000 and within(a.flip_angle_deg, 120, 180))) and is_patient:
        return "FLAIR", "a wait that only an inversion explains"
    return "", "T2, or FLAIR whose TI is not given"


def _inversion_spin_echo(tr: float, te: float, ti: float | None) -> tuple[str, str]:
    if ti is not None and ti < 300:
        return "STIR", "short inversion time"
    if te <= 30 and within(tr, 1000, 5000) and within(ti or 800, 400, 1700):
        return "T1", "inversion recovery with a short TE"
    if te >= 70 and tr >= 3500 and within(ti, 1300, 2950):
        return "FLAIR", "inversion recovery with a long TE"
    if te >= 80 and tr >= 4500 and ti is None:
        return "FLAIR", "inversion recovery with a long TE, TI not given"
    return "", "inversion recovery of another kind"


# --- words, and all together -------------------------------------------------------------------

_T1_WORDS = frozenset("T1 T1W T1WI T1C MPRAGE MEMPRAGE MP2RAGE BRAVO SPGR FSPGR".split())
_T2_WORDS = frozenset("T2 T2W T2WI".split())
CONTRAST_WORDS = frozenset(
    """
    GD GAD GADO POST POSTGAD POSTGD POSTCON POSTCONTRAST CE KM MDC CIV INJ INJECTE INJECTION C+ +C T1C APRES DOPO NACH EFTER
    DESPUES CONTRAST CONTRASTE KONTRAST
    """.split()
)
WITHOUT_WORDS = frozenset(
    """
    PRE PREGAD PREGD PRECON PRECONTRAST WO W/O WITHOUT NATIVE NATIV UNENHANCED OHNE VOR SANS AVANT SIN ANTES SENZA PRIMA ZONDER
    UDEN UTAN SEM BEZ FORE VOOR PRZED PRED
    """.split()
)


def described_as(words: frozenset[str]) -> str:
    """The contrast that a description names, or "" where it names none or several."""
    t1, t2 = bool(words & _T1_WORDS), bool(words & _T2_WORDS)
    if "FLAIR" in words or {"DARK", "FLUID"} <= words:
        return "T1" if t1 and not t2 else "FLAIR"
    if t1 != t2:
        return "T1" if t1 else "T2"
    return "PD" if "PD" in words and not t1 else ""


def says_contrast(words: frozenset[str]) -> bool | None:
    """True where a description says "after contrast", False where it says "before" or "without", else None."""
    if words & WITHOUT_WORDS:
        return False
    return True if words & CONTRAST_WORDS else None


def _second_evidence(a: Acquisition, contrast: str) -> str:
    """What else speaks for the contrast that a description names, where TR and TE do not decide; "" if nothing does."""
    types = {value.upper() for value in a.image_type}
    te = a.echo_time_ms
    if contrast == "T1":
        if "T1" in types:
            return "Image Type T1"
        if technique(a) == "GR" and a.acquisition_type == "3D" and (te is None or te <= 10):
            return "3-D gradient echo"
        if technique(a) == "GR" and within(te, 0.5, 10) and within(a.repetition_time_ms, 3.5, 3500):
            return "gradient echo with a short TE"
        if technique(a) == "SE" and within(te, 5, 25) and (a.repetition_time_ms or 0) <= 2000:
            return "spin echo with a short TE"
    if contrast == "T2" and technique(a) != "GR":
        if "T2" in types:
            return "Image Type T2"
        if within(te, 70, 700):
            return "long TE"
        if te is None and (a.echo_train_length or 0) >= 8 and not has_inversion(a):
            return "long echo train"
    if contrast == "FLAIR" and technique(a) != "GR":
        if "FLUID_ATTENUATED" in types:
            return "Image Type FLUID_ATTENUATED"
        if has_inversion(a) and (te is None or te >= 70) and within(a.inversion_time_ms or 2000, 1300, 2950):
            return "inversion recovery"
        if within(te, 70, 700) and within(a.repetition_time_ms, 4000, 20000):
            return "long TE and TR"
    return ""


def recognise(acquisition: Acquisition) -> Recognition:
    """The sequence that one header describes, and why. Words never outrank physics; a contradiction is stated."""
    if reason := never_serves(acquisition):
        return Recognition(None, reason)
    a = without_quirks(acquisition)
    if reason := never_serves(a):
        return Recognition(None, reason)
    contrast, reason = physics(a)
    described = described_as(a.words)
    if (contrast, described) == ("T2", "FLAIR") and within(a.repetition_time_ms, 4000, 20000):
        contrast, reason = "FLAIR", f"{reason} as T2 or as FLAIR whose TI is not given; described as FLAIR"
    if contrast and described and described != contrast:
        reason += f"; contradicts the description, which says {described}"
    if not contrast:
        second = _second_evidence(a, described)
        if not second:
            said = f"; described as {described} without a second piece of evidence" if described else ""
            return Recognition(None, f"unknown: {reason}{said}")
        contrast, reason = described, f"described as {described}, and {second} ({reason})"
    if contrast == "T2" and a.acquisition_type == "2D" and a.words & {"SAG", "SAGITTAL"} and not says_head(a):
        return Recognition(None, f"unknown: {reason}, but 2-D sagittal without a body part: a spine or a joint as likely")
    return _named(a, contrast, reason)


def _named(a: Acquisition, contrast: str, reason: str) -> Recognition:
    if contrast == "T2":
        return Recognition(Sequence.T2W, f"T2: {reason}")
    if contrast == "FLAIR":
        return Recognition(Sequence.T2F, f"FLAIR: {reason}")
    if contrast != "T1":
        return Recognition(None, f"{contrast}: {reason}")
    if is_fat_suppressed(a):
        reason += "; fat suppressed"
    said = says_contrast(a.words)
    if said is False and a.contrast_agent:
        return Recognition(Sequence.T1N, f"T1: {reason}; described as before contrast although an agent is given")
    if a.contrast_agent:
        return Recognition(Sequence.T1C, f"T1c: {reason}; contrast agent given")
    if said:
        return Recognition(Sequence.T1C, f"T1c: {reason}; described as after contrast")
    return Recognition(Sequence.T1N, f"T1: {reason}")


def is_fat_suppressed(a: Acquisition) -> bool:
    """True where fat is dark: suppressed, or left out as in the water image of a Dixon."""
    return "FS" in a.scan_options or bool(a.words & {"FS", "FATSAT"}) or bool({"WATER", "W"} & set(a.image_type[2:]))
