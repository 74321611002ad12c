"""Record how questions ended, and which questions are the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from database import Database
from evaluation.learnt_rule import learn_ahead
from evaluation.outcomes import (
    NO_SUCH_QUESTION,
    Entry,
    ResolutionFile,
    match,
    outcome_word,
    parse_date,
)
from evaluation.resolved import RECORDS, AnalysisError, forecast_time, parse_time
from preflight.rules import hint
from questions.cells import InputError, listed, moment, parse_outcome
from questions.characters import composed, trimmed
from questions.checks import parent_id
from questions.rows import prefixed
from storage.records import EarlierQuestion, KnownQuestion, Resolution

# Outcomes without a question that are listed one by one.
LISTED_ENTRIES = 20
# Ids and texts that an unknown one is compared with.
COMPARED_NAMES = 2000


def resolve(
    database: Database, outcomes: ResolutionFile, path: Path | None = None
) -> tuple[list[str], bool]:
    """Record outcomes, those of the file ``path`` where given.

    Returns:
        Lines to print, and whether every outcome belongs to a question.

    Raises:
        InputError: outcomes contradict one another, or name two questions; nothing is recorded.
    """
    questions = database.runs.known_questions()
    checks = {
        row.subject: parent for row in questions if (parent := parent_id(row.extra)) is not None
    }
    try:
        asked: list[KnownQuestion | EarlierQuestion] = [*questions, *database.runs.asked_before()]
        found, unknown = match(outcomes.entries, asked, checks)
    except InputError as error:
        raise InputError(prefixed(path, error) if path else str(error)) from None
    late = late_outcomes(found, first_forecasts(database, [r.question_id for r in found]))
    subjects = {row.id: row.subject for row in questions}
    before = {subjects.get(name, name): row for name, row in database.outcomes.latest().items()}
    added = database.outcomes.add(found)
    learn_ahead(database)
    lines = [
        f"{added} outcomes recorded, {len(found) - added} known already,"
        f" {len(unknown)} without a question"
    ]
    lines += [
        f"  changed: {change} (the earlier record is kept)"
        for r in found
        if r.question_id in before and (change := changed_line(before[r.question_id], r))
    ]
    if late:
        lines.append(
            f"  warning: {listed(map(repr, late))}: the outcome was known before the first forecast"
            " was made, so none of its forecasts counts; look at the date"
        )
    lines += [f"  {note}" for note in outcomes.notes]
    names = [name for row in questions for name in (row.id, row.text)]
    for entry, reason in unknown[:LISTED_ENTRIES]:
        place = f", {entry.place}" if entry.place else ""
        # The reason may name an id already, and a long list of names takes too long.
        few = reason == NO_SUCH_QUESTION and len(names) <= COMPARED_NAMES
        near = hint(entry.name, names) if few else ""
        lines.append(f"  not recorded{place}: {entry.name[:90]!r}: {reason}{near}")
    if len(unknown) > LISTED_ENTRIES:
        lines.append(f"  and {len(unknown) - LISTED_ENTRIES} more that were not recorded")
    return lines, not unknown


def one_outcome(
    question: str,
    outcome: str,
    known: Iterable[KnownQuestion],
    date: str | None = None,
    source: str | None = None,
) -> Entry:
    """Return the outcome of ``--resolve-one``; ``question`` is an id or a text."""
    name, value = composed(trimmed(question)), composed(trimmed(outcome))
    names = {composed(name) for row in known for name in (row.id, row.subject)}
    today = datetime.now(UTC).date().isoformat()
    day = parse_date(today if date is None else date, "--date")
    identifier, text = (name, "") if name in names else ("", name)
    return Entry("", identifier, text, parse_outcome(value), day, source or "")


def changed_line(before: Resolution, now: Resolution) -> str:
    """Describe how an outcome differs from the earlier one, "" where it does not.

    The day counts as well: it decides which forecasts were made in time.
    """
    if before.outcome != now.outcome:
        words = [outcome_word(outcome) for outcome in (before.outcome, now.outcome)]
        return f"{now.question_id} from {words[0]} to {words[1]}"
    if parse_time(before.resolved_at) != parse_time(now.resolved_at):
        return f"the date of {now.question_id} from {before.resolved_at} to {now.resolved_at}"
    return ""


def join(database: Database, one: str, other: str) -> str:
    """Let two questions share a history and their outcomes; return a line to print.

    Raises:
        AnalysisError: an id that is not stored, two names of one question, or two outcomes.
    """
    questions = database.runs.known_questions()
    subjects = {row.id: row.subject for row in questions}
    for name in (one, other):
        if name not in subjects and name not in subjects.values():
            near = hint(name, {*subjects, *subjects.values()})
            raise AnalysisError(f"--same-question: no question has the id {name!r}{near}")
    first, second = subjects.get(one, one), subjects.get(other, other)
    for row in questions:
        if row.subject in (first, second) and (parent := parent_id(row.extra)) is not None:
            raise AnalysisError(f"--same-question: {row.id!r} is a coherence check of {parent!r}")
    if first == second:
        raise AnalysisError(f"--same-question: {one!r} and {other!r} are one question already")
    outcomes = {subjects[name]: row.outcome for name, row in database.outcomes.latest().items()}
    if first in outcomes and second in outcomes and outcomes[first] != outcomes[second]:
        words = [outcome_word(outcomes[subject]) for subject in (first, second)]
        raise AnalysisError(
            f"--same-question: {one!r} ended {words[0]} and {other!r} ended {words[1]};"
            " correct one outcome with --resolve-one"
        )
    database.runs.join_subjects(one, other)
    learn_ahead(database)
    return f"{other} is now the same question as {one}: one history, one outcome"


def first_forecasts(database: Database, subjects: Iterable[str]) -> dict[str, datetime]:
    """Return when each subject was first forecast, in UTC without a zone.

    A back-dated forecast counts from the end of its day.
    """
    first: dict[str, datetime] = {}
    asked = [key for record in RECORDS for key in database.runs.asked_in(subjects, record)]
    for row in database.forecasts.first(asked):
        made = forecast_time(row.as_of, row.created_at)
        first[row.subject] = min(made, first.get(row.subject, made))
    return first


def late_outcomes(
    found: Sequence[Resolution], first_forecasts: Mapping[str, datetime]
) -> list[str]:
    """Return the subjects whose outcome was known before their first forecast.

    ``first_forecasts`` has the moment of each subject's first forecast, in UTC without a zone.
    """
    late = []
    for r in found:
        when = moment(r.resolved_at, "date")
        first = first_forecasts.get(r.question_id)
        if when is not None and first is not None and first >= when.replace(tzinfo=None):
            late.append(r.question_id)
    return late
