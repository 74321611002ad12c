"""Calibration curves: known distortions undone, by hand where possible, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

import config
from evaluation import curves
from evaluation.curves import Curve, cross_validate, fit, refusal, uninformative
from evaluation.metrics import auc, brier_score


def distorted(n=4000, seed=0):
    """True chances and forecasts that overstate them: log-odds doubled."""
    generator = np.random.default_rng(seed)
    truth = generator.uniform(0.05, 0.95, n)
    said = truth**2 / (truth**2 + (1 - truth) ** 2)
    return truth, said, (generator.random(n) < truth).astype(float)


def test_platt_halves_doubled_log_odds():
    truth, said, outcomes = distorted()
    curve = fit("platt", said, outcomes)
    slope, constant = curve.parameters["weights"]
    assert slope == pytest.approx(0.5, abs=0.05)
    assert constant == pytest.approx(0.0, abs=0.1)
    assert np.abs(curve(said) - truth).mean() < 0.02


def test_beta_contains_platt_and_bends_to_one_side():
    _, said, outcomes = distorted()
    a, b, c = fit("beta", said, outcomes).parameters["weights"]
    assert a == pytest.approx(0.5, abs=0.08)
    assert b == pytest.approx(0.5, abs=0.08)
    assert c == pytest.approx(0.0, abs=0.15)
    # Forecasts that go the wrong way would need negative slopes; beta calibration keeps them at 0 and says the base rate.
    upside_down = fit("beta", 1 - said, outcomes)
    np.testing.assert_allclose(upside_down([0.1, 0.9]), outcomes.mean(), atol=0.01)


def test_isotonic_by_hand():
    curve = fit("isotonic", [0.1, 0.2, 0.3, 0.3], [0, 1, 0, 1])
    # 0.2 (1 of 1) and 0.3 (1 of 2) violate the order and are pooled to 2 of 3.
    assert curve.parameters["forecasts"] == [0.1, 0.2, 0.3]
    np.testing.assert_allclose(curve.parameters["frequencies"], [0, 2 / 3, 2 / 3])
    np.testing.assert_allclose(curve([0.0, 0.15, 0.9]), [0, 1 / 3, 2 / 3])


def test_platt_on_separated_data_stays_finite():
    curve = fit("platt", [0.1] * 5 + [0.9] * 5, [0] * 5 + [1] * 5)
    values = curve([0.1, 0.9])
    # Softened targets: 1/7 and 6/7, not 0 and 1.
    np.testing.assert_allclose(values, [1 / 7, 6 / 7], atol=1e-4)


@pytest.mark.parametrize("method", list(curves.METHODS))
def test_curves_rise_and_stay_in_range(method):
    _, said, outcomes = distorted(300, seed=2)
    values = fit(method, said, outcomes)(np.linspace(0, 1, 101))
    assert np.all(np.diff(values) >= -1e-12)
    assert np.all((values >= 0) & (values <= 1))


def test_a_stored_curve_gives_the_same_values():
    import json

    _, said, outcomes = distorted(300)
    curve = fit("isotonic", said, outcomes)
    again = Curve("isotonic", json.loads(json.dumps(curve.parameters)))
    np.testing.assert_array_equal(curve(said), again(said))


@pytest.mark.parametrize("method", list(curves.METHODS))
def test_cross_validation_never_uses_the_judged_cluster(method):
    """Turning over the outcomes of one cluster changes no calibrated value of any of its questions."""
    _, said, outcomes = distorted(200, seed=3)
    clusters = [i // 4 for i in range(200)]
    before = cross_validate(method, said, outcomes, clusters)
    for cluster in range(0, 50, 10):
        mine = np.array(clusters) == cluster
        after = cross_validate(method, said, np.where(mine, 1 - outcomes, outcomes), clusters)
        np.testing.assert_array_equal(before[mine], after[mine])
        assert not np.array_equal(before[~mine], after[~mine])


def test_cross_validated_values_are_those_of_the_other_folds_alone():
    _, said, outcomes = distorted(100, seed=4)
    clusters = [i // 2 for i in range(100)]
    folds = curves.cluster_folds(clusters, config.CROSS_VALIDATION_FOLDS, seed=config.SEED)
    assert set(folds) == set(range(config.CROSS_VALIDATION_FOLDS))
    found = cross_validate("platt", said, outcomes, clusters)
    for fold in set(folds):
        curve = fit("platt", said[folds != fold], outcomes[folds != fold])
        np.testing.assert_allclose(found[folds == fold], curve(said[folds == fold]))


@pytest.mark.parametrize("method", list(curves.METHODS))
def test_no_curve_ever_falls(method):
    """On forecasts without skill half of the unbounded slopes are negative; on reversed ones nearly all."""
    for seed in range(12):
        g = np.random.default_rng(seed)
        p, y = g.uniform(0.05, 0.95, 120), g.integers(0, 2, 120).astype(float)
        for forecasts in (p, np.where(y == 1, 0.5 * p, 0.5 + 0.5 * p)):
            values = fit(method, forecasts, y)(np.linspace(0, 1, 101))
            assert np.all(np.diff(values) >= -1e-12), seed


def test_wrong_rankings_and_flat_curves_are_named():
    _, said, outcomes = distorted(400, seed=5)
    for method in curves.METHODS:
        assert uninformative(fit(method, said, outcomes), said, outcomes) is None
        reason = uninformative(fit(method, 1 - said, outcomes), 1 - said, outcomes)
        assert "rank the outcomes wrongly" in reason
        assert "must not turn forecasts round" in reason
    # The ranking is right and the slope is not: one far outlier that came out wrong.
    p = np.array([0.5, 0.51] * 20 + [0.99] * 4)
    y = np.array([0.0, 1.0] * 20 + [0.0] * 4)
    assert auc(p, y) > 0.5
    assert "flat at 45 %" in uninformative(fit("platt", p, y), p, y)


def test_cross_validated_calibration_improves_overconfident_forecasts():
    _, said, outcomes = distorted(1000)
    assert (
        brier_score(cross_validate("beta", said, outcomes, range(1000)), outcomes)
        < brier_score(said, outcomes) - 0.005
    )


def test_refusals(monkeypatch):
    monkeypatch.setattr(config, "CALIBRATION_MIN_QUESTIONS", 20)
    monkeypatch.setattr(config, "CALIBRATION_MIN_CLUSTERS", 10)
    monkeypatch.setattr(config, "CALIBRATION_MIN_EACH_OUTCOME", 5)
    p = np.linspace(0.1, 0.9, 20)
    y = np.array([0, 1] * 10)
    assert refusal(p, y, range(20)) is None
    assert "19 resolved questions" in refusal(p[:19], y[:19], range(19))
    assert "4 clusters" in refusal(p, y, [i % 4 for i in range(20)])
    assert "3 questions with the rarer outcome" in refusal(p, [1] * 17 + [0] * 3, range(20))
    assert "the same" in refusal(np.full(20, 0.3), y, range(20))


def test_unknown_method():
    with pytest.raises(ValueError, match="allowed: platt, beta, isotonic"):
        fit("magic", [0.5], [1])


def test_exactly_as_much_as_is_needed_is_enough(monkeypatch):
    monkeypatch.setattr(config, "CALIBRATION_MIN_QUESTIONS", 8)
    monkeypatch.setattr(config, "CALIBRATION_MIN_CLUSTERS", 4)
    monkeypatch.setattr(config, "CALIBRATION_MIN_EACH_OUTCOME", 3)
    p, clusters = np.linspace(0.4, 0.6, 8), list("aabbccdd")
    for outcomes in ([1] * 3 + [0] * 5, [1] * 5 + [0] * 3):
        assert refusal(p, outcomes, clusters) is None
        assert refusal(p[:7], outcomes[:7], clusters[:7]).startswith(
            "7 resolved questions, at least 8"
        )
        assert refusal(p, outcomes, list("aabbcccc")).startswith("3 clusters")
    assert refusal(p, [1] * 2 + [0] * 6, clusters).startswith("2 questions with the rarer outcome")
    assert refusal(p, [1] * 6 + [0] * 2, clusters).startswith("2 questions with the rarer outcome")
    assert refusal(np.linspace(0.5, 0.509, 8), outcomes, clusters) == "all forecasts are the same"
    assert refusal(np.linspace(0.5, 0.511, 8), outcomes, clusters) is None
