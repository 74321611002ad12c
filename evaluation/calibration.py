"""Calibration curves fitted on resolved forecasts: how often what was said to be p came true. Fitting had no room.

A curve is a correction, not a forecast: its values are stored beside the raw ones (tables ``calibrations`` and
``calibrated_forecasts``), which stay as they are. It is fitted on forecasts that count for one record (live or back-dated),
judged by cross-validation over clusters of related questions, and refused when there are too few of them or nothing to fit.

A curve never falls: a higher forecast stays the higher one. Where the outcomes would want a falling or a flat curve, the
forecasts hold no information that a calibration could use; then it is refused, and nothing is stored.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import config
from database import CalibrationRecord, Database
from evaluation.metrics import auc, brier_scores, check_forecasts, cluster_folds, log_scores
from evaluation.reliability import CalibrationNoise, calibration_noise
from evaluation.scorecard import (
    BACK_DATED,
    ENSEMBLE,
    LIVE,
    AnalysisError,
    Record,
    arrays,
    brier_interval,
    collect,
    difference_interval,
    log_interval,
    span,
)
from scoring.distribution import Distribution
from scoring.pooling import ODDS_CLIP, Voice, average

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]

# A curve whose values over 0-1 differ by less than this says the same about every forecast.
FLAT = 1e-4


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
    """Fit a curve that never falls.

    Args:
        method: ``"platt"``: logistic regression on the log-odds, with Platt's softened targets (Platt 1999, in Advances in
            Large Margin Classifiers; log-odds in place of a margin) and a slope of 0 or more. ``"beta"``: logistic
            regression on ln p and -ln(1 - p) with slopes of 0 or more (Kull, Silva Filho & Flach 2017, AISTATS, PMLR
            54:623-631). ``"isotonic"``: the best rising step function (Zadrozny & Elkan 2002, KDD), joined by straight lines.
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
    return Curve(
        "platt", {"weights": _logistic(_features("platt", p), targets, [(0, None), (None, None)])}
    )


def _fit_beta(p: Floats, y: Floats) -> Curve:
    return Curve(
        "beta",
        {"weights": _logistic(_features("beta", p), y, [(0, None), (0, None), (None, None)])},
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


def refusal(
    probabilities: ArrayLike, outcomes: ArrayLike, clusters: Sequence[Hashable]
) -> str | None:
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


def uninformative(curve: Curve, probabilities: ArrayLike, outcomes: ArrayLike) -> str | None:
    """Why a fitted curve must not be used, or None: the forecasts rank the outcomes wrongly, or not at all."""
    area = auc(probabilities, outcomes)
    if area < 0.5:
        return (
            f"the forecasts rank the outcomes wrongly: what came true was given less than what did not (AUC {area:.2f}),"
            " and a calibration must not turn forecasts round"
        )
    values = curve(np.linspace(0, 1, 101))
    if values[-1] - values[0] < FLAT:
        return f"the fitted curve is flat at {100 * values[0]:.0f} %: the forecasts say nothing about the outcomes"
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


@dataclass(frozen=True)
class Comparison:
    """Raw and cross-validated calibrated forecasts of the same questions: their scores and the verdict."""

    outcomes: Floats
    clusters: Sequence[Hashable]
    raw: Floats
    calibrated: Floats

    def brier(self) -> tuple[Floats, Floats]:
        """Brier scores, raw and calibrated, shape (n,) each."""
        return brier_scores(self.raw, self.outcomes), brier_scores(self.calibrated, self.outcomes)

    def log(self) -> tuple[Floats, Floats]:
        """Log scores in nats, raw and calibrated, shape (n,) each."""
        return log_scores(self.raw, self.outcomes), log_scores(self.calibrated, self.outcomes)

    def noise(self) -> tuple[CalibrationNoise, CalibrationNoise]:
        """Expected calibration errors, raw and calibrated, beside those of a calibrated forecaster."""
        count, seed = config.CALIBRATION_SIMULATIONS, config.SEED
        raw, new = (
            calibration_noise(p, self.outcomes, self.clusters, samples=count, seed=seed)
            for p in (self.raw, self.calibrated)
        )
        return raw, new

    def lines(self) -> list[str]:
        """Brier score, log score and ECE, raw and calibrated, with 95 % intervals and a verdict each."""
        lines = []
        for name, (raw, new), interval in (
            ("Brier", self.brier(), brier_interval),
            ("log score", self.log(), log_interval),
        ):
            gain = difference_interval(new - raw, self.clusters)
            lines.append(
                f"  {name} raw {raw.mean():.4f} (95 %: {span(interval(raw, self.clusters))}),"
                f" calibrated {new.mean():.4f} ({span(interval(new, self.clusters))});"
                f" difference {(new - raw).mean():+.4f} ({span(gain, '+.4f')}): {verdict(gain.low, gain.high)}"
            )
        raw_noise, new_noise = self.noise()
        lines.append(
            f"  ECE raw {noise_text(raw_noise)}, calibrated {noise_text(new_noise)}; all calibrated scores are"
            " cross-validated by cluster"
        )
        return lines


def verdict(low: float, high: float) -> str:
    """What a 95 % interval of calibrated minus raw score says; scores are better when lower."""
    if np.isnan(low) or np.isnan(high):
        return "too few clusters to say"
    return "better" if high < 0 else "worse" if low > 0 else "no clear difference"


def noise_text(noise: CalibrationNoise) -> str:
    """An expected calibration error beside what a calibrated forecaster would show."""
    return f"{noise.error:.3f} (a calibrated forecaster would show {noise.mean:.3f}, up to {noise.bound:.3f})"


def chosen_record(record: Record, forecaster: str, wanted: str | None) -> tuple[str, list[str]]:
    """The record to fit on and what has to be said about the choice.

    Live where any live forecast counts, or else back-dated, unless one is wanted.
    """
    counts = {kind: len(record.part(kind).latest(forecaster)) for kind in (LIVE, BACK_DATED)}
    if wanted is not None:
        return wanted, []
    kind = LIVE if counts[LIVE] or not counts[BACK_DATED] else BACK_DATED
    other = BACK_DATED if kind == LIVE else LIVE
    if kind == BACK_DATED:
        return kind, ["  no live forecast counts, so the back-dated ones were used"]
    unused = (
        f"  {counts[other]} back-dated forecasts were not used (--record back-dated fits those)"
    )
    return kind, [unused] if counts[other] else []


def calibrate_database(
    database: Database, forecaster: str, method: str, wanted: str | None = None
) -> str:
    """Fit, judge and store a calibration of one forecaster; returns the lines to print.

    The counting forecasts of resolved questions in one record (``wanted``, see ``chosen_record``) are fitted on; those get
    the cross-validated value (``out_of_fold``), every other forecast of that forecaster in that record the final curve's.

    Raises:
        AnalysisError: the forecaster has no resolved forecasts, or the calibration is refused; nothing is stored.
    """
    everything = collect(database)
    kind, notes = chosen_record(everything, forecaster, wanted)
    record = everything.part(kind)
    rows = record.latest(forecaster)
    if not rows:
        known = ", ".join(record.forecasters()) or "none"
        raise AnalysisError(
            f"{forecaster!r} has no resolved {kind} forecast that counts; forecasters with one: {known}"
        )
    p, y, clusters = arrays(rows)
    reason = refusal(p, y, clusters)
    curve = fit(method, p, y) if reason is None else None
    if curve is not None:
        reason = uninformative(curve, p, y)
    if curve is None or reason:
        hint = f"; {notes[0].strip()}" if notes else ""
        raise AnalysisError(f"calibration of {forecaster!r} ({kind}) refused: {reason}{hint}")
    compared = Comparison(y, clusters, p, cross_validate(method, p, y, clusters))
    stored = _values(database, forecaster, kind, curve)
    stored.update(
        {
            (j.run_id, j.question_id): (a, b, True)
            for j, a, b in zip(rows, p, compared.calibrated, strict=True)
        }
    )
    number = database.save_calibration(
        _stored_record(forecaster, method, kind, curve, compared),
        [(*key, float(raw), float(value), fold) for key, (raw, value, fold) in stored.items()],
    )
    head = (
        f"calibration {number}: {method} for {forecaster}, {len(rows)} {kind} forecasts of resolved questions"
        f" in {len(set(clusters))} clusters"
    )
    end = f"  {len(stored)} forecasts have a calibrated value beside the raw one (table calibrated_forecasts)"
    return "\n".join([head, *notes, *compared.lines(), end])


def _stored_record(
    forecaster: str, method: str, kind: str, curve: Curve, compared: Comparison
) -> CalibrationRecord:
    (raw_brier, brier), (raw_log, log), (raw_ece, ece) = (
        compared.brier(),
        compared.log(),
        compared.noise(),
    )
    return CalibrationRecord(
        forecaster,
        method,
        curve.parameters,
        int(compared.outcomes.size),
        len(set(compared.clusters)),
        float(raw_brier.mean()),
        float(brier.mean()),
        record=kind,
        raw_log=float(raw_log.mean()),
        calibrated_log=float(log.mean()),
        raw_ece=raw_ece.error,
        calibrated_ece=ece.error,
    )


def apply_latest(database: Database, run_id: int) -> int:
    """Calibrate a run's forecasts with the newest curve of each forecaster and record; returns how many.

    The values are stored in ``calibrated_forecasts`` beside those that the curve had before; forecasts that it was fitted
    on keep their cross-validated values. Forecasters without a calibration of the record in question get none.
    """
    curves: dict[tuple[str, str], tuple[int, Curve]] = {}
    for row in database.calibrations():  # oldest first
        try:
            curve = Curve(row.method, row.parameters)
            curve([0.5])
        except (TypeError, ValueError, KeyError, RecursionError):
            logger.warning(
                "calibration %s is not one that Forecaster writes; it is not applied", row.id
            )
            continue
        curves[row.forecaster, row.record] = (row.id, curve)
    count = 0
    for (forecaster, kind), (number, curve) in curves.items():
        values = _values(database, forecaster, kind, curve, run_id)
        count += database.add_calibrated_forecasts(
            number, [(*key, raw, value) for key, (raw, value, _) in values.items()]
        )
    return count


def _values(
    database: Database, forecaster: str, kind: str, curve: Curve, run_id: int | None = None
) -> dict[tuple[int, str], tuple[float, float, bool]]:
    """Raw and calibrated probability of a forecaster's forecasts in one record, by run and question."""
    means = _all_means(database, forecaster, kind, run_id)
    return {key: (raw, float(curve([raw])[0]), False) for key, raw in means.items()}


def _all_means(
    database: Database, forecaster: str, kind: str, run_id: int | None
) -> dict[tuple[int, str], float]:
    """Raw probability (0-1) of a forecaster's forecasts of one record; of one run nothing else is read."""
    asked = (
        None
        if run_id is None
        else [(run_id, question.id) for question in database.run_questions(run_id)]
    )
    spoken: dict[tuple[int, str], Distribution] = {}
    if forecaster == ENSEMBLE:
        for pool in database.all_ensembles(asked):
            if (pool.as_of is None) == (kind == LIVE):
                spoken[pool.run_id, pool.question_id] = pool.distribution
    else:
        parts: dict[tuple[int, str], list[Voice]] = {}
        for row in database.successful_forecasts(asked):
            if row.agent == forecaster and (row.as_of is None) == (kind == LIVE):
                parts.setdefault((row.run_id, row.question_id), []).append(row.voice)
        spoken = {key: average(voices).distribution for key, voices in parts.items()}
    return {key: float(np.clip(one.probability, 0, 1)) for key, one in spoken.items()}
