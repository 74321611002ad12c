"""Outcomes: how questions ended, read from files and matched with a database.

A file of outcomes is a .csv, .tsv, .jsonl or .json file; ``questions/platforms.py`` has the platforms whose
files are understood.

    id or question   the question's id, or its text (case and white space do not matter)
    outcome          0/1, no/yes or void; blank: the question is still open (skipped, counted)
    date             the day the outcome became known (also resolution_date, resolved_at …)
    source           optional: where the outcome is documented

A contradiction, however the question is named, refuses the whole file: nothing of it is recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from database import Resolution
from questions import cells
from questions.cells import (
    InputError,
    counted,
    is_fractional,
    listed,
    moment,
    shortened,
)
from questions.characters import composed, trimmed
from questions.columns import with_guesses
from questions.placeholders import filled_text, placeholders
from questions.platforms import Record, Records, left_out_line, read_records
from questions.question import SHORTENED_NUMBER, folded
from questions.rows import prefixed

SUFFIXES: Final = (".csv", ".tsv", ".jsonl", ".json")


class ResolutionError(InputError):
    """An outcome or a file of outcomes that cannot be used; the message is one line."""


@dataclass(frozen=True)
class Entry:
    """One outcome: 0, 1 or None for void, and the ISO date when it became known.

    ``place`` is its line in the file (``line 3``), "" for the command line; ``aliases`` are further
    ids that its platform gives the question; ``horizon`` is its resolution date, which may tell
    questions of one id apart.
    """

    place: str
    id: str
    text: str
    outcome: int | None
    date: str
    source: str = ""
    aliases: tuple[str, ...] = ()
    horizon: str = ""

    @property
    def name(self) -> str:
        """What the file calls the question."""
        return self.id or self.text


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of a file, and lines for the user about how it was read."""

    entries: list[Entry]
    notes: list[str] = field(default_factory=list)


def parse_outcome(value: Any) -> int | None:
    """Read an outcome: 0, 1, or None for a voided question.

    Raises:
        ResolutionError: anything else (a probability is not an outcome).
    """
    try:
        return cells.parse_outcome(value)
    except InputError as error:
        raise ResolutionError(str(error)) from None


def outcome_word(value: float | None) -> str:
    """Name an outcome: ``yes``, ``no`` or ``void``."""
    return "void" if value is None else "yes" if value else "no"


def parse_date(value: Any, *, now: datetime | None = None) -> str:
    """Read an ISO date or timestamp; it stays as written where ISO allows it.

    Raises:
        ResolutionError: missing, not a date, or in the future.
    """
    try:
        when = moment(value, "date")
    except InputError as error:
        raise ResolutionError(str(error)) from None
    if when is None:
        raise ResolutionError(
            "date is missing; give the day the outcome became known, like 2026-12-31"
        )
    text = trimmed(str(value))
    if not re.fullmatch(r"[\d-]{10}(?:[T ][\d:.]{5,15}(?:Z|[+-]\d\d:\d\d)?)?", text):
        text = when.isoformat()  # what the rest of this program reads
    if when > (now or datetime.now(UTC)):
        raise ResolutionError(f"date is {text!r}, which lies in the future")
    return text


# --- files ------------------------------------------------------------------------------------


def read_resolutions(path: str | Path) -> Outcomes:
    """Read a file of outcomes.

    Open questions and questions that are not yes/no are left out and counted.

    Raises:
        ResolutionError: unreadable, malformed (with the line), without an outcome, or two outcomes
            of one question.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ResolutionError(f"{path}: unknown kind of file; allowed: {', '.join(SUFFIXES)}")
    try:
        records = read_records(path)
        _judge_header(records)
        outcomes = _outcomes(records)
        _refuse_contradictions(outcomes.entries)
    except InputError as error:
        raise ResolutionError(prefixed(path, error)) from None
    if not outcomes.entries:
        raise ResolutionError(
            f"{path}: no outcome in it{''.join('; ' + note for note in outcomes.notes)}"
        )
    return outcomes


def _judge_header(records: Records) -> None:
    names = records.columns
    if names is None or any(
        record.platform not in ("", "forecastbench") for record in records.rows
    ):
        return
    if not {"id", "question"} & set(names) or "outcome" not in names:
        raise InputError(
            "line 1: the header needs a column id or question, and a column outcome; it has "
            + listed(with_guesses(names))
        )


def _outcomes(records: Records) -> Outcomes:
    entries: list[Entry] = []
    left_out, open_questions = list(records.left_out), 0
    for record in records.rows:
        try:
            reason = _unusable(record)
            if "outcome" not in record.values:
                open_questions += 1
            elif reason:
                name = shortened(record.values.get("id") or record.values.get("question"))
                left_out.append(f"{record.place}: {name} ({reason})")
            else:
                entries.append(_entry(record))
        except InputError as error:
            raise InputError(f"{record.place}: {error}") from None
    notes = list(records.notes)
    if open_questions:
        notes.append(f"{counted(open_questions, 'open question')} skipped (no outcome yet)")
    if left_out:
        notes.append(left_out_line(left_out, "no yes/no outcome"))
    return Outcomes(entries, notes)


def _unusable(record: Record) -> str:
    """Say why a platform's outcome cannot be used, "" when it can.

    It is a price, or its date is a market's scheduled end (ForecastBench: the market ended early).
    """
    outcome = record.values.get("outcome")
    if not record.platform or outcome is None:
        return ""
    if is_fractional(outcome):
        return f"resolved to {shortened(outcome)}"
    when = moment(_moment(record.values), "date")
    if when is not None and when > datetime.now(UTC):
        return f"resolved, but its date {when.date()} lies in the future"
    return ""


def _entry(record: Record) -> Entry:
    values = record.values
    identifier = _text(values, "id")
    # A text in which something stays unfilled is compared as it is.
    text = " ".join(filled_text(_text(values, "question"), values, "text").split())
    if not identifier and not text:
        raise ResolutionError("neither id nor question is given")
    when = _moment(values)
    return Entry(
        record.place,
        identifier,
        text,
        parse_outcome(values.get("outcome")),
        parse_date(when),
        _text(values, "source"),
        tuple(filter(None, [_text(values, "condition_id")])),
        str(values.get("resolution_date", ""))[:10],
    )


def _moment(values: Mapping[str, Any]) -> str | None:
    """Return when an outcome became known, as the file has it; None without.

    Raises:
        InputError: no date, or ``date`` and a resolution date that differ.
    """
    named = {name: values[name] for name in ("date", "resolution_date") if name in values}
    moments = {name: moment(value, name) for name, value in named.items()}
    if len(named) == 2 and moments["date"] != moments["resolution_date"]:
        raise InputError(
            f"date is {named['date']!r} and resolution_date is {named['resolution_date']!r}; leave one out"
        )
    return next((trimmed(str(value)) for value in named.values()), None)


def _text(values: Mapping[str, Any], column: str) -> str:
    value = values.get(column)
    if value is None:
        return ""
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ResolutionError(f"{column} is {shortened(value)}, expected text")
    return trimmed(str(value))


def _refuse_contradictions(entries: Iterable[Entry]) -> None:
    seen: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        first = seen.setdefault((entry.id or folded(entry.text), entry.horizon), entry)
        _refuse_contradiction(first, entry, "")


def _refuse_contradiction(first: Entry, second: Entry, identifier: str) -> None:
    both = (
        f" (both are {identifier})"
        if identifier and (first.name, second.name) != (identifier,) * 2
        else ""
    )
    begin = f"{second.place}: {shortened(second.name)} has another"
    if first.outcome != second.outcome:
        raise ResolutionError(f"{begin} outcome in {first.place}{both}")
    if moment(first.date, "date") != moment(second.date, "date"):
        raise ResolutionError(
            f"{begin} date in {first.place}{both}: {first.date} there, {second.date} here"
        )


# --- matching ---------------------------------------------------------------------------------


class _Known:
    """The questions of a database by id, subject and text."""

    def __init__(self, questions: Iterable[Any]) -> None:
        self.subject_of: dict[str, str] = {}
        self.subjects: dict[str, str] = {}
        self.by_text: dict[str, dict[str, str]] = {}
        self.texts: dict[str, dict[str, str]] = {}
        for row in questions:
            identifier, subject = row.id, row.subject
            self.subject_of[composed(identifier)] = subject
            self.subjects.setdefault(composed(subject), subject)
            text = folded(row.text)
            self.by_text.setdefault(text, {}).setdefault(subject, identifier)
            self.texts.setdefault(subject, {}).setdefault(text, row.text)

    def subject(self, entry: Entry) -> str | None:
        """Return the subject that an entry names by its id, with its date if it was asked."""
        for identifier in filter(None, (entry.id, *entry.aliases)):
            dated = f"{identifier}@{entry.date[:10]}"
            # A forecast from that day of another subject has the same form.
            if self.subject_of.get(dated) == dated:
                return dated
            found = self.subject_of.get(identifier, self.subjects.get(identifier))
            if found is not None:
                return found
        return None

    @cached_property
    def _names(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Known ids by what stands before their last ``@``, and by their fold."""
        dates: dict[str, list[str]] = {}
        alike: dict[str, list[str]] = {}
        for name in self.subject_of:
            dates.setdefault(name.rpartition("@")[0], []).append(name)
            alike.setdefault(_alike(name), []).append(name)
        return dates, alike

    def missing(self, entry: Entry) -> str:
        """Say why an entry's question was not found."""
        dates, alike = self._names
        if entry.id and (others := dates.get(entry.id)):
            return f"asked for other dates: {listed(others)}"
        if SHORTENED_NUMBER.fullmatch(entry.id):
            return "no such question in the database; a spreadsheet has cut the digits of this id"
        near = list(map(shortened, alike.get(_alike(entry.id), ()))) if entry.id else []
        return f"no such question in the database{f'; is it {listed(near)}?' if near else ''}"


def _alike(identifier: str) -> str:
    """Fold what spreadsheets and people change in an id: case, zeros in front, ``.0`` behind."""
    return re.sub(r"^0+(?=\d)|\.0+$", "", identifier.casefold())


def match(
    entries: Iterable[Entry], questions: Iterable[Any]
) -> tuple[list[Resolution], list[tuple[Entry, str]]]:
    """Find each entry's question: by its id when the file gives one, else by its text.

    A file that gives ids means them: the same wording may have been asked for another date.

    Args:
        entries: what a file says.
        questions: rows with ``id``, ``subject`` and ``text``; several of one id are its wordings.

    Returns:
        The resolutions to record, one for each subject, and the entries without a question, each
        with the reason in words.

    Raises:
        ResolutionError: two outcomes or dates of one question, or an id and a text that name two
            questions.
    """
    known = _Known(questions)
    found: dict[str, tuple[Entry, Resolution]] = {}
    unknown = []
    for entry in entries:
        subject = known.subject(entry)
        candidates = known.by_text.get(folded(entry.text), {}) if entry.text else {}
        if entry.id and entry.text:
            _refuse_two_questions(entry, subject, candidates, known)
        if not entry.id and len(candidates) == 1:
            subject = next(iter(candidates))
        if subject is not None:
            resolution = Resolution(subject, entry.outcome, entry.date, entry.source)
            first, _ = found.setdefault(subject, (entry, resolution))
            _refuse_contradiction(first, entry, subject)
        elif candidates and not entry.id:
            ids = listed(candidates.values())
            unknown.append(
                (entry, f"{len(candidates)} questions have this text; give the id: {ids}")
            )
        else:
            unknown.append((entry, known.missing(entry)))
    return [resolution for _, resolution in found.values()], unknown


def _refuse_two_questions(
    entry: Entry, subject: str | None, candidates: Mapping[str, str], known: _Known
) -> None:
    """Refuse an entry whose id and text name two questions."""
    if subject in candidates or (subject is None and not candidates) or placeholders(entry.text):
        return
    place = f"{entry.place}: " if entry.place else ""
    begin = (
        f"{place}id {shortened(entry.id)} and the text {shortened(entry.text)} name two questions: "
    )
    parts = []
    if subject is not None:
        parts.append(f"that id is {shortened(next(reversed(known.texts[subject].values())))}")
    if candidates:
        parts.append(f"that text has the id {', '.join(map(shortened, candidates.values()))}")
    raise ResolutionError(begin + ", ".join(parts))


def late_outcomes(
    found: Sequence[Resolution], first_forecasts: Mapping[str, datetime]
) -> list[str]:
    """Return the subjects whose outcome was known before their first forecast.

    None of their forecasts can count.

    Args:
        found: outcomes to record, by subject.
        first_forecasts: by subject, the moment of its first forecast, in UTC without a zone.
    """
    late = []
    for r in found:
        when = moment(r.resolved_at, "date")
        first = first_forecasts.get(r.question_id)
        if when is not None and first is not None and first >= when.replace(tzinfo=None):
            late.append(r.question_id)
    return late
