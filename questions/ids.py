"""Give the questions of a file their ids, and refuse contradicting rows.

Rows with one id are one question. Where they differ in ``as_of`` they are several forecasts of it,
with the ids ``ID@AS_OF``. A question about a series that is asked for several resolution dates
becomes one question a date, ``ID@RESOLUTION_DATE``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from questions.cells import (
    InputError,
    counted,
    is_nothing,
    iso_date,
    listed,
    parse_outcome,
    shortened,
)
from questions.columns import RESERVED
from questions.question import SHORTENED_NUMBER, Question, folded, text_id

# ForecastBench's sources of series.
DATASETS: Final = ("acled", "dbnomics", "fred", "wikipedia", "yfinance")
# What an outcome says; rows of one id say the same.
_ANSWERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "outcome": parse_outcome,
    "resolution_date": lambda value: iso_date(value, "resolution_date"),
}


@dataclass(frozen=True)
class Reading:
    """Questions, and lines for the user about how they were read."""

    questions: list[Question]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Placed:
    """A question and where it was found, for messages: ``line 3``."""

    place: str
    question: Question


def distinct(placed: Sequence[Placed]) -> Reading:
    """Drop exact repeats and derive the ids of several forecasts of one question.

    Raises:
        InputError: rows of one id that are different questions, or that contradict one another.
    """
    groups: dict[str, list[int]] = {}
    first: dict[Any, int] = {}
    for number, row in enumerate(placed):
        if first.setdefault(_hashable(vars(row.question)), number) == number:
            groups.setdefault(row.question.id, []).append(number)
    derived: dict[int, Question] = {}
    for numbers in groups.values():
        derived |= zip(numbers, _derived([placed[n] for n in numbers]), strict=True)
    unique = [Placed(placed[number].place, derived[number]) for number in sorted(derived)]
    _refuse_taken_ids(unique)
    repeats = [row.place for number, row in enumerate(placed) if number not in derived]
    notes = [f"{counted(len(repeats), 'exact repeat')} dropped: {listed(repeats)}"] * bool(repeats)
    if twins := _same_under_two_ids(unique):
        notes.append(f"the same question under two ids, asked and counted twice: {listed(twins)}")
    questions = [row.question for row in unique]
    cut = dict.fromkeys(q.id for q in questions if SHORTENED_NUMBER.fullmatch(q.id))
    if cut:
        notes.append(
            f"ids in a spreadsheet's short form, whose last digits are lost: {listed(cut)};"
            " format that column as text"
        )
    return Reading(questions, notes)


def _hashable(value: Any) -> Any:
    """Return a JSON value in a form that can be hashed, equal for equal values."""
    if isinstance(value, Mapping):
        return frozenset((key, _hashable(inner)) for key, inner in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _derived(group: list[Placed]) -> Iterator[Question]:
    """Yield the questions of the rows of one id.

    That is the row's own, that of a resolution date of a series, or a forecast from a day.
    """
    questions = [row.question for row in group]
    dates = [q.extra.get("resolution_date") for q in questions]
    series = all(str(q.extra.get("source")).strip().casefold() in DATASETS for q in questions)
    if len(group) == 1:
        yield questions[0]
    elif series and len(set(map(str, dates))) == len(group):
        for q, day in zip(questions, dates, strict=True):
            name = f"{q.id}@{iso_date(day, 'resolution_date')}"
            yield replace(q, id=name, subject=name, extra={"cluster": q.id, **q.extra})
    else:
        _refuse_contradictions(group)
        for q in questions:
            yield replace(q, id=f"{q.id}@{q.as_of}") if q.as_of else q


def _refuse_contradictions(group: list[Placed]) -> None:
    """Compare each row with the first of all, of its day and with an answer."""
    firsts: dict[tuple[str, Any], Placed] = {}
    for row in group:
        q = row.question
        answered = [(name, None) for name in _ANSWERS if not is_nothing(q.extra.get(name))]
        for sort in [("all", None), ("as_of", q.as_of), *answered]:
            first = firsts.setdefault(sort, row)
            if first is not row:
                _refuse_difference(first, row)


def _refuse_difference(first: Placed, second: Placed) -> None:
    """Refuse two rows of one id that are not forecasts of one question from two days."""
    a, b = first.question, second.question

    def refuse(column: str, here: Any, there: Any, remedy: str) -> None:
        if here == there:
            return
        name = _name(b)
        what = f"{'id ' * (name == shortened(b.id))}{name} stands for two questions"
        raise InputError(
            f"{second.place}: {what}: {column} is {shortened(here)} in {first.place} and"
            f" {shortened(there)} here; {remedy}"
        )

    apart = a.as_of != b.as_of
    own = "give each an id of its own"
    refuse("text", a.text, b.text, own)
    for column in _ANSWERS:
        answers = [_answer(q, column) for q in (a, b)]
        if None not in answers and answers[0] != answers[1]:
            raise InputError(f"{second.place}: {_name(b)} has another {column} in {first.place}")
    refuse("close_date", a.close_date, b.close_date, own)
    if not apart:
        for column in ("background", "resolution_criteria"):
            refuse(column, getattr(a, column), getattr(b, column), own)
        for column in dict.fromkeys([*a.extra, *b.extra]):
            refuse(column, a.extra.get(column), b.extra.get(column), "leave one out")


def _answer(question: Question, column: str) -> tuple[Any] | None:
    """Return what a question's file says about its end, None for nothing."""
    value = question.extra.get(column)
    if is_nothing(value):
        return None
    try:
        return (_ANSWERS[column](value),)
    except InputError:
        return (str(value),)


def _name(question: Question) -> str:
    """Return what a message calls a question: its id, else its text."""
    return shortened(question.text if question.id == text_id(question.text) else question.id)


def _refuse_taken_ids(unique: Sequence[Placed]) -> None:
    """Refuse an id of the file that equals one that was derived."""
    owner: dict[str, Placed] = {}
    for row in unique:
        known = owner.setdefault(row.question.id, row)
        if known is not row:
            both = f"id {shortened(row.question.id)} is also that of {known.place}"
            raise InputError(f"{row.place}: {both}; give each an id of its own")


def _same_under_two_ids(unique: Iterable[Placed]) -> list[str]:
    """Name the rows that ask the same under two ids."""
    first: dict[tuple[Any, ...], Placed] = {}
    twins = []
    for row in unique:
        q = row.question
        same = (folded(q.text), q.close_date, q.as_of, q.background, q.resolution_criteria)
        there = first.setdefault(same, row)
        if there.question.subject != q.subject and not set(RESERVED) & set(q.extra):
            names = [f"{p.place} ({shortened(p.question.id)})" for p in (row, there)]
            twins.append(" and ".join(names))
    return twins
