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

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from questions.cells import InputError, listed, shortened
from questions.characters import composed, trimmed
from questions.columns import Row, Table, our_name
from questions.json_rows import json_rows, jsonl_rows
from questions.tables import ANNOUNCED, QUESTION_MARKS, SEPARATORS, csv_table
from terminal.redaction import REDACTED, redact, redacted

SUFFIXES: Final = (".txt", ".csv", ".tsv", ".jsonl", ".json")
# How other files begin, whatever their name says.
FOREIGN: Final[Mapping[bytes, str]] = {
    rb"PK[\x03\x05]": "a workbook or a ZIP file; save the sheet as CSV, or unpack it",
    rb"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV",
    rb"\x1f\x8b|BZh\d|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd": "compressed; unpack it",
    rb"SQLite format 3\x00": "a database; export the questions as CSV",
    rb"%PDF-": "a PDF file; save its text as UTF-8",
    rb"\{\\rtf": "a file of a word processor (RTF); save its text as UTF-8",
    rb"(?i:\s*<(?:!doctype|html|\?xml)\b)": "a page of the web; save the file behind it",
}
_JSON: Final = re.compile(r"\s*(?:[\[{]\s*[\[{\"']|[\[{]\s*$)")
# No question ends with one of these, or with a comma.
_GOES_ON: Final = re.compile(
    r"(?:[,;:–—-]|\b(?:a|an|and|as|at|before|between|by|for|from|in|into|more|of|on|or|than|that"
    r"|the|to|which|with))$",
    re.IGNORECASE,
)


def raw_table(path: Path) -> Table:
    """Read a file's rows as they are written; those without any value are skipped.

    Raises:
        InputError: unknown kind of file, unreadable, not text, or malformed; the message begins
            with the place in the file.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"unknown kind of file; allowed: {', '.join(SUFFIXES)}")
    text = _text(path)
    lines = text.split("\n")
    if suffix in (".csv", ".tsv"):
        return _without_secrets(csv_table([line + "\n" for line in lines], suffix))
    head: Mapping[str, Any] = {}
    if suffix == ".json":
        found, head = json_rows(text)
    else:
        found = list(_text_rows(lines) if suffix == ".txt" else jsonl_rows(lines))
    return _without_secrets(Table([row for row in found if not row.is_blank], head))


def _without_secrets(table: Table) -> Table:
    """Replace passwords and tokens in cells, which are stored and printed, and say so."""
    whole = "\n".join(str([*row.values.values()]) for row in table.rows)
    if redact(whole) == whole:  # cell by cell it takes much longer
        return table
    rows, notes = list[Row](), list[str]()
    for row in table.rows:
        values = {key: redacted(value) for key, value in row.values.items()}
        hidden = [shortened(key) for key, value in values.items() if value != row.values[key]]
        if hidden:
            notes.append(f"{row.place}: {listed(hidden)}")
        rows.append(replace(row, values=values) if hidden else row)
    if not notes:
        return table
    said = f"{REDACTED} stands for passwords or tokens in {listed(notes)}"
    return replace(table, rows=rows, notes=[*table.notes, said])


def prefixed(path: Path, message: object) -> str:
    """Put the file's name before a message: ``FILE, line 3: …`` or ``FILE: …``."""
    return f"{path}{', ' if str(message).startswith('line ') else ': '}{message}"


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from None
    except ValueError:
        raise InputError("cannot be read (its name holds NUL)") from None
    for start, what in FOREIGN.items():
        if re.match(rb"(?:\xef\xbb\xbf)?(?:" + start + rb")", content):
            raise InputError(f"this is {what}")
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    if not wide and b"\0" in content:
        raise _not_utf8(content, content.index(0), "holds NUL characters (UTF-16?)")
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        if wide:
            raise _not_utf8(b"", 0, "not UTF-16 text") from None
        raise _not_utf8(bytes(error.object), error.start, "not UTF-8 text") from None
    if "\0" in text:
        raise _not_utf8(text.encode(), text.encode().index(0), "holds NUL characters")
    # Not str.splitlines: it would also split at U+2028 and form feeds inside a question.
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _not_utf8(content: bytes, at: int, what: str) -> InputError:
    before = content[:at].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return InputError(f"line {before.count(10) + 1}: {what}; save the file as UTF-8")


def _text_rows(lines: list[str]) -> Iterator[Row]:
    _refuse_other_forms(next((line for line in lines if line.strip()), ""))
    above = ""
    for number, line in enumerate(lines, start=1):
        text = trimmed(composed(line))
        if text and not text.startswith("#"):
            if above and _is_rest(text, above):
                raise InputError(
                    f"line {number}: it reads like the rest of line {number - 1}, which ends with"
                    f" {above[-40:]!r}; write each question in one line, and end it with ?"
                )
            yield Row(f"line {number}", {"question": composed(line)})
        above = "" if text.startswith("#") else text


def _refuse_other_forms(first: str) -> None:
    """Refuse JSON and tables by their first line."""
    if _JSON.match(first):
        raise InputError("line 1: this is JSON; name the file .jsonl (one object a line) or .json")
    if ANNOUNCED.fullmatch(first):
        raise InputError("line 1: this is a table; name the file .csv")
    for separator, word in SEPARATORS.items():
        names = [our_name(name.strip(' "')) for name in first.split(separator)]
        if names == ["question"] or (len(names) > 1 and (all(names) or "question" in names)):
            columns = f"its columns separated by {word}" if len(names) > 1 else "with one column"
            raise InputError(f"line 1: this is a table, {columns}; name the file .csv")


def _is_rest(text: str, above: str) -> bool:
    """Return whether a line goes on with the question of the line above it."""
    if above.rstrip(" \"'”»)").endswith((*QUESTION_MARKS, ".", "!", "。", "！")):
        return False
    return bool(_GOES_ON.search(above)) or (text[0].islower() and not above[0].islower())
