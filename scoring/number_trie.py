"""Tokenise the integers 0-100 behind a prompt: their token paths form a trie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol

from scoring.distribution import SUPPORT_SIZE

TokenPath = tuple[int, ...]

# "0.75" is a share of one, not a percentage: read as 0 it would be the worst misreading there is.
SHARES: Final = ("0.5", "0,5")
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


@dataclass(frozen=True)
class NumberTrie:
    """The token paths of ``str(0)`` … ``str(100)`` in one place of a prompt.

    Args:
        context: token ids of the prompt's tail that all paths share (they end the prompt).
        paths: 101 token paths after ``context``; entry ``n`` spells ``n``.
        refused: paths that go on from an integer's and make it another number ("0.").
    """

    context: TokenPath
    paths: tuple[TokenPath, ...]
    refused: tuple[TokenPath, ...] = ()

    @cached_property
    def numbers(self) -> dict[TokenPath, int]:
        """TokenPath to integer."""
        return {path: n for n, path in enumerate(self.paths)}

    @cached_property
    def asked(self) -> dict[TokenPath, tuple[int, ...]]:
        """Every node to read, from the root ``()``, to the token ids to ask for there.

        They are at most 103, which is within vLLM's bound of 128 (``logprob_token_ids``). A node
        that is absent is the end of its number, whatever follows.
        """
        found: dict[TokenPath, set[int]] = {}
        for path in (*self.paths, *self.refused):
            for depth, token in enumerate(path):
                found.setdefault(path[:depth], set()).add(token)
        return {node: tuple(sorted(tokens)) for node, tokens in found.items()}

    @cached_property
    def size(self) -> int:
        """Number of nodes, from the root to the ends of the integers."""
        return len({*self.asked, *self.paths})

    @property
    def single_token(self) -> bool:
        """Whether every integer is one token, so that one request reads them all."""
        return all(len(path) == 1 for path in self.paths)

    @cached_property
    def integers(self) -> dict[TokenPath, list[int]]:
        """Every node to read, to the integers whose paths begin with it."""
        return {
            node: [n for n, path in enumerate(self.paths) if path[: len(node)] == node]
            for node in self.asked
        }


def common_prefix(sequences: Sequence[Sequence[int]]) -> TokenPath:
    """Longest token sequence that all start with."""
    shortest, longest = min(map(tuple, sequences)), max(map(tuple, sequences))
    length = next(
        (i for i, (a, b) in enumerate(zip(shortest, longest, strict=False)) if a != b),
        min(len(shortest), len(longest)),
    )
    return tuple(shortest[:length])


def trie_from_encodings(
    encodings: Sequence[Sequence[int]], shares: Sequence[Sequence[int]] = ()
) -> NumberTrie:
    """Build the trie from 101 encodings of the same text followed by 0 … 100.

    ``shares`` are encodings of the same text followed by each of ``SHARES``.

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
    zero = (*context, *paths[0])
    found = {
        tuple(ids[len(context) : len(zero) + 1])
        for ids in shares
        if len(ids) > len(zero) and tuple(ids[: len(zero)]) == zero
    }
    return NumberTrie(context, paths, tuple(sorted(found)))


class NumberTokenizer:
    """Place the integers 0-100 behind prompts."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._tries: dict[tuple[str, str], NumberTrie] = {}
        self._suffixes: dict[bool, TokenPath] = {}

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
        spellings = [*map(str, range(SUPPORT_SIZE)), *SHARES]
        encoded = [self.encode(text + s, add_special_tokens=add_special_tokens) for s in spellings]
        trie = trie_from_encodings(encoded[:SUPPORT_SIZE], encoded[SUPPORT_SIZE:])
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
