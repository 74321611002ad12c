"""SQLite: the schema, its migrations, and every SQL statement of the project.

One file holds the evidence, the forecasts and their track record. Rules kept here: WAL and foreign
keys on, numbered migrations under ``PRAGMA user_version``, one transaction per result, every
timestamp UTC ISO-8601 with a ``Z``, parameters always bound, arrays as raw little-endian float32
(never pickle) or as JSON that ``sqlite3`` can read by itself:

    sqlite3 database.db "select question, agent, mean, captured_mass from latest_forecasts"
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from storage.migrations import (
    ENSEMBLE,
    MIGRATIONS,
    SCHEMA_VERSION,
    SPLITTING_SCHEMA,
    STATISTICS,
    calibrated,
)
from storage.records import (  # noqa: F401 - some are for importers, until they ask storage
    AblationPair,
    AblationRecord,
    Article,
    AskedColumns,
    AskedQuestion,
    CalibrationRecord,
    CoherenceRecord,
    EarlierQuestion,
    EnsembleRecord,
    EvidenceLink,
    FirstForecast,
    Forecast,
    ForecastRecord,
    KnownQuestion,
    LatestQuestion,
    NewPassage,
    Passage,
    PooledForecast,
    ReasoningRecord,
    Record,
    Resolution,
    Rewording,
    Run,
)
from storage.repairs import compose_ids, forget_credentials, split_unrelated
from storage.rows import ForeignValueError, read
from terminal.file_names import new_file
from terminal.text import visible_line

logger = logging.getLogger(__name__)

R = TypeVar("R", bound=Record)

# "Fcst" in ASCII: tells Forecaster's files from anybody else's SQLite database.
APPLICATION_ID: Final = 0x46637374
BUSY_TIMEOUT_SECONDS: Final = 30.0


# How a ``context_error`` begins where passages were found although a source or a model was out of reach.
INCOMPLETE: Final = "incomplete evidence: "


# What it says where every search worked and found nothing.
NOTHING_FOUND: Final = "nothing was found"


# What reading a damaged file raises: SQLite's own message may quote bytes that are no text.
SQLITE_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)


class DatabaseError(Exception):
    """The database cannot be used; the message is one line for the user."""


class FullDiskError(DatabaseError):
    """There is no room for what was to be stored."""


class DamagedDatabaseError(DatabaseError):
    """The file is not what was stored: nothing can be said of what it still holds."""


class ReplacedDatabaseError(DatabaseError):
    """The open file was moved, deleted or replaced: what is stored from now on would be lost."""


# --- values that come out of and go into the database ---------------------------------------------


# Every question of every run, or those of a JSON list of runs and questions.
_ASKED_IN_RUNS: Final = "run_questions rq"
_ASKED_AMONG: Final = (
    "json_each(?) k CROSS JOIN run_questions rq"
    " ON rq.run_id = json_extract(k.value, '$[0]') AND rq.question_id = json_extract(k.value, '$[1]')"
)
_FORECASTS: Final = (
    "SELECT f.*, q.subject, rq.as_of, r.started_at, (SELECT max(a.timestamp) FROM evidence e"
    "  JOIN passages p ON p.id = e.passage_id JOIN articles a ON a.id = p.article_id"
    " WHERE e.forecast_id = f.id AND e.used) AS latest_evidence"
)
_FORECAST_JOINS: Final = (
    "JOIN forecasts f ON f.run_id = rq.run_id AND f.question_id = rq.question_id"
    " JOIN runs r ON r.id = f.run_id JOIN questions q ON q.id = f.question_id"
)
_POOLED: Final = "AND EXISTS (SELECT 1 FROM ensembles n WHERE n.run_id = rq.run_id AND n.question_id = rq.question_id)"
# Notes a check of a stored revision. A moment later than now was written by a wrong clock.
CHECKED: Final = (
    "UPDATE articles SET fetched_at = ?, current_until ="
    " CASE WHEN current_until > ? THEN ? ELSE max(current_until, ?) END WHERE id = ?"
)


# Fields of a ForecastRecord that are stored in another form or another table.
_NOT_COLUMNS: Final = frozenset(
    {
        "probabilities",
        "statistics",
        "prompt",
        "evidence",
        "low_confidence",
        "sample_distributions",
        "ablations",
    }
)


_ASKED_TEXT: Final = "coalesce(json_extract(rq.asked, '$.text'), q.text)"


_STORE_QUESTION: Final = (
    "INSERT INTO questions (id, text, background, resolution_criteria, close_date, extra, created_at, subject)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, coalesce((SELECT subject FROM questions WHERE id = ?), ?)) ON CONFLICT (id) DO "
)
_RENEW: Final = (
    "UPDATE SET text = excluded.text, background = excluded.background,"
    " resolution_criteria = excluded.resolution_criteria, close_date = excluded.close_date, extra = excluded.extra"
)
# The question under which an outcome is stored, and its subject; ``name`` is an id, or else a subject.
_HOME_OF_OUTCOME: Final = (
    "SELECT q.id, q.subject FROM questions q WHERE q.subject = coalesce((SELECT subject FROM questions WHERE id = :name), :name)"
    " ORDER BY q.id <> q.subject, q.created_at, q.rowid LIMIT 1"
)


def utc_now() -> str:
    """The current time as UTC ISO-8601 with seconds and a ``Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_json(value: Any) -> str:
    """JSON with sorted keys, so that equal settings are equal texts."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def _probabilities_json(probabilities: npt.NDArray[np.float64]) -> str:
    # repr of a float64 round-trips; 101 of them are about 2 kB.
    return json.dumps([float(p) for p in probabilities])


class Database:
    """One open Forecaster database.

    Args:
        path: the file; created when it does not exist and ``create`` is true.
        create: refuse a missing file when false.
        reading: nothing will be written, so a file or folder that may not be written will do.

    Raises:
        DatabaseError: not a database, another program's database, a newer schema, or not writable.
    """

    def __init__(self, path: str | Path, *, create: bool = True, reading: bool = False) -> None:
        self.path = self._file = Path(path)
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._opened: tuple[int, int] | None = None
        if not self.path.exists():
            if not create:
                raise DatabaseError(f"{self.path}: no such database")
            if not self.path.parent.is_dir():
                raise DatabaseError(f"{self.path}: the folder {self.path.parent} does not exist")
        elif not reading and not os.access(self.path, os.W_OK):
            raise DatabaseError(
                f"{self.path}: not writable; change its permissions or choose another --database"
            )
        try:
            places = (self.path, self.path.parent)
            if (
                reading
                and not all(os.access(place, os.W_OK) for place in places)
                and self._open_unwritable()
            ):
                return
            with contextlib.ExitStack() as undo:
                self.connection = sqlite3.connect(
                    self._file, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None
                )
                undo.callback(self.close)
                self._open()
                undo.pop_all()
        except SQLITE_ERRORS as error:
            raise _database_error(self.path, error) from error

    def _open_unwritable(self) -> bool:
        """Open the file without writing; False where only a copy of it can be opened, which is made then.

        SQLite reads no write-ahead log without a file of its own beside it, and an older schema is brought up to date.
        """
        log = self.path.with_name(f"{self.path.name}-wal")
        for options in ("mode=ro", "mode=ro&immutable=1"):
            if "immutable" in options and log.exists() and log.stat().st_size:
                break
            address = f"file:{quote(str(self.path.absolute()))}?{options}"
            self.connection = sqlite3.connect(
                address, uri=True, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None
            )
            with contextlib.suppress(sqlite3.OperationalError):
                if self._version() == SCHEMA_VERSION:
                    return True
            self.connection.close()
        self._copy = tempfile.TemporaryDirectory(prefix="forecaster-database-")
        try:
            self._file = Path(self._copy.name) / self.path.name
            shutil.copyfile(self.path, self._file)
            if log.exists():
                shutil.copyfile(log, self._file.with_name(log.name))
        except OSError as error:
            self._copy.cleanup()
            raise DatabaseError(
                f"{self.path}: cannot be copied to {self._copy.name} ({error.strerror}); make room or set TMPDIR"
            ) from error
        return False

    def _version(self) -> int:
        """The schema of the file; raises DatabaseError for another program's file and a newer schema."""
        connection = self.connection
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if tables and connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise DatabaseError(
                f"{self.path}: an SQLite file of another program; choose another --database"
            )
        if version > SCHEMA_VERSION:
            raise DatabaseError(
                f"{self.path}: written by a newer Forecaster (schema {version}, this one"
                f" knows {SCHEMA_VERSION}); update Forecaster"
            )
        return version

    def _open(self) -> None:
        version = self._version()
        self._use_wal()
        self._opened = _identity(self._file)
        if version < SCHEMA_VERSION:
            self._migrate()

    def _use_wal(self) -> None:
        """Switch to write-ahead logging; SQLite does not wait for the lock this needs, so it is asked for again."""
        deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
        while True:
            try:
                self.connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _back_up(self, version: int) -> None:
        """Copy the file beside itself; a half-written copy never carries the backup's name.

        It is read through a connection of its own: SQLite copies nothing out of one that is in a transaction.
        """
        target = self._file.with_name(f"{self.path.name}.schema-{version}.bak")
        try:
            with (
                new_file(target) as partial,
                contextlib.closing(sqlite3.connect(self._file)) as source,
                contextlib.closing(sqlite3.connect(partial)) as copy,
            ):
                source.backup(copy)
        except (OSError, sqlite3.Error) as error:
            raise DatabaseError(
                f"{target}: no backup can be written ({error}), so {self.path} was not brought to the new schema;"
                " make room or make the folder writable"
            ) from error

    def _migrate(self) -> None:
        with self.atomic():
            # Read again under the lock: another process may have migrated in the meantime.
            version = self.connection.execute("PRAGMA user_version").fetchone()[0]
            if 0 < version < SCHEMA_VERSION:
                self._back_up(version)
            for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
                for statement in _statements(script):
                    self.connection.execute(statement)
                if 0 < version < number == SPLITTING_SCHEMA:
                    forget_credentials(self.connection)
                    compose_ids(self.connection)
                    for line in split_unrelated(self.connection, str(self.path)):
                        logger.warning("%s", visible_line(line))
                # PRAGMA takes no bound parameters; both values are integers of this module.
                self.connection.execute(f"PRAGMA user_version = {number:d}")
            self.connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")

    @contextlib.contextmanager
    def atomic(self) -> Iterator[sqlite3.Connection]:
        """One transaction: committed at the end, rolled back when an exception passes.

        Raises:
            DatabaseError: the disk is full, the file is locked or damaged. Nothing of it is kept.
            ReplacedDatabaseError: the file has no longer its name.
        """
        self.check_in_place()
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield self.connection
            self.connection.execute("COMMIT")
        except SQLITE_ERRORS as error:
            self.check_in_place()  # else what it says is of another file
            raise _database_error(self.path, error) from error
        finally:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        self.check_in_place()

    def check_in_place(self) -> None:
        """Raise ``ReplacedDatabaseError`` where the open file has no longer its name: SQLite writes into it all the same."""
        if self._opened in (None, _identity(self._file)):
            return
        with contextlib.suppress(sqlite3.Error):
            # The log keeps its name: left full, it would be replayed into whatever has the file's name now.
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        raise ReplacedDatabaseError(
            f"{self.path}: was moved, deleted or replaced while this run was using it; put the file back"
        )

    def query(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[sqlite3.Row]:
        """Run one reading statement of this module and return its rows."""
        try:
            rows = self.connection.execute(sql, parameters).fetchall()
        except SQLITE_ERRORS as error:
            self.check_in_place()  # else what it says is of another file
            raise _database_error(self.path, error) from error
        return rows

    def _read(
        self, kind: type[R], sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[R]:
        """Run one reading statement and make a record of each row."""
        try:
            return read(kind, self.query(sql, parameters))
        except ForeignValueError as error:
            raise DatabaseError(
                f"{self.path}: {error}, which Forecaster does not write; another program changed"
                " the file, go back to a copy"
            ) from None

    def close(self) -> None:
        """Close the file; the write-ahead log is folded back into it by SQLite."""
        self.connection.close()
        if self._copy is not None:
            self._copy.cleanup()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- runs and questions -----------------------------------------------------------------------

    def start_run(
        self,
        *,
        settings: Mapping[str, Any],
        versions: Mapping[str, Any],
        seed: int,
        as_of: str | None,
        questions: Sequence[Any],
        owner: str | None = None,
        origin_run: int | None = None,
        rewordings: Sequence[Rewording] = (),
    ) -> int:
        """Record a run and its questions (``questions.Question`` values) in one transaction; returns the run's id.

        ``owner`` names the process that works on it, ``origin_run`` the run that this one replays, ``rewordings`` what the
        user accepted as the same question.
        """
        now = utc_now()
        with self.atomic() as connection:
            run_id = connection.execute(
                "INSERT INTO runs (started_at, as_of, seed, settings, versions, owner, origin_run) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (now, as_of, seed, to_json(settings), to_json(versions), owner, origin_run),
            ).lastrowid
            assert run_id is not None
            for position, q in enumerate(questions):
                # Here the newest wording is kept, and a replay is not new; what this run asked stays in ``asked``. A known
                # question keeps its subject, and a new one has that of the question that its subject names: the user may
                # have joined it to another one.
                connection.execute(
                    _STORE_QUESTION + ("NOTHING" if origin_run is not None else _RENEW),
                    (
                        q.id,
                        q.text,
                        q.background,
                        q.resolution_criteria,
                        q.close_date,
                        to_json(dict(q.extra)),
                        now,
                        q.subject,
                        q.subject,
                    ),
                )
                connection.execute(
                    "INSERT INTO run_questions (run_id, question_id, position, as_of, asked) VALUES (?, ?, ?, ?, ?)",
                    (
                        run_id,
                        q.id,
                        position,
                        q.as_of or as_of,
                        to_json({**vars(q), "extra": dict(q.extra)}),
                    ),
                )
            connection.executemany(
                "INSERT INTO rewordings (question_id, run_id, old_text, new_text, accepted_at) VALUES (?, ?, ?, ?, ?)",
                [(r.question_id, run_id, r.old_text, r.new_text, now) for r in rewordings],
            )
        return run_id

    def finish_run(self, run_id: int, status: str) -> None:
        """Set the final status: ``finished``, ``partial``, ``interrupted`` or ``failed``."""
        with self.atomic() as connection:
            connection.execute(
                "UPDATE runs SET status = ?, finished_at = max(?, started_at) WHERE id = ?",
                (status, utc_now(), run_id),
            )

    def claim_run(
        self, run_id: int, owner: str, working_on: Callable[[str | None], str | None]
    ) -> str | None:
        """Make ``owner`` the process that works on a run; None, or who works on it already.

        ``working_on`` says of an owner whether that process still lives. It is asked within the transaction, so that of two
        processes one only gets the run.
        """
        with self.atomic() as connection:
            row = connection.execute(
                "SELECT owner, status FROM runs WHERE id = ?", (run_id,)
            ).fetchone()
            worker = working_on(row["owner"]) if row["status"] == "running" else None
            if worker is None:
                connection.execute(
                    "UPDATE runs SET owner = ?, status = 'running', finished_at = NULL WHERE id = ?",
                    (owner, run_id),
                )
        return worker

    def save_weights(self, run_id: int, agent: str, weights: str) -> None:
        """Note which weights a model of a run has; the first note stands."""
        with self.atomic() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO run_models VALUES (?, ?, ?)", (run_id, agent, weights)
            )

    def weights(self, run_id: int) -> dict[str, str]:
        """What ``save_weights`` noted, by agent."""
        rows = self.query("SELECT agent, weights FROM run_models WHERE run_id = ?", (run_id,))
        return {row["agent"]: row["weights"] for row in rows}

    def unfinished_run(self) -> Run | None:
        """The latest run that is not finished, None when there is none."""
        rows = self._read(
            Run, "SELECT * FROM runs WHERE status <> 'finished' ORDER BY id DESC LIMIT 1"
        )
        return rows[0] if rows else None

    def run(self, run_id: int) -> Run:
        """The run's row; DatabaseError when there is none."""
        rows = self._read(Run, "SELECT * FROM runs WHERE id = ?", (run_id,))
        if not rows:
            raise DatabaseError(f"{self.path}: there is no run {run_id}")
        return rows[0]

    def runs(self) -> list[Run]:
        """All runs, oldest first."""
        return self._read(Run, "SELECT * FROM runs ORDER BY id")

    def run_questions(self, run_id: int) -> list[AskedQuestion]:
        """Questions of a run in their order, as that run asked them.

        Text, background, criteria, close date and ``extra`` (JSON) are the run's own, with ``as_of``, ``retrieved_at``,
        ``context_error``, ``subject`` and ``asked`` (JSON of all).
        """
        return self._read(
            AskedQuestion,
            "SELECT q.id, q.subject, rq.asked, rq.position, rq.as_of, rq.retrieved_at, rq.context_error FROM run_questions rq"
            " JOIN questions q ON q.id = rq.question_id WHERE rq.run_id = ? ORDER BY rq.position",
            (run_id,),
        )

    def asked_before(self) -> list[EarlierQuestion]:
        """Every question of every run but the replays, oldest run first: run, id, subject, text and close date."""
        return self._read(
            EarlierQuestion,
            f"SELECT rq.run_id, q.id, q.subject, {_ASKED_TEXT} AS text, json_extract(rq.asked, '$.close_date') AS close_date"  # noqa: S608 - names of this module
            " FROM run_questions rq JOIN questions q ON q.id = rq.question_id JOIN runs r ON r.id = rq.run_id"
            " WHERE r.origin_run IS NULL ORDER BY rq.run_id, rq.position",
        )

    def latest_asked(self, record: str) -> list[LatestQuestion]:
        """Each subject's newest question in a record ('live' or 'back-dated'), the last asked at the end; replays apart.

        ``text`` and ``extra`` (JSON) are as that run asked it.
        """
        return self._read(
            LatestQuestion,
            "SELECT subject, question_id, text, extra FROM (SELECT q.subject, q.id AS question_id,"  # noqa: S608 - names of this module
            f" {_ASKED_TEXT} AS text, coalesce(json_extract(rq.asked, '$.extra'), '{{}}') AS extra, rq.run_id, rq.position,"
            " row_number() OVER (PARTITION BY q.subject ORDER BY rq.run_id DESC, rq.position DESC) AS age"
            # One look into the index for each question: the runs grow without end.
            " FROM questions q CROSS JOIN run_questions rq ON rq.question_id = q.id AND rq.run_id ="
            " (SELECT l.run_id FROM run_questions l JOIN runs r ON r.id = l.run_id WHERE l.question_id = q.id"
            " AND r.origin_run IS NULL AND (l.as_of IS NULL) = ? ORDER BY l.run_id DESC LIMIT 1))"
            " WHERE age = 1 ORDER BY run_id, position",
            (record == "live",),
        )

    def join_subjects(self, question_id: str, other: str) -> None:
        """Give the questions of one subject that of another, so that they share a history and outcomes; ids or subjects."""
        with self.atomic() as connection:
            connection.execute(
                "UPDATE questions SET subject = coalesce((SELECT subject FROM questions WHERE id = :one), :one)"
                " WHERE subject = coalesce((SELECT subject FROM questions WHERE id = :other), :other)",
                {"one": question_id, "other": other},
            )

    def save_retrieval(
        self, run_id: int, question_id: str, passages: Sequence[Passage], context_error: str | None
    ) -> None:
        """Record what was found for a question of a run, best first, or why nothing was; replaces an earlier record."""
        self.save_retrievals(run_id, [(question_id, passages, context_error)])

    def save_retrievals(
        self, run_id: int, found: Sequence[tuple[str, Sequence[Passage], str | None]]
    ) -> None:
        """``save_retrieval`` of several questions, (id, passages, error) each, in one transaction."""
        with self.atomic() as connection:
            for question_id, passages, context_error in found:
                connection.execute(
                    "DELETE FROM retrievals WHERE run_id = ? AND question_id = ?",
                    (run_id, question_id),
                )
                connection.executemany(
                    "INSERT INTO retrievals VALUES (?, ?, ?, ?, ?)",
                    [
                        (run_id, question_id, p.id, rank, p.score)
                        for rank, p in enumerate(passages, start=1)
                    ],
                )
                connection.execute(
                    "UPDATE run_questions SET retrieved_at = ?, context_error = ? WHERE run_id = ? AND question_id = ?",
                    (utc_now(), context_error, run_id, question_id),
                )

    def retrieval(self, run_id: int, question_id: str) -> list[Passage]:
        """The passages recorded by ``save_retrieval``, best first."""
        rows = self.query(
            "SELECT passage_id, score FROM retrievals WHERE run_id = ? AND question_id = ? ORDER BY rank",
            (run_id, question_id),
        )
        scores = {row["passage_id"]: row["score"] for row in rows}
        return self.get_passages([row["passage_id"] for row in rows], scores)

    def _moment_in(self, run_id: int) -> str:
        """The time now (UTC), but none before the run began: then the clock was set back since."""
        rows = self.query("SELECT started_at FROM runs WHERE id = ?", (run_id,))
        return max([utc_now(), *(row["started_at"] for row in rows)])

    # --- forecasts --------------------------------------------------------------------------------

    def save_forecast(self, run_id: int, record: ForecastRecord) -> int:
        """Store one forecast with its prompt and evidence in its own transaction; returns its id.

        A row that holds an error is replaced (a later try may succeed); a forecast never is.
        """
        sha256 = _prompt_hash(record.prompt)
        probabilities = (
            None if record.probabilities is None else _probabilities_json(record.probabilities)
        )
        values = {
            "run_id": run_id,
            "created_at": self._moment_in(run_id),
            "probabilities": probabilities,
            "prompt_sha256": sha256,
            "low_confidence": int(record.low_confidence),
            **{name: record.statistics.get(name) for name in STATISTICS},
            **{name: value for name, value in asdict(record).items() if name not in _NOT_COLUMNS},
        }
        with self.atomic() as connection:
            _save_prompt(connection, sha256, record.prompt)
            connection.execute(
                "DELETE FROM forecasts WHERE run_id = ? AND question_id = ? AND agent = ? AND chunk = ? AND error IS NOT NULL",
                (run_id, record.question_id, record.agent, record.chunk),
            )
            forecast_id = connection.execute(
                f"INSERT INTO forecasts ({', '.join(values)}) VALUES ({', '.join(':' + name for name in values)})",  # noqa: S608 - column names of this module
                values,
            ).lastrowid
            assert forecast_id is not None
            connection.executemany(
                "INSERT INTO evidence VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (forecast_id, e.passage_id, e.number, e.rank, e.score, int(e.used))
                    for e in record.evidence
                ],
            )
            connection.executemany(
                "INSERT INTO scored_samples VALUES (?, ?, ?, ?)",
                [
                    (forecast_id, n, float(np.arange(101) @ values), _probabilities_json(values))
                    for n, values in record.sample_distributions
                ],
            )
            for a in record.ablations:
                prompt = _prompt_hash(a.prompt)
                _save_prompt(connection, prompt, a.prompt)
                connection.execute(
                    "INSERT INTO ablations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        forecast_id, a.condition, prompt,
                        None if a.probabilities is None else _probabilities_json(a.probabilities),
                        a.mean, a.captured_mass, a.residual_mass, a.shift, a.divergence, a.error,
                    ),
                )  # fmt: skip
        return forecast_id

    def ablations(self, run_id: int) -> list[AblationPair]:
        """All pairs of a run (view ``ablation_pairs``), by question, agent, chunk and condition; means in percent."""
        return self._read(
            AblationPair,
            "SELECT a.* FROM ablation_pairs a JOIN run_questions rq ON rq.run_id = a.run AND rq.question_id = a.question_id"
            " WHERE a.run = ? ORDER BY rq.position, a.agent, a.chunk, a.condition",
            (run_id,),
        )

    def save_reasoning(self, run_id: int, record: ReasoningRecord) -> None:
        """Store one reasoning in its own transaction; one that is there already stays."""
        values = {"run_id": run_id, "created_at": self._moment_in(run_id), **asdict(record)}
        with self.atomic() as connection:
            connection.execute(
                f"INSERT OR IGNORE INTO reasonings ({', '.join(values)}) VALUES ({', '.join(':' + name for name in values)})",  # noqa: S608 - column names of this module
                values,
            )

    def reasonings(self, run_id: int) -> list[ReasoningRecord]:
        """All reasonings of a run, by question, chunk and sample."""
        return self._read(
            ReasoningRecord,
            "SELECT * FROM reasonings WHERE run_id = ? ORDER BY question_id, chunk, sample",
            (run_id,),
        )

    def copy_reasonings(self, origin: int, run_id: int) -> None:
        """Give a run the reasonings of another one that asks the same questions; those that are there already stay."""
        with self.atomic() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO reasonings"
                " (run_id, question_id, chunk, sample, model, text, tokens, finish_reason, cut, seed, created_at)"
                " SELECT ?, question_id, chunk, sample, model, text, tokens, finish_reason, cut, seed, created_at"
                " FROM reasonings WHERE run_id = ?",
                (run_id, origin),
            )

    def save_ensemble(self, run_id: int, record: EnsembleRecord) -> None:
        """Store, or replace, the pooled forecast of one question of a run."""
        values = {
            "run_id": run_id,
            "question_id": record.question_id,
            "method": record.method,
            "created_at": self._moment_in(run_id),
            "probabilities": _probabilities_json(record.probabilities),
            **{name: record.statistics[name] for name in STATISTICS},
            "agents": record.agents,
            "agents_configured": record.agents_configured,
            "agreement": record.agreement,
            "captured_mass": record.captured_mass,
            "residual_mass": record.residual_mass,
            "low_confidence": int(record.low_confidence),
            "weights": to_json(dict(record.weights)) if record.weights else None,
            "weakest_captured": record.weakest_captured,
        }
        with self.atomic() as connection:
            connection.execute(
                f"INSERT OR REPLACE INTO ensembles ({', '.join(values)}) VALUES ({', '.join(':' + name for name in values)})",  # noqa: S608 - column names of this module
                values,
            )

    def forecasts(self, run_id: int) -> list[Forecast]:
        """All forecasts of a run (errors too), by question, agent and chunk."""
        return self._read(
            Forecast,
            f"{_FORECASTS} FROM {_ASKED_IN_RUNS} {_FORECAST_JOINS}"
            " WHERE rq.run_id = ? ORDER BY rq.position, f.agent, f.chunk",
            (run_id,),
        )

    def ensembles(self, run_id: int) -> list[PooledForecast]:
        """All ensemble rows of a run in question order.

        With ``calibrated`` (percent) and ``calibration`` (its id), both None without one.
        """
        return self._read(
            PooledForecast,
            f"SELECT e.*, q.subject, rq.as_of, r.started_at, {calibrated('e', ENSEMBLE)} AS calibrated,"  # noqa: S608 - names of this module
            f" {calibrated('e', ENSEMBLE, 'k.id')} AS calibration FROM ensembles e"
            " JOIN run_questions rq USING (run_id, question_id) JOIN runs r ON r.id = e.run_id"
            " JOIN questions q ON q.id = e.question_id WHERE e.run_id = ? ORDER BY rq.position",
            (run_id,),
        )

    def articles_used(self, run_id: int) -> dict[str, int]:
        """Number of distinct articles that stood in any prompt, by question id."""
        rows = self.query(
            "SELECT f.question_id, count(DISTINCT p.article_id) AS n FROM forecasts f JOIN evidence e ON e.forecast_id = f.id"
            " JOIN passages p ON p.id = e.passage_id WHERE f.run_id = ? AND e.used GROUP BY f.question_id",
            (run_id,),
        )
        return {row["question_id"]: row["n"] for row in rows}

    def history(self, question_id: str) -> list[sqlite3.Row]:
        """``forecast_history`` of a question's subject, oldest first."""
        return self.query(
            "SELECT * FROM forecast_history WHERE subject = (SELECT subject FROM questions WHERE id = ?)"
            " ORDER BY run, question_id, agent, chunk",
            (question_id,),
        )

    def questions(self) -> list[KnownQuestion]:
        """All questions ever asked, oldest first."""
        return self._read(KnownQuestion, "SELECT * FROM questions ORDER BY created_at, rowid")

    # --- evidence store ---------------------------------------------------------------------------

    def find_article(self, source: str, title: str, *, as_of: str | None = None) -> Article | None:
        """Newest stored revision of an article, not newer than ``as_of`` (UTC ISO-8601 with ``Z``) when given."""
        rows = self._read(
            Article,
            "SELECT * FROM articles WHERE source = ? AND title = ? AND timestamp <= ? ORDER BY timestamp DESC, id DESC LIMIT 1",
            (source, title, as_of or "9999"),
        )
        if not rows:
            return None
        return rows[0]

    def has_revision(self, source: str, title: str, revision_id: str) -> int | None:
        """The id of a stored revision, None when it is not stored."""
        rows = self.query(
            "SELECT id FROM articles WHERE source = ? AND title = ? AND revision_id = ?",
            (source, title, revision_id),
        )
        return int(rows[0]["id"]) if rows else None

    def add_article(self, article: Article, passages: Sequence[NewPassage]) -> int:
        """Store a revision with its passages in one transaction; a known revision is only marked as checked. Returns its id."""
        now = article.fetched_at or utc_now()
        until = article.current_until or now
        with self.atomic() as connection:
            known = connection.execute(
                "SELECT id FROM articles WHERE source = ? AND title = ? AND revision_id = ?",
                (article.source, article.title, article.revision_id),
            ).fetchone()
            if known:
                connection.execute(CHECKED, (now, now, until, until, known["id"]))
                return int(known["id"])
            article_id = connection.execute(
                "INSERT INTO articles (source, title, revision_id, timestamp, url, text, text_sha256, fetched_at, current_until)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    article.source,
                    article.title,
                    article.revision_id,
                    article.timestamp,
                    article.url,
                    article.text,
                    hashlib.sha256(article.text.encode()).hexdigest(),
                    now,
                    until,
                ),
            ).lastrowid
            assert article_id is not None
            for position, passage in enumerate(passages):
                passage_id = connection.execute(
                    "INSERT INTO passages (article_id, position, section, text, tokens) VALUES (?, ?, ?, ?, ?)",
                    (article_id, position, passage.section, passage.text, passage.tokens),
                ).lastrowid
                connection.execute(
                    "INSERT INTO passage_words (rowid, title, section, text) VALUES (?, ?, ?, ?)",
                    (passage_id, article.title, passage.section, passage.text),
                )
        return article_id

    def touch_article(self, article_id: int, *, current_until: str | None = None) -> None:
        """Note that a stored revision was checked now and was the newest one at ``current_until`` (default: now)."""
        now = utc_now()
        with self.atomic() as connection:
            until = current_until or now
            connection.execute(CHECKED, (now, now, until, until, article_id))

    def current_articles(
        self, *, as_of: str | None = None, sources: Sequence[str] | None = None
    ) -> list[Article]:
        """The newest revision not newer than ``as_of`` of every article of ``sources`` (default: all), without its text."""
        wanted = "" if sources is None else f" AND source IN ({', '.join('?' * len(sources))})"
        return self._read(
            Article,
            "SELECT id, source, title, revision_id, timestamp, url, '' AS text, fetched_at, current_until,"  # noqa: S608 - only placeholders are added
            " max(timestamp || printf('%012d', id)) FROM articles WHERE timestamp <= ?"
            + wanted
            + " GROUP BY source, title",
            (as_of or "9999", *(sources or ())),
        )

    def passages_without_embedding(
        self, model: str, articles: Sequence[int], *, ids: Sequence[int] | None = None
    ) -> list[int]:
        """Ids of the passages of ``articles`` (all, or those among ``ids``) that ``model`` has not embedded yet."""
        among = "" if ids is None else " AND p.id IN (SELECT value FROM json_each(?))"
        lists = [articles] if ids is None else [articles, ids]
        rows = self.query(
            "SELECT p.id FROM passages p WHERE p.article_id IN (SELECT value FROM json_each(?))"  # noqa: S608 - placeholders only
            f"{among} AND NOT EXISTS (SELECT 1 FROM embeddings e WHERE e.passage_id = p.id AND e.model = ?) ORDER BY p.id",
            (*(json.dumps([int(i) for i in values]) for values in lists), model),
        )
        return [int(row["id"]) for row in rows]

    def embedding_models(self, ids: Sequence[int]) -> list[str]:
        """The models that have embedded any of these passages, by name."""
        rows = self.query(
            "SELECT DISTINCT model FROM embeddings WHERE passage_id IN (SELECT value FROM json_each(?)) ORDER BY model",
            (json.dumps([int(i) for i in ids]),),
        )
        return [str(row["model"]) for row in rows]

    def add_embeddings(
        self, model: str, vectors: Sequence[tuple[int, npt.NDArray[np.float32]]]
    ) -> None:
        """Store embeddings as raw little-endian float32 in one transaction."""
        with self.atomic() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO embeddings (passage_id, model, dimension, vector) VALUES (?, ?, ?, ?)",
                [
                    (passage_id, model, len(v), np.asarray(v, dtype="<f4").tobytes())
                    for passage_id, v in vectors
                ],
            )

    def embeddings_after(
        self, model: str, after: int = 0
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32], int]:
        """Embeddings of ``model`` stored after row ``after``: passage ids, article ids, vectors (n, dimension), last row.

        Rows are read one at a time into one array, so that the store is in memory once, and a later call gets only what is new.
        """
        limits = (model, after)
        count, dimension, last = self.query(
            "SELECT count(*), coalesce(max(dimension), 0), coalesce(max(id), 0) FROM embeddings WHERE model = ? AND id > ?",
            limits,
        )[0]
        owners = np.empty((count, 2), dtype=np.int64)
        vectors = np.empty((count, dimension), dtype=np.float32)
        try:
            cursor = self.connection.execute(
                "SELECT e.passage_id, p.article_id, e.vector FROM embeddings e JOIN passages p ON p.id = e.passage_id"
                " WHERE e.model = ? AND e.id > ? AND e.id <= ?",
                (*limits, last),
            )
            cursor.row_factory = None
            for row, (passage_id, article_id, vector) in enumerate(cursor):
                owners[row] = passage_id, article_id
                vectors[row] = np.frombuffer(vector, dtype="<f4")
        except SQLITE_ERRORS as error:
            raise DatabaseError(f"{self.path}: {_advice(error)}") from error
        return owners[:, 0], owners[:, 1], vectors, max(int(last), after)

    def search_words(
        self,
        words: Sequence[str],
        articles: Sequence[int],
        *,
        limit: int,
        embedded_by: str | None = None,
    ) -> list[tuple[int, float]]:
        """Passages of ``articles`` (ids) that hold any of ``words``: (passage id, BM25 score, higher is better), best first.

        A word in the title counts three times, in the section heading twice. ``embedded_by`` keeps passages that model embedded.
        Source: https://www.sqlite.org/fts5.html#the_bm25_function
        """
        if not words:
            return []
        match = " OR ".join('"' + word.replace('"', '""') + '"' for word in words)
        embedded = (
            ""
            if embedded_by is None
            else " AND EXISTS (SELECT 1 FROM embeddings e WHERE e.passage_id = p.id AND e.model = ?)"
        )
        rows = self.query(
            "SELECT p.id, w.score FROM"  # noqa: S608 - only a placeholder is added
            " (SELECT rowid, -bm25(passage_words, 3.0, 2.0, 1.0) AS score FROM passage_words WHERE passage_words MATCH ?) w"
            f" JOIN passages p ON p.id = w.rowid WHERE p.article_id IN (SELECT value FROM json_each(?)){embedded}"
            " ORDER BY w.score DESC, p.id LIMIT ?",
            (
                match,
                json.dumps([int(a) for a in articles]),
                *((embedded_by,) if embedded_by is not None else ()),
                limit,
            ),
        )
        return [(int(row["id"]), float(row["score"])) for row in rows]

    def count_passages(self, articles: Sequence[int]) -> int:
        """Number of passages of the given articles (ids)."""
        rows = self.query(
            "SELECT count(*) FROM passages WHERE article_id IN (SELECT value FROM json_each(?))",
            (json.dumps([int(a) for a in articles]),),
        )
        return int(rows[0][0])

    def get_passages(
        self, ids: Sequence[int], scores: Mapping[int, float] | None = None
    ) -> list[Passage]:
        """Passages by id, in the given order; ``scores`` fills ``Passage.score``."""
        rows = self._read(
            Passage,
            "SELECT p.id, a.source, a.title, p.section, p.text, p.tokens, a.revision_id, a.timestamp, a.url"
            " FROM passages p JOIN articles a ON a.id = p.article_id WHERE p.id IN (SELECT value FROM json_each(?))",
            (json.dumps([int(i) for i in ids]),),
        )
        by_id = {row.id: row for row in rows}
        return [replace(by_id[int(i)], score=float((scores or {}).get(int(i), 0.0))) for i in ids]

    # --- resolutions and scores -------------------------------------------------------------------

    def add_resolutions(self, resolutions: Sequence[Resolution]) -> int:
        """Record outcomes in one transaction and return how many were new; earlier records are always kept.

        ``question_id`` is an id or a subject. An outcome holds for every question of its subject and is stored under the
        question that has the subject as its id, or else under the first one that was asked. One equal to the latest
        outcome of its subject is not recorded again.
        """
        added = 0
        with self.atomic() as connection:
            for r in resolutions:
                home = connection.execute(_HOME_OF_OUTCOME, {"name": r.question_id}).fetchone()
                question_id, subject = tuple(home) if home else (r.question_id, r.question_id)
                latest = connection.execute(
                    "SELECT r.outcome, r.resolved_at, r.source FROM resolutions r JOIN questions q ON q.id = r.question_id"
                    " WHERE q.subject = ? ORDER BY r.id DESC LIMIT 1",
                    (subject,),
                ).fetchone()
                if latest is not None and tuple(latest) == (r.outcome, r.resolved_at, r.source):
                    continue
                connection.execute(
                    "INSERT INTO resolutions (question_id, outcome, resolved_at, source, recorded_at) VALUES (?, ?, ?, ?, ?)",
                    (question_id, r.outcome, r.resolved_at, r.source, utc_now()),
                )
                added += 1
        return added

    def resolution_history(self, question_id: str) -> list[Resolution]:
        """Every outcome ever recorded for a question's subject, oldest first; the last one holds."""
        return self._read(
            Resolution,
            "SELECT r.* FROM resolutions r JOIN questions q ON q.id = r.question_id"
            " WHERE q.subject = (SELECT subject FROM questions WHERE id = ?) ORDER BY r.id",
            (question_id,),
        )

    def resolutions(self) -> dict[str, Resolution]:
        """The latest outcome by question id, for every question whose subject has one."""
        rows = self._read(
            Resolution,
            "SELECT q.id AS question_id, r.outcome, r.resolved_at, r.source FROM questions q JOIN"
            " (SELECT o.subject, max(r.id) AS latest FROM resolutions r"
            " JOIN questions o ON o.id = r.question_id GROUP BY o.subject) s ON s.subject = q.subject"
            " JOIN resolutions r ON r.id = s.latest",
        )
        return {row.question_id: row for row in rows}

    def asked_in(
        self, subjects: Iterable[str], record: str, *, newest: int | None = None
    ) -> list[tuple[int, str]]:
        """Run and question id of each time a question of ``subjects`` was asked in a record.

        Replays are left out. ``newest`` keeps the last so many runs of a question that have a pool,
        found without reading the others.
        """
        asked: list[tuple[int, str]] = []
        among = "" if newest is None else _POOLED
        for subject in subjects:
            for row in self.query("SELECT id FROM questions WHERE subject = ?", (subject,)):
                rows = self.query(
                    "SELECT rq.run_id, rq.question_id FROM run_questions rq JOIN runs r ON r.id = rq.run_id"  # noqa: S608 - constants
                    f" WHERE rq.question_id = ? AND r.origin_run IS NULL AND (rq.as_of IS NULL) = ? {among}"
                    " ORDER BY rq.run_id DESC LIMIT ?",
                    (row["id"], record == "live", -1 if newest is None else newest),
                )
                asked += [(row["run_id"], row["question_id"]) for row in rows]
        return asked

    def asked_columns(self, asked: Sequence[tuple[int, str]] | None = None) -> list[AskedColumns]:
        """Each question of each run, or of ``asked`` (runs and questions): its subject, ``as_of`` and ``extra`` there."""
        among = _ASKED_IN_RUNS if asked is None else _ASKED_AMONG
        return self._read(
            AskedColumns,
            "SELECT rq.run_id, rq.question_id, q.subject, rq.as_of,"  # noqa: S608 - constants
            " coalesce(json_extract(rq.asked, '$.extra'), '{}') AS extra"
            f" FROM {among} JOIN questions q ON q.id = rq.question_id",
            () if asked is None else (json.dumps(asked),),
        )

    def first_forecasts(self, asked: Sequence[tuple[int, str]]) -> list[FirstForecast]:
        """When each of ``asked`` (runs and questions) was first forecast: subject, ``as_of`` and ``created_at``."""
        return self._read(
            FirstForecast,
            "SELECT q.subject, rq.as_of, min(f.created_at) AS created_at"  # noqa: S608 - constants
            f" FROM {_ASKED_AMONG} JOIN forecasts f ON f.run_id = rq.run_id AND f.question_id = rq.question_id"
            " JOIN questions q ON q.id = rq.question_id WHERE f.error IS NULL GROUP BY rq.run_id, rq.question_id",
            (json.dumps(asked),),
        )

    def successful_forecasts(
        self, asked: Sequence[tuple[int, str]] | None = None
    ) -> list[Forecast]:
        """Forecasts without an error, oldest run first; of ``asked`` (runs and questions) where it is given.

        With the question's ``as_of`` and ``latest_evidence``, the newest revision that stood in the prompt, None without
        evidence.
        """
        among = _ASKED_IN_RUNS if asked is None else _ASKED_AMONG
        return self._read(
            Forecast,
            f"{_FORECASTS} FROM {among} {_FORECAST_JOINS}"
            " WHERE f.error IS NULL AND r.origin_run IS NULL ORDER BY f.run_id, rq.position, f.agent, f.chunk",
            () if asked is None else (json.dumps(asked),),
        )

    def all_ensembles(self, asked: Sequence[tuple[int, str]] | None = None) -> list[PooledForecast]:
        """Every ensemble forecast, oldest run first; of ``asked`` where it is given.

        ``as_of`` and ``latest_evidence`` as in ``successful_forecasts``; ``calibrated`` is the newest calibration's value in
        percent, None without one.
        """
        among = _ASKED_IN_RUNS if asked is None else _ASKED_AMONG
        return self._read(
            PooledForecast,
            f"SELECT n.*, q.subject, {calibrated('n', ENSEMBLE)} AS calibrated, rq.as_of, r.started_at,"  # noqa: S608 - names of this module
            " (SELECT max(a.timestamp) FROM forecasts f"
            "  JOIN evidence e ON e.forecast_id = f.id JOIN passages p ON p.id ="
            " e.passage_id JOIN articles a ON a.id = p.article_id"
            "  WHERE f.run_id = n.run_id AND f.question_id = n.question_id AND e.used) AS latest_evidence"
            f" FROM {among} JOIN ensembles n ON n.run_id = rq.run_id AND n.question_id = rq.question_id"
            " JOIN runs r ON r.id = n.run_id JOIN questions q ON q.id = n.question_id"
            " WHERE r.origin_run IS NULL ORDER BY n.run_id, rq.position",
            () if asked is None else (json.dumps(asked),),
        )

    def prompt_evidence(self, run_id: int, question_id: str) -> list[Passage]:
        """The passages that stood in the prompts of one question of a run: once each, best rank first."""
        return self._read(
            Passage,
            "SELECT p.id, a.source, a.title, p.section, p.text, p.tokens, a.revision_id, a.timestamp, a.url, min(e.rank) AS rank"
            " FROM forecasts f JOIN evidence e ON e.forecast_id = f.id"
            " JOIN passages p ON p.id = e.passage_id JOIN articles a ON a.id = p.article_id"
            " WHERE f.run_id = ? AND f.question_id = ? AND e.used GROUP BY p.id ORDER BY rank, p.id",
            (run_id, question_id),
        )

    def save_calibration(
        self, record: CalibrationRecord, forecasts: Sequence[tuple[int, str, float, float, bool]]
    ) -> int:
        """Store a fitted calibration and its values beside the raw ones, in one transaction; returns its id.

        Args:
            record: what was fitted, on how much, and how well.
            forecasts: (run id, question id, raw probability, calibrated probability, out of fold) with probabilities in 0-1.
        """
        values = {
            **{name: value for name, value in vars(record).items() if name != "id"},
            "created_at": utc_now(),
            "parameters": to_json(dict(record.parameters)),
        }
        with self.atomic() as connection:
            calibration_id = connection.execute(
                f"INSERT INTO calibrations ({', '.join(values)}) VALUES ({', '.join(':' + name for name in values)})",  # noqa: S608 - column names of this module
                values,
            ).lastrowid
            assert calibration_id is not None
            connection.executemany(
                "INSERT INTO calibrated_forecasts VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (calibration_id, run, question, raw, value, int(fold))
                    for run, question, raw, value, fold in forecasts
                ],
            )
        return calibration_id

    def add_calibrated_forecasts(
        self, calibration_id: int, forecasts: Sequence[tuple[int, str, float, float]]
    ) -> int:
        """Store values of a calibration for forecasts made after it; returns how many were stored.

        forecasts: (run id, question id, raw probability, calibrated probability), 0-1. A value that came from
        cross-validation stays.
        """
        with self.atomic() as connection:
            return connection.executemany(
                "INSERT INTO calibrated_forecasts VALUES (?, ?, ?, ?, ?, 0) ON CONFLICT DO UPDATE"
                " SET raw = excluded.raw, calibrated = excluded.calibrated WHERE out_of_fold = 0",
                [(calibration_id, *one) for one in forecasts],
            ).rowcount

    def calibrated_forecasts(self, calibration_id: int) -> list[sqlite3.Row]:
        """Raw and calibrated probabilities (0-1) of one calibration, by run and question."""
        return self.query(
            "SELECT * FROM calibrated_forecasts WHERE calibration_id = ? ORDER BY run_id, question_id",
            (calibration_id,),
        )

    def calibrations(self) -> list[CalibrationRecord]:
        """Every calibration ever fitted, oldest first."""
        return self._read(CalibrationRecord, "SELECT * FROM calibrations ORDER BY id")

    def save_coherence(self, records: Sequence[CoherenceRecord]) -> None:
        """Store coherence checks in one transaction; a check that is repeated replaces itself."""
        with self.atomic() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO coherence VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        c.run_id,
                        c.question_id,
                        c.forecaster,
                        c.kind,
                        c.probability,
                        to_json(dict(c.others)),
                        c.gap,
                        utc_now(),
                    )
                    for c in records
                ],
            )

    def coherence(self) -> list[CoherenceRecord]:
        """Every stored coherence check, by run, question and forecaster."""
        return self._read(
            CoherenceRecord,
            "SELECT * FROM coherence ORDER BY run_id, question_id, forecaster, kind",
        )


def _prompt_hash(prompt: str) -> str | None:
    return hashlib.sha256(prompt.encode()).hexdigest() if prompt else None


def _save_prompt(connection: sqlite3.Connection, sha256: str | None, prompt: str) -> None:
    if sha256:
        connection.execute("INSERT OR IGNORE INTO prompts VALUES (?, ?)", (sha256, prompt))


def _statements(script: str) -> Iterator[str]:
    """Split a migration into statements; ``executescript`` would commit the open transaction."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one of the same name; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _database_error(path: Path, error: Exception) -> DatabaseError:
    advice = _advice(error)
    kind = FullDiskError if "full" in str(error) else DatabaseError
    return (DamagedDatabaseError if "is damaged" in advice else kind)(f"{path}: {advice}")


def _advice(error: Exception) -> str:
    """One line that says what happened and what to do, from SQLite's own error."""
    text = str(error)
    for sign, advice in (
        # First: what follows in this message is the text itself, whatever it says.
        (
            "Could not decode to UTF-8",
            "the database is damaged (text that is no Unicode); restore a backup or run sqlite3 FILE .recover",
        ),
        ("not a database", "not an SQLite database; choose another --database"),
        ("malformed", "the database is damaged; restore a backup or run sqlite3 FILE .recover"),
        (
            "locked",
            f"locked by another process for over {BUSY_TIMEOUT_SECONDS:.0f} seconds; end it or choose another --database",
        ),
        ("full", "the disk is full; make room"),
        ("readonly", "not writable; change its permissions or choose another --database"),
        ("unable to open", "cannot be opened; check the path and its permissions"),
        ("disk I/O", "the disk reports an error; check its space and health"),
    ):
        if sign in text:
            return advice
    return " ".join(text.split())[:200]
