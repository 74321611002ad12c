"""Compute 95 % intervals of a mean over few and unequal clusters of questions.

Closed formulas: a cluster-robust CR2 variance (Bell & McCaffrey 2002), a t quantile with estimated
degrees of freedom (Imbens & Kolesar 2016) and a correction for skewness (Hall 1992). There is no
interval under ``config.MIN_INTERVAL_CLUSTERS`` clusters, nor where a few clusters hold most rows.
docs/intervals.md has the method, the sources, and the coverage that was measured.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

import config

Floats = NDArray[np.float64]

# z^4 of the skewness test (z^2 = skewness^2 * clusters / 6) at which half of the estimated skewness
# is corrected. Symmetric data with outliers stay nearly uncorrected, scores of confident forecasts
# (z^4 of 100 and more) are corrected almost in full; chosen by the coverage that was measured.
HALF_SKEWNESS = 10.0
# How far the estimated correlation within clusters is moved towards 1 before degrees of freedom are
# counted: an estimate of 0 from a few unequal clusters may come from 0.3. Clusters of equal size
# have k - 1 either way.
UNSURE_CORRELATION = 0.2


@dataclass(frozen=True)
class Interval:
    """A 95 % interval; both ends are NaN when the data cannot support one."""

    low: float
    high: float

    @property
    def known(self) -> bool:
        """True when both ends are numbers."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))


UNKNOWN_INTERVAL = Interval(float("nan"), float("nan"))


@dataclass(frozen=True)
class ClusteredMean:
    """A mean over clusters with what its interval needs.

    error: standard error (CR2); degrees: Satterthwaite's degrees of freedom; least_degrees: those
    if the rows of a cluster were fully related; skewness: third central moment of the mean in units
    of error^3, already reduced for its sampling error; clusters: their count.
    """

    mean: float
    error: float
    degrees: float
    least_degrees: float
    skewness: float
    clusters: int


def cluster_numbers(clusters: Sequence[Hashable], count: int) -> tuple[NDArray[np.int64], int]:
    """Number each row's cluster 0 ... k-1 by first appearance; returns numbers and k."""
    if len(clusters) != count:
        raise ValueError(f"{count} rows but {len(clusters)} cluster labels")
    numbers: dict[Hashable, int] = {}
    rows = np.array([numbers.setdefault(label, len(numbers)) for label in clusters], dtype=np.int64)
    return rows, len(numbers)


def clustered_mean(values: ArrayLike, clusters: Sequence[Hashable]) -> ClusteredMean | None:
    """Estimate mean, CR2 error, degrees of freedom and skewness; None for one cluster.

    values: shape (n,), n >= 1; each row counts equally. Sources: docs/intervals.md.
    """
    array = np.asarray(values, dtype=np.float64)
    rows, count = cluster_numbers(clusters, array.size)
    if count < 2:
        return None
    sizes = np.bincount(rows, minlength=count).astype(np.float64)
    sums: Floats = np.bincount(rows, weights=array, minlength=count).astype(np.float64)
    mean = float(sums.sum() / array.size)
    residuals = sums - mean * sizes
    variance = float((residuals**2 / (1 - sizes / array.size)).sum()) / array.size**2
    # Rounding leaves residuals of 1e-17 in rows that are all alike.
    if variance <= (1e-12 * max(1.0, float(np.abs(array).max()))) ** 2:
        return ClusteredMean(mean, 0.0, float(count - 1), float(count - 1), 0.0, count)
    third = float((residuals**3).sum()) / array.size**3 / variance**1.5
    effective = array.size**2 / float((sizes**2).sum())
    z4 = (third**2 * effective**2 / 6) ** 2
    correlation = intraclass_correlation(array, rows, sizes, sums)
    correlation += UNSURE_CORRELATION * (1 - correlation)
    return ClusteredMean(
        mean,
        math.sqrt(variance),
        satterthwaite(sizes, correlation),
        satterthwaite(sizes, 1.0),
        third * z4 / (z4 + HALF_SKEWNESS),
        count,
    )


def intraclass_correlation(
    values: Floats, rows: NDArray[np.int64], sizes: Floats, sums: Floats
) -> float:
    """Estimate the correlation of two rows of one cluster, 0-1 (0 without any).

    Analysis of variance with unequal group sizes: Donner (1986), International Statistical Review
    54:67-82.
    """
    n, k = values.size, sizes.size
    if n == k:
        return 0.0
    within = float(((values - (sums / sizes)[rows]) ** 2).sum()) / (n - k)
    between = float((sizes * (sums / sizes - values.mean()) ** 2).sum()) / (k - 1)
    typical = (n - float((sizes**2).sum()) / n) / (k - 1)
    total = between + (typical - 1) * within
    return min(1.0, max(0.0, (between - within) / total)) if total > 0 else 0.0


def satterthwaite(sizes: Floats, correlation: float) -> float:
    """Degrees of freedom of the CR2 variance of a mean, 1 to k - 1.

    2 E(V)^2 / Var(V) for normal rows of equal variance and equal correlation within clusters, by
    the trace formula of Bell & McCaffrey (2002), eq. 14; k - 1 for clusters of one size.
    """
    share = sizes / sizes.sum()
    # Variance of a cluster's sum, in variances of a row.
    weight = sizes * (1 + correlation * (sizes - 1))
    scale = 1 / np.sqrt(1 - share)
    p, q, total = scale * share, scale * weight, float(weight.sum())
    # The matrix is diag(d) - p q' - q p' + total p p'; its trace and sum of squares in O(k).
    d, off = scale**2 * weight, total * p**2 - 2 * p * q
    pp, pq, qq = float(p @ p), float(p @ q), float(q @ q)
    squares = float((d**2 + 2 * d * off).sum())
    squares += 2 * pp * qq + 2 * pq**2 - 4 * total * pp * pq + total**2 * pp**2
    return float((d + off).sum()) ** 2 / squares


def _untransformed(x: float, skewness: float) -> float:
    """Solve x = 3/(2a) (exp(2a t/3) - 1) + a/6 for t; infinite beyond its range.

    Hall's second, monotone transformation of a studentised mean (Hall 1992, section 2).
    """
    if abs(skewness) < 1e-9:
        return x
    inside = 1 + 2 * skewness / 3 * (x - skewness / 6)
    return 3 / (2 * skewness) * math.log(inside) if inside > 0 else math.copysign(math.inf, x)


def refused(found: ClusteredMean | None) -> bool:
    """Whether clusters are too few or unequal for an interval, or rows alike."""
    return (
        found is None
        or found.clusters < config.MIN_INTERVAL_CLUSTERS
        or found.least_degrees < config.MIN_INTERVAL_DF
        or found.error == 0
    )


def mean_interval(
    values: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    least: float = -math.inf,
    most: float = math.inf,
) -> Interval:
    """Compute the 95 % interval of a mean whose errors are related within clusters.

    values: shape (n,). least, most: the range of the values, which the interval does not leave.
    Give the differences of two forecasters' scores to compare them on the same questions. Unknown
    where ``refused``.
    """
    found = clustered_mean(values, clusters)
    if found is None or refused(found):
        return UNKNOWN_INTERVAL
    from scipy.special import stdtrit

    quantile = float(stdtrit(found.degrees, 0.975))
    low = found.mean - found.error * _untransformed(quantile, found.skewness)
    high = found.mean - found.error * _untransformed(-quantile, found.skewness)
    return Interval(max(least, low), min(most, high))
