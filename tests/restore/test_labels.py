"""Regions become labels and volumes."""

import numpy as np
import pytest

from cmdiff_dicom.records import Label
from cmdiff_dicom.restore.labels import (
    LabelRules,
    kept_parts,
    labels_from_probability,
    labels_from_regions,
    main_confidence,
    nest,
    regions_from_labels,
)


def cube(probability, *boxes):
    """(3, 20, 20, 20) with `probability` in each region's box."""
    field = np.zeros((3, 20, 20, 20), dtype=np.float32)
    for region, (low, high) in enumerate(boxes):
        field[region, low:high, low:high, low:high] = probability
    return field


def test_the_main_tumour_is_as_sure_as_the_mean_of_its_probability():
    field = np.zeros((20, 20, 20), dtype=np.float32)
    field[2:10, 2:10, 2:10] = 0.8
    field[2, 2, 2] = 0.3  # below the threshold: no part of it
    field[15:17, 15:17, 15:17] = 1.0  # surer and smaller: not the main part
    assert main_confidence(field, 0.5) == pytest.approx(0.8)
    assert main_confidence(field * 0.1, 0.5) == 0.0


def test_labels_to_regions_and_back_is_exact():
    labels = np.random.default_rng(0).integers(0, 4, size=(9, 8, 7)).astype(np.uint8)
    assert np.array_equal(labels_from_regions(regions_from_labels(labels)), labels)


def test_nesting_is_idempotent_and_leaves_the_nested_alone():
    field = np.random.default_rng(1).random((3, 5, 5, 5)).astype(np.float32)
    nested = nest(field)
    assert (nested[1] <= nested[0]).all() and (nested[2] <= nested[1]).all()
    assert np.array_equal(nest(nested), nested)


def test_nested_cubes_become_three_labels_with_their_volumes():
    labels, volumes = labels_from_probability(cube(0.9, (2, 14), (4, 12), (6, 10)), 0.001, LabelRules())
    assert volumes == pytest.approx({Label.NCR: (8**3 - 4**3) / 1000, Label.ED: (12**3 - 8**3) / 1000, Label.ET: 4**3 / 1000})
    assert set(np.unique(labels)) == {0, 1, 2, 3}


def test_volumes_scale_with_the_voxel():
    _, small = labels_from_probability(cube(0.9, (2, 14), (4, 12), (6, 10)), 0.001, LabelRules())
    _, large = labels_from_probability(cube(0.9, (2, 14), (4, 12), (6, 10)), 0.006, LabelRules())
    assert large[Label.ET] == pytest.approx(6 * small[Label.ET])


def test_a_small_tumour_goes_with_all_that_is_in_it_and_a_large_one_stays():
    field = cube(0.9, (10, 18), (11, 15), (12, 14))
    field[:, 1:4, 1:4, 1:4] = 0.9
    labels, _ = labels_from_probability(field, 0.001, LabelRules(min_tumour_mm3=100))
    assert not labels[:6].any() and labels[10:].any()


def test_parts_that_touch_at_a_corner_are_one():
    mask = np.zeros((4, 4, 4), dtype=bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    sure = np.ones(mask.shape, dtype=np.float32)
    assert kept_parts(mask, sure, 2, 0.0).sum() == 2
    assert kept_parts(mask, sure, 3, 0.0).sum() == 0


def test_a_doubtful_part_goes_beside_a_sure_one():
    field = cube(0.95, (12, 18), (15, 16), (15, 16))
    field[0, 1:5, 1:5, 1:5] = 0.6
    labels, _ = labels_from_probability(field, 0.001, LabelRules(min_confidence=0.8))
    assert not labels[:10].any() and labels[12:].any()
    labels, _ = labels_from_probability(field, 0.001, LabelRules(min_confidence=0.5))
    assert labels[:10].any()


def test_the_main_part_is_told_however_doubtful():
    labels, _ = labels_from_probability(cube(0.6, (2, 14)), 0.001, LabelRules(min_confidence=0.8))
    assert labels.any()



def test_too_little_enhancement_becomes_necrosis_and_the_core_keeps_its_volume():
    field = cube(0.9, (2, 14), (4, 12), (6, 8))
    labels, volumes = labels_from_probability(field, 0.001, LabelRules(min_enhancing_mm3=50))
    assert volumes[Label.ET] == 0 and (labels == Label.NCR).sum() == 8**3


@pytest.mark.parametrize(("believed", "width", "told"), [(0.7, 2, False), (0.8, 2, True), (0.7, 6, True)], ids=["doubtful", "sure", "much of the core"])
def test_a_little_enhancement_that_the_network_half_believes_becomes_core(believed, width, told):
    field = cube(0.9, (2, 14), (4, 12), (6, 6 + width))
    field[2][field[2] > 0.5] = believed
    labels, _ = labels_from_probability(field, 0.001, LabelRules(min_enhancing_confidence=0.75, min_enhancing_share=0.15))
    assert (labels == Label.ET).any() == told
    assert np.isin(labels, (Label.NCR, Label.ET)).sum() == 8**3


def test_without_t1c_only_the_whole_tumour_is_told():
    labels, volumes = labels_from_probability(cube(0.9, (2, 14), (4, 12), (6, 10)), 0.001, LabelRules(), core_known=False)
    assert set(np.unique(labels)) == {0, Label.WT} and volumes == pytest.approx({Label.WT: 12**3 / 1000})


def test_no_tumour_is_an_empty_map_with_volumes_of_zero():
    labels, volumes = labels_from_probability(cube(0.4, (2, 14)), 0.001, LabelRules(min_tumour_mm3=100))
    assert not labels.any() and set(volumes.values()) == {0.0}
