"""Name the columns of input files and judge their cells.

Headings and JSON keys are compared in Unicode's composed form (NFC), without case, spaces, ``_``
and ``-``. Dates are ISO: ``2026-12-31``, or a timestamp, of which the day in UTC counts.
Probabilities are from 0 to 1, with a decimal point.
"""

from __future__ import annotations

import ast
import difflib
import json
import math
import re
import unicodedata
import warnings
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from questions.characters import nfc, trimmed


class InputError(ValueError):
    """Something a user gave cannot be used; the message is one line."""


# Our name of a column, and what platforms and people call it.
SYNONYMS: Final[Mapping[str, tuple[str, ...]]] = {
    "question": ("question", "text", "title", "question_title", "question_text"),
    "id": ("id", "question_id", "task_id"),
    "background": ("background", "description", "text_description", "context", "background_info"),
    "resolution_criteria": ("resolution_criteria", "criteria", "resolution_criterion", "resolution_rules"),
    "close_date": (
        "close_date", "close_time", "closes_at", "closing_date", "close_datetime", "end_date",
        "ends_at", "scheduled_close_time", "scheduled_close_date", "market_info_close_datetime",
        "predict_by", "deadline",
    ),
    "as_of": ("as_of",),
    "outcome": ("outcome", "resolution", "resolved_to"),
    "resolution_date": (
        "resolution_date", "resolved_at", "resolution_time", "resolve_time", "resolve_date",
        "resolved_date", "resolution_known_time", "actual_resolve_time", "date_resolved",
        "resolved_time",
    ),
    "fine_print": ("fine_print",),
    "question_type": ("question_type", "outcome_type", "qtype"),
}  # fmt: skip
# Columns with somebody else's probability of yes, 0-1.
PROBABILITIES: Final = (
    "crowd", "baseline_crowd", "crowd_at_due", "superforecaster_median", "public_median",
    "market_probability",
)  # fmt: skip
# What else is used, or known and kept without being used.
KNOWN: Final = (
    *PROBABILITIES,
    "cluster", "source", "source_type", "negation", "paraphrases", "forecast_due_date",
    "freeze_date", "freeze_datetime", "freeze_datetime_value", "freeze_datetime_value_explanation",
    "source_intro", "resolution_dates", "resolved", "direction", "market_info_open_datetime",
    "market_info_resolution_criteria", "question_set", "combination_of", "url", "question_url",
    "split", "sibling_in_other_split", "date", "type", "outcomes", "options", "status", "state",
    "post_id", "open_time", "created_at", "published_at", "created_time", "actual_close_time",
    "scheduled_resolve_time", "is_resolved", "possibilities", "tags", "category", "categories", "slug",
)  # fmt: skip
# Days that are kept beside a question; as_of and close_date are its own.
DAYS: Final = ("forecast_due_date", "freeze_date", "resolution_date")
# Set by this program on the questions it derives; a file cannot give them.
RESERVED: Final = ("coherence_of", "coherence_kind")

# Longest list of names in a message, and how many unknown headings get a nearest name.
NAMED: Final = 6
COMPARED: Final = 50
# No row or header of a real file has as many columns, keys of JSON among them.
MAX_COLUMNS: Final = 1000


def composed(value: Any) -> Any:
    """Bring all texts of a JSON value, keys included, into composed form (NFC)."""
    if isinstance(value, str):
        return nfc(value)
    if isinstance(value, Mapping):
        return {composed(key): composed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [composed(inner) for inner in value]
    return value


def folded_heading(heading: str) -> str:
    """Fold a heading or key for comparison; invisible characters are ignored."""
    kept = (
        c
        for c in nfc(heading)
        if not c.isspace() and c not in "_-" and unicodedata.category(c) != "Cf"
    )
    return "".join(kept).casefold()


_OURS: Final[Mapping[str, str]] = {
    **{folded_heading(name): name for name in KNOWN},
    **{folded_heading(name): ours for ours, names in SYNONYMS.items() for name in names},
}
_SPELLINGS: Final[Mapping[str, str]] = {
    folded_heading(name): name for names in (KNOWN, *SYNONYMS.values()) for name in names
}


def our_name(heading: str) -> str | None:
    """Return this program's name of a column, None for an unknown one."""
    return _OURS.get(folded_heading(heading))


def unused_line(headings: Iterable[str]) -> str | None:
    """Name the columns that are not used, and what each may be meant for.

    Returns:
        One line, or None when all headings are known.
    """
    unknown = list(dict.fromkeys(h for h in headings if our_name(h) is None))
    # Those that are close to a known name first: the list may be cut.
    names = sorted(with_guesses(unknown), key=lambda name: "did you mean" not in name)
    return f"columns that are not used: {listed(names)}" if unknown else None


def with_guesses(headings: Iterable[str]) -> list[str]:
    """Quote headings for a message, an unknown one with the nearest known name."""
    names = []
    for number, heading in enumerate(headings):
        names.append(shortened(heading))
        if our_name(heading) is None and number < COMPARED:
            folded = folded_heading(heading)
            close = difflib.get_close_matches(folded, _SPELLINGS, n=1, cutoff=0.8)
            names[-1] += f" (did you mean {_SPELLINGS[close[0]]}?)" if close else ""
    return names


def named_alike(first: str, second: str) -> str:
    """Say in a message that two headings or keys mean one column."""
    also = "" if first == second else f" ({shortened(first)} and {shortened(second)})"
    return f"two columns are named {our_name(first) or shortened(first)}{also}; leave one out"


def judge_count(columns: int) -> None:
    """Refuse a row or header of too many columns: its cells are copied for each date and row."""
    if columns > MAX_COLUMNS:
        raise InputError(f"{columns} columns, at most {MAX_COLUMNS} are allowed; leave some out")


def listed(names: Iterable[str]) -> str:
    """Join names by commas; of many the first and how many more there are."""
    names = list(names)
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def counted(count: int, noun: str) -> str:
    """``1 question``, ``2 questions``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def is_nothing(value: Any) -> bool:
    """Return whether a cell is missing, blank or "N/A" (ForecastBench's blank)."""
    return value is None or (isinstance(value, str) and trimmed(value).upper() in ("", "N/A"))


# --- dates ------------------------------------------------------------------------------------

_ISO: Final = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?: ?(?:Z|UTC|[+-]\d\d(?::?\d\d)?))?)?",
    re.ASCII,
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def moment(value: Any, name: str) -> datetime | None:
    """Read an ISO date or timestamp in UTC; None for nothing.

    A timestamp without a zone is taken as UTC.

    Raises:
        InputError: anything else; the message names ``name``.
    """
    if is_nothing(value):
        return None
    text = trimmed(str(value))
    if not _ISO.fullmatch(text):
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
    try:
        milliseconds = int(text.partition(".")[0])
        if milliseconds < 10**11:
            raise OverflowError
        return (_EPOCH + timedelta(milliseconds=milliseconds)).isoformat(timespec="seconds")
    except (OverflowError, ValueError):
        raise InputError(
            f"{name} is {text[:40]}, expected milliseconds since 1970 or a date like 2026-12-31"
        ) from None


# --- outcomes ---------------------------------------------------------------------------------

OUTCOMES: Final[Mapping[str, int | None]] = {
    **dict.fromkeys(("1", "1.0", "yes", "true"), 1),
    **dict.fromkeys(("0", "0.0", "no", "false"), 0),
    **dict.fromkeys(
        ("void", "voided", "annulled", "ambiguous", "cancel", "canceled", "cancelled", "n/a"), None
    ),
}


def parse_outcome(value: Any) -> int | None:
    """Read an outcome: 1 for yes, 0 for no, None for a voided question.

    Raises:
        InputError: anything else (a probability is not an outcome).
    """
    key = trimmed(str(value)).casefold() if value is not None else ""
    if key not in OUTCOMES:
        raise InputError(f"outcome is {shortened(value)}, expected 0, 1 (no, yes) or void")
    return OUTCOMES[key]


def is_fractional(value: Any) -> bool:
    """Return whether an outcome is a price between no and yes."""
    if str(value).strip().upper() == "MKT":
        return True
    try:
        return 0 < float(value) < 1
    except (TypeError, ValueError):
        return False


# --- probabilities ----------------------------------------------------------------------------

_DECIMAL: Final = re.compile(r"\+?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def probability(value: Any, name: str) -> float | None:
    """Read a probability from 0 to 1; None for nothing.

    Raises:
        InputError: anything else, per cents and decimal commas among them.
    """
    if is_nothing(value):
        return None
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value) if abs(value) <= 1 else math.nan
    elif isinstance(value, str) and _DECIMAL.fullmatch(trimmed(value)):
        number = float(trimmed(value))
    if not 0 <= number <= 1:
        raise InputError(
            f"{name} is {shortened(value)}, expected a probability from 0 to 1"
            " (12 % is 0.12, with a decimal point)"
        )
    return number


def shortened(value: Any) -> str:
    """Show a value in a message, in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def json_list(value: Any) -> list[Any] | None:
    """Return a list, or the list that a cell holds as text; None for others.

    The text is JSON, or what Python's ``str`` and so pandas make of a list: ``['A', 'B']``.
    """
    if isinstance(value, str) and value.strip().startswith("["):
        text = value.strip()
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = _python_list(text[:10_000])
    return value if isinstance(value, list) else None


def _python_list(text: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
