"""Read files of questions and give each question its identity.

``questions/tables.py`` has the kinds of file, ``questions/platforms.py`` the forecasting platforms whose files are
understood, ``questions/columns.py`` the names of columns and the form of dates (ISO) and probabilities (0-1).

    question             the question; the only column that is needed
    id                   stable identity of the question; default: from its text
    background           facts given to the model
    resolution_criteria  what counts as yes
    close_date           the day after which the question is settled
    as_of                the day to forecast from, not in the future

The first row that cannot be used is reported with its line, and nothing is forecast. What is left
out (questions that are not yes/no, repeats) is named in one line. Other columns are kept in
``Question.extra`` and never shown to a model, so a file can carry the outcomes of its questions.

Rows with one id are one question. Where they differ in ``as_of`` they are several forecasts of it,
with the ids ``ID@AS_OF``. A question about a series that is asked for several resolution dates
becomes one question a date, ``ID@RESOLUTION_DATE``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from questions.columns import (
    RESERVED,
    InputError,
    counted,
    is_fractional,
    is_nothing,
    iso_date,
    listed,
    parse_outcome,
    shortened,
    with_guesses,
)
from questions.forecastbench import DATASETS, dated
from questions.placeholders import placeholders, unfilled
from questions.platforms import Records, left_out_line, read_records
from questions.question import (
    SHORTENED_NUMBER,
    TEXT_FIELDS,
    Question,
    QuestionError,
    folded,
    text_id,
)
from questions.tables import prefixed


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


def read_questions(path: str | Path) -> list[Question]:
    """Read the questions of a file; see ``read_question_file``."""
    return read_question_file(path).questions


def read_question_file(
    path: str | Path, question_of: Callable[[Mapping[str, Any]], Question | None] | None = None
) -> Reading:
    """Read every question of a file, in order.

    Args:
        path: a file of one of the kinds in the module's first lines.
        question_of: makes a question of a row under our names, or None for a row to skip;
            default ``question_from``.

    Raises:
        QuestionError: unreadable, malformed (with the line), without a question, or two questions
            under one id.
    """
    path = Path(path)
    try:
        records = read_records(path)
        if records.columns is not None and "question" not in records.columns:
            raise InputError(
                "line 1: the header has no column named question; it has "
                + listed(with_guesses(records.columns))
            )
        placed = list(_placed(records, question_of or question_from))
        if not placed:
            left = (
                left_out_line(records.left_out, "not yes/no questions") if records.left_out else ""
            )
            raise InputError(f"no question in it{'; ' + left if left else ''}")
        reading = distinct(placed)
    except InputError as error:
        raise QuestionError(prefixed(path, error)) from None
    notes = [*records.notes, *reading.notes]
    if records.left_out:
        notes.append(left_out_line(records.left_out, "not yes/no questions"))
    return Reading(reading.questions, [f"{path}: {note}" for note in notes])


def _placed(
    records: Records, question_of: Callable[[Mapping[str, Any]], Question | None]
) -> Iterator[Placed]:
    for record in records.rows:
        try:
            for values in dated(record.values):
                question = question_of(values)
                if question is not None:
                    yield Placed(record.place, question)
        except InputError as error:
            raise InputError(f"{record.place}: {error}") from None


def question_from(values: Mapping[str, Any]) -> Question:
    """Make a question of a row under our names.

    Raises:
        InputError: a cell that cannot be used; the message lacks the place.
    """
    if "question" not in values:
        raise QuestionError("the question is empty")
    known: dict[str, str] = {}
    for column in ("question", *TEXT_FIELDS[1:], "fine_print"):
        value = values.get(column)
        if is_nothing(value):
            continue
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise QuestionError(f"{column} is {shortened(value)}, expected text")
        if column == "question" and not any(map(str.isalpha, str(value))):
            raise QuestionError(f"question is {shortened(value)}, expected a question in words")
        known["text" if column == "question" else column] = str(value)
    if fine_print := known.pop("fine_print", ""):
        known["resolution_criteria"] = (
            f"{known.get('resolution_criteria', '')}\n\n{fine_print}".strip()
        )
    if not is_nothing(outcome := values.get("outcome")) and not is_fractional(outcome):
        _judge_outcome(outcome)
    cluster = values.get("cluster")
    if not is_nothing(cluster) and not isinstance(cluster, str | int | float):
        raise QuestionError(f"cluster is {shortened(cluster)}, expected text")
    used = {"question", *TEXT_FIELDS, "fine_print"}
    question = Question(
        **known, extra={key: value for key, value in values.items() if key not in used}
    )
    if question.as_of and question.as_of > datetime.now(UTC).date().isoformat():
        raise QuestionError(f"as_of is {question.as_of!r}, which lies in the future")
    return question


def _judge_outcome(outcome: Any) -> None:
    try:
        parse_outcome(outcome)
    except InputError as error:
        raise QuestionError(f"{error}; what counts as yes belongs in resolution_criteria") from None


def closed_note(questions: Iterable[Question], today: str) -> str:
    """Name the questions that closed before the day they are asked from, "" for none."""
    closed = [q for q in questions if q.close_date and q.close_date < (q.as_of or today)]
    if not closed:
        return ""
    names = listed(f"{shortened(q.id)} ({q.close_date})" for q in closed)
    return f"{counted(len(closed), 'question')} with a close_date in the past: {names}"


def answered_note(questions: Iterable[Question], as_of: str | None) -> str:
    """Name the questions asked live although their file gives the outcome, "" for none."""
    answered = [
        q for q in questions if not (q.as_of or as_of) and not is_nothing(q.extra.get("outcome"))
    ]
    if not answered:
        return ""
    names = listed(shortened(q.id) for q in answered)
    what = f"{counted(len(answered), 'question')} asked live with the outcome in the file already: {names}"
    return f"{what}; --backtest forecasts such a question from a past day"


# --- identity within a file -------------------------------------------------------------------

# Rows of one id that differ in these are two questions; in the last two only on one day.
OWN_FIELDS: Final = ("text", "close_date", "background", "resolution_criteria")


def unique_questions(questions: Iterable[Question], origin: str) -> Reading:
    """Give the questions of a list their identity, as those of a file.

    ``origin`` names the list in messages.

    Raises:
        QuestionError: two questions under one id.
    """
    placed = [
        Placed(f"question {number}", question) for number, question in enumerate(questions, start=1)
    ]
    try:
        for row in placed:
            for name in placeholders(row.question.text):
                raise InputError(f"{row.place}: {unfilled('question', name)}; write it out")
        reading = distinct(placed)
    except InputError as error:
        raise QuestionError(f"{origin}: {error}") from None
    return Reading(reading.questions, [f"{origin}: {note}" for note in reading.notes])


def distinct(placed: Sequence[Placed]) -> Reading:
    """Drop exact repeats and derive the ids of several forecasts of one question.

    Raises:
        InputError: rows of one id that are different questions, or that contradict one another.
    """
    groups: dict[str, list[Placed]] = {}
    seen: set[Any] = set()
    repeats: list[str] = []
    for row in placed:
        whole = _hashable(vars(row.question))
        if whole in seen:
            repeats.append(row.place)
        else:
            seen.add(whole)
            groups.setdefault(row.question.id, []).append(row)
    derived = {id(row): question for group in groups.values() for row, question in _derived(group)}
    questions = [derived[id(row)] for row in placed if id(row) in derived]
    _refuse_taken_ids(placed, derived)
    notes = (
        [f"{counted(len(repeats), 'exact repeat')} dropped: {listed(repeats)}"] if repeats else []
    )
    notes += _same_under_two_ids([(row, derived[id(row)]) for row in placed if id(row) in derived])
    shortened_ids = list(dict.fromkeys(q.id for q in questions if SHORTENED_NUMBER.fullmatch(q.id)))
    if shortened_ids:
        notes.append(
            f"ids in a spreadsheet's short form, whose last digits are lost: {listed(shortened_ids)};"
            " format that column as text"
        )
    return Reading(questions, notes)


def _same_under_two_ids(placed: Iterable[tuple[Placed, Question]]) -> list[str]:
    """Say in a line which rows ask the same under two ids."""
    first: dict[tuple[Any, ...], tuple[Placed, Question]] = {}
    twins = []
    for row, q in placed:
        same = (folded(q.text), q.close_date, q.as_of, q.background, q.resolution_criteria)
        there, other = first.setdefault(same, (row, q))
        if other.subject != q.subject and not set(RESERVED) & set(q.extra):
            twins.append(
                f"{row.place} ({shortened(q.id)}) and {there.place} ({shortened(other.id)})"
            )
    return (
        [f"the same question under two ids, asked and counted twice: {listed(twins)}"]
        if twins
        else []
    )


def _hashable(value: Any) -> Any:
    """A JSON value in a form that can be hashed, equal for equal values."""
    if isinstance(value, Mapping):
        return frozenset((key, _hashable(inner)) for key, inner in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _derived(group: list[Placed]) -> Iterator[tuple[Placed, Question]]:
    """Yield the rows of one id, each with its question.

    That is the row's own, that of a resolution date of a series, or a forecast from a day.
    """
    if len(group) == 1:
        yield group[0], group[0].question
        return
    dates = [row.question.extra.get("resolution_date") for row in group]
    if all(str(row.question.extra.get("source")).casefold() in DATASETS for row in group) and len(
        set(map(str, dates))
    ) == len(group):
        for row, day in zip(group, dates, strict=True):
            q = row.question
            name = f"{q.id}@{iso_date(day, 'resolution_date')}"
            yield row, replace(q, id=name, subject=name, extra={"cluster": q.id, **q.extra})
        return
    # Each row is compared with the first of all, of its day, and with an answer, not with every other.
    firsts: dict[tuple[str, Any], Placed] = {}
    for row in group:
        q = row.question
        answered = [
            name for name in ("outcome", "resolution_date") if not is_nothing(q.extra.get(name))
        ]
        for sort in [("all", None), ("as_of", q.as_of), *((name, None) for name in answered)]:
            first = firsts.setdefault(sort, row)
            if first is not row:
                _refuse_difference(first, row)
        yield row, replace(q, id=f"{q.id}@{q.as_of}") if q.as_of else q


def _refuse_difference(first: Placed, second: Placed) -> None:
    """Refuse two rows of one id that are not forecasts of one question from two days."""
    a, b = first.question, second.question
    apart = a.as_of != b.as_of
    for column in OWN_FIELDS:
        if getattr(a, column) != getattr(b, column) and not (apart and column in OWN_FIELDS[2:]):
            _refuse(
                first,
                second,
                column,
                getattr(a, column),
                getattr(b, column),
                "give each an id of its own",
            )
        if column == "text":
            _refuse_other_answer(first, second)
    if not apart:
        for column in dict.fromkeys([*a.extra, *b.extra]):
            if a.extra.get(column) != b.extra.get(column):
                _refuse(
                    first, second, column, a.extra.get(column), b.extra.get(column), "leave one out"
                )


def _refuse_other_answer(first: Placed, second: Placed) -> None:
    a, b = first.question, second.question
    for column, read in (
        ("outcome", parse_outcome),
        ("resolution_date", lambda v: iso_date(v, "")),
    ):
        values = [_read(read, q.extra.get(column)) for q in (a, b)]
        if None not in values and values[0] != values[1]:
            raise InputError(f"{second.place}: {_name(b)} has another {column} in {first.place}")


def _read(read: Callable[[Any], Any], value: Any) -> Any:
    if is_nothing(value):
        return None
    try:
        return (read(value),)
    except InputError:
        return (str(value),)


def _refuse(first: Placed, second: Placed, column: str, here: Any, there: Any, mend: str) -> None:
    name = _name(second.question)
    what = f"{'id ' * (name == shortened(second.question.id))}{name} stands for two questions"
    raise InputError(
        f"{second.place}: {what}: {column} is {shortened(here)} in {first.place} and"
        f" {shortened(there)} here; {mend}"
    )


def _name(question: Question) -> str:
    """What a message calls a question: its id, or its text where the file gives no id."""
    return shortened(question.text if question.id == text_id(question.text) else question.id)


def _refuse_taken_ids(placed: Sequence[Placed], derived: Mapping[int, Question]) -> None:
    """Refuse an id of the file that equals one that was derived."""
    owner: dict[str, Placed] = {}
    for row in placed:
        if id(row) in derived:
            known = owner.setdefault(derived[id(row)].id, row)
            if known is not row:
                name = shortened(derived[id(row)].id)
                both = f"id {name} is also that of {known.place}"
                raise InputError(f"{row.place}: {both}; give each an id of its own")
