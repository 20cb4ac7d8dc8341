"""A study becomes one image on one grid: poses that hold are kept, strays are left out, nothing is guessed."""

import numpy as np
import pytest

from cmdiff_dicom.errors import BrainNotFound, RegistrationFailed
from cmdiff_dicom.geometry import Geometry, Volume, resample
from cmdiff_dicom.prepare import prepare_study, study
from cmdiff_dicom.records import Sequence
from cmdiff_dicom.synthesis import acquire, make_head, render
from tests.support.grids import ORDERS, reordered
from tests.support.nifti_dicom import read_nifti


@pytest.fixture(scope="module")
def head():
    return make_head(6, spacing_mm=2.0)


def at_1_mm(array, like: Geometry) -> Volume:
    """A small stand-in: the same numbers read as voxels of 1 mm, so that a quick coarse head fits the model grid."""
    matrix = like.mm_from_index.copy()
    matrix[:3] /= like.spacing_mm[0]
    return Volume(np.asarray(array, np.float32), Geometry(array.shape, matrix, "1.2"))


@pytest.fixture
def stripped(head, monkeypatch):
    """Four sequences of a brain that was cut out before, at 1 mm, an eighth of a brain's size."""
    monkeypatch.setattr("cmdiff_dicom.prepare.brain.STRIPPED_ML", (80.0, 250.0))
    return {s: at_1_mm(np.where(head.brain, np.maximum(render(head, s).array, 1), 0), head.geometry) for s in Sequence}


@pytest.fixture
def quick_brain(monkeypatch, head):
    """The extraction's stand-in: it knows the head's brain on any grid that shows it."""

    def find(volume):
        truth = Volume(head.brain.astype(np.float32), head.geometry)
        return resample(truth, volume.geometry, order=0) > 0.5, ""

    monkeypatch.setattr(study, "find_brain", find)


def scans(head) -> dict[Sequence, Volume]:
    return {s: acquire(render(head, s), head.geometry, 0.02, seed=n) for n, s in enumerate(Sequence)}


def test_a_stripped_study_of_1_mm_passes_unchanged(stripped):
    prepared = prepare_study(stripped, Sequence.T1C)
    for channel, sequence in enumerate(Sequence):
        assert np.array_equal(prepared.image[channel], resample(stripped[sequence], prepared.grid))
    assert np.array_equal(prepared.brain, prepared.image.any(axis=0))
    assert all(quality == 1 for quality in prepared.registration.values())
    assert prepared.available.all()


def test_nothing_of_a_stripped_brain_is_cropped_away(stripped):
    prepared = prepare_study(stripped, Sequence.T1C)
    assert prepared.brain.sum() == np.count_nonzero(stripped[Sequence.T1C].array)


@pytest.mark.parametrize(("axes", "flips"), ORDERS[::7])
def test_a_study_with_its_axes_reordered_gives_the_same_image_on_the_same_grid(stripped, axes, flips):
    straight = prepare_study(stripped, Sequence.T1C)
    other = prepare_study({s: reordered(volume, axes, flips) for s, volume in stripped.items()}, Sequence.T1C)
    assert other.grid.is_close(straight.grid, 1e-6)
    assert np.array_equal(other.image, straight.image)


def test_the_scanners_grid_is_the_references_own(stripped):
    assert prepare_study(stripped, Sequence.T2F).scanner_grid is stripped[Sequence.T2F].geometry


def test_a_missing_sequence_is_nothing_and_is_said_to_be_missing(stripped):
    del stripped[Sequence.T1N]
    prepared = prepare_study(stripped, Sequence.T1C)
    assert prepared.available.tolist() == [False, True, True, True]
    assert not prepared.image[0].any()


@pytest.mark.slow
def test_a_head_keeps_its_headers_poses_where_they_are_right(head, quick_brain):
    prepared = prepare_study(scans(head), Sequence.T1C)
    assert set(prepared.registration) == {Sequence.T1N, Sequence.T2W, Sequence.T2F}
    assert min(prepared.registration.values()) > 0.5
    assert sum("pose of the header" in note for note in prepared.notes) == 3
    assert np.all(prepared.grid.spacing_mm == 1)


@pytest.mark.slow
def test_a_stray_sequence_is_left_out_with_a_note(head, quick_brain):
    volumes = scans(head)
    grid = volumes[Sequence.T2W].geometry
    volumes[Sequence.T2W] = Volume(np.random.default_rng(0).rayleigh(40, grid.shape).astype(np.float32), grid)
    prepared = prepare_study(volumes, Sequence.T1C)
    assert prepared.available.tolist() == [True, True, False, True]
    assert any(note.startswith("T2: no pose explains it") for note in prepared.notes)


@pytest.mark.slow
def test_strays_in_place_of_both_flair_and_t2_refuse_the_study(head, quick_brain):
    volumes = scans(head)
    grid = volumes[Sequence.T2W].geometry
    for seed, sequence in enumerate((Sequence.T2W, Sequence.T2F)):
        volumes[sequence] = Volume(np.random.default_rng(seed).rayleigh(40, grid.shape).astype(np.float32), grid)
    with pytest.raises(RegistrationFailed, match=r"FLAIR: no pose explains it.*wanted FLAIR or T2"):
        prepare_study(volumes, Sequence.T1C)


def test_a_study_without_a_brain_is_refused_with_the_reason_of_every_sequence(head, monkeypatch):
    monkeypatch.setattr(study, "find_brain", lambda volume: (None, "a mask of 12 ml"))
    with pytest.raises(BrainNotFound, match=r"T1c: a mask of 12 ml; T1: a mask of 12 ml; FLAIR: .*; T2: "):
        prepare_study(scans(head), Sequence.T1C)


def test_the_next_sequence_is_asked_where_one_shows_no_brain(head, monkeypatch):
    asked = []

    def find(volume):
        asked.append(volume.name)
        return (head.brain, "") if len(asked) == 2 else (None, "nothing")

    monkeypatch.setattr(study, "find_brain", find)
    monkeypatch.setattr(study, "register", lambda reference, others, brain: dict.fromkeys(others, study.OWN_POSE))
    prepared = prepare_study(scans(head), Sequence.T1C)
    assert asked == ["T1c", "T1"]
    assert prepared.notes[0] == "brain found on T1"


@pytest.mark.slow
def test_a_head_cut_below_the_eyes_or_inverted_is_no_empty_result(head):
    volumes = {s: Volume(v.array[: v.array.shape[0] // 4], Geometry((v.array.shape[0] // 4, *v.geometry.shape[1:]), v.geometry.mm_from_index)) for s, v in scans(head).items()}
    with pytest.raises(BrainNotFound):
        prepare_study(volumes, Sequence.T1C)


@pytest.fixture(scope="module")
def glioma(real_data):
    """A real glioma with skull on thick oblique slices, prepared; and its label on the model grid."""
    folder = real_data / "native" / "tcga_fg_6692"
    prepared = prepare_study({s: read_nifti(folder / f"{s.value}.nii.gz") for s in Sequence}, Sequence.T1C)
    return folder, prepared


@pytest.mark.slow
def test_two_head_positions_of_a_real_glioma_are_brought_together(glioma):
    """Edges of every sequence lie on those of the reference, and no longer do six millimetres off."""
    _, prepared = glioma
    assert prepared.available.all()
    assert min(prepared.registration.values()) > 0.6
    edges = [np.abs(np.gradient(image.astype(float), axis=2)) * prepared.brain for image in prepared.image]
    t1c = edges[1][prepared.brain]
    agreement = [np.corrcoef(t1c, edge[prepared.brain])[0, 1] for edge in edges]
    shifted = [np.corrcoef(t1c, np.roll(edge, 6, axis=1)[prepared.brain])[0, 1] for edge in edges]
    assert all(here > 1.5 * there for here, there in zip(agreement, shifted, strict=True))


@pytest.mark.slow
def test_the_brain_of_a_real_glioma_loses_no_tumour(glioma):
    folder, prepared = glioma
    label = read_nifti(folder / "T1c_label_ours.nii.gz")
    tumour = resample(Volume((label.array > 0).astype(np.float32), label.geometry), prepared.grid) > 0.5
    assert np.mean(~prepared.brain[tumour]) < 0.005
