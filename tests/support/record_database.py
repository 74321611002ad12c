"""Small databases with known forecasts and outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from database import Database
from questions.question import Question
from scoring.distribution import Distribution, agreement
from scoring.pooling import pool
from scoring.prompts import Passage
from storage.new_records import EnsembleRecord, ForecastRecord
from storage.records import Article, CalibrationRecord, Resolution


def around(percent: float, width: float = 8.0) -> Distribution:
    """A bell over 0-100 around a percentage."""
    grid = np.arange(101)
    return Distribution.from_weights(np.exp(-(((grid - percent) / width) ** 2) / 2))


def point(percent: int) -> Distribution:
    """All mass on one percentage."""
    p = np.zeros(101)
    p[percent] = 1
    return Distribution(p)


def add_evidence(
    database: Database,
    timestamp: str = "2025-01-01T00:00:00Z",
    url: str = "https://example.org/a",
    text: str = "A passage with <script>alert(1)</script>.",
) -> int:
    """One article with one passage; returns the passage's id."""
    article = Article("wikipedia", "Title <i>", f"r{timestamp}", timestamp, url, "text")
    database.articles.add(
        article,
        [Passage(text=text, section="History", tokens=8)],
    )
    return database.connection.query("SELECT max(id) AS id FROM passages")[0]["id"]


def add_run(
    database: Database,
    questions: Sequence[Question],
    forecasts: Mapping[str, Sequence[Distribution]],
    *,
    passage: int | None = None,
    passages: Sequence[int] = (),
    prompts: Mapping[str, str] = MappingProxyType({}),
    made: str | None = None,
    reasoning: str | None = None,
) -> int:
    """A run with one distribution per agent and question, and the linear pool; ``made`` sets every time of day it holds."""
    run = database.runs.start(settings={}, versions={}, seed=1, as_of=None, questions=questions)
    quoted = passages if passage is None else (passage,)
    links = tuple(Passage(id=id, text="", rank=n, score=0.5) for n, id in enumerate(quoted, 1))
    for number, question in enumerate(questions):
        distributions = []
        for agent, given in forecasts.items():
            d = given[number]
            distributions.append(d)
            record = ForecastRecord(
                question.id,
                agent,
                f"owner/{agent}",
                distribution=d,
                captured_mass=0.9,
                residual_mass=0.0,
                reasoning=reasoning,
                evidence=links,
                prompt=prompts.get(agent, ""),
            )
            database.forecasts.save(run, record)
        e = pool(distributions, "mean")
        count, agreed = len(distributions), agreement(distributions)
        ensemble = EnsembleRecord(
            question.id,
            "mean",
            e,
            count,
            count,
            agreed,
            0.9,
            0.0,
            False,
        )
        database.forecasts.save_ensemble(run, ensemble)
    database.runs.finish(run, "finished")
    if made is not None:
        with database.connection.atomic() as connection:
            connection.execute("UPDATE runs SET started_at = ? WHERE id = ?", (made, run))
            connection.execute("UPDATE forecasts SET created_at = ? WHERE run_id = ?", (made, run))
            connection.execute("UPDATE ensembles SET created_at = ? WHERE run_id = ?", (made, run))
    return run


def small(path: Path) -> Path:
    """Three questions, two agents, two runs; nothing is resolved yet."""
    questions = [
        Question("Will A happen?", id="a", extra={"crowd": "0.9", "cluster": "k"}),
        Question("Will $B$ happen?", id="b/ü", close_date="2026-01-01"),
        Question("Will C happen?", id="c"),
    ]
    with Database(path) as database:
        passage = add_evidence(database)
        for made, shift in (("2025-02-01T10:00:00Z", 0), ("2025-03-01T10:00:00Z", 10)):
            given = {
                "x": [point(60 + shift), point(20), around(30)],
                "y": [point(80 + shift), point(40), around(50)],
            }
            add_run(
                database,
                questions,
                given,
                passage=passage,
                made=made,
                reasoning="Because <b>of</b> it.",
            )
    return path


def history(database: Database, question_id: str) -> list[Any]:
    """The rows of ``forecast_history`` of a question's subject, oldest first."""
    return database.connection.query(
        "SELECT * FROM forecast_history WHERE subject = (SELECT subject FROM questions WHERE id = ?)"
        " ORDER BY run, question_id, agent, chunk",
        (question_id,),
    )


def calibrated_values(database: Database, calibration_id: int) -> list[Any]:
    """The rows of ``calibrated_forecasts`` of one calibration, by run and question."""
    return database.connection.query(
        "SELECT * FROM calibrated_forecasts WHERE calibration_id = ? ORDER BY run_id, question_id",
        (calibration_id,),
    )


def recorded_outcomes(database: Database, question_id: str) -> list[Any]:
    """Every row of ``resolutions`` of a question's subject, oldest first; the last one holds."""
    return database.connection.query(
        "SELECT r.* FROM resolutions r JOIN questions q ON q.id = r.question_id"
        " WHERE q.subject = (SELECT subject FROM questions WHERE id = ?) ORDER BY r.id",
        (question_id,),
    )


def resolve_small(database: Database, **outcomes: int) -> None:
    """Resolve questions of ``small``; its "b/ü" is given as ``b``."""
    database.outcomes.add(
        [Resolution({"b": "b/ü"}.get(k, k), v, "2025-06-01") for k, v in outcomes.items()]
    )


def two_records(path: Path) -> Database:
    """Forecast one question live, then back-dated as of two days; it ended yes in June."""
    database = Database(path)
    live = Question("Will A happen?", id="a", extra={"crowd": "0.9"})
    add_run(database, [live], {"x": [point(60)], "y": [point(80)]}, made="2025-02-01T10:00:00Z")
    for day, said in (("2025-01-10", 20), ("2025-01-20", 30)):
        dated = Question(
            "Will A happen?", id=f"a@{day}", subject="a", as_of=day, extra={"crowd": "0.1"}
        )
        add_run(
            database, [dated], {"x": [point(said)], "y": [point(said)]}, made="2026-01-01T10:00:00Z"
        )
    database.outcomes.add([Resolution("a", 1, "2025-06-01")])
    return database


def grown(path: Path, runs: int) -> int:
    """Fill a record with runs of twelve questions and a last one of one; returns its id."""
    questions = [Question(f"Will thing {n} happen?", id=f"q{n}") for n in range(12)]
    with Database(path) as db:
        for run in range(runs):
            given = {
                name: [point((7 * run + 11 * n) % 101) for n in range(12)]
                for name in ("one", "two")
            }
            add_run(db, questions, given, made=f"2026-01-{run + 1:02}T00:00:00Z")
        return add_run(
            db, questions[:1], {"one": [point(50)], "two": [point(60)]}, made="2026-02-01T00:00:00Z"
        )


def calibrate(path: Path, value: float) -> None:
    """Store a calibrated value (0-1) of the live forecast of the question ``eu``."""
    with Database(path) as db:
        (row,) = [
            row
            for row in db.points.read()
            if (row.question_id, row.forecaster, row.as_of) == ("eu", "ensemble", None)
        ]
        fitted = CalibrationRecord("ensemble", "platt", {}, 30, 30, 0.2, 0.1)
        db.outcomes.save_calibration(fitted, [(row.run_id, "eu", row.mean / 100, value, False)])
