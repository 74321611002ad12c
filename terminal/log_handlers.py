"""Log handlers: short lines on the console, everything in the file."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler

from terminal.redaction import redact
from terminal.screen import console
from terminal.text import visible


class RedactingFormatter(logging.Formatter):
    """Format a record, its exception and stack included, then take the secrets out."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return the record's time in UTC, ISO-8601 with milliseconds and ``Z``."""
        moment = datetime.fromtimestamp(record.created, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def format(self, record: logging.LogRecord) -> str:
        """Return the text without secrets; its second and later lines are indented."""
        return visible(redact(super().format(record))).replace("\n", "\n    ")


class ConsoleFormatter(RedactingFormatter):
    """Format as ``message`` or ``warning: message``; tracebacks are for the file."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a short text without secrets."""
        prefix = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return visible(redact(prefix + record.getMessage())).replace("\n", "\n  ")


class ConsoleHandler(logging.Handler):
    """Write to the console of the moment, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write ``record``; a console that is gone (closed pipe) never stops the run."""
        try:
            text = self.format(record)
            # Only a loaded tqdm can have a bar on the screen; importing it would slow every start.
            tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)
            if tqdm is not None:
                tqdm.write(text, file=console())
            else:
                console().write(text + "\n")
            console().flush()
        except (OSError, ValueError):
            return
        except Exception:  # logging's own convention: a bad record is reported, not raised
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Report a log call whose arguments do not fit its message."""
        _report_malformed(record)


class LogFile(RotatingFileHandler):
    """Write to the log file; a failure (disk full) is reported once."""

    _failed = False

    def handleError(self, record: logging.LogRecord) -> None:
        """Report the first failure on the console and ignore the following ones."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            _report_malformed(record)
        elif not self._failed:
            self._failed = True
            console().write(
                f"warning: the log file {self.baseFilename} cannot be written: {error.strerror}\n"
            )


_malformed_calls: set[tuple[str, int]] = set()


def _report_malformed(record: logging.LogRecord) -> None:
    """Name a malformed log call once; logging's own report shows its arguments."""
    path, line = place = record.pathname, record.lineno
    if place not in _malformed_calls:
        _malformed_calls.add(place)
        console().write(
            f"warning: the log call in {path}:{line} has arguments that do not fit its message\n"
        )
