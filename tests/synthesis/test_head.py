"""A digital head is somebody: the same for the same seed, another for another, with a tumour where a tumour can be."""

import numpy as np
import pytest
from scipy import ndimage

from cmdiff_dicom.records import Label
from cmdiff_dicom.synthesis import Tissue, make_head

SEEDS = (1, 2, 3)


@pytest.fixture(scope="module", params=SEEDS)
def head(request):
    return make_head(request.param, spacing_mm=2.0)


def volume_ml(head, mask) -> float:
    return float(np.count_nonzero(mask)) * head.geometry.voxel_ml


def test_the_same_seed_gives_the_same_head():
    first, second = make_head(5, spacing_mm=3.0), make_head(5, spacing_mm=3.0)
    assert np.array_equal(first.tissue, second.tissue)
    assert np.array_equal(first.label, second.label)


def test_another_seed_gives_another_head():
    first, second = make_head(5, spacing_mm=3.0), make_head(6, spacing_mm=3.0)
    assert np.mean(first.tissue != second.tissue) > 0.1


def test_without_a_tumour_there_is_no_label_and_no_lesion():
    healthy = make_head(5, tumour=False, spacing_mm=3.0)
    assert not healthy.label.any()
    assert not np.isin(healthy.tissue, [Tissue.NECROSIS, Tissue.EDEMA, Tissue.RIM]).any()


def test_the_same_person_without_tumour_has_the_same_skull():
    ill, healthy = make_head(5, spacing_mm=3.0), make_head(5, tumour=False, spacing_mm=3.0)
    for tissue in (Tissue.BONE, Tissue.MARROW, Tissue.SKIN, Tissue.EYE):
        assert np.array_equal(ill.tissue == tissue, healthy.tissue == tissue)


def test_the_brain_has_an_adults_volume_in_one_piece(head):
    assert 1000 < volume_ml(head, head.brain) < 2000
    pieces, _ = ndimage.label(head.brain)
    assert np.bincount(pieces.ravel())[1:].max() > 0.99 * head.brain.sum()


def test_grey_and_white_matter_share_the_brain_as_they_do(head):
    grey = volume_ml(head, np.isin(head.tissue, [Tissue.GREY, Tissue.DEEP_GREY]))
    white = volume_ml(head, head.tissue == Tissue.WHITE)
    assert 0.5 < grey / white < 2.2


def test_bone_surrounds_the_brain(head):
    """From the brain's edge a walk outward meets bone before skin."""
    around = ndimage.binary_dilation(head.brain, iterations=4) & ~ndimage.binary_dilation(head.brain, iterations=2)
    upper = np.zeros_like(around)
    upper[head.geometry.shape[0] // 2 :] = True
    assert np.mean(np.isin(head.tissue[around & upper], [Tissue.BONE, Tissue.MARROW])) > 0.8


def test_the_tumour_has_core_rim_and_edema_within_the_brain(head):
    for label in (Label.NCR, Label.ED, Label.ET):
        assert np.any(head.label == label)
    assert np.all(head.brain[head.label > 0])
    assert 5 < volume_ml(head, head.label > 0) < 250


def test_the_rim_encloses_the_necrotic_core(head):
    beside = ndimage.binary_dilation(head.label == Label.NCR) & (head.label != Label.NCR)
    assert np.mean(head.label[beside] == Label.ET) > 0.85


def test_edema_follows_white_matter(head):
    healthy = make_head(head.seed, tumour=False, spacing_mm=2.0)
    from_tissue = healthy.tissue[head.label == Label.ED]
    assert np.mean(from_tissue == Tissue.WHITE) > 1.2 * np.mean(healthy.tissue[healthy.brain] == Tissue.WHITE)


def test_tissue_and_label_tell_the_same_story(head):
    for label, tissue in ((Label.NCR, Tissue.NECROSIS), (Label.ED, Tissue.EDEMA), (Label.ET, Tissue.RIM)):
        assert np.array_equal(head.label == label, head.tissue == tissue)


def test_voxels_lie_along_the_patients_axes(head):
    assert np.allclose(head.geometry.mm_from_index[:3, :3], np.eye(3)[:, ::-1] * 2.0)


def test_eyes_look_forward_and_the_cerebellum_lies_behind(head):
    front = head.geometry.mm(np.argwhere(head.tissue == Tissue.EYE)).mean(0)
    centre = head.geometry.mm(np.argwhere(head.brain)).mean(0)
    assert front[1] < centre[1] - 50
    assert front[2] < centre[2]
