"""Cut articles into passages, store them, and embed their passages."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from database import Database
from evidence.chunking import TokenCounter, cut_passages, estimate_tokens
from evidence.encoders import Embedder
from evidence.settings import RetrievalSettings
from scoring.prompts import Passage
from storage.records import Article
from terminal.progress import progress

logger = logging.getLogger(__name__)

# Passages embedded and committed at a time: an interrupted run keeps what it has.
EMBEDDING_SLICE: Final = 64


@dataclass(frozen=True)
class IngestReport:
    """How many articles ``ingest_articles`` added, and how many were stored before."""

    added: int
    unchanged: int


def store_article(
    database: Database,
    article: Article,
    sections: Iterable[tuple[str, str]],
    settings: RetrievalSettings,
    count_tokens: TokenCounter = estimate_tokens,
) -> int:
    """Cut an article's (title, text) sections into passages; return its id."""
    passages = cut_passages(
        sections,
        size=settings.passage_tokens,
        overlap=settings.passage_overlap,
        count_tokens=count_tokens,
    )
    return database.articles.add(article, passages)


def ingest_articles(
    database: Database,
    articles: Iterable[tuple[Article, Sequence[tuple[str, str]]]],
    settings: RetrievalSettings,
    count_tokens: TokenCounter = estimate_tokens,
) -> IngestReport:
    """Store articles with their sections, unless the revision is stored."""
    added = unchanged = 0
    for article, sections in articles:
        known = database.articles.has_revision(article.source, article.title, article.revision_id)
        if known is not None:
            database.articles.touch(known)
            unchanged += 1
        else:
            store_article(database, article, sections, settings, count_tokens)
            added += 1
    return IngestReport(added, unchanged)


def embed_missing(
    database: Database,
    embedder: Embedder,
    articles: Sequence[int],
    *,
    passages: Sequence[int] | None = None,
) -> int:
    """Embed what this model has not embedded of ``articles``; return how many.

    Only ``passages`` (ids) of them where given. Committed every ``EMBEDDING_SLICE`` passages.
    Vectors of other models are kept and not mixed with these: going back embeds nothing.
    """
    missing = database.articles.without_embedding(embedder.name, articles, ids=passages)
    if others := database.articles.embedding_models(missing) if missing else []:
        logger.info(
            "%d passages have embeddings of %s only and are embedded anew with %s",
            len(missing), ", ".join(others), embedder.name,
        )  # fmt: skip
    with progress("embedding", len(missing), "passage") as bar:
        for start in range(0, len(missing), EMBEDDING_SLICE):
            ids = missing[start : start + EMBEDDING_SLICE]
            texts = [embedded_text(passage) for passage in database.articles.passages(ids)]
            vectors = embedder.encode(texts)
            database.articles.add_embeddings(embedder.name, list(zip(ids, vectors, strict=True)))
            bar.update(len(ids))
    return len(missing)


def embedded_text(passage: Passage) -> str:
    """Put title and section before the text, which seldom repeats them."""
    heading = ", ".join(part for part in (passage.title, passage.section) if part)
    return f"{heading}: {passage.text}"
