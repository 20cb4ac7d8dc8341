"""A rigid move is found; a pose that is already right is kept; images that do not belong together are told apart."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cmdiff_dicom.geometry import Geometry, Volume
from cmdiff_dicom.prepare.register import MIN_QUALITY, register
from cmdiff_dicom.records import Sequence
from cmdiff_dicom.synthesis import acquire, make_head, render
from tests.support.nifti_dicom import native_files, read_nifti

MOVED = (Sequence.T1N, Sequence.T2W, Sequence.T2F)


@pytest.fixture(scope="module")
def head():
    """A head at 1 mm: its four sequences with shading and noise, and its brain."""
    head = make_head(11)
    volumes = {s: acquire(render(head, s, bias=0.1), head.geometry, 0.03, seed=n) for n, s in enumerate(Sequence)}
    return volumes, Volume(head.brain.astype(np.float32), head.geometry)


def moved(volume: Volume, shift_mm, turn_deg, frame: str = "") -> tuple[Volume, np.ndarray]:
    """The volume as if the head had moved before it, and the (4, 4) that leads from the old millimetres to the new ones."""
    centre, move = volume.geometry.centre_mm, np.eye(4)
    move[:3, :3] = Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix()
    move[:3, 3] = centre + shift_mm - move[:3, :3] @ centre
    return Volume(volume.array, Geometry(volume.geometry.shape, move @ volume.geometry.mm_from_index, frame)), move


def mean_error_mm(found, true, brain: Volume) -> float:
    """How far brain voxels lie from where they should, in the mean."""
    mm = brain.geometry.mm(np.argwhere(brain.array > 0)[::97])
    return float(np.linalg.norm(mm @ (found - true)[:3, :3].T + (found - true)[:3, 3], axis=1).mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shift_mm", "turn_deg", "most_mm"), [((1.5, -1.0, 2.0), (1, 2, -1), 0.4), ((6, -9, 12), (8, -5, 4), 0.6)]
)
def test_a_known_move_is_found_in_spite_of_shading_and_noise(head, shift_mm, turn_deg, most_mm):
    volumes, brain = head
    others, moves = {}, {}
    for sequence in MOVED:
        others[sequence], moves[sequence] = moved(volumes[sequence], shift_mm, turn_deg)
    for sequence, alignment in register(volumes[Sequence.T1C], others, brain).items():
        assert mean_error_mm(alignment.sequence_mm_from_reference_mm, moves[sequence], brain) < most_mm, sequence
        assert alignment.quality > 0.5


@pytest.mark.slow
def test_a_head_far_off_in_another_frame_of_reference_is_found(head):
    volumes, brain = head
    far, move = moved(volumes[Sequence.T2W], (70, -40, 60), (12, 0, 6), frame="9.9")
    alignment = register(volumes[Sequence.T1C], {Sequence.T2W: far}, brain)[Sequence.T2W]
    assert mean_error_mm(alignment.sequence_mm_from_reference_mm, move, brain) < 0.4


@pytest.mark.slow
def test_the_headers_pose_is_kept_where_it_is_right(head):
    volumes, brain = head
    found = register(volumes[Sequence.T1C], {s: volumes[s] for s in MOVED}, brain)
    assert [alignment.moved_mm for alignment in found.values()] == [0, 0, 0]
    assert all(np.array_equal(alignment.sequence_mm_from_reference_mm, np.eye(4)) for alignment in found.values())


@pytest.mark.slow
def test_thick_oblique_slices_are_registered_within_half_a_millimetre(head):
    volumes, brain = head
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("x", 12, degrees=True).as_matrix() @ np.eye(3)[:, ::-1] * (5.0, 0.8, 0.8)
    matrix[:3, 3] = volumes[Sequence.T2F].geometry.centre_mm - matrix[:3, :3] @ ((np.array([34, 290, 240]) - 1) / 2)
    thick = acquire(volumes[Sequence.T2F], Geometry((34, 290, 240), matrix), 0.0)
    other, move = moved(thick, (3, 5, -4), (3, 2, 1))
    alignment = register(volumes[Sequence.T1C], {Sequence.T2F: other}, brain)[Sequence.T2F]
    assert mean_error_mm(alignment.sequence_mm_from_reference_mm, move, brain) < 0.6


@pytest.mark.slow
def test_noise_is_explained_by_no_pose(head):
    volumes, brain = head
    grid = volumes[Sequence.T2W].geometry
    noise = Volume(np.random.default_rng(3).rayleigh(50, grid.shape).astype(np.float32), grid)
    alignment = register(volumes[Sequence.T1C], {Sequence.T2W: noise}, brain)[Sequence.T2W]
    assert not alignment.is_credible
    assert alignment.quality < MIN_QUALITY


@pytest.mark.slow
@pytest.mark.parametrize("is_upside_down", [False, True])
def test_a_real_head_upside_down_is_explained_by_no_pose(real_data, is_upside_down):
    files = native_files(real_data)
    flair = read_nifti(files[Sequence.T2F])
    flair = Volume(np.ascontiguousarray(flair.array[::-1]), flair.geometry) if is_upside_down else flair
    brain = read_nifti(files[Sequence.T1C].with_name("T1c_brainmask_hdbet.nii.gz"))
    alignment = register(read_nifti(files[Sequence.T1C]), {Sequence.T2F: flair}, brain)[Sequence.T2F]
    assert alignment.is_credible is not is_upside_down


@pytest.mark.slow
def test_the_same_images_give_the_same_pose_to_the_last_bit(head):
    volumes, brain = head
    other, _ = moved(volumes[Sequence.T1N], (4, 2, 1), (2, 0, 3))
    first, second = (register(volumes[Sequence.T1C], {Sequence.T1N: other}, brain)[Sequence.T1N] for _ in range(2))
    assert np.array_equal(first.sequence_mm_from_reference_mm, second.sequence_mm_from_reference_mm)
    assert first.quality == second.quality


def test_an_empty_image_is_explained_by_no_pose():
    head = make_head(11, spacing_mm=4.0)
    reference = render(head, Sequence.T1C)
    empty = Volume(np.zeros(reference.geometry.shape, np.float32), reference.geometry)
    brain = Volume(head.brain.astype(np.float32), head.geometry)
    assert not register(reference, {Sequence.T2W: empty}, brain)[Sequence.T2W].is_credible
