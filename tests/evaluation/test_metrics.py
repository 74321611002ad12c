"""Scores against values worked out by hand, and against scipy and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import metrics

# Five forecasts used by most tests: squares 0.04, 0.01, 0.36, 0.09, 0.25 add to 0.75.
P = [0.8, 0.1, 0.6, 0.7, 0.5]
Y = [1, 0, 0, 1, 1]


def test_brier_score_by_hand():
    np.testing.assert_allclose(metrics.brier_scores(P, Y), [0.04, 0.01, 0.36, 0.09, 0.25])
    assert metrics.brier_score(P, Y) == pytest.approx(0.15)


def test_log_score_by_hand_and_clipped():
    expected = -(math.log(0.8) + math.log(0.9) + math.log(0.4) + math.log(0.7) + math.log(0.5)) / 5
    assert metrics.log_scores(P, Y).mean() == pytest.approx(expected)
    # A sure forecast that was wrong costs -ln(0.005), not infinity; a sure and right one -ln(0.995).
    np.testing.assert_allclose(
        metrics.log_scores([0.0, 1.0, 1.0], [1, 0, 1]), [5.298317, 5.298317, 0.005012542], rtol=1e-6
    )


def test_skill_score():
    assert metrics.skill_score(0.15, 0.25) == pytest.approx(0.4)
    assert metrics.skill_score(0.3, 0.25) == pytest.approx(-0.2)
    assert math.isnan(metrics.skill_score(0.1, 0.0))


def test_sharpness_by_hand():
    assert metrics.sharpness([0.2, 0.4, 0.9]) == pytest.approx((0.09 + 0.01 + 0.16) / 3)
    assert metrics.sharpness([0.0, 1.0]) == 0.25


def test_auc_by_hand():
    # yes: 0.8, 0.7, 0.5; no: 0.1, 0.6. Six pairs, only (0.5, 0.6) is the wrong way round.
    assert metrics.auc(P, Y) == pytest.approx(5 / 6)
    assert metrics.auc([0.4, 0.4], [1, 0]) == 0.5
    assert math.isnan(metrics.auc([0.4, 0.5], [1, 1]))


def test_coherence_by_hand():
    assert metrics.negation_gap(0.7, 0.4) == pytest.approx(0.1)
    assert metrics.paraphrase_range([0.3, 0.45, 0.4]) == pytest.approx(0.15)
    assert metrics.paraphrase_range([0.3]) == 0


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
        metrics.brier_score(p, y)


def test_cluster_folds_keep_clusters_whole_and_balanced():
    clusters = ["a"] * 4 + ["b"] * 3 + ["c"] * 2 + ["d"]
    folds = metrics.cluster_folds(clusters, 2, seed=1)
    assert all(
        len({f for f, c in zip(folds, clusters, strict=True) if c == name}) == 1 for name in "abcd"
    )
    assert sorted(np.bincount(folds)) == [5, 5]
    np.testing.assert_array_equal(folds, metrics.cluster_folds(clusters, 2, seed=1))


def test_inverse_score_weights_by_hand():
    # Mean Brier 0.1 and 0.3: weights 10 and 3.33 of 13.33.
    np.testing.assert_allclose(
        metrics.inverse_score_weights([[0.1, 0.2], [0.1, 0.4]]), [0.75, 0.25]
    )
    # The third agent has no score and gets the mean weight of the two others.
    np.testing.assert_allclose(
        metrics.inverse_score_weights([[0.1, 0.3, math.nan]]), [0.5, 1 / 6, 1 / 3]
    )
    np.testing.assert_allclose(metrics.inverse_score_weights(np.full((2, 2), math.nan)), [0.5, 0.5])
    with pytest.raises(ValueError, match="shape"):
        metrics.inverse_score_weights([0.1])


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 1)), min_size=2, max_size=60).filter(
        lambda rows: len({outcome for _, outcome in rows}) == 2
    )
)
def test_scores_are_those_of_scikit_learn(rows):
    from sklearn import metrics as sklearn_metrics

    p, y = np.array([r[0] / 20 for r in rows]), np.array([r[1] for r in rows])
    clipped = np.clip(p, metrics.LOG_SCORE_CLIP, 1 - metrics.LOG_SCORE_CLIP)
    assert metrics.auc(p, y) == pytest.approx(sklearn_metrics.roc_auc_score(y, p), abs=1e-12)
    assert metrics.brier_score(p, y) == pytest.approx(
        sklearn_metrics.brier_score_loss(y, p), abs=1e-12
    )
    assert metrics.log_scores(p, y).mean() == pytest.approx(
        sklearn_metrics.log_loss(y, clipped), abs=1e-12
    )


def test_forecasts_without_skill_have_an_area_of_exactly_one_half():
    assert metrics.auc([0.1, 0.3, 0.7, 0.9] * 3, [1, 0, 0, 1] * 3) == 0.5
