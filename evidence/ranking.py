"""Rank stored passages by words (BM25), by meaning (embeddings), or both."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from database import Database
from evidence.encoders import Embedder, Vectors
from evidence.ingestion import embed_missing
from evidence.queries import match_query
from evidence.selection import DistinctPassages
from evidence.settings import RetrievalSettings

# Candidates (passage id, score), best first.
Ranking = list[tuple[int, float]]
Item = TypeVar("Item", bound=Hashable)

# Word matches that are embedded for a question in a store that is not embedded as a whole; further
# ones only where they are no near-duplicates.
MOST_EMBEDDED: Final = 1600
# Times as deep as asked a ranking is made: a search costs the same, and often more is asked.
DEEPER: Final = 64

# Reciprocal rank fusion: 1 / (60 + rank), Cormack, Clarke and Büttcher (SIGIR 2009).
FUSION_CONSTANT: Final = 60


class VectorIndex:
    """Hold all embeddings of one model; ``refresh`` reads only what is new.

    Exact search: one matrix product a block. 100,000 vectors of 384 float32 take 154 MB.
    """

    def __init__(self, database: Database, model: str) -> None:
        self.database = database
        self.model = model
        self.last_pack = 0
        # Passage ids, article ids, vectors.
        self.blocks: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Vectors]] = []
        # Of each block the order of its passage ids, and the ids in it.
        self._orders: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []

    def refresh(self) -> None:
        """Append the embeddings stored since the last call."""
        passages, articles, vectors, self.last_pack = self.database.articles.embeddings_after(
            self.model, self.last_pack
        )
        if len(passages):
            self.blocks.append((passages, articles, vectors))
            order = np.argsort(passages)
            self._orders.append((order, passages[order]))

    def count(self, articles: Sequence[int]) -> int:
        """Count the passages of articles (ids) that are embedded, each once."""
        allowed = np.unique(np.asarray(articles, dtype=np.int64))
        found = [passages[np.isin(owners, allowed)] for passages, owners, _ in self.blocks]
        return len(np.unique(np.concatenate(found))) if found else 0

    def search(
        self,
        queries: Vectors,
        articles: Sequence[int],
        k: int,
        *,
        only: Sequence[Sequence[int]] | None = None,
    ) -> list[Ranking]:
        """Return for each query (m, dimension) the best ``k`` passages, by cosine.

        ``only`` names the passages that each query may find; all when left out.
        """
        allowed = np.unique(np.asarray(articles, dtype=np.int64))
        parts: list[list[tuple[npt.NDArray[np.int64], Vectors]]] = [[] for _ in range(len(queries))]
        for passages, owners, vectors in self.blocks:
            # In this order the larger factor is read in the order of its memory, in half the time.
            scores = np.ascontiguousarray((vectors @ queries.T).T)
            scores[:, ~np.isin(owners, allowed)] = -np.inf
            for row, ids in enumerate(only or ()):
                scores[row, ~np.isin(passages, ids)] = -np.inf
            top = min(k, len(passages))
            best = np.argpartition(-scores, top - 1, axis=1)[:, :top]
            for row, columns in enumerate(best):
                found = columns[scores[row, columns] > -np.inf]
                parts[row].append((passages[found], scores[row, found]))
        return [_best(part, k) for part in parts]

    def look(self, ids: Sequence[int]) -> tuple[npt.NDArray[np.int64], Vectors]:
        """Return article ids and vectors of passages (ids), all of them embedded."""
        wanted = np.asarray(ids, dtype=np.int64)
        owners = np.empty(len(ids), dtype=np.int64)
        found = np.empty((len(ids), self.blocks[0][2].shape[1]), dtype=np.float32)
        for (_, articles, vectors), (order, stored) in zip(self.blocks, self._orders, strict=True):
            places = np.searchsorted(stored, wanted).clip(max=len(stored) - 1)
            here = stored[places] == wanted
            rows = order[places[here]]
            if len(rows) == len(wanted):
                return articles[rows], vectors[rows]
            owners[here], found[here] = articles[rows], vectors[rows]
        return owners, found


def _best(parts: Sequence[tuple[npt.NDArray[np.int64], Vectors]], k: int) -> Ranking:
    """Merge the best of several blocks."""
    if not parts:
        return []
    ids = np.concatenate([passages for passages, _ in parts])
    scores = np.concatenate([found for _, found in parts])
    order = np.lexsort((ids, -scores))[:k]
    return list(zip(ids[order].tolist(), scores[order].tolist(), strict=True))


def fuse(rankings: Sequence[Sequence[Item]]) -> dict[Item, float]:
    """Fuse rankings (best first): each item with the sum of 1 / (60 + rank).

    Items come in the order in which the rankings name them.
    """
    scores: dict[Item, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, start=1):
            scores[item] = scores.get(item, 0.0) + 1.0 / (FUSION_CONSTANT + rank)
    return scores


class Ranker:
    """Rank passages by the settings' method; without an embedder, by words."""

    def __init__(
        self, database: Database, settings: RetrievalSettings, embedder: Embedder | None
    ) -> None:
        self.database = database
        self.settings = settings
        self.embedder = embedder if settings.ranking != "bm25" else None
        self.index = VectorIndex(database, self.embedder.name) if self.embedder else None

    def candidates(self, texts: Sequence[str], articles: Sequence[int]) -> Candidates:
        """Prepare the ranking of the passages of ``articles`` (ids) for each text."""
        return Candidates(self, texts, articles)


class Candidates:
    """The passages of some articles, ranked for several texts to any depth.

    Each ranking is made ``DEEPER`` than asked, so that a longer list costs nothing for a while.
    """

    def __init__(self, ranker: Ranker, texts: Sequence[str], articles: Sequence[int]) -> None:
        self.database = ranker.database
        self.embedder, self.index = ranker.embedder, ranker.index
        self.texts, self.articles = texts, articles
        self._words: dict[int, tuple[int, Ranking]] = {}
        self._similar: tuple[int, list[Ranking]] = 0, []
        self._own: dict[int, DistinctPassages] = {}
        self.settings = ranker.settings
        self.hybrid = ranker.settings.ranking != "embedding"
        moments = self.database.articles.timestamps(articles)
        places = {moment: place for place, moment in enumerate(sorted(set(moments.values())))}
        self.dates = {article: places[moment] for article, moment in moments.items()}
        if not (articles and texts and self.embedder):
            self.partly = False
            return
        # A very large corpus is not embedded as a whole: what shares words with a question is,
        # when it is first asked.
        limit = ranker.settings.embed_all_up_to
        count = self.database.articles.count_passages(articles)
        self.partly = count > limit
        self._queries = self.embedder.encode(texts)
        if self.partly or not self.index:
            return
        # Asking the store for each passage whether it is embedded takes longer than counting.
        self.index.refresh()
        if self.index.count(articles) < count:
            embed_missing(self.database, self.embedder, articles)

    def distinct(self, *, look: bool = True) -> DistinctPassages:
        """Return what drops near-duplicates, with a look at vectors where there are some."""
        return DistinctPassages(
            self.settings.near_duplicate_share,
            self.dates,
            self.database.articles.texts,
            self.index.look if look and self.index else None,
        )

    def relevant(self, number: int, distinct: DistinctPassages) -> dict[int, int]:
        """Return the articles (ids) of passages that are similar enough to a text.

        All are where no similarity is asked for, and where there is no embedding model.
        """
        passages, least = distinct.passages, self.settings.min_similarity
        articles = dict(zip(passages, distinct.articles, strict=True))
        if not (least and passages and self.index):
            return articles
        enough = self.index.look(passages)[1] @ self._queries[number] >= least
        return {i: articles[i] for i, near in zip(passages, enough, strict=True) if near}

    def best(self, numbers: Sequence[int], limit: int) -> list[Ranking]:
        """Rank for the texts of these numbers, ``limit`` passages by each method."""
        if not self.articles or not numbers:
            return [[] for _ in numbers]
        if self.embedder is None or self.index is None:
            return [self._by_words(number, limit) for number in numbers]
        own = [self._word_matches(n, limit) for n in numbers if self.hybrid or self.partly]
        by_meaning = self._among(numbers, own) if self.partly else self._by_meaning(numbers, limit)
        if not self.hybrid:
            return by_meaning
        return [
            sorted(
                fuse([[i for i, _ in meaning], words]).items(), key=lambda hit: (-hit[1], hit[0])
            )
            for meaning, words in zip(by_meaning, own, strict=True)
        ]

    def cut_off(self, number: int, ranking: Ranking, limit: int) -> bool:
        """Tell whether a ranking to ``limit`` would have gone on."""
        found = self._by_words(number, limit) if self.partly else ranking
        return len(found) >= limit

    def _by_words(self, number: int, limit: int) -> Ranking:
        depth, found = self._words.get(number, (0, []))
        if depth < limit:
            depth, words = limit * DEEPER, match_query(self.texts[number])
            found = self.database.articles.search_words(words, self.articles, limit=depth)
            self._words[number] = depth, found
        return found[:limit]

    def _by_meaning(self, numbers: Sequence[int], limit: int) -> list[Ranking]:
        assert self.index
        depth, found = self._similar
        if depth < limit:
            depth = limit * DEEPER
            self.index.refresh()
            found = self.index.search(self._queries, self.articles, depth)
            self._similar = depth, found
        return [found[number][:limit] for number in numbers]

    def _word_matches(self, number: int, limit: int) -> list[int]:
        """Return the word matches (ids) of a text that are, or are to be, embedded."""
        ids = [passage for passage, _ in self._by_words(number, limit)]
        if not self.partly or len(ids) <= MOST_EMBEDDED:
            return ids
        distinct = self._own.setdefault(number, self.distinct(look=False))
        distinct.update(ids)
        return list(dict.fromkeys([*ids[:MOST_EMBEDDED], *distinct.passages]))

    def _among(self, numbers: Sequence[int], own: list[list[int]]) -> list[Ranking]:
        """Rank only ``own`` passages of each text.

        What others asked, before or beside it, has embedded more, and must not change what this one
        finds.
        """
        assert self.embedder
        assert self.index
        few = sorted({i for found in own for i in found})
        embed_missing(self.database, self.embedder, self.articles, passages=few)
        self.index.refresh()
        most = max(map(len, own), default=0)
        return self.index.search(self._queries[list(numbers)], self.articles, most, only=own)
