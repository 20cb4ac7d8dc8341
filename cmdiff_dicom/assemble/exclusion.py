"""Which kinds of image can be none of the four whatever their contrast: by Image Type, by words, by body part, by physics."""

from __future__ import annotations

from cmdiff_dicom.records import Acquisition

# PS3.3 C.8.3.1.1.1 and C.8.13.3.1.1, and what vendors write into values 3 and later of Image Type
_NEVER_IMAGE_TYPES = {
    "diffusion": ("DIFFUSION", "ADC", "TRACE", "TRACEW", "FA", "TENSOR", "TENSOR_B0", "EADC", "DWI"),
    "perfusion": ("PERFUSION", "PERFUSION_FFE", "ASL", "RCBF", "RELCBF", "CBF", "CBV", "RCBV", "MTT", "TTP", "TMAX", "KTRANS"),
    "functional": ("FMRI", "BOLD", "TTEST"),
    "angiography": ("TOF", "TIME_OF_FLIGHT", "ANGIO", "PHASE_CONTRAST", "VELOCITY", "FLOW", "FLOW_ENCODED"),
    "susceptibility": ("SWI", "SW_M_FFE", "SW_P_FFE", "MINIMUM IP", "MNIP", "T2_STAR"),
    "reformatted or projected": (
        *("MPR", "CSA MPR", "REFORMATTED", "RESAMPLED", "CURVED", "MIP", "MIN_IP", "MINIP", "CSA MIP"),
        *("PROJECTION IMAGE", "MAX_IP", "VOLUME_RENDER", "3D RENDERING"),
    ),
    "subtraction": ("SUB", "SUBTRACT", "SUBTRACTION"),
    "fat or opposed phase of a Dixon": ("FAT", "F", "FAT_FRACTION", "FF", "OPP_PHASE", "OUT_PHASE", "OUT_OF_PHASE", "OP"),
    "localizer": ("LOCALIZER", "SCOUT"),
    "screen capture": ("SCREEN SAVE", "SCREENSAVE", "SCREEN_CAPTURE", "SECONDARY CAPTURE", "CAPTURE"),
    "tiles of many slices": ("MOSAIC", "VFRAME"),
    "spectroscopy": ("SPECTROSCOPY", "METABOLITE_MAP", "METABOLITE MAP"),
    "phase": ("P", "PHASE", "PHASE MAP", "PHASE_MAP", "I", "IMAGINARY", "MIXED", "B0", "FIELD_MAP", "B0 MAP"),
    "parameter map": (
        *("MAP", "T1 MAP", "T2 MAP", "T2_STAR MAP", "T1_MAP", "T2_MAP", "R2_MAP", "R2_STAR_MAP", "PROTON_DENSITY_MAP"),
    ),
    "motion": ("MOTION",),
    "single inversion of an MP2RAGE": ("INV1", "INV2"),
}
_NEVER_IMAGE_TYPE_STARTS = {
    "reformatted or projected": ("MIP_", "MPR_"),
    "diffusion": ("TENSOR_", "DIFFUSION_"),
    "perfusion": ("PERFUSION_",),
}
_NEVER_WORDS = {
    "localizer": "LOCALIZER LOCALISER LOC SCOUT SURVEY PILOT",
    "diffusion": "DWI DTI DIFF DIFFUSION ADC TRACE TRACEW TENSOR",
    "susceptibility": "SWI SWIP SWAN VENBOLD T2STAR",
    "angiography": "TOF MRA MRV PCA COW VENC ANGIO",
    "perfusion": "PERF PERFUSION DSC DCE ASL PASL PCASL CBF CBV RELCBF RCBF RCBV MTT TTP KTRANS",
    "functional": "BOLD FMRI",
    "echo planar": "EPI",
    "projected": "MIP MINIP PROJECTION",
    "subtraction": "SUB SUBTRACTION SUBTRACT SUBTRACTED SUBTR SUBT SOUSTRACTION SUBTRAKTION",
    "map": "MAP MAPPING FIELDMAP",
    "short inversion": "STIR",
    "double inversion": "DIR",
    "spectroscopy": "SPECTRO SVS CSI MRS",
    "single inversion of an MP2RAGE": "INV1 INV2",
    "phase": "PHASE",
}
_OTHER_BODY_WORDS = frozenset(
    "SPINE CERVICAL LUMBAR THORACIC KNEE LIVER PELVIS SHOULDER HIP ANKLE WRIST ELBOW ABDOMEN PROSTATE BREAST HEART".split()
)
_HEAD_WORDS = frozenset({"BRAIN", "HEAD"})
_HEAD_PARTS = ("HEAD", "BRAIN", "SKULL", "CRAN", "CEREB", "ENCEPH", "KOPF", "TETE")
_OTHER_PARTS = tuple(
    """
    SPINE SPINAL NECK KNEE LIVER LEVER ABDO CHEST THORAX HEART CARD PELVI HIP SHOULDER ELBOW WRIST HAND FOOT ANKLE LEG ARM THIGH
    CALF BREAST PROSTATE KIDNEY PANCREAS UTERUS CERVIX EXTREMITY BLADDER JOINT MAMMA COLUMN WIRBEL RACHIS
    """.split()
)
"""Beginnings and parts of Body Part Examined; a head's own name wins over these."""


def never_serves(acquisition: Acquisition) -> str:
    """Why this kind of image can be none of the four whatever its contrast, or ""."""
    types = [value.strip().upper() for value in acquisition.image_type]
    for reason, names in _NEVER_IMAGE_TYPES.items():
        starts = _NEVER_IMAGE_TYPE_STARTS.get(reason, ())
        for value in types[2:]:
            if value in names or value.startswith(starts):
                return f"{reason}: Image Type {value}"
    if types[:2] == ["DERIVED", "SECONDARY"]:
        return "derived: Image Type DERIVED\\SECONDARY"
    if types[:1] == ["DERIVED"] and "MPR" in acquisition.words:
        return "reformatted: derived, described as MPR"
    for reason, words in _NEVER_WORDS.items():
        if found := acquisition.words.intersection(words.split()):
            return f"{reason}: described as {min(found)}"
    return _elsewhere(acquisition) or _unsuitable_physics(acquisition)


def _elsewhere(acquisition: Acquisition) -> str:
    """Why the image shows no head, or "". A description is of its series, Body Part Examined often of the whole study."""
    if found := sorted(acquisition.words & _OTHER_BODY_WORDS):
        return f"other body part: described as {found[0]}"
    if acquisition.words & _HEAD_WORDS:
        return ""
    if "NECK" in acquisition.words:
        return "other body part: described as NECK"
    part = acquisition.body_part.upper()
    if not any(name in part for name in _HEAD_PARTS) and (found := [name for name in _OTHER_PARTS if name in part]):
        return f"other body part: {found[0]}"
    return ""


def _unsuitable_physics(acquisition: Acquisition) -> str:
    if "EP" in acquisition.scanning_sequence:
        return "echo planar: Scanning Sequence EP"
    if acquisition.angio:
        return "angiography: Angio Flag Y"
    if acquisition.diffusion_b_value is not None and acquisition.diffusion_b_value > 0:
        return "diffusion: b value given"
    if acquisition.temporal_position is not None and acquisition.temporal_position > 2:
        return "time series: many temporal positions"
    return ""


def says_head(a: Acquisition) -> bool:
    """True where body part or description say that it is a head."""
    return any(name in a.body_part.upper() for name in _HEAD_PARTS) or bool(a.words & _HEAD_WORDS)
