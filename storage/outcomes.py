"""Store how questions ended, calibrations fitted on that, and coherence checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from storage.connection import Connection, insert, of_subjects
from storage.records import CalibrationRecord, CoherenceRecord, Resolution
from storage.rows import to_json
from terminal.redaction import redact

# The question under which an outcome is stored; ``name`` is an id, or else a subject.
_HOME: Final = (
    "SELECT q.id, q.subject FROM questions q WHERE q.subject ="
    " coalesce((SELECT subject FROM questions WHERE id = :name), :name)"
    " ORDER BY q.id <> q.subject, q.created_at, q.rowid LIMIT 1"
)


class OutcomeStore:
    """Outcomes, calibrations and coherence; nothing here changes a forecast."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, resolutions: Sequence[Resolution]) -> int:
        """Record outcomes in one transaction; returns how many were new.

        ``question_id`` is an id or a subject. An outcome holds for every question of its subject
        and is stored under the question whose id is the subject, or else under the first one that
        was asked. Earlier outcomes are kept; one equal to the latest is not recorded again.
        """
        added = 0
        with self._connection.atomic() as sql:
            for r in resolutions:
                home = sql.execute(_HOME, {"name": r.question_id}).fetchone()
                question_id, subject = tuple(home) if home else (r.question_id, r.question_id)
                ended = (r.outcome, r.resolved_at, redact(r.source))
                latest = sql.execute(
                    "SELECT r.outcome, r.resolved_at, r.source FROM resolutions r JOIN questions q"
                    " ON q.id = r.question_id WHERE q.subject = ? ORDER BY r.id DESC LIMIT 1",
                    (subject,),
                ).fetchone()
                if latest is not None and tuple(latest) == ended:
                    continue
                sql.execute(
                    "INSERT INTO resolutions (question_id, outcome, resolved_at, source,"
                    " recorded_at) VALUES (?, ?, ?, ?, ?)",
                    (question_id, *ended, self._connection.now()),
                )
                added += 1
        return added

    def latest(self, subjects: Sequence[str] | None = None) -> dict[str, Resolution]:
        """Return the latest outcome by question id, wherever the subject has one.

        With ``subjects`` only theirs, and nothing of others is read.
        """
        among, given = of_subjects("o.subject", subjects)
        table = "resolutions r JOIN questions o ON o.id = r.question_id"
        if subjects is not None:
            table = "questions o CROSS JOIN resolutions r ON r.question_id = o.id"
        rows = self._connection.read(
            Resolution,
            "SELECT q.id AS question_id, r.outcome, r.resolved_at, r.source FROM"
            f" (SELECT o.subject, max(r.id) AS latest FROM {table}{among} GROUP BY o.subject) s"
            " CROSS JOIN questions q ON q.subject = s.subject"
            " CROSS JOIN resolutions r ON r.id = s.latest",
            given,
        )
        return {row.question_id: row for row in rows}

    def save_calibration(
        self, record: CalibrationRecord, forecasts: Sequence[tuple[int, str, float, float, bool]]
    ) -> int:
        """Store a fitted calibration and its values beside the raw ones; returns its id.

        Args:
            record: what was fitted, on how much, and how well.
            forecasts: run id, question id, raw and calibrated probability (0-1), out of fold.
        """
        values = {**vars(record), "created_at": self._connection.now()}
        values["parameters"] = to_json(dict(record.parameters))
        del values["id"]
        with self._connection.atomic() as sql:
            number = insert(sql, "calibrations", values)
            sql.executemany(
                "INSERT INTO calibrated_forecasts VALUES (?, ?, ?, ?, ?, ?)",
                [(number, *one) for one in forecasts],
            )
        return number

    def add_calibrated(
        self, calibration_id: int, forecasts: Sequence[tuple[int, str, float, float]]
    ) -> int:
        """Store values for forecasts made after a calibration; returns how many.

        A value that came from cross-validation stays.

        Args:
            calibration_id: the calibration.
            forecasts: run id, question id, raw and calibrated probability (0-1).
        """
        with self._connection.atomic() as sql:
            return sql.executemany(
                "INSERT INTO calibrated_forecasts VALUES (?, ?, ?, ?, ?, 0) ON CONFLICT DO UPDATE"
                " SET raw = excluded.raw, calibrated = excluded.calibrated WHERE out_of_fold = 0",
                [(calibration_id, *one) for one in forecasts],
            ).rowcount

    def calibrations(self) -> list[CalibrationRecord]:
        """Return every calibration ever fitted, oldest first."""
        return self._connection.read(CalibrationRecord, "SELECT * FROM calibrations ORDER BY id")

    def save_coherence(self, records: Sequence[CoherenceRecord]) -> None:
        """Store coherence checks in one transaction; a repeated check replaces itself."""
        now = self._connection.now()
        with self._connection.atomic() as sql:
            for record in records:
                values = {**vars(record), "others": to_json(dict(record.others))}
                insert(sql, "coherence", {**values, "created_at": now}, "INSERT OR REPLACE")

    def coherence(self, run_id: int) -> list[CoherenceRecord]:
        """Return the coherence checks of a run, by question and forecaster."""
        return self._connection.read(
            CoherenceRecord,
            "SELECT * FROM coherence WHERE run_id = ? ORDER BY question_id, forecaster, kind",
            (run_id,),
        )
