"""Reading BraTS folders of all years, and splitting them."""

import numpy as np
import pytest

from cmdiff_dicom.records import Sequence
from cmdiff_dicom.research.brats import UnusableStudy, find_studies, read_study
from cmdiff_dicom.research.split import patient_of, split_by_patient
from cmdiff_dicom.research.studies import load_studies


@pytest.mark.parametrize(("new", "et"), ((False, 4), (True, 3)))
def test_both_styles_of_names_and_of_the_enhancing_label_are_read_alike(write, tmp_path, new, et):
    name = "BraTS-GLI-00001-000" if new else "Brats18_X_1"
    study = read_study(name, write(tmp_path, name, new, et))
    assert list(study.volumes) == list(Sequence)
    assert [int(study.volumes[s].array.max()) // 100 for s in Sequence] == [1, 2, 3, 4]
    assert (study.truth == 3).sum() == 8 and study.truth.shape == (20, 18, 16)


@pytest.mark.parametrize("axes", ("RAS", "LPS", "PSR", "SAL", "IRA"))
def test_axis_order_in_the_file_does_not_matter(write, tmp_path, axes):
    plain = read_study("A_1", write(tmp_path / "plain", "A_1"))
    turned = read_study("A_1", write(tmp_path / "turned", "A_1", axes=axes))
    assert np.array_equal(plain.truth, turned.truth)
    for sequence in Sequence:
        assert np.array_equal(plain.volumes[sequence].array, turned.volumes[sequence].array)
    assert plain.geometry.is_close(turned.geometry)


def test_voxels_stand_where_the_file_says_in_lps(write, tmp_path):
    geometry = read_study("A_1", write(tmp_path, "A_1")).geometry
    assert np.allclose(geometry.mm(np.array([[0, 0, 0], [1, 2, 3]])), [[0, -19, 0], [3, -17, 1]])


def not_a_number(voxels):
    voxels[3, 3, 5] = np.nan
    return voxels


@pytest.mark.parametrize(
    ("changes", "said"),
    (
        ({"skip": ("t1ce",)}, "missing T1c"),
        ({"odd": not_a_number}, "NaN"),
        ({"odd": lambda voxels: voxels * 0 + 5}, "constant"),
        ({"odd": lambda voxels: voxels[:-1]}, "segmentation"),
        ({"et": 7}, "labels"),
    ),
)
def test_what_is_wrong_with_a_study_is_named(write, tmp_path, changes, said):
    with pytest.raises(UnusableStudy, match=said):
        read_study("A_1", write(tmp_path, "A_1", **changes))


def test_corrupt_studies_are_skipped_named_and_counted_and_twins_warned_of(write, tmp_path):
    write(tmp_path / "HGG", "Good_1")
    write(tmp_path / "HGG", "Twin_1", twins=True)
    bad = write(tmp_path / "LGG", "Bad_1")
    (bad / "Bad_1_t2.nii.gz").write_bytes(b"\x1f\x8b not an image")
    said = []
    studies = load_studies(tmp_path, said.append)
    assert set(studies) == {"Good_1", "Twin_1"}
    assert any("Bad_1_t2" in line for line in said) and "2 studies read, 1 skipped" in said
    assert any("T2 and FLAIR are identical" in line for line in said)


def test_an_empty_folder_is_a_named_fault(tmp_path):
    with pytest.raises(UnusableStudy, match="no usable study"):
        load_studies(tmp_path, lambda line: None)


def test_studies_are_found_at_any_depth_under_folders_with_accents(write, tmp_path):
    write(tmp_path / "Kopf-ä-頭" / "HGG", "A_1")
    assert list(find_studies(tmp_path)) == ["A_1"]


@pytest.mark.parametrize(
    ("name", "patient"),
    (
        ("Brats18_TCIA10_639_1", "TCIA_639"),
        ("Brats17_TCIA_639_1", "TCIA_639"),
        ("BraTS2021_00012", "00012"),
        ("BraTS-GLI-00012-000", "00012"),
        ("BraTS19_CBICA_ABM_1", "CBICA_ABM"),
        ("brats_2013_pat0001_1", "2013_pat0001"),
    ),
)
def test_a_patient_is_known_over_the_years(name, patient):
    assert patient_of(name) == patient


def test_no_patient_is_in_two_parts_and_the_hard_ones_are_in_all():
    volumes = {f"BraTS2021_{n:05d}": (float(n % 17 + 1) * 10, (0.0, 0.5, 3.0, 9.0, 20.0, 30.0)[n % 6]) for n in range(60)}
    volumes["BraTS-GLI-00003-000"] = (40.0, 3.0)
    split = split_by_patient(volumes)
    assert sorted(name for part in split.values() for name in part) == sorted(volumes)
    where = {}
    for part, names in split.items():
        for name in names:
            assert where.setdefault(patient_of(name), part) == part
    for part in ("tune", "test"):
        enhancing = [volumes[name][1] for name in split[part]]
        assert 0.0 in enhancing and 0.5 in enhancing and max(enhancing) > 8
    assert len(split["train"]) > 3 * len(split["tune"])
