"""Recognise questions that ask for one event before different days."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Final

from questions.question import folded

_MONTHS: Final = (
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
)  # fmt: skip
_MONTH: Final = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY: Final = r"(?:the\s+)?(?P<day{0}>\d{{1,2}})(?:st|nd|rd|th)?"
_BEFORE: Final = re.compile(
    r"\b(?:(?P<with>on\s+or\s+before|no\s+later\s+than|before\s+(?:the\s+)?end\s+of)"
    r"|before|prior\s+to)\s+(?:"
    r"(?P<iso>\d{4}-\d{2}-\d{2})"
    rf"|{_DAY.format(1)}\s+(?:of\s+)?(?P<month1>{_MONTH}),?\s+(?P<year1>\d{{4}})"
    rf"|(?P<month2>{_MONTH})\s+{_DAY.format(2)},?\s+(?P<year2>\d{{4}})"
    rf"|(?P<month3>{_MONTH}),?\s+(?P<year3>\d{{4}})"
    r"|(?P<year4>(?:19|20)\d\d)"
    r")\b(?!-)",
    re.IGNORECASE,
)
# A text with one of these may ask for something that gets less probable with time.
_DOUBTFUL: Final = re.compile(
    r"\b(?:not|never|no|none|nobody|without|n't|remain\w*|stay\w*|keep\w*|continu\w*|still|until"
    r"|fewer|less|at\s+most|under|exactly|fail\w*|avoid\w*|surviv\w*|last|after|between|since"
    r"|average\w*|latest|most|only|than(?!\s+[$€£¥]?\d))\b|n['’]t\b"
    # "on the day before D" is a time of its own.
    r"|\b(?:days?|nights?|weeks?|months?|quarters?|years?|hours?|sessions?|meetings?)\s+<before>",
    re.IGNORECASE,
)


def deadline(text: str) -> tuple[str, str] | None:
    """Return a question's text without its "before DAY", and that day (ISO).

    "On or before", "no later than" and "before the end of" ask before the day, month or year that
    follows. None where there is no such day, or more than one, and for texts whose answer need not
    get more probable the later the day is ("Will it remain …", "fewer than").
    """
    found, masked = list(_BEFORE.finditer(text)), _BEFORE.sub("<before>", text)
    if len(found) != 1 or _DOUBTFUL.search(masked):
        return None
    day = _day(found[0])
    return None if day is None else (folded(masked), day)


def _day(found: re.Match[str]) -> str | None:
    """Return the first day that is too late, None where the text names no day."""
    try:
        year, month, day = _parts(found)
        first = date(year, month or 1, day or 1)
        if not found["with"]:
            return first.isoformat()
        if day:
            return (first + timedelta(days=1)).isoformat()
        return date(year + (month in (None, 12)), (month or 12) % 12 + 1, 1).isoformat()
    except (ValueError, OverflowError):
        return None


def _parts(found: re.Match[str]) -> tuple[int, int | None, int | None]:
    """Return year, month and day as far as the text names them."""
    if found["iso"]:
        stated = date.fromisoformat(found["iso"])
        return stated.year, stated.month, stated.day
    n = next(n for n in "1234" if found[f"year{n}"])
    month = None if n == "4" else _MONTHS.index(found[f"month{n}"][:3].casefold()) + 1
    return int(found[f"year{n}"]), month, int(found[f"day{n}"]) if n in "12" else None
