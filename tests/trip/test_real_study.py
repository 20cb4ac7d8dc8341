"""A real glioma, skull on, four series on oblique grids of their own and two head positions, from Orthanc and back to it.

The truth is the supplied consensus of five BraTS algorithms, carried onto the reference's grid; the best of them, which
had a vote, reaches .91 for the whole tumour and .97 for its core.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from cmdiff_dicom.ledger import JobState
from cmdiff_dicom.overlay import draw_overlay
from cmdiff_dicom.records import Label, Sequence
from tests.support.nifti_dicom import native_files, read_nifti, write_nifti_study
from tests.support.node import free_port, running_node, wait_for_result
from tests.support.orthanc import needs_orthanc, running_orthanc
from tests.support.reading import dice_of_regions, labels_on

pytestmark = [needs_orthanc, pytest.mark.slow]

OUTPUT = Path(__file__).parents[1] / "output"


@pytest.fixture(scope="module")
def trip(real_data, tmp_path_factory):
    """The study is stored in Orthanc, routed to the node by C-STORE, and waited for: (job, deliveries, the SEG in Orthanc)."""
    folder = tmp_path_factory.mktemp("real")
    port = free_port()
    with (
        running_orthanc(folder / "orthanc", "ORTHANC", {"cmdiff": ("CMDIFF", port)}) as orthanc,
        running_node(folder / "node", port, (orthanc.ae_title, orthanc.dicom_port)) as node,
    ):
        for file in sorted(write_nifti_study(folder / "study", native_files(real_data)).rglob("*.dcm")):
            orthanc.post("/instances", file.read_bytes())
        (study,) = orthanc.find("Study")
        orthanc.post("/modalities/cmdiff/store", {"Resources": [study], "Synchronous": True})
        job = wait_for_result(node.ledger)
        stored = [dcmread(BytesIO(orthanc.get_bytes(f"/instances/{i}/file"))) for i in orthanc.find("Instance", Modality="SEG")]
        yield job, node.ledger.deliveries(job.key), stored


@pytest.fixture(scope="module")
def found_and_truth(trip, real_data):
    """Labels on the reference's grid, as the stored SEG says and as the consensus says."""
    consensus = read_nifti(native_files(real_data)[Sequence.T1C].with_name("T1c_label_ours.nii.gz"))
    truth = consensus.array.astype(np.uint8)
    truth[truth == 4] = Label.ET
    (seg,) = trip[2]
    return labels_on(seg, consensus.geometry), truth, consensus.geometry


def test_orthanc_stores_one_seg_and_commits_to_it(trip):
    job, deliveries, stored = trip
    assert job.state is JobState.SEGMENTED, job.reason
    assert [delivery.state.name for delivery in deliveries] == ["COMMITTED"]
    assert [seg.SOPInstanceUID for seg in stored] == [job.sop_uid]


@pytest.fixture(scope="module")
def dice(found_and_truth, real_data):
    """Dice of each region with the consensus; the picture to judge it by is kept in tests/output."""
    found, truth, _ = found_and_truth
    scores = dice_of_regions(found, truth)
    caption = f"TCGA-FG-6692, consensus outlined: Dice {', '.join(f'{name} {value:.2f}' for name, value in scores.items())}"
    OUTPUT.mkdir(exist_ok=True)
    draw_overlay(read_nifti(native_files(real_data)[Sequence.T1C]), found, OUTPUT / "real_study.png", caption, truth)
    return scores


def centre_off_mm(found, truth, grid) -> float:
    """How far apart the centres of both tumours are."""
    ours, theirs = (grid.mm(np.argwhere(labels > 0)).mean(axis=0) for labels in (found, truth))
    return float(np.linalg.norm(ours - theirs))


def test_the_tumour_is_found_where_the_consensus_has_it(found_and_truth, dice):
    found, truth, grid = found_and_truth
    assert centre_off_mm(found, truth, grid) <= 5.0
    assert dice["WT"] >= 0.75
    assert dice["TC"] >= 0.6
