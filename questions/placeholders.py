"""Fill the placeholders of a row's texts: ``{country}`` by the row's column ``country``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from questions.columns import InputError, folded_heading, iso_date, our_name

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


def placeholders(text: str) -> list[str]:
    """Return the names in a text's placeholders."""
    return [found["name"] for found in _FORM.finditer(text) if found["tex"] is None]


def filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the placeholders in a row's texts by its values; days in ISO form.

    Raises:
        InputError: a placeholder of the question without a value. Elsewhere braces may mean
            something else and stay.
    """
    result = dict(values)
    for column in FILLED:
        if isinstance(text := values.get(column), str):
            result[column] = filled_text(text, values, column)
    return result


def filled_text(text: str, values: Mapping[str, Any], column: str) -> str:
    """Replace the placeholders in the text of one column; see ``filled``."""
    cells: dict[str, Any] = {}
    if "{" in text:
        for key, cell in values.items():
            cells.setdefault(folded_heading(key), cell)
    cells.pop("outcome", None)  # no prompt may show it
    added = 0

    def value(found: re.Match[str]) -> str:
        nonlocal added
        new = replacement(found)
        added += len(new)
        if added > MAX_FILLED + len(text):
            raise InputError(f"the {column}'s placeholders add more than {MAX_FILLED} characters")
        return new

    def replacement(found: re.Match[str]) -> str:
        if found["tex"] is not None:
            return found[0]
        name = our_name(found["name"]) or found["name"]
        cell = cells.get(folded_heading(name))
        if name in _DAYS and cell is not None:
            return str(iso_date(cell, name))
        if isinstance(cell, str | int | float):
            return str(cell)
        if column == "question" or (name in _DAYS and column in FILLED):
            raise InputError(unfilled(column, found["name"]))
        return found[0]

    return _FORM.sub(value, text)


def unfilled(column: str, name: str) -> str:
    """Say that nothing fills a placeholder."""
    return f"the {column} holds {{{name}}}, and the row has no {name}"
