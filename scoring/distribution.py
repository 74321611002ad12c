"""Pure mathematics of a probability distribution over the integers 0-100.

A forecast is not one number but 101 of them: entry ``n`` is the probability that the model's
answer is ``n`` percent. This room knows how to summarise one such distribution, how far two of
them are apart, and how to pool several into one. It imports numpy and nothing else.

Units: *probabilities* are in 0-1, *percentages* in 0-100, entropy and divergence in bits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

SUPPORT_SIZE: Final = 101
PERCENTAGES: Final[FloatArray] = np.arange(SUPPORT_SIZE, dtype=np.float64)
MAXIMUM_ENTROPY: Final = float(np.log2(SUPPORT_SIZE))

# Sums are accepted within this distance of one and then renormalised: 101 float32 log-probabilities
# that were exponentiated and added up are off by about 1e-6.
SUM_TOLERANCE: Final = 1e-4

# Probabilities of the event are kept this far from 0 and 1 where odds are formed (half a percentage
# point: the support cannot express anything finer), so that one agent's "0" cannot veto a pool.
ODDS_CLIP: Final = 0.005

# Share of the weight around one half over which the "median" pool averages. Between two equal voices
# that makes the midpoint, and a voice of next to no weight cannot decide between them.
MEDIAN_WINDOW: Final = 0.01

# What the "extremised" pool multiplies the log-odds with. Fits to human crowds lie between 1.2 and 3
# (Satopaa et al. 2014); the low end, since language models share most of their training text.
EXTREMISING_FACTOR: Final = 1.3


@dataclass(frozen=True, eq=False)
class Distribution:
    """A distribution over 0-100 percent.

    Args:
        probabilities: array of shape (101,), non-negative, summing to 1 within ``SUM_TOLERANCE``.
            It is copied, renormalised in float64 and made read-only.

    Raises:
        ValueError: wrong shape, a value that is NaN, infinite or negative, or a wrong sum.
    """

    probabilities: FloatArray

    def __post_init__(self) -> None:
        values = np.array(self.probabilities, dtype=np.float64)
        if values.shape != (SUPPORT_SIZE,):
            raise ValueError(
                f"expected {SUPPORT_SIZE} probabilities, got an array of shape {values.shape}"
            )
        if not np.all(np.isfinite(values)) or np.any(values < 0):
            raise ValueError(
                "expected finite, non-negative probabilities, got NaN, infinite or negative values"
            )
        total = float(values.sum())
        if abs(total - 1.0) > SUM_TOLERANCE:
            raise ValueError(f"expected probabilities that sum to 1, got a sum of {total:.6g}")
        values /= total
        values.setflags(write=False)
        object.__setattr__(self, "probabilities", values)

    @classmethod
    def from_weights(cls, weights: npt.ArrayLike) -> Distribution:
        """Normalise non-negative ``weights`` of shape (101,); raises ValueError when they sum to 0 or are not finite."""
        values = np.asarray(weights, dtype=np.float64)
        total = float(values.sum())
        if not np.isfinite(total) or total <= 0:
            raise ValueError(f"expected weights with a positive finite sum, got {total}")
        return cls(values / total)

    @classmethod
    def from_json(cls, text: str) -> Distribution:
        """The distribution of a JSON array of 101 probabilities, as the database stores it."""
        return cls(np.array(json.loads(text), dtype=np.float64))

    @cached_property
    def mean(self) -> float:
        """Expected percentage, 0-100: the point forecast."""
        return float(self.probabilities @ PERCENTAGES)

    @property
    def probability(self) -> float:
        """The point forecast as a probability of the event, 0-1 (the mean divided by 100)."""
        return self.mean / 100.0

    @property
    def median(self) -> float:
        """Smallest percentage with at least half of the mass at or below it."""
        return self.quantile(0.5)

    @property
    def mode(self) -> int:
        """Most probable percentage; the smallest one on a tie."""
        return int(np.argmax(self.probabilities))

    @cached_property
    def variance(self) -> float:
        """Variance in squared percentage points."""
        return float(self.probabilities @ (PERCENTAGES - self.mean) ** 2)

    @property
    def standard_deviation(self) -> float:
        """Standard deviation in percentage points."""
        return float(np.sqrt(self.variance))

    @cached_property
    def entropy(self) -> float:
        """Shannon entropy in bits, 0 (certain) to log2(101) = 6.66 (uniform)."""
        positive = self.probabilities[self.probabilities > 0]
        return float(max(0.0, -(positive @ np.log2(positive))))

    def quantile(self, q: float) -> float:
        """Smallest percentage whose cumulative probability is at least ``q`` (0-1).

        Raises:
            ValueError: ``q`` is outside 0-1.
        """
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"expected a quantile level in 0-1, got {q}")
        # 1e-12: a cumulative sum of 0.1 ten times is 0.9999999999999999, which must count as 1.
        position = int(np.searchsorted(np.cumsum(self.probabilities), q - 1e-12))
        return float(min(position, SUPPORT_SIZE - 1))

    def interval(self, mass: float = 0.8) -> tuple[float, float]:
        """Central interval in percent that leaves (1 - mass) / 2 on each side."""
        tail = (1.0 - mass) / 2.0
        return self.quantile(tail), self.quantile(1.0 - tail)


def total_variation(p: Distribution, q: Distribution) -> float:
    """Total variation distance, 0 (equal) to 1 (disjoint): half the sum of absolute differences."""
    return float(0.5 * np.abs(p.probabilities - q.probabilities).sum())


def jensen_shannon(p: Distribution, q: Distribution) -> float:
    """Jensen-Shannon divergence in bits, 0 (equal) to 1 (disjoint); Lin, IEEE Trans. Inf. Theory 37(1), 1991."""
    mixture = Distribution(0.5 * (p.probabilities + q.probabilities))
    return max(0.0, mixture.entropy - 0.5 * (p.entropy + q.entropy))


def agreement(distributions: Sequence[Distribution], weights: npt.ArrayLike | None = None) -> float:
    """How far the agents agree, 0-1 (1 for one agent).

    One minus the mean total variation distance over all pairs; with ``weights`` of shape (agents,) a
    pair counts by the product of its two weights.

    Raises:
        ValueError: no distribution was given.
    """
    if not distributions:
        raise ValueError("expected at least one distribution, got none")
    stacked = np.stack([d.probabilities for d in distributions])
    first, second = np.triu_indices(len(distributions), k=1)
    if len(first) == 0:
        return 1.0
    distances = 0.5 * np.abs(stacked[first] - stacked[second]).sum(axis=1)
    given = (
        np.ones(len(distributions)) if weights is None else np.asarray(weights, dtype=np.float64)
    )
    pairs = (given / given.max())[first] * (given / given.max())[second]
    if pairs.sum() <= 0:  # all but one weigh nothing: nobody contradicts
        return 1.0
    return float(1.0 - np.average(distances, weights=pairs))


@dataclass(frozen=True)
class Spread:
    """Standard deviations in percentage points: ``within`` the distributions of a mixture, and ``between`` their means."""

    within: float
    between: float

    @property
    def total(self) -> float:
        """Standard deviation of the mixture, in percentage points."""
        return float(np.hypot(self.within, self.between))


def spread(distributions: Sequence[Distribution], weights: npt.ArrayLike | None = None) -> Spread:
    """Split the variance of the mixture of ``distributions`` by the law of total variance.

    ``within`` is the square root of the mean of their variances: how unsure each of them is by itself. ``between`` is the
    square root of the variance of their means (divided by their number, not by one less): how far they contradict one another.
    ``weights`` of shape (distributions,) are those of the mixture; equal when left out.
    Source: Blitzstein & Hwang, Introduction to Probability, 2nd edition 2019, theorem 9.5.4 ("Eve's law").

    Raises:
        ValueError: no distribution was given.
    """
    if not distributions:
        raise ValueError("expected at least one distribution, got none")
    means = np.array([d.mean for d in distributions])
    within = np.average([d.variance for d in distributions], weights=weights)
    between = np.average((means - np.average(means, weights=weights)) ** 2, weights=weights)
    return Spread(float(np.sqrt(within)), float(np.sqrt(between)))


def entropy_weights(distributions: Sequence[Distribution]) -> FloatArray:
    """Weights of shape (agents,) proportional to ``log2(101) - entropy``: the bits of information each agent commits to.

    A uniform distribution says nothing and weighs nothing; when all are uniform they weigh the same.
    """
    information = np.array([max(0.0, MAXIMUM_ENTROPY - d.entropy) for d in distributions])
    total = information.sum()
    if total <= 1e-12:
        return np.full(len(distributions), 1.0 / len(distributions))
    weights: FloatArray = information / total
    return weights


def _linear(distributions: Sequence[Distribution], weights: FloatArray) -> Distribution:
    return Distribution(weights @ np.stack([d.probabilities for d in distributions]))


def _quantile_average(distributions: Sequence[Distribution], weights: FloatArray) -> Distribution:
    """Weighted median, taken cumulative probability by cumulative probability, then differenced.

    The pointwise weighted median of monotone functions is monotone, so the differences are never
    negative (Hora et al., "Median aggregation of distribution functions", Decision Analysis 10(4), 2013).
    It is the mean over ``MEDIAN_WINDOW`` of the weight around one half, which is monotone too.
    """
    cumulative = np.cumsum(np.stack([d.probabilities for d in distributions]), axis=1)
    order = np.argsort(cumulative, axis=0, kind="stable")
    ordered = np.take_along_axis(cumulative, order, axis=0)
    upto = np.cumsum(weights[order], axis=0)
    low, high = 0.5 - MEDIAN_WINDOW / 2, 0.5 + MEDIAN_WINDOW / 2
    inside = np.diff(np.clip(upto, low, high), axis=0, prepend=low)
    median = (inside * ordered).sum(axis=0) / inside.sum(axis=0)
    return Distribution.from_weights(np.maximum(np.diff(median, prepend=0.0), 0.0))


def _geometric(distributions: Sequence[Distribution], weights: FloatArray) -> Distribution:
    """Geometric mean of odds of the event, carried back to a distribution.

    The point forecast is the weighted geometric mean of the agents' odds (Satopaa et al., Int. J.
    Forecasting 30(2), 2014). The shape is the linear pool's, tilted exponentially so that its mean
    is that point: of all distributions with this mean the one closest to the linear pool in
    Kullback-Leibler divergence (Csiszar, Annals of Probability 3(1), 1975).
    """
    points = np.clip([d.probability for d in distributions], ODDS_CLIP, 1 - ODDS_CLIP)
    log_odds = float(weights @ np.log(points / (1 - points)))
    return tilt_to_mean(_linear(distributions, weights), 100.0 / (1.0 + np.exp(-log_odds)))


def tilt_to_mean(distribution: Distribution, mean: float) -> Distribution:
    """Tilt exponentially, ``p(n) * exp(t * n)``, to the wanted mean in percent.

    The mean is first held inside the distribution's own support. ``t`` is found by bisection: the
    mean grows strictly with ``t`` wherever the distribution has more than one point.
    """
    support = np.flatnonzero(distribution.probabilities)
    low_end, high_end = float(support[0]), float(support[-1])
    target = min(max(mean, low_end), high_end)
    if low_end == high_end or abs(distribution.mean - target) < 1e-12:
        return distribution
    log_p = np.log(distribution.probabilities[support])
    shifted = (support - target) / 100.0

    def tilted(t: float) -> FloatArray:
        exponent = log_p + t * shifted
        weights: FloatArray = np.exp(exponent - exponent.max())
        return weights / weights.sum()

    bound = 1.0
    while bound < 1e8 and not (tilted(-bound) @ shifted <= 0 <= tilted(bound) @ shifted):
        bound *= 2
    low, high = -bound, bound
    for _ in range(200):
        middle = 0.5 * (low + high)
        if tilted(middle) @ shifted < 0:
            low = middle
        else:
            high = middle
    result = np.zeros(SUPPORT_SIZE)
    result[support] = tilted(0.5 * (low + high))
    return Distribution(result)


def extremised(probability: npt.ArrayLike, factor: float = EXTREMISING_FACTOR) -> FloatArray:
    """Log-odds of a probability of the event (0-1, any shape) multiplied by ``factor``; above 1 moves it away from 50 %.

    Agents share evidence only in part, so their average is too timid (Baron et al., Decision Analysis
    11(2), 2014; Satopaa et al., Int. J. Forecasting 30(2), 2014).
    """
    clipped = np.clip(np.asarray(probability, dtype=np.float64), ODDS_CLIP, 1 - ODDS_CLIP)
    return np.asarray(1 / (1 + np.exp(-factor * np.log(clipped / (1 - clipped)))), dtype=np.float64)


def _extremised(distributions: Sequence[Distribution], weights: FloatArray) -> Distribution:
    """The geometric mean of odds, moved away from 50 %; the shape is tilted along as in ``_geometric``."""
    pooled = _geometric(distributions, weights)
    return tilt_to_mean(pooled, 100.0 * float(extremised(pooled.probability)))


POOL_METHODS: Final[dict[str, Callable[[Sequence[Distribution], FloatArray], Distribution]]] = {
    "mean": _linear,
    "median": _quantile_average,
    "geometric": _geometric,
    "extremised": _extremised,
    "entropy": _linear,
}


def pool(
    distributions: Sequence[Distribution], method: str, weights: npt.ArrayLike | None = None
) -> Distribution:
    """Pool several distributions into one.

    Args:
        distributions: one per agent.
        method: ``"entropy"`` (linear pool, weights from ``entropy_weights``), ``"mean"`` (linear pool),
            ``"median"`` (of cumulative probabilities), ``"geometric"`` (geometric mean of odds) or
            ``"extremised"`` (that, moved away from 50 % by ``EXTREMISING_FACTOR``).
        weights: optional non-negative weights of shape (agents,); multiplied with the entropy weights
            when the method is ``"entropy"``; equal when left out.

    Raises:
        ValueError: nothing to pool, an unknown method, or unusable weights.
    """
    base = pool_weights(distributions, method, weights)
    return POOL_METHODS[method](distributions, base)


def pool_weights(
    distributions: Sequence[Distribution], method: str, weights: npt.ArrayLike | None = None
) -> FloatArray:
    """The weights ``pool`` uses, of shape (agents,), together 1; arguments and errors as there."""
    if not distributions:
        raise ValueError("expected at least one distribution to pool, got none")
    if method not in POOL_METHODS:
        raise ValueError(f"unknown pool method {method!r}; allowed: {', '.join(POOL_METHODS)}")
    base = np.ones(len(distributions)) if weights is None else np.asarray(weights, dtype=np.float64)
    if (
        base.shape != (len(distributions),)
        or not np.all(np.isfinite(base))
        or np.any(base < 0)
        or base.sum() <= 0
    ):
        raise ValueError(
            f"expected {len(distributions)} non-negative weights with a positive sum, got {weights!r}"
        )
    if method == "entropy":
        informed = base * entropy_weights(distributions)
        base = informed if informed.sum() > 0 else base
    normalised: FloatArray = base / base.sum()
    return normalised
