"""Keep views, triggers and indices that users have added, while tables change.

SQLite refuses to change a table where any of them does not fit the new one, and drops the indices
of a table that is dropped.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Added:
    """A view, trigger or index that a user has added."""

    kind: str
    name: str
    statement: str

    @property
    def quoted(self) -> str:
        """The name as an SQL identifier."""
        return '"' + self.name.replace('"', '""') + '"'


def set_aside(sql: sqlite3.Connection, own: Collection[str]) -> list[Added]:
    """Drop all views, triggers and indices but our own; returns them, views first."""
    added = [
        Added(*row)
        for row in sql.execute(
            "SELECT type, name, sql FROM sqlite_schema"
            " WHERE type IN ('view', 'trigger', 'index') AND sql IS NOT NULL"
            " ORDER BY type DESC, rowid"
        )
        if row[1] not in own
    ]
    for one in reversed(added):
        sql.execute(f"DROP {one.kind} {one.quoted}")
    return added


def put_back(sql: sqlite3.Connection, added: Sequence[Added], database: str) -> list[str]:
    """Create them again; returns a line for each that does not fit any more."""
    lines = []
    for one in added:
        try:
            sql.execute(one.statement)
        except (sqlite3.OperationalError, sqlite3.IntegrityError) as error:
            lines.append(f"{database}: your {one.kind} {one.name!r} was removed: {error}")
    for one in added:
        table = one.quoted
        try:
            if one.kind == "view":
                sql.execute(f"SELECT * FROM {table} LIMIT 0")
        except sqlite3.OperationalError as error:
            lines.append(f"{database}: your view {one.name!r} cannot be read any more: {error}")
    return lines
