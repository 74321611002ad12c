"""Write and read embeddings, packed: a row holds the vectors written together."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

# Vectors of an older schema that are packed together, as many as are embedded at a time.
_PACKED: Final = 64


def write_vectors(
    sql: sqlite3.Connection, model: str, vectors: Sequence[tuple[int, npt.NDArray[np.float32]]]
) -> None:
    """Store vectors by passage (id) as one pack.

    Those that another process has stored in the meantime stay.
    """
    ids = json.dumps([int(passage) for passage, _ in vectors])
    stored = {
        row[0]
        for row in sql.execute(
            "SELECT passage_id FROM embedded_passages"
            " WHERE model = ? AND passage_id IN (SELECT value FROM json_each(?))",
            (model, ids),
        )
    }
    owners = dict(
        map(
            tuple,
            sql.execute(
                "SELECT id, article_id FROM passages WHERE id IN (SELECT value FROM json_each(?))",
                (ids,),
            ),
        )
    )
    new = {int(passage): vector for passage, vector in vectors if passage not in stored}
    if new:
        blobs = [np.asarray(vector, dtype="<f4").tobytes() for vector in new.values()]
        # A passage that is gone has no article, and is refused by its foreign key.
        _insert(sql, model, list(new), [owners.get(passage, 0) for passage in new], blobs)


def pack_rows(sql: sqlite3.Connection) -> None:
    """Pack the vectors that an older schema kept in a row each."""
    kinds = sql.execute("SELECT DISTINCT model, dimension FROM unpacked_embeddings").fetchall()
    for model, dimension in kinds:
        last = 0
        while rows := sql.execute(
            "SELECT e.id, p.id, p.article_id, CAST(e.vector AS BLOB)"
            " FROM unpacked_embeddings e JOIN passages p ON p.id = e.passage_id"
            " WHERE e.model = ? AND e.dimension = ? AND e.id > ? ORDER BY e.id LIMIT ?",
            (model, dimension, last, _PACKED),
        ).fetchall():
            numbers, passages, articles, blobs = zip(*rows, strict=True)
            _insert(sql, model, passages, articles, blobs)
            last = numbers[-1]
            sql.execute(
                "DELETE FROM unpacked_embeddings WHERE id IN (SELECT value FROM json_each(?))",
                (json.dumps(numbers),),
            )
    sql.execute("DROP TABLE unpacked_embeddings")


def _insert(
    sql: sqlite3.Connection,
    model: str,
    passages: Sequence[int],
    articles: Sequence[int],
    vectors: Sequence[bytes],
) -> None:
    pack = sql.execute(
        "INSERT INTO vector_packs (model, dimension, passages, articles, vectors)"
        " VALUES (?, ?, ?, ?, ?)",
        (
            model,
            len(vectors[0]) // 4,
            np.array(passages, dtype="<i8").tobytes(),
            np.array(articles, dtype="<i8").tobytes(),
            b"".join(vectors),
        ),
    ).lastrowid
    sql.executemany(
        "INSERT INTO embedded_passages (pack_id, place, passage_id, model) VALUES (?, ?, ?, ?)",
        [(pack, place, passage, model) for place, passage in enumerate(passages)],
    )


def read_vectors(
    sql: sqlite3.Connection, model: str, after: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32], int]:
    """Return what ``model`` has embedded since pack ``after``.

    Read into one array, so that the store is in memory once; a later call gets only what is new.

    Returns:
        Passage ids, article ids, vectors of shape (n, dimension), and the last pack.
    """
    # Reads no vectors, only their sizes.
    count, dimension, last = sql.execute(
        "SELECT coalesce(sum(length(passages) / 8), 0), coalesce(max(dimension), 0),"
        " coalesce(max(id), ?) FROM vector_packs WHERE model = ? AND id > ?",
        (after, model, after),
    ).fetchone()
    passages, articles = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    vectors = np.empty((count, dimension), dtype=np.float32)
    row = 0
    for ids, owners, blob in sql.execute(
        "SELECT passages, articles, vectors FROM vector_packs"
        " WHERE model = ? AND id > ? AND id <= ? ORDER BY id",
        (model, after, last),
    ):
        part = slice(row, row := row + len(ids) // 8)
        passages[part] = np.frombuffer(ids, "<i8")
        articles[part] = np.frombuffer(owners, "<i8")
        vectors[part] = np.frombuffer(blob, "<f4").reshape(-1, dimension)
    passages, articles, vectors = passages[:row], articles[:row], vectors[:row]
    if not passages.all():
        there = passages != 0
        passages, articles, vectors = passages[there], articles[there], vectors[there]
    return passages, articles, vectors, last
