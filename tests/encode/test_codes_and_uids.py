"""What a label is called, coded and coloured; UIDs that follow from the job key."""

import pytest
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from cmdiff_dicom.encode.codes import BRAIN, MEANINGS, MORPHOLOGICALLY_ABNORMAL
from cmdiff_dicom.encode.uids import derived_uid
from cmdiff_dicom.records import Label


@pytest.mark.parametrize(
    ("label", "code"),
    [(Label.NCR, codes.SCT.Necrosis), (Label.ED, codes.SCT.Edema), (Label.WT, codes.SCT.Neoplasm)],
)
def test_labels_carry_the_codes_of_the_standards_own_dictionary(label, code):
    assert (MEANINGS[label].kind, MEANINGS[label].kind.meaning) == (code, code.meaning)


def test_enhancing_tissue_is_named_by_the_nci_thesaurus_since_snomed_has_no_word_for_it():
    assert MEANINGS[Label.ET].kind == codes.NCIt.EnhancingLesion


def test_category_and_region_are_those_of_the_standards_own_dictionary():
    assert codes.SCT.MorphologicallyAbnormalStructure == MORPHOLOGICALLY_ABNORMAL
    assert codes.SCT.Brain == BRAIN


def test_names_are_ascii_and_short_because_viewers_garble_the_rest():
    assert all(meaning.name.isascii() and len(meaning.name) <= 64 for meaning in MEANINGS.values())


def test_colours_differ_clearly_from_each_other():
    colours = [meaning.rgb for meaning in MEANINGS.values()]
    assert all(sum(abs(a - b) for a, b in zip(one, other, strict=True)) > 60 for one in colours for other in colours if one is not other)


def test_colours_are_colours_even_half_transparent_on_a_grey_image():
    assert all(max(meaning.rgb) - min(meaning.rgb) >= 80 for meaning in MEANINGS.values())


def test_a_derived_uid_is_valid_stable_and_its_own():
    uid = derived_uid("key", "series")
    assert UID(uid).is_valid
    assert uid == derived_uid("key", "series")
    assert len({uid, derived_uid("key", "instance"), derived_uid("other", "series"), derived_uid("keyseries"), derived_uid("key")}) == 5


def test_a_derived_uid_is_a_uuid_of_version_8():
    number = int(derived_uid("key", "series").removeprefix("2.25."))
    assert (number >> 76) & 0xF == 8
    assert (number >> 62) & 0x3 == 2
