"""The formulas that judge forecasts once the outcomes are known; analysis.py draws and prints, so pure
scoring had no room.

Everything here is numpy and scipy on plain arrays: no database, no files, no plotting. Throughout:

- ``probabilities`` are float arrays of shape (n,), the forecast probability of "yes" in 0-1;
- ``outcomes`` are arrays of shape (n,) holding 0 or 1;
- ``clusters`` are n labels: questions about the same event share one, because their errors are not
  independent.

Bad shapes, probabilities outside 0-1, outcomes other than 0 and 1 and empty input raise ``ValueError``.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.intervals import UNKNOWN_INTERVAL, Interval, cluster_numbers

Floats = NDArray[np.float64]

# A probability of exactly 0 or 1 that turns out wrong has an infinite log score. Half a percentage point is
# the finest step a forecast on the grid 0-100 can honestly mean, so every forecast is moved into [0.005,
# 0.995] before its logarithm is taken.
LOG_SCORE_CLIP = 0.005

# Ten bins of ten percentage points: the usual choice for reliability diagrams, and few enough to be filled by
# a few hundred rows.
DEFAULT_BIN_EDGES: tuple[float, ...] = tuple(edge / 10 for edge in range(11))

# Two-sided 95 % normal quantile, for Wilson intervals.
_Z95 = 1.959963984540054


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin of a reliability diagram: forecasts in [low, high) (the last bin includes 1), all in 0-1."""

    low: float
    high: float
    count: int
    mean_forecast: float
    frequency: float
    interval: Interval


@dataclass(frozen=True)
class Decomposition:
    """Murphy's decomposition with the two within-bin terms that make it exact for any binning.

    Brier score = reliability - resolution + uncertainty + within_bin_variance - within_bin_covariance.
    """

    reliability: float
    resolution: float
    uncertainty: float
    within_bin_variance: float
    within_bin_covariance: float

    @property
    def brier(self) -> float:
        """The Brier score the five terms add up to."""
        return (
            self.reliability
            - self.resolution
            + self.uncertainty
            + self.within_bin_variance
            - self.within_bin_covariance
        )


def check_forecasts(probabilities: ArrayLike, outcomes: ArrayLike) -> tuple[Floats, Floats]:
    """Both as float arrays of one shape (n,), n >= 1; ``ValueError`` when they are not forecasts and
    outcomes."""
    p = np.asarray(probabilities, dtype=np.float64)
    y = np.asarray(outcomes, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape:
        raise ValueError(
            f"forecasts and outcomes must be one-dimensional and equally long, got {p.shape} and {y.shape}"
        )
    if p.size == 0:
        raise ValueError("no forecasts to score")
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError("a forecast probability lies outside 0-1")
    if not np.all((y == 0) | (y == 1)):
        raise ValueError("an outcome is neither 0 nor 1")
    return p, y


def _ranks(values: Floats) -> Floats:
    """Mid-ranks from 1, shape (n,)."""
    # Imported on use: scipy.stats takes most of a second, which --help and plain plots should not wait for.
    from scipy.stats import rankdata

    return np.asarray(rankdata(values), dtype=np.float64)


# --- scores -------------------------------------------------------------------------------------------------


def brier_scores(probabilities: ArrayLike, outcomes: ArrayLike) -> Floats:
    """(p - y)^2 per forecast, shape (n,), 0 best, 1 worst, 0.25 for 50 %.

    Source: Brier (1950), Monthly Weather Review 78:1-3, in the one-sided form for binary events (half of
    Brier's own sum over both categories).
    """
    p, y = check_forecasts(probabilities, outcomes)
    return (p - y) ** 2


def brier_score(probabilities: ArrayLike, outcomes: ArrayLike) -> float:
    """Mean of ``brier_scores``."""
    return float(brier_scores(probabilities, outcomes).mean())


def log_scores(
    probabilities: ArrayLike, outcomes: ArrayLike, clip: float = LOG_SCORE_CLIP
) -> Floats:
    """-ln of the probability given to what happened, in nats, shape (n,); 0 best, 0.693 for 50 %.

    Forecasts are first moved into [clip, 1 - clip], so the worst possible value is -ln(clip) (5.30 for
    0.005). Source: Good (1952), Journal of the Royal Statistical Society B 14:107-114.
    """
    if not 0 < clip < 0.5:
        raise ValueError(f"clip must lie between 0 and 0.5, got {clip}")
    p, y = check_forecasts(probabilities, outcomes)
    p = np.clip(p, clip, 1 - clip)
    return np.asarray(-np.where(y == 1, np.log(p), np.log1p(-p)), dtype=np.float64)


def log_score(probabilities: ArrayLike, outcomes: ArrayLike, clip: float = LOG_SCORE_CLIP) -> float:
    """Mean of ``log_scores``."""
    return float(log_scores(probabilities, outcomes, clip).mean())


def skill_score(score: float, reference: float) -> float:
    """1 - score / reference for a score whose best value is 0: 1 perfect, 0 as good as the reference,
    negative worse.

    NaN when the reference is itself perfect (0). Source: Murphy (1988), Monthly Weather Review 116:2417-2424.
    """
    return 1 - score / reference if reference > 0 else float("nan")


def sharpness(probabilities: ArrayLike) -> float:
    """Variance of the forecasts around their own mean, 0 (always the same) to 0.25 (0 and 1 in equal parts).

    It says nothing about being right. Source: Murphy & Winkler (1987), Monthly Weather Review 115:1330-1338.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.size == 0:
        raise ValueError("no forecasts to score")
    return float(p.var())


def auc(probabilities: ArrayLike, outcomes: ArrayLike) -> float:
    """Probability that a random "yes" was given more than a random "no" (ties count half); NaN when one side
    is empty.

    Source: Hanley & McNeil (1982), Radiology 143:29-36, as the Mann-Whitney statistic on mid-ranks.
    """
    p, y = check_forecasts(probabilities, outcomes)
    positives = int(y.sum())
    negatives = y.size - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    rank_sum = float(_ranks(p)[y == 1].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


# --- calibration of a set of forecasts ----------------------------------------------------------------------


def wilson_interval(successes: int, count: int) -> Interval:
    """95 % interval of a frequency, in 0-1. Source: Wilson (1927), JASA 22:209-212."""
    if count == 0:
        return UNKNOWN_INTERVAL
    share = successes / count
    shrink = 1 + _Z95**2 / count
    centre = (share + _Z95**2 / (2 * count)) / shrink
    half = _Z95 * np.sqrt(share * (1 - share) / count + _Z95**2 / (4 * count**2)) / shrink
    return Interval(float(max(0.0, centre - half)), float(min(1.0, centre + half)))


def bin_numbers(p: Floats, edges: Sequence[float]) -> NDArray[np.int64]:
    """The bin of each forecast, [low, high), the last closed; float noise of 1e-9 never moves 0.3 into [0.2,
    0.3)."""
    inner = np.asarray(edges[1:-1], dtype=np.float64)
    return np.searchsorted(inner, p + 1e-9, side="right").astype(np.int64)


def reliability_bins(
    probabilities: ArrayLike, outcomes: ArrayLike, edges: Sequence[float] = DEFAULT_BIN_EDGES
) -> list[ReliabilityBin]:
    """Every bin in order, empty ones too (count 0, NaN means), with Wilson intervals of the observed
    frequency.

    Source: Murphy & Winkler (1977), Journal of the Royal Statistical Society C 26:41-47.
    """
    p, y = check_forecasts(probabilities, outcomes)
    steps = np.diff(np.asarray(edges, dtype=np.float64))
    if len(edges) < 2 or edges[0] > 0 or edges[-1] < 1 or not np.all(steps > 0):
        raise ValueError("bin edges must rise from 0 to 1")
    numbers = bin_numbers(p, edges)
    bins = []
    for number in range(len(edges) - 1):
        inside = numbers == number
        count = int(inside.sum())
        forecast = float(p[inside].mean()) if count else float("nan")
        frequency = float(y[inside].mean()) if count else float("nan")
        interval = wilson_interval(int(y[inside].sum()), count)
        bins.append(
            ReliabilityBin(
                float(edges[number]), float(edges[number + 1]), count, forecast, frequency, interval
            )
        )
    return bins


def expected_calibration_error(
    probabilities: ArrayLike, outcomes: ArrayLike, edges: Sequence[float] = DEFAULT_BIN_EDGES
) -> float:
    """Mean over forecasts of |bin's mean forecast - bin's frequency|, in 0-1. Biased upwards in small
    samples.

    Source: Naeini, Cooper & Hauskrecht (2015), AAAI, 2901-2907.
    """
    p, y = check_forecasts(probabilities, outcomes)
    # count * |mean forecast - frequency| of a bin is |sum of (p - y)| in it.
    sums = np.bincount(bin_numbers(p, edges), weights=p - y)
    return float(np.abs(sums).sum() / p.size)


def decompose(
    probabilities: ArrayLike, outcomes: ArrayLike, edges: Sequence[float] | None = None
) -> Decomposition:
    """Murphy's decomposition of the Brier score, by unique forecast value (edges None) or by bins.

    By unique values the within-bin terms are 0 and Brier = reliability - resolution + uncertainty exactly.
    With bins, the variance of forecasts inside a bin and twice their covariance with the outcomes are added,
    and the sum is exact again. Sources: Murphy (1973), Journal of Applied Meteorology 12:595-600; Stephenson,
    Coelho & Jolliffe (2008), Weather and Forecasting 23:752-757 (the within-bin terms).
    """
    p, y = check_forecasts(probabilities, outcomes)
    if edges is None:
        _, numbers = np.unique(p, return_inverse=True)
    else:
        numbers = bin_numbers(p, edges)
    base_rate = y.mean()
    reliability = resolution = variance = covariance = 0.0
    for number in np.unique(numbers):
        inside = numbers == number
        share = inside.mean()
        forecast, frequency = p[inside].mean(), y[inside].mean()
        reliability += share * (forecast - frequency) ** 2
        resolution += share * (frequency - base_rate) ** 2
        variance += share * ((p[inside] - forecast) ** 2).mean()
        covariance += share * 2 * ((p[inside] - forecast) * (y[inside] - frequency)).mean()
    return Decomposition(
        float(reliability),
        float(resolution),
        float(base_rate * (1 - base_rate)),
        float(variance),
        float(covariance),
    )


# --- coherence ----------------------------------------------------------------------------------------------


def negation_gap(probability: float, probability_of_negation: float) -> float:
    """P(A) + P(not A) - 1, in -1 to 1: 0 is coherent, positive means both were thought too likely.

    Source: de Finetti (1937); as a test of language models Paleka et al. (2025), "Consistency checks for
    language model forecasters", ICLR.
    """
    check_forecasts([probability, probability_of_negation], [0, 0])
    return probability + probability_of_negation - 1


def paraphrase_range(probabilities: ArrayLike) -> float:
    """Largest minus smallest probability given to wordings of one question, in 0-1; 0 for fewer than two."""
    p = np.asarray(probabilities, dtype=np.float64)
    return float(np.ptp(p)) if p.size > 1 else 0.0


# --- pool weights learnt from past scores ---------------------------------------------------------------------


def cluster_folds(clusters: Sequence[Hashable], folds: int, *, seed: int = 0) -> NDArray[np.int64]:
    """A fold number 0 ... folds-1 for each row, whole clusters together and folds of nearly equal size.

    Clusters are shuffled with ``seed`` and dealt largest first to the smallest fold. Fewer clusters than folds
    leave folds empty.
    """
    rows, count = cluster_numbers(clusters, len(clusters))
    sizes = np.bincount(rows, minlength=count)
    order = np.random.default_rng(seed).permutation(count)
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold_of, filled = np.zeros(count, dtype=np.int64), np.zeros(folds)
    for cluster in order:
        fold_of[cluster] = int(np.argmin(filled))
        filled[fold_of[cluster]] += sizes[cluster]
    return fold_of[rows]


def inverse_score_weights(scores: ArrayLike) -> Floats:
    """Weights proportional to 1 / mean score, summing to 1; scores: Brier scores of shape (questions, agents), NaN = absent.

    An agent without any score gets the mean of the others' weights; without any score at all the weights are equal.
    Scores are kept at 1e-4 or more, so that a few lucky sure forecasts do not take all the weight.
    Source: Bates & Granger (1969), Operational Research Quarterly 20:451-468 (errors taken as uncorrelated).
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"expected scores of shape (questions, agents), got {array.shape}")
    counts = np.isfinite(array).sum(axis=0)
    if not counts.any():
        return np.full(array.shape[1], 1 / array.shape[1])
    means = np.where(counts > 0, np.nansum(array, axis=0) / np.maximum(counts, 1), np.nan)
    weights = 1 / np.maximum(means, 1e-4)
    weights = np.where(counts > 0, weights, np.nanmean(weights))
    return np.asarray(weights / weights.sum(), dtype=np.float64)
