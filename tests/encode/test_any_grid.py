"""On whatever grid and with whatever labels: a stranger who goes by millimetres alone reads what was computed."""

from datetime import UTC, datetime
from io import BytesIO

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from scipy.spatial.transform import Rotation

from cmdiff_dicom.encode import encode_seg
from tests.support.reading import labels_on
from tests.support.sources import grid, label_map, series

NUMBER = st.floats(-200, 200)
SIZE = st.integers(3, 19)  # highdicom miscounts frames of fewer than 8 pixels, which reading back would tell


@given(
    shape=st.tuples(st.integers(2, 9), SIZE, SIZE),
    turn_deg=st.tuples(st.floats(-180, 180), st.floats(-90, 90), st.floats(-180, 180)),
    is_reversed=st.booleans(),
    spacing_mm=st.tuples(st.floats(0.5, 8), st.floats(0.3, 2), st.floats(0.3, 2)),
    origin_mm=st.tuples(NUMBER, NUMBER, NUMBER),
    allowed=st.sampled_from([(1, 2, 3), (1, 3), (2,), (4,)]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=40)
def test_every_voxel_is_read_where_it_was_put(shape, turn_deg, is_reversed, spacing_mm, origin_mm, allowed, seed):
    directions = Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix() * np.array([[1], [1], [-1 if is_reversed else 1]])
    geometry = grid(shape, directions, spacing_mm, origin_mm)
    labels = np.random.default_rng(seed).choice([0, *allowed], size=shape).astype(np.uint8)
    labels[0, 0, 0] = allowed[0]
    part10 = encode_seg(label_map(geometry, labels), series(geometry), "key", datetime(2026, 1, 2, tzinfo=UTC), 1).part10
    np.testing.assert_array_equal(labels_on(dcmread(BytesIO(part10)), geometry), labels)
