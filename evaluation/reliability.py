"""How far forecasts are from calibrated, beyond what chance alone would show.

With few forecasts every calibration error is too large: a perfectly calibrated forecaster has an expected
calibration error of about 0.13 over 30 questions, because the frequency in a bin of three is rarely what was
forecast. So the error is printed beside what a calibrated forecaster would show (``calibration_noise``), and
the terms of Murphy's decomposition are corrected for it (``corrected``).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.intervals import cluster_numbers
from evaluation.metrics import (
    DEFAULT_BIN_EDGES,
    Decomposition,
    bin_numbers,
    check_forecasts,
    decompose,
    expected_calibration_error,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CalibrationNoise:
    """What a calibrated forecaster with the same forecasts would show, all 0-1.

    error: the forecaster's expected calibration error; mean, bound: mean and 95 % quantile of the
    calibrated one's.
    """

    error: float
    mean: float
    bound: float

    @property
    def exceeded(self) -> bool:
        """Whether the error is larger than chance shows in 95 % of cases."""
        return self.error > self.bound


def calibration_noise(
    probabilities: ArrayLike,
    outcomes: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    samples: int = 1000,
    seed: int = 0,
    edges: Sequence[float] = DEFAULT_BIN_EDGES,
) -> CalibrationNoise:
    """Measure the ECE of simulated outcomes in which each forecast is right.

    probabilities, outcomes: shape (n,). Outcomes of one cluster are as related as they were found to be:
    with the estimated probability all questions of a cluster draw on the same uniform number, else each on
    its own. The same seed gives the same result. Source: consistency resampling, Brocker & Smith (2007),
    Weather and Forecasting 22:651-661, with dependence within clusters added.
    """
    p, y = check_forecasts(probabilities, outcomes)
    rows, count = cluster_numbers(clusters, p.size)
    related = outcome_correlation(p, y, rows)
    numbers = bin_numbers(p, edges)
    generator = np.random.default_rng(seed)
    errors = np.empty(samples)
    for sample in range(samples):
        draws = generator.random(p.size)
        if related > 0:
            shared = generator.random(count) < related
            draws = np.where(shared[rows], generator.random(count)[rows], draws)
        gaps = np.bincount(numbers, weights=p - (draws < p))
        errors[sample] = np.abs(gaps).sum() / p.size
    error = expected_calibration_error(p, y, edges)
    return CalibrationNoise(error, float(errors.mean()), float(np.quantile(errors, 0.95)))


def outcome_correlation(p: Floats, y: Floats, rows: NDArray[np.int64]) -> float:
    """Estimate how related outcomes of one cluster are, 0 to 1 (as far as possible).

    The mean product of y - p over pairs of one cluster, divided by its largest value min(p, q) - p q.
    Moment estimator in the form of Zeger & Liang (1986), Biometrics 42:121-130; p, y, rows of shape (n,).
    """
    products = limits = 0.0
    order = np.argsort(rows, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(rows[order])) + 1):
        if members.size > 1:
            q = np.sort(p[members])
            residuals = y[members] - p[members]
            products += (residuals.sum() ** 2 - (residuals**2).sum()) / 2
            # The i-th smallest of m is the minimum of m - 1 - i pairs.
            smaller = float((q * np.arange(q.size - 1, -1, -1)).sum())
            limits += smaller - (q.sum() ** 2 - (q**2).sum()) / 2
    return min(1.0, max(0.0, products / limits)) if limits > 0 else 0.0


def corrected(
    probabilities: ArrayLike, outcomes: ArrayLike, edges: Sequence[float] | None = None
) -> Decomposition:
    """Decompose the Brier score (Murphy) without the bias of few forecasts in a bin.

    Reliability loses what the sampling of each bin's frequency adds to it and may fall below 0; resolution
    loses the same, and uncertainty gains the bias of the base rate's variance. A bin of one forecast, whose
    variance cannot be estimated, takes the forecast's own p (1 - p). Takes forecasts as independent.
    Source: Ferro & Fricker (2012), Quarterly Journal of the Royal Meteorological Society 138:1954-1960.
    """
    p, y = check_forecasts(probabilities, outcomes)
    parts = decompose(p, y, edges)
    numbers = np.unique(p, return_inverse=True)[1] if edges is None else bin_numbers(p, edges)
    bias = 0.0
    for number in np.unique(numbers):
        inside = numbers == number
        count, rate = int(inside.sum()), float(y[inside].mean())
        variance = (
            rate * (1 - rate) / (count - 1)
            if count > 1
            else float(p[inside][0] * (1 - p[inside][0]))
        )
        bias += count / p.size * variance
    spare = parts.uncertainty / (p.size - 1) if p.size > 1 else 0.0
    return replace(
        parts,
        reliability=parts.reliability - bias,
        resolution=parts.resolution - bias + spare,
        uncertainty=parts.uncertainty + spare,
    )
