"""Score forecasts once the outcomes are known, and weigh models by past scores.

Throughout:

- ``probabilities``: float arrays of shape (n,), the forecast probability of "yes" in 0-1;
- ``outcomes``: arrays of shape (n,) holding 0 or 1;
- ``clusters``: n labels; questions about one event share one, because their errors are related.

Bad shapes, probabilities outside 0-1, other outcomes and empty input raise ``ValueError``.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.intervals import cluster_numbers

Floats = NDArray[np.float64]

# A probability of exactly 0 or 1 that turns out wrong has an infinite log score. Half a percentage
# point is the finest step that a forecast on the grid 0-100 can express, so every forecast is moved
# into [0.005, 0.995] before its logarithm is taken.
LOG_SCORE_CLIP = 0.005


def check_forecasts(probabilities: ArrayLike, outcomes: ArrayLike) -> tuple[Floats, Floats]:
    """Return both as float arrays of one shape (n,), n >= 1, or raise ValueError."""
    p = np.asarray(probabilities, dtype=np.float64)
    y = np.asarray(outcomes, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape:
        raise ValueError(
            "forecasts and outcomes must be one-dimensional and equally long,"
            f" got {p.shape} and {y.shape}"
        )
    if p.size == 0:
        raise ValueError("no forecasts to score")
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError("a forecast probability lies outside 0-1")
    if not np.all((y == 0) | (y == 1)):
        raise ValueError("an outcome is neither 0 nor 1")
    return p, y


# --- scores ---------------------------------------------------------------------------------------


def brier_scores(probabilities: ArrayLike, outcomes: ArrayLike) -> Floats:
    """(p - y)^2 per forecast, shape (n,), 0 best, 1 worst, 0.25 for 50 %.

    Source: Brier (1950), Monthly Weather Review 78:1-3, in the one-sided form for binary events
    (half of Brier's own sum over both categories).
    """
    p, y = check_forecasts(probabilities, outcomes)
    return (p - y) ** 2


def brier_score(probabilities: ArrayLike, outcomes: ArrayLike) -> float:
    """Mean of ``brier_scores``."""
    return float(brier_scores(probabilities, outcomes).mean())


def log_scores(probabilities: ArrayLike, outcomes: ArrayLike) -> Floats:
    """-ln of the probability given to what happened, in nats, shape (n,).

    0 is best, 0.693 a forecast of 50 %. Forecasts are clipped by ``LOG_SCORE_CLIP``, so the worst
    possible value is 5.30.
    Source: Good (1952), Journal of the Royal Statistical Society B 14:107-114.
    """
    p, y = check_forecasts(probabilities, outcomes)
    p = np.clip(p, LOG_SCORE_CLIP, 1 - LOG_SCORE_CLIP)
    return np.asarray(-np.where(y == 1, np.log(p), np.log1p(-p)), dtype=np.float64)


def skill_score(score: float, reference: float) -> float:
    """1 - score / reference: 1 perfect, 0 as good as the reference, negative worse.

    For a score whose best value is 0. NaN when the reference is itself perfect.
    Source: Murphy (1988), Monthly Weather Review 116:2417-2424.
    """
    return 1 - score / reference if reference > 0 else float("nan")


def sharpness(probabilities: ArrayLike) -> float:
    """Variance of the forecasts, 0 (always the same) to 0.25 (0 and 1 in equal parts).

    It is no measure of being right. Source: Murphy & Winkler (1987), MWR 115:1330-1338.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.size == 0:
        raise ValueError("no forecasts to score")
    return float(p.var())


def auc(probabilities: ArrayLike, outcomes: ArrayLike) -> float:
    """Probability that a random "yes" was given more than a random "no".

    Ties count half; NaN when one side is empty. From the rank sum, which is exact in ties;
    scikit-learn adds up an area, so that no skill may come out just below 0.5.
    Source: Hanley & McNeil (1982), Radiology 143:29-36.
    """
    p, y = check_forecasts(probabilities, outcomes)
    yes, no = int(y.sum()), int((1 - y).sum())
    if not yes or not no:
        return float("nan")
    _, value, count = np.unique(p, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[value]
    return float((rank[y == 1].sum() - yes * (yes + 1) / 2) / (yes * no))


# --- coherence ------------------------------------------------------------------------------------


def negation_gap(probability: float, probability_of_negation: float) -> float:
    """P(A) + P(not A) - 1, in -1 to 1: 0 is coherent, more is too much for both.

    Source: de Finetti (1937); as a test of language models Paleka et al. (2025), "Consistency
    checks for language model forecasters", ICLR.
    """
    check_forecasts([probability, probability_of_negation], [0, 0])
    return probability + probability_of_negation - 1


def paraphrase_range(probabilities: ArrayLike) -> float:
    """Largest minus smallest probability given to wordings of one question, in 0-1."""
    p = np.asarray(probabilities, dtype=np.float64)
    return float(np.ptp(p)) if p.size > 1 else 0.0


# --- pool weights learnt from past scores ---------------------------------------------------------


def cluster_folds(clusters: Sequence[Hashable], folds: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Assign each row a fold 0 ... folds-1, whole clusters together, sizes alike.

    Clusters are shuffled with ``seed`` and dealt largest first to the smallest fold (scikit-learn's
    GroupKFold either shuffles or balances). Fewer clusters than folds leave folds empty.
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
    """Weights proportional to 1 / mean score, shape (agents,), summing to 1.

    scores: Brier scores of shape (questions, agents), NaN where an agent is absent. An agent
    without any score gets the mean of the others' weights; without any score at all the weights are
    equal. Mean scores are raised to 1e-4, so that a few lucky sure forecasts do not take all the
    weight. Source: Bates & Granger (1969), Operational Research Quarterly 20:451-468 (errors taken
    as uncorrelated).
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
