"""How much each agent's voice weighs in a pool.

The captured mass of an answer is the share of a model's belief that was a number at all. From
``MIN_CAPTURED_MASS`` on it says nothing about the number itself: the rest is a matter of form, and
the voice counts in full. Below it the weight falls in proportion to the captured mass, so that
nothing jumps at the mark and a voice of 1e-9 weighs next to nothing. The same rule holds wherever
one voice is averaged: over reasoning samples, over chunks of evidence, over agents.

Where every voice is weak their weights are compared with one another only: the pool exists, and is
marked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

import config
from scoring.distribution import Distribution, FloatArray, agreement, pool, pool_weights


@dataclass(frozen=True)
class Voice:
    """A distribution with the masses (0-1) that say how far it can be trusted.

    Args:
        distribution: what was said.
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
    """Hold a pool: its voice, its members' weights (0-1, sum 1) and their agreement."""

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
    """The mean over samples or chunks, weighted by what each captured.

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
    """Pool the agents' voices, each an equal unless it is weak.

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
