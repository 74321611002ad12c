"""Bring a database to today's schema by numbered SQL files and repairs.

The effect of a released file in ``schema/`` is never changed.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from storage.id_lists import sha256
from storage.repairs import compose_ids, forget_credentials, split_unrelated
from storage.user_views import put_back, set_aside
from storage.vectors import pack_rows

MIGRATIONS: Final = tuple(
    path.read_text(encoding="utf-8")
    for path in sorted(Path(__file__).with_name("schema").glob("*.sql"))
)
SCHEMA_VERSION: Final = len(MIGRATIONS)
# All views, triggers and indices that a migration creates, by name.
_CREATED: Final = re.compile(r"CREATE (?:VIEW|TRIGGER|(?:UNIQUE )?INDEX) (\w+)")
# "Fcst" in ASCII: tells Forecaster's files from anybody else's SQLite database.
APPLICATION_ID: Final = 0x46637374
# The schema with which ids that named unrelated questions are split.
_SPLITTING_SCHEMA: Final = 6
# The schema that packs vectors.
_PACKING_SCHEMA: Final = 14


def schema_version(sql: sqlite3.Connection) -> int:
    """Read the number of the last migration; 0 for a new file."""
    version: int = sql.execute("PRAGMA user_version").fetchone()[0]
    return version


def migrate(sql: sqlite3.Connection, name: str) -> list[str]:
    """Apply what is missing, inside a transaction; returns lines for the user.

    Args:
        sql: the connection.
        name: the database's, for the lines.
    """
    lines = []
    sql.create_function("sha256", 1, sha256, deterministic=True)
    version = schema_version(sql)
    added = set_aside(sql, _CREATED.findall("\n".join(MIGRATIONS)))
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        for statement in _statements(script):
            sql.execute(statement)
        if 0 < version < number == _SPLITTING_SCHEMA:
            forget_credentials(sql)
            compose_ids(sql)
            lines += split_unrelated(sql, name)
        if number == _PACKING_SCHEMA:
            pack_rows(sql)
        # PRAGMA takes no bound parameters; both values are integers of this module.
        sql.execute(f"PRAGMA user_version = {number:d}")
    sql.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
    return lines + put_back(sql, added, name)


def _statements(script: str) -> Iterator[str]:
    """Split a script into statements; ``executescript`` would commit."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
