"""Read how questions ended, and match it with the questions of a database.

A file of resolutions is a .csv, .tsv, .jsonl or .json file; ``questions/platforms.py`` has the
platforms whose files are understood.

    id or question   the question's id, or its text (case and white space do not matter)
    outcome          0/1, no/yes or void; blank: the question is still open (skipped, counted)
    date             the day the outcome became known (also resolution_date, resolved_at …)
    source           optional: where the outcome is documented

A contradiction, however the question is named, refuses the whole file: nothing of it is recorded.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from questions.cells import (
    InputError,
    counted,
    is_fractional,
    listed,
    located,
    moment,
    parse_outcome,
    past_moment,
    shortened,
    utc_text,
)
from questions.characters import composed, trimmed
from questions.columns import Row, Table, with_guesses
from questions.placeholders import filled_text, placeholders
from questions.platforms import left_out_line, read_table
from questions.question import SHORTENED_NUMBER, folded
from questions.rows import prefixed
from storage.records import EarlierQuestion, KnownQuestion, Resolution

NO_SUCH_QUESTION: Final = "no such question in the database"
SUFFIXES: Final = (".csv", ".tsv", ".jsonl", ".json")


@dataclass(frozen=True)
class Entry:
    """What a file says of one question: its outcome, and when it was known.

    ``outcome`` is 0, 1 or None for void; ``date`` is a day or a UTC moment (``parse_date``);
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
class ResolutionFile:
    """The entries of a file, and lines for the user about how it was read."""

    entries: list[Entry]
    notes: list[str] = field(default_factory=list)


def outcome_word(value: float | None) -> str:
    """Name an outcome: ``yes``, ``no`` or ``void``."""
    return "void" if value is None else "yes" if value else "no"


def parse_date(value: Any, name: str = "date", *, now: datetime | None = None) -> str:
    """Read an ISO day or timestamp that has come.

    A day stays one; a timestamp becomes UTC with seconds and a ``Z``.

    Raises:
        InputError: missing, not a date, or in the future.
    """
    when = past_moment(value, name, now=now)
    text = trimmed(str(value))
    if len(text) == len("2026-12-31"):
        return text
    return utc_text(when)


# --- files ------------------------------------------------------------------------------------


def read_resolutions(path: str | Path) -> ResolutionFile:
    """Read a file of resolutions.

    Open questions and questions that are not yes/no are left out and counted.

    Raises:
        InputError: unreadable, malformed (with the line), without an outcome, or two outcomes of
            one question.
    """
    path = Path(path)
    try:
        if path.suffix.lower() not in SUFFIXES:
            raise InputError(f"unknown kind of file; allowed: {', '.join(SUFFIXES)}")
        table = read_table(path)
        _judge_header(table)
        found = _entries(table)
        seen: dict[tuple[str, str], Entry] = {}
        for entry in found.entries:
            first = seen.setdefault((entry.id or folded(entry.text), entry.horizon), entry)
            _refuse_contradiction(first, entry, "")
        if not found.entries:
            raise InputError("; ".join(["no outcome in it", *found.notes]))
    except InputError as error:
        raise InputError(prefixed(path, error)) from None
    return found


def _judge_header(table: Table) -> None:
    names = table.headings
    if names is None or any(row.platform not in ("", "forecastbench") for row in table.rows):
        return
    if not {"id", "question"} & set(names) or "outcome" not in names:
        raise InputError(
            "line 1: the header needs a column id or question, and a column outcome; it has "
            + listed(with_guesses(names))
        )


def _entries(table: Table) -> ResolutionFile:
    entries: list[Entry] = []
    left_out, open_questions = list(table.left_out), 0
    for row in table.rows:
        with located(row.place):
            if reason := _unusable(row):
                name = shortened(row.values.get("id") or row.values.get("question"))
                left_out.append(f"{row.place}: {name} ({reason})")
            elif "outcome" not in row.values:
                open_questions += 1
            else:
                entries.append(_entry(row))
    notes = list(table.notes)
    if open_questions:
        notes.append(f"{counted(open_questions, 'open question')} skipped (no outcome yet)")
    if left_out:
        notes.append(left_out_line(left_out, "no yes/no outcome"))
    return ResolutionFile(entries, notes)


def _unusable(row: Row) -> str:
    """Say why a platform's outcome cannot be used, "" when it can.

    It is a price, or its date is a market's scheduled end (ForecastBench: the market ended early).
    """
    outcome = row.values.get("outcome")
    if outcome is None and str(row.values.get("resolved")).strip().casefold() in ("true", "yes"):
        return "resolved, but its outcome is missing"
    if not row.platform or outcome is None:
        return ""
    if is_fractional(outcome):
        return f"resolved to {shortened(outcome)}"
    when = moment(_moment(row.values), "date")
    if when is not None and when > datetime.now(UTC):
        return f"resolved, but its date {when.date()} lies in the future"
    return ""


def _entry(row: Row) -> Entry:
    values = row.values
    identifier = _text(values, "id")
    # A text in which something stays unfilled is compared as it is.
    text = " ".join(filled_text(_text(values, "question"), values, "text").split())
    if not identifier and not text:
        raise InputError("neither id nor question is given")
    when = _moment(values)
    return Entry(
        row.place,
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
    if len({moment(value, name) for name, value in named.items()}) == 2:
        both = " and ".join(f"{name} is {value!r}" for name, value in named.items())
        raise InputError(f"{both}; leave one out")
    return next((trimmed(str(value)) for value in named.values()), None)


def _text(values: Mapping[str, Any], column: str) -> str:
    value = values.get(column, "")
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise InputError(f"{column} is {shortened(value)}, expected text")
    return trimmed(str(value))


def _refuse_contradiction(first: Entry, second: Entry, identifier: str) -> None:
    called = identifier and (first.name, second.name) != (identifier, identifier)
    where = f"in {first.place}" + (f" (both are {identifier})" if called else "")
    begin = f"{second.place}: {shortened(second.name)} has another"
    if first.outcome != second.outcome:
        raise InputError(f"{begin} outcome {where}")
    if moment(first.date, "date") != moment(second.date, "date"):
        raise InputError(f"{begin} date {where}: {first.date} there, {second.date} here")


# --- matching ---------------------------------------------------------------------------------


class _Known:
    """The questions of a database by id, subject and text."""

    def __init__(self, questions: Iterable[KnownQuestion | EarlierQuestion]) -> None:
        self.subject_of: dict[str, str] = {}
        self.subjects: dict[str, str] = {}
        # The ids of a text by subject, and the wordings of a subject.
        self.by_text: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self.texts: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for q in questions:
            self.subject_of[composed(q.id)] = q.subject
            self.subjects.setdefault(composed(q.subject), q.subject)
            self.by_text[folded(q.text)].setdefault(q.subject, q.id)
            self.texts[q.subject].setdefault(folded(q.text), q.text)
        # Ids by what precedes their last ``@``, and by their fold.
        self.dates: defaultdict[str, list[str]] = defaultdict(list)
        self.alike: defaultdict[str, list[str]] = defaultdict(list)
        for name in self.subject_of:
            self.dates[name.rpartition("@")[0]].append(name)
            self.alike[_alike(name)].append(name)

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

    def missing(self, entry: Entry) -> str:
        """Say why an entry's question was not found."""
        if not entry.id:
            return NO_SUCH_QUESTION
        if others := self.dates.get(entry.id):
            return f"asked for other dates: {listed(others)}"
        if SHORTENED_NUMBER.fullmatch(entry.id):
            return f"{NO_SUCH_QUESTION}; a spreadsheet has cut the digits of this id"
        near = self.alike.get(_alike(entry.id))
        return NO_SUCH_QUESTION + (f"; is it {listed(map(shortened, near))}?" if near else "")


def _alike(identifier: str) -> str:
    """Fold what people change in an id: case, zeros in front, ``.0`` behind."""
    return re.sub(r"^0+(?=\d)|\.0+$", "", identifier.casefold())


def match(
    entries: Iterable[Entry],
    questions: Iterable[KnownQuestion | EarlierQuestion],
    checks: Mapping[str, str] = MappingProxyType({}),
) -> tuple[list[Resolution], list[tuple[Entry, str]]]:
    """Find each entry's question: by its id when the file gives one, else by its text.

    A file that gives ids means them: the same wording may have been asked for another date.

    Args:
        entries: what a file says.
        questions: those of the database; several of one id are its wordings.
        checks: the subjects of coherence checks, whose outcomes count nowhere, and what they check.

    Returns:
        The resolutions to record, one for each subject, and the entries without a question, each
        with the reason in words.

    Raises:
        InputError: two outcomes or dates of one question, or an id and a text that name two
            questions.
    """
    known = _Known(questions)
    found: dict[str, Entry] = {}
    unknown = []
    for entry in entries:
        subject = known.subject(entry)
        ids = known.by_text.get(folded(entry.text), {}) if entry.text else {}
        if entry.id and entry.text:
            _refuse_two_questions(entry, subject, ids, known)
        if not entry.id and len(ids) == 1:
            subject = next(iter(ids))
        if subject is not None and subject in checks:
            checked = shortened(checks[subject])
            unknown.append((entry, f"it checks {checked}; give the outcome of that question"))
        elif subject is not None:
            _refuse_contradiction(found.setdefault(subject, entry), entry, subject)
        elif ids and not entry.id:
            give = f"{len(ids)} questions have this text; give the id: {listed(ids.values())}"
            unknown.append((entry, give))
        else:
            unknown.append((entry, known.missing(entry)))
    return [Resolution(name, e.outcome, e.date, e.source) for name, e in found.items()], unknown


def _refuse_two_questions(
    entry: Entry, subject: str | None, ids: Mapping[str, str], known: _Known
) -> None:
    """Refuse an entry whose id and text (which has ``ids``) name two questions."""
    if subject in ids or (subject is None and not ids) or placeholders(entry.text):
        return
    parts = []
    if subject is not None:
        parts.append(f"that id is {shortened(next(reversed(known.texts[subject].values())))}")
    if ids:
        parts.append(f"that text has the id {', '.join(map(shortened, ids.values()))}")
    place = f"{entry.place}: " if entry.place else ""
    both = f"id {shortened(entry.id)} and the text {shortened(entry.text)}"
    raise InputError(f"{place}{both} name two questions: {', '.join(parts)}")
