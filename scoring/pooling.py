"""Pool several distributions into one, and weigh each model's voice.

The captured mass of an answer is the share of a model's belief that was a number at all. From
``MIN_CAPTURED_MASS`` on it says nothing about the number itself: the rest is a matter of form, and
the voice counts in full. Below it the weight falls in proportion, so that nothing jumps at the mark
and a voice of 1e-9 weighs next to nothing. The same rule holds over reasoning samples, over chunks
of evidence and over models. Where every voice is weak, the pool exists and is marked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

import config
from scoring.distribution import (
    MAXIMUM_ENTROPY,
    SUPPORT_SIZE,
    Distribution,
    FloatArray,
    agreement,
)

# Probabilities of the event are kept this far from 0 and 1 where odds are formed (half a percentage
# point: the support cannot express anything finer), so that one model's "0" cannot veto a pool.
ODDS_CLIP: Final = 0.005

# Share of the weight around one half over which the "median" pool averages. Between two equal
# voices that makes the midpoint, and a voice of next to no weight cannot decide between them.
MEDIAN_WINDOW: Final = 0.01

# What the "extremised" pool multiplies the log-odds with. Fits to human crowds are between 1.2 and
# 3 (Satopaa et al. 2014); the low end, since language models share most of their training text.
EXTREMISING_FACTOR: Final = 1.3


# --- methods --------------------------------------------------------------------------------------


def pool(
    distributions: Sequence[Distribution], method: str, weights: npt.ArrayLike | None = None
) -> Distribution:
    """Pool several distributions into one.

    Args:
        distributions: one per model.
        method: ``"mean"`` (linear pool), ``"entropy"`` (linear pool, weights from
            ``entropy_weights``), ``"median"`` (of cumulative probabilities), ``"geometric"``
            (geometric mean of odds) or ``"extremised"`` (that, moved away from 50 % by
            ``EXTREMISING_FACTOR``).
        weights: non-negative, of shape (models,); equal when left out. Multiplied with the entropy
            weights when the method is ``"entropy"``.

    Raises:
        ValueError: nothing to pool, an unknown method, or unusable weights.
    """
    base = pool_weights(distributions, method, weights)
    return POOL_METHODS[method](distributions, base)


def pool_weights(
    distributions: Sequence[Distribution], method: str, weights: npt.ArrayLike | None = None
) -> FloatArray:
    """Weights that ``pool`` uses, of shape (models,), sum 1; errors as there."""
    count = len(distributions)
    if not distributions:
        raise ValueError("expected at least one distribution to pool, got none")
    if method not in POOL_METHODS:
        raise ValueError(f"unknown pool method {method!r}; allowed: {', '.join(POOL_METHODS)}")
    base = np.asarray(np.ones(count) if weights is None else weights, dtype=np.float64)
    usable = base.shape == (count,) and np.all(np.isfinite(base)) and np.all(base >= 0)
    if not usable or base.sum() <= 0:
        raise ValueError(
            f"expected {count} non-negative weights with a positive sum, got {weights!r}"
        )
    if method == "entropy":
        informed = base * entropy_weights(distributions)
        base = informed if informed.sum() > 0 else base
    normalised: FloatArray = base / base.sum()
    return normalised


def entropy_weights(distributions: Sequence[Distribution]) -> FloatArray:
    """Weights proportional to the bits each model commits to, ``log2(101) - entropy``.

    Of shape (models,). A uniform distribution weighs nothing; when all are uniform they weigh the
    same.
    """
    information = np.array([max(0.0, MAXIMUM_ENTROPY - d.entropy) for d in distributions])
    total = information.sum()
    if total <= 1e-12:
        return np.full(len(distributions), 1.0 / len(distributions))
    weights: FloatArray = information / total
    return weights


def _linear(distributions: Sequence[Distribution], weights: FloatArray) -> Distribution:
    return Distribution(weights @ np.stack([d.probabilities for d in distributions]))


def _median(distributions: Sequence[Distribution], weights: FloatArray) -> Distribution:
    """Take the weighted median of the cumulative probabilities, and difference it.

    The pointwise weighted median of monotone functions is monotone, so the differences are never
    negative (Hora et al., "Median aggregation of distribution functions", Decision Analysis 10(4),
    2013). It is the mean over ``MEDIAN_WINDOW`` of the weight around one half, also monotone.
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
    """Take the geometric mean of odds, and carry it back to a distribution.

    The point forecast is the weighted geometric mean of the models' odds (Satopaa et al., Int. J.
    Forecasting 30(2), 2014). The shape is the linear pool's, tilted exponentially so that its mean
    is that point: of all distributions with this mean the one closest to the linear pool in
    Kullback-Leibler divergence (Csiszar, Annals of Probability 3(1), 1975).
    """
    points = np.clip([d.probability for d in distributions], ODDS_CLIP, 1 - ODDS_CLIP)
    log_odds = float(weights @ np.log(points / (1 - points)))
    return tilt_to_mean(_linear(distributions, weights), 100.0 / (1.0 + np.exp(-log_odds)))


def _extremised(distributions: Sequence[Distribution], weights: FloatArray) -> Distribution:
    """Move the geometric mean of odds away from 50 %, tilting the shape along."""
    pooled = _geometric(distributions, weights)
    return tilt_to_mean(pooled, 100.0 * float(extremised(pooled.probability)))


POOL_METHODS: Final[dict[str, Callable[[Sequence[Distribution], FloatArray], Distribution]]] = {
    "mean": _linear,
    "median": _median,
    "geometric": _geometric,
    "extremised": _extremised,
    "entropy": _linear,
}


def extremised(probability: npt.ArrayLike, factor: float = EXTREMISING_FACTOR) -> FloatArray:
    """Multiply the log-odds of probabilities (0-1, any shape).

    Models share evidence only in part, so their average is too timid (Baron et al., Decision
    Analysis 11(2), 2014; Satopaa et al., Int. J. Forecasting 30(2), 2014).
    """
    clipped = np.clip(np.asarray(probability, dtype=np.float64), ODDS_CLIP, 1 - ODDS_CLIP)
    return np.asarray(1 / (1 + np.exp(-factor * np.log(clipped / (1 - clipped)))), dtype=np.float64)


def tilt_to_mean(distribution: Distribution, mean: float) -> Distribution:
    """Tilt exponentially, ``p(n) * exp(t * n)``, to the wanted mean in percent.

    The mean is first moved into the range of the distribution's support. ``t`` is found by Newton
    steps within a bracket: the mean grows strictly with ``t`` where the support has more than one
    point.
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
    low, high, t = -bound, bound, 0.0
    for _ in range(200):
        weights = tilted(t)
        error = float(weights @ shifted)
        low, high = (t, high) if error < 0 else (low, t)
        slope = float(weights @ shifted**2) - error**2
        newton = t - error / slope if slope > 0 else math.inf
        before, t = t, newton if low < newton < high else 0.5 * (low + high)
        if abs(t - before) <= 1e-12 * max(1.0, abs(t)):
            break
    result = np.zeros(SUPPORT_SIZE)
    result[support] = tilted(t)
    return Distribution(result)


# --- voices ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Voice:
    """A distribution with the masses (0-1) that tell how far it can be trusted.

    Args:
        distribution: the model's answer.
        captured: share of the belief that was a number; of several parts their mean.
        residual: bound of the total-variation error of ``distribution``.
        weakest: lowest captured mass of its parts.
    """

    distribution: Distribution
    captured: float
    residual: float
    weakest: float


@dataclass(frozen=True)
class Pooled:
    """A pool: its voice, its members' weights (0-1, sum 1) and their agreement."""

    voice: Voice
    weights: Mapping[str, float]
    agreement: float


def voice_weights(captured: Sequence[float]) -> FloatArray:
    """Weigh voices by captured mass over ``MIN_CAPTURED_MASS``, at most 1.

    All are 1 where no mass is captured at all.
    """
    masses = np.asarray(captured, dtype=np.float64)
    full = np.ones(len(masses))
    if config.MIN_CAPTURED_MASS <= 0 or not masses.any():
        return full
    return np.minimum(full, masses / config.MIN_CAPTURED_MASS)


def weak(captured: float) -> bool:
    """Whether a voice of this captured mass is marked as low-confidence."""
    return captured < config.MIN_CAPTURED_MASS


def average(parts: Sequence[Voice]) -> Voice:
    """Average samples or chunks of one model, weighted by what each captured.

    The mean of distributions is within the mean of their bounds, with the same weights.
    """
    weights = voice_weights([part.captured for part in parts])
    return Voice(
        pool([part.distribution for part in parts], "mean", weights),
        sum(part.captured for part in parts) / len(parts),
        float(weights @ [part.residual for part in parts] / weights.sum()),
        min(part.weakest for part in parts),
    )


def pool_voices(voices: Mapping[str, Voice], method: str) -> Pooled:
    """Pool the models' voices, each an equal unless it is weak.

    The residual of the linear pool is the weighted mean of its members' bounds, which bounds the
    error of the pool with these weights. Other methods' weights or points depend on the
    distributions themselves: there it is the loosest of the bounds, and proves nothing of the pool.
    """
    members = list(voices.values())
    distributions = [member.distribution for member in members]
    given = voice_weights([member.captured for member in members])
    weights = pool_weights(distributions, method, given)
    bounds = [member.residual for member in members]
    voice = Voice(
        pool(distributions, method, given),
        sum(member.captured for member in members) / len(members),
        float(weights @ bounds) if method == "mean" else max(bounds),
        min(member.weakest for member in members),
    )
    shares = dict(zip(voices, map(float, weights), strict=True))
    return Pooled(voice, shares, agreement(distributions, given))
