"""Store forecasts with prompts, evidence, reasonings and ablations; their pools."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Final

from storage.connection import Connection, copy_rows, insert
from storage.new_records import AblationRecord, EnsembleRecord, ForecastRecord
from storage.records import (
    AblationPair,
    FirstForecast,
    Forecast,
    Passage,
    PooledForecast,
    ReasoningRecord,
)
from storage.rows import summary_columns, to_json
from storage.runs import ASKED_AMONG, ASKED_IN_RUNS

Asked = Sequence[tuple[int, str]]
# Fields of a ForecastRecord that are rows of other tables; the others are columns.
_PARTS: Final = (
    "prompt", "distribution", "evidence", "sample_distributions", "wording_distributions",
    "ablations",
)  # fmt: skip
FORECAST_JOINS: Final = (
    "JOIN forecasts f ON f.run_id = rq.run_id AND f.question_id = rq.question_id"
    " JOIN runs r ON r.id = f.run_id JOIN questions q ON q.id = f.question_id"
)
# The newest calibration of the pool ``n`` in its record; ``rq`` is its question.
CALIBRATED: Final = (
    "FROM calibrated_forecasts c JOIN calibrations k ON k.id = c.calibration_id"
    " WHERE c.run_id = n.run_id AND c.question_id = n.question_id AND k.forecaster = 'ensemble'"
    " AND k.record = CASE WHEN rq.as_of IS NULL THEN 'live' ELSE 'back-dated' END"
    " ORDER BY k.id DESC LIMIT 1"
)
_FINAL: Final = (
    "(SELECT 100 * d.final FROM final_numbers d WHERE d.run_id = n.run_id"
    " AND d.question_id = n.question_id AND d.final <> d.models) AS final"
)
POOL_JOINS: Final = (
    "JOIN ensembles n ON n.run_id = rq.run_id AND n.question_id = rq.question_id"
    " JOIN runs r ON r.id = n.run_id JOIN questions q ON q.id = n.question_id"
)


class ForecastStore:
    """Forecasts and pools. ``asked`` is always a list of run and question id."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def save(self, run_id: int, record: ForecastRecord) -> int:
        """Store one forecast with its parts in one transaction; returns its id.

        A row that holds an error is replaced (a later try may succeed); a forecast never is.
        """
        created_at = self._connection.now(run_id)
        with self._connection.atomic() as sql:
            sql.execute(
                "DELETE FROM forecasts WHERE run_id = ? AND question_id = ? AND agent = ?"
                " AND chunk = ? AND error IS NOT NULL",
                (run_id, record.question_id, record.agent, record.chunk),
            )
            values = {name: value for name, value in vars(record).items() if name not in _PARTS}
            values |= {"run_id": run_id, "created_at": created_at}
            values |= {"prompt_sha256": _save_prompt(sql, record.prompt)}
            number = insert(sql, "forecasts", values | summary_columns(record.distribution))
            sql.executemany(
                "INSERT INTO evidence VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (number, passage.id, place, passage.rank, passage.score, passage.used)
                    for place, passage in enumerate(record.evidence, start=1)
                ],
            )
            for sample, distribution in record.sample_distributions:
                values = {"forecast_id": number, "sample": sample}
                insert(sql, "scored_samples", values | _mean_columns(distribution))
            for wording, distribution in record.wording_distributions:
                values = {"forecast_id": number, "wording": wording}
                insert(sql, "scored_wordings", values | _mean_columns(distribution))
            for ablation in record.ablations:
                insert(sql, "ablations", _ablation_columns(sql, number, ablation))
        return number

    def of_run(self, run_id: int) -> list[Forecast]:
        """Return all forecasts of a run (errors too), by question, agent and chunk."""
        return self._connection.read(
            Forecast,
            f"SELECT f.* FROM {ASKED_IN_RUNS} {FORECAST_JOINS}"
            " WHERE rq.run_id = ? ORDER BY rq.position, f.agent, f.chunk",
            (run_id,),
        )

    def first(self, asked: Asked) -> list[FirstForecast]:
        """Return when each of ``asked`` was first forecast."""
        return self._connection.read(
            FirstForecast,
            "SELECT q.subject, rq.as_of, min(f.created_at) AS created_at"
            f" FROM {ASKED_AMONG} {FORECAST_JOINS}"
            " WHERE f.error IS NULL GROUP BY rq.run_id, rq.question_id",
            (json.dumps(asked),),
        )

    def save_ensemble(self, run_id: int, record: EnsembleRecord) -> None:
        """Store, or replace, the pooled forecast of one question of a run."""
        values = {**vars(record), "run_id": run_id, "created_at": self._connection.now(run_id)}
        values["weights"] = to_json(dict(record.weights)) if record.weights else None
        values |= summary_columns(values.pop("distribution"))
        with self._connection.atomic() as sql:
            insert(sql, "ensembles", values, "INSERT OR REPLACE")

    def ensembles(self, run_id: int) -> list[PooledForecast]:
        """Return the pools of a run in question order, each with its ``calibration``."""
        return self._connection.read(
            PooledForecast,
            f"SELECT n.*, (SELECT 100 * c.calibrated {CALIBRATED}) AS calibrated,"
            f" (SELECT k.id {CALIBRATED}) AS calibration, {_FINAL}"
            f" FROM {ASKED_IN_RUNS} {POOL_JOINS} WHERE rq.run_id = ? ORDER BY rq.position",
            (run_id,),
        )

    def articles_used(self, run_id: int) -> dict[str, int]:
        """Count the distinct articles that were in any prompt, by question id."""
        rows = self._connection.query(
            "SELECT f.question_id, count(DISTINCT p.article_id) FROM forecasts f"
            " JOIN evidence e ON e.forecast_id = f.id JOIN passages p ON p.id = e.passage_id"
            " WHERE f.run_id = ? AND e.used GROUP BY f.question_id",
            (run_id,),
        )
        return dict(map(tuple, rows))

    def prompt_evidence(self, run_id: int, question_id: str) -> list[Passage]:
        """Return the passages in the prompts of one question: once each, best rank first."""
        return self._connection.read(
            Passage,
            "SELECT p.id, a.source, a.title, p.section, p.text, p.tokens, a.revision_id,"
            " a.timestamp, a.url, e.score, min(e.rank) AS rank FROM forecasts f"
            " JOIN evidence e ON e.forecast_id = f.id JOIN passages p ON p.id = e.passage_id"
            " JOIN articles a ON a.id = p.article_id WHERE f.run_id = ? AND f.question_id = ?"
            " AND e.used GROUP BY p.id ORDER BY rank, p.id",
            (run_id, question_id),
        )

    def prompts(self, run_id: int, question_id: str) -> list[tuple[str, int, str]]:
        """Return agent, chunk and text of each prompt of a question."""
        rows = self._connection.query(
            "SELECT f.agent, f.chunk, p.text FROM forecasts f"
            " JOIN prompts p ON p.sha256 = f.prompt_sha256"
            " WHERE f.run_id = ? AND f.question_id = ? ORDER BY f.agent, f.chunk",
            (run_id, question_id),
        )
        return [(row["agent"], row["chunk"], row["text"]) for row in rows]

    def ablations(self, run_id: int) -> list[AblationPair]:
        """Return all pairs of a run, by question, agent, chunk and condition."""
        return self._connection.read(
            AblationPair,
            "SELECT a.* FROM ablation_pairs a JOIN run_questions rq"
            " ON rq.run_id = a.run AND rq.question_id = a.question_id"
            " WHERE a.run = ? ORDER BY rq.position, a.agent, a.chunk, a.condition",
            (run_id,),
        )

    def save_reasoning(self, run_id: int, record: ReasoningRecord) -> None:
        """Store one reasoning; one that is there already stays."""
        values = {"run_id": run_id, "created_at": self._connection.now(run_id), **asdict(record)}
        with self._connection.atomic() as sql:
            insert(sql, "reasonings", values, "INSERT OR IGNORE")

    def reasonings(self, run_id: int) -> list[ReasoningRecord]:
        """Return all reasonings of a run, by question, chunk and sample."""
        return self._connection.read(
            ReasoningRecord,
            "SELECT * FROM reasonings WHERE run_id = ? ORDER BY question_id, chunk, sample",
            (run_id,),
        )

    def copy_reasonings(self, origin: int, run_id: int) -> None:
        """Give a run the reasonings of another one that asks the same questions."""
        columns = [one.name for one in fields(ReasoningRecord)]
        with self._connection.atomic() as sql:
            copy_rows(sql, "reasonings", [*columns, "created_at"], origin, run_id)


def _save_prompt(sql: sqlite3.Connection, prompt: str) -> str | None:
    """Store a prompt once; returns its SHA-256, None for an empty one."""
    if not prompt:
        return None
    sha256 = hashlib.sha256(prompt.encode()).hexdigest()
    sql.execute("INSERT OR IGNORE INTO prompts VALUES (?, ?)", (sha256, prompt))
    return sha256


def _mean_columns(distribution: Any) -> dict[str, Any]:
    columns = summary_columns(distribution)
    return {name: columns.get(name) for name in ("probabilities", "mean")}


def _ablation_columns(
    sql: sqlite3.Connection, forecast_id: int, record: AblationRecord
) -> Mapping[str, Any]:
    values = {"forecast_id": forecast_id, **vars(record)}
    values["prompt_sha256"] = _save_prompt(sql, values.pop("prompt"))
    return values | _mean_columns(values.pop("distribution"))
