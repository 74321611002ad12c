"""Pool the models' probability with a market price and a base rate, in log-odds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from evaluation.base_rates import BaseRate

# Version of the rule that makes the assisted and final numbers; stored with each.
RULE_VERSION: Final = 1
# Probabilities are kept this far from 0 and 1 where odds are formed.
EPSILON: Final = 0.001


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

    ``market`` counts beside models that did not see the price, ``market_shown`` beside those
    that did. The base rate's weight is ``base_rate`` * n / (n + ``base_rate_half``) with n
    relatives. ``learnt_from`` counts the forecasts they were learnt from, 0 for the defaults.
    """

    models: float = 1.0
    market: float = 1.0
    market_shown: float = 1.0
    base_rate: float = 0.5
    base_rate_half: float = 10.0
    learnt_from: int = 0

    def base_rate_weight(self, count: int) -> float:
        """Weight of a base rate of ``count`` relatives."""
        return self.base_rate * count / (count + self.base_rate_half)


DEFAULTS: Final = VoiceWeights()


@dataclass(frozen=True)
class PastVoices:
    """The voices of an earlier forecast, with its outcome (0-1) and ISO dates."""

    question_id: str
    cluster: str
    date: str
    resolved_on: str
    outcome: float
    models: float
    market: float | None = None
    market_shown: bool = False
    base_rate: float | None = None
    relatives: int = 0


def voices(
    models: float,
    *,
    market: float | None = None,
    market_shown: bool = False,
    market_note: str = "",
    base_rate: BaseRate | None = None,
    weights: VoiceWeights = DEFAULTS,
) -> list[Voice]:
    """List the voices of a question with their weights; the models alone if no other."""
    found = [Voice("models", models, weights.models)]
    if market is not None:
        weight = weights.market_shown if market_shown else weights.market
        found.append(Voice("market", market, weight, market_note))
    if base_rate is not None and market is None:
        weight = weights.base_rate_weight(base_rate.count)
        note = f"{base_rate.yes:g} of {base_rate.count} relatives"
        found.append(Voice("base_rate", base_rate.probability, weight, note))
    return found


def assisted(voices: Sequence[Voice]) -> float:
    """Average voices in log-odds by weight; one voice alone stays exactly as it is.

    Probabilities are moved into ``EPSILON`` ... 1 - ``EPSILON`` first.

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
    total = sum(v.weight for v in counted)
    return sigmoid(sum(v.weight * log_odds(v.probability) for v in counted) / total)


def log_odds(probability: float) -> float:
    """Log-odds of a probability that is first moved off 0 and 1 by ``EPSILON``."""
    p = min(max(probability, EPSILON), 1 - EPSILON)
    return math.log(p / (1 - p))


def sigmoid(x: float) -> float:
    """Probability of log-odds."""
    return 1 / (1 + math.exp(-x))


def learnt_weights(past: Sequence[PastVoices], as_of: str) -> VoiceWeights:
    """Learn weights from forecasts resolved before ``as_of``; defaults from too few."""
    return DEFAULTS
