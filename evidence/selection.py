"""Choose ranked passages: no near-duplicates, a bounded share an article."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from operator import eq
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from evidence.encoders import Vectors
from questions.characters import WORD

Item = TypeVar("Item")
# Returns the articles (ids) and vectors of passages (ids).
Look = Callable[[Sequence[int]], tuple[npt.NDArray[np.int64], Vectors]]

# Candidates whose texts are all compared. Among later ones, copies of a passage are told by their
# vectors alone, where the texts of this many have been compared, and where the nearest text that is
# no copy is so many times as far from the passage (by cosine) as the farthest copy.
ALWAYS_COMPARED: Final = 100
COPIES_COMPARED: Final = 8
APART: Final = 3
# Words in a shingle.
WIDTH: Final = 4
# Candidates looked at, and texts read, together.
SLICE: Final = 300
READ: Final = 32

_WORDS: Final = re.compile(rf"{WORD}+")
# In ASCII text the same, twice as fast.
_ASCII_WORDS: Final = "".join(c if re.match(WORD, c) else " " for c in map(chr, range(128)))


@dataclass(eq=False)
class _Kept:
    """A passage that repeats no better one, or the newest of its copies.

    Another kept passage has at most ``most`` of its shingles, ``words``. ``vector`` is that of the
    best. Of ``copies`` texts that were found to repeat it, ``lowest`` is the least similarity to
    that, ``stranger`` the greatest of a text that was found not to.
    """

    passage: int
    article: int
    words: frozenset[int]
    in_order: Sequence[str]
    vector: Vectors | None
    most: int = 0
    copies: int = 0
    lowest: float = np.inf
    stranger: float = -np.inf


class DistinctPassages:
    """Keep the candidates that repeat no better one; their list, best first, may grow.

    Texts repeat each other from a containment of ``threshold`` on. An overlap of neighbouring
    passages (a fifth of the text) is below the default; a copied paragraph is not. A newer text
    takes the place of a kept older one that it repeats: an updated figure must not lose to the page
    it was copied from.

    Args:
        threshold: containment (0-1), see above.
        dates: each article's place in the order of their revisions' times.
        read: returns article (id) and text of passages (ids).
        look: see ``Look``; without it every text is compared.
    """

    def __init__(
        self,
        threshold: float,
        dates: Mapping[int, int],
        read: Callable[[Sequence[int]], Mapping[int, tuple[int, str]]],
        look: Look | None = None,
    ) -> None:
        self.threshold, self.dates, self.read, self.look = threshold, dates, read, look
        self.kept: list[_Kept] = []
        self._seen: list[int] = []
        # For a shingle the kept passages that hold it, as bits by their number.
        self._holders: dict[int, int] = {}
        # No kept passage with words has fewer shingles.
        self._fewest: float = inf
        # A passage is read, and its shingles are made, once, whatever its place in later lists.
        self._texts: dict[int, tuple[int, str]] = {}
        self._shingles: dict[int, frozenset[int]] = {}

    @property
    def passages(self) -> list[int]:
        """The kept passages (ids), best first."""
        return [kept.passage for kept in self.kept]

    @property
    def articles(self) -> list[int]:
        """The articles (ids) of the kept passages."""
        return [kept.article for kept in self.kept]

    def update(self, candidates: Sequence[int]) -> None:
        """Judge candidates (ids, best first), only the new ones of a list that has grown."""
        if list(candidates[: len(self._seen)]) != self._seen:
            self._seen, self.kept, self._holders, self._fewest = [], [], {}, inf
        for start in range(len(self._seen), len(candidates), SLICE):
            self._judge(candidates[start : start + SLICE], max(0, ALWAYS_COMPARED - start))
        self._seen = list(candidates)

    def _judge(self, ids: Sequence[int], surely: int) -> None:
        """Judge candidates; the texts of the first ``surely`` of them are all compared."""
        likely = _LikelyCopies(self, ids) if self.look else None
        for row, passage in enumerate(ids):
            if likely and row >= surely and likely.copies[row]:
                continue
            if passage not in self._texts:
                left = range(row, len(ids))
                unread = [ids[n] for n in left if n < surely or not (likely and likely.copies[n])]
                unread = [i for i in unread if i not in self._texts]
                self._texts.update(self.read(unread[:READ]))
            alike = self._compare(passage, likely.vectors[row] if likely else None)
            if likely:
                likely.note(row, alike)

    def _compare(self, passage: int, vector: Vectors | None) -> list[_Kept]:
        """Keep or drop a candidate by its text; return the kept passages it repeats."""
        article, text = self._texts[passage]
        in_order = _words(text)
        if one := self._repeated(in_order, self.dates[article]):
            return [one]
        if passage not in self._shingles:
            self._shingles[passage] = _runs(in_order)
        words = self._shingles[passage]
        shared = self._shared(words)
        alike = [
            place
            for place in sorted(shared)
            if shared[place] >= self.threshold * min(len(words), len(self.kept[place].words))
        ]
        if not alike:
            place = len(self.kept)
            self.kept.append(_Kept(passage, article, words, in_order, vector))
            self._hold(place, words)
        else:
            place, kept = alike[0], self.kept[alike[0]]
            # A sentence of an older, longer text does not replace the whole of it.
            newer = self.dates[article] > self.dates[kept.article]
            if not newer or shared[place] < self.threshold * len(kept.words):
                return [self.kept[place] for place in alike]
            for word in kept.words - words:
                self._holders[word] ^= 1 << place
            self._hold(place, words - kept.words)
            kept.passage, kept.article = passage, article
            kept.words, kept.in_order = words, in_order
        self._fewest = min(self._fewest, len(words) or self._fewest)
        for other in shared.keys() - {place}:
            for kept in (self.kept[place], self.kept[other]):
                kept.most = max(kept.most, shared[other])
        return [self.kept[place] for place in alike]

    def _repeated(self, words: Sequence[str], date: int) -> _Kept | None:
        """Return the only kept passage that a text repeats, if that is sure word by word.

        Enough shingles are where the kept passage has them, those left are too few for another one,
        and the text is no newer.
        """
        last = len(words) - WIDTH
        tried = (tuple(words[n : n + WIDTH]) for n in (last // 2, last // 4, last) if n >= 0)
        holders = next(filter(None, map(self._holders.get, map(hash, tried))), 0)
        if not holders:
            return None
        kept = self.kept[holders.bit_length() - 1]
        if date > self.dates[kept.article]:
            return None
        same = bytes(map(eq, words, kept.in_order)).split(b"\0")
        found = sum(len(run) - WIDTH + 1 for run in same if len(run) >= WIDTH)
        shared = len(kept.words) - (len(kept.in_order) - WIDTH + 1 - found)
        others = len(words) - WIDTH + 1 - found + kept.most
        sure = shared >= self.threshold * len(kept.words)
        return kept if sure and others < self.threshold * min(shared, self._fewest) else None

    def _hold(self, place: int, words: frozenset[int]) -> None:
        bit, holders = 1 << place, self._holders
        for word in words:
            holders[word] = holders.get(word, 0) | bit

    def _shared(self, words: frozenset[int]) -> dict[int, int]:
        """Count for each kept passage (by number) the shingles that it holds."""
        shared: dict[int, int] = {}
        for holders, count in Counter(map(self._holders.get, words)).items():
            left = holders or 0
            while left:
                place = left.bit_length() - 1
                shared[place] = shared.get(place, 0) + count
                left ^= 1 << place
        return shared


@dataclass(frozen=True)
class Places:
    """The places for a question's passages, and how many of them one article may fill."""

    most: int
    per_article: int

    def fill(self, passages: Sequence[Item], articles: Sequence[int]) -> list[Item]:
        """Take the best passages, given with the article (id) of each."""
        taken: Counter[int] = Counter()
        chosen: list[Item] = []
        for passage, article in zip(passages, articles, strict=True):
            if taken[article] < self.per_article:
                taken[article] += 1
                chosen.append(passage)
        return chosen[: self.most]

    def filled_by(self, distinct: DistinctPassages) -> bool:
        """Tell whether there are passages for all places."""
        return len(self.fill(distinct.passages, distinct.articles)) == self.most


class _LikelyCopies:
    """Tell copies of kept passages by their vectors alone.

    ``copies`` marks those that are no newer and at least as similar as a text that was found to
    repeat the passage, where texts that were found not to are well apart from it.
    """

    def __init__(self, distinct: DistinctPassages, ids: Sequence[int]) -> None:
        assert distinct.look
        self.distinct = distinct
        owners, self.vectors = distinct.look(ids)
        dates = map(distinct.dates.__getitem__, owners.tolist())
        self.dates = np.fromiter(dates, np.int64, len(owners))
        self.kept: list[_Kept] = []
        # Rows are kept passages, columns candidates.
        self.similar = np.empty((0, len(ids)), np.float32)
        self.marks = np.empty((0, len(ids)), np.bool_)
        self.copies = np.zeros(len(ids), np.bool_)
        self._add([kept for kept in distinct.kept if kept.copies >= COPIES_COMPARED])

    def note(self, row: int, alike: Sequence[_Kept]) -> None:
        """Learn from a compared candidate and the kept ones it repeats."""
        for kept in alike:
            assert kept.vector is not None
            kept.copies += 1
            kept.lowest = min(kept.lowest, float(self.vectors[row] @ kept.vector))
        for place, similarity in enumerate(self.similar[:, row].tolist()):
            kept = self.kept[place]
            if kept in alike:
                self._mark(place)
            elif similarity > kept.stranger:
                kept.stranger = similarity
                self._mark(place)
        if added := [kept for kept in alike if kept.copies == COPIES_COMPARED]:
            for kept in added:
                others = [one.vector for one in self.distinct.kept if one is not kept]
                if others:
                    kept.stranger = float(_products([kept.vector], others).max())
            self._add(added)

    def _add(self, kept: Sequence[_Kept]) -> None:
        if kept:
            found = _products([one.vector for one in kept], self.vectors)
            self.similar = np.concatenate([self.similar, found])
            self.marks = np.concatenate([self.marks, np.zeros(found.shape, np.bool_)])
            self.kept += kept
            for place in range(len(self.kept) - len(kept), len(self.kept)):
                self._mark(place)

    def _mark(self, place: int) -> None:
        """Tell anew which candidates are copies of a kept passage (by number)."""
        kept, marks = self.kept[place], self.marks[place]
        if 1 - kept.stranger >= APART * (1 - kept.lowest):
            # None is unmarked: ``lowest`` has sunk, the date has risen.
            np.greater_equal(self.similar[place], kept.lowest, out=marks)
            marks &= self.dates <= self.distinct.dates[kept.article]
            self.copies |= marks
        elif marks.any():
            marks[:] = False
            self.copies = np.any(self.marks, axis=0)


def _products(
    some: Sequence[Vectors | None], others: Vectors | Sequence[Vectors | None]
) -> Vectors:
    """Multiply vectors with others in small blocks, for which no threads are started."""
    left, right = np.array(some), np.asarray(others)
    if len(left) == 1:
        return (right @ left[0])[None]
    return np.hstack([left @ right[n : n + 32].T for n in range(0, len(right), 32)])


def shingles(text: str) -> frozenset[int]:
    """Hash all runs of four words of a text (lower case, punctuation ignored)."""
    return _runs(_words(text))


def _words(text: str) -> list[str]:
    folded = text.casefold()
    return folded.translate(_ASCII_WORDS).split() if folded.isascii() else _WORDS.findall(folded)


def _runs(words: Sequence[str]) -> frozenset[int]:
    if len(words) <= WIDTH:
        return frozenset([hash(tuple(words))] if words else [])
    return frozenset(map(hash, zip(*(words[start:] for start in range(WIDTH)), strict=False)))
