"""From a tokenizer and next-token log-probabilities to a distribution over 0-100. Knows no engine.

**Target.** P(n) is the probability that the model's answer spells the integer n, token by token as
the tokenizer itself would write it there, and that the next character is not a digit:

    weight(n) = product of P(token | prompt, tokens before it) x (1 - P(next token begins with a digit))
    P(n) = weight(n) / sum of all 101 weights          captured_mass = that sum

**Stop mass, a worked example** (a tokenizer that writes digit by digit). After the prompt the model
gives "7" 0.40. After "7" it gives the digits together 0.70 ("5" alone 0.60), ".", "%" and the end of
the turn the rest. Then "7" itself keeps 0.40 x 0.30 = 0.12, and "75" gets 0.40 x 0.60 = 0.24 times
the stop mass after "75". What follows "7" without being a digit counts as a stop: "7%", "7." and the
end are all the answer 7, and so is "7.5": the prompt asks for a whole number, "." is far more often
the end of a sentence than a decimal point, and telling them apart would cost one more request per
integer. A model that likes decimals is thereby read as rounding down, by half a point on average.
"07" and "1000" belong to no integer: their mass is simply not captured. Only ASCII digits count.

**Trie.** The 101 spellings form a trie. A node's request returns the log-probabilities of the tokens
that lead on and of the tokens that begin with a digit. Where a vocabulary has more digit tokens than
one request may name (Llama 3 has 1,110 with its two- and three-digit tokens), a request names the
likeliest and the usual ends of an answer, which bounds the digit mass from below (the digits seen)
and above (one minus the ends seen); exhaustive scoring asks for all of them in several requests.

**Certificate.** Nodes are expanded best-first while what lies unknown below them exceeds the
tolerance. Let w be the true weights, v the computed ones and W, V their sums. Whatever was not
looked at bounds |v - w| in L1, and

    TV(v/V, w/W) <= |v - w|_1 / V

(triangle inequality: half of |v/V - w/V|_1 + |w/V - w/W|_1, and |w/V - w/W|_1 = |W - V|/V <= |v - w|_1/V).
The right-hand side is ``residual_mass``.

**Cost.** Every request below the root repeats the prompt, which the engine's prefix cache holds in
whole blocks. ``forward_cost`` says what is left to compute; when the prompt fills its last block
exactly that is one token for the first level and two for the second.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Protocol

import numpy as np

from scoring.distribution import SUPPORT_SIZE, Distribution

Path = tuple[int, ...]

# vLLM's bound on SamplingParams.logprob_token_ids (vllm/sampling_params.py).
MAX_TOKEN_IDS: Final = 128
# Engine calls per batch: root, children, and everything deeper.
MAX_ROUNDS: Final = 3
# Nodes of the smallest trie: the root and one for each integer.
SMALLEST_CACHE: Final = SUPPORT_SIZE + 1
# Below this captured mass there is nothing to normalise: the answer is not a number at all.
ZERO_MASS: Final = 1e-12
# Log-probabilities may exceed 0 by rounding of half-precision logits, not by more than this.
ROUNDING: Final = 1e-2
# How an answer usually goes on after its number; those that are one token of the vocabulary are asked for.
ENDINGS: Final = (
    *(
        "<|im_end|>",
        "<|eot_id|>",
        "<end_of_turn>",
        "<|return|>",
        "<|end|>",
        "</s>",
        "<|endoftext|>",
        "\n",
        "\n\n",
    ),
    *(
        "%",
        " %",
        ".",
        ",",
        " ",
        ")",
        " (",
        ";",
        ":",
        "/",
        " percent",
        ".\n",
        "%.",
        "**",
        '"',
        " -",
        "-",
        "]",
        "}",
    ),
)
# The tail of a prompt in which the numbers are tokenised: longer than any token, short enough for 101 encodings.
TAIL_CHARACTERS: Final = 48


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that scoring needs."""

    def encode(self, text: str, *, add_special_tokens: bool = ...) -> list[int]:
        """Token ids of ``text``."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of token ids."""
        ...

    def get_vocab(self) -> dict[Any, int]:
        """Token string (or bytes) to token id."""
        ...


class ScoringError(Exception):
    """No distribution can be read: NaN, missing log-probabilities, or no mass on 0-100."""


class TokenizationError(Exception):
    """The tokenizer does not give every integer 0-100 a spelling of its own."""


# --- the number trie ------------------------------------------------------------------------------


@dataclass(frozen=True)
class NumberTrie:
    """The token paths of ``str(0)`` … ``str(100)`` in one place of a prompt.

    Args:
        context: token ids of the prompt's tail that all paths share (they end the prompt).
        paths: 101 token paths after ``context``; entry ``n`` spells ``n``.
    """

    context: Path
    paths: tuple[Path, ...]

    @cached_property
    def numbers(self) -> dict[Path, int]:
        """Path to integer."""
        return {path: n for n, path in enumerate(self.paths)}

    @cached_property
    def children(self) -> dict[Path, tuple[int, ...]]:
        """Every node, the root ``()`` and leaves included, to the token ids that lead on towards a number."""
        found: dict[Path, set[int]] = {(): set()}
        for path in self.paths:
            for depth, token in enumerate(path):
                found.setdefault(path[:depth], set()).add(token)
                found.setdefault(path[: depth + 1], set())
        return {node: tuple(sorted(tokens)) for node, tokens in found.items()}

    @property
    def single_token(self) -> bool:
        """Whether every integer is one token, so that the root's request alone reads them all."""
        return all(len(path) == 1 for path in self.paths)

    def below(self, node: Path) -> list[Path]:
        """All nodes strictly below ``node``."""
        return [
            other
            for other in self.children
            if len(other) > len(node) and other[: len(node)] == node
        ]


def common_prefix(sequences: Sequence[Sequence[int]]) -> Path:
    """Longest token sequence that all start with."""
    shortest, longest = min(map(tuple, sequences)), max(map(tuple, sequences))
    length = next(
        (i for i, (a, b) in enumerate(zip(shortest, longest, strict=False)) if a != b),
        min(len(shortest), len(longest)),
    )
    return tuple(shortest[:length])


def trie_from_encodings(encodings: Sequence[Sequence[int]]) -> NumberTrie:
    """Build the trie from 101 encodings of the same text followed by 0 … 100.

    Raises:
        TokenizationError: two integers have the same tokens, or one has none of its own.
    """
    context = common_prefix(encodings)
    # A path that is another's prefix ("1" of "10") is fine; an empty one is not: give back a token.
    if any(len(ids) == len(context) for ids in encodings):
        context = context[:-1]
    paths = tuple(tuple(ids[len(context) :]) for ids in encodings)
    if len(set(paths)) != SUPPORT_SIZE:
        same = next(n for n, path in enumerate(paths) if paths.index(path) != n)
        raise TokenizationError(
            f"the tokenizer writes {same} and {paths.index(paths[same])} with the same tokens"
        )
    return NumberTrie(context, paths)


class NumberTokenizer:
    """Places the integers 0-100 behind prompts of one tokenizer, and knows its digit tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._tries: dict[tuple[str, str], NumberTrie] = {}
        self._suffixes: dict[bool, Path] = {}

    @cached_property
    def digit_ids(self) -> tuple[int, ...]:
        """All token ids whose text begins with an ASCII digit, shortest text first, then by id."""
        special = set(getattr(self.tokenizer, "all_special_ids", ()))
        found = []
        for token, token_id in self.tokenizer.get_vocab().items():
            text = token.decode("latin-1") if isinstance(token, bytes) else token
            # "<0x35>" is how SentencePiece writes the byte of "5" when the digit itself is missing.
            if text.startswith("<0x3") and len(text) == 6 and text[4].isdigit():
                text = text[4]
            if text[:1] in set("0123456789") and token_id not in special:
                found.append((len(text), token_id))
        return tuple(token_id for _, token_id in sorted(found))

    @cached_property
    def ending_ids(self) -> tuple[int, ...]:
        """Ids of the single tokens that usually follow a number, likeliest first, then the special tokens."""
        encoded = [self.encode(text) for text in ENDINGS]
        ids = [ids[0] for ids in encoded if len(ids) == 1]
        ids += [int(i) for i in getattr(self.tokenizer, "all_special_ids", ())]
        return tuple(i for i in dict.fromkeys(ids) if i not in self.digit_set)

    @cached_property
    def digit_set(self) -> frozenset[int]:
        """``digit_ids`` for membership tests."""
        return frozenset(self.digit_ids)

    def trie(self, tail: str, lead: str = "") -> NumberTrie:
        """The trie of the numbers behind ``tail`` and ``lead`` (a space where the answer begins with one)."""
        key = (tail, lead)
        if key not in self._tries:
            if (
                len(self._tries) >= 64
            ):  # tails repeat; this only bounds callers whose tails never do
                self._tries.clear()
            trie = trie_from_encodings(
                [self.encode(tail + lead + str(n)) for n in range(SUPPORT_SIZE)]
            )
            self._check_spelling(trie)
            self._tries[key] = trie
        return self._tries[key]

    def place(
        self, text: str, lead: str = "", *, add_special_tokens: bool = False
    ) -> tuple[Path, NumberTrie]:
        """Token ids of the prompt, every token that all numbers share included, and the trie behind them.

        The numbers are tokenised behind the prompt's tail only; that this gives the same tokens as
        behind the whole prompt is checked with 0 and 100, and where it does not hold all 101
        integers are tokenised behind the whole prompt.

        Raises:
            TokenizationError: no unambiguous spelling of the integers exists here.
        """
        trie = self.trie(text[-TAIL_CHARACTERS:], lead)
        heads = []
        for n in (0, SUPPORT_SIZE - 1):
            ids = self.encode(text + lead + str(n), add_special_tokens=add_special_tokens)
            path = trie.paths[n]
            heads.append(tuple(ids[: -len(path)]) if tuple(ids[-len(path) :]) == path else None)
        head = heads[0]
        compared = min(4, max(1, len(trie.context) - 1))
        if head is not None and head == heads[1] and head[-compared:] == trie.context[-compared:]:
            return head, trie
        whole = [
            self.encode(text + lead + str(n), add_special_tokens=add_special_tokens)
            for n in range(SUPPORT_SIZE)
        ]
        trie = trie_from_encodings(whole)
        self._check_spelling(trie)
        return trie.context, trie

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Token ids of ``text``, without what the tokenizer puts behind every text (an EOS)."""
        ids = list(self.tokenizer.encode(text, add_special_tokens=add_special_tokens))
        behind = len(self._appended(add_special_tokens))
        return ids[: len(ids) - behind]

    def _appended(self, add_special_tokens: bool) -> Path:
        """Token ids put behind every text: what the encodings of two digits end with alike."""
        if add_special_tokens not in self._suffixes:
            ids = [self.tokenizer.encode(d, add_special_tokens=add_special_tokens) for d in "01"]
            alike = common_prefix([one[::-1] for one in ids])[::-1]
            # A vocabulary without digits writes both as the same unknown token.
            self._suffixes[add_special_tokens] = () if len(alike) == len(ids[0]) else alike
        return self._suffixes[add_special_tokens]

    def _check_spelling(self, trie: NumberTrie) -> None:
        for n, path in enumerate(trie.paths):
            spelled = self.tokenizer.decode([*trie.context[-8:], *path])
            if not spelled.endswith(str(n)):
                raise TokenizationError(f"the tokens of {n} read back as {spelled[-12:]!r}")

    def wanted_ids(
        self, trie: NumberTrie, node: Path, *, exhaustive: bool = False
    ) -> list[tuple[int, ...]]:
        """Token ids to ask for at a node, one tuple of at most ``MAX_TOKEN_IDS`` per request.

        At the root only the ways on are of interest. Elsewhere the digit tokens are, all of them
        when they fit into one request or when ``exhaustive``; else the likeliest, with the endings.
        """
        onward = trie.children[node]
        if not node:
            return [onward]
        every = tuple(dict.fromkeys((*onward, *self.digit_ids)))
        if len(every) <= MAX_TOKEN_IDS:
            return [every]
        if exhaustive:
            return [every[i : i + MAX_TOKEN_IDS] for i in range(0, len(every), MAX_TOKEN_IDS)]
        endings = self.ending_ids[: MAX_TOKEN_IDS // 4]
        return [every[: MAX_TOKEN_IDS - len(endings)] + endings]


# --- requests and results -------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """One next-token query: the whole token sequence, and the ids whose log-probabilities are wanted."""

    token_ids: Path
    wanted: tuple[int, ...]


@dataclass(frozen=True)
class Reply:
    """Natural log-probabilities by token id, and how many tokens the engine had to run for them."""

    logprobs: Mapping[int, float]
    forward_tokens: int = 0


Engine = Callable[[Sequence[Request]], Sequence[Reply]]


@dataclass(frozen=True)
class ScoringResult:
    """A distribution with its certificate.

    ``captured_mass`` (0-1) is the probability that the answer is an integer 0-100 at all;
    ``residual_mass`` (0-1) bounds the total-variation error of ``distribution``; ``requests`` and
    ``forward_tokens`` say what it cost.
    """

    distribution: Distribution
    captured_mass: float
    residual_mass: float
    requests: int
    forward_tokens: int


class LogprobCache:
    """Least-recently-used map from trie node to the log-probabilities read there."""

    def __init__(self, capacity: int) -> None:
        if capacity < SMALLEST_CACHE:
            raise ValueError(
                f"expected a capacity of at least {SMALLEST_CACHE} nodes, got {capacity}"
            )
        self.capacity = capacity
        self._entries: OrderedDict[Path, dict[int, float]] = OrderedDict()

    def __contains__(self, node: Path) -> bool:
        return node in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, node: Path) -> dict[int, float] | None:
        """The node's log-probabilities, now the most recently used, or None."""
        if node in self._entries:
            self._entries.move_to_end(node)
        return self._entries.get(node)

    def put(self, node: Path, logprobs: Mapping[int, float]) -> None:
        """Add log-probabilities to a node, evicting the least recently used one beyond the capacity."""
        self._entries.setdefault(node, {}).update(logprobs)
        self._entries.move_to_end(node)
        if len(self._entries) > self.capacity:
            self._entries.popitem(last=False)


def forward_cost(prompt_tokens: int, depth: int, block_size: int) -> int:
    """Tokens a request ``depth`` tokens below the root must run when the prompt's whole blocks are cached.

    At least one token is always run: its logits are what is asked for.
    """
    total = prompt_tokens + depth
    return total - min(prompt_tokens, total - 1) // block_size * block_size


# --- scoring one forecast -------------------------------------------------------------------------


@dataclass
class _Bounds:
    """What is known of a distribution after some nodes were read: weights, their L1 uncertainty, and what is unread."""

    weights: np.ndarray
    uncertainty: float = 0.0
    unread: list[tuple[float, Path]] = field(default_factory=list)


@dataclass
class ForecastScoring:
    """The state of scoring one prompt: which nodes were read, what they say, what to read next."""

    prompt: Path
    trie: NumberTrie
    tokenizer: NumberTokenizer
    cache: LogprobCache
    requests: int = 0
    forward_tokens: int = 0
    spent: int = 0

    def __post_init__(self) -> None:
        # A node that is evicted while others are read would count as never read.
        if self.cache.capacity < len(self.trie.children):
            raise ValueError(
                f"expected a cache for {len(self.trie.children)} nodes, got {self.cache.capacity}"
            )

    def record(self, node: Path, reply: Reply, wanted: Iterable[int]) -> None:
        """Take in one reply.

        Raises:
            ScoringError: a wanted log-probability is missing, NaN, or above 0 by more than rounding.
        """
        self.requests += 1
        self.forward_tokens += reply.forward_tokens
        for token in wanted:
            value = reply.logprobs.get(token)
            if value is None:
                raise ScoringError("the engine returned no log-probability for a requested token")
            if math.isnan(value) or value > ROUNDING:
                raise ScoringError(f"the engine returned the log-probability {value}")
        self.cache.put(node, {token: min(0.0, reply.logprobs[token]) for token in wanted})

    def digit_bounds(self, node: Path, logprobs: Mapping[int, float]) -> tuple[float, float]:
        """Lower and upper bound of the probability that a digit follows ``node``."""
        digits = self.tokenizer.digit_ids
        seen = sum(math.exp(logprobs[t]) for t in digits if t in logprobs)
        low = min(1.0, seen)
        if all(t in logprobs for t in digits):
            return low, low
        ended = sum(
            math.exp(value)
            for token, value in logprobs.items()
            if token not in self.tokenizer.digit_set
        )
        return low, max(low, min(1.0, 1.0 - ended))

    def bounds(self) -> _Bounds:
        """Weights of all integers from what was read, and how far they can be off."""
        result = _Bounds(np.zeros(SUPPORT_SIZE))
        unread_numbers: list[tuple[int, float]] = []
        stopped = reached = 0.0
        stack: list[tuple[Path, float]] = [((), 1.0)]
        while stack:
            node, mass = stack.pop()
            number = self.trie.numbers.get(node)
            logprobs = self.cache.get(node)
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
        # An unread leaf keeps the average share of its mass that stops; it can be off by the larger rest.
        share = stopped / reached if reached > 0 else 1.0
        for number, mass in unread_numbers:
            result.weights[number] = mass * share
            result.uncertainty += mass * max(share, 1.0 - share)
        return result

    def select(
        self, tolerance: float, *, last: bool, block_size: int | None, budget: int | None
    ) -> list[Path]:
        """Nodes to read next: the heaviest unread ones, until the rest is within the tolerance or the budget is spent.

        In the last round everything below a selected inner node is read with it.
        """
        if () not in self.cache:
            return [()]
        known = self.bounds()
        if tolerance == 0:
            deeper = [node for _, node in known.unread for node in (node, *self.trie.below(node))]
            return deeper if last else [node for _, node in known.unread]
        left = sum(mass for mass, _ in known.unread)
        scale = max(float(known.weights.sum()), left)
        # Reading an inner node uncovers leaves: half of the tolerance is kept for those of them left unread.
        inner = any(self.trie.children[node] for _, node in known.unread)
        allowed = tolerance * scale * (0.5 if inner and not last else 1.0)
        chosen: list[Path] = []
        for mass, node in sorted(known.unread, key=lambda item: (-item[0], item[1])):
            if left <= allowed or mass <= 0:
                break
            nodes = [node, *self.trie.below(node)] if last else [node]
            cost = (
                sum(forward_cost(len(self.prompt), len(n), block_size) for n in nodes)
                if block_size
                else 0
            )
            if budget is not None and self.spent + cost > budget:
                break
            self.spent += cost
            chosen += nodes
            left -= mass
        return chosen

    def result(self) -> ScoringResult:
        """The distribution and its certificate.

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
    scorings: Sequence[ForecastScoring],
    engine: Engine,
    *,
    tolerance: float,
    block_size: int | None = None,
    block_budget: int | None = None,
) -> list[ScoringResult | ScoringError]:
    """Score many prompts in at most ``MAX_ROUNDS`` engine calls.

    Args:
        scorings: one per prompt; nodes already in their caches are not asked for again.
        engine: answers a list of requests, in order.
        tolerance: wanted ``residual_mass``; 0 reads every node whatever it costs.
        block_size: tokens per prefix cache block, None when the engine has no prefix cache.
        block_budget: forward tokens allowed beyond the prompt, in blocks; None for no bound.

    Returns:
        For each scoring its result, or the ``ScoringError`` that concerns it alone. An exception of
        the engine itself passes through: it concerns all of them.
    """
    errors: dict[int, ScoringError] = {}
    budget = (
        None
        if tolerance == 0 or block_budget is None or block_size is None
        else block_budget * block_size
    )
    for round_number in range(1, MAX_ROUNDS + 1):
        batch: list[tuple[int, Path, Request]] = []
        for index, scoring in enumerate(scorings):
            if index in errors:
                continue
            for node in scoring.select(
                tolerance, last=round_number == MAX_ROUNDS, block_size=block_size, budget=budget
            ):
                batch += [
                    (index, node, Request(scoring.prompt + node, ids))
                    for ids in scoring.tokenizer.wanted_ids(
                        scoring.trie, node, exhaustive=tolerance == 0
                    )
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
    results: list[ScoringResult | ScoringError] = []
    for index, scoring in enumerate(scorings):
        if index in errors:
            results.append(errors[index])
            continue
        try:
            results.append(scoring.result())
        except ScoringError as error:
            results.append(error)
    return results
