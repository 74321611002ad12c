"""Read the point forecasts of many runs: what scores and histories need."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from scoring.distribution import Distribution
from scoring.pooling import Voice
from storage.connection import Connection
from storage.forecasts import CALIBRATED, FORECAST_JOINS, POOL_JOINS, Asked
from storage.records import Mass, Moment, Percentage
from storage.runs import ASKED_AMONG, ASKED_IN_RUNS, RESOLVED

_POINT: Final = "SELECT rq.run_id, rq.question_id, q.subject, rq.as_of, r.started_at,"
# Time of the newest revision in the prompts of some forecasts; the live record does not need it.
_NEWEST_EVIDENCE: Final = (
    "CASE WHEN rq.as_of IS NOT NULL THEN (SELECT max(a.timestamp) FROM evidence e"
    " JOIN passages p ON p.id = e.passage_id JOIN articles a ON a.id = p.article_id"
    " WHERE e.used AND e.forecast_id IN ({})) END AS latest_evidence"
)
# The parameter says whether questions without an outcome are read too.
_ENDED: Final = f" AND (? OR q.subject IN {RESOLVED})"
_NEWEST_OF_FORECAST: Final = _NEWEST_EVIDENCE.format("f.id")
_NEWEST_OF_POOL: Final = _NEWEST_EVIDENCE.format(
    "SELECT f.id FROM forecasts f WHERE f.run_id = n.run_id AND f.question_id = n.question_id"
)


@dataclass(frozen=True)
class Point:
    """One point forecast: a model's from one chunk of its evidence, or a pool's.

    Only stored columns, none of the 101 numbers: what scores and histories need of every forecast
    ever made. ``mean``, ``p10`` and ``p90`` are in percent. ``latest_evidence`` is read for
    back-dated forecasts only. What is below it only a pool has: ``assisted`` and ``final`` are in
    percent, None where they are the mean; ``market`` is the price (0-1) that was used.
    """

    run_id: int
    question_id: str
    subject: str
    forecaster: str
    chunk: int
    started_at: Moment
    created_at: Moment
    as_of: Moment | None
    mean: Percentage
    p10: Percentage
    p90: Percentage
    captured_mass: Mass
    latest_evidence: Moment | None
    method: str | None = None
    agents: int | None = None
    agents_configured: int | None = None
    calibrated: float | None = None
    assisted: float | None = None
    final: float | None = None
    market: Mass | None = None
    market_shown: bool | None = None

    @property
    def probability(self) -> float:
        """The point forecast, 0-1."""
        return min(1.0, max(0.0, self.mean / 100))


@dataclass(frozen=True)
class Part:
    """A model's distribution from one chunk of its evidence, with its masses."""

    run_id: int
    question_id: str
    agent: str
    distribution: Distribution
    captured_mass: Mass
    residual_mass: Mass

    @property
    def voice(self) -> Voice:
        """The forecast as a voice of a pool."""
        return Voice(self.distribution, self.captured_mass, self.residual_mass, self.captured_mass)


@dataclass(frozen=True)
class StoredChange:
    """A pool beside the last one of its question (view ``forecast_changes``).

    Numbers are in percent, changes in points: None where they cannot be told like for like from
    stored columns. Passages are those in the prompts.
    """

    run: int
    question_id: str
    text: str
    run_before: int
    question_before: str
    models: Percentage
    models_before: Percentage
    models_change: float | None
    final: Percentage
    final_before: Percentage
    final_change: float | None
    agents: tuple[str, ...]
    agents_before: tuple[str, ...]
    passages: int
    passages_new: int
    passages_gone: int
    wording_differs: bool


class PointStore:
    """Point forecasts and distributions. ``asked`` is a list of run and question id."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def read(self, asked: Asked | None = None, *, resolved: bool = False) -> list[Point]:
        """Return point forecasts and then pools, oldest run first, without replays.

        With ``asked`` only theirs, with ``resolved`` only those of questions that have an outcome.
        """
        among = ASKED_IN_RUNS if asked is None else ASKED_AMONG
        given = [*([] if asked is None else [json.dumps(asked)]), not resolved]
        read = self._connection.read
        rows = read(
            Point,
            f"{_POINT} f.agent AS forecaster, f.chunk, f.mean, f.p10, f.p90, f.captured_mass,"
            f" f.created_at, {_NEWEST_OF_FORECAST}"
            f" FROM {among} {FORECAST_JOINS} WHERE f.error IS NULL"
            f" AND r.origin_run IS NULL{_ENDED} ORDER BY rq.run_id, rq.position, f.agent, f.chunk",
            given,
        )
        return rows + read(
            Point,
            f"{_POINT} 'ensemble' AS forecaster, 0 AS chunk, n.mean, n.p10, n.p90, n.captured_mass,"
            " n.created_at, n.method, n.agents, n.agents_configured,"
            f" (SELECT 100 * c.calibrated {CALIBRATED}) AS calibrated,"
            " CASE WHEN d.assisted <> d.models THEN 100 * d.assisted END AS assisted,"
            " CASE WHEN d.final <> d.models THEN 100 * d.final END AS final,"
            f" o.market, o.market_shown, {_NEWEST_OF_POOL}"
            f" FROM {among} {POOL_JOINS} LEFT JOIN final_numbers d ON d.run_id = n.run_id"
            " AND d.question_id = n.question_id LEFT JOIN outside_views o ON o.run_id = n.run_id"
            f" AND o.question_id = n.question_id WHERE r.origin_run IS NULL {_ENDED}"
            " ORDER BY rq.run_id, rq.position",
            given,
        )

    def parts(self, asked: Asked) -> list[Part]:
        """Return the distributions of the models' forecasts, by agent and chunk."""
        return self._connection.read(
            Part,
            f"SELECT f.* FROM {ASKED_AMONG} {FORECAST_JOINS} WHERE f.error IS NULL"
            " ORDER BY f.run_id, rq.position, f.agent, f.chunk",
            (json.dumps(asked),),
        )

    def changes(self, run_id: int) -> list[StoredChange]:
        """Return a run's changes since the last run of each question, in its order."""
        return self._connection.read(
            StoredChange,
            "SELECT *, question AS text FROM forecast_changes WHERE run = ? ORDER BY position",
            (run_id,),
        )
