"""Recognise questions that ask for one event before different days."""

from __future__ import annotations

import re
from datetime import date
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
    r"\b(?:on\s+or\s+before|before|no\s+later\s+than)\s+(?:"
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
    r"|average\w*)\b|n['’]t\b",
    re.IGNORECASE,
)


def deadline(text: str) -> tuple[str, str] | None:
    """Return a question's text without its "before DAY", and the day (ISO).

    None where there is no such day, or more than one, and for texts whose answer need not get more
    probable the later the day is ("Will it remain …", "fewer than").
    """
    found = list(_BEFORE.finditer(text))
    if len(found) != 1 or _DOUBTFUL.search(_BEFORE.sub(" ", text)):
        return None
    day = _day(found[0])
    return None if day is None else (folded(_BEFORE.sub("<before>", text)), day)


def _day(found: re.Match[str]) -> str | None:
    try:
        if found["iso"]:
            return date.fromisoformat(found["iso"]).isoformat()
        if found["year4"]:
            return date(int(found["year4"]), 1, 1).isoformat()
        for n in "123":
            if found[f"year{n}"]:
                month = _MONTHS.index(found[f"month{n}"][:3].casefold()) + 1
                day = 1 if n == "3" else int(found[f"day{n}"])
                return date(int(found[f"year{n}"]), month, day).isoformat()
    except ValueError:
        return None
    return None
