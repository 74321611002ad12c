"""Tell questions that are not yes/no, and open ones, by the columns that say so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from questions.cells import InputError, json_list, listed, moment, shortened, truth
from questions.columns import folded_heading

# What platforms call a yes/no question, and other kinds that a plain column "type" may name.
YES_NO: Final = (
    "binary", "yes/no", "yesno", "bool", "boolean", "t/f", "tf", "forecast::yesnoquestion",
)  # fmt: skip
OTHER_KINDS: Final = (
    "multiplechoice", "multichoice", "mcq", "categorical", "numeric", "numerical", "pseudonumeric",
    "discrete", "continuous", "scalar", "date", "multinumeric", "ordinal", "quantile", "ranking",
    "freeresponse", "number", "group", "groupofquestions", "conditional", "notebook", "poll",
    "bountiedquestion", "stonk", "quadraticfunding", "mc", "num",
)  # fmt: skip
# Columns with the answers to choose from. In the second two a text may be anything.
CHOICES: Final = ("outcomes", "options")
LISTED_CHOICES: Final = ("choices", "answers")
# Columns that may say that a question is open, and how.
SETTLED: Final = ("resolved", "is_resolved")
STATES: Final = ("status", "state")
OPEN: Final = ("open", "active", "unresolved", "pending", "upcoming", "not yet", "not resolved")


class LeftOutError(Exception):
    """A row that is no yes/no question: what it is called, and why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} ({reason})")


def refuse_other_kinds(values: Mapping[str, Any]) -> None:
    """Raise LeftOutError for a row (under our names) that is no yes/no question."""
    name = shortened(values.get("id") or values.get("question") or "a row")
    if "combination_of" in values or json_list(values.get("id")) is not None:
        raise LeftOutError(name, "a combination of questions")
    possible = values.get("possibilities")  # of Metaculus' first interface
    plain = values.get("type", possible.get("type") if isinstance(possible, Mapping) else None)
    kinds = (
        (values.get("question_type"), True),
        (plain, False),
        (values.get("market_type"), False),
    )
    for kind, own in kinds:
        word = folded_heading("binary" if kind is None else str(kind))
        own = own or word in OTHER_KINDS or word.startswith("forecast::")
        if own and word not in YES_NO:
            raise LeftOutError(name, " ".join(str(kind).split())[:40])
    for column in (*CHOICES, *LISTED_CHOICES):
        choices = _choices(values.get(column), text=column in CHOICES)
        if choices and {choice.strip().casefold() for choice in choices} != {"yes", "no"}:
            raise LeftOutError(name, f"its {column} are {listed(map(shortened, choices))}")


def _choices(value: Any, *, text: bool) -> list[str] | None:
    """Return the answers to choose from, None where a cell names none.

    With ``text`` it may be a text that separates them, else only a list or an object.
    """
    if text and isinstance(value, str) and not value.strip().startswith("["):
        parts = [part for part in re.split(r"[|;,/\n]", value) if part.strip()]
        return parts if len(parts) > 1 else None
    found = list(value) if isinstance(value, Mapping) else json_list(value)
    if found is None or (not text and len(found) < 2):
        return None
    return [_name(one) for one in found]


def _name(choice: Any) -> str:
    """Return the name of an answer, which may be an object."""
    if isinstance(choice, Mapping):
        names = (choice.get(key) for key in ("name", "text", "label", "outcome", "title"))
        choice = next((name for name in names if isinstance(name, str)), choice)
    return str(choice)


def open_column(values: Mapping[str, Any], platform: str) -> str:
    """Return the column that says that a question has no outcome yet, "" for none.

    Raises:
        InputError: a column that is true or false is neither.
    """
    for column in SETTLED if platform else (*SETTLED, *STATES):
        word = str(values.get(column, "")).strip().casefold()
        if word in OPEN:
            return column
        if column not in SETTLED or word == "resolved" or _is_day(word):
            continue
        if truth(values.get(column), column) is False:
            return column
    return ""


def _is_day(word: str) -> bool:
    """Return whether a cell is the day of an outcome, as some name it "resolved"."""
    with suppress(InputError):
        return moment(word, "resolved") is not None
    return False
