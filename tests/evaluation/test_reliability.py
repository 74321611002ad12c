"""Calibration error beside chance, and the corrected decomposition: by hand, and on simulated forecasters."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.metrics import brier_score
from evaluation.reliability import (
    calibration_noise,
    corrected,
    decompose,
    equal_count_bins,
    expected_calibration_error,
    outcome_correlation,
    reliability_bins,
    wilson_interval,
)

forecast_sets = st.lists(
    st.tuples(st.integers(0, 100).map(lambda n: n / 100), st.integers(0, 1)),
    min_size=1,
    max_size=60,
)


def test_wilson_interval_matches_published_example():
    # 8 of 10: Wilson score interval 0.4902 to 0.9433 (Agresti & Coull 1998 and every statistics package).
    interval = wilson_interval(8, 10)
    assert interval.low == pytest.approx(0.49016, abs=1e-5)
    assert interval.high == pytest.approx(0.94331, abs=1e-5)
    assert not wilson_interval(0, 0).known


def test_reliability_bins_by_hand():
    bins = reliability_bins([0.05, 0.1, 0.3, 0.95, 1.0], [0, 1, 0, 1, 1])
    assert [b.count for b in bins] == [1, 1, 0, 1, 0, 0, 0, 0, 0, 2]
    assert bins[9].mean_forecast == pytest.approx(0.975)
    assert bins[9].frequency == 1.0
    assert math.isnan(bins[2].frequency)
    # 0.3 as a float sum is 0.30000000000000004 or 0.29999999999999999; both belong to the bin [0.3, 0.4).
    assert reliability_bins([0.1 + 0.2, 0.3 - 1e-16], [1, 1])[3].count == 2


def test_expected_calibration_error_by_hand():
    # Two bins: (0.2, 0.2 | 0 of 2) gap 0.2, and (0.98, 0.9 | 1 of 2) gap |0.94 - 0.5|; one half each.
    value = expected_calibration_error([0.2, 0.2, 0.98, 0.9], [0, 0, 1, 0])
    assert value == pytest.approx(0.32)


def test_decomposition_by_hand():
    # 0.2 four times with one yes, 0.8 four times with three yes; base rate 0.5.
    parts = decompose([0.2] * 4 + [0.8] * 4, [1, 0, 0, 0, 1, 1, 1, 0])
    assert parts.reliability == pytest.approx(0.05**2)
    assert parts.resolution == pytest.approx(0.25**2)
    assert parts.uncertainty == 0.25
    assert parts.within_bin_variance == parts.within_bin_covariance == 0
    assert parts.brier == pytest.approx(0.19)  # (0.64 + 3 * 0.04) / 4 on each side


def test_decomposition_with_bins_by_hand():
    # One bin holding 0.62 (yes) and 0.68 (no): mean 0.65, frequency 0.5, variance 0.0009,
    # covariance (-0.03 * 0.5 + 0.03 * -0.5) / 2.
    parts = decompose([0.62, 0.68], [1, 0])
    assert parts.reliability == pytest.approx(0.0225)
    assert parts.resolution == pytest.approx(0.0)
    assert parts.within_bin_variance == pytest.approx(0.0009)
    assert parts.within_bin_covariance == pytest.approx(2 * -0.015)
    assert parts.brier == pytest.approx((0.38**2 + 0.68**2) / 2)


@settings(deadline=None, max_examples=60)
@given(forecast_sets)
def test_decomposition_adds_up_to_the_brier_score(rows):
    p, y = [r[0] for r in rows], [r[1] for r in rows]
    assert decompose(p, y).brier == pytest.approx(brier_score(p, y), abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(forecast_sets)
def test_bins_hold_every_forecast_once_and_ece_is_a_share(rows):
    p, y = [r[0] for r in rows], [r[1] for r in rows]
    assert sum(b.count for b in reliability_bins(p, y)) == len(rows)
    assert 0 <= expected_calibration_error(p, y) <= 1


# --- chance and few forecasts ----------------------------------------------------------------------


def test_noise_of_two_forecasts_by_hand():
    # One bin each; a calibrated forecaster's ECE is (|0.25 - y1| + |0.65 - y2|) / 2 with y drawn from p.
    noise = calibration_noise([0.25, 0.65], [0, 1], ["a", "b"], samples=40_000, seed=1)
    assert noise.error == pytest.approx((0.25 + 0.35) / 2)
    assert noise.mean == pytest.approx((2 * 0.25 * 0.75 + 2 * 0.65 * 0.35) / 2, abs=0.005)
    # Worst outcomes: yes at 0.25 (a quarter of draws) and no at 0.65: (0.75 + 0.65) / 2, with chance 0.0875.
    assert noise.bound == pytest.approx(0.7)
    assert not noise.exceeded


def test_noise_is_seeded():
    p, y = [0.3, 0.6, 0.7], [0, 1, 0]
    first = calibration_noise(p, y, ["a", "b", "b"], samples=50, seed=4)
    assert first == calibration_noise(p, y, ["a", "b", "b"], samples=50, seed=4)
    assert first != calibration_noise(p, y, ["a", "b", "b"], samples=50, seed=5)


def simulated(seed, n, slope=1.0):
    g = np.random.default_rng(seed)
    evidence = g.normal(0, 1.3, n)
    y = (g.random(n) < 1 / (1 + np.exp(-evidence))).astype(float)
    return 1 / (1 + np.exp(-slope * evidence)), y


def test_a_calibrated_forecaster_of_thirty_questions_does_not_look_miscalibrated():
    found = [calibration_noise(*simulated(seed, 30), range(30), samples=200) for seed in range(200)]
    assert np.mean([n.error for n in found]) > 0.1  # and yet its ECE is far from 0
    assert np.mean([n.error - n.mean for n in found]) == pytest.approx(0, abs=0.01)
    assert 0.01 <= np.mean([n.exceeded for n in found]) <= 0.09


def test_an_overconfident_forecaster_of_three_hundred_questions_does():
    found = [
        calibration_noise(*simulated(seed, 300, 2.0), range(300), samples=200) for seed in range(20)
    ]
    assert np.mean([n.exceeded for n in found]) > 0.9


def test_related_outcomes_raise_the_noise():
    """Thirty questions about three events: a calibrated forecaster is off by far more than with thirty events."""
    rows = np.repeat(np.arange(3), 10)
    p = np.full(30, 0.45)
    alike = np.array([1.0] * 10 + [0.0] * 20)
    related = calibration_noise(p, alike, rows.tolist(), samples=500)
    apart = calibration_noise(p, alike, range(30), samples=500)
    assert related.mean > 2 * apart.mean
    assert related.error == apart.error


def test_outcome_correlation_by_hand():
    rows = np.array([0, 0, 1, 1])
    p = np.array([0.5, 0.5, 0.5, 0.5])
    assert outcome_correlation(p, np.array([1.0, 1.0, 0.0, 0.0]), rows) == 1.0
    assert outcome_correlation(p, np.array([1.0, 0.0, 0.0, 1.0]), rows) == 0.0
    # 0.2 and 0.6, both yes: 0.8 * 0.4 of at most 0.2 - 0.12 = 0.08 (cut at 1); with 0.2 and 0.6 both no three
    # times beside it: (0.32 + 3 * 0.12 - ...) is still over the limit, so take one pair that disagrees.
    mixed = outcome_correlation(
        np.array([0.5, 0.5, 0.5, 0.5, 0.5, 0.5]),
        np.array([1.0, 1.0, 0.0, 0.0, 1.0, 0.0]),
        np.array([0, 0, 1, 1, 2, 2]),
    )
    assert mixed == pytest.approx((0.25 + 0.25 - 0.25) / 0.75)
    # Unequal probabilities: the limit of a pair is min(p, q) - p q = 0.2 - 0.2 * 0.5.
    uneven = outcome_correlation(
        np.array([0.2, 0.5, 0.2, 0.5, 0.2, 0.5]),
        np.array([0.0, 0, 0, 0, 0, 1]),
        np.array([0, 0, 1, 1, 2, 2]),
    )
    assert uneven == pytest.approx((0.1 + 0.1 - 0.1) / 0.3)
    assert outcome_correlation(p, np.array([1.0, 1.0, 0.0, 0.0]), np.arange(4)) == 0.0


def test_outcomes_against_all_odds_are_fully_related_and_no_more():
    # Both at 10 % and both yes: a product of 0.81, where 0.1 - 0.01 is the most that is possible on average.
    assert outcome_correlation(np.array([0.1, 0.1]), np.ones(2), np.zeros(2, dtype=np.int64)) == 1.0


def test_corrected_decomposition_by_hand():
    # 0.2 four times with one yes, 0.8 four times with three yes: each bin's frequency has variance 0.1875 / 3.
    p, y = [0.2] * 4 + [0.8] * 4, [1, 0, 0, 0, 1, 1, 1, 0]
    parts = corrected(p, y)
    assert parts.reliability == pytest.approx(0.05**2 - 0.0625)
    assert parts.resolution == pytest.approx(0.25**2 - 0.0625 + 0.25 / 7)
    assert parts.uncertainty == pytest.approx(0.25 * 8 / 7)
    assert parts.brier == pytest.approx(brier_score(p, y))


def test_a_single_forecast_has_no_base_rate_to_correct():
    parts = corrected([0.3], [0])
    assert (parts.resolution, parts.uncertainty) == (pytest.approx(-0.21), 0)
    assert parts.brier == pytest.approx(0.09)


def test_a_single_forecast_in_a_bin_takes_its_own_variance():
    parts = corrected([0.3, 0.8], [0, 1])
    assert parts.reliability == pytest.approx((0.09 - 0.21 + 0.04 - 0.16) / 2)
    assert parts.brier == pytest.approx((0.09 + 0.04) / 2)


def test_corrected_reliability_of_a_calibrated_forecaster_is_zero_on_average():
    found = []
    for seed in range(600):
        p, y = simulated(seed, 30)
        p = np.round(p, 1)
        y = (np.random.default_rng(seed + 1000).random(30) < p).astype(float)
        found.append((corrected(p, y).reliability, decompose(p, y).reliability))
    right, biased = np.mean(found, axis=0)
    assert right == pytest.approx(0, abs=0.003)
    assert biased > 0.03


def test_bins_of_equal_count_by_hand():
    p = [n / 30 for n in range(30)]
    y = [0] * 10 + [0, 1] * 5 + [1] * 10
    bins = equal_count_bins(p[::-1], y[::-1])
    assert [b.count for b in bins] == [10, 10, 10]
    assert [b.frequency for b in bins] == [0, 0.5, 1]
    assert [b.mean_forecast for b in bins] == pytest.approx([0.15, 14.5 / 30, 24.5 / 30])
    assert (bins[1].low, bins[1].high) == (10 / 30, 19 / 30)
    assert bins[1].interval == wilson_interval(5, 10)


def test_equal_forecasts_share_a_bin_and_few_have_one():
    bins = equal_count_bins([0.2] * 25 + [0.9] * 5, [0] * 30)
    assert [(b.low, b.high, b.count) for b in bins] == [(0.2, 0.2, 25), (0.9, 0.9, 5)]
    assert [b.count for b in equal_count_bins([0.5] * 40, [0, 1] * 20)] == [40]
    assert [b.count for b in equal_count_bins([0.1, 0.5, 0.9], [0, 1, 1])] == [3]
    assert len(equal_count_bins([n / 1000 for n in range(1000)], [0, 1] * 500)) == 10
