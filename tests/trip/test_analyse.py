"""Of few sequences only what is sure is told; of three or four the main finding is told however doubtful."""

from types import SimpleNamespace

import numpy as np
import pytest

from cmdiff_dicom.analyse import analyse
from cmdiff_dicom.errors import TooDoubtful
from cmdiff_dicom.geometry import Geometry, Volume
from cmdiff_dicom.records import ModelIdentity, Sampling, SegmentationResult, Sequence
from cmdiff_dicom.segment import Recipe

GRID = Geometry((60, 120, 120), np.diag([1.5, 1.5, 2.0, 1.0])[:, [2, 1, 0, 3]])
SIDE = 40


@pytest.fixture(scope="module")
def stripped():
    """A skull-stripped volume: a textured ball of 1,100 ml, 0 around it."""
    at = np.stack(np.meshgrid(*(np.arange(n) for n in GRID.shape), indexing="ij"), axis=-1) - (np.array(GRID.shape) - 1) / 2
    ball = np.linalg.norm(at * GRID.spacing_mm, axis=-1) < 64
    texture = 100 + 40 * np.sin(at[..., 0] / 2) * np.sin(at[..., 1] / 4) * np.sin(at[..., 2] / 4)
    return Volume((texture * ball).astype(np.float32), GRID)


def answering(probability: float, recipe: Recipe):
    """What serves as a segmenter and finds a cube of this probability, whatever it is shown."""

    def segment(prepared):
        field = np.zeros((3, *prepared.brain.shape), dtype=np.float32)
        field[0][tuple(slice(n // 2 - SIDE // 2, n // 2 + SIDE // 2) for n in prepared.brain.shape)] = probability
        sampling = Sampling(1, 0.0, 1, 0)
        return SegmentationResult(field, field * 0, prepared.grid, ModelIdentity("m", "1", ""), sampling, prepared.available)

    return SimpleNamespace(segment=segment, recipe=recipe)


@pytest.mark.parametrize(
    ("sequences", "probability", "is_told"),
    [
        ([Sequence.T2F], 0.8, False),
        ([Sequence.T1N, Sequence.T2F], 0.8, False),
        ([Sequence.T2F], 0.9, True),
        ([Sequence.T1N, Sequence.T2W, Sequence.T2F], 0.6, True),
    ],
)
def test_few_sequences_have_to_be_sure(sequences, probability, is_told, stripped):
    segmenter = answering(probability, Recipe(min_main_confidence=0.85))
    volumes = dict.fromkeys(sequences, stripped)
    if is_told:
        assert sum(analyse(volumes, Sequence.T2F, segmenter).label_map.volume_ml.values()) > 10
    else:
        with pytest.raises(TooDoubtful, match=r"from .*FLAIR alone it cannot be told .* below 0.85"):
            analyse(volumes, Sequence.T2F, segmenter)


def test_nothing_found_is_no_doubt(stripped):
    analysis = analyse({Sequence.T2F: stripped}, Sequence.T2F, answering(0.3, Recipe(min_main_confidence=0.85)))
    assert not any(analysis.label_map.volume_ml.values())
