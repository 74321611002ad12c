"""Cut titled sections into overlapping passages of a given size in tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from scoring.prompts import Passage

TokenCounter = Callable[[Sequence[str]], Sequence[int]]
# A piece of text that is not cut further, with its size in tokens.
Unit = tuple[str, int]

_SENTENCE_END = re.compile(r"(?<=[.!?。！？;])[\"'”’)\]]*\s+(?=\S)|(?<=[。！？])")
# Runs of one alphabet; a mark, an underscore and every character from the Chinese radicals on
# count alone.
_WORD = re.compile(r"[A-Za-z0-9]+|[^\W_A-Za-z0-9\u2e80-\U0010ffff]+|\S")


def estimate_tokens(texts: Sequence[str]) -> list[int]:
    """Estimate the size of each text in tokens, without a tokenizer.

    One per 6 characters of a word begun, one per punctuation mark: on the high side for English
    with a WordPiece vocabulary. Other alphabets count one per two characters, Chinese, Japanese
    and Korean one per character.
    """
    return [
        sum(-(-len(word) // (6 if word.isascii() else 2)) for word in _WORD.findall(text))
        for text in texts
    ]


def cut_passages(
    sections: Iterable[tuple[str, str]],
    *,
    size: int,
    overlap: int,
    count_tokens: TokenCounter = estimate_tokens,
) -> list[Passage]:
    """Cut (title, text) sections into passages of at most ``size`` tokens.

    Neighbours in a section share up to ``overlap`` tokens. A passage never spans two sections, and
    nothing is left out. Cuts fall between sentences; a sentence longer than ``size`` is cut between
    words, a word longer than ``size`` within. Counts of joined units are sums, which for word-based
    tokenizers is the count of the joined text.

    Raises:
        ValueError: ``overlap`` is not smaller than ``size``.
    """
    if size < 1 or not 0 <= overlap < size:
        raise ValueError(
            f"passage size {size} and overlap {overlap} tokens: expected 0 <= overlap < size"
        )

    def count(texts: Sequence[str]) -> list[int]:
        # At least 1: a tokenizer may count 0 for characters it drops, and a passage of such texts
        # would have no end.
        counts = zip(texts, count_tokens(texts), strict=True)
        return [max(n, 1) if text.strip() else n for text, n in counts]

    titled = [(title, _sentences(text)) for title, text in sections]
    counts = iter(count([sentence for _, sentences in titled for sentence in sentences]))
    passages: list[Passage] = []
    for title, sentences in titled:
        units: list[Unit] = []
        for sentence in sentences:
            tokens = next(counts)
            units += [(sentence, tokens)] if tokens <= size else _split(sentence, size, count)
        for group in _pack(units, size, overlap):
            text = "".join(text for text, _ in group).strip()
            passages.append(Passage(section=title, text=text, tokens=sum(n for _, n in group)))
    return passages


def _sentences(text: str) -> list[str]:
    """Split a text into sentences and lines, each with the whitespace that follows it."""
    sentences: list[str] = []
    for line in re.split(r"(?<=\n)", text):
        ends = [0, *(match.end() for match in _SENTENCE_END.finditer(line)), len(line)]
        sentences += [line[start:end] for start, end in pairwise(ends)]
    return [sentence for sentence in sentences if sentence.strip()]


def _split(sentence: str, size: int, count: TokenCounter) -> list[Unit]:
    """Split an over-long sentence at spaces, an over-long word at characters."""
    words = re.findall(r"\S+\s*", sentence)
    units: list[Unit] = []
    for word, tokens in zip(words, count(words), strict=True):
        if tokens <= size:
            units.append((word, tokens))
            continue
        width = max(1, len(word) * size // tokens)
        while True:  # halve until every piece fits; a single character cannot be halved
            pieces = [word[start : start + width] for start in range(0, len(word), width)]
            counts = count(pieces)
            if width == 1 or max(counts) <= size:
                break
            width = -(-width // 2)
        units += zip(pieces, counts, strict=True)
    return units


def _pack(units: Sequence[Unit], size: int, overlap: int) -> list[list[Unit]]:
    """Group units up to ``size`` tokens, each group with some of the last one."""
    groups: list[list[Unit]] = []
    current: list[Unit] = []
    total = fresh = 0  # fresh: units in `current` that are not overlap
    for unit in units:
        if current and total + unit[1] > size and fresh:
            groups.append(current)
            tail: list[Unit] = []
            left = min(overlap, size - unit[1])
            for previous in reversed(current):
                if previous[1] > left:
                    break
                tail.append(previous)
                left -= previous[1]
            current, fresh = tail[::-1], 0
            total = sum(tokens for _, tokens in current)
        current.append(unit)
        total += unit[1]
        fresh += 1
    if current and fresh:
        groups.append(current)
    return groups
