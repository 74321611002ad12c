"""Turn failures of retrieval into one-line reasons: none of them ever stops a run."""

from __future__ import annotations

import logging
from types import TracebackType

from storage.errors import DatabaseError
from terminal.redaction import redact

logger = logging.getLogger(__name__)


def first_line(error: BaseException) -> str:
    """Name an error in one line without secrets: it is stored with the forecast."""
    lines = [line.strip() for line in redact(str(error)).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__


class Boundary:
    """Log any error but a DatabaseError as "``what`` (reason)", and go on.

    ``reason`` is "" when all went well.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.reason = ""

    def __enter__(self) -> Boundary:
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception) or isinstance(error, DatabaseError):
            return False
        self.reason = first_line(error)
        logger.warning("%s (%s)", self.what, self.reason)
        logger.debug("traceback", exc_info=error)
        return True
