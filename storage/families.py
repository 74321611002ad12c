"""Store resolved questions by family, for base rates."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from storage.connection import Connection

# A family's kind and name.
Key = tuple[str, str]
# A question's id (its subject), the ISO day it became a relative, the month it ended, its outcome.
Member = tuple[str, str, str, float]
_OF_FAMILY: Final = "m.kind = :kind AND m.name = :name AND m.known_on < :day"
_OTHERS: Final = "AND m.id NOT IN (SELECT value FROM json_each(:own))"
_INSIDE: Final = (
    "EXISTS (SELECT 1 FROM family_members n"
    " WHERE n.id = m.id AND n.kind = :inner_kind AND n.name = :inner_name)"
)


@dataclass(frozen=True)
class Count:
    """How many of some questions ended yes, and how many there are."""

    yes: float
    count: int


class FamilyStore:
    """Members of families; only what was known before ``day`` (ISO date) counts."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def is_current(self, rule: int) -> bool:
        """Tell whether the members are those of the record as it is, by this rule."""
        rows = self._connection.query("SELECT version, families, families_rule FROM record_state")
        return tuple(rows[0])[1:] == (rows[0]["version"], rule)

    def replace(
        self, version: int, rule: int, members: Iterable[tuple[Member, Iterable[Key]]]
    ) -> None:
        """Store all members with their families, made from a version of the record."""
        with self._connection.atomic() as sql:
            sql.execute("DELETE FROM family_members")
            sql.executemany(
                "INSERT OR IGNORE INTO family_members (kind, name, id, known_on, month, outcome)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                ((*key, *member) for member, keys in members for key in keys),
            )
            sql.execute("UPDATE record_state SET families = ?, families_rule = ?", (version, rule))

    def known(self, ids: Collection[str]) -> list[str]:
        """Return those of some ids that are members."""
        rows = self._connection.query(
            "SELECT DISTINCT id FROM family_members WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(ids)),),
        )
        return [row["id"] for row in rows]

    def size(self, key: Key, day: str) -> int:
        """Count the members of a family."""
        statement = f"SELECT count(*) FROM family_members m WHERE {_OF_FAMILY}"
        return int(self._connection.query(statement, _given(key, day))[0][0])

    def months(self, key: Key, day: str, own: Collection[str]) -> tuple[Count, ...]:
        """Return the members of each month, without ``own`` ids, read from the index only."""
        among = _OTHERS if own else ""
        rows = self._connection.query(
            f"SELECT total(m.outcome), count(*) FROM family_members m WHERE {_OF_FAMILY}"
            f" {among} GROUP BY m.month",
            _given(key, day, own),
        )
        return tuple(Count(*row) for row in rows)

    def inside(self, key: Key, narrower: Key, day: str, own: Collection[str]) -> Count:
        """Count the members of a family that a narrower one has as well.

        Read from the narrower one: its cost does not depend on the size of the other.
        """
        given = _given(narrower, day, own) | {"inner_kind": key[0], "inner_name": key[1]}
        among = _OTHERS if own else ""
        rows = self._connection.query(
            f"SELECT total(m.outcome), count(*) FROM family_members m WHERE {_OF_FAMILY}"
            f" {among} AND {_INSIDE}",
            given,
        )
        return Count(*rows[0])

    def others(
        self, key: Key, narrower: Key | None, day: str, own: Collection[str]
    ) -> tuple[str, ...]:
        """Return the members (ids) that a narrower family has not, newest first."""
        given = _given(key, day, own)
        among = _OTHERS if own else ""
        if narrower:
            given |= {"inner_kind": narrower[0], "inner_name": narrower[1]}
            among += f" AND NOT {_INSIDE}"
        rows = self._connection.query(
            f"SELECT m.id FROM family_members m WHERE {_OF_FAMILY} {among}"
            " ORDER BY m.known_on DESC, m.id DESC",
            given,
        )
        return tuple(row["id"] for row in rows)


def _given(key: Key, day: str, own: Collection[str] = ()) -> dict[str, str]:
    return {"kind": key[0], "name": key[1], "day": day, "own": json.dumps(list(own))}
