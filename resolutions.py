"""Files of outcomes: how questions ended, read and matched with the questions of a database. Reading them had no room.

A CSV or JSONL file has ``id`` or ``question`` (the exact text; case and white space do not matter), ``outcome`` (0/1, yes/no or
void), ``date`` (when the outcome became known; also ``resolution_date`` or ``resolved_at``) and, if wished, ``source``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from database import Resolution
from questions import READERS, QuestionError, file_lines

OUTCOMES: Mapping[str, int | None] = {
    **dict.fromkeys(("1", "1.0", "yes", "true"), 1),
    **dict.fromkeys(("0", "0.0", "no", "false"), 0),
    **dict.fromkeys(("void", "voided", "annulled", "n/a"), None),
}
DATE_COLUMNS = ("date", "resolution_date", "resolved_at")


class ResolutionError(ValueError):
    """An outcome, or a file of outcomes, that cannot be used; the message is one line for the user."""


@dataclass(frozen=True)
class Entry:
    """One line of a file of outcomes; ``outcome`` is 0, 1 or None for void, ``date`` an ISO date or timestamp."""

    line: int
    id: str
    text: str
    outcome: int | None
    date: str
    source: str

    @property
    def name(self) -> str:
        """What the file calls the question."""
        return self.id or self.text


def parse_outcome(value: Any) -> int | None:
    """0, 1, or None for a voided question.

    Raises:
        ResolutionError: anything else (a probability is not an outcome).
    """
    key = str(value).strip().lower() if value is not None else ""
    if key not in OUTCOMES:
        raise ResolutionError(f"outcome is {value!r}, expected 0, 1 (no, yes) or void")
    return OUTCOMES[key]


def parse_date(value: Any, *, now: datetime | None = None) -> str:
    """An ISO date or timestamp, unchanged but for white space.

    Raises:
        ResolutionError: missing, not a date, or in the future.
    """
    text = str(value).strip() if value is not None else ""
    if not text:
        raise ResolutionError("date is missing; give the day the outcome became known, like 2026-12-31")
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise ResolutionError(f"date is {text!r}, expected a date like 2026-12-31") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment > (now or datetime.now(UTC)):
        raise ResolutionError(f"date is {text!r}, which lies in the future")
    return text


def read_resolutions(path: str | Path) -> list[Entry]:
    """Read a .csv or .jsonl file of outcomes.

    Raises:
        ResolutionError: unreadable, malformed (with the line number), empty, or two outcomes for one question.
    """
    path = Path(path)
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows}
    if path.suffix.lower() not in readers:
        raise ResolutionError(f"{path}: unknown kind of file; allowed: {', '.join(readers)}")
    try:
        lines = file_lines(path)
    except QuestionError as error:
        raise ResolutionError(str(error)) from None
    entries: list[Entry] = []
    for line, row in readers[path.suffix.lower()](lines, path):
        try:
            entries.append(_entry(line, row))
        except ResolutionError as error:
            raise ResolutionError(f"{path}, line {line}: {error}") from None
    if not entries:
        raise ResolutionError(f"{path}: no outcome in it")
    _refuse_contradictions(entries, path)
    return entries


def _csv_rows(lines: Sequence[str], path: Path) -> Iterator[tuple[int, Mapping[Any, Any]]]:
    reader = csv.DictReader(lines, strict=True)
    start = 2
    try:
        header = {(name or "").strip() for name in reader.fieldnames or ()}
        if not header & {"id", "question", "text"} or "outcome" not in header:
            raise ResolutionError(
                f"{path}, line 1: the header needs a column id or question, and a column outcome"
            )
        for row in reader:
            yield start, {(key.strip() if isinstance(key, str) else key): value for key, value in row.items()}
            start = reader.line_num + 1
    except csv.Error as error:
        raise ResolutionError(f"{path}, line {start} or later: malformed CSV ({error})") from None


def _jsonl_rows(lines: Sequence[str], path: Path) -> Iterator[tuple[int, Mapping[Any, Any]]]:
    try:
        yield from READERS[".jsonl"](lines)
    except QuestionError as error:
        raise ResolutionError(f"{path}, {error}") from None


def _entry(line: int, row: Mapping[Any, Any]) -> Entry:
    if None in row:
        raise ResolutionError("the line has more columns than the header")
    identifier = str(row.get("id") or "").strip()
    text = " ".join(str(row.get("question") or row.get("text") or "").split())
    if not identifier and not text:
        raise ResolutionError("neither id nor question is given")
    date = next((row[name] for name in DATE_COLUMNS if row.get(name)), None)
    return Entry(
        line,
        identifier,
        text,
        parse_outcome(row.get("outcome")),
        parse_date(date),
        str(row.get("source") or "").strip(),
    )


def _refuse_contradictions(entries: Iterable[Entry], path: Path) -> None:
    seen: dict[str, Entry] = {}
    for entry in entries:
        first = seen.setdefault(entry.name.lower(), entry)
        if first.outcome != entry.outcome:
            raise ResolutionError(
                f"{path}, line {entry.line}: {entry.name[:60]!r} has another outcome in line {first.line}"
            )


def match(
    entries: Iterable[Entry], questions: Sequence[Any]
) -> tuple[list[Resolution], list[tuple[Entry, str]]]:
    """Find each entry's question: by its id when the file gives one, else by its text.

    A file that gives ids means them: the same wording may have been asked for another date with another outcome.

    Args:
        entries: what a file says.
        questions: the database's rows with ``id`` and ``text``.

    Returns:
        The resolutions to record, and the entries without a question, each with the reason in words.
    """
    ids = {row["id"] for row in questions}
    by_text: dict[str, list[str]] = {}
    for row in questions:
        by_text.setdefault(_folded(row["text"]), []).append(row["id"])
    found, unknown = [], []
    for entry in entries:
        known = [entry.id] if entry.id in ids else []
        candidates = known if entry.id else by_text.get(_folded(entry.text), [])
        if len(candidates) == 1:
            found.append(Resolution(candidates[0], entry.outcome, entry.date, entry.source))
        elif candidates:
            unknown.append(
                (entry, f"{len(candidates)} questions have this text; give the id: {', '.join(candidates)}")
            )
        else:
            unknown.append((entry, "no such question in the database"))
    return found, unknown


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()
