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

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from questions.cells import InputError
from questions.characters import composed
from questions.columns import Row, Table, our_name
from questions.json_rows import json_rows, jsonl_rows
from questions.tables import SEPARATORS, csv_table

SUFFIXES: Final = (".txt", ".csv", ".tsv", ".jsonl", ".json")


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
        return csv_table([line + "\n" for line in lines], suffix)
    head: Mapping[str, Any] = {}
    if suffix == ".json":
        found, head = json_rows(text)
    else:
        found = list(_text_rows(lines) if suffix == ".txt" else jsonl_rows(lines))
    return Table([row for row in found if not row.is_blank], head)


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
