"""The words of a series description that say something about physics.

Descriptions are free text and may name a patient, so the listener keeps nothing of them but the words listed here;
`assemble` gives the words their meaning.
"""

from __future__ import annotations

import re
import unicodedata

VOCABULARY = frozenset(
    """
    T1 T1W T1WI T1C T2 T2W T2WI PD FLAIR TIRM STIR DARK FLUID SPACE CUBE VISTA MPRAGE MP2RAGE MEMPRAGE BRAVO SPGR FSPGR
    TFE TFL FLASH VIBE TSE FSE SE GRE GR GE EPI EP IR DIR PSIR DIXON FS FATSAT FAT INV1 INV2 UNI RMS MAGNITUDE PHASE
    DWI DTI DIFF DIFFUSION ADC TRACE TRACEW TENSOR SWI SWIP SWAN VENBOLD T2STAR TOF MRA MRV PCA COW VENC ANGIO BOLD FMRI
    PERF PERFUSION DSC DCE ASL PASL PCASL CBF CBV RELCBF RCBF RCBV MTT TTP KTRANS MAP MAPPING FIELDMAP SPECTRO SVS CSI MRS
    GD GAD GADO POST POSTGAD POSTGD POSTCON POSTCONTRAST CE KM C+ +C PRE PREGAD PREGD PRECON PRECONTRAST WO W/O WITHOUT OHNE
    SANS W WITH CONTRAST KONTRAST CONTRASTE MDC CIV INJ INJECTE INJECTION VOR AVANT ANTES PRIMA SIN SENZA ZONDER UDEN UTAN
    SEM BEZ FORE VOOR PRZED PRED APRES DOPO NACH EFTER DESPUES
    NATIVE NATIV UNENHANCED LOCALIZER LOCALISER SCOUT SURVEY PILOT LOC MPR MIP MINIP PROJECTION SUB SUBTRACTION SUBTRACT
    SUBTRACTED SUBTR SUBT SOUSTRACTION SUBTRAKTION
    AX AXIAL SAG SAGITTAL COR CORONAL TRA 3D 2D BRAIN HEAD NECK ORBIT SPINE CERVICAL LUMBAR THORACIC KNEE LIVER PELVIS
    SHOULDER HIP ANKLE WRIST ELBOW ABDOMEN PROSTATE BREAST HEART
    """.split()
)

# Names that people run together with what stands beside them: "WIPMPRAGE2100", "FLAIR642.5", "t1sagknee".
_ANYWHERE = re.compile(
    "(?=(MP2RAGE|MEMPRAGE|MPRAGE|FLAIR|LOCALI[ZS]ER|SCOUT|PCASL|DIFFUSION|PERFUSION|SPINE|KNEE|SHOULDER|LIVER|PROSTATE))"
)
_WEIGHTING = re.compile(r"(?:(?<![A-Z0-9])|(?<=CE)|(?<=GD)|(?<=AX)|(?<=SAG)|(?<=COR)|(?<=TRA)|(?<=[23]D))T[12](?![0-9])")
_DOUBLE_INVERSION = re.compile(r"(?<![A-Z])DIR(?![A-Z])")
_OF_AGENT = r"(?:[ _-]*(?:CONTRASTE?|KONTRAST|GAD[A-Z]*|GD|KM|C))?"
_NO_INJECTION_MEANT = re.compile(
    r"(?<![A-Z0-9])(?:"
    # before or after an operation or treatment, or a place
    r"(?:PRE|POST|VOR|NACH|AVANT|APRES|PRIMA|DOPO|ANTES|DESPUES)[ _-]?"
    r"(?:OP|(?:OPERA|SURG|CHIR|CIRU|RESEC|TREAT|RADI|CHEMO|PROC)[A-Z]*|BIOPSY|RT|FOSSA)"
    # without suppression of fat
    r"|(?:W/?O|WITHOUT|NO|NON|OHNE|SANS|SIN|SENZA|SEM|BEZ)[ _-]?F(?:S|AT)[ _-]?(?:SAT|SUPP?[A-Z]*)?"
    # before and after, with and without: said of a whole study
    r"|(?:PRE[ _]?(?:[-/&+]|AND)?[ _]?POST|W(?:ITH)?[ _]?(?:[/&+]|AND)?[ _]?W(?:/?O|ITHOUT)"
    rf"|W(?:/?O|ITHOUT)[ _]?(?:[/&+]|AND)?[ _]?W(?:ITH)?){_OF_AGENT}"
    # a hyphen, or a minus
    r"|(?<= )-(?:C|GD|GAD|KM)"
    r")(?![A-Z])"
)
_WITHOUT_AGENT = re.compile(
    r"(?<![A-Z])(?:NON?[ _-]?(?:C|CE|CON|CONTRAST|ENH(?:ANCED)?|GAD[A-Z]*|GD|KM)"
    r"|(?:O\.? ?|S/ ?|BEFORE )(?:CONTRASTE?|GAD[A-Z]*|GD|KM|MDC)|SMDC|CONTRAST[ -]?FREE"
    r"|(?:U[./] ?|UTEN )KONTR[A-Z]*|KONTRASTS[IU]Z)(?![A-Z])"
)
_AGENT = re.compile(
    r"\+ ?(?:C|GD|GAD|K|KA|KL|KM)(?![A-Z])|(?<![A-Z])C\+|(?<![A-Z])(?:CE|GD)(?=T1)"
    r"|(?<![A-Z])(?:POS|CON|COM|AVEC|MIT|NACH|MED|MET|NA|APRES|DOPO|PO|Z|EFTER|ETTER)[ _-]"
    r"(?:CONTRAST[EO]?|K\.?L\.?)(?![A-Z])"
    r"|(?<![A-Z])(?:KONTR(?:AS[TC][A-Z]*)?|CMDC|ENHANCED)(?![A-Z])|(?<![A-Z])CONTRAST[ _-]?ENH|(?<![A-Z])GADO[A-Z]{2}"
    r"|(?<![A-Z])(?:GADAVIST|DOTAREM|CLARISCAN|PROHANCE|MULTIHANCE|MAGNEVIST|OMNISCAN|ELUCIREM|VUEWAY)(?![A-Z])"
)

_NO_AGENT = re.compile(
    r"(?:N|NIL|NA|N/A|UNKNOWN)?|(?:NONE?|NOT?|W/?O|WITHOUT|OHNE|KEINE?|SANS|AUCUN|SIN|SENZA|NESSUNO|NINGUNO|SEM|GEEN|INGEN|BEZ)(?![A-Z]).*"
)
_OTHER_SCRIPTS = {
    # Chinese, Japanese, Korean: before what they begin with; then Cyrillic, which also has a T of its own
    "平扫": " UNENHANCED ", "平掃": " UNENHANCED ", "单纯": " UNENHANCED ", "単純": " UNENHANCED ", "비조영": " UNENHANCED ",
    "增强前": " PRE ", "造影前": " PRE ", "조영전": " PRE ", "增强": " +C ", "增強": " +C ", "造影": " +C ", "조영": " +C ",
    "Т1": "T1", "Т2": "T2", "БЕЗ КОНТРАСТ": " UNENHANCED ", "НЕ КОНТРАСТ": " UNENHANCED ", "ДО КОНТРАСТ": " PRE ",
    "КОНТРАСТ": " +C ", "БЕЗ КУ": " UNENHANCED ", "ДО КУ": " PRE ", "С КУ": " +C ", "+КУ": " +C ", "ПОСЛЕ КУ": " +C ",
    "FØR": " PRE ", "PÓS": " POST ",
}  # fmt: skip
"""Words about an agent as hospitals write them in letters beyond A to Z, and what they are in the vocabulary."""


def known_words(*texts: str) -> frozenset[str]:
    """The vocabulary's words found in `texts`, upper case; everything else is dropped."""
    joined = _NO_INJECTION_MEANT.sub(" ", _in_plain_letters(" ".join(texts)).replace("T2*", " T2STAR "))
    joined = _WITHOUT_AGENT.sub(" UNENHANCED ", joined)
    pieces = re.split(r"[^A-Z0-9+/]+", joined)
    split = re.findall(r"T2STAR|[A-Z]+[0-9]?|[0-9]D", joined)
    inside = (finding for pattern in (_ANYWHERE, _WEIGHTING, _DOUBLE_INVERSION) for finding in pattern.findall(joined))
    found = {word for word in (*pieces, *split, *inside) if word in VOCABULARY}
    if _AGENT.search(joined):
        found.add("+C")
    return frozenset(found)


def _in_plain_letters(text: str) -> str:
    """Upper case without accents, full width made half width; other scripts' words about an agent in ours."""
    upper = unicodedata.normalize("NFKC", text).upper()
    for word, ours in _OTHER_SCRIPTS.items():
        upper = upper.replace(word, ours)
    return "".join(letter for letter in unicodedata.normalize("NFKD", upper) if not unicodedata.combining(letter))


def names_contrast_agent(text: str) -> bool:
    """True where Contrast/Bolus Agent, Volume or Start Time says that something was given.

    Scanners and people fill the attributes with "NONE", "NO", "." or a volume of 0 where nothing was.
    """
    plain = text.strip(" .-_\0").upper()
    return not _NO_AGENT.fullmatch(plain) and not re.fullmatch(r"0+([.,]0*)?( ?ML)?", plain)
