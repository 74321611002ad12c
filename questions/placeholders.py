"""Fill the placeholders of a row: ``{country}`` by its column ``country``.

A question about a series is asked once for each of its resolution dates, which fill
``{resolution_date}``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from questions.cells import InputError, iso_date, json_list, shortened
from questions.columns import folded_heading, our_name

# Also {{country}} and {price:.0f}; not the braces of TeX: \text{in}, x_{max}, 10^{n}.
_FORM: Final = re.compile(
    r"(?P<tex>\\[A-Za-z]++|[\^_}])?\{{1,2}[ \t]*+(?P<name>[^\W\d_]\w*+(?:[ .-]\w++)*+)[ \t]*+"
    r"(?:[!:][^{}\n]{0,40}+)?\}{1,2}"
)
FILLED: Final = ("question", "background", "resolution_criteria", "negation")
# Characters that values may add to one text; no text of a question is allowed more.
MAX_FILLED: Final = 20_000
# Placeholders of ForecastBench, which stand for days wherever they occur.
_DAYS: Final = ("resolution_date", "forecast_due_date")
# Resolution dates of one question; ForecastBench has eight.
MAX_DATES: Final = 200


def placeholders(text: str) -> list[str]:
    """Return the names in a text's placeholders."""
    return [found["name"] for found in _FORM.finditer(text) if not found["tex"]]


def filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the placeholders in a row's texts by its values; days in ISO form.

    Raises:
        InputError: a placeholder of the question without a value. Elsewhere braces may mean
            something else and stay.
    """
    texts = {column: values.get(column) for column in FILLED}
    return {
        **values,
        **{c: filled_text(text, values, c) for c, text in texts.items() if isinstance(text, str)},
    }


def filled_text(text: str, values: Mapping[str, Any], column: str) -> str:
    """Replace the placeholders in the text of one column; see ``filled``."""
    if "{" not in text:
        return text
    cells: dict[str, Any] = {}
    for key, cell in values.items():
        cells.setdefault(folded_heading(key), cell)
    cells.pop("outcome", None)  # no prompt may show it
    parts, end, left = list[str](), 0, MAX_FILLED + len(text)
    for found in _FORM.finditer(text):
        new = found[0] if found["tex"] else _value(found, cells, column)
        left -= len(new)
        if left < 0:
            raise InputError(f"the {column}'s placeholders add more than {MAX_FILLED} characters")
        parts += [text[end : found.start()], new]
        end = found.end()
    return "".join([*parts, text[end:]])


def _value(found: re.Match[str], cells: Mapping[str, Any], column: str) -> str:
    """Return what replaces a placeholder: the value it names, or itself."""
    name = our_name(found["name"]) or found["name"]
    cell = cells.get(folded_heading(name))
    if name in _DAYS and cell is not None:
        return str(iso_date(cell, name))
    if isinstance(cell, str | int | float):
        return str(cell)
    if column == "question" or (name in _DAYS and column in FILLED):
        raise InputError(unfilled(column, found["name"]))
    return found[0]


def unfilled(column: str, name: str) -> str:
    """Say that nothing fills a placeholder."""
    return f"the {column} holds {{{name}}}, and the row has no {name}"


def dated(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Make one row for each resolution date, with the placeholders filled in.

    A question about a series on a date gets the id ``ID@RESOLUTION_DATE`` and the cluster ``ID``.

    Raises:
        InputError: a placeholder without a value, or dates that are none.
    """
    days = _days(values)
    if not days:
        return [filled(values)]
    rest = {key: value for key, value in values.items() if key != "resolution_dates"}
    rows = []
    for day in days:
        row = {**rest, "resolution_date": day}
        row.setdefault("close_date", day)
        if "id" in values:
            row["id"] = f"{values['id']}@{day}"
            row.setdefault("cluster", str(values["id"]))
        rows.append(filled(row))
    return rows


def _days(values: Mapping[str, Any]) -> list[str | None]:
    """Return the days that a row is asked for, none where no text names one."""
    if "resolution_dates" in values:
        dates = json_list(values["resolution_dates"])
        if dates is None:
            given = shortened(values["resolution_dates"])
            raise InputError(f"resolution_dates is {given}, expected a list of dates")
        if len(dates) > MAX_DATES:
            raise InputError(
                f"resolution_dates holds {len(dates)} dates, at most {MAX_DATES} are allowed"
            )
        for day in dates:
            if iso_date(day, "resolution_dates") is None:
                raise InputError(f"resolution_dates holds {day!r}, expected dates like 2026-12-31")
        if dates:
            return [iso_date(day, "resolution_dates") for day in dates]
    names = (name for column in FILLED for name in placeholders(str(values.get(column))))
    if not any(our_name(name) == "resolution_date" for name in names):
        return []
    if "resolution_date" not in values:
        raise InputError(unfilled("question", "resolution_date"))
    return [iso_date(values["resolution_date"], "resolution_date")]
