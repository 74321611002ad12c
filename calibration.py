"""Calibration curves fitted on resolved forecasts: how often what was said to be p came true. Fitting had no room.

A curve is a correction, not a forecast: its values are stored beside the raw ones (tables ``calibrations`` and
``calibrated_forecasts``), which stay as they are. It is fitted on forecasts that count for the record only, judged by
cross-validation over clusters of related questions, and refused when there are too few of them or nothing to fit.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import config
from database import CalibrationRecord, Database
from distribution import ODDS_CLIP, Distribution
from scorecard import ENSEMBLE, AnalysisError, arrays, collect, mean_interval
from track_record import brier_scores, check_forecasts, cluster_folds

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """A fitted correction: the method, its parameters as plain numbers, and how to apply them."""

    method: str
    parameters: Mapping[str, Any]

    def __call__(self, probabilities: ArrayLike) -> Floats:
        """Calibrated probabilities (0-1, same shape) of raw ones."""
        p = np.asarray(probabilities, dtype=np.float64)
        if self.method == "isotonic":
            return np.interp(p, self.parameters["forecasts"], self.parameters["frequencies"])
        score = _features(self.method, p) @ np.asarray(self.parameters["weights"])
        return np.asarray(1 / (1 + np.exp(-score)), dtype=np.float64)


def _features(method: str, p: Floats) -> Floats:
    """Columns that the logistic regression weighs, shape (n, 2) or (n, 3), the last one the constant."""
    clipped = np.clip(p, ODDS_CLIP, 1 - ODDS_CLIP)
    if method == "platt":
        return np.stack([np.log(clipped / (1 - clipped)), np.ones_like(p)], axis=-1)
    return np.stack([np.log(clipped), -np.log(1 - clipped), np.ones_like(p)], axis=-1)


def fit(method: str, probabilities: ArrayLike, outcomes: ArrayLike) -> Curve:
    """Fit a curve.

    Args:
        method: ``"platt"``: logistic regression on the log-odds, two parameters, with Platt's softened targets (Platt 1999, in
            Advances in Large Margin Classifiers; log-odds in place of a margin). ``"beta"``: logistic regression on ln p and
            -ln(1 - p) with non-negative slopes (Kull, Silva Filho & Flach 2017, AISTATS, PMLR 54:623-631). ``"isotonic"``: the
            best rising step function (Zadrozny & Elkan 2002, KDD), joined by straight lines.
        probabilities, outcomes: shape (n,), 0-1 and 0 or 1.

    Raises:
        ValueError: an unknown method, or input that is no set of forecasts and outcomes.
    """
    if method not in METHODS:
        raise ValueError(f"unknown calibration {method!r}; allowed: {', '.join(METHODS)}")
    p, y = check_forecasts(probabilities, outcomes)
    return METHODS[method](p, y)


def _fit_platt(p: Floats, y: Floats) -> Curve:
    positives = y.sum()
    negatives = y.size - positives
    targets = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    return Curve("platt", {"weights": _logistic(_features("platt", p), targets, [(None, None)] * 2)})


def _fit_beta(p: Floats, y: Floats) -> Curve:
    return Curve(
        "beta", {"weights": _logistic(_features("beta", p), y, [(0, None), (0, None), (None, None)])}
    )


def _logistic(
    features: Floats, targets: Floats, bounds: Sequence[tuple[float | None, float | None]]
) -> list[float]:
    """Weights that minimise the cross-entropy with soft targets; convex, so any start gives the same answer."""
    from scipy.optimize import minimize

    def loss(weights: Floats) -> tuple[float, Floats]:
        score = features @ weights
        value = float((np.logaddexp(0, score) - targets * score).mean())
        return value, features.T @ (1 / (1 + np.exp(-score)) - targets) / len(targets)

    start = np.zeros(features.shape[1])
    # A slope of 30 turns 51 % into 77 %: wilder ones mean perfectly separated data, whose slope has no end.
    limited = [(-30 if low is None else low, 30 if high is None else high) for low, high in bounds]
    return [float(w) for w in minimize(loss, start, jac=True, method="L-BFGS-B", bounds=limited).x]


def _fit_isotonic(p: Floats, y: Floats) -> Curve:
    from scipy.optimize import isotonic_regression

    values, index = np.unique(p, return_inverse=True)
    counts = np.bincount(index).astype(np.float64)
    shares = np.bincount(index, weights=y) / counts
    fitted = isotonic_regression(shares, weights=counts).x
    return Curve("isotonic", {"forecasts": values.tolist(), "frequencies": fitted.tolist()})


METHODS: Mapping[str, Callable[[Floats, Floats], Curve]] = {
    "platt": _fit_platt,
    "beta": _fit_beta,
    "isotonic": _fit_isotonic,
}


def refusal(probabilities: ArrayLike, outcomes: ArrayLike, clusters: Sequence[Hashable]) -> str | None:
    """Why a calibration cannot be fitted on these forecasts, or None: too few, one-sided, or all the same."""
    p, y = check_forecasts(probabilities, outcomes)
    yes = int(y.sum())
    rarer = min(yes, y.size - yes)
    if y.size < config.CALIBRATION_MIN_QUESTIONS:
        return f"{y.size} resolved questions, at least {config.CALIBRATION_MIN_QUESTIONS} are needed (CALIBRATION_MIN_QUESTIONS)"
    if len(set(clusters)) < config.CALIBRATION_MIN_CLUSTERS:
        least = config.CALIBRATION_MIN_CLUSTERS
        return f"{len(set(clusters))} clusters of related questions, at least {least} are needed (CALIBRATION_MIN_CLUSTERS)"
    if rarer < config.CALIBRATION_MIN_EACH_OUTCOME:
        least = config.CALIBRATION_MIN_EACH_OUTCOME
        return f"{rarer} questions with the rarer outcome, at least {least} are needed (CALIBRATION_MIN_EACH_OUTCOME)"
    if np.ptp(p) < 0.01:
        return "all forecasts are the same"
    return None


def cross_validate(
    method: str, probabilities: ArrayLike, outcomes: ArrayLike, clusters: Sequence[Hashable]
) -> Floats:
    """Each forecast calibrated by a curve fitted on the other folds of clusters, shape (n,), 0-1."""
    p, y = check_forecasts(probabilities, outcomes)
    folds = cluster_folds(clusters, config.CROSS_VALIDATION_FOLDS, seed=config.SEED)
    result = np.empty_like(p)
    for fold in np.unique(folds):
        train = folds != fold
        result[~train] = fit(method, p[train], y[train])(p[~train])
    return result


def calibrate_database(database: Database, forecaster: str, method: str) -> str:
    """Fit, judge and store a calibration of one forecaster; returns the lines to print.

    The last counting forecast of each resolved question is fitted on; those get the cross-validated value (``out_of_fold``),
    every other forecast of that forecaster the final curve's.

    Raises:
        AnalysisError: the forecaster has no resolved forecasts, or the calibration is refused.
    """
    record = collect(database)
    rows = record.latest(forecaster)
    if not rows:
        known = ", ".join(record.forecasters()) or "none"
        raise AnalysisError(
            f"{forecaster!r} has no resolved forecast that counts; forecasters with one: {known}"
        )
    p, y, clusters = arrays(rows)
    reason = refusal(p, y, clusters)
    if reason:
        raise AnalysisError(f"calibration of {forecaster!r} refused: {reason}")
    calibrated = cross_validate(method, p, y, clusters)
    curve = fit(method, p, y)
    raw_scores, new_scores = brier_scores(p, y), brier_scores(calibrated, y)
    stored = [
        (j.run_id, j.question_id, float(a), float(b), True)
        for j, a, b in zip(rows, p, calibrated, strict=True)
    ]
    fitted = {(run, question) for run, question, *_ in stored}
    for (run, question), raw in _all_means(database, forecaster).items():
        if (run, question) not in fitted:
            stored.append((run, question, raw, float(curve([raw])[0]), False))
    calibration = CalibrationRecord(
        forecaster,
        method,
        curve.parameters,
        len(rows),
        len(set(clusters)),
        float(raw_scores.mean()),
        float(new_scores.mean()),
    )
    number = database.save_calibration(calibration, stored)
    interval = mean_interval(new_scores - raw_scores, clusters)
    verdict = "better" if interval.high < 0 else "worse" if interval.low > 0 else "no clear difference"
    return (
        f"calibration {number}: {method} for {forecaster}, {len(rows)} questions in {len(set(clusters))} clusters\n"
        f"  Brier raw {calibration.raw_brier:.4f}, calibrated {calibration.calibrated_brier:.4f} (cross-validated by cluster);"
        f" difference {calibration.calibrated_brier - calibration.raw_brier:+.4f}"
        f" (95 %: {interval.low:+.4f} … {interval.high:+.4f}): {verdict}\n"
        f"  {len(stored)} forecasts have a calibrated value beside the raw one (table calibrated_forecasts)"
    )


def _all_means(database: Database, forecaster: str) -> dict[tuple[int, str], float]:
    """Raw probability (0-1) of every forecast of a forecaster by run and question; chunks count equally."""
    rows = database.all_ensembles() if forecaster == ENSEMBLE else database.successful_forecasts()
    values: dict[tuple[int, str], list[float]] = {}
    for row in rows:
        if forecaster == ENSEMBLE or row["agent"] == forecaster:
            values.setdefault((row["run_id"], row["question_id"]), []).append(
                Distribution.from_json(row["probabilities"]).probability
            )
    return {key: float(np.clip(np.mean(parts), 0, 1)) for key, parts in values.items()}
