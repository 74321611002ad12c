"""Find a question's relatives in a database without reading the other questions."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from functools import partial

from database import Database
from evaluation.base_rates import FAMILIES_VERSION, Family, PastQuestion, family_keys
from evaluation.past_record import past_questions
from storage.families import Count, Key, Member


class StoredPast:
    """The families of a database's resolved questions, as ``Past`` has them.

    Where the record has changed since its families were named, that is done first.
    """

    def __init__(self, database: Database) -> None:
        self._store = database.families
        self._months = dict[tuple[str, Key], tuple[Count, ...]]()
        self._ids = dict[tuple[str, Key, Key | None], tuple[str, ...]]()
        name_families(database)

    def size(self, key: Key, day: str) -> int:
        """Count the members of a family that were known before a day."""
        return self._store.size(key, day)

    def families(self, keys: Sequence[Key], day: str, own: Collection[str]) -> Iterator[Family]:
        """Return what was known before a day of families, widest first.

        Each is without the members of the next one, and without the question's ``own`` ids.
        """
        own = self._store.known(own)
        for key, narrower in zip(keys, [*keys[1:], None], strict=True):
            months = self._counts(key, day, own)
            whole, inside = _sum(months), self._inside(key, narrower, day, own)
            yield Family(
                key,
                months,
                Count(whole.yes - inside.yes, whole.count - inside.count),
                partial(self._others, key, narrower, day, own),
            )

    def _counts(self, key: Key, day: str, own: Collection[str]) -> tuple[Count, ...]:
        if own:
            return tuple(self._store.months(key, day, own))
        if (day, key) not in self._months:
            self._months[day, key] = tuple(self._store.months(key, day, ()))
        return self._months[day, key]

    def _others(
        self, key: Key, narrower: Key | None, day: str, own: Collection[str]
    ) -> tuple[str, ...]:
        if own:
            return self._store.others(key, narrower, day, own)
        if (day, key, narrower) not in self._ids:
            self._ids[day, key, narrower] = self._store.others(key, narrower, day, ())
        return self._ids[day, key, narrower]

    def _inside(self, key: Key, narrower: Key | None, day: str, own: Collection[str]) -> Count:
        """Count the members that count in the narrower family."""
        if narrower is None:
            return Count(0.0, 0)
        return self._store.inside(key, narrower, day, own)


def _sum(months: Sequence[Count]) -> Count:
    return Count(math.fsum(one.yes for one in months), sum(one.count for one in months))


def name_families(database: Database) -> None:
    """Store the families of all resolved questions, unless that is done."""
    if database.families.is_current(FAMILIES_VERSION):
        return
    version = database.learnt.version()
    named = [(_member(q), _keys(q)) for q in past_questions(database)]
    database.families.replace(version, FAMILIES_VERSION, named)


def _member(q: PastQuestion) -> Member:
    return q.id, q.known_on, q.resolved_on[:7], q.outcome


def _keys(q: PastQuestion) -> list[Key]:
    return family_keys(q.text, q.source, q.reference_class, q.series)
