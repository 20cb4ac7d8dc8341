"""Small BraTS studies, written as files."""

import nibabel
import numpy as np
import pytest

OLD = {"t1": 0, "t1ce": 1, "t2": 2, "flair": 3}
NEW = {"t1n": 0, "t1c": 1, "t2w": 2, "t2f": 3}
AFFINE = np.array([[-1.0, 0, 0, 0], [0, -1, 0, 19], [0, 0, 1, 0], [0, 0, 0, 1]])


def write(folder, name, new=False, et=None, odd=None, axes="LPS", skip=(), twins=False):
    """A study of 16 x 18 x 20 voxels (i, j, k) whose channels hold c * 100 + noise within a box."""
    place = folder / name
    place.mkdir(parents=True)
    rng = np.random.default_rng(0)
    brain = np.zeros((16, 18, 20), dtype=bool)
    brain[2:14, 3:15, 4:17] = True
    truth = np.zeros(brain.shape, dtype=np.uint8)
    truth[4:10, 5:11, 6:12], truth[5:9, 6:10, 7:11], truth[6:8, 7:9, 8:10] = 2, 1, et or (3 if new else 4)
    joint, previous = "-" if new else "_", None
    for ending, channel in ((NEW if new else OLD) | {"seg": -1}).items():
        if ending in skip:
            continue
        voxels = truth if channel < 0 else ((channel + 1) * 100 + rng.integers(0, 50, brain.shape)) * brain
        voxels = voxels.astype(np.float32)
        if twins and channel == 3:
            voxels = previous
        if odd and channel == 0:
            voxels = odd(voxels)
        previous = voxels
        image = nibabel.Nifti1Image(voxels, AFFINE)
        turn = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(AFFINE), nibabel.orientations.axcodes2ornt(tuple(axes))
        )
        nibabel.save(image.as_reoriented(turn), place / f"{name}{joint}{ending}.nii.gz")
    return place


@pytest.fixture(name="write", scope="session")
def _write():
    """The function that writes one small study."""
    return write
