"""Choose ranked passages: no near-duplicates, a bounded share an article."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from questions.characters import WORD
from scoring.prompts import Passage


def choose_passages(candidates: Sequence[Passage], *, per_article: int, most: int) -> list[Passage]:
    """Take the best ``most`` candidates, at most ``per_article`` of each article."""
    taken: Counter[tuple[str, str]] = Counter()
    chosen: list[Passage] = []
    for passage in candidates:
        article = (passage.source, passage.title)
        if taken[article] < per_article:
            taken[article] += 1
            chosen.append(passage)
    return chosen[:most]


def drop_near_duplicates(
    texts: Sequence[str], threshold: float = 0.6, *, dates: Sequence[str] | None = None
) -> list[int]:
    """Return the indices of the texts that repeat no kept one.

    Texts repeat each other from a containment of ``threshold`` on.

    An overlap of neighbouring passages (a fifth of the text) is below the default; a copied
    paragraph is not. With ``dates`` (ISO, one a text) a newer text takes the place of a kept older
    one that it repeats: an updated figure must not lose to the page it was copied from.
    """
    kept: list[int] = []
    sets: list[frozenset[int]] = []
    for index, text in enumerate(texts):
        words = shingles(text)
        alike = (n for n, other in enumerate(sets) if containment(words, other) >= threshold)
        place = next(alike, None)
        if place is None:
            kept.append(index)
            sets.append(words)
        elif (
            dates
            and dates[index] > dates[kept[place]]
            # A sentence of an older, longer text does not replace the whole of it.
            and len(words & sets[place]) >= threshold * len(sets[place])
        ):
            kept[place], sets[place] = index, words
    return kept


def shingles(text: str, width: int = 4) -> frozenset[int]:
    """Hash all runs of ``width`` words of a text (lower case, punctuation ignored)."""
    words = re.findall(rf"{WORD}+", text.casefold())
    starts = range(max(1, len(words) - width + 1) if words else 0)
    return frozenset(hash(tuple(words[i : i + width])) for i in starts)


def containment(a: frozenset[int], b: frozenset[int]) -> float:
    """Return the share (0–1) of the smaller shingle set found in the larger.

    Broder (1997), "On the resemblance and containment of documents".
    """
    smaller = min(len(a), len(b))
    return len(a & b) / smaller if smaller else 0.0
