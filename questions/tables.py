"""Read tables, and refuse a question that an unquoted separator cuts in two."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from questions.cells import InputError, listed, located
from questions.characters import composed
from questions.columns import (
    Row,
    Table,
    folded_heading,
    judge_count,
    named_alike,
    our_name,
    with_guesses,
)

SEPARATORS: Final[Mapping[str, str]] = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
# Cells that the lines of a file may lack together: each is stored as a blank.
MAX_MISSING: Final = 1_000_000
# What ends a question in the world's scripts.
QUESTION_MARKS: Final = tuple("?？؟⸮;՞፧⁇⁈⁉")
# Excel's line that names the separator.
ANNOUNCED: Final = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


def csv_table(lines: list[str], suffix: str) -> Table:
    """Read a table; its headings are its first line that is not blank or ``sep=``.

    Raises:
        InputError: malformed, or a line that does not fit the headings; the message begins with
            the line.
    """
    skip = 0
    while skip < len(lines) and not lines[skip].strip(" \t\n,;|"):
        skip += 1
    announced = ANNOUNCED.fullmatch("".join(lines[skip : skip + 1]))
    skip += bool(announced)
    separator = announced[1] if announced else _separator(lines[skip:], suffix)
    header: _Header | None = None
    rows, notes, missing = list[Row](), list[str](), 0
    for first, end, fields in _records(lines, skip, separator):
        place = f"line {first}"
        cells = [composed(cell) for cell in fields]
        with located(place):
            if header is None:
                header = _Header.read(cells, separator)
            elif any(cell.strip() for cell in cells):
                missing += max(0, len(header.headings) - len(cells))
                if missing > MAX_MISSING:
                    raise InputError("too many lines have fewer columns than the header; fill them")
                if header.comes_again(cells):
                    notes.append(f"{place}: the headings again, which are skipped")
                    continue
                cells = header.fitted(cells)
                if doubt := header.doubt(cells, "".join(lines[first - 1 : end - 1])):
                    notes.append(f"{place}: {doubt}")
                if not (row := header.row(cells, place)).is_blank:
                    rows.append(row)
    if header is None:
        raise InputError("line 1: the file is empty; its first line names the columns")
    return Table(rows, notes=notes, headings=header.headings)


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


@dataclass(frozen=True)
class _Header:
    """Headings, the name of their separator, the index of the question column."""

    headings: list[str]
    separator: str
    question: int | None

    @classmethod
    def read(cls, cells: list[str], separator: str) -> _Header:
        """Judge the first line of a table."""
        headings = [" ".join(name.split()) for name in cells]
        first: dict[str, str] = {}
        for heading in filter(None, headings):
            key = folded_heading(heading)
            if key in first:
                raise InputError(named_alike(first[key], heading))
            first[key] = heading
        judge_count(len(headings))
        names = [our_name(heading) for heading in headings]
        if not any(names):
            raise InputError(f"no known heading; it has {listed(with_guesses(headings))}")
        word = SEPARATORS.get(separator, repr(separator))
        return cls(
            headings, word, names.index("question") if names.count("question") == 1 else None
        )

    def comes_again(self, cells: list[str]) -> bool:
        """Return whether a line repeats the headings, as where one file is behind another.

        Raises:
            InputError: it has headings in another order, so that what follows has it too.
        """
        names = [" ".join(cell.split()) for cell in cells]
        if [*map(folded_heading, names)] == [*map(folded_heading, self.headings)]:
            return True
        known = [our_name(name) for name in names if name]
        if len(known) > 1 and all(known):
            raise InputError("the line holds other headings; give each table a file of its own")
        return False

    def fitted(self, cells: list[str]) -> list[str]:
        """Cut off blank cells behind the headings.

        Raises:
            InputError: there is text in one of them.
        """
        count = len(self.headings)
        if any(cell.strip() for cell in cells[count:]):
            raise InputError(
                f"the line has more columns than the header ({len(cells)} for {count}); a text"
                f" {self.needs_quotes}"
            )
        return cells[:count]

    def row(self, cells: list[str], place: str) -> Row:
        """Put cells under their headings, or else the number of their column."""
        values: dict[str, Any] = {}
        for number, (heading, cell) in enumerate(
            zip_longest(self.headings, cells, fillvalue=""), 1
        ):
            if heading:
                values[heading] = cell
            elif cell.strip():
                values[f"column {number}"] = cell
        return Row(place, values)

    def doubt(self, cells: list[str], raw: str) -> str | None:
        """Refuse a question that an unquoted separator cut in two; name a doubtful one.

        ``raw`` is the line as the file has it.
        """
        at, short = self.question, len(cells) < len(self.headings)
        if at is None or not any(cell.strip() for cell in cells[at : at + 1]):
            return None
        if re.match(r"#+\s" if at else r"#+\s*\w+\s", raw):
            raise InputError("the line begins with #, but a table has no comments; take it out")
        if _quoted(cells[at], raw) or cells[at].rstrip(" \"'”»)").endswith(QUESTION_MARKS):
            return None
        counts = f"the line has {len(cells)} columns for {len(self.headings)} headings"
        following = cells[at + 1] if at + 1 < len(cells) else ""
        if not following.strip() or _quoted(following, raw):
            if short:
                unlike = "its question does not end like one"
                raise InputError(f"{counts} and {unlike}: {cells[at][-60:]!r}")
            return None
        parts = (
            f"the question ends with {cells[at][-60:]!r} and the next column begins with"
            f" {following[:60]!r}"
        )
        if short or _goes_on(cells[at + 1 :]):
            also = f", and {counts}" if short else ""
            raise InputError(f"{parts}{also}; a question {self.needs_quotes}")
        if _asks(following) or (_begun(following) and " " in following.strip()):
            return f"{parts}; if that is one question, put it in quotes"
        return None

    @property
    def needs_quotes(self) -> str:
        """What to do about a text with the separator in it."""
        return f"with a {self.separator} in it needs quotes around it"


def _goes_on(cells: list[str]) -> bool:
    """Return whether the cells behind a question hold the rest of it."""
    for number, cell in enumerate(cells):
        if number and not _begun(cell):
            return False
        if _asks(cell):
            sentence = cell.rstrip().endswith(QUESTION_MARKS) and ". " not in cell
            return _begun(cell) or sentence
    return False


def _begun(cell: str) -> bool:
    """Return whether a cell reads like the rest of a sentence."""
    return cell[:1].isspace() or cell[:1].islower()


def _asks(cell: str) -> bool:
    return " " in cell.strip() and any(mark in cell for mark in QUESTION_MARKS)


def _quoted(cell: str, raw: str) -> bool:
    return '"' + cell.replace('"', '""') + '"' in composed(raw)
