"""Estimate how often questions of one family came true before a forecast's date.

The share of yes among relatives that were resolved before that date, shrunk family by family from
the widest to the narrowest: one source, one opening, one template (or one ``reference_class``), one
series. What ends in one month moves together, so the result is held near 50 % while the relatives'
months are too few for their share. docs/quality.md has the measurements behind the constants.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Protocol

from evaluation.templates import opening, question_template
from questions.cells import is_nothing
from questions.question import Question, cluster_of, folded
from storage.families import Count, Key

# Version of how families are named; members stored by another one are named anew.
FAMILIES_VERSION: Final = 1
SOURCE, TEMPLATE, CLASS, SERIES = "source", "template", "reference_class", "series"
# Beta prior: for how many relatives the wider family's share, or 1/2, counts. Two make Laplace's
# rule of succession.
STRENGTH: Final = 2.0
# Relatives from which a template, its opening or a series is a family; fewer stay in the wider one.
FEW: Final = 5
# Correlation of two relatives that ended in one month: prices rise in one month and fall in the
# next, all together. So a month counts as no more than five relatives, however many it has.
MONTH_CORRELATION: Final = 0.2
# Standard errors that a share has to differ from one half to count at all.
DOUBT: Final = 2.0
# What is left of the distance at the least, so that the prior's strength stays a number to read.
LEAST_TRUST: Final = 0.001
# Below this much of the distance a rate is called "held near 50 %".
HELD: Final = 0.5


@dataclass(frozen=True)
class PastQuestion:
    """A resolved question.

    ``outcome`` is 0-1, ``resolved_on`` an ISO date, ``series`` the name of what is asked about
    again and again. One whose ``close_date`` (ISO) is not past resolved early, and early answers
    are mostly yes, so it counts from that day on only.
    """

    id: str
    text: str
    source: str
    reference_class: str
    outcome: float
    resolved_on: str
    close_date: str | None = None
    series: str = ""

    @property
    def known_on(self) -> str:
        """The ISO day on which it becomes a relative: resolved, and closed as planned."""
        return max(self.resolved_on[:10], (self.close_date or "")[:10])


@dataclass(frozen=True)
class BaseRate:
    """A shrunk share of yes, and what it was made of.

    ``probability`` (0-1) is (yes + strength * prior) / (count + strength). ``kind`` says what joins
    the ``family``; ``relatives`` are the ids of its questions, newest first; ``wider`` is the base
    rate of the other questions of the next wider family, which makes the prior, without their ids.
    A rate held near 50 % has a prior near 1/2 and a strength above ``STRENGTH``.
    """

    probability: float
    yes: float
    count: int
    family: str
    kind: str
    prior: float
    strength: float
    relatives: tuple[str, ...]
    wider: BaseRate | None = None

    @property
    def support(self) -> float:
        """Relatives times trust; 0 where only the source is known."""
        return 0.0 if self.kind == SOURCE else self.count * trust(self.count, self.strength)


def trust(count: int, strength: float) -> float:
    """Return how much of a rate's distance from 1/2 was kept, 0-1.

    The distance is kept in full at ``STRENGTH``; more strength is more relatives, half of them yes.
    """
    return min(1.0, (count + STRENGTH) / (count + strength)) if count + strength > 0 else 1.0


def held_near_half(count: int, strength: float) -> bool:
    """Whether less than ``HELD`` of a rate's distance from 1/2 was kept."""
    return trust(count, strength) < HELD


class Past:
    """Resolved questions by family, for many base rates from one record.

    ``evaluation/stored_past.py`` has the same of a database, without reading all of it.
    """

    def __init__(self, questions: Iterable[PastQuestion]) -> None:
        self._members = defaultdict[Key, list[PastQuestion]](list)
        self._by_id = {q.id: q for q in questions}
        for q in sorted(self._by_id.values(), key=lambda q: (q.known_on, q.id), reverse=True):
            for key in family_keys(q.text, q.source, q.reference_class, q.series):
                self._members[key].append(q)
        self._found = dict[tuple[str, Key, Key | None], _Members]()
        self._sizes = dict[tuple[Key, str], int]()

    def families(self, keys: Sequence[Key], day: str, own: Collection[str]) -> Iterator[Family]:
        """Return what was known before a day of families, widest first.

        Each is without the members of the next one, and without the question's ``own`` ids.
        """
        for key, narrower in zip(keys, [*keys[1:], None], strict=True):
            if (day, key, narrower) not in self._found:
                self._found[day, key, narrower] = self._family(key, narrower, day)
            family = self._found[day, key, narrower]
            known = any(name in self._by_id for name in own)
            yield family.without(own).family if known else family.family

    def size(self, key: Key, day: str) -> int:
        """Count the members of a family that were known before a day."""
        if (key, day) not in self._sizes:
            self._sizes[key, day] = sum(q.known_on < day for q in self._members.get(key, ()))
        return self._sizes[key, day]

    def _family(self, key: Key, narrower: Key | None, day: str) -> _Members:
        members = [q for q in self._members.get(key, ()) if q.known_on < day]
        inside = {q.id for q in self._members.get(narrower, ())} if narrower else set()
        return _Members(key, tuple(members), frozenset(inside))


@dataclass(frozen=True)
class _Members:
    """Relatives, newest first; those ``inside`` the next narrower family count there."""

    key: Key
    members: tuple[PastQuestion, ...]
    inside: frozenset[str]

    def without(self, ids: Collection[str]) -> _Members:
        """Leave some members out."""
        return replace(self, members=tuple(q for q in self.members if q.id not in ids))

    @cached_property
    def family(self) -> Family:
        """Count them."""
        months = defaultdict[str, list[float]](list)
        for q in self.members:
            months[q.resolved_on[:7]].append(q.outcome)
        others = [q for q in self.members if q.id not in self.inside]
        return Family(
            self.key,
            tuple(Count(math.fsum(values), len(values)) for values in months.values()),
            Count(math.fsum(q.outcome for q in others), len(others)),
            lambda: tuple(q.id for q in others),
        )


@dataclass(frozen=True)
class Family:
    """What was known of a family before a day.

    ``months`` count all members by the month they ended in, ``others`` those that no narrower
    family has; ``relatives`` returns the ids of these, newest first.
    """

    key: Key
    months: tuple[Count, ...]
    others: Count
    relatives: Callable[[], tuple[str, ...]]

    @cached_property
    def doubt(self) -> float:
        """Square of the distance from 1/2 that luck of the months makes alone.

        ``DOUBT`` standard errors of the share p: its variance is p (1 - p) ``MONTH_CORRELATION``
        times the chance that two members, drawn one after the other, ended in one month.
        """
        count = sum(month.count for month in self.months)
        share = (math.fsum(month.yes for month in self.months) + 0.5) / (count + 1)
        same = sum(month.count * month.count for month in self.months) / count**2
        return DOUBT**2 * share * (1 - share) * MONTH_CORRELATION * same

    def rate(self, wider: BaseRate | None) -> BaseRate:
        """Shrink the share of yes towards the wider one's, or 1/2 without one.

        The relatives are not named yet.
        """
        (kind, name), (yes, count) = self.key, (self.others.yes, self.others.count)
        prior = wider.probability if wider else 0.5
        probability = (yes + STRENGTH * prior) / (count + STRENGTH)
        return BaseRate(probability, yes, count, name, kind, prior, STRENGTH, (), wider)


class Families(Protocol):
    """Resolved questions by family: ``Past``, or those of a database."""

    def size(self, key: Key, day: str) -> int:
        """Count the members of a family that were known before a day."""
        ...

    def families(self, keys: Sequence[Key], day: str, own: Collection[str]) -> Iterator[Family]:
        """Return what was known before a day of families, widest first."""
        ...


def _held(rate: BaseRate, doubt: float) -> BaseRate:
    """Multiply a rate's distance from 1/2 by 1 - doubt / distance^2, or nearly 0.

    It is the positive-part James-Stein factor. More relatives, half of them yes, would do the same.
    """
    distance = rate.probability - 0.5
    kept = max(1 - doubt / distance**2, LEAST_TRUST) if distance else LEAST_TRUST
    halves = (rate.count + rate.strength) * (1 - kept) / kept
    prior = (rate.strength * rate.prior + halves * 0.5) / (rate.strength + halves)
    return replace(
        rate, probability=0.5 + kept * distance, prior=prior, strength=rate.strength + halves
    )


def base_rate(
    question: Question, as_of: str, past: Families | Iterable[PastQuestion]
) -> BaseRate | None:
    """Estimate a question's chance from relatives resolved before the day ``as_of``.

    Args:
        question: its ``extra`` may name ``source``, ``reference_class`` and ``cluster`` (the
            series).
        as_of: ISO date or time of the forecast; what resolved on that day is left out.
        past: resolved questions in any order, this one and later ones among them; ``Families`` save
            time over many questions.

    Returns:
        The base rate of the narrowest family with ``FEW`` relatives, else of the widest with any;
        None without one. A class without relatives is passed over, and the template takes its
        place.
    """
    past = Past(past) if isinstance(past, Iterable) else past
    own, day = (question.id, question.subject), as_of[:10]
    source, given = (_cell(question, name) for name in ("source", "reference_class"))
    series = cluster_of(question.extra, question.subject)
    keys = _chosen(family_keys(question.text, source, given, series), past, day)
    found, narrowest, whole = None, None, None
    for family in past.families(keys, day, own):
        if family.others.count:
            found, narrowest = family.rate(found), family
        # A part of a template is doubted as the whole: its own months are fewer still.
        if family.months and (whole is None or whole.key[0] == SOURCE):
            whole = family
    if found is None or narrowest is None or whole is None:
        return None
    return replace(_held(found, whole.doubt), relatives=narrowest.relatives())


def _cell(question: Question, name: str) -> str:
    value = question.extra.get(name)
    return "" if is_nothing(value) else str(value).strip()


def _chosen(keys: Sequence[Key], past: Families, day: str) -> list[Key]:
    """Choose the families that are large enough; a class takes the place of templates."""
    wide = [key for key in keys if key[0] == SOURCE]
    given = [key for key in keys if key[0] == CLASS and past.size(key, day)]
    own = [key for key in keys if key[0] in (TEMPLATE, SERIES)]
    return wide + (given or [key for key in own if past.size(key, day) >= FEW] or own[:1])


def family_keys(text: str, source: str, given: str, series: str) -> list[Key]:
    """Name a question's families, widest first; classes ignore case and space."""
    template = question_template(text)
    keys = [
        (SOURCE, folded(source)),
        (CLASS, folded(given)),
        (TEMPLATE, f"{opening(template)} …"),
        (TEMPLATE, template),
        (SERIES, series),
    ]
    return [key for key in keys if key[1]]
