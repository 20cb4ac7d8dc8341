"""The picture shows each label in the colour that the SEG recommends."""

import numpy as np
import pytest

from cmdiff_dicom.encode.codes import MEANINGS
from cmdiff_dicom.geometry import Geometry, Volume
from cmdiff_dicom.overlay import draw_overlay
from cmdiff_dicom.records import Label


@pytest.mark.parametrize("label", Label)
def test_a_label_has_the_colour_of_its_segment(tmp_path, label):
    from matplotlib.image import imread

    grid = Geometry((4, 8, 8), np.eye(4))
    draw_overlay(Volume(np.zeros(grid.shape, np.float32), grid), np.full(grid.shape, label, np.uint8), tmp_path / "picture.png")
    shown = {tuple(pixel) for pixel in np.rint(imread(tmp_path / "picture.png")[..., :3] * 255).astype(int).reshape(-1, 3)}
    on_black = np.array(MEANINGS[label].rgb) * 0.45
    assert any(np.abs(pixel - on_black).max() <= 1 for pixel in map(np.array, shown))
