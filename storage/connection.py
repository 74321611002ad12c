"""Open the SQLite file and run transactions: WAL, backup before a migration."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from storage import migrations
from storage.errors import (
    BUSY_TIMEOUT_SECONDS,
    SQLITE_ERRORS,
    DatabaseError,
    ReplacedDatabaseError,
    database_error,
)
from storage.rows import ForeignValueError, read
from terminal.file_names import new_file
from terminal.text import visible_line

logger = logging.getLogger(__name__)
R = TypeVar("R")
Parameters = Sequence[Any] | Mapping[str, Any]


def utc_now() -> str:
    """Return the current time as UTC ISO-8601 with seconds and a ``Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Connection:
    """One open database file.

    Args:
        path: the file; created when it does not exist and ``create`` is true.
        create: refuse a missing file when false.
        reading: nothing will be written, so a read-only file or folder will do.

    Raises:
        DatabaseError: not a database, another program's, a newer schema, or not writable.
    """

    def __init__(self, path: Path, *, create: bool = True, reading: bool = False) -> None:
        self.path = self._file = path
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._opened: tuple[int, int] | None = None
        if not path.exists():
            if not create:
                raise DatabaseError(f"{path}: no such database")
            if not path.parent.is_dir():
                raise DatabaseError(f"{path}: the folder {path.parent} does not exist")
        elif not reading and not os.access(path, os.W_OK):
            raise DatabaseError(
                f"{path}: not writable; change its permissions or choose another --database"
            )
        writable = all(os.access(place, os.W_OK) for place in (path, path.parent))
        try:
            if reading and not writable and self._open_unwritable():
                return
            with contextlib.ExitStack() as undo:
                # Not as it is written: SQLite keeps ":memory:" and "file:x?mode=memory" nowhere.
                self.sql = self._connect(str(self._file.absolute()))
                undo.callback(self.close)
                self._open()
                undo.pop_all()
        except SQLITE_ERRORS as error:
            raise database_error(path, error) from error

    @staticmethod
    def _connect(address: str, *, uri: bool = False) -> sqlite3.Connection:
        return sqlite3.connect(address, uri=uri, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)

    def _open_unwritable(self) -> bool:
        """Open the file without writing; False where a copy was made to be opened.

        SQLite reads no write-ahead log without a file of its own beside it, and an older schema
        must be migrated.
        """
        log = self.path.with_name(f"{self.path.name}-wal")
        for options in ("mode=ro", "mode=ro&immutable=1"):
            if "immutable" in options and log.exists() and log.stat().st_size:
                break
            self.sql = self._connect(f"file:{quote(str(self.path.absolute()))}?{options}", uri=True)
            with contextlib.suppress(sqlite3.OperationalError):
                if self._version() == migrations.SCHEMA_VERSION:
                    return True
            self.sql.close()
        self._copy = tempfile.TemporaryDirectory(prefix="forecaster-database-")
        try:
            self._file = Path(self._copy.name) / self.path.name
            shutil.copyfile(self.path, self._file)
            if log.exists():
                shutil.copyfile(log, self._file.with_name(log.name))
        except OSError as error:
            self._copy.cleanup()
            raise DatabaseError(
                f"{self.path}: cannot be copied to {self._copy.name} ({error.strerror}); make room"
                " or set TMPDIR"
            ) from error
        return False

    def _version(self) -> int:
        """Return the file's schema.

        Raises:
            DatabaseError: another program's file, or a newer schema.
        """
        self.sql.row_factory = sqlite3.Row
        self.sql.execute("PRAGMA foreign_keys = ON")
        version = migrations.schema_version(self.sql)
        tables = self.sql.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        program = self.sql.execute("PRAGMA application_id").fetchone()[0]
        if tables and program != migrations.APPLICATION_ID:
            raise DatabaseError(
                f"{self.path}: an SQLite file of another program; choose another --database"
            )
        if version > migrations.SCHEMA_VERSION:
            raise DatabaseError(
                f"{self.path}: written by a newer Forecaster (schema {version}, this one"
                f" knows {migrations.SCHEMA_VERSION}); update Forecaster"
            )
        return version

    def _open(self) -> None:
        version = self._version()
        self._use_wal()
        self._opened = _identity(self._file)
        if version == migrations.SCHEMA_VERSION:
            return
        with self.atomic() as sql:
            # Read again under the lock: another process may have migrated in the meantime.
            version = migrations.schema_version(sql)
            if 0 < version < migrations.SCHEMA_VERSION:
                self._back_up(version)
            for line in migrations.migrate(sql, str(self.path)):
                logger.warning("%s", visible_line(line))

    def _use_wal(self) -> None:
        """Switch to write-ahead logging; SQLite does not wait for the lock it needs."""
        deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
        while True:
            try:
                self.sql.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _back_up(self, version: int) -> None:
        """Copy the file beside itself.

        A half-written copy never carries the backup's name. The file is read
        through a connection of its own: SQLite copies nothing out of a transaction.
        """
        target = self._file.with_name(f"{self.path.name}.schema-{version}.bak")
        try:
            with (
                new_file(target) as partial,
                contextlib.closing(sqlite3.connect(self._file.absolute())) as source,
                contextlib.closing(sqlite3.connect(partial.absolute())) as copy,
            ):
                source.backup(copy)
        except (OSError, sqlite3.Error) as error:
            raise DatabaseError(
                f"{target}: no backup can be written ({error}), so {self.path} was not brought to"
                " the new schema; make room or make the folder writable"
            ) from error

    @contextlib.contextmanager
    def atomic(self) -> Iterator[sqlite3.Connection]:
        """Run one transaction: committed at the end, rolled back when an exception passes.

        Raises:
            DatabaseError: the disk is full, the file is locked or damaged. Nothing of it is kept.
            ReplacedDatabaseError: the file was moved, deleted or replaced.
        """
        self.check_in_place()
        try:
            self.sql.execute("BEGIN IMMEDIATE")
            yield self.sql
            self.sql.execute("COMMIT")
        except SQLITE_ERRORS as error:
            self.check_in_place()  # else the error's cause would be named wrongly
            raise database_error(self.path, error) from error
        finally:
            if self.sql.in_transaction:
                self.sql.execute("ROLLBACK")
        self.check_in_place()

    def check_in_place(self) -> None:
        """Raise ReplacedDatabaseError where the path no longer names the open file."""
        if self._opened in (None, _identity(self._file)):
            return
        with contextlib.suppress(sqlite3.Error):
            # The log keeps its name: left full, it would be replayed into the file's successor.
            self.sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        raise ReplacedDatabaseError(
            f"{self.path}: was moved, deleted or replaced while this run was using it; put the file"
            " back"
        )

    def query(self, statement: str, parameters: Parameters = ()) -> list[sqlite3.Row]:
        """Run one reading statement and return its rows."""
        try:
            return self.sql.execute(statement, parameters).fetchall()
        except SQLITE_ERRORS as error:
            self.check_in_place()  # else the error's cause would be named wrongly
            raise database_error(self.path, error) from error

    def read(self, kind: type[R], statement: str, parameters: Parameters = ()) -> list[R]:
        """Run one reading statement and make a record of each row."""
        try:
            return read(kind, self.query(statement, parameters))
        except ForeignValueError as error:
            raise DatabaseError(
                f"{self.path}: {error}, which Forecaster does not write; another program changed"
                " the file, go back to a copy"
            ) from None

    def now(self, run_id: int | None = None) -> str:
        """Return the time (UTC); of a run none before its start: clocks may go back."""
        if run_id is None:
            return utc_now()
        rows = self.query("SELECT started_at FROM runs WHERE id = ?", (run_id,))
        return max([utc_now(), *(row["started_at"] for row in rows)])

    def close(self) -> None:
        """Close the file; SQLite folds the write-ahead log back into it."""
        self.sql.close()
        if self._copy is not None:
            self._copy.cleanup()


def insert(
    sql: sqlite3.Connection, table: str, values: Mapping[str, Any], verb: str = "INSERT"
) -> int:
    """Insert one row by the names of its columns; returns its rowid."""
    columns, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
    statement = f"{verb} INTO {table} ({columns}) VALUES ({marks})"
    return sql.execute(statement, values).lastrowid or 0


def of_subjects(column: str, subjects: Collection[str] | None) -> tuple[str, tuple[str, ...]]:
    """Return a WHERE clause for some subjects and its parameters.

    Both are empty for None, which is all subjects.
    """
    if subjects is None:
        return "", ()
    return f" WHERE {column} IN (SELECT value FROM json_each(?))", (json.dumps(list(subjects)),)


def copy_rows(
    sql: sqlite3.Connection, table: str, names: Sequence[str], origin: int, run_id: int
) -> None:
    """Give a run the rows that another one has in a table; what it has itself stays.

    ``names`` are those of the columns that are copied.
    """
    columns = ", ".join(names)
    sql.execute(
        f"INSERT OR IGNORE INTO {table} (run_id, {columns})"
        f" SELECT ?, {columns} FROM {table} WHERE run_id = ?",
        (run_id, origin),
    )


def _identity(path: Path) -> tuple[int, int] | None:
    """Tell a file from another one of the same name; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
