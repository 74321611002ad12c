"""Estimate how often questions of one family came true before a forecast's date.

The share of yes among relatives that were resolved before that date, shrunk family by family from
the widest to the narrowest: one source, one opening, one template (or one ``reference_class``), one
series. What ends in one month moves together, so the result is held near 50 % while the relatives'
months are too few for their share. docs/quality.md has the measurements behind the constants.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Final

from questions.cells import is_nothing
from questions.question import Question, cluster_of, folded

# A family's kind and name.
Key = tuple[str, str]
SOURCE, TEMPLATE, CLASS, SERIES = "source", "template", "reference_class", "series"
# Beta prior: for how many relatives the wider family's share, or 1/2, counts. Two make Laplace's
# rule of succession.
STRENGTH: Final = 2.0
# Relatives from which a template, its opening or a series is a family; fewer stay in the wider one.
FEW: Final = 5
# Words of a template that make its opening: "will <name> win the <date> <name> for …".
OPENING_WORDS: Final = 8
# Correlation of two relatives that ended in one month: prices rise in one month and fall in the
# next, all together. So a month counts as no more than five relatives, however many it has.
MONTH_CORRELATION: Final = 0.2
# Standard errors that a share has to differ from one half to count at all.
DOUBT: Final = 2.0
# What is left of the distance at the least, so that the prior's strength stays a number to read.
LEAST_TRUST: Final = 0.001
# Below this much of the distance a rate is called "held near 50 %".
HELD: Final = 0.5

# Words that decide which way a question asks. They are never names, whatever their capitals, and
# questions that differ in them share no opening.
POLARITY: Final = frozenset((
    "not", "no", "never", "none", "nobody", "without", "yes", "above", "below", "over", "under",
    "more", "less", "fewer", "greater", "higher", "lower", "least", "most", "up", "down", "rise",
    "rises", "fall", "falls", "increase", "increases", "decrease", "decreases", "raise", "raises",
    "cut", "cuts", "hike", "hikes", "gain", "gains", "drop", "drops", "win", "wins", "lose",
    "loses", "exceed", "exceeds", "pass", "passes", "fail", "fails",
))  # fmt: skip
# Brackets, and what follows the question mark, name an answer ("More than 5") up to this length.
LABEL_CHARACTERS: Final = 60

_QUOTED = re.compile(r"(?<!\w)'[^']{1,60}'(?!\w)|\"[^\"]{1,80}\"|“[^”]{1,80}”|‘[^’]{1,80}’")
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_DATE = re.compile(
    r"\{\w*date\w*\}|\b\d{4}-\d{2}-\d{2}(?:T[\d:.]+Z?)?\b|\b\d{1,2}/\d{1,2}/\d{2,4}\b"
    rf"|\b(?:{_DAY}(?: of)? )?{_MONTH},? \d{{4}}\b"
    rf"|\b{_MONTH} {_DAY}(?:,? \d{{4}})?\b|\b{_DAY}(?: of)? {_MONTH}(?!\w)"
    r"|\bq[1-4](?: of)?,? \d{4}\b|\b(?:19|20)\d\d\b",
    re.IGNORECASE,
)
_MINUS = re.compile(r"(?<!\S)[-−](?=[$€£¥]?\d)")
_NUMBER = re.compile(r"[$€£¥]?[-+]?\d[\d,.]*(?<=\d)(?:%|(?:k|m|bn?|trn?)\b)?", re.IGNORECASE)
_BRACKETS = re.compile(r" ?\([^()]*\)")
_WORD = re.compile(r"<\w+>|[^\W_](?:[\w.&’']*\w)?|[^\w\s]")
_WITHIN = r"(?:and|of|the|de|la|le|von|van|al|el|bin|&|-|–|’|'|,|\.)"
_JOINED = re.compile(rf"<name>(?:(?: {_WITHIN}){{0,2}} <name>)+")


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
    rate of the other questions of the next wider family, which makes the prior. A rate held near
    50 % has a prior near 1/2 and a strength above ``STRENGTH``.
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


@lru_cache(maxsize=20_000)
def question_template(text: str) -> str:
    """Mask dates, quoted words, names and numbers in a question's first sentence.

    Behind a "|" follow the words of ``POLARITY`` in short brackets and behind the question mark.
    """
    whole = " ".join(text.split())
    end = whole.find("?")
    first, rest = (whole[: end + 1], whole[end + 1 :]) if end > 0 else (whole, "")
    labels = [part for part in (*_BRACKETS.findall(first), rest) if len(part) <= LABEL_CHARACTERS]
    first = _DATE.sub(" <date> ", _QUOTED.sub(_masked, _BRACKETS.sub("", first)))
    first = _NUMBER.sub(" <number> ", _MINUS.sub(" minus ", first))
    words, begins = list[str](), True
    for word in _WORD.findall(first):
        lower = word.lower()
        name = not (word.startswith("<") or word == lower or begins or _turns(lower))
        words.append("<name>" if name else lower)
        begins = word in ".!?:"
    template = _JOINED.sub("<name>", " ".join(words))
    turning = [word for word in map(str.lower, _WORD.findall(" ".join(labels))) if _turns(word)]
    return " ".join([template, "|", *turning]) if turning else template


def _masked(quoted: re.Match[str]) -> str:
    word = quoted[0][1:-1].lower()
    return f" {word} " if _turns(word) else " <name> "


def _turns(word: str) -> bool:
    """Whether a word in lower case decides which way a question asks."""
    return word in POLARITY or word.endswith(("n't", "n’t"))


def opening(template: str) -> str:
    """Return the first words of a template, which similar templates share.

    Words of ``POLARITY`` follow from the rest: opposite questions are not similar.
    """
    words = template.split()
    return " ".join(words[:OPENING_WORDS] + list(filter(_turns, words[OPENING_WORDS:])))


class Past:
    """Resolved questions by family, for many base rates from one record."""

    def __init__(self, questions: Iterable[PastQuestion]) -> None:
        self._members = defaultdict[Key, list[PastQuestion]](list)
        self._by_id = {q.id: q for q in questions}
        for q in sorted(self._by_id.values(), key=lambda q: (q.known_on, q.id), reverse=True):
            for key in _keys(q.text, q.source, q.reference_class, q.series):
                self._members[key].append(q)
        self._found = dict[tuple[str, Key, Key | None], _Family]()
        self._sizes = dict[tuple[Key, str], int]()

    def families(self, keys: Sequence[Key], day: str, own: Collection[str]) -> Iterator[_Family]:
        """Return what was known before a day of families, widest first.

        Each is without the members of the next one, and without the question's ``own`` ids.
        """
        for key, narrower in zip(keys, [*keys[1:], None], strict=True):
            if (day, key, narrower) not in self._found:
                self._found[day, key, narrower] = self._family(key, narrower, day)
            family = self._found[day, key, narrower]
            yield family.without(own) if any(name in self._by_id for name in own) else family

    def size(self, key: Key, day: str) -> int:
        """Count the members of a family that were known before a day."""
        if (key, day) not in self._sizes:
            self._sizes[key, day] = sum(q.known_on < day for q in self._members.get(key, ()))
        return self._sizes[key, day]

    def _family(self, key: Key, narrower: Key | None, day: str) -> _Family:
        members = [q for q in self._members.get(key, ()) if q.known_on < day]
        inside = {q.id for q in self._members.get(narrower, ())} if narrower else set()
        return _Family(*key, tuple(members), frozenset(inside))


@dataclass(frozen=True)
class _Family:
    """Relatives, newest first; those ``inside`` the next narrower family count there."""

    kind: str
    name: str
    members: tuple[PastQuestion, ...]
    inside: frozenset[str]

    def without(self, ids: Collection[str]) -> _Family:
        """Leave some members out."""
        return replace(self, members=tuple(q for q in self.members if q.id not in ids))

    @cached_property
    def others(self) -> tuple[PastQuestion, ...]:
        """The members that no narrower family has."""
        return tuple(q for q in self.members if q.id not in self.inside)

    @cached_property
    def doubt(self) -> float:
        """Square of the distance from 1/2 that luck of the months makes alone.

        ``DOUBT`` standard errors of the share p: its variance is p (1 - p) ``MONTH_CORRELATION``
        times the chance that two members, drawn one after the other, ended in one month.
        """
        count, months = len(self.members), Counter(q.resolved_on[:7] for q in self.members)
        share = (math.fsum(q.outcome for q in self.members) + 0.5) / (count + 1)
        same = sum(n * n for n in months.values()) / count**2
        return DOUBT**2 * share * (1 - share) * MONTH_CORRELATION * same

    def rate(self, wider: BaseRate | None) -> BaseRate:
        """Shrink the share of yes towards the wider one's, or 1/2 without one."""
        yes, count = math.fsum(q.outcome for q in self.others), len(self.others)
        prior = wider.probability if wider else 0.5
        probability = (yes + STRENGTH * prior) / (count + STRENGTH)
        ids = tuple(q.id for q in self.others)
        return BaseRate(probability, yes, count, self.name, self.kind, prior, STRENGTH, ids, wider)


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
    question: Question, as_of: str, past: Past | Iterable[PastQuestion]
) -> BaseRate | None:
    """Estimate a question's chance from relatives resolved before the day ``as_of``.

    Args:
        question: its ``extra`` may name ``source``, ``reference_class`` and ``cluster`` (the
            series).
        as_of: ISO date or time of the forecast; what resolved on that day is left out.
        past: resolved questions in any order, this one and later ones among them; a ``Past`` saves
            time over many questions.

    Returns:
        The base rate of the narrowest family with ``FEW`` relatives, else of the widest with any;
        None without one. A class without relatives is passed over, and the template takes its
        place.
    """
    past = past if isinstance(past, Past) else Past(past)
    own, day = (question.id, question.subject), as_of[:10]
    source, given = (_cell(question, name) for name in ("source", "reference_class"))
    series = cluster_of(question.extra, question.subject)
    keys = _chosen(_keys(question.text, source, given, series), past, day)
    found, whole = None, None
    for family in past.families(keys, day, own):
        if family.others:
            found = family.rate(found)
        # A part of a template is doubted as the whole: its own months are fewer still.
        if family.members and (whole is None or whole.kind == SOURCE):
            whole = family
    return _held(found, whole.doubt) if found and whole else None


def _cell(question: Question, name: str) -> str:
    value = question.extra.get(name)
    return "" if is_nothing(value) else str(value).strip()


def _chosen(keys: Sequence[Key], past: Past, day: str) -> list[Key]:
    """Choose the families that are large enough; a class takes the place of templates."""
    wide = [key for key in keys if key[0] == SOURCE]
    given = [key for key in keys if key[0] == CLASS and past.size(key, day)]
    own = [key for key in keys if key[0] in (TEMPLATE, SERIES)]
    return wide + (given or [key for key in own if past.size(key, day) >= FEW] or own[:1])


def _keys(text: str, source: str, given: str, series: str) -> list[Key]:
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
