"""Questions: what they are, and how they are read from .txt, .csv and .jsonl files.

A question file never half-works: the first malformed line is reported with its number and nothing
is forecast. Columns this program does not know are kept in ``Question.extra`` and never shown to a
model, so a file of resolved questions can carry its outcomes along.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any

# A question is a sentence or two. Anything longer is a wrong column or a wrong file.
MAX_QUESTION_CHARACTERS = 2000
MAX_BACKGROUND_CHARACTERS = 20_000


# Punctuation that may end a question without making it another one.
_END = " .?!…;:。？！؟"


def folded(text: str) -> str:
    """A question's wording without what does not change it: case, white space, composed letters, final punctuation."""
    composed = unicodedata.normalize("NFC", text).casefold()
    return " ".join(unicodedata.normalize("NFC", composed).split()).rstrip(_END)


def text_id(text: str) -> str:
    """The id of a question without one: 12 hexadecimal digits of the SHA-256 of its text with single spaces."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:12]


class QuestionError(ValueError):
    """A question or a question file that cannot be used; the message is one line for the user."""


@dataclass(frozen=True)
class Question:
    """One forecastable yes/no question.

    Args:
        text: the question, not empty, at most ``MAX_QUESTION_CHARACTERS`` characters.
        id: stable identity under which forecasts of different runs are joined; when empty, the first
            12 hexadecimal digits of the SHA-256 of the text with its white space folded.
        background: optional facts given to the model with the question.
        resolution_criteria: optional text that says exactly what counts as yes.
        close_date: optional ISO date after which the question is settled.
        as_of: optional ISO date; evidence and the prompt's "today" are held at or before it.
        extra: further columns of the file; stored, never shown to a model.
        subject: identity under which histories and outcomes of several ids are joined; when empty, the id.

    Raises:
        QuestionError: empty or overlong text, or a date that is not an ISO date.
    """

    text: str
    id: str = ""
    background: str = ""
    resolution_criteria: str = ""
    close_date: str | None = None
    as_of: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    subject: str = ""

    def __post_init__(self) -> None:
        text = " ".join(self.text.split())
        for name in TEXT_FIELDS:
            if not _is_unicode(getattr(self, name) or ""):
                raise QuestionError(
                    f"{name} holds half a character (a lone surrogate), which is no Unicode text"
                )
        if not text:
            raise QuestionError("the question is empty")
        if len(text) > MAX_QUESTION_CHARACTERS:
            raise QuestionError(
                f"the question has {len(text)} characters, at most {MAX_QUESTION_CHARACTERS} are allowed"
            )
        for name in ("background", "resolution_criteria"):
            if len(getattr(self, name)) > MAX_BACKGROUND_CHARACTERS:
                raise QuestionError(f"{name} has more than {MAX_BACKGROUND_CHARACTERS} characters")
        for name in ("close_date", "as_of"):
            object.__setattr__(self, name, _iso_date(getattr(self, name), name))
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "id", self.id.strip() or text_id(text))
        object.__setattr__(self, "subject", self.subject or self.id)


# The columns of a question file; the subject is never one of them.
TEXT_FIELDS = tuple(f.name for f in fields(Question) if f.name not in ("extra", "subject"))


def _iso_date(value: str | None, name: str) -> str | None:
    """Return ``YYYY-MM-DD`` (a time of day is dropped) or None; raises QuestionError otherwise."""
    if value is None or not value.strip():
        return None
    try:
        return date.fromisoformat(value.strip()[:10]).isoformat()
    except ValueError:
        raise QuestionError(f"{name} is {value!r}, expected a date like 2026-12-31") from None


def _from_mapping(row: Mapping[Any, Any]) -> Question:
    """Build a question from one row; the text may stand under ``question`` or ``text``."""
    if None in row:
        raise QuestionError("the line has more columns than the header")
    values = {str(key).strip(): value for key, value in row.items()}
    text = values.pop("question", None) or values.pop("text", None)
    if not isinstance(text, str) or not text.strip():
        raise QuestionError("the question is empty")
    known: dict[str, str] = {}
    for name in TEXT_FIELDS:
        value = values.pop(name, None)
        if name == "text" or value is None:
            continue
        if not isinstance(value, str | int):
            raise QuestionError(f"{name} is {value!r}, expected text")
        known[name] = str(value)
    return Question(text=text, extra=values, **known)


def _text_rows(lines: Iterable[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, {"question": line}


def _csv_rows(lines: Iterable[str]) -> Iterator[tuple[int, Mapping[Any, Any]]]:
    reader = csv.DictReader(lines, strict=True)
    if not {"question", "text"} & {(name or "").strip() for name in reader.fieldnames or ()}:
        raise QuestionError("line 1: the header has no column named question")
    start = reader.line_num + 1
    for row in reader:
        yield start, row
        start = reader.line_num + 1


def _jsonl_rows(lines: Iterable[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_constant=_not_json, parse_float=_finite)
            if not _is_unicode(json.dumps(row, ensure_ascii=False)):
                raise ValueError("half a character, a lone surrogate")
        except (ValueError, RecursionError) as error:
            reason = (
                "nested too deeply" if isinstance(error, RecursionError) else getattr(error, "msg", error)
            )
            raise QuestionError(f"line {number}: not JSON ({reason})") from None
        if not isinstance(row, dict):
            raise QuestionError(f"line {number}: expected a JSON object, got {type(row).__name__}")
        yield number, row


READERS = {".txt": _text_rows, ".csv": _csv_rows, ".jsonl": _jsonl_rows}


def _is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8; JSON and the command line can spell halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _finite(number: str) -> float:
    """Refuse 1e999: Python reads it as infinity, which JSON has no spelling for."""
    value = float(number)
    if math.isinf(value):
        raise ValueError(f"{number} is too large")
    return value


def _not_json(constant: str) -> None:
    """Refuse NaN and infinities: Python reads them, JSON has none, and SQLite would not store the row."""
    raise ValueError(f"{constant} is not a JSON value")


def file_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, each with its line end.

    They end at line feeds only: csv needs the line ends inside quoted fields, and str.splitlines
    would also split at U+2028 and form feeds inside a question.

    Raises:
        QuestionError: unreadable, or not UTF-8 (with the line number).
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise QuestionError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise QuestionError(f"{path}, line {line}: not UTF-8 text; save the file as UTF-8") from None
    return [line + "\n" for line in text.replace("\r\n", "\n").split("\n")]


def read_questions(path: str | Path) -> list[Question]:
    """Read every question of a .txt (one per line, # comments), .csv or .jsonl file.

    Raises:
        QuestionError: unreadable, not UTF-8, empty, malformed (with the line number), or two
            different questions under one id.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise QuestionError(f"{path}: unknown kind of question file; allowed: {', '.join(READERS)}")
    lines = file_lines(path)
    questions: list[Question] = []
    number = 0
    try:
        for number, row in reader(lines):
            questions.append(_located(row, number))
    except csv.Error as error:
        raise QuestionError(f"{path}, line {number + 1} or later: malformed CSV ({error})") from None
    except QuestionError as error:
        raise QuestionError(f"{path}, {error}") from None
    if not questions:
        raise QuestionError(f"{path}: no question in it")
    return unique_questions(questions, str(path))


def _located(row: Mapping[Any, Any], number: int) -> Question:
    try:
        return _from_mapping(row)
    except QuestionError as error:
        raise QuestionError(f"line {number}: {error}") from None


def unique_questions(questions: Iterable[Question], origin: str) -> list[Question]:
    """Drop exact repeats, keeping the order; two different questions under one id are an error."""
    seen: dict[str, Question] = {}
    for question in questions:
        known = seen.setdefault(question.id, question)
        if known.text != question.text:
            raise QuestionError(
                f"{origin}: id {question.id!r} stands for two questions: {known.text[:60]!r} and {question.text[:60]!r}"
            )
    return list(seen.values())
