"""Tokenise the integers 0-100 behind a prompt: their token paths form a trie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Protocol

from scoring.distribution import SUPPORT_SIZE

TokenPath = tuple[int, ...]

# vLLM's bound on SamplingParams.logprob_token_ids (vllm/sampling_params.py).
MAX_TOKEN_IDS: Final = 128
# How an answer usually goes on after its number. Those that are one token of the vocabulary are
# asked for.
ENDINGS: Final = (
    "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|return|>", "<|end|>", "</s>", "<|endoftext|>",
    "\n", "\n\n", "%", " %", ".", ",", " ", ")", " (", ";", ":", "/", " percent", ".\n", "%.",
    "**", '"', " -", "-", "]", "}",
)  # fmt: skip
# The part of a prompt behind which the numbers are tokenised: longer than any token, short enough
# for 101 encodings.
TAIL_CHARACTERS: Final = 48
# Tails repeat from prompt to prompt; this only bounds callers whose tails never do.
MAX_CACHED_TRIES: Final = 64


class TokenizationError(Exception):
    """The tokenizer does not give every integer 0-100 a spelling of its own."""


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


@dataclass(frozen=True)
class NumberTrie:
    """The token paths of ``str(0)`` … ``str(100)`` in one place of a prompt.

    Args:
        context: token ids of the prompt's tail that all paths share (they end the prompt).
        paths: 101 token paths after ``context``; entry ``n`` spells ``n``.
    """

    context: TokenPath
    paths: tuple[TokenPath, ...]

    @cached_property
    def numbers(self) -> dict[TokenPath, int]:
        """TokenPath to integer."""
        return {path: n for n, path in enumerate(self.paths)}

    @cached_property
    def children(self) -> dict[TokenPath, tuple[int, ...]]:
        """Every node, from the root ``()`` to the leaves, to its onward token ids."""
        found: dict[TokenPath, set[int]] = {(): set()}
        for path in self.paths:
            for depth, token in enumerate(path):
                found.setdefault(path[:depth], set()).add(token)
                found.setdefault(path[: depth + 1], set())
        return {node: tuple(sorted(tokens)) for node, tokens in found.items()}

    @property
    def single_token(self) -> bool:
        """Whether every integer is one token, so that one request reads them all."""
        return all(len(path) == 1 for path in self.paths)

    def below(self, node: TokenPath) -> list[TokenPath]:
        """All nodes strictly below ``node``."""
        depth = len(node)
        return [other for other in self.children if len(other) > depth and other[:depth] == node]


def common_prefix(sequences: Sequence[Sequence[int]]) -> TokenPath:
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
    # A path may be another's prefix ("1" of "10") but not empty: then give back a token.
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
    """Place the integers 0-100 behind prompts; know the tokenizer's digit tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._tries: dict[tuple[str, str], NumberTrie] = {}
        self._suffixes: dict[bool, TokenPath] = {}

    @cached_property
    def digit_ids(self) -> tuple[int, ...]:
        """All token ids that begin with an ASCII digit, shortest first, then by id."""
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
    def digit_set(self) -> frozenset[int]:
        """``digit_ids`` for membership tests."""
        return frozenset(self.digit_ids)

    @cached_property
    def ending_ids(self) -> tuple[int, ...]:
        """Ids of tokens that usually follow a number, likeliest first, special last."""
        encoded = [self.encode(text) for text in ENDINGS]
        ids = [ids[0] for ids in encoded if len(ids) == 1]
        ids += [int(i) for i in getattr(self.tokenizer, "all_special_ids", ())]
        return tuple(i for i in dict.fromkeys(ids) if i not in self.digit_set)

    def place(
        self,
        text: str,
        lead: str = "",
        *,
        add_special_tokens: bool = False,
        token_ids: TokenPath | None = None,
    ) -> tuple[TokenPath, NumberTrie]:
        """Tokenise a prompt and find the trie of the numbers behind it.

        The numbers are tokenised behind the prompt's tail only. They follow the whole prompt in the
        same way where it ends in the tokens of the tail (docs/scoring.md); elsewhere all 101
        integers are tokenised behind the whole prompt.

        ``lead`` separates the prompt (``text``) from the number: a space, or nothing. ``token_ids``
        are the tokens of ``text`` where they are known.

        Returns:
            Token ids of the prompt, with every token that all numbers share, and the trie.

        Raises:
            TokenizationError: no unambiguous spelling of the integers exists here.
        """
        if token_ids is None:
            token_ids = tuple(self.encode(text, add_special_tokens=add_special_tokens))
        tail = text[-TAIL_CHARACTERS:]
        trie = self.trie(tail, lead)
        alone = tuple(self.encode(tail))
        kept = len(common_prefix([alone, trie.context]))
        # A number may change the tokens before it; the one where the tail was cut says nothing.
        changed = len(alone) - kept
        compared = changed + min(4, max(1, kept - 1))
        if token_ids[-compared:] == alone[-compared:]:
            return token_ids[: len(token_ids) - changed] + trie.context[kept:], trie
        trie = self._checked_trie(text + lead, add_special_tokens=add_special_tokens)
        return trie.context, trie

    def trie(self, tail: str, lead: str = "") -> NumberTrie:
        """Return the trie of the numbers behind ``tail`` and ``lead``, cached."""
        trie = self._tries.get((tail, lead))
        if trie is None:
            trie = self._checked_trie(tail + lead)
            if len(self._tries) >= MAX_CACHED_TRIES:
                self._tries.clear()
            self._tries[tail, lead] = trie
        return trie

    def _checked_trie(self, text: str, *, add_special_tokens: bool = False) -> NumberTrie:
        """Build the trie behind ``text``; check that its paths read back as numbers."""
        trie = trie_from_encodings(
            [
                self.encode(text + str(n), add_special_tokens=add_special_tokens)
                for n in range(SUPPORT_SIZE)
            ]
        )
        for n, path in enumerate(trie.paths):
            spelled = self.tokenizer.decode([*trie.context[-8:], *path])
            if not spelled.endswith(str(n)):
                raise TokenizationError(f"the tokens of {n} read back as {spelled[-12:]!r}")
        return trie

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Token ids of ``text``, without an EOS that the tokenizer appends to it."""
        ids = list(self.tokenizer.encode(text, add_special_tokens=add_special_tokens))
        return ids[: len(ids) - len(self._appended(add_special_tokens))]

    def _appended(self, add_special_tokens: bool) -> TokenPath:
        """Token ids appended to every text: the common end of two encoded digits."""
        if add_special_tokens not in self._suffixes:
            ids = [self.tokenizer.encode(d, add_special_tokens=add_special_tokens) for d in "01"]
            alike = common_prefix([one[::-1] for one in ids])[::-1]
            # A vocabulary without digits writes both as the same unknown token.
            self._suffixes[add_special_tokens] = () if len(alike) == len(ids[0]) else alike
        return self._suffixes[add_special_tokens]

    def wanted_ids(
        self, trie: NumberTrie, node: TokenPath, *, exhaustive: bool = False
    ) -> list[tuple[int, ...]]:
        """Choose the token ids to ask for at a node, at most ``MAX_TOKEN_IDS`` a request.

        At the root only the ways on matter. Elsewhere the digit tokens do: all of them when they
        fit into one request or when ``exhaustive``; else the likeliest, with the endings.
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
