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
from evidence.settings import RetrievalSettings

# Candidates (passage id, score), best first.
Ranking = list[tuple[int, float]]
Item = TypeVar("Item", bound=Hashable)

# Reciprocal rank fusion: 1 / (60 + rank), Cormack, Clarke and Büttcher (SIGIR 2009).
FUSION_CONSTANT: Final = 60


class VectorIndex:
    """Hold all embeddings of one model; ``refresh`` reads only what is new.

    Exact search: one matrix product a block. 100,000 vectors of 384 float32 take 154 MB.
    """

    def __init__(self, database: Database, model: str) -> None:
        self.database = database
        self.model = model
        self.last_row = 0
        # Passage ids, article ids, vectors.
        self.blocks: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Vectors]] = []

    def refresh(self) -> None:
        """Append the embeddings stored since the last call."""
        passages, articles, vectors, self.last_row = self.database.articles.embeddings_after(
            self.model, self.last_row
        )
        if len(passages):
            self.blocks.append((passages, articles, vectors))

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
        results: list[Ranking] = [[] for _ in range(len(queries))]
        for passages, owners, vectors in self.blocks:
            scores = queries @ vectors.T
            scores[:, ~np.isin(owners, allowed)] = -np.inf
            for row, ids in enumerate(only or ()):
                scores[row, ~np.isin(passages, ids)] = -np.inf
            top = min(k, len(passages))
            best = np.argpartition(-scores, top - 1, axis=1)[:, :top]
            for row, columns in enumerate(best):
                results[row] += [
                    (int(passages[c]), float(scores[row, c]))
                    for c in columns
                    if scores[row, c] > -np.inf
                ]
        return [sorted(found, key=lambda hit: (-hit[1], hit[0]))[:k] for found in results]


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
        self._index = VectorIndex(database, self.embedder.name) if self.embedder else None

    def rank(self, texts: Sequence[str], articles: Sequence[int], *, limit: int) -> list[Ranking]:
        """Rank the passages of ``articles`` (ids) for each text, ``limit`` by each method."""
        if not articles or not texts:
            return [[] for _ in texts]
        if self.embedder is None or self._index is None:
            return self._by_words(texts, articles, limit)
        # A very large corpus is not embedded as a whole: what shares words with a question is,
        # when it is first asked.
        partly = self.database.articles.count_passages(articles) > self.settings.embed_all_up_to
        hybrid = self.settings.ranking != "embedding"
        by_words = self._by_words(texts, articles, limit) if hybrid or partly else []
        # Each question then ranks its own matches: what others asked, before or beside it, has
        # embedded more, and must not change what this one finds.
        own = [[i for i, _ in found] for found in by_words] if partly else None
        few = sorted({i for found in own for i in found}) if own is not None else None
        embed_missing(self.database, self.embedder, articles, passages=few)
        self._index.refresh()
        by_meaning = self._index.search(self.embedder.encode(texts), articles, limit, only=own)
        if not hybrid:
            return by_meaning
        return [
            sorted(
                fuse([[i for i, _ in meaning], [i for i, _ in words]]).items(),
                key=lambda hit: (-hit[1], hit[0]),
            )
            for meaning, words in zip(by_meaning, by_words, strict=True)
        ]

    def _by_words(self, texts: Sequence[str], articles: Sequence[int], limit: int) -> list[Ranking]:
        return [
            self.database.articles.search_words(match_query(text), articles, limit=limit)
            for text in texts
        ]
