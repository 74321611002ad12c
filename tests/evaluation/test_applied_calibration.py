"""Applied calibration: past only, used while it wins on later forecasts, else no change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from evaluation.applied_calibration import (
    METHODS,
    MIN_JUDGED_CLUSTERS,
    CalibrationCurve,
    Judged,
    PastForecast,
    fit_applied,
    rolling,
)
from evaluation.curves import fit_around, identity

MONTHS = 12


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def record(
    distort: Callable[[float], float], *, count: int = 50, kind: str = "market", seed: int = 3
) -> list[PastForecast]:
    """A year of forecasts, each resolved within its month; ``distort`` works on true log-odds."""
    g = np.random.default_rng(seed)
    rows = []
    for month in range(1, MONTHS + 1):
        for n in range(count):
            x = float(g.normal(0, 1.5))
            name, day = f"{kind}-{month}-{n}", f"2025-{month:02}"
            y = float(g.random() < sigmoid(x))
            p = sigmoid(distort(x))
            rows.append(PastForecast(name, kind, name, f"{day}-05", p, y, f"{day}-20"))
    return rows


def test_overconfident_forecasts_are_calibrated() -> None:
    curve = fit_applied(record(lambda x: 2 * x), "market", "2026-01-01")
    assert curve.used
    assert curve.brier_before is not None
    assert curve.brier_after is not None
    assert curve.brier_after < curve.brier_before
    assert "wins" in curve.reason
    assert curve.count == 50 * MONTHS
    assert 0.5 < curve.apply(0.9) < 0.85
    assert 0.15 < curve.apply(0.1) < 0.5


def test_a_gain_has_to_be_two_standard_errors_by_hand() -> None:
    """Gains of 0.1 and 0.3 have a mean of 0.2 and a standard error of 0.1."""
    before = np.array([0.5, 0.5])
    judged = Judged(before, before - [0.1, 0.3])
    assert list(judged.gain) == pytest.approx([-0.2, 0.1])
    assert list(judged.means) == pytest.approx([0.5, 0.3])
    assert not Judged(before, before - [0.0999, 0.3]).wins
    assert Judged(before, before - [0.1001, 0.3]).wins


def test_the_method_that_did_better_later_is_kept() -> None:
    rows = record(lambda x: 2 * x)
    found = fit_applied(rows, "market", "2026-01-01")
    known = [r for r in rows if r.resolved_on < "2026-01-01"]
    after = {name: rolling(known, "market", name).after.mean() for name in METHODS}
    assert found.method == min(after, key=lambda name: after[name])
    assert found.brier_after == pytest.approx(after[found.method])
    assert len(set(after.values())) == len(METHODS)


def test_calibrated_forecasts_are_left_alone() -> None:
    curve = fit_applied(record(lambda x: x), "market", "2026-01-01")
    assert not curve.used
    assert "does not win" in curve.reason
    assert curve.brier_before is not None
    assert curve.apply(0.9) == 0.9
    assert CalibrationCurve("market", "beta").apply(0.0123) == 0.0123


def test_a_bias_that_turns_round_is_not_used() -> None:
    """What was too high for half a year is too low now: the past does not tell the future."""
    early = [r for r in record(lambda x: x + 1) if r.date < "2025-07"]
    late = [r for r in record(lambda x: x - 1) if r.date >= "2025-07"]
    curve = fit_applied(early + late, "market", "2026-01-01")
    assert not curve.used


def test_outcomes_of_the_day_and_later_change_nothing() -> None:
    rows = record(lambda x: 2 * x)
    found = fit_applied(rows, "market", "2025-11-20")
    later = [
        replace(r, outcome=1 - r.outcome) if r.resolved_on >= "2025-11-20" else r for r in rows
    ]
    assert fit_applied(later[::-1], "market", "2025-11-20").reason == found.reason
    known = [r for r in rows if r.resolved_on < "2025-11-20"]
    assert fit_applied(known, "market", "2025-11-20") == found


def test_a_month_is_judged_by_the_curve_of_earlier_months_only() -> None:
    """Only forecasts that come after a fit are scored: none of a single month are."""
    rows = [replace(r, date="2025-01-05") for r in record(lambda x: 2 * x)]
    curve = fit_applied(rows, "market", "2026-01-01")
    assert not curve.used
    assert f"0 clusters of forecasts were made after a fit, at least {MIN_JUDGED_CLUSTERS}" in (
        curve.reason
    )


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "no forecast of this kind"),
        (record(lambda x: 2 * x, count=5), "60 resolved questions, at least 100"),
        (record(lambda x: 2 * x, kind="other"), "no forecast of this kind"),
        ([replace(r, cluster="one") for r in record(lambda x: x)], "1 clusters of related"),
    ],
)
def test_too_little_is_refused_with_the_reason(rows: list[PastForecast], reason: str) -> None:
    curve = fit_applied(rows, "market", "2026-01-01")
    assert not curve.used
    assert reason in curve.reason
    assert curve.apply(0.3) == 0.3


def test_a_question_that_is_forecast_every_week_is_one() -> None:
    weekly = [r for r in record(lambda x: 2 * x, count=5) for _ in range(52)]
    curve = fit_applied(weekly, "market", "2026-01-01")
    assert curve.reason.startswith("60 resolved questions, at least 100 are needed")
    assert curve.count == 60 * 52
    assert len(rolling(weekly, "market", "beta").before) == 0


def test_forecasts_that_rank_wrongly_are_not_turned_round() -> None:
    curve = fit_applied(record(lambda x: -x), "market", "2026-01-01")
    assert not curve.used
    assert "rank the outcomes wrongly" in curve.reason


def test_a_small_kind_borrows_from_the_others() -> None:
    """With four forecasts of its own, its curve is nearer to the others' than to no change."""
    common = record(lambda x: 2 * x)
    few = record(lambda x: 2 * x, count=1, kind="rare", seed=8)[:4]
    alone = fit_applied([*common, *few], "rare", "2026-01-01")
    together = fit_applied(common, "market", "2026-01-01")
    assert alone.count == 4
    own, others = (replace(curve, used=True).apply(0.95) for curve in (alone, together))
    assert abs(own - others) < abs(own - 0.95)


@pytest.mark.parametrize("method", ["platt", "beta"])
def test_a_fit_is_shrunk_towards_its_centre(method: str) -> None:
    rows = record(lambda x: 2 * x)
    p, y = (np.array([getattr(r, name) for r in rows]) for name in ("probability", "outcome"))
    centre = identity(method)
    free, held = (
        fit_around(method, (p, y), np.ones(len(rows)), centre, [strength] * len(centre))
        for strength in (1e-6, 1e9)
    )
    assert held.parameters["weights"] == pytest.approx(centre, abs=1e-4)
    assert held([0.2, 0.7]) == pytest.approx([0.2, 0.7], abs=1e-4)
    assert free.parameters["weights"][0] == pytest.approx(0.5, abs=0.2)
