"""A small database with known forecasts and outcomes, for the tests of the record, the plots and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from database import Article, Database, EnsembleRecord, EvidenceLink, ForecastRecord, NewPassage
from questions.question import Question
from scoring.distribution import Distribution, agreement
from scoring.pooling import pool


def around(percent: float, width: float = 8.0) -> Distribution:
    """A bell over 0-100 around a percentage."""
    grid = np.arange(101)
    return Distribution.from_weights(np.exp(-(((grid - percent) / width) ** 2) / 2))


def point(percent: int) -> Distribution:
    """All mass on one percentage."""
    p = np.zeros(101)
    p[percent] = 1
    return Distribution(p)


def statistics(d: Distribution) -> dict[str, float]:
    return {
        "mean": d.mean,
        "median": d.median,
        "mode": d.mode,
        "standard_deviation": d.standard_deviation,
        "p10": d.quantile(0.1),
        "p90": d.quantile(0.9),
        "entropy": d.entropy,
    }


def add_evidence(
    database: Database, timestamp: str = "2025-01-01T00:00:00Z", url: str = "https://example.org/a"
) -> int:
    """One article with one passage; returns the passage's id."""
    article = Article("wikipedia", "Title <i>", f"r{timestamp}", timestamp, url, "text")
    database.add_article(
        article, [NewPassage("History", "A passage with <script>alert(1)</script>.", 8)]
    )
    return database.query("SELECT max(id) AS id FROM passages")[0]["id"]


def add_run(
    database: Database,
    questions: Sequence[Question],
    forecasts: Mapping[str, Sequence[Distribution]],
    *,
    passage: int | None = None,
    made: str | None = None,
    reasoning: str | None = None,
) -> int:
    """A run with one distribution per agent and question, and the linear pool; ``made`` sets every time of day it holds."""
    run = database.start_run(settings={}, versions={}, seed=1, as_of=None, questions=questions)
    links = () if passage is None else (EvidenceLink(passage, 1, 1, 0.5),)
    for number, question in enumerate(questions):
        distributions = []
        for agent, given in forecasts.items():
            d = given[number]
            distributions.append(d)
            record = ForecastRecord(
                question.id,
                agent,
                f"owner/{agent}",
                probabilities=d.probabilities,
                statistics=statistics(d),
                captured_mass=0.9,
                residual_mass=0.0,
                reasoning=reasoning,
                evidence=links,
            )
            database.save_forecast(run, record)
        e = pool(distributions, "mean")
        count, agreed = len(distributions), agreement(distributions)
        ensemble = EnsembleRecord(
            question.id,
            "mean",
            e.probabilities,
            statistics(e),
            count,
            count,
            agreed,
            0.9,
            0.0,
            False,
        )
        database.save_ensemble(run, ensemble)
    database.finish_run(run, "finished")
    if made is not None:
        with database.atomic() as connection:
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
