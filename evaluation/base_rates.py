"""Estimate how often questions of one family came true before a forecast's date.

The share of yes among relatives that were resolved before that date, shrunk level by level: all
questions, those of one source, of one template (or of a ``reference_class``), of one series.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from questions.question import Question, cluster_of

# Levels from the widest to the narrowest family.
ALL, SOURCE, TEMPLATE, CLASS, SERIES = "all", "source", "template", "reference_class", "series"
# Beta prior of each level: how many relatives its wider family counts for.
STRENGTHS: Final = {ALL: 10.0, SOURCE: 10.0, TEMPLATE: 10.0, CLASS: 5.0, SERIES: 10.0}

_QUOTED = re.compile(r"'[^']{1,60}'(?=[\s,.?)]|$)|\"[^\"]{1,80}\"|“[^”]{1,80}”|‘[^’]{1,80}’")
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DATE = re.compile(
    r"\{\w*date\w*\}|\b\d{4}-\d{2}-\d{2}(?:T[\d:.]+Z?)?\b|\b\d{1,2}/\d{1,2}/\d{2,4}\b"
    rf"|\b(?:\d{{1,2}}(?:st|nd|rd|th)?\s+)?{_MONTH}\s+\d{{1,2}}(?:st|nd|rd|th)?(?:,?\s+\d{{4}})?\b"
    rf"|\b(?:\d{{1,2}}(?:st|nd|rd|th)?\s+)?{_MONTH},?\s+\d{{4}}\b"
    rf"|\b\d{{1,2}}(?:st|nd|rd|th)?\s+{_MONTH}\b|\b(?:19|20)\d\d\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[$€£¥]?[-+]?\d[\d,.]*\d?(?:%|[kmb]n?\b)?", re.IGNORECASE)
_WORD = re.compile(r"<\w+>|[^\W_][\w.&’'-]*|[^\w\s]", re.UNICODE)
_JOINED = re.compile(r"<name>(?:(?: (?:and|of|the|de|von|van|al|&|-|,))? <name>)+")


@dataclass(frozen=True)
class PastQuestion:
    """A resolved question.

    ``outcome`` is 0-1 and ``resolved_on`` an ISO date; ``series`` joins questions about the same
    thing on other days. A question whose ``close_date`` (ISO) is later than a forecast resolved
    early, and early answers are mostly yes: it is no relative of that forecast.
    """

    id: str
    text: str
    source: str
    reference_class: str
    outcome: float
    resolved_on: str
    close_date: str | None = None
    series: str = ""


@dataclass(frozen=True)
class BaseRate:
    """A shrunk share of yes, and what it was made of.

    ``probability`` (0-1) is (yes + strength * prior) / (count + strength); ``kind`` says what
    joins the family; ``relatives`` are the ids of its questions, newest first.
    """

    probability: float
    yes: float
    count: int
    family: str
    kind: str
    prior: float
    strength: float
    relatives: tuple[str, ...]


@lru_cache(maxsize=20_000)
def question_template(text: str) -> str:
    """Mask dates, quoted words, names and numbers in a question's first sentence."""
    first = " ".join(text.split())
    end = first.find("?")
    first = first[: end + 1] if end > 0 else first
    first = _DATE.sub(" <date> ", _QUOTED.sub(" <name> ", first))
    first = _NUMBER.sub(" <number> ", first)
    words, begins = list[str](), True
    for word in _WORD.findall(first):
        name = not word.startswith("<") and word != word.lower() and not begins
        words.append("<name>" if name else word.lower())
        begins = word in ".!?"
    return _JOINED.sub("<name>", " ".join(words))


def base_rate(question: Question, as_of: str, past: Sequence[PastQuestion]) -> BaseRate | None:
    """Estimate a question's chance from relatives resolved before the day ``as_of``.

    Args:
        question: its ``extra`` may name ``source`` and ``reference_class``.
        as_of: ISO date or time of the forecast; what resolved on that day is left out.
        past: resolved questions in any order; later ones are ignored.

    Returns:
        None without any relative of its source, template, class or series.
    """
    day = as_of[:10]
    known = sorted(
        (p for p in past if _known(p, day) and p.id not in (question.id, question.subject)),
        key=lambda p: (p.resolved_on, p.id),
        reverse=True,
    )
    prior, found = 0.5, None
    for kind, family, member in _families(question):
        relatives = [p for p in known if member(p)]
        if not relatives:
            continue
        yes, strength = sum(p.outcome for p in relatives), STRENGTHS[kind]
        share = (yes + strength * prior) / (len(relatives) + strength)
        ids = tuple(p.id for p in relatives)
        found = BaseRate(share, yes, len(relatives), family, kind, prior, strength, ids)
        prior = share
    return None if found is None or found.kind == ALL else found


def _known(past: PastQuestion, day: str) -> bool:
    return past.resolved_on[:10] < day and (past.close_date or "")[:10] < day


def _families(question: Question) -> list[tuple[str, str, Callable[[PastQuestion], bool]]]:
    """List a question's families: kind, name, and whether a past question belongs."""
    source = str(question.extra.get("source") or "")
    given = str(question.extra.get("reference_class") or "")
    template = question_template(question.text)
    series = cluster_of(question.extra, question.subject)
    found: list[tuple[str, str, Callable[[PastQuestion], bool]]] = [(ALL, "", lambda p: True)]
    if source:
        found.append((SOURCE, source, lambda p: p.source == source))
    if given:
        found.append((CLASS, given, lambda p: p.reference_class == given))
    else:
        found.append((TEMPLATE, template, lambda p: question_template(p.text) == template))
    found.append((SERIES, series, lambda p: bool(p.series) and p.series == series))
    return found
