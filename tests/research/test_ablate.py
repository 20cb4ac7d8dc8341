"""The ablation: paired differences, the verdict on diffusion, the bar against the control, and one run in small."""

import argparse
import json

import numpy as np
import pytest
import torch

from cmdiff_dicom.errors import SettingsFault
from cmdiff_dicom.geometry import box_around
from cmdiff_dicom.records import PreparedStudy, Sequence
from cmdiff_dicom.research import ablate, comparison, replacement
from cmdiff_dicom.research.answers import ask, averaged, brought_home
from cmdiff_dicom.research.brats import read_study
from cmdiff_dicom.research.studies import brain_of, training_study
from cmdiff_dicom.segment import Segmenter
from cmdiff_dicom.segment.weights import build_network, save_weights
from tests.support.commands import called
from tests.support.small_weights import SMALL

BASE = np.array([[0.9, 0.8, 0.7], [0.8, 0.7, 0.6], [0.7, 0.8, 0.6]])


def judged(direct, one_step, control=None):
    """The report where the default is better than the rows by so much in every study."""
    rows = {comparison.DEFAULT: 0.0, comparison.DIRECT: direct, comparison.ONE_STEP: one_step}
    if control is not None:
        rows[comparison.CONTROL] = control
    table = {name: [tuple(row) for row in BASE - difference] for name, difference in rows.items()}
    return {
        "parts": "tune,test",
        "default": "S 2",
        "studies": ["a", "b", "c"],
        "error of one sample over error of their mean": 1.0,
        **comparison.compare(table),
    }


def test_above_0_means_that_the_default_is_better():
    report = judged(direct=0.01, one_step=-0.02)
    assert report["rows"][comparison.DIRECT]["default_minus_this"]["mean"] == pytest.approx(0.01)
    assert report["rows"][comparison.ONE_STEP]["default_minus_this"]["mean"] == pytest.approx(-0.02)
    assert any("above 0 the default is better" in line for line in comparison.lines(report))


@pytest.mark.parametrize(
    ("direct", "one_step", "verdict"),
    (
        (0.01, 0.01, "USEFUL"),
        (0.01, 0.0, "UNDECIDED"),
        (0.01, -0.01, "UNDECIDED"),
        (-0.01, 0.01, "UNDECIDED"),
        (0.004, -0.004, "ORNAMENTAL"),
        (0.0, 0.0, "ORNAMENTAL"),
        (0.004, 0.004, "USEFUL"),
        (-0.01, -0.01, "UNDECIDED"),
    ),
)
def test_the_verdict_asks_samples_and_steps(direct, one_step, verdict):
    report = judged(direct, one_step)
    assert report["verdict"] == verdict
    assert any(line.startswith(f"diffusion is {verdict}") for line in comparison.lines(report))


@pytest.mark.parametrize(("difference", "met"), ((0.02, True), (0.0, True), (-0.009, True), (-0.011, False), (-0.1, False)))
def test_the_bar_against_the_control_is_told_as_met_or_missed(difference, met):
    report = judged(0.0, 0.0, difference)
    assert report["control_bar"]["met"] is met
    line = next(line for line in comparison.lines(report) if "bar" in line)
    assert ("bar met" in line, "bar MISSED" in line) == (met, not met)


def test_the_bar_looks_at_the_lower_end_and_not_at_the_mean():
    rows = {comparison.DEFAULT: BASE, comparison.DIRECT: BASE, comparison.ONE_STEP: BASE, comparison.CONTROL: BASE - [[0.1], [0.1], [-0.1]]}
    report = comparison.compare({name: [tuple(row) for row in values] for name, values in rows.items()})
    assert report["control_bar"]["mean"] > 0 and not report["control_bar"]["met"]


def test_without_a_control_no_bar_is_told():
    report = judged(0.0, 0.0)
    assert "control_bar" not in report and not any("bar" in line for line in comparison.lines(report))


def test_what_is_measured_is_what_is_served(tmp_path, write):
    torch.manual_seed(0)
    recipe = SMALL.but(filter="adaptive", temperatures=(1.6, 0.7, 2.0))
    model = Segmenter(build_network(recipe), recipe, "0" * 64)
    labelled = read_study("A_1", write(tmp_path, "A_1"))
    study = training_study(labelled, recipe)
    said = brought_home(ask(model.network, study, recipe, "cpu", False), study)
    measured = ablate.served(averaged(said, study, recipe.direct_weight, recipe.samples), recipe) * study.brain
    image, grid = np.stack([labelled.volumes[sequence].array for sequence in Sequence]), labelled.geometry
    result = model.segment(PreparedStudy(image, np.ones(4, dtype=bool), brain_of(image), grid, grid))
    inside = result.probability[(slice(None), *box_around(brain_of(image)))]
    assert np.allclose(measured, inside, atol=0.01) and inside.std() > 0.02
    assert not np.allclose(averaged(said, study, recipe.direct_weight, recipe.samples), inside, atol=0.01), "temperatures count"


@pytest.fixture(scope="module")
def in_small(tmp_path_factory, write):
    """Weights of an untrained model and its control, and a folder of three studies of which one is for tuning."""
    place = tmp_path_factory.mktemp("ablation")
    names = [f"BraTS2021_{n:05d}" for n in range(3)]
    for name in names:
        write(place / "studies", name)
    torch.manual_seed(0)
    recipe = SMALL.but(split={"train": (names[0],), "tune": (names[1],), "test": (names[2],)})
    save_weights(place / "full.safetensors", build_network(recipe), recipe)
    control = recipe.but(network="direct-3d")
    save_weights(place / "control.safetensors", build_network(control), control)
    return place


def ablated(in_small, weights, *more):
    return called("ablate", "--data", in_small / "studies", "--weights", in_small / weights, "--device", "cpu", *more)


def test_one_run_in_small_measures_every_row_of_every_study_asked_for(in_small, capsys):
    control, file = in_small / "control.safetensors", in_small / "out.json"
    assert ablated(in_small, "full.safetensors", "--control", control, "--json", file) == 0
    report = json.loads(file.read_text())
    assert report["studies"] == ["BraTS2021_00001", "BraTS2021_00002"]
    wanted = {comparison.DEFAULT, comparison.DIRECT, comparison.CONTROL, "w 0: samples alone", "filter adaptive"}
    wanted |= {"S 1", "S 2", "S 4", "S 8", "E 1", "E 4", "without rules for parts"}
    assert wanted <= set(report["rows"])
    assert report["rows"]["S 2"]["default_minus_this"]["interval_90"] == [0, 0], "S 2 is the default"
    assert all(len(values) == 2 for values in report["dice_by_study"].values())
    assert set(report["x_t replaced"]["fresh noise"]) == {"1.0", "0.75", "0.5", "0.25", "0.1"}
    assert all(0 <= value <= 1 for value in report["what finds errors"].values()) and len(report["what finds errors"]) == 5
    printed = capsys.readouterr()
    assert "diffusion is" in printed.out and "bar " in printed.out and "variance over steps" in printed.out
    assert "1/2" in printed.err and "2/2" in printed.err and "left" in printed.err


def test_a_part_that_the_split_does_not_have_is_a_named_fault(in_small):
    with pytest.raises(SettingsFault, match="no part 'tuning'"):
        ablated(in_small, "full.safetensors", "--parts", "tuning,test")


def test_a_control_in_the_place_of_the_full_model_is_a_named_fault(in_small):
    with pytest.raises(SettingsFault, match="control without diffusion"):
        ablated(in_small, "control.safetensors")


def test_the_help_teaches_how_to_read_the_table():
    parser = argparse.ArgumentParser()
    ablate.add_arguments(parser)
    said = parser.format_help()
    assert "above 0" in said and "USEFUL" in said and "ORNAMENTAL" in said and "-0.01" in said


def test_only_what_stands_for_x_t_changes_the_answer(tmp_path, write):
    torch.manual_seed(0)
    study = training_study(read_study("A_1", write(tmp_path, "A_1")))
    answers, own = replacement.replaced(Segmenter(build_network(SMALL), SMALL, "0" * 64), study, None)
    assert all(answer.change == 0 for answer in answers[replacement.OWN].values())
    assert answers["another study's"] == answers[replacement.OWN], "there is no other study yet"
    assert all(answers["empty mask"][level].change > 0 for level in (0.5, 0.25, 0.1))
    assert float(own.abs().max()) <= SMALL.signal_scale
