"""What each label means to a viewer: its name, its SNOMED CT or NCI Thesaurus code, and its colour.

Category and type follow DICOM PS3.16 CID 7150 and CID 7151; enhancing tissue has no SNOMED code, so the NCI
Thesaurus names it. No disease is asserted: the network sees tissue, not a diagnosis.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.sr.coding import Code

from cmdiff_dicom.records import LABEL_NAMES, LABEL_RGB, Label

MORPHOLOGICALLY_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
"""Segmented Property Category of every segment (CID 7150)."""

BRAIN = Code("12738006", "SCT", "Brain")
"""Anatomic Region of every segment (CID 4)."""


@dataclass(frozen=True)
class Meaning:
    """How one label is told: its name, its property type, its sRGB colour (0-255)."""

    name: str
    kind: Code
    rgb: tuple[int, int, int]


_KINDS = {
    Label.NCR: Code("6574001", "SCT", "Necrosis"),
    Label.ED: Code("79654002", "SCT", "Edema"),
    Label.ET: Code("C113842", "NCIt", "Enhancing Lesion"),
    Label.WT: Code("108369006", "SCT", "Neoplasm"),
}
MEANINGS: dict[Label, Meaning] = {label: Meaning(LABEL_NAMES[label], _KINDS[label], LABEL_RGB[label]) for label in Label}
