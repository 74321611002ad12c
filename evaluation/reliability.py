"""Measure how far forecasts are from calibrated, beside chance alone.

With few forecasts every calibration error is too large: a perfectly calibrated forecaster has an
expected calibration error of about 0.13 over 30 questions. So the error is compared with what a
calibrated forecaster would show, and Murphy's decomposition is corrected for few forecasts.
Forecasts, outcomes and clusters are as in ``evaluation.metrics``.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.intervals import UNKNOWN_INTERVAL, Interval, cluster_numbers
from evaluation.metrics import check_forecasts

Floats = NDArray[np.float64]

# Ten bins of ten percentage points: the usual choice for reliability diagrams, and few enough to be
# filled by a few hundred forecasts.
BIN_EDGES: tuple[float, ...] = tuple(edge / 10 for edge in range(11))
# Forecasts in a bin of equal counts: with ten, the interval of a frequency is about 60 points wide.
LEAST_IN_BIN = 10
NORMAL_QUANTILE = 1.959963984540054  # of 0.975
# Random numbers held in memory at once.
SIMULATED_AT_ONCE = 500_000


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin of a reliability diagram, [low, high), the last with 1; all in 0-1."""

    low: float
    high: float
    count: int
    mean_forecast: float
    frequency: float
    interval: Interval


@dataclass(frozen=True)
class Decomposition:
    """Murphy's decomposition, exact by its two within-bin terms.

    Brier = reliability - resolution + uncertainty + within_bin_variance - within_bin_covariance.
    """

    reliability: float
    resolution: float
    uncertainty: float
    within_bin_variance: float
    within_bin_covariance: float

    @property
    def brier(self) -> float:
        """The Brier score that the five terms add up to."""
        within_bins = self.within_bin_variance - self.within_bin_covariance
        return self.reliability - self.resolution + self.uncertainty + within_bins


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


def wilson_interval(successes: int, count: int) -> Interval:
    """95 % interval of a frequency, in 0-1. Source: Wilson (1927), JASA 22:209-212."""
    if count == 0:
        return UNKNOWN_INTERVAL
    share, z2 = successes / count, NORMAL_QUANTILE**2
    centre = 2 * count * share + z2
    half = NORMAL_QUANTILE * math.sqrt(z2 + 4 * count * share * (1 - share))
    low, high = (centre - half) / (2 * (count + z2)), (centre + half) / (2 * (count + z2))
    return Interval(low if successes else 0.0, high if successes < count else 1.0)


def bin_numbers(p: Floats) -> NDArray[np.int64]:
    """The bin of each forecast; float noise of 1e-9 never moves 0.3 into [0.2, 0.3)."""
    return np.searchsorted(BIN_EDGES[1:-1], p + 1e-9, side="right").astype(np.int64)


def reliability_bins(probabilities: ArrayLike, outcomes: ArrayLike) -> list[ReliabilityBin]:
    """Count forecasts and outcomes in every bin; empty ones have NaN means.

    Source: Murphy & Winkler (1977), Journal of the Royal Statistical Society C 26:41-47.
    """
    p, y = check_forecasts(probabilities, outcomes)
    numbers = bin_numbers(p)
    bins = []
    for number, (low, high) in enumerate(pairwise(BIN_EDGES)):
        inside = numbers == number
        count = int(inside.sum())
        forecast = float(p[inside].mean()) if count else float("nan")
        frequency = float(y[inside].mean()) if count else float("nan")
        interval = wilson_interval(int(y[inside].sum()), count)
        bins.append(ReliabilityBin(low, high, count, forecast, frequency, interval))
    return bins


def equal_count_bins(probabilities: ArrayLike, outcomes: ArrayLike) -> list[ReliabilityBin]:
    """Group forecasts by size into bins of about equal count; equal ones share a bin.

    There are up to ten bins of at least ten forecasts, as far as there are so many.
    """
    p, y = check_forecasts(probabilities, outcomes)
    order = np.argsort(p, kind="stable")
    p, y = p[order], y[order]
    number = min(len(BIN_EDGES) - 1, max(1, p.size // LEAST_IN_BIN))
    cuts = p.size * np.arange(1, number) // number
    # A cut within equal forecasts moves to their nearer end.
    first, last = (np.searchsorted(p, p[cuts], side) for side in ("left", "right"))
    moved = np.where(cuts - first <= last - cuts, first, last).tolist()
    bins = []
    for start, end in pairwise(sorted({0, *moved, p.size})):
        said, came = p[start:end], y[start:end]
        low, high = float(said[0]), float(said[-1])
        interval = wilson_interval(int(came.sum()), end - start)
        row = (low, high, end - start, float(said.mean()), float(came.mean()), interval)
        bins.append(ReliabilityBin(*row))
    return bins


def expected_calibration_error(probabilities: ArrayLike, outcomes: ArrayLike) -> float:
    """Mean over forecasts of |bin's mean forecast - bin's frequency|, in 0-1.

    Biased upwards in small samples. Source: Naeini, Cooper & Hauskrecht (2015), AAAI, 2901-2907.
    """
    p, y = check_forecasts(probabilities, outcomes)
    # count * |mean forecast - frequency| of a bin is |sum of (p - y)| in it.
    return float(np.abs(np.bincount(bin_numbers(p), weights=p - y)).sum() / p.size)


# --- Murphy's decomposition -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Bins:
    """The filled bins of some forecasts: each row's bin, and count and means by bin."""

    of_row: NDArray[np.int64]
    count: Floats
    forecast: Floats
    frequency: Floats


def _filled_bins(p: Floats, y: Floats) -> _Bins:
    of_row = np.unique(bin_numbers(p), return_inverse=True)[1]
    count = np.bincount(of_row).astype(np.float64)
    forecast, frequency = (np.bincount(of_row, weights=values) / count for values in (p, y))
    return _Bins(of_row, count, forecast, frequency)


def decompose(probabilities: ArrayLike, outcomes: ArrayLike) -> Decomposition:
    """Decompose the Brier score over ten bins (Murphy).

    The variance of forecasts inside a bin and twice their covariance with the outcomes are added,
    and the sum is exact. Sources: Murphy (1973), Journal of Applied Meteorology 12:595-600;
    Stephenson, Coelho & Jolliffe (2008), Weather and Forecasting 23:752-757 (within-bin terms).
    """
    p, y = check_forecasts(probabilities, outcomes)
    bins, base_rate = _filled_bins(p, y), y.mean()
    share = bins.count / p.size
    deviation = p - bins.forecast[bins.of_row]
    return Decomposition(
        reliability=float(share @ (bins.forecast - bins.frequency) ** 2),
        resolution=float(share @ (bins.frequency - base_rate) ** 2),
        uncertainty=float(base_rate * (1 - base_rate)),
        within_bin_variance=float((deviation**2).mean()),
        within_bin_covariance=float(2 * (deviation * (y - bins.frequency[bins.of_row])).mean()),
    )


def corrected(probabilities: ArrayLike, outcomes: ArrayLike) -> Decomposition:
    """Decompose the Brier score without the bias of few forecasts in a bin.

    Reliability loses what the sampling of each bin's frequency adds to it and may fall below 0;
    resolution loses the same, and uncertainty gains the bias of the base rate's variance. A bin of
    one forecast, whose variance cannot be estimated, takes the forecast's own p (1 - p). Forecasts
    are taken as independent. Source: Ferro & Fricker (2012), Quarterly Journal of the Royal
    Meteorological Society 138:1954-1960.
    """
    p, y = check_forecasts(probabilities, outcomes)
    parts, bins = decompose(p, y), _filled_bins(p, y)
    sampled = bins.frequency * (1 - bins.frequency) / np.maximum(bins.count - 1, 1)
    variance = np.where(bins.count > 1, sampled, bins.forecast * (1 - bins.forecast))
    bias = float(bins.count @ variance) / p.size
    spare = parts.uncertainty / (p.size - 1) if p.size > 1 else 0.0
    return replace(
        parts,
        reliability=parts.reliability - bias,
        resolution=parts.resolution - bias + spare,
        uncertainty=parts.uncertainty + spare,
    )


# --- chance ---------------------------------------------------------------------------------------


def calibration_noise(
    probabilities: ArrayLike,
    outcomes: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    samples: int = 1000,
    seed: int = 0,
) -> CalibrationNoise:
    """Measure the calibration error of outcomes drawn from the forecasts themselves.

    Outcomes of one cluster are as related as they were found to be: with the estimated probability
    all questions of a cluster draw on the same uniform number, else each on its own. The same seed
    gives the same result. Source: consistency resampling, Brocker & Smith (2007), Weather and
    Forecasting 22:651-661, with dependence within clusters added.
    """
    p, y = check_forecasts(probabilities, outcomes)
    rows, count = cluster_numbers(clusters, p.size)
    related = outcome_correlation(p, y, rows)
    errors = _simulated_errors(p, rows, count, related, samples=samples, seed=seed)
    error = expected_calibration_error(p, y)
    return CalibrationNoise(error, float(errors.mean()), float(np.quantile(errors, 0.95)))


def _simulated_errors(
    p: Floats, rows: NDArray[np.int64], count: int, related: float, *, samples: int, seed: int
) -> Floats:
    """Simulate calibrated outcomes; returns the errors, shape (samples,).

    Each sample takes its random numbers from one row: n of its own and, where outcomes are related,
    one for each cluster that says whether it is shared and one that is shared.
    """
    generator = np.random.default_rng(seed)
    width = p.size + (2 * count if related > 0 else 0)
    bins = len(BIN_EDGES) - 1
    numbers = bin_numbers(p)
    errors = []
    for start in range(0, samples, step := max(1, SIMULATED_AT_ONCE // width)):
        drawn = generator.random((min(step, samples - start), width))
        draws = drawn[:, : p.size]
        if related > 0:
            shared = drawn[:, p.size : p.size + count] < related
            draws = np.where(shared[:, rows], drawn[:, p.size + count :][:, rows], draws)
        places = numbers + bins * np.arange(len(draws))[:, None]
        sums = np.bincount(places.ravel(), (p - (draws < p)).ravel(), bins * len(draws))
        errors.append(np.abs(sums.reshape(len(draws), bins)).sum(axis=1) / p.size)
    return np.concatenate(errors)


def outcome_correlation(p: Floats, y: Floats, rows: NDArray[np.int64]) -> float:
    """Estimate how related outcomes of one cluster are, 0 to 1 (as far as possible).

    The mean product of y - p over pairs of one cluster, divided by the largest value it can have.
    Moment estimator in the form of Zeger & Liang (1986), Biometrics 42:121-130; p, y, rows (cluster
    numbers) of shape (n,).
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
