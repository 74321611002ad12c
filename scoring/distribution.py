"""Summarise and compare probability distributions over the integers 0-100.

A forecast is not one number but 101 of them: entry ``n`` is the probability that the model's answer
is ``n`` percent. Probabilities are in 0-1, percentages in 0-100, entropy and divergence in bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

SUPPORT_SIZE: Final = 101
PERCENTAGES: Final[FloatArray] = np.arange(SUPPORT_SIZE, dtype=np.float64)
MAXIMUM_ENTROPY: Final = float(np.log2(SUPPORT_SIZE))

# Sums this close to one are accepted and renormalised: 101 float32 log-probabilities that were
# exponentiated and added up are off by about 1e-6.
SUM_TOLERANCE: Final = 1e-4


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
        """Normalise weights of shape (101,); ValueError without a positive sum."""
        values = np.asarray(weights, dtype=np.float64)
        total = float(values.sum())
        if not np.isfinite(total) or total <= 0:
            raise ValueError(f"expected weights with a positive finite sum, got {total}")
        return cls(values / total)

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
    """Total variation distance, 0 (equal) to 1 (disjoint)."""
    return float(0.5 * np.abs(p.probabilities - q.probabilities).sum())


def jensen_shannon(p: Distribution, q: Distribution) -> float:
    """Jensen-Shannon divergence in bits, 0 (equal) to 1 (disjoint).

    Source: Lin (1991), IEEE Transactions on Information Theory 37(1).
    """
    mixture = Distribution(0.5 * (p.probabilities + q.probabilities))
    return max(0.0, mixture.entropy - 0.5 * (p.entropy + q.entropy))


def agreement(distributions: Sequence[Distribution], weights: npt.ArrayLike | None = None) -> float:
    """One minus the mean total variation distance over all pairs, 0-1.

    It is 1 for one distribution. With ``weights`` of shape (distributions,) a pair counts by the
    product of its two weights.

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
    given = np.asarray(np.ones(len(stacked)) if weights is None else weights, dtype=np.float64)
    pairs = (given / given.max())[first] * (given / given.max())[second]
    if pairs.sum() <= 0:  # all but one weigh nothing: nobody contradicts
        return 1.0
    return float(1.0 - np.average(distances, weights=pairs))


@dataclass(frozen=True)
class Spread:
    """Standard deviations in points: ``within`` distributions, ``between`` means."""

    within: float
    between: float


def spread(distributions: Sequence[Distribution], weights: npt.ArrayLike | None = None) -> Spread:
    """Split the variance of a mixture of distributions by the law of total variance.

    ``within`` is the square root of the mean of their variances: how unsure each of them is.
    ``between`` is the square root of the variance of their means (divided by their number, not by
    one less): how far they contradict one another. ``weights`` of shape (distributions,) are those
    of the mixture; equal when left out.
    Source: Blitzstein & Hwang, Introduction to Probability, 2nd edition 2019, theorem 9.5.4.

    Raises:
        ValueError: no distribution was given.
    """
    if not distributions:
        raise ValueError("expected at least one distribution, got none")
    means = np.array([d.mean for d in distributions])
    within = np.average([d.variance for d in distributions], weights=weights)
    between = np.average((means - np.average(means, weights=weights)) ** 2, weights=weights)
    return Spread(float(np.sqrt(within)), float(np.sqrt(between)))
