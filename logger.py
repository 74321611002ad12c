"""Configure logging: short lines on the console, everything in a rotating file.

An entry point calls ``configure_root_logger()`` once, before vLLM or transformers are imported;
every other module only uses ``logging.getLogger(__name__)``. Secrets are removed from each line,
and characters that command a terminal are written out. ``terminal/`` has the details.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from terminal.library_output import LibraryFilter, adopt_libraries
from terminal.log_handlers import ConsoleFormatter, ConsoleHandler, LogFile, RedactingFormatter

DEFAULT_LOG_DIR = "."
DEFAULT_LOG_FILE = "runpod_forecast_logs.log"
# Bytes of one file and number of older files kept: about 60 MB at most, weeks of runs.
MAX_LOG_BYTES = 10_000_000
LOG_BACKUPS = 5
# Lines written behind a database would damage it, and rotating would move it away.
SQLITE_HEADER = b"SQLite format 3\0"


def configure_root_logger(
    log_dir: str | Path | None = None, log_file: str | Path | None = None, *, verbose: bool = False
) -> Path | None:
    """Log from INFO to the console and from DEBUG to a file; return the file's path.

    Calling it again replaces its own handlers and leaves others alone. ``verbose`` shows the
    libraries' records on the console too. When the file cannot be opened or is a database, a
    warning says so, only the console is used and None is returned.
    """
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, ConsoleHandler | LogFile)]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(logging.DEBUG)
    adopt_libraries()
    console = ConsoleHandler(logging.INFO)
    console.setFormatter(ConsoleFormatter())
    if not verbose:
        console.addFilter(LibraryFilter())
    root.addHandler(console)

    path = log_path(log_dir, log_file)
    if _is_database(path):
        root.warning("no log file: %s is a database; set LOG_FILE to another name", path)
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = LogFile(
            path,
            maxBytes=MAX_LOG_BYTES,
            backupCount=LOG_BACKUPS,
            encoding="utf-8",
            errors="backslashreplace",
        )
    except OSError as error:
        reason = error.strerror or str(error)
        root.warning(
            "no log file: %s cannot be opened (%s); set LOG_DIR to a writable folder", path, reason
        )
        return None
    file.setLevel(logging.DEBUG)
    file.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.addHandler(file)
    return path


def _is_database(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(SQLITE_HEADER)) == SQLITE_HEADER
    except OSError:
        return False


def log_path(log_dir: str | Path | None = None, log_file: str | Path | None = None) -> Path:
    """Choose the log file: argument, else ``LOG_DIR``/``LOG_FILE``, else default.

    A file given with a folder of its own needs no directory; a ``log_dir`` argument wins over the
    folder in ``LOG_FILE``. An empty variable counts as unset.
    """
    file = Path(log_file or os.environ.get("LOG_FILE") or DEFAULT_LOG_FILE).expanduser()
    if log_dir and not log_file:
        file = Path(file.name)
    return Path(log_dir or os.environ.get("LOG_DIR") or DEFAULT_LOG_DIR).expanduser() / file
