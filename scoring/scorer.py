"""Read the distribution over 0-100 from next-token log-probabilities.

    weight(n) = product of P(token | prompt, tokens before it) * P(no digit follows)
    P(n) = weight(n) / sum of all 101 weights;  captured_mass = that sum

The nodes of the number trie are read best-first until what is unread cannot matter. What follows
a number without being a digit ends it: "7%", "7." and "7.5" all count as 7. docs/scoring.md has the
rule with a worked example, the proof of the certificate, and what it costs. Knows no engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from scoring.distribution import SUPPORT_SIZE, Distribution
from scoring.number_trie import NumberTokenizer, NumberTrie, TokenPath

# Engine calls per batch: root, children, and everything deeper.
MAX_ROUNDS: Final = 3
# Below this captured mass there is nothing to normalise: the answer is not a number at all.
ZERO_MASS: Final = 1e-12
# Log-probabilities may exceed 0 by rounding of half-precision logits, not by more than this.
ROUNDING: Final = 1e-2


class ScoringError(Exception):
    """No distribution can be read: NaN, missing values, or no mass on 0-100."""


@dataclass(frozen=True)
class Request:
    """One next-token query: a token sequence, and the ids to get log-probabilities of."""

    token_ids: TokenPath
    wanted: tuple[int, ...]


@dataclass(frozen=True)
class Reply:
    """Natural log-probabilities by token id, and the tokens the engine ran for them."""

    logprobs: Mapping[int, float]
    forward_tokens: int = 0


Engine = Callable[[Sequence[Request]], Sequence[Reply]]


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


def forward_cost(prompt_tokens: int, depth: int, block_size: int) -> int:
    """Count the tokens to run for a node, with the prompt's whole blocks cached.

    At least one token is always run: its logits are what is asked for.
    """
    total = prompt_tokens + depth
    return total - min(prompt_tokens, total - 1) // block_size * block_size


@dataclass
class _Bounds:
    """What is known so far: weights, their L1 uncertainty, and unread nodes."""

    weights: np.ndarray
    uncertainty: float = 0.0
    unread: list[tuple[float, TokenPath]] = field(default_factory=list)


@dataclass(frozen=True)
class Limits:
    """How far to read.

    Args:
        tolerance: wanted ``residual_mass``; 0 reads every node whatever it costs.
        block_size: tokens per prefix cache block, None when the engine has no prefix cache.
        block_budget: forward tokens allowed beyond the prompt, in blocks; None for no bound.
    """

    tolerance: float
    block_size: int | None = None
    block_budget: int | None = None

    @property
    def exhaustive(self) -> bool:
        """Whether every node is read."""
        return self.tolerance == 0

    def affords(self, tokens: int) -> bool:
        """Return whether so many forward tokens beyond the prompt are within the budget."""
        if self.block_budget is None or self.block_size is None:
            return True
        return tokens <= self.block_budget * self.block_size


@dataclass
class ForecastScoring:
    """The state of scoring one prompt: which nodes were read, and what to read next.

    ``logprobs`` has, for each node read so far, the log-probabilities by token id.
    """

    prompt: TokenPath
    trie: NumberTrie
    tokenizer: NumberTokenizer
    logprobs: dict[TokenPath, dict[int, float]] = field(default_factory=dict)
    requests: int = 0
    forward_tokens: int = 0
    spent: int = 0

    def next_requests(self, limits: Limits, *, last: bool) -> Iterator[tuple[TokenPath, Request]]:
        """Yield the requests of the next round, each with its node."""
        for node in self.select(limits, last=last):
            for ids in self.tokenizer.wanted_ids(self.trie, node, exhaustive=limits.exhaustive):
                yield node, Request(self.prompt + node, ids)

    def record(self, node: TokenPath, reply: Reply, wanted: Iterable[int]) -> None:
        """Store one reply.

        Raises:
            ScoringError: a wanted log-probability is missing, NaN, or above 0 beyond rounding.
        """
        self.requests += 1
        self.forward_tokens += reply.forward_tokens
        for token in wanted:
            value = reply.logprobs.get(token)
            if value is None:
                raise ScoringError("the engine returned no log-probability for a requested token")
            if math.isnan(value) or value > ROUNDING:
                raise ScoringError(f"the engine returned the log-probability {value}")
        known = self.logprobs.setdefault(node, {})
        known.update((token, min(0.0, reply.logprobs[token])) for token in wanted)

    def digit_bounds(self, node: TokenPath, logprobs: Mapping[int, float]) -> tuple[float, float]:
        """Bound the probability that a digit follows ``node``, from below and above."""
        digits, digit_set = self.tokenizer.digit_ids, self.tokenizer.digit_set
        low = min(1.0, sum(math.exp(logprobs[t]) for t in digits if t in logprobs))
        if all(t in logprobs for t in digits):
            return low, low
        ended = sum(math.exp(logprobs[t]) for t in logprobs if t not in digit_set)
        return low, max(low, min(1.0, 1.0 - ended))

    def bounds(self) -> _Bounds:
        """Compute the weights of all integers so far, and how far they can be off."""
        result = _Bounds(np.zeros(SUPPORT_SIZE))
        unread_numbers: list[tuple[int, float]] = []
        stopped = reached = 0.0
        stack: list[tuple[TokenPath, float]] = [((), 1.0)]
        while stack:
            node, mass = stack.pop()
            number = self.trie.numbers.get(node)
            logprobs = self.logprobs.get(node)
            onward = self.trie.children[node]
            if logprobs is None or any(token not in logprobs for token in onward):
                result.unread.append((mass, node))
                if onward or number is None:
                    # Unknown how it divides: nothing is assigned, all of it is uncertain.
                    result.uncertainty += mass
                else:
                    unread_numbers.append((number, mass))
                continue
            stack.extend(((*node, token), mass * math.exp(logprobs[token])) for token in onward)
            if number is not None:
                low, high = self.digit_bounds(node, logprobs)
                result.weights[number] = mass * (1.0 - low)
                result.uncertainty += mass * (high - low)
                stopped += mass * (1.0 - low)
                reached += mass
        # An unread leaf is given the average share that stops; it can be off by the larger rest.
        share = stopped / reached if reached > 0 else 1.0
        for number, mass in unread_numbers:
            result.weights[number] = mass * share
            result.uncertainty += mass * max(share, 1.0 - share)
        return result

    def select(self, limits: Limits, *, last: bool) -> list[TokenPath]:
        """Choose the nodes to read next: the heaviest unread ones.

        Enough of them that the rest is within the tolerance, as far as the budget goes. In the last
        round everything below a selected inner node is read with it.
        """
        if () not in self.logprobs:
            return [()]
        known = self.bounds()

        def with_deeper(node: TokenPath) -> list[TokenPath]:
            return [node, *self.trie.below(node)] if last else [node]

        if limits.exhaustive:
            return [deeper for _, node in known.unread for deeper in with_deeper(node)]
        left = sum(mass for mass, _ in known.unread)
        scale = max(float(known.weights.sum()), left)
        # Reading an inner node uncovers leaves: half of the tolerance is kept for unread ones.
        inner = any(self.trie.children[node] for _, node in known.unread)
        allowed = limits.tolerance * scale * (0.5 if inner and not last else 1.0)
        chosen: list[TokenPath] = []
        for mass, node in sorted(known.unread, key=lambda item: (-item[0], item[1])):
            if left <= allowed or mass <= 0:
                break
            nodes = with_deeper(node)
            cost = self._cost(nodes, limits.block_size)
            if not limits.affords(self.spent + cost):
                break
            self.spent += cost
            chosen += nodes
            left -= mass
        return chosen

    def _cost(self, nodes: Iterable[TokenPath], block_size: int | None) -> int:
        """Count the forward tokens of reading some nodes, 0 without a prefix cache."""
        if not block_size:
            return 0
        return sum(forward_cost(len(self.prompt), len(node), block_size) for node in nodes)

    def result(self) -> ScoringResult:
        """Return the distribution and its certificate.

        Raises:
            ScoringError: there is no mass on 0-100.
        """
        known = self.bounds()
        captured = float(known.weights.sum())
        if not captured > ZERO_MASS:
            raise ScoringError("the model puts no probability on an integer from 0 to 100")
        return ScoringResult(
            distribution=Distribution.from_weights(known.weights),
            captured_mass=min(1.0, captured),
            residual_mass=min(1.0, known.uncertainty / captured),
            requests=self.requests,
            forward_tokens=self.forward_tokens,
        )


def score_batch(
    scorings: Sequence[ForecastScoring], engine: Engine, limits: Limits
) -> list[ScoringResult | ScoringError]:
    """Score many prompts in at most ``MAX_ROUNDS`` engine calls.

    Nodes that were read before are not asked for again. ``engine`` answers requests in order.

    Returns:
        For each scoring its result, or the ``ScoringError`` that concerns it alone. An exception of
        the engine itself passes through: it concerns all of them.
    """
    errors: dict[int, ScoringError] = {}
    for round_number in range(1, MAX_ROUNDS + 1):
        batch = [
            (index, node, request)
            for index, scoring in enumerate(scorings)
            if index not in errors
            for node, request in scoring.next_requests(limits, last=round_number == MAX_ROUNDS)
        ]
        if not batch:
            break
        replies = engine([request for _, _, request in batch])
        if len(replies) != len(batch):
            raise ScoringError(f"the engine answered {len(replies)} of {len(batch)} requests")
        for (index, node, request), reply in zip(batch, replies, strict=True):
            if index in errors:
                continue
            try:
                scorings[index].record(node, reply, request.wanted)
            except ScoringError as error:
                errors[index] = error
    return [
        errors[index] if index in errors else _result(scoring)
        for index, scoring in enumerate(scorings)
    ]


def _result(scoring: ForecastScoring) -> ScoringResult | ScoringError:
    try:
        return scoring.result()
    except ScoringError as error:
        return error
