"""The brain is found where it is, on the grid it was given; what is no brain is said to be none."""

import numpy as np
import pytest

from cmdiff_dicom.geometry import Geometry, Volume
from cmdiff_dicom.prepare import brain
from cmdiff_dicom.prepare.brain import find_brain, finish_mask, stripped_brain
from cmdiff_dicom.records import Sequence
from cmdiff_dicom.research.metrics import dice
from cmdiff_dicom.synthesis import make_head, render
from tests.support.grids import reordered, turned
from tests.support.nifti_dicom import brats_files, read_nifti


def ball(shape, centre, radius):
    return np.linalg.norm(np.stack(np.indices(shape), -1) - np.array(centre), axis=-1) <= radius


@pytest.fixture(scope="module")
def coarse_head():
    return make_head(4, tumour=False, spacing_mm=2.0)


def stripped(head, sequence=Sequence.T1C) -> Volume:
    return Volume(np.where(head.brain, render(head, sequence).array, np.float32(0)), head.geometry)


# --- skull-stripped before ---------------------------------------------------------------------


def test_a_brain_cut_out_before_is_noticed(coarse_head):
    assert stripped_brain(stripped(coarse_head)) is not None


@pytest.mark.parametrize(("order", "least"), [(1, 0.95), (3, 0.99)], ids=["linear", "spline"])
def test_a_brain_cut_out_before_is_noticed_after_it_was_turned(coarse_head, order, least):
    volume = stripped(coarse_head)
    tilted = turned(volume, 20.0, order)
    found = stripped_brain(tilted)
    assert found is not None
    truth = turned(Volume((volume.array > 0).astype(np.float32), volume.geometry), 20.0, order=1).array > 0.5
    assert dice(found, truth) > least


@pytest.mark.parametrize("change", [lambda a: a - 1024, lambda a: a * 1e-8, lambda a: a / 50 - 3], ids=["offset", "scale", "z-score"])
def test_a_brain_cut_out_before_is_noticed_whatever_its_offset_and_scale(coarse_head, change):
    volume = stripped(coarse_head)
    found = stripped_brain(Volume(np.asarray(change(volume.array), np.float32), volume.geometry))
    assert found is not None
    assert np.array_equal(found, stripped_brain(volume))


def test_a_head_on_exact_zeros_is_not_taken_for_a_brain(coarse_head):
    head = render(coarse_head, Sequence.T1C).array
    cleaned = Volume(np.where(coarse_head.tissue > 0, head, np.float32(0)), coarse_head.geometry)
    assert np.mean(cleaned.array == 0) > 0.3
    assert stripped_brain(cleaned) is None


def test_a_brain_in_two_pieces_is_not_taken_for_one(coarse_head):
    volume = stripped(coarse_head)
    cut = volume.array.copy()
    middle = cut.shape[2] // 2
    cut[:, :, middle - 2 : middle + 3] = 0
    assert stripped_brain(Volume(cut, volume.geometry)) is None


def test_an_empty_volume_is_not_skull_stripped():
    assert stripped_brain(Volume(np.zeros((20, 20, 20), np.float32), Geometry((20, 20, 20), np.eye(4)))) is None


# --- plausible or not --------------------------------------------------------------------------


def returning(monkeypatch, mask):
    """The extraction answers with this mask (k, j, i)."""

    class Extractor:
        def run(self, image):
            import nibabel

            return None, nibabel.Nifti1Image(mask.transpose(2, 1, 0).astype(np.uint8), image.affine), 0.0

    monkeypatch.setattr(brain, "_extractor", Extractor)


GRID = Geometry((60, 60, 60), np.diag([3.0, 3.0, 3.0, 1.0]))


def bright(mask) -> Volume:
    """A scan in which just this is bright, in folds of two tissues."""
    folds = np.where(np.indices(GRID.shape).sum(0) // 5 % 2, np.float32(100), np.float32(70))
    return Volume(np.where(mask, folds, np.float32(10)), GRID)




@pytest.mark.parametrize(("radius", "is_found"), [(15, False), (21, True), (28, False)])
def test_a_mask_of_382_ml_or_2483_ml_is_no_brain_and_one_of_1047_ml_is(monkeypatch, radius, is_found):
    found = ball(GRID.shape, (30, 30, 30), radius)
    returning(monkeypatch, found)
    mask, reason = find_brain(bright(found))
    assert (mask is not None) is is_found
    assert bool(reason) is not is_found


def test_a_mask_in_two_large_pieces_is_no_brain(monkeypatch):
    found = ball(GRID.shape, (30, 30, 18), 16) | ball(GRID.shape, (30, 30, 52), 10)
    returning(monkeypatch, found)
    assert find_brain(bright(found)) == (None, "a mask in several pieces")


def test_a_speck_beside_the_brain_is_dropped(monkeypatch):
    whole = ball(GRID.shape, (30, 30, 30), 21)
    returning(monkeypatch, whole | ball(GRID.shape, (5, 5, 5), 2))
    assert np.array_equal(find_brain(bright(whole))[0], whole)


def test_a_mask_of_a_brains_size_in_the_midst_of_noise_is_no_brain(monkeypatch):
    returning(monkeypatch, ball(GRID.shape, (30, 30, 30), 21))
    noise = np.random.default_rng(0).rayleigh(40, GRID.shape).astype(np.float32)
    assert find_brain(Volume(noise, GRID)) == (None, "a mask without a skull around it")


@pytest.mark.parametrize(("noise", "shading"), [(1.0, 0.0), (5.0, 0.3)])
def test_a_bottle_of_a_brains_size_is_no_brain(monkeypatch, noise, shading):
    bottle = ball(GRID.shape, (30, 30, 30), 21)
    uneven = 100 * (1 + shading * np.sin(np.indices(GRID.shape)[1] / 15))
    rng = np.random.default_rng(0)
    scan = np.hypot(np.where(bottle, uneven, 0) + rng.normal(0, noise, GRID.shape), rng.normal(0, noise, GRID.shape))
    returning(monkeypatch, bottle)
    assert find_brain(Volume(scan.astype(np.float32), GRID)) == (None, "a mask around uniform brightness, as of a bottle of fluid")
    assert stripped_brain(Volume(np.where(bottle, scan, 0).astype(np.float32), GRID)) is None


def test_an_extraction_that_gives_up_is_told_as_no_brain(monkeypatch):
    class Extractor:
        def run(self, image):
            raise ValueError("attempt to get argmax of an empty sequence")

    monkeypatch.setattr(brain, "_extractor", Extractor)
    mask, reason = find_brain(bright(ball(GRID.shape, (30, 30, 30), 21)))
    assert mask is None
    assert "brain" in reason


# --- the finished mask -------------------------------------------------------------------------


def test_the_finished_mask_is_whole_without_holes_and_one_voxel_wider():
    raw = ball((60, 60, 60), (30, 30, 30), 20)
    holed = raw & ~ball(raw.shape, (30, 30, 35), 5) | ball(raw.shape, (3, 3, 3), 2)
    finished = finish_mask(holed, [])
    assert np.all(finished[raw])
    assert not finished[3, 3, 3]
    assert finished[30, 30, 51]
    assert not finished[30, 30, 52]


def test_what_hangs_on_the_mask_by_a_neck_is_cut_off_and_a_broad_lobe_is_not():
    brain_itself, eye = ball((80, 80, 100), (40, 40, 40), 28), ball((80, 80, 100), (40, 40, 85), 9)
    neck, lobe = np.zeros_like(eye), ball(eye.shape, (40, 10, 40), 12)
    neck[38:42, 38:42, 60:80] = True
    finished = finish_mask(brain_itself | eye | neck | lobe, [])
    assert not finished[eye].any()
    assert finished[brain_itself | lobe].all()


def test_a_bright_tumour_cut_off_at_the_surface_is_kept_and_a_bright_sheet_is_not():
    raw = ball((80, 80, 80), (40, 40, 40), 28)
    image = np.random.default_rng(0).normal(100, 5, raw.shape).astype(np.float32)
    tumour = ball(raw.shape, (40, 40, 64), 9)
    image[tumour] = 220
    image[:, :6] = 300
    dura = ball(raw.shape, (40, 40, 40), 31) & ~ball(raw.shape, (40, 40, 40), 29) & ~tumour
    image[dura] = 250
    finished = finish_mask(raw & ~ball(raw.shape, (40, 40, 72), 6), [image])
    within_reach = tumour & ball(raw.shape, (40, 40, 40), 31)
    assert np.mean(finished[within_reach]) > 0.97
    far_dura = dura & (np.indices(raw.shape)[2] < 40) & ~ball(raw.shape, (40, 40, 40), 29.8)
    assert np.mean(finished[far_dura]) < 0.02


def test_bright_scalp_that_touches_the_mask_is_left_outside():
    raw = ball((80, 80, 80), (40, 40, 40), 28)
    image = np.full(raw.shape, 100, np.float32)
    scalp = ball(raw.shape, (40, 40, 40), 38) & ~ball(raw.shape, (40, 40, 40), 28)
    image[scalp] = 250
    assert np.array_equal(finish_mask(raw, [image]), finish_mask(raw, []))


# --- the extraction itself ---------------------------------------------------------------------


@pytest.mark.slow
def test_left_stays_left_in_any_order_of_the_axes():
    """Of a head whose right half is blank, the mask keeps to the left half; were it turned, it would lie on the right."""
    head = make_head(4, tumour=False, spacing_mm=2.0)
    values = render(head, Sequence.T1N).array.copy()
    values[:, :, : head.geometry.shape[2] // 2 - 6] = 0
    for axes, flips in [((0, 1, 2), (False, False, False)), ((2, 0, 1), (True, False, True)), ((1, 2, 0), (False, True, True))]:
        volume = reordered(Volume(values, head.geometry), axes, flips)
        found, _ = brain._extractor().run(_nifti(volume))[1:]
        mask = np.asarray(found.dataobj).transpose(2, 1, 0) > 0
        assert mask.sum() > 10_000
        assert np.mean(volume.array[mask] == 0) < 0.35, (axes, flips)


def _nifti(volume):
    import nibabel

    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.geometry.mm_from_index[:, [2, 1, 0, 3]]
    return nibabel.Nifti1Image(np.ascontiguousarray(volume.array.transpose(2, 1, 0)), affine)


@pytest.mark.slow
def test_noise_has_no_brain():
    values = np.random.default_rng(0).rayleigh(40, (80, 90, 90)).astype(np.float32)
    mask, reason = find_brain(Volume(values, Geometry(values.shape, np.diag([2.0, 2.0, 2.0, 1.0]))))
    assert mask is None, reason


@pytest.mark.slow
@pytest.mark.parametrize("name", ["BraTS-GLI-00012-000", "BraTS2021_01484", "Brats18_CBICA_ALU_1"])
def test_next_to_nothing_of_a_real_stripped_brain_counts_as_faint(real_data, name):
    for path in brats_files(real_data / "brats" / name).values():
        volume = read_nifti(path)
        left = stripped_brain(volume)
        assert left is not None
        assert left.sum() > 0.98 * np.count_nonzero(volume.array)


REAL = [
    ("native/tcga_fg_6692/T1.nii.gz", "native/tcga_fg_6692/T1_brainmask_hdbet.nii.gz", 0.94),
    ("native/tcga_fg_6692/T1c.nii.gz", "native/tcga_fg_6692/T1c_brainmask_hdbet.nii.gz", 0.94),
    ("native/tcga_fg_6692/T2.nii.gz", "native/tcga_fg_6692/T2_brainmask_hdbet.nii.gz", 0.92),
    ("native/tcga_fg_6692/FLAIR.nii.gz", "native/tcga_fg_6692/FLAIR_brainmask_hdbet.nii.gz", 0.92),
    ("heads/openms_p01_s2/T1W.nii.gz", "heads/openms_p01_s2/T1W_brainmask_ours.nii.gz", 0.94),
    ("heads/openms_p01_s2/T2W.nii.gz", "heads/openms_p01_s2/T2W_brainmask_ours.nii.gz", 0.92),
    ("heads/openms_p01_s2/FLAIR.nii.gz", "heads/openms_p01_s2/FLAIR_brainmask_ours.nii.gz", 0.92),
    ("heads/openms_p12_s1/FLAIR.nii.gz", "heads/openms_p12_s1/FLAIR_brainmask_ours.nii.gz", 0.92),
]


@pytest.mark.slow
@pytest.mark.parametrize(("image", "supplied", "least"), REAL)
def test_real_heads_have_the_brain_that_was_supplied_with_them(real_data, image, supplied, least):
    volume = read_nifti(real_data / image)
    assert stripped_brain(volume) is None
    mask, reason = find_brain(volume)
    assert mask is not None, reason
    assert dice(mask, read_nifti(real_data / supplied).array > 0) >= least
