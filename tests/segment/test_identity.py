"""Which weights a file holds is told without torch, and as `load_segmenter` tells it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cmdiff_dicom.errors import WeightsFault
from cmdiff_dicom.segment import Recipe, load_segmenter, weights_identity
from cmdiff_dicom.segment.weights import build_network, save_weights

SMALL = Recipe(version="7", widths=(8, 8, 8, 8), condition=8, denoiser_widths=(8, 8, 8))


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "small.safetensors"
    save_weights(path, build_network(SMALL), SMALL)
    return path


def test_it_is_what_the_loaded_model_says_of_itself(weights):
    assert weights_identity(weights) == load_segmenter(weights, "cpu").model


def test_it_needs_no_torch(weights):
    code = f"import sys; from pathlib import Path; from cmdiff_dicom.segment import weights_identity; weights_identity(Path({str(weights)!r})); print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert told.stdout.strip() == "False", told.stderr


@pytest.mark.parametrize("content", [b"", b"\x02\0\0\0\0\0\0\0{}", b"\xff" * 64])
def test_a_file_that_is_no_weights_is_said_to_be_none(tmp_path, content):
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsFault, match=r"odd\.safetensors"):
        weights_identity(path)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(WeightsFault, match="cannot be read"):
        weights_identity(tmp_path / "none.safetensors")
