"""Fit calibration curves: how often events given a probability p came true.

A curve never falls, so a higher forecast stays the higher one. It is refused where there are too
few forecasts, and where the outcomes would want a falling or flat curve: such forecasts hold no
information that a calibration could use.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import config
from evaluation.metrics import auc, check_forecasts, cluster_folds
from scoring.pooling import ODDS_CLIP

Floats = NDArray[np.float64]

# A curve whose values over 0-1 differ by less than this says the same about every forecast.
FLAT = 1e-4
# A slope of 30 turns 51 % into 77 %: wilder ones mean perfectly separated data, whose slope has no
# end.
STEEPEST = 30.0


@dataclass(frozen=True)
class Curve:
    """A fitted correction: the method and its parameters as plain numbers."""

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
    """Columns of the logistic regression, shape (n, 2) or (n, 3), constant last."""
    clipped = np.clip(p, ODDS_CLIP, 1 - ODDS_CLIP)
    if method == "platt":
        return np.stack([np.log(clipped / (1 - clipped)), np.ones_like(p)], axis=-1)
    return np.stack([np.log(clipped), -np.log(1 - clipped), np.ones_like(p)], axis=-1)


def fit(method: str, probabilities: ArrayLike, outcomes: ArrayLike) -> Curve:
    """Fit a curve that never falls.

    Args:
        method: ``"platt"``: logistic regression on the log-odds, with Platt's softened targets and
            a slope of 0 or more (Platt 1999, in Advances in Large Margin Classifiers). ``"beta"``:
            logistic regression on ln p and -ln(1 - p) with slopes of 0 or more (Kull, Silva Filho &
            Flach 2017, AISTATS, PMLR 54:623-631). ``"isotonic"``: the best rising step function
            (Zadrozny & Elkan 2002, KDD), joined by straight lines.
        probabilities, outcomes: shape (n,), 0-1 and 0 or 1.

    Raises:
        ValueError: an unknown method, or input that is no set of forecasts and outcomes.
    """
    if method not in METHODS:
        raise ValueError(f"unknown calibration {method!r}; allowed: {', '.join(METHODS)}")
    p, y = check_forecasts(probabilities, outcomes)
    return Curve(method, METHODS[method](p, y))


def identity(method: str) -> tuple[float, ...]:
    """Return the weights of a curve that changes nothing (``"platt"`` or ``"beta"``)."""
    return (1.0, 0.0) if method == "platt" else (1.0, 1.0, 0.0)


def fit_around(
    method: str,
    forecasts: tuple[Floats, Floats],
    counts: Floats,
    centre: Sequence[float],
    precision: Sequence[float],
) -> Curve:
    """Fit a curve that is shrunk towards another one.

    Args:
        method: ``"platt"`` or ``"beta"``, as in ``fit``, without softened targets.
        forecasts: probabilities and outcomes (0-1), shape (n,) each.
        counts: how much each forecast counts, shape (n,).
        centre: weights of the other curve.
        precision: of the normal prior of each weight around it, in nats.
    """
    p, y = forecasts
    prior = np.array(centre, dtype=np.float64), np.array(precision, dtype=np.float64)
    return Curve(method, {"weights": _logistic(_features(method, p), y, counts, prior)})


def _fit_platt(p: Floats, y: Floats) -> dict[str, list[float]]:
    positives = y.sum()
    negatives = y.size - positives
    targets = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    return {"weights": _logistic(_features("platt", p), targets)}


def _fit_beta(p: Floats, y: Floats) -> dict[str, list[float]]:
    return {"weights": _logistic(_features("beta", p), y)}


def _logistic(
    features: Floats,
    targets: Floats,
    counts: Floats | None = None,
    prior: tuple[Floats, Floats] | None = None,
) -> list[float]:
    """Weights that minimise the cross-entropy, with slopes of 0 to ``STEEPEST``.

    ``counts`` are the forecasts' weights, ``prior`` the centres and precisions of normal priors.
    Convex, so any start gives the same answer. scikit-learn's LogisticRegression has neither soft
    targets nor bounds on slopes.
    """
    from scipy.optimize import minimize

    share = np.full(len(targets), 1 / len(targets)) if counts is None else counts
    slopes = features.shape[1] - 1
    centre, precision = prior or (np.zeros(slopes + 1), np.zeros(slopes + 1))

    def loss(weights: Floats) -> tuple[float, Floats]:
        score, distance = features @ weights, weights - centre
        value = float(share @ (np.logaddexp(0, score) - targets * score))
        slope = features.T @ (share * (1 / (1 + np.exp(-score)) - targets))
        return value + float(precision @ distance**2) / 2, slope + precision * distance

    bounds = [*[(0.0, STEEPEST)] * slopes, (-STEEPEST, STEEPEST)]
    found = minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=bounds).x
    return [float(w) for w in found]


def _fit_isotonic(p: Floats, y: Floats) -> dict[str, list[float]]:
    from scipy.optimize import isotonic_regression

    values, index = np.unique(p, return_inverse=True)
    counts = np.bincount(index).astype(np.float64)
    shares = np.bincount(index, weights=y) / counts
    fitted = isotonic_regression(shares, weights=counts).x
    return {"forecasts": values.tolist(), "frequencies": fitted.tolist()}


METHODS: Mapping[str, Callable[[Floats, Floats], dict[str, list[float]]]] = {
    "platt": _fit_platt,
    "beta": _fit_beta,
    "isotonic": _fit_isotonic,
}


def refusal(
    probabilities: ArrayLike, outcomes: ArrayLike, clusters: Sequence[Hashable]
) -> str | None:
    """Return why no curve can be fitted: too few, one-sided, or all the same."""
    p, y = check_forecasts(probabilities, outcomes)
    yes = int(y.sum())
    for count, what, setting in (
        (y.size, "resolved questions", "CALIBRATION_MIN_QUESTIONS"),
        (len(set(clusters)), "clusters of related questions", "CALIBRATION_MIN_CLUSTERS"),
        (
            min(yes, y.size - yes),
            "questions with the rarer outcome",
            "CALIBRATION_MIN_EACH_OUTCOME",
        ),
    ):
        least = getattr(config, setting)
        if count < least:
            return f"{count} {what}, at least {least} are needed ({setting})"
    return "all forecasts are the same" if np.ptp(p) < 0.01 else None


def uninformative(curve: Curve, probabilities: ArrayLike, outcomes: ArrayLike) -> str | None:
    """Return why a fitted curve must not be used: forecasts that rank badly."""
    area = auc(probabilities, outcomes)
    if area < 0.5:
        return (
            "the forecasts rank the outcomes wrongly: what came true was given less than what did"
            f" not (AUC {area:.2f}), and a calibration must not turn forecasts round"
        )
    values = curve(np.linspace(0, 1, 101))
    if values[-1] - values[0] < FLAT:
        return (
            f"the fitted curve is flat at {100 * values[0]:.0f} %:"
            " the forecasts say nothing about the outcomes"
        )
    return None


def cross_validate(
    method: str, probabilities: ArrayLike, outcomes: ArrayLike, clusters: Sequence[Hashable]
) -> Floats:
    """Calibrate each forecast by a curve of the other folds; shape (n,), 0-1."""
    p, y = check_forecasts(probabilities, outcomes)
    folds = cluster_folds(clusters, config.CROSS_VALIDATION_FOLDS, seed=config.SEED)
    result = np.empty_like(p)
    for fold in np.unique(folds):
        train = folds != fold
        result[~train] = fit(method, p[train], y[train])(p[~train])
    return result
