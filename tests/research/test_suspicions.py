"""Exchanged sequences are suspected, right ones and studies too small to tell are not."""

import itertools

import numpy as np
import pytest

from cmdiff_dicom.geometry import Geometry, Volume
from cmdiff_dicom.records import Sequence
from cmdiff_dicom.research.brats import _elsewhere, _exchanged, find_studies, read_study
from cmdiff_dicom.research.console import Countdown, duration
from cmdiff_dicom.research.suspicions import suspicions

LEVELS = {  # T1, T1c, T2, FLAIR in units of their own, as physics has them
    "white matter": (700, 900, 300, 500),
    "grey matter": (550, 750, 420, 600),
    "fluid": (250, 330, 900, 150),
    "edema": (500, 690, 650, 1000),
    "necrosis": (400, 560, 700, 650),
    "enhancing": (520, 1500, 560, 800),
}
COUNTS = {"white matter": 60_000, "grey matter": 60_000, "fluid": 12_000, "edema": 3000, "necrosis": 500, "enhancing": 400}
LABEL = {"necrosis": 1, "edema": 2, "enhancing": 3}


def study(share=1.0):
    """Voxels of a brain with a tumour: (4, n) and (n,)."""
    rng = np.random.default_rng(0)
    counts = {tissue: int(count * share) for tissue, count in COUNTS.items()}
    values = np.concatenate([np.repeat(np.array(LEVELS[t])[:, None], n, axis=1) for t, n in counts.items()], axis=1)
    labels = np.concatenate([np.full(n, LABEL.get(tissue, 0), dtype=np.uint8) for tissue, n in counts.items()])
    return (values * rng.normal(1, 0.08, values.shape)).astype(np.float32), labels


def exchanged(a, b):
    order = list(range(4))
    order[a], order[b] = b, a
    return order


def test_a_right_study_is_not_suspected_in_whatever_units():
    values, labels = study()
    assert not list(suspicions(values, labels))
    scaled = values * np.array([0.01, 3, 20, 1])[:, None] + np.array([5, 0, 100, 0])[:, None]
    assert not list(suspicions(scaled.astype(np.float32), labels))


@pytest.mark.parametrize("pair", itertools.combinations(range(4), 2))
def test_every_exchange_of_two_sequences_is_suspected(pair):
    values, labels = study()
    assert list(suspicions(values[exchanged(*pair)], labels))


def test_what_does_not_fit_is_named():
    values, labels = study()
    assert list(suspicions(values[exchanged(0, 1)], labels)) == ["enhancing tumour is darker in T1c than in T1"]
    assert "fluid is brighter in FLAIR than in T2" in list(suspicions(values[exchanged(2, 3)], labels))


def test_too_little_brain_or_tumour_is_not_judged():
    values, labels = study(0.1)
    assert not list(suspicions(values[exchanged(2, 3)], labels))
    values, labels = study()
    labels[labels > 0] = 0
    assert not list(suspicions(values[exchanged(0, 1)], labels)), "without tumour nothing tells T1 from T1c"


def test_a_study_is_warned_of_by_name_of_what_does_not_fit():
    values, labels = study()
    shape = (1, 1, labels.size)
    grid = Geometry(shape, np.eye(4))

    def volumes(order):
        return {s: Volume(values[n].reshape(shape).copy(), grid) for s, n in zip(Sequence, order, strict=True)}

    assert not list(_exchanged(volumes(range(4)), labels.reshape(shape)))
    said = list(_exchanged(volumes(exchanged(0, 1)), labels.reshape(shape)))
    assert said == ["are sequences exchanged? enhancing tumour is darker in T1c than in T1"]


def test_a_sequence_that_lies_elsewhere_is_warned_of():
    moved = np.eye(4)
    moved[0, 3] = 2.0
    here, there = (Geometry((4, 4, 4), matrix) for matrix in (np.eye(4), moved))
    array = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
    said = list(_elsewhere({Sequence.T1N: Volume(array, here), Sequence.T2W: Volume(array, there)}, here))
    assert len(said) == 1 and said[0].startswith("T2 lies elsewhere")


@pytest.mark.slow
def test_no_right_real_study_is_suspected_and_nearly_every_exchanged_one_is(real_data):
    """Six studies here; `tests/bench/bench_suspicions.py` asks all of them."""
    found = list(find_studies(real_data / "brats").items())
    caught = asked = 0
    for name, place in found[:: max(1, len(found) // 6)][:6]:
        real = read_study(name, place)
        assert not real.warnings
        brain = np.any([volume.array != 0 for volume in real.volumes.values()], axis=0)
        values, labels = np.stack([real.volumes[s].array[brain] for s in Sequence]), real.truth[brain]
        for pair in ((0, 1), (2, 3)):
            asked += 1
            caught += bool(list(suspicions(values[exchanged(*pair)], labels)))
    assert caught >= asked - 1


def test_time_left_follows_the_pace_so_far():
    now = iter((0.0, 60.0, 240.0, 360.0))
    countdown = Countdown(3, lambda: next(now))
    assert [countdown.next() for _ in range(3)] == ["1/3, 2 min left", "2/3, 2 min left", "3/3, 0 s left"]
    assert [duration(seconds) for seconds in (5, 89, 91, 3600, 3 * 3600)] == ["5 s", "89 s", "2 min", "60 min", "3.0 h"]
