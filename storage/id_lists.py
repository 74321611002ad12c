"""Store lists of ids that grow with the record, each once."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence

from storage.rows import to_json


def sha256(text: str) -> str:
    """Return the SHA-256 of a text in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def listed(sql: sqlite3.Connection, ids: Sequence[str]) -> int | None:
    """Store a list where it is new, inside a transaction; returns its number.

    An empty list is None.
    """
    if not ids:
        return None
    text = to_json(ids)
    key = sha256(text)
    sql.execute("INSERT OR IGNORE INTO id_lists (sha256, ids) VALUES (?, ?)", (key, text))
    found = sql.execute("SELECT id FROM id_lists WHERE sha256 = ?", (key,)).fetchone()
    return int(found[0])
