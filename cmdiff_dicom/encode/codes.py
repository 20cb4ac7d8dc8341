"""What each label means to a viewer: its name, its SNOMED CT or NCI Thesaurus code, and its colour.

Category and type follow DICOM PS3.16 CID 7150 and CID 7151; enhancing tissue has no SNOMED code, so the NCI
Thesaurus names it. No disease is asserted: the network sees tissue, not a diagnosis.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.sr.coding import Code

from cmdiff_dicom.records import Label

MORPHOLOGICALLY_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
"""Segmented Property Category of every segment (CID 7150)."""

BRAIN = Code("12738006", "SCT", "Brain")
"""Anatomic Region of every segment (CID 4)."""


@dataclass(frozen=True)
class Meaning:
    """How one label is told: `name` in ASCII (viewers garble the rest), its property type, its sRGB colour (0-255)."""

    name: str
    kind: Code
    rgb: tuple[int, int, int]


MEANINGS: dict[Label, Meaning] = {
    Label.NCR: Meaning("Necrotic or non-enhancing core", Code("6574001", "SCT", "Necrosis"), (170, 85, 220)),
    Label.ED: Meaning("Edema", Code("79654002", "SCT", "Edema"), (140, 224, 228)),
    Label.ET: Meaning("Enhancing tumour", Code("C113842", "NCIt", "Enhancing Lesion"), (255, 96, 64)),
    Label.WT: Meaning("Whole tumour", Code("108369006", "SCT", "Neoplasm"), (144, 238, 144)),
}
"""Edema and neoplasm have the colours of dcmqi's terminology, which viewers share. Its necrosis (216, 191, 216) is so
pale that half transparent on a grey image it is not seen as a colour, so its hue is kept and its saturation raised."""
