"""What is served is what was evaluated: BraTS studies written as DICOM score what `evaluate` scores on the same files."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from cmdiff_dicom.analyse import analyse
from cmdiff_dicom.assemble import assemble_study, choose_stacks
from cmdiff_dicom.receive import read_folder
from cmdiff_dicom.research.brats import read_study
from cmdiff_dicom.research.evaluation import REFERENCE
from cmdiff_dicom.segment import load_segmenter
from cmdiff_dicom.segment_folder import SEGMENTED, Memory, segment_folder
from cmdiff_dicom.settings import SegmentSettings
from tests.support.grids import turned_grid
from tests.support.nifti_dicom import brats_files, write_nifti_study
from tests.support.reading import dice_of_regions, labels_on, resampled_labels

pytestmark = pytest.mark.slow

STUDIES = ("BraTS2021_00014", "BraTS2021_00031", "Brats17_TCIA_105_1", "Brats18_CBICA_ALU_1")


@pytest.fixture(scope="module")
def evaluated(real_data):
    """Study -> (its labels by `evaluate`'s way, its truth, its grid), analysed once."""
    segmenter = load_segmenter()
    known = {}

    def evaluate(name):
        if name not in known:
            study = read_study(name, real_data / "brats" / name)
            labels = analyse(study.volumes, REFERENCE, segmenter).label_map.labels
            known[name] = (labels, study.truth, study.geometry)
        return known[name]

    return evaluate


def served(folder: Path, real_data: Path, name: str, **how):
    """The SEG that `cmdiff-dicom segment` makes of the study as DICOM."""
    study = write_nifti_study(folder / "study", brats_files(real_data / "brats" / name), key=name, **how)
    outcome = segment_folder(study, folder / "result", SegmentSettings(), min_slices=8)
    assert outcome.status == SEGMENTED, outcome.text
    return dcmread(folder / "result" / "segmentation.dcm")


@pytest.mark.parametrize("is_reversed", [False, True], ids=["straight", "reversed"])
@pytest.mark.parametrize("name", STUDIES[:2])
def test_a_study_as_dicom_is_assembled_into_the_very_volumes_that_evaluate_reads(name, is_reversed, real_data, tmp_path):
    folder = write_nifti_study(tmp_path, brats_files(real_data / "brats" / name), key=name, is_reversed=is_reversed)
    memory = Memory()
    choice = choose_stacks(read_folder(folder, memory.keep).instances, min_slices=8)
    assembled = assemble_study(choice, memory.read)
    read = read_study(name, real_data / "brats" / name)
    assert assembled.reference is REFERENCE
    for sequence, volume in read.volumes.items():
        assert assembled.volumes[sequence].geometry.is_close(volume.geometry, 1e-6)
        np.testing.assert_array_equal(assembled.volumes[sequence].array, volume.array)


@pytest.mark.timeout(1800)
def test_a_study_as_dicom_scores_what_evaluate_scores(evaluated, real_data, tmp_path):
    labels, truth, grid = evaluated(STUDIES[0])
    seg = served(tmp_path, real_data, STUDIES[0], is_reversed=True)
    assert dice_of_regions(labels_on(seg, grid), truth) == pytest.approx(dice_of_regions(labels, truth), abs=0.001)
    assert labels.any()


@pytest.mark.timeout(3600)
def test_on_a_grid_turned_by_20_degrees_the_mean_of_four_studies_hardly_falls(evaluated, real_data, tmp_path):
    lost = []
    for name in STUDIES:
        labels, truth, grid = evaluated(name)
        onto = turned_grid(grid, 20.0)
        seg = served(tmp_path / name, real_data, name, turn_deg=20.0)
        ours, theirs = dice_of_regions(labels_on(seg, onto), resampled_labels(truth, grid, onto)), dice_of_regions(labels, truth)
        lost.append([theirs[region] - ours[region] for region in ("WT", "TC", "ET")])
    whole, core, enhancing = np.mean(lost, axis=0)  # a gain is no fault
    assert whole <= 0.01
    assert core <= 0.03
    assert enhancing <= 0.03
