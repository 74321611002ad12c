"""Read the distribution over 0-100 from next-token log-probabilities.

    weight(n) = product of P(token | prompt, tokens before it) * P(no longer spelling follows)
    P(n) = weight(n) / sum of all 101 weights;  captured_mass = that sum

An answer counts as the longest of the spellings of 0-100 that it begins with; "0." is none of them.
So only nodes from which another spelling goes on are read, best-first, until what is unread cannot
matter. docs/scoring.md has the rule with a worked example, what it misreads, and the proof of the
certificate. Knows no engine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from scoring.distribution import SUPPORT_SIZE, Distribution
from scoring.number_trie import NumberTrie, TokenPath

# Kept in every run's manifest: numbers read by different rules are not the same measurement.
SCORING_RULE: Final = "2: the longest spelling"
# Below this captured mass there is nothing to normalise: the answer is not a number at all.
ZERO_MASS: Final = 1e-12
# Log-probabilities may exceed 0 by rounding of half-precision logits, not by more than this.
ROUNDING: Final = 1e-2
# The same for the sum of probabilities after one node.
MAX_TOTAL: Final = 1.05


class ScoringError(Exception):
    """No distribution can be read: NaN, missing values, or no mass on 0-100."""


@dataclass(frozen=True)
class Request:
    """Ask for log-probabilities of the ``wanted`` ids after ``prompt + node``.

    The prompt is shared by all requests of a forecast, not copied.
    """

    prompt: TokenPath
    wanted: tuple[int, ...]
    node: TokenPath = ()

    @property
    def token_ids(self) -> TokenPath:
        """The whole sequence."""
        return self.prompt + self.node


@dataclass(frozen=True)
class Reply:
    """Natural log-probabilities by token id, and the tokens the engine ran for them.

    ``unseen`` (0-1) bounds the probability of all wanted tokens that are missing together; 0 means
    that none may be missing.
    """

    logprobs: Mapping[int, float]
    forward_tokens: int = 0
    unseen: float = 0.0


@dataclass(frozen=True)
class ScoringResult:
    """A distribution with its certificate.

    ``captured_mass`` (0-1) is the probability that the answer is an integer 0-100 at all;
    ``residual_mass`` (0-1) bounds the total-variation error of ``distribution``; ``requests`` and
    ``forward_tokens`` are its cost.
    """

    distribution: Distribution
    captured_mass: float
    residual_mass: float
    requests: int
    forward_tokens: int


@dataclass
class ForecastScoring:
    """The state of scoring one prompt: which nodes were read, and what to read next.

    ``probabilities`` has, for each node read so far, the next token's by token id.
    """

    prompt: TokenPath
    trie: NumberTrie
    probabilities: dict[TokenPath, dict[int, float]] = field(default_factory=dict)
    unseen: dict[TokenPath, float] = field(default_factory=dict)
    requests: int = 0
    forward_tokens: int = 0

    def next_requests(self, tolerance: float) -> list[tuple[TokenPath, Request]]:
        """Return the requests of the next round, each with its node; none when done."""
        return [
            (node, Request(self.prompt, self.trie.asked[node], node))
            for node in self.select(tolerance)
        ]

    def record(self, node: TokenPath, reply: Reply) -> None:
        """Store the reply to a node's request.

        Raises:
            ScoringError: a wanted log-probability is missing or NaN; one of them, or all together,
                exceed certainty by more than rounding.
        """
        self.requests += 1
        self.forward_tokens += reply.forward_tokens
        found = {}
        for token in self.trie.asked[node]:
            value = reply.logprobs.get(token)
            if value is None and reply.unseen:
                continue
            if value is None:
                raise ScoringError("the engine returned no log-probability for a requested token")
            if math.isnan(value) or value > ROUNDING:
                raise ScoringError(f"the engine returned the log-probability {value}")
            found[token] = math.exp(value)
        # By rounding they may add up to a little more than 1.
        scale = max(1.0, sum(found.values()))
        if scale > MAX_TOTAL:
            raise ScoringError(f"the engine returned probabilities that add up to {scale:.3g}")
        self.probabilities[node] = {token: p / scale for token, p in found.items()}
        self.unseen[node] = reply.unseen

    def weights(self) -> tuple[np.ndarray, list[tuple[float, TokenPath]]]:
        """Return the weights of the integers, and the unread nodes, lightest first.

        What is known of an unread node is its mass: it is spread evenly over its integers.
        """
        weights = np.zeros(SUPPORT_SIZE)
        unread: list[tuple[float, TokenPath]] = []
        stack: list[tuple[TokenPath, float]] = [((), 1.0)]
        while stack:
            node, mass = stack.pop()
            number = self.trie.numbers.get(node)
            if node not in self.trie.asked:
                if number is not None:
                    weights[number] += mass
            elif node not in self.probabilities:
                unread.append((mass, node))
                integers = self.trie.integers[node]
                weights[integers] += mass / len(integers)
            else:
                onward = {t: mass * p for t, p in self.probabilities[node].items()}
                stack.extend(((*node, token), part) for token, part in onward.items())
                if number is not None:
                    weights[number] += max(0.0, mass - sum(onward.values()))
        return weights, sorted(unread)

    def _unseen(self) -> float:
        """Return the largest mass that tokens an engine did not show can have."""
        return sum(
            share * math.prod(self.probabilities[node[:n]].get(t, 0.0) for n, t in enumerate(node))
            for node, share in self.unseen.items()
            if share
        )

    def select(self, tolerance: float) -> list[TokenPath]:
        """Choose the nodes to read next: the heaviest unread ones, with all below them.

        So many that the rest is within the tolerance; 0 reads all that have any mass.
        """
        if () not in self.probabilities:
            return [()]
        weights, unread = self.weights()
        allowed, left = tolerance * float(weights.sum()), 0.0
        for index, (mass, _) in enumerate(unread):
            left += mass
            if left > allowed:
                chosen = [node for _, node in unread[index:]]
                return [
                    node
                    for node in self.trie.asked
                    if any(node[: len(top)] == top for top in chosen)
                ]
        return []

    def result(self) -> ScoringResult:
        """Return the distribution and its certificate.

        Raises:
            ScoringError: there is no mass on 0-100.
        """
        weights, unread = self.weights()
        captured = float(weights.sum())
        if not captured > ZERO_MASS:
            raise ScoringError("the model puts no probability on an integer from 0 to 100")
        return ScoringResult(
            distribution=Distribution.from_weights(weights),
            captured_mass=min(1.0, captured),
            residual_mass=min(1.0, (sum(mass for mass, _ in unread) + self._unseen()) / captured),
            requests=self.requests,
            forward_tokens=self.forward_tokens,
        )
