"""Keep evidence within an as-of date: refuse what is newer."""

from __future__ import annotations

import re
from datetime import datetime

from evidence.transport import MediaWikiError
from questions.cells import InputError, moment, utc_text


class FutureRevisionError(MediaWikiError):
    """A text newer than the as-of date was about to be served. It never is."""


def as_of_moment(as_of: str | None) -> str | None:
    """Return the last second of an as-of date ("2025-06-01" → "2025-06-01T23:59:59Z").

    A timestamp is returned in UTC, to the second.

    Raises:
        InputError: anything else.
    """
    if as_of is None:
        return None
    if (when := moment(as_of, "as_of")) is None:
        raise InputError("as_of is missing, expected a date like 2026-12-31")
    if len(as_of.strip()) == 10:
        return f"{when.date().isoformat()}T23:59:59Z"
    return utc_text(when)


def refuse_future(timestamp: str, as_of: str | None, what: str) -> None:
    """Raise FutureRevisionError unless ``timestamp`` is at or before ``as_of``.

    Both are UTC ISO-8601 with Z. With a date to keep, a timestamp that is no moment of the calendar
    is refused too. Not an ``assert``: it must hold under ``python -O``.
    """
    if as_of is not None and (not _is_moment(timestamp) or timestamp > as_of):
        raise FutureRevisionError(
            f"{what} is dated {timestamp or 'nothing'}, newer than {as_of}; it is not used"
        )


def _is_moment(timestamp: str) -> bool:
    """Tell whether a text is a moment as MediaWiki writes it (UTC ISO-8601 with Z)."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", timestamp):
        return False
    try:
        datetime.fromisoformat(timestamp)
    except ValueError:
        return False
    return True
