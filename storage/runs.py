"""Store runs and the questions they asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from questions.question import Question
from storage.connection import Connection, insert, of_subjects
from storage.errors import DatabaseError
from storage.records import (
    AskedColumns,
    AskedQuestion,
    EarlierQuestion,
    KnownQuestion,
    Rewording,
    Run,
)
from storage.rows import to_json

# Every question of every run, or those of a JSON list of runs and questions.
ASKED_IN_RUNS: Final = "run_questions rq"
ASKED_AMONG: Final = (
    "json_each(?) k CROSS JOIN run_questions rq ON rq.run_id = json_extract(k.value, '$[0]')"
    " AND rq.question_id = json_extract(k.value, '$[1]')"
)
# Subjects of the questions that have an outcome.
RESOLVED: Final = "(SELECT o.subject FROM resolutions l JOIN questions o ON o.id = l.question_id)"
_TEXT: Final = "coalesce(json_extract(rq.asked, '$.text'), q.text) AS text"
_EXTRA: Final = "coalesce(json_extract(rq.asked, '$.extra'), '{}') AS extra"
_POOLED: Final = (
    "AND EXISTS (SELECT 1 FROM ensembles n WHERE n.run_id = rq.run_id"
    " AND n.question_id = rq.question_id)"
)
# A known question keeps its subject, and a new one has that of the question that its subject
# names: the user may have joined it to another one.
_STORE_QUESTION: Final = (
    "INSERT INTO questions (id, text, background, resolution_criteria, close_date, extra,"
    " created_at, subject) VALUES (:id, :text, :background, :resolution_criteria, :close_date,"
    " :extra, :now, coalesce((SELECT subject FROM questions WHERE id = :subject), :subject))"
    " ON CONFLICT (id) DO "
)
_RENEW: Final = (
    "UPDATE SET text = excluded.text, background = excluded.background,"
    " resolution_criteria = excluded.resolution_criteria, close_date = excluded.close_date,"
    " extra = excluded.extra"
)
_STORE_WORDING: Final = (
    "INSERT INTO wordings VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
    " SET run_id = excluded.run_id, position = excluded.position"
)


class RunStore:
    """Runs and questions. ``asked`` is always a list of run and question id."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def start(
        self,
        *,
        settings: Mapping[str, Any],
        versions: Mapping[str, Any],
        seed: int,
        as_of: str | None,
        questions: Sequence[Question],
        owner: str | None = None,
        origin_run: int | None = None,
        rewordings: Sequence[Rewording] = (),
    ) -> int:
        """Record a run and its questions in one transaction; returns the run's id.

        Args:
            settings, versions, seed, as_of, questions: what can change its numbers.
            owner: the process that works on it.
            origin_run: the run that this one replays.
            rewordings: wordings that the user accepted as the same question.
        """
        now = self._connection.now()
        values = {"started_at": now, "as_of": as_of, "seed": seed, "owner": owner}
        values |= {"settings": to_json(settings), "versions": to_json(versions)}
        # The newest wording is kept in the table questions, and a replay is not new.
        known = "NOTHING" if origin_run is not None else _RENEW
        with self._connection.atomic() as sql:
            run_id = insert(sql, "runs", {**values, "origin_run": origin_run})
            for position, q in enumerate(questions):
                asked = {**vars(q), "extra": dict(q.extra)}
                sql.execute(
                    _STORE_QUESTION + known, {**asked, "extra": to_json(asked["extra"]), "now": now}
                )
                sql.execute(
                    "INSERT INTO run_questions (run_id, question_id, position, as_of, asked)"
                    " VALUES (?, ?, ?, ?, ?)",
                    (run_id, q.id, position, q.as_of or as_of, to_json(asked)),
                )
                if origin_run is None:
                    wording = (q.id, q.text, q.close_date or "", run_id, position)
                    sql.execute(_STORE_WORDING, wording)
            sql.executemany(
                "INSERT INTO rewordings (question_id, run_id, old_text, new_text, accepted_at)"
                " VALUES (?, ?, ?, ?, ?)",
                [(r.question_id, run_id, r.old_text, r.new_text, now) for r in rewordings],
            )
        return run_id

    def finish(self, run_id: int, status: str) -> None:
        """Set the final status: ``finished``, ``partial``, ``interrupted`` or ``failed``."""
        with self._connection.atomic() as sql:
            sql.execute(
                "UPDATE runs SET status = ?, finished_at = ? WHERE id = ?",
                (status, self._connection.now(run_id), run_id),
            )

    def claim(
        self, run_id: int, owner: str, working_on: Callable[[str | None], str | None]
    ) -> str | None:
        """Make ``owner`` work on a run; returns None, or who works on it already.

        ``working_on`` tells whether an owner still lives. It is asked within the transaction, so
        that only one of two processes gets the run.
        """
        with self._connection.atomic() as sql:
            row = sql.execute("SELECT owner, status FROM runs WHERE id = ?", (run_id,)).fetchone()
            worker = working_on(row["owner"]) if row["status"] == "running" else None
            if worker is None:
                sql.execute(
                    "UPDATE runs SET owner = ?, status = 'running', finished_at = NULL"
                    " WHERE id = ?",
                    (owner, run_id),
                )
        return worker

    def save_weights(self, run_id: int, agent: str, weights: str) -> None:
        """Note which weights a model of a run has; the first note stays."""
        with self._connection.atomic() as sql:
            sql.execute(
                "INSERT OR IGNORE INTO run_models VALUES (?, ?, ?)", (run_id, agent, weights)
            )

    def weights(self, run_id: int) -> dict[str, str]:
        """Return the identity of the weights by agent."""
        statement = "SELECT agent, weights FROM run_models WHERE run_id = ?"
        return dict(map(tuple, self._connection.query(statement, (run_id,))))

    def unfinished(self) -> Run | None:
        """Return the latest run that is not finished, None when there is none."""
        runs = self._connection.read(
            Run, "SELECT * FROM runs WHERE status <> 'finished' ORDER BY id DESC LIMIT 1"
        )
        return runs[0] if runs else None

    def get(self, run_id: int) -> Run:
        """Return one run; DatabaseError when there is none of that number."""
        runs = self._connection.read(Run, "SELECT * FROM runs WHERE id = ?", (run_id,))
        if not runs:
            raise DatabaseError(f"{self._connection.path}: there is no run {run_id}")
        return runs[0]

    def all(self) -> list[Run]:
        """Return all runs, oldest first."""
        return self._connection.read(Run, "SELECT * FROM runs ORDER BY id")

    def questions(self, run_id: int) -> list[AskedQuestion]:
        """Return the questions of a run in their order, as that run asked them."""
        return self._connection.read(
            AskedQuestion,
            "SELECT q.id, q.subject, rq.* FROM run_questions rq"
            " JOIN questions q ON q.id = rq.question_id WHERE rq.run_id = ? ORDER BY rq.position",
            (run_id,),
        )

    def subjects(self, ids: Sequence[str]) -> dict[str, str]:
        """Return the subjects of the questions (ids) that are known."""
        rows = self._connection.query(
            "SELECT id, subject FROM questions WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(ids),),
        )
        return dict(map(tuple, rows))

    def known_questions(self) -> list[KnownQuestion]:
        """Return all questions ever asked in their newest wording, oldest first."""
        return self._connection.read(
            KnownQuestion, "SELECT * FROM questions ORDER BY created_at, rowid"
        )

    def asked_before(self, subjects: Collection[str] | None = None) -> list[EarlierQuestion]:
        """Return each wording that a run asked (of ``subjects``), the last at the end."""
        among, given = of_subjects("q.subject", subjects)
        return self._connection.read(
            EarlierQuestion,
            "SELECT w.run_id, q.id, q.subject, w.text, nullif(w.close_date, '') AS close_date"
            f" FROM wordings w JOIN questions q ON q.id = w.question_id{among}"
            " ORDER BY w.run_id, w.position",
            given,
        )

    def wordings(self) -> list[tuple[str, str]]:
        """Return subject and text of each wording that a run asked, and nothing else."""
        rows = self._connection.query(
            "SELECT q.subject, w.text FROM wordings w JOIN questions q ON q.id = w.question_id"
        )
        return list(map(tuple, rows))

    def latest_questions(
        self, record: str, subjects: Collection[str] | None = None
    ) -> list[KnownQuestion]:
        """Return each subject's newest question in a record, the last asked at the end.

        ``record`` is "live" or "back-dated"; replays are left out. With ``subjects`` only theirs.
        """
        among, given = of_subjects("q.subject", subjects)
        return self._connection.read(
            KnownQuestion,
            "SELECT id, subject, text, extra FROM (SELECT q.id, q.subject,"
            f" {_TEXT}, {_EXTRA}, rq.run_id, rq.position, row_number() OVER"
            " (PARTITION BY q.subject ORDER BY rq.run_id DESC, rq.position DESC) AS age"
            # One look into the index for each question: the runs grow without end.
            " FROM questions q CROSS JOIN run_questions rq"
            " ON rq.question_id = q.id AND rq.run_id = (SELECT l.run_id FROM run_questions l"
            " JOIN runs r ON r.id = l.run_id WHERE l.question_id = q.id AND r.origin_run IS NULL"
            f" AND (l.as_of IS NULL) = ? ORDER BY l.run_id DESC LIMIT 1){among})"
            " WHERE age = 1 ORDER BY run_id, position",
            (record == "live", *given),
        )

    def last_asked(self, record: str, count: int) -> list[str]:
        """Return the subjects of a record that were asked last, the last one first.

        At most ``count``, coherence checks and replays left out; older runs are not read.
        """
        found = dict[str, None]()
        for run in self._connection.query(
            "SELECT id FROM runs WHERE origin_run IS NULL ORDER BY id DESC"
        ):
            rows = self._connection.query(
                "SELECT q.subject FROM run_questions rq JOIN questions q ON q.id = rq.question_id"
                " WHERE rq.run_id = ? AND (rq.as_of IS NULL) = ?"
                " AND json_extract(rq.asked, '$.extra.coherence_of') IS NULL"
                " ORDER BY rq.position DESC",
                (run["id"], record == "live"),
            )
            found |= dict.fromkeys(row["subject"] for row in rows)
            if len(found) >= count:
                break
        return list(found)[:count]

    def count_asked(self, record: str) -> int:
        """Count the subjects of a record without coherence checks and replays."""
        rows = self._connection.query(
            "SELECT count(DISTINCT q.subject) FROM questions q WHERE EXISTS"
            " (SELECT 1 FROM run_questions l JOIN runs r ON r.id = l.run_id"
            " WHERE l.question_id = q.id AND r.origin_run IS NULL AND (l.as_of IS NULL) = ?)"
            " AND json_extract(q.extra, '$.coherence_of') IS NULL",
            (record == "live",),
        )
        return int(rows[0][0])

    def asked_in(
        self, subjects: Iterable[str], record: str, *, newest: int | None = None
    ) -> list[tuple[int, str]]:
        """Return run and question id of each time subjects were asked in a record.

        Replays are left out. ``newest`` keeps the last so many runs of a question that have a
        pool, found without reading the others.
        """
        among = "" if newest is None else _POOLED
        query = self._connection.query
        found = []
        for subject in subjects:
            for row in query("SELECT id FROM questions WHERE subject = ?", (subject,)):
                found += query(
                    "SELECT rq.run_id, rq.question_id FROM run_questions rq"
                    " JOIN runs r ON r.id = rq.run_id WHERE rq.question_id = ?"
                    f" AND r.origin_run IS NULL AND (rq.as_of IS NULL) = ? {among}"
                    " ORDER BY rq.run_id DESC LIMIT ?",
                    (row["id"], record == "live", -1 if newest is None else newest),
                )
        return [(row["run_id"], row["question_id"]) for row in found]

    def asked_columns(self, asked: Sequence[tuple[int, str]] | None = None) -> list[AskedColumns]:
        """Return what scores need of resolved questions of each run, or of ``asked``."""
        among = ASKED_IN_RUNS if asked is None else ASKED_AMONG
        return self._connection.read(
            AskedColumns,
            f"SELECT rq.run_id, rq.question_id, q.subject, {_EXTRA}"
            f" FROM {among} JOIN questions q ON q.id = rq.question_id"
            f" WHERE q.subject IN {RESOLVED}",
            () if asked is None else (json.dumps(asked),),
        )

    def join_subjects(self, question_id: str, other: str) -> None:
        """Give the questions of ``other`` the subject of the first (ids or subjects)."""
        with self._connection.atomic() as sql:
            sql.execute(
                "UPDATE questions SET subject ="
                " coalesce((SELECT subject FROM questions WHERE id = :one), :one)"
                " WHERE subject ="
                " coalesce((SELECT subject FROM questions WHERE id = :other), :other)",
                {"one": question_id, "other": other},
            )
