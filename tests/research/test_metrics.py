"""Figures of merit, by cases whose answer is known."""

import numpy as np
import pytest

from cmdiff_dicom.research import metrics


def ball(radius, centre=(20, 20, 20), shape=(40, 40, 40)):
    place = np.indices(shape) - np.array(centre)[:, None, None, None]
    return (place**2).sum(0) <= radius**2


NOTHING = np.zeros((40, 40, 40), dtype=bool)


def test_empty_and_missed_regions_count_as_the_challenge_counts_them():
    assert metrics.dice(NOTHING, NOTHING) == metrics.iou(NOTHING, NOTHING) == 1
    assert metrics.dice(ball(5), NOTHING) == metrics.dice(NOTHING, ball(5)) == 0
    assert metrics.surface_figures(NOTHING, NOTHING) == (0.0, 1.0, 1.0)
    assert metrics.surface_figures(ball(5), NOTHING) == (pytest.approx(373.12866, abs=1e-4), 0.0, 0.0)


def test_iou_follows_from_dice_in_every_case():
    for other in (ball(5), ball(8), ball(8, (20, 20, 25)), NOTHING):
        d = metrics.dice(ball(8), other)
        assert metrics.iou(ball(8), other) == pytest.approx(d / (2 - d))


def test_a_shift_shows_as_distance_and_the_same_mask_as_none():
    assert metrics.surface_figures(ball(8), ball(8)) == (0.0, 1.0, 1.0)
    shifted = metrics.surface_figures(ball(8), ball(8, (20, 20, 24)))
    assert 3 <= shifted.hd95_mm <= 4 and shifted.nsd_1mm < shifted.nsd_2mm < 1


def test_distance_is_in_millimetres_of_the_grid():
    a, b = NOTHING.copy(), NOTHING.copy()
    a[10, 10:30, 10:30] = b[12, 10:30, 10:30] = True
    assert metrics.surface_figures(a, b, (5.0, 1.0, 1.0)).hd95_mm == pytest.approx(10.0)


def test_a_calibrated_forecast_has_no_calibration_error_and_a_wrong_one_has_its_own():
    rng = np.random.default_rng(0)
    p = rng.random(200_000)
    assert metrics.reliability(p, rng.random(p.size) < p).ece < 0.01
    assert metrics.reliability(np.full(1000, 0.9), np.zeros(1000, dtype=bool)).ece == pytest.approx(0.9)


def test_pooled_bins_are_the_bins_of_all_voxels_together():
    rng = np.random.default_rng(1)
    p, truth = rng.random(3000), rng.random(3000) < 0.3
    parts = [metrics.reliability(p[:1000], truth[:1000]), metrics.reliability(p[1000:], truth[1000:])]
    assert metrics.pooled(parts).ece == pytest.approx(metrics.reliability(p, truth).ece)


def test_auroc_knows_perfect_useless_reversed_and_tied():
    score, positive = np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, False, True, True])
    assert metrics.auroc(score, positive) == 1 and metrics.auroc(-score, positive) == 0
    assert metrics.auroc(np.ones(4), positive) == 0.5
    assert np.isnan(metrics.auroc(score, np.zeros(4, dtype=bool)))


def test_auroc_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(2)
    score, positive = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.4
    pairs = score[positive][:, None] - score[~positive][None]
    assert metrics.auroc(score, positive) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_lesions_are_counted_one_by_one():
    truth = ball(5, (10, 10, 10)) | ball(2, (30, 30, 30))
    assert sorted(metrics.lesion_recall(ball(3, (10, 10, 10)), truth)) == [(33.0, False), (515.0, True)]


def test_the_bootstrap_interval_holds_the_mean_and_shrinks_with_agreement():
    low, high = metrics.bootstrap([0.7, 0.8, 0.9, 0.85, 0.75])
    assert low < 0.8 < high
    assert metrics.bootstrap([0.8] * 5) == (pytest.approx(0.8), pytest.approx(0.8))


def test_the_verdict_needs_the_whole_of_every_interval():
    assert metrics.verdict((0.001, 0.1)) == metrics.verdict((0.001, 0.1), (0.002, 0.003)) == "USEFUL"
    assert metrics.verdict((-0.004, 0.004)) == metrics.verdict((-0.004, 0.004), (0.0, 0.0)) == "ORNAMENTAL"
    assert metrics.verdict((-0.01, 0.03)) == "UNDECIDED"
    assert metrics.verdict((0.001, 0.1), (0.0, 0.0)) == "UNDECIDED"
    assert metrics.verdict((float("nan"), float("nan"))) == "UNDECIDED"
