"""Say in one line why a database cannot be used and what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

BUSY_TIMEOUT_SECONDS: Final = 30.0
# What reading a damaged file raises: SQLite's own message may quote bytes that are no text.
SQLITE_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)


class DatabaseError(Exception):
    """The database cannot be used; the message is one line for the user."""


class FullDiskError(DatabaseError):
    """The disk has no space for what was to be stored."""


class DamagedDatabaseError(DatabaseError):
    """The file is not what was stored; nothing is known of what it still holds."""


class ReplacedDatabaseError(DatabaseError):
    """The open file was moved, deleted or replaced: further rows would be lost."""


# A part of SQLite's message, and what to say instead.
_ADVICE: Final = (
    # First: the rest of this message is the stored text itself, whatever it says.
    (
        "Could not decode to UTF-8",
        "the database is damaged (text that is no Unicode); restore a backup or run sqlite3 FILE"
        " .recover",
    ),
    ("not a database", "not an SQLite database; choose another --database"),
    ("malformed", "the database is damaged; restore a backup or run sqlite3 FILE .recover"),
    (
        "locked",
        f"locked by another process for over {BUSY_TIMEOUT_SECONDS:.0f} seconds; end it or choose"
        " another --database",
    ),
    ("full", "the disk is full; make room"),
    ("readonly", "not writable; change its permissions or choose another --database"),
    ("unable to open", "cannot be opened; check the path and its permissions"),
    ("disk I/O", "the disk reports an error; check its space and health"),
)


def database_error(path: Path, error: Exception) -> DatabaseError:
    """Make the error of this package from SQLite's own."""
    text = str(error)
    advice = next((line for part, line in _ADVICE if part in text), " ".join(text.split())[:200])
    if "is damaged" in advice:
        return DamagedDatabaseError(f"{path}: {advice}")
    return (FullDiskError if "full" in text else DatabaseError)(f"{path}: {advice}")
