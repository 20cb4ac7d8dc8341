"""Evaluation and ablation: means, intervals, pictures, and label maps that the challenge's own tools can read."""

import argparse

import nibabel
import numpy as np
import pytest

from cmdiff_dicom.geometry import Geometry
from cmdiff_dicom.records import Analysis, Label, LabelMap, ModelIdentity, PreparedStudy
from cmdiff_dicom.research import ablate, evaluate, evaluation, train
from cmdiff_dicom.research.answers import scores
from cmdiff_dicom.research.brats import read_study
from cmdiff_dicom.research.calibrate import fit_temperatures
from cmdiff_dicom.research.certainty import best_limit
from cmdiff_dicom.research.metrics import reliability
from cmdiff_dicom.research.pictures import overlay, reliability_plot
from cmdiff_dicom.research.robustness import rician, summarise_robustness
from cmdiff_dicom.research.studies import training_study
from cmdiff_dicom.restore import LabelRules, regions_from_labels


def test_means_and_intervals_are_over_studies_and_unknown_values_are_left_out():
    studies = [
        {
            "name": "a",
            "part": None,
            "seconds": 1.0,
            "dice": {"WT": 0.8},
            "iou": {"WT": 0.8 / 1.2},
            "auroc": {"WT": float("nan")},
        },
        {"name": "b", "part": None, "seconds": 1.0, "dice": {"WT": 0.6}, "iou": {"WT": 0.6 / 1.4}, "auroc": {"WT": 0.9}},
    ]
    mean, interval = evaluation.summarise(studies)
    assert mean["dice"]["WT"] == pytest.approx(0.7) and mean["auroc"]["WT"] == 0.9
    assert interval["dice"]["WT"] == (pytest.approx(0.6), pytest.approx(0.8))


def test_lesions_are_tabled_by_volume():
    table = evaluation.lesion_table([(30.0, False), (100.0, False), (400.0, True), (9000.0, True)])
    assert [(row["lesions"], row["recall"]) for row in table if row["lesions"]] == [(2, 0.5), (1, 1.0)]


@pytest.mark.parametrize("axes", ("LPS", "RAS"))
def test_a_label_map_written_as_nifti_lies_on_the_truth_it_came_from(tmp_path, write, axes):
    study = read_study("A_1", write(tmp_path, "A_1", axes=axes))
    label_map = LabelMap(study.truth, study.geometry, {Label.ET: 0.0}, ModelIdentity("m", "1", "0"))
    evaluation.write_labels(tmp_path / "A_1.nii.gz", Analysis(None, None, label_map))
    written = nibabel.as_closest_canonical(nibabel.load(tmp_path / "A_1.nii.gz"))
    truth = nibabel.as_closest_canonical(nibabel.load(tmp_path / "A_1" / "A_1_seg.nii.gz"))
    expected = np.asarray(truth.dataobj)
    expected[expected == 4] = 3
    assert np.array_equal(np.asarray(written.dataobj), expected) and np.allclose(written.affine, truth.affine)


def prepared() -> PreparedStudy:
    shape = (30, 30, 30)
    brain = np.zeros(shape, dtype=bool)
    brain[3:27, 3:27, 3:27] = True
    image = np.where(brain, 100.0, 0.0).astype(np.float32)[None].repeat(4, 0)
    grid = Geometry(shape, np.eye(4))
    return PreparedStudy(image, np.ones(4, dtype=bool), brain, grid, grid)


def test_noise_has_the_stated_strength_and_stays_within_the_brain():
    study = prepared()
    noisy = rician(study, 0.1)
    assert noisy[0][study.brain].std() == pytest.approx(10, rel=0.05) and not noisy[:, ~study.brain].any()
    assert np.array_equal(noisy, rician(study, 0.1))


def test_robustness_means_leave_out_what_is_not_told():
    told, untold = {"WT": 0.9, "TC": 0.8, "ET": 0.7, "told": 1.0}, {"WT": 0.7, "TC": None, "ET": None, "told": 1.0}
    summary = summarise_robustness([{"T1": told, "T2": untold}, {"T1": told, "T2": untold | {"WT": 0.5, "told": 0.0}}])
    assert summary["dice"]["T1"]["TC"] == 0.8
    assert summary["dice"]["T2"] == {"WT": 0.6, "TC": None, "ET": None, "told": 0.5, "WT of told": 0.7}
    assert "n/a" in summary["table"][1]


def test_pictures_are_made_of_empty_and_of_full_answers(tmp_path):
    image = np.random.default_rng(0).random((6, 20, 20)).astype(np.float32)
    mask = np.zeros((3, 6, 20, 20), dtype=bool)
    mask[:, 2:4, 5:9, 5:9] = True
    overlay(tmp_path / "a.png", "a", {"T1c": image, "FLAIR": image}, mask * False, mask, image[None].repeat(3, 0))
    curve = reliability(image.ravel(), image.ravel() > 0.5)
    reliability_plot(tmp_path / "b.png", {"brain": {"WT": curve, "TC": curve, "ET": curve}})
    assert min((tmp_path / name).stat().st_size for name in ("a.png", "b.png")) > 2000


@pytest.mark.parametrize(
    ("findings", "limit"),
    [
        ([(0.92, 0.9), (0.87, 0.8), (0.83, 0.4), (0.77, 0.0)], 0.85),
        ([(0.92, 0.9), (0.87, 0.8), (0.66, 0.4)], 0.7),
        ([(0.92, 0.9), (0.6, 0.8)], 0.0),
        ([(0.92, 0.1), (0.6, 0.2)], 0.0),
    ],
)
def test_the_limit_for_few_sequences_parts_good_findings_from_bad_ones(findings, limit):
    assert best_limit(findings) == limit


def test_temperatures_are_found_and_never_make_the_truth_less_likely(tmp_path, write):
    study = training_study(read_study("A_1", write(tmp_path, "A_1")))
    rng = np.random.default_rng(0)
    logit = np.where(regions_from_labels(study.labels), 2.0, -2.0) + rng.normal(0, 1.5, (3, *study.labels.shape))
    overconfident = (1 / (1 + np.exp(-3 * logit))).astype(np.float32)
    assert all(temperature > 1.5 for temperature in fit_temperatures([overconfident], [study]))


def test_scores_of_the_truth_are_perfect():
    labels = np.zeros((12, 12, 12), dtype=np.uint8)
    labels[2:9, 2:9, 2:9], labels[3:6, 3:6, 3:6], labels[4, 4, 4] = 2, 1, 3
    assert scores(regions_from_labels(labels).astype(np.float32), labels, LabelRules()) == (1, 1, 1)


@pytest.mark.parametrize("module", (train, evaluate, ablate))
def test_every_option_has_a_help_text(module):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    assert all(action.help for action in parser._actions)
    assert "--data" in parser.format_help()
