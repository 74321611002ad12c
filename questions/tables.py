"""Read input files as rows with their lines and headings.

Text is UTF-8, with or without a byte order mark, or UTF-16 with one. Lines end in LF, CRLF or CR.

.txt     one question a line; blank lines and lines that begin with # are skipped
.csv     fields separated by comma, semicolon, tab or |, whichever fits the headings; Excel's
         line ``sep=;`` is understood
.tsv     the same
.jsonl   one JSON object a line
.json    a list of objects, an object with such a list under "questions", "results",
         "resolutions" or "markets", or one object
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from questions.characters import trimmed
from questions.columns import (
    InputError,
    composed,
    folded_heading,
    judge_count,
    listed,
    named_alike,
    our_name,
    with_guesses,
)
from questions.json_rows import json_rows, jsonl_rows

SUFFIXES: Final = (".txt", ".csv", ".tsv", ".jsonl", ".json")
SEPARATORS: Final[Mapping[str, str]] = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
# Cells that the lines of a file may lack together: each is stored as a blank.
MAX_MISSING: Final = 1_000_000
# What ends a question in the world's scripts.
QUESTION_MARKS: Final = "?？؟⸮;՞፧⁇⁈⁉"


@dataclass(frozen=True)
class Row:
    """One row: where it begins in its file, for messages, and its values by heading."""

    place: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """The rows of a file in order, and notes for the user.

    ``head`` has the values beside the list of rows in a .json file. ``headings`` are those of a .csv
    or .tsv file, None for the other kinds.
    """

    rows: list[Row]
    head: Mapping[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    headings: list[str] | None = None


def read_table(path: Path) -> Table:
    """Read a file's rows; those without any value are skipped.

    Raises:
        InputError: unknown kind of file, unreadable, not text, or malformed; the message begins
            with the place in the file.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"unknown kind of file; allowed: {', '.join(SUFFIXES)}")
    text = _text(path)
    if suffix == ".json":
        found, head = json_rows(text)
        return Table(_with_values(Row(*row) for row in found), head)
    lines = text.split("\n")
    if suffix in (".txt", ".jsonl"):
        return Table(
            _with_values(
                _text_rows(lines) if suffix == ".txt" else (Row(*row) for row in jsonl_rows(lines))
            )
        )
    return _csv_table([line + "\n" for line in lines], suffix)


def _with_values(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if not all(is_blank(value) for value in row.values.values())]


def is_blank(value: Any) -> bool:
    """Return whether a cell is missing or white space."""
    return value is None or (isinstance(value, str) and not trimmed(value))


def prefixed(path: Path, message: object) -> str:
    """Put the file's name before a message: ``FILE, line 3: …`` or ``FILE: …``."""
    return f"{path}{', ' if str(message).startswith('line ') else ': '}{message}"


# --- text -------------------------------------------------------------------------------------


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from None
    except ValueError:
        raise InputError("cannot be read (its name holds NUL)") from None
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    if not wide and b"\0" in content:
        raise InputError(
            f"line {_line(content.split(bytes(1))[0])}: holds NUL characters (UTF-16?); save the file as UTF-8"
        )
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        encoding = "UTF-16" if wide else "UTF-8"
        line = 1 if wide else _line(error.object[: error.start])
        raise InputError(f"line {line}: not {encoding} text; save the file as UTF-8") from None
    if "\0" in text:
        raise InputError(
            f"line {_line(text.split(chr(0))[0].encode())}: holds NUL characters; save the file as UTF-8"
        )
    # Not str.splitlines: it would also split at U+2028 and form feeds inside a question.
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _line(before: bytes) -> int:
    return before.replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") + 1


def _text_rows(lines: list[str]) -> Iterator[Row]:
    first = next((line for line in lines if line.strip()), "")
    if first.lstrip().startswith(('{"', '[{"')):
        raise InputError("line 1: this is JSON; name the file .jsonl (one object a line) or .json")
    for separator, word in SEPARATORS.items():
        names = [our_name(name.strip(' "')) for name in first.split(separator)]
        if names == ["question"] or (len(names) > 1 and all(names)):
            columns = f"its columns separated by {word}" if len(names) > 1 else "with one column"
            raise InputError(f"line 1: this is a table, {columns}; name the file .csv")
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield Row(f"line {number}", {"question": composed(line)})


# --- tables with separators -------------------------------------------------------------------


def _csv_table(lines: list[str], suffix: str) -> Table:
    """Read a table; its headings are its first line that is not blank or ``sep=``."""
    skip = 0
    while skip < len(lines) and not lines[skip].strip(" \t\n,;|"):
        skip += 1
    announced = (
        re.fullmatch(r'"?sep=(.)"?\s*', lines[skip], re.IGNORECASE) if skip < len(lines) else None
    )
    skip += bool(announced)
    separator = announced[1] if announced else _separator(lines[skip:], suffix)
    headings: list[str] | None = None
    rows, notes = [], list[str]()
    missing = 0
    for number, end, fields in _records(lines, skip, separator):
        place = f"line {number}"
        if headings is None:
            headings = _headings(fields, place)
            columns = [i for i, heading in enumerate(headings) if our_name(heading) == "question"]
        elif any(cell.strip() for cell in fields):
            missing += max(0, len(headings) - len(fields))
            if missing > MAX_MISSING:
                raise InputError(
                    f"{place}: too many lines have fewer columns than the header; fill them"
                )
            raw = "".join(lines[number - 1 : end - 1])
            cells = [composed(cell) for cell in fields]
            rows.append(_csv_row(headings, cells, raw, separator, place, notes, columns))
    if headings is None:
        raise InputError("line 1: the file is empty; its first line names the columns")
    return Table(rows, notes=notes, headings=headings)


def _records(lines: list[str], skip: int, separator: str) -> Iterator[tuple[int, int, list[str]]]:
    """Yield each record: its first line, the first line behind it, its fields."""
    reader = csv.reader(lines[skip:], delimiter=separator, strict=True)
    start = skip + 1
    try:
        for fields in reader:
            end = skip + reader.line_num + 1
            yield start, end, fields
            start = end
    except csv.Error as error:
        raise InputError(f"line {start} or later: malformed CSV ({error})") from None


def _separator(lines: list[str], suffix: str) -> str:
    """Choose the separator by which most headings are known, else the file's usual."""
    order = sorted(SEPARATORS, key=lambda s: s != ("\t" if suffix == ".tsv" else ","))

    def known(separator: str) -> tuple[bool, int]:
        try:
            names = [our_name(name) for name in next(csv.reader(lines, delimiter=separator), [])]
        except csv.Error:
            return False, 0
        return bool({"question", "id"} & set(names)), sum(name is not None for name in names)

    return max(order, key=known)


def _headings(fields: list[str], place: str) -> list[str]:
    headings = [composed(" ".join(name.split())) for name in fields]
    first: dict[str, str] = {}
    for heading in filter(None, headings):
        key = folded_heading(heading)
        if key in first:
            raise InputError(f"{place}: {named_alike(first[key], heading)}")
        first[key] = heading
    try:
        judge_count(len(headings))
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
    if not any(our_name(heading) for heading in headings):
        raise InputError(f"{place}: no known heading; it has {listed(with_guesses(headings))}")
    return headings


def _csv_row(
    headings: list[str],
    cells: list[str],
    raw: str,
    separator: str,
    place: str,
    notes: list[str],
    columns: list[int],
) -> Row:
    word = SEPARATORS.get(separator, repr(separator))
    if len(cells) > len(headings):
        if any(cell.strip() for cell in cells[len(headings) :]):
            raise InputError(
                f"{place}: the line has more columns than the header ({len(cells)} for"
                f" {len(headings)}); a text with a {word} in it needs quotes around it"
            )
        cells = cells[: len(headings)]
    _judge_split(headings, cells, raw, word, place, notes, columns)
    cells += [""] * (len(headings) - len(cells))
    values: dict[str, Any] = {}
    for number, (heading, cell) in enumerate(zip(headings, cells, strict=True), start=1):
        if heading:
            values[heading] = cell
        elif cell.strip():
            values[f"column {number}"] = cell  # without a heading
    return Row(place, values)


def _judge_split(
    headings: list[str],
    cells: list[str],
    raw: str,
    word: str,
    place: str,
    notes: list[str],
    columns: list[int],
) -> None:
    """Refuse a question that an unquoted separator cut in two; note a doubtful one."""
    at = columns[0] if len(columns) == 1 else len(cells)
    if at >= len(cells) or not cells[at].strip() or _quoted(cells[at], raw):
        return
    if cells[at].rstrip(" \"'”»)").endswith(tuple(QUESTION_MARKS)):
        return
    short = len(cells) < len(headings)
    counts = f"the line has {len(cells)} columns for {len(headings)} headings"
    following = cells[at + 1] if at + 1 < len(cells) else ""
    if not following.strip() or _quoted(following, raw):
        if short:
            begin = f"{place}: {counts} and its question does not end like one"
            raise InputError(f"{begin}: {cells[at][-60:]!r}")
        return
    parts = f"the question ends with {cells[at][-60:]!r} and the next column begins with {following[:60]!r}"
    mend = f"a question with a {word} in it needs quotes around it"
    if short or _goes_on(cells[at + 1 :]):
        raise InputError(f"{place}: {parts}{f', and {counts}' if short else ''}; {mend}")
    begun = following[0].isspace() or following[0].islower()
    if _asks(following) or (begun and " " in following.strip()):
        notes.append(f"{place}: {parts}; if that is one question, put it in quotes")


def _goes_on(cells: list[str]) -> bool:
    """Return whether the cells behind a question hold the rest of it."""
    for number, cell in enumerate(cells):
        begun = cell[:1].isspace() or cell[:1].islower()
        if number and not begun:
            return False
        if _asks(cell):
            sentence = cell.rstrip().endswith(tuple(QUESTION_MARKS)) and ". " not in cell
            return begun or sentence
    return False


def _asks(cell: str) -> bool:
    return " " in cell.strip() and any(mark in cell for mark in QUESTION_MARKS)


def _quoted(cell: str, raw: str) -> bool:
    return '"' + cell.replace('"', '""') + '"' in composed(raw)
