"""Read stored embeddings into memory."""

from __future__ import annotations

import json
from typing import Final

import numpy as np
import numpy.typing as npt

from storage.connection import Connection
from storage.errors import SQLITE_ERRORS, database_error

# Vectors fetched together: few enough to stay in the processor's cache while they are copied.
_TOGETHER: Final = 64
# Passages whose articles are looked up one by one.
_FEW: Final = 1000


def read_vectors(
    connection: Connection, model: str, after: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32], int]:
    """Return what ``model`` has embedded since row ``after``.

    Read into one array, so that the store is in memory once; a later call gets only what is new.

    Returns:
        Passage ids, article ids, vectors of shape (n, dimension), and the last row.
    """
    # Neither reads a vector: the last row's id, and an index.
    last, stored = connection.query(
        "SELECT (SELECT max(id) FROM embeddings), (SELECT count(*) FROM embeddings)"
    )[0]
    last = max(last or 0, after)
    count = min(last - after, stored)
    passages, vectors = np.empty(count, dtype=np.int64), np.empty((0, 0), dtype=np.float32)
    row = 0
    try:
        cursor = connection.sql.execute(
            "SELECT passage_id, vector FROM embeddings"
            " WHERE model = ? AND id > ? AND id <= ? ORDER BY id",
            (model, after, last),
        )
        cursor.row_factory = None
        while rows := cursor.fetchmany(_TOGETHER):
            ids, blobs = zip(*rows, strict=True)
            if not row:
                vectors = np.empty((count, len(blobs[0]) // 4), dtype=np.float32)
            part = slice(row, row := row + len(rows))
            passages[part] = ids
            found = np.frombuffer(b"".join(blobs), "<f4")
            vectors[part] = found.reshape(len(rows), vectors.shape[1])
    except SQLITE_ERRORS as error:
        raise database_error(connection.path, error) from error
    passages = passages[:row]
    return passages, _owners(connection, passages), vectors[:row], last


def _owners(connection: Connection, passages: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the articles (ids) of passages (ids), -1 where one is gone.

    Those of many are read from an index: beside the texts they would cost as much as these.
    """
    statement, given = (
        "SELECT json_group_array(id), json_group_array(article_id) FROM passages",
        list[str](),
    )
    if len(passages) <= _FEW:
        statement += " WHERE id IN (SELECT value FROM json_each(?))"
        given = [json.dumps(passages.tolist())]
    # Lists as JSON: a row for each passage takes three times as long.
    lists = [np.array([-1, *json.loads(text)]) for text in connection.query(statement, given)[0]]
    order = np.argsort(lists[0])
    ids, articles = lists[0][order], lists[1][order]
    places = np.searchsorted(ids, passages).clip(max=len(ids) - 1)
    return np.where(ids[places] == passages, articles[places], -1)
