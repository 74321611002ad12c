"""Judge the cells of input files, and show them in messages.

Dates are ISO: ``2026-12-31``, or a timestamp, of which the day in UTC counts. Probabilities are
from 0 to 1, with a decimal point.
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from questions.characters import trimmed

# Longest list of names in a message.
NAMED: Final = 6


class InputError(ValueError):
    """Something a user gave cannot be used; the message is one line."""


@contextmanager
def located(place: str) -> Iterator[None]:
    """Put a place before the message of an ``InputError`` that is raised inside."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def shortened(value: Any) -> str:
    """Show a value in a message, in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def listed(names: Iterable[str]) -> str:
    """Join names by commas; of many the first and how many more there are."""
    names = list(names)
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def counted(count: int, noun: str) -> str:
    """Count things in words: ``1 question``, ``2 questions``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def is_blank(value: Any) -> bool:
    """Return whether a cell is missing or white space."""
    return value is None or (isinstance(value, str) and not trimmed(value))


def is_nothing(value: Any) -> bool:
    """Return whether a cell is missing, blank or "N/A" (ForecastBench's blank)."""
    return is_blank(value) or (isinstance(value, str) and trimmed(value).upper() == "N/A")


_ISO: Final = re.compile(
    r"\d{4}-\d\d-\d\d"
    r"(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?: ?(?:Z|UTC|[+-]\d\d(?::?\d\d)?))?)?",
    re.ASCII,
)
FIRST_YEAR: Final = "1900"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def moment(value: Any, name: str) -> datetime | None:
    """Read an ISO date or timestamp in UTC; None for nothing.

    A timestamp without a zone is taken as UTC.

    Raises:
        InputError: anything else, years before 1900 among them, which are typing errors or some
            program's nothing (0001-01-01); the message names ``name``.
    """
    if is_nothing(value):
        return None
    text = trimmed(str(value))
    if not _ISO.fullmatch(text) or text < FIRST_YEAR:
        raise InputError(f"{name} is {shortened(value)}, expected a date like 2026-12-31")
    try:
        plain = datetime.fromisoformat(text.replace("UTC", "Z").replace(" Z", "Z"))
        return plain.replace(tzinfo=UTC) if plain.tzinfo is None else plain.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InputError(f"{name} is {text!r}, expected a date like 2026-12-31") from None


def iso_date(value: Any, name: str) -> str | None:
    """Read a date or timestamp as its UTC day, ``YYYY-MM-DD``; None for nothing.

    Raises:
        InputError: anything else.
    """
    when = moment(value, name)
    return None if when is None else when.date().isoformat()


def past_moment(value: Any, name: str, *, now: datetime | None = None) -> datetime:
    """Read an ISO date or timestamp in UTC that must be there and have come.

    Raises:
        InputError: missing, not a date, or in the future.
    """
    when = moment(value, name)
    if when is None:
        raise InputError(f"{name} is missing, expected a date like 2026-12-31")
    if when > (now or datetime.now(UTC)):
        raise InputError(f"{name} is {trimmed(str(value))!r}, which lies in the future")
    return when


def past_date(value: Any, name: str) -> str:
    """Read the UTC day, ``YYYY-MM-DD``, of what ``past_moment`` reads."""
    return past_moment(value, name).date().isoformat()


def from_milliseconds(value: Any, name: str) -> str | None:
    """Read milliseconds since 1970 as an ISO timestamp; return other values as text.

    Raises:
        InputError: a number before 1973, which must be seconds, or after the year 9999.
    """
    if is_nothing(value) or isinstance(value, bool):
        return None
    text = trimmed(str(value))
    if not re.fullmatch(r"\d+(\.0*)?", text, re.ASCII):
        return text
    with suppress(OverflowError, ValueError):
        milliseconds = int(text.partition(".")[0])
        if milliseconds >= 10**11:
            return (_EPOCH + timedelta(milliseconds=milliseconds)).isoformat(timespec="seconds")
    expected = "milliseconds since 1970 or a date like 2026-12-31"
    raise InputError(f"{name} is {text[:40]}, expected {expected}")


def utc_text(when: datetime) -> str:
    """Write a UTC moment to the second, with a Z."""
    return when.isoformat(timespec="seconds").replace("+00:00", "Z")


_TRUTH: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("true", "yes", "t", "y", "1", "1.0"), True),
    **dict.fromkeys(("false", "no", "f", "n", "0", "0.0"), False),
}


def truth(value: Any, name: str) -> bool | None:
    """Read a column that says yes or no of the row itself; None for nothing.

    Raises:
        InputError: anything else, truth values of other languages among them.
    """
    if is_nothing(value):
        return None
    word = trimmed(str(value)).casefold()
    if word not in _TRUTH:
        raise InputError(f"{name} is {shortened(value)}, expected true or false")
    return _TRUTH[word]


_VOID: Final = ("void", "voided", "annulled", "ambiguous", "cancel", "canceled", "cancelled", "n/a")
OUTCOMES: Final[Mapping[str, int | None]] = {
    **dict.fromkeys(("1", "1.0", "yes", "true"), 1),
    **dict.fromkeys(("0", "0.0", "no", "false"), 0),
    **dict.fromkeys(_VOID, None),
}
_DECIMAL: Final = re.compile(r"\+?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def parse_outcome(value: Any) -> int | None:
    """Read an outcome: 1 for yes, 0 for no, None for a voided question.

    Raises:
        InputError: anything else (a probability is not an outcome).
    """
    key = trimmed(str(value)).casefold() if value is not None else ""
    if key not in OUTCOMES:
        raise InputError(f"outcome is {shortened(value)}, expected 0, 1 (no, yes) or void")
    return OUTCOMES[key]


# Manifold's word for an outcome between no and yes.
PRICED: Final = "MKT"


def is_priced(value: Any) -> bool:
    """Return whether an outcome says in a word that it is a price."""
    return str(value).strip().upper() == PRICED


def is_fractional(value: Any) -> bool:
    """Return whether an outcome is a price between no and yes."""
    if is_priced(value):
        return True
    try:
        return 0 < float(value) < 1
    except (TypeError, ValueError, OverflowError):
        return False


def probability(value: Any, name: str) -> float | None:
    """Read a probability from 0 to 1; None for nothing.

    Raises:
        InputError: anything else, per cents and decimal commas among them.
    """
    if is_nothing(value):
        return None
    text = "" if isinstance(value, bool) else trimmed(str(value))
    number = float(text) if _DECIMAL.fullmatch(text) else math.nan
    if not 0 <= number <= 1:
        expected = "a probability from 0 to 1 (12 % is 0.12, with a decimal point)"
        raise InputError(f"{name} is {shortened(value)}, expected {expected}")
    return number


def json_list(value: Any) -> list[Any] | None:
    """Return a list, or the list that a cell holds as text; None for others.

    The text is JSON, or what Python's ``str`` and so pandas make of a list: ``['A', 'B']``.
    """
    if isinstance(value, str) and value.strip().startswith("["):
        text = value.strip()
        not_a_list = (ValueError, TypeError, SyntaxError, RecursionError, MemoryError)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            with warnings.catch_warnings(), suppress(*not_a_list):
                warnings.simplefilter("ignore")
                value = ast.literal_eval(text[:10_000])
    return value if isinstance(value, list) else None
