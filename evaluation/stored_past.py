"""Find a question's relatives in a database without reading the other questions."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from operator import call
from typing import Any, TypeVar

from database import Database
from evaluation.base_rates import FAMILIES_VERSION, Family, PastQuestion, family_keys
from evaluation.past_record import past_questions
from storage.families import Count, Key, Member

T = TypeVar("T")


class StoredPast:
    """The families of a database's resolved questions, as ``Past`` has them.

    Where the record has changed since its families were named, that is done first. What the
    questions of a run have in common is read once.
    """

    def __init__(self, database: Database) -> None:
        self._store = database.families
        self._found = dict[tuple[Any, ...], Any]()
        name_families(database)

    def size(self, key: Key, day: str) -> int:
        """Count the members of a family that were known before a day."""
        return self._read(self._store.size, key, day)

    def families(self, keys: Sequence[Key], day: str, own: Collection[str]) -> Iterator[Family]:
        """Return what was known before a day of families, widest first.

        Each is without the members of the next one, and without the question's ``own`` ids.
        """
        own = tuple(self._store.known(own))
        # Most questions are open, and none of their ids is known.
        read = call if own else self._read
        for key, narrower in zip(keys, [*keys[1:], None], strict=True):
            months = read(self._store.months, key, day, own)
            whole, inside = _sum(months), Count(0.0, 0)
            if narrower is not None:
                inside = read(self._store.inside, key, narrower, day, own)
            yield Family(
                key,
                months,
                Count(whole.yes - inside.yes, whole.count - inside.count),
                partial(read, self._store.others, key, narrower, day, own),
            )

    def _read(self, lookup: Callable[..., T], *what: Any) -> T:
        key = (lookup.__name__, *what)
        if key not in self._found:
            self._found[key] = lookup(*what)
        found: T = self._found[key]
        return found


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
