"""Scoring formulas against values worked out by hand, and properties that hold for every input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import metrics as tr

# Five forecasts used by most tests: squares 0.04, 0.01, 0.36, 0.09, 0.25 add to 0.75.
P = [0.8, 0.1, 0.6, 0.7, 0.5]
Y = [1, 0, 0, 1, 1]

forecast_sets = st.lists(
    st.tuples(st.integers(0, 100).map(lambda n: n / 100), st.integers(0, 1)),
    min_size=1,
    max_size=60,
)


def test_brier_score_by_hand():
    np.testing.assert_allclose(tr.brier_scores(P, Y), [0.04, 0.01, 0.36, 0.09, 0.25])
    assert tr.brier_score(P, Y) == pytest.approx(0.15)


def test_log_score_by_hand_and_clipped():
    expected = -(math.log(0.8) + math.log(0.9) + math.log(0.4) + math.log(0.7) + math.log(0.5)) / 5
    assert tr.log_score(P, Y) == pytest.approx(expected)
    # A sure forecast that was wrong costs -ln(0.005), not infinity; a sure and right one -ln(0.995).
    np.testing.assert_allclose(
        tr.log_scores([0.0, 1.0, 1.0], [1, 0, 1]), [5.298317, 5.298317, 0.005012542], rtol=1e-6
    )


@pytest.mark.parametrize("clip", [0.0, 0.5, -1.0])
def test_log_score_refuses_a_clip_outside_zero_to_half(clip):
    with pytest.raises(ValueError, match="clip"):
        tr.log_scores([0.5], [1], clip)


def test_skill_score():
    assert tr.skill_score(0.15, 0.25) == pytest.approx(0.4)
    assert tr.skill_score(0.3, 0.25) == pytest.approx(-0.2)
    assert math.isnan(tr.skill_score(0.1, 0.0))


def test_sharpness_by_hand():
    assert tr.sharpness([0.2, 0.4, 0.9]) == pytest.approx((0.09 + 0.01 + 0.16) / 3)
    assert tr.sharpness([0.0, 1.0]) == 0.25


def test_auc_by_hand():
    # yes: 0.8, 0.7, 0.5; no: 0.1, 0.6. Six pairs, only (0.5, 0.6) is the wrong way round.
    assert tr.auc(P, Y) == pytest.approx(5 / 6)
    assert tr.auc([0.4, 0.4], [1, 0]) == 0.5
    assert math.isnan(tr.auc([0.4, 0.5], [1, 1]))


def test_wilson_interval_matches_published_example():
    # 8 of 10: Wilson score interval 0.4902 to 0.9433 (Agresti & Coull 1998 and every statistics package).
    interval = tr.wilson_interval(8, 10)
    assert interval.low == pytest.approx(0.49016, abs=1e-5)
    assert interval.high == pytest.approx(0.94331, abs=1e-5)
    assert not tr.wilson_interval(0, 0).known


def test_reliability_bins_by_hand():
    bins = tr.reliability_bins([0.05, 0.1, 0.3, 0.95, 1.0], [0, 1, 0, 1, 1])
    assert [b.count for b in bins] == [1, 1, 0, 1, 0, 0, 0, 0, 0, 2]
    assert bins[9].mean_forecast == pytest.approx(0.975)
    assert bins[9].frequency == 1.0
    assert math.isnan(bins[2].frequency)
    # 0.3 as a float sum is 0.30000000000000004 or 0.29999999999999999; both belong to the bin [0.3, 0.4).
    assert tr.reliability_bins([0.1 + 0.2, 0.3 - 1e-16], [1, 1])[3].count == 2


def test_expected_calibration_error_by_hand():
    # Two bins: (0.2, 0.2 | 0 of 2) gap 0.2, and (0.9, 0.7 | 1 of 2) gap |0.8 - 0.5| = 0.3; weights one half
    # each.
    value = tr.expected_calibration_error([0.2, 0.2, 0.9, 0.7], [0, 0, 1, 0], edges=[0, 0.5, 1])
    assert value == pytest.approx(0.25)


@pytest.mark.parametrize("edges", [[0.0], [0.1, 1.0], [0.0, 0.9], [0.0, 0.5, 0.5, 1.0]])
def test_bad_bin_edges(edges):
    with pytest.raises(ValueError, match="edges"):
        tr.reliability_bins([0.5], [1], edges)


def test_decomposition_by_hand():
    # 0.2 four times with one yes, 0.8 four times with three yes; base rate 0.5.
    parts = tr.decompose([0.2] * 4 + [0.8] * 4, [1, 0, 0, 0, 1, 1, 1, 0])
    assert parts.reliability == pytest.approx(0.05**2)
    assert parts.resolution == pytest.approx(0.25**2)
    assert parts.uncertainty == 0.25
    assert parts.within_bin_variance == parts.within_bin_covariance == 0
    assert parts.brier == pytest.approx(0.19)  # (0.64 + 3 * 0.04) / 4 on each side


def test_decomposition_with_bins_by_hand():
    # One bin holding 0.6 (yes) and 0.8 (no): mean 0.7, frequency 0.5, variance 0.01, covariance (-0.1*0.5 +
    # 0.1*-0.5)/2.
    parts = tr.decompose([0.6, 0.8], [1, 0], edges=[0, 1])
    assert parts.reliability == pytest.approx(0.04)
    assert parts.resolution == pytest.approx(0.0)
    assert parts.within_bin_variance == pytest.approx(0.01)
    assert parts.within_bin_covariance == pytest.approx(2 * -0.05)
    assert parts.brier == pytest.approx((0.16 + 0.64) / 2)


@settings(deadline=None, max_examples=60)
@given(forecast_sets, st.sampled_from([None, (0.0, 1.0), (0.0, 0.5, 1.0), tr.DEFAULT_BIN_EDGES]))
def test_decomposition_adds_up_to_the_brier_score(rows, edges):
    p, y = [r[0] for r in rows], [r[1] for r in rows]
    assert tr.decompose(p, y, edges).brier == pytest.approx(tr.brier_score(p, y), abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(forecast_sets)
def test_bins_hold_every_forecast_once_and_ece_is_a_share(rows):
    p, y = [r[0] for r in rows], [r[1] for r in rows]
    assert sum(b.count for b in tr.reliability_bins(p, y)) == len(rows)
    assert 0 <= tr.expected_calibration_error(p, y) <= 1


def test_coherence_by_hand():
    assert tr.negation_gap(0.7, 0.4) == pytest.approx(0.1)
    assert tr.paraphrase_range([0.3, 0.45, 0.4]) == pytest.approx(0.15)
    assert tr.paraphrase_range([0.3]) == 0


@pytest.mark.parametrize(
    ("p", "y", "words"),
    [
        ([], [], "no forecasts"),
        ([0.5], [0, 1], "equally long"),
        ([1.2], [1], "outside"),
        ([math.nan], [1], "outside"),
        ([0.5], [2], "neither"),
    ],
)
def test_bad_input_is_refused(p, y, words):
    with pytest.raises(ValueError, match=words):
        tr.brier_score(p, y)


def test_cluster_folds_keep_clusters_whole_and_balanced():
    clusters = ["a"] * 4 + ["b"] * 3 + ["c"] * 2 + ["d"]
    folds = tr.cluster_folds(clusters, 2, seed=1)
    assert all(
        len({f for f, c in zip(folds, clusters, strict=True) if c == name}) == 1 for name in "abcd"
    )
    assert sorted(np.bincount(folds)) == [5, 5]
    np.testing.assert_array_equal(folds, tr.cluster_folds(clusters, 2, seed=1))


def test_inverse_score_weights_by_hand():
    # Mean Brier 0.1 and 0.3: weights 10 and 3.33 of 13.33.
    np.testing.assert_allclose(tr.inverse_score_weights([[0.1, 0.2], [0.1, 0.4]]), [0.75, 0.25])
    # The third agent has no score and gets the mean weight of the two others.
    np.testing.assert_allclose(
        tr.inverse_score_weights([[0.1, 0.3, math.nan]]), [0.5, 1 / 6, 1 / 3]
    )
    np.testing.assert_allclose(tr.inverse_score_weights(np.full((2, 2), math.nan)), [0.5, 0.5])
    with pytest.raises(ValueError, match="shape"):
        tr.inverse_score_weights([0.1])


def test_one_bin_holds_everything_and_no_edge_is_none():
    (only,) = tr.reliability_bins(P, Y, [0.0, 1.0])
    assert (only.count, only.mean_forecast) == (5, pytest.approx(0.54))
    with pytest.raises(ValueError, match="edges"):
        tr.reliability_bins(P, Y, [])
