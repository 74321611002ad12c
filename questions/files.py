"""Read files of questions.

``questions/rows.py`` has the kinds of file, ``questions/platforms.py`` the forecasting platforms
whose files are understood, ``questions/columns.py`` the names of columns and ``questions/cells.py``
the form of dates (ISO) and probabilities (0-1).

    question             the question; the only column that is needed
    id                   stable identity of the question; default: from its text
    background           facts given to the model
    resolution_criteria  what counts as yes
    close_date           the day after which the question is settled
    as_of                the day to forecast from, not in the future

The first row that cannot be used is reported with its line, and nothing is forecast. What is left
out (questions that are not yes/no, repeats) is named in one line. Other columns are kept in
``Question.extra``, of which models are shown only a market price (``questions/market.py``), so a
file can carry the outcomes of its questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from questions.cells import (
    InputError,
    counted,
    is_fractional,
    is_nothing,
    listed,
    located,
    parse_outcome,
    past_date,
    shortened,
)
from questions.columns import Table, with_guesses
from questions.ids import Placed, Reading, distinct
from questions.placeholders import dated, placeholders, unfilled
from questions.platforms import left_out_line, read_table
from questions.question import TEXT_FIELDS, Question, QuestionError
from questions.rows import prefixed
from questions.texts import judge_names, judge_text
from terminal.redaction import redact

QuestionOf = Callable[[Mapping[str, Any]], Question | None]


def read_question_file(path: str | Path, question_of: QuestionOf | None = None) -> Reading:
    """Read every question of a file, in order.

    Args:
        path: a file of a kind in ``questions/rows.py``.
        question_of: makes a question of a row under our names, or None for a row to skip;
            default ``question_from``.

    Raises:
        QuestionError: unreadable, malformed (with the line), without a question, or two questions
            under one id.
    """
    path = Path(path)
    try:
        table = read_table(path)
        if table.headings is not None and "question" not in table.headings:
            raise InputError(
                "line 1: the header has no column named question; it has "
                + listed(with_guesses(table.headings))
            )
        left = [left_out_line(table.left_out, "not yes/no questions")] if table.left_out else []
        placed = list(_placed(table, question_of or question_from))
        if not placed:
            raise InputError("; ".join(["no question in it", *left]))
        reading = distinct(placed)
    except InputError as error:
        raise QuestionError(prefixed(path, error)) from None
    unused = "" if question_of else _unused_days(reading.questions)
    notes = filter(None, [*table.notes, *reading.notes, unused, *left])
    return Reading(reading.questions, [f"{path}: {note}" for note in notes])


def unique_questions(questions: Iterable[Question], origin: str) -> Reading:
    """Give the questions of a list their identity, as those of a file.

    ``origin`` names the list in messages.

    Raises:
        QuestionError: two questions under one id, or a day to forecast from in the future.
    """
    placed = [Placed(f"question {number}", q) for number, q in enumerate(questions, start=1)]
    try:
        for row in placed:
            with located(row.place):
                judge_text("question", row.question.text)
                if redact(row.question.text) != row.question.text:
                    raise QuestionError("the question holds a password or token; take it out")
                if row.question.as_of:
                    past_date(row.question.as_of, "as_of")
            for name in placeholders(row.question.text):
                raise InputError(f"{row.place}: {unfilled('question', name)}; write it out")
        reading = distinct(placed)
    except InputError as error:
        raise QuestionError(f"{origin}: {error}") from None
    return Reading(reading.questions, [f"{origin}: {note}" for note in reading.notes])


def _placed(table: Table, question_of: QuestionOf) -> Iterator[Placed]:
    for row in table.rows:
        with located(row.place):
            for values in dated(row.values):
                question = question_of(values)
                if question is not None:
                    yield Placed(row.place, question)


def question_from(values: Mapping[str, Any]) -> Question:
    """Make a question of a row under our names.

    Raises:
        InputError: a cell that cannot be used; the message lacks the place.
    """
    if "question" not in values:
        has = listed(with_guesses(values))
        raise QuestionError(f"the question is empty; the row has {has or 'nothing'}")
    known: dict[str, str] = {}
    used = ("question", *TEXT_FIELDS, "fine_print")
    for column in ("question", *TEXT_FIELDS[1:], "fine_print"):
        value = values.get(column)
        if is_nothing(value):
            continue
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise QuestionError(f"{column} is {shortened(value)}, expected text")
        known[column] = str(value)
        judge_text(column, value)
    if fine_print := known.pop("fine_print", ""):
        criteria = f"{known.get('resolution_criteria', '')}\n\n{fine_print}"
        known["resolution_criteria"] = criteria.strip()
    if not is_nothing(outcome := values.get("outcome")) and not is_fractional(outcome):
        try:
            parse_outcome(outcome)
        except InputError as error:
            belongs = "what counts as yes belongs in resolution_criteria"
            raise QuestionError(f"{error}; {belongs}") from None
    judge_names(values)
    extra = {key: value for key, value in values.items() if key not in used}
    question = Question(known.pop("question", ""), **known, extra=extra)
    if question.as_of:
        past_date(question.as_of, "as_of")
    return question


def _unused_days(questions: Iterable[Question]) -> str:
    """Name the questions whose only day is that of an outcome they lack, "" for none."""
    found: dict[str, list[str]] = {}
    for q in questions:
        days = [name for name in ("date", "resolution_date") if not is_nothing(q.extra.get(name))]
        told_by = f"@{q.extra.get('resolution_date')}"  # a question about a series
        if days and not q.close_date and "outcome" not in q.extra and not q.id.endswith(told_by):
            found.setdefault(" and ".join(days), []).append(shortened(q.id))
    return "; ".join(
        f"{days} not used without an outcome, and no close_date given: {listed(names)}"
        for days, names in found.items()
    )


def closed_note(questions: Iterable[Question], today: str) -> str:
    """Name the questions that closed before the day they are asked from, "" for none."""
    closed = [q for q in questions if q.close_date and q.close_date < (q.as_of or today)]
    if not closed:
        return ""
    names = listed(f"{shortened(q.id)} ({q.close_date})" for q in closed)
    return f"{counted(len(closed), 'question')} with a close_date in the past: {names}"


def answered_note(questions: Iterable[Question], as_of: str | None) -> str:
    """Name the questions asked live whose file gives the outcome, "" for none."""
    answered = [
        shortened(q.id)
        for q in questions
        if not (q.as_of or as_of) and not is_nothing(q.extra.get("outcome"))
    ]
    if not answered:
        return ""
    what = f"{counted(len(answered), 'question')} asked live with the outcome in the file already"
    backtest = "--backtest forecasts such a question from a past day"
    return f"{what}: {listed(answered)}; {backtest}"
