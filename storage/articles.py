"""Store articles by revision with passages, words, embeddings and retrievals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from scoring.prompts import Passage
from storage.connection import Connection, insert
from storage.errors import SQLITE_ERRORS, database_error
from storage.records import Article, Evidence
from storage.vectors import read_vectors, write_vectors

# Notes a check of a stored revision. A moment later than now was written by a wrong clock.
_CHECKED: Final = (
    "UPDATE articles SET fetched_at = :now, current_until = CASE WHEN current_until > :now"
    " THEN :until ELSE max(current_until, :until) END WHERE id = :id"
)


class ArticleStore:
    """The evidence store: revisions, passages, embeddings, and what each search found."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, source: str, title: str, *, as_of: str | None = None) -> Article | None:
        """Return the newest stored revision, not newer than ``as_of`` (UTC with ``Z``)."""
        articles = self._connection.read(
            Article,
            "SELECT * FROM articles WHERE source = ? AND title = ? AND timestamp <= ?"
            " ORDER BY timestamp DESC, id DESC LIMIT 1",
            (source, title, as_of or "9999"),
        )
        return articles[0] if articles else None

    def has_revision(self, source: str, title: str, revision_id: str) -> int | None:
        """Return the id of a stored revision, None when it is not stored."""
        rows = self._connection.query(
            "SELECT id FROM articles WHERE source = ? AND title = ? AND revision_id = ?",
            (source, title, revision_id),
        )
        return rows[0]["id"] if rows else None

    def add(self, article: Article, passages: Sequence[Passage]) -> int:
        """Store a revision with its passages; returns its id.

        One that is stored already is marked as checked.
        """
        now = article.fetched_at or self._connection.now()
        until = article.current_until or now
        values = {**vars(article), "fetched_at": now, "current_until": until}
        values["text_sha256"] = hashlib.sha256(article.text.encode()).hexdigest()
        del values["id"]
        with self._connection.atomic() as sql:
            known = self.has_revision(article.source, article.title, article.revision_id)
            if known is not None:
                sql.execute(_CHECKED, {"now": now, "until": until, "id": known})
                return known
            article_id = insert(sql, "articles", values)
            for position, passage in enumerate(passages):
                columns = {"article_id": article_id, "position": position}
                columns |= {name: vars(passage)[name] for name in ("section", "text", "tokens")}
                number = insert(sql, "passages", columns)
                sql.execute(
                    "INSERT INTO passage_words (rowid, title, section, text) VALUES (?, ?, ?, ?)",
                    (number, article.title, passage.section, passage.text),
                )
        return article_id

    def touch(self, article_id: int, *, current_until: str | None = None) -> None:
        """Note that a revision was checked now.

        It was the newest at ``current_until`` (default: now).
        """
        now = self._connection.now()
        with self._connection.atomic() as sql:
            sql.execute(_CHECKED, {"now": now, "until": current_until or now, "id": article_id})

    def current(
        self, *, as_of: str | None = None, sources: Sequence[str] | None = None
    ) -> list[Article]:
        """Return every article's newest revision up to ``as_of``, without its text."""
        return self._connection.read(
            Article,
            "SELECT id, source, title, revision_id, timestamp, url, '' AS text, fetched_at,"
            " current_until, max(timestamp || printf('%012d', id)) FROM articles"
            " WHERE timestamp <= ? AND (? OR source IN (SELECT value FROM json_each(?)))"
            " GROUP BY source, title",
            (as_of or "9999", sources is None, json.dumps(list(sources or ()))),
        )

    # --- passages ---------------------------------------------------------------------------------

    def passages(
        self, ids: Sequence[int], scores: Mapping[int, float] | None = None
    ) -> list[Passage]:
        """Return passages by id, in the given order; ``scores`` fills ``Passage.score``."""
        found = self._connection.read(
            Passage,
            "SELECT p.id, a.source, a.title, p.section, p.text, p.tokens, a.revision_id,"
            " a.timestamp, a.url FROM passages p JOIN articles a ON a.id = p.article_id"
            " WHERE p.id IN (SELECT value FROM json_each(?))",
            (_json(ids),),
        )
        by_id = {passage.id: passage for passage in found}
        return [replace(by_id[int(i)], score=float((scores or {}).get(int(i), 0.0))) for i in ids]

    def texts(self, ids: Sequence[int]) -> dict[int, tuple[int, str]]:
        """Return the article (id) and text of passages (ids)."""
        rows = self._connection.query(
            "SELECT id, article_id, text FROM passages"
            " WHERE id IN (SELECT value FROM json_each(?))",
            (_json(ids),),
        )
        return {number: (article, text) for number, article, text in rows}

    def timestamps(self, articles: Sequence[int]) -> dict[int, str]:
        """Return the times of revisions (ids)."""
        rows = self._connection.query(
            "SELECT id, timestamp FROM articles WHERE id IN (SELECT value FROM json_each(?))",
            (_json(articles),),
        )
        return dict(map(tuple, rows))

    def count_passages(self, articles: Sequence[int]) -> int:
        """Count the passages of articles (ids)."""
        statement = (
            "SELECT count(*) FROM passages WHERE article_id IN (SELECT value FROM json_each(?))"
        )
        return int(self._connection.query(statement, (_json(articles),))[0][0])

    def search_words(
        self, words: Sequence[str], articles: Sequence[int], *, limit: int
    ) -> list[tuple[int, float]]:
        """Find passages of ``articles`` (ids) that hold any of ``words``, best first.

        A word in the title counts three times, in the section heading twice.
        Source: https://www.sqlite.org/fts5.html#the_bm25_function

        Returns:
            Passage id and BM25 score (higher is better).
        """
        if not words:
            return []
        rows = self._connection.query(
            "SELECT p.id, w.score FROM (SELECT rowid, -bm25(passage_words, 3.0, 2.0, 1.0) AS score"
            "  FROM passage_words WHERE passage_words MATCH :words) w"
            " JOIN passages p ON p.id = w.rowid"
            " WHERE p.article_id IN (SELECT value FROM json_each(:articles))"
            " ORDER BY w.score DESC, p.id LIMIT :limit",
            {
                "words": " OR ".join('"' + word.replace('"', '""') + '"' for word in words),
                "articles": _json(articles),
                "limit": limit,
            },
        )
        return [(int(row["id"]), float(row["score"])) for row in rows]

    # --- embeddings -------------------------------------------------------------------------------

    def without_embedding(
        self, model: str, articles: Sequence[int], *, ids: Sequence[int] | None = None
    ) -> list[int]:
        """Return passages of ``articles`` (among ``ids``) not yet embedded by ``model``."""
        among = "" if ids is None else "AND p.id IN (SELECT value FROM json_each(?))"
        rows = self._connection.query(
            "SELECT p.id FROM passages p WHERE p.article_id IN (SELECT value FROM json_each(?))"
            f" {among} AND NOT EXISTS (SELECT 1 FROM embedded_passages e"
            "  WHERE e.passage_id = p.id AND e.model = ?) ORDER BY p.id",
            (_json(articles), *([] if ids is None else [_json(ids)]), model),
        )
        return [int(row["id"]) for row in rows]

    def embedding_models(self, ids: Sequence[int]) -> list[str]:
        """Return the names of the models that have embedded any of these passages."""
        rows = self._connection.query(
            "SELECT DISTINCT model FROM embedded_passages"
            " WHERE passage_id IN (SELECT value FROM json_each(?)) ORDER BY model",
            (_json(ids),),
        )
        return [str(row["model"]) for row in rows]

    def add_embeddings(
        self, model: str, vectors: Sequence[tuple[int, npt.NDArray[np.float32]]]
    ) -> None:
        """Store embeddings by passage as raw little-endian float32 in one transaction."""
        with self._connection.atomic() as sql:
            write_vectors(sql, model, vectors)

    def embeddings_after(
        self, model: str, after: int = 0
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32], int]:
        """Return what ``model`` has embedded since pack ``after``; see ``read_vectors``."""
        try:
            return read_vectors(self._connection.sql, model, after)
        except SQLITE_ERRORS as error:
            raise database_error(self._connection.path, error) from error

    # --- retrievals -------------------------------------------------------------------------------

    def save_retrievals(self, run_id: int, found: Sequence[Evidence]) -> None:
        """Record what was found for questions of a run; replaces an earlier record."""
        now = self._connection.now()
        with self._connection.atomic() as sql:
            for evidence in found:
                key = (run_id, evidence.question.id)
                sql.execute("DELETE FROM retrievals WHERE run_id = ? AND question_id = ?", key)
                sql.executemany(
                    "INSERT INTO retrievals VALUES (?, ?, ?, ?, ?)",
                    [(*key, p.id, rank, p.score) for rank, p in enumerate(evidence.passages, 1)],
                )
                sql.execute(
                    "UPDATE run_questions SET retrieved_at = ?, context_error = ?"
                    " WHERE run_id = ? AND question_id = ?",
                    (now, evidence.context_error, *key),
                )

    def retrieval(self, run_id: int, question_id: str) -> list[Passage]:
        """Return the passages recorded for a question of a run, best first."""
        rows = self._connection.query(
            "SELECT passage_id, score FROM retrievals WHERE run_id = ? AND question_id = ?"
            " ORDER BY rank",
            (run_id, question_id),
        )
        scores = {row["passage_id"]: row["score"] for row in rows}
        return self.passages([row["passage_id"] for row in rows], scores)


def _json(ids: Iterable[int]) -> str:
    return json.dumps([int(i) for i in ids])
