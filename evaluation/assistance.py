"""Pool the models' probability with a market price and a base rate, in log-odds.

The defaults follow benchmarks/forecast_quality.py; docs/quality.md has its tables.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evaluation.base_rates import BaseRate

Floats = NDArray[np.float64]

# Version of the rule that makes the assisted and final numbers; stored with each.
RULE_VERSION: Final = 2
# Probabilities are kept this far from 0 and 1 where odds are formed: prices go below 1 %.
EPSILON: Final = 0.001
# Clusters of resolved forecasts, with a voice beside the models, from which weights are learnt.
MIN_LEARNING_CLUSTERS: Final = 30
# Precision of the defaults: a weight's logarithm has this normal prior, in clusters' nats.
DEFAULT_PRECISION: Final = 10.0


@dataclass(frozen=True)
class Voice:
    """One member of the assisted pool.

    ``name`` is "models", "market" or "base_rate"; ``probability`` 0-1; ``weight`` is not
    negative, and only its share of the sum matters; ``note`` says where it comes from.
    """

    name: str
    probability: float
    weight: float
    note: str = ""


@dataclass(frozen=True)
class VoiceWeights:
    """Weights of the assisted pool.

    ``market`` counts beside models that did not see the price, ``market_shown`` beside those that
    did. The base rate's weight is ``base_rate`` * n / (n + ``base_rate_half``) with n relatives, of
    which only the share counts that its trust is (``BaseRate.support``).
    ``sharpening`` multiplies the log-odds of two equal voices: they share their information in part
    only, so that their mean is too timid (Baron et al. 2014, Decision Analysis 11(2)).
    ``learnt_from`` counts the clusters of forecasts that the weights were learnt from, 0 for the
    defaults.
    """

    models: float = 1.0
    market: float = 3.0
    market_shown: float = 0.5
    base_rate: float = 1.0
    base_rate_half: float = 25.0
    sharpening: float = 1.2
    learnt_from: int = 0

    def base_rate_weight(self, count: float) -> float:
        """Weight of a base rate of ``count`` relatives that are trusted."""
        return self.base_rate * count / (count + self.base_rate_half)

    def market_weight(self, shown: bool) -> float:
        """Weight of a price that the models saw, or not."""
        return self.market_shown if shown else self.market


DEFAULTS: Final = VoiceWeights()
# What is learnt; the models' weight is the unit.
LEARNT: Final = ("market", "market_shown", "base_rate", "sharpening")


@dataclass(frozen=True)
class PastVoices:
    """The voices of an earlier forecast, its outcome (0-1), and the ISO day of that.

    ``relatives`` are those that are trusted, as ``BaseRate.support`` counts them.
    """

    cluster: str
    resolved_on: str
    outcome: float
    models: float
    market: float | None = None
    market_shown: bool = False
    base_rate: float | None = None
    relatives: float = 0


def voices(
    models: float,
    *,
    market: float | None = None,
    market_shown: bool = False,
    market_note: str = "",
    base_rate: BaseRate | None = None,
    weights: VoiceWeights = DEFAULTS,
) -> list[Voice]:
    """List the voices of a question with their weights; the models alone if no other.

    Beside a price that counts or was shown a base rate has no voice: the market knows it
    (docs/quality.md). Nor has one of which only the source is known.
    """
    found, priced = [Voice("models", models, weights.models)], False
    if market is not None:
        weight = weights.market_weight(market_shown)
        found.append(Voice("market", market, weight, market_note))
        priced = market_shown or weight > 0
    if not priced and base_rate is not None and base_rate.support:
        weight = weights.base_rate_weight(base_rate.support)
        note = f"{base_rate.yes:g} of {base_rate.count} relatives"
        found.append(Voice("base_rate", base_rate.probability, weight, note))
    return found


def assisted(voices: Sequence[Voice], sharpening: float = DEFAULTS.sharpening) -> float:
    """Average voices in log-odds by weight, and move the mean away from 50 %.

    Its log-odds are multiplied by 1 + (sharpening - 1) * 2 * (1 - sum of squared shares), which is
    ``sharpening`` for two equal voices and 1 for one. Probabilities are moved into ``EPSILON`` ...
    1 - ``EPSILON`` first. One voice alone stays exactly as it is.

    Raises:
        ValueError: no voice of positive weight, or a probability outside 0-1.
    """
    counted = [v for v in voices if v.weight > 0]
    if not counted:
        raise ValueError("no voice has a positive weight")
    for voice in counted:
        if not 0 <= voice.probability <= 1:
            raise ValueError(f"{voice.name} is {voice.probability}; allowed: 0-1")
    if len(counted) == 1:
        return counted[0].probability
    total = math.fsum(v.weight for v in counted)
    mean = math.fsum(v.weight * log_odds(v.probability) for v in counted) / total
    diversity = 2 * (1 - math.fsum((v.weight / total) ** 2 for v in counted))
    return 1 / (1 + math.exp(-(1 + (sharpening - 1) * diversity) * mean))


def log_odds(probability: float) -> float:
    """Log-odds of a probability that is first moved off 0 and 1 by ``EPSILON``."""
    p = min(max(probability, EPSILON), 1 - EPSILON)
    return math.log(p / (1 - p))


def learnt_weights(past: Sequence[PastVoices], as_of: str) -> VoiceWeights:
    """Learn the weights from forecasts whose questions resolved before ``as_of``.

    The weights' logarithms minimise the mean log score of each cluster of related questions,
    summed over clusters, plus ``DEFAULT_PRECISION`` / 2 times their squared distance from the
    defaults: a maximum a posteriori estimate.

    Returns:
        The defaults while fewer than ``MIN_LEARNING_CLUSTERS`` clusters have a voice beside the
        models.
    """
    known = [
        row
        for row in past
        if row.resolved_on[:10] < as_of[:10]
        and (row.market is not None or (row.base_rate is not None and row.relatives > 0))
    ]
    sizes = Counter(row.cluster for row in known)
    if len(sizes) < MIN_LEARNING_CLUSTERS:
        return DEFAULTS
    from scipy.optimize import minimize

    pools = PastPools(known)
    counts = np.array([1 / sizes[row.cluster] for row in known])
    start = np.log([getattr(DEFAULTS, name) for name in LEARNT])

    def loss(logarithms: Floats) -> float:
        weights = _weights(logarithms)
        score = pools.log_odds(weights)
        nats = np.logaddexp(0, score) - pools.outcomes * score
        distance = logarithms - start
        return float(counts @ nats + DEFAULT_PRECISION / 2 * (distance @ distance))

    found = minimize(loss, start, method="L-BFGS-B", bounds=[(x - 3, x + 3) for x in start])
    return replace(_weights(found.x), learnt_from=len(sizes))


def _weights(logarithms: Floats) -> VoiceWeights:
    values = np.exp(logarithms).tolist()
    return replace(DEFAULTS, **dict(zip(LEARNT, values, strict=True)))


class PastPools:
    """The pools of earlier forecasts as arrays of shape (n,), to try weights on."""

    def __init__(self, rows: Sequence[PastVoices]) -> None:
        self.outcomes = np.array([row.outcome for row in rows])
        self._models = np.array([log_odds(row.models) for row in rows])
        others = [row.base_rate if row.market is None else row.market for row in rows]
        self._others = np.array([log_odds(other or 0.0) for other in others])
        self._priced = np.array([row.market is not None for row in rows])
        self._shown = np.array([row.market_shown for row in rows])
        self._relatives = np.array([row.relatives for row in rows], dtype=np.float64)

    def log_odds(self, weights: VoiceWeights) -> Floats:
        """Log-odds of the assisted forecasts, as ``assisted`` makes them."""
        price = np.where(self._shown, weights.market_shown, weights.market)
        grown = self._relatives / (self._relatives + weights.base_rate_half)
        own = np.where(self._priced, price, weights.base_rate * grown)
        share = own / (weights.models + own)
        mean = (1 - share) * self._models + share * self._others
        factor = 1 + (weights.sharpening - 1) * 4 * share * (1 - share)
        return np.asarray(factor * mean, dtype=np.float64)
