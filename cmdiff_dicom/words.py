"""The words of a series description that say something about physics.

Descriptions are free text and may name a patient, so the listener keeps nothing of them but the words listed here;
`assemble` gives the words their meaning.
"""

from __future__ import annotations

import re

VOCABULARY = frozenset(
    """
    T1 T1W T1WI T2 T2W T2WI PD FLAIR TIRM STIR DARK FLUID SPACE CUBE VISTA MPRAGE MP2RAGE MEMPRAGE BRAVO SPGR FSPGR
    TFE TFL FLASH VIBE TSE FSE SE GRE GR GE EPI EP DWI DTI ADC TRACE SWI SWAN T2STAR TOF MRA ANGIO PERF PERFUSION
    DSC DCE ASL CBF CBV MTT BOLD FMRI GD GAD GADO POST CE KM C+ +C PRE WO W/O WITHOUT W WITH CONTRAST NATIVE
    UNENHANCED LOCALIZER SCOUT SURVEY LOC MPR MIP PROJECTION SUB SUBTRACTION AX AXIAL SAG SAGITTAL COR CORONAL TRA
    3D 2D SPINE CERVICAL LUMBAR THORACIC KNEE LIVER PELVIS FS FATSAT FAT BRAIN HEAD NECK ORBIT IR INV1 INV2 UNI MAP
    FIELDMAP RMS MAGNITUDE PHASE
    """.split()
)


def known_words(*texts: str) -> frozenset[str]:
    """The vocabulary's words found in `texts`, upper case; everything else is dropped."""
    joined = " ".join(texts).upper().replace("T2*", " T2STAR ")
    pieces = re.split(r"[^A-Z0-9+/]+", joined)
    split = re.findall(r"MP2RAGE|MPRAGE|T2STAR|[A-Z]+[0-9]?|[0-9]D", joined)
    return frozenset(word for word in (*pieces, *split) if word in VOCABULARY)
