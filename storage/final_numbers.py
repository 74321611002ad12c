"""Store the three numbers of each question of a run, and all they were made of."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from storage.connection import Connection, insert
from storage.id_lists import listed
from storage.records import Mass, Moment
from storage.rows import to_json

# Each voice by name: probability (0-1), weight and note. Each projection by kind: the number before
# and after it, and those of its members (0-1) by question.
Numbers = Mapping[str, float]
Voices = Mapping[str, Mapping[str, Any]]
Steps = Mapping[str, Mapping[str, Any]]

# What holds JSON; the other fields are columns as they are.
_JSON: Final = ("parameters", "voices", "weights", "projections")


@dataclass(frozen=True)
class OutsideView:
    """What is known of a question beside its evidence: a market price and a base rate.

    ``base_rate`` is (yes + strength * prior) / (relatives + strength); ``kind`` and ``family`` say
    what joins its ``relatives`` (question ids). ``*_shown`` says whether a prompt has it.
    """

    question_id: str
    market: Mass | None = None
    market_date: Moment | None = None
    market_shown: bool = False
    base_rate: Mass | None = None
    kind: str | None = None
    family: str | None = None
    yes: float | None = None
    relatives: tuple[str, ...] = ()
    prior: Mass | None = None
    strength: float | None = None
    base_rate_shown: bool = False


@dataclass(frozen=True)
class AppliedCalibration:
    """A curve fitted for one kind of question on what was resolved before a day.

    The Brier scores are of later forecasts than each fit's. ``forecasts`` has the runs and
    questions it was fitted on, each as ``RUN:QUESTION``.
    """

    kind: str
    day: Moment
    method: str
    parameters: Mapping[str, Any]
    count: int
    brier_before: float | None
    brier_after: float | None
    used: bool
    reason: str
    forecasts: tuple[str, ...] = ()


@dataclass(frozen=True)
class FinalNumbers:
    """A question's three numbers (0-1): of the models, assisted, and final.

    ``coherent`` is the assisted number after the projections, which the curve of
    ``calibration_kind`` and ``calibration_day`` makes the final one. ``voices`` has each voice of
    the assisted pool by name, ``projections`` each projection with the numbers it took.
    """

    question_id: str
    rule_version: int
    models: Mass
    assisted: Mass
    coherent: Mass
    final: Mass
    voices: Voices
    weights: Numbers
    projections: Steps
    calibration_kind: str
    calibration_day: Moment

    @property
    def ingredients(self) -> list[str]:
        """What took part beside the models, in words for people."""
        voices = {"market": "market price", "base_rate": "base rate"}
        counted = [
            name for key, name in voices.items() if self.voices.get(key, {}).get("weight", 0) > 0
        ]
        counted += ["coherence"] * (self.coherent != self.assisted)
        return counted + ["calibration"] * (self.final != self.coherent)


@dataclass(frozen=True)
class PastPool:
    """A live pool of an earlier run, with its final numbers where it has any.

    ``mean`` is in percent, ``coherent`` and ``market`` are probabilities.
    """

    run_id: int
    question_id: str
    subject: str
    created_at: Moment
    mean: float
    extra: Mapping[str, Any] = field(default_factory=dict)
    coherent: Mass | None = None
    market: Mass | None = None
    market_shown: bool | None = None
    base_rate: Mass | None = None
    relatives: int | None = None
    strength: float | None = None
    kind: str | None = None
    calibration_kind: str | None = None


class FinalNumberStore:
    """Outside views, applied calibrations and final numbers of runs."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def save_outside_views(self, run_id: int, views: Sequence[OutsideView]) -> None:
        """Store outside views in one transaction; one that is there already stays."""
        with self._connection.atomic() as sql:
            for view in views:
                values = _columns(run_id, view)
                ids = values.pop("relatives")
                values |= {"relative_count": len(ids), "relative_list": listed(sql, ids)}
                insert(sql, "outside_views", values, "INSERT OR IGNORE")

    def outside_views(self, run_id: int) -> dict[str, OutsideView]:
        """Return the outside views of a run by question."""
        rows = self._connection.read(
            OutsideView,
            "SELECT o.*, coalesce(l.ids, '[]') AS relatives FROM outside_views o"
            " LEFT JOIN id_lists l ON l.id = o.relative_list WHERE o.run_id = ?",
            (run_id,),
        )
        return {row.question_id: row for row in rows}

    def save(
        self,
        run_id: int,
        numbers: Sequence[FinalNumbers],
        calibrations: Sequence[AppliedCalibration] = (),
    ) -> None:
        """Store, or replace, a run's final numbers and curves in one transaction."""
        now = {"created_at": self._connection.now(run_id)}
        with self._connection.atomic() as sql:
            for curve in calibrations:
                save_curve(sql, run_id, curve, listed(sql, curve.forecasts))
            for one in numbers:
                values = _columns(run_id, one) | now
                insert(sql, "final_numbers", values, "INSERT OR REPLACE")

    def of_run(self, run_id: int) -> dict[str, FinalNumbers]:
        """Return the final numbers of a run by question."""
        statement = "SELECT * FROM final_numbers WHERE run_id = ?"
        rows = self._connection.read(FinalNumbers, statement, (run_id,))
        return {row.question_id: row for row in rows}

    def calibrations(self, run_id: int) -> list[AppliedCalibration]:
        """Return the curves that a run's final numbers name, by kind and day."""
        return self._connection.read(
            AppliedCalibration,
            "SELECT c.*, coalesce(l.ids, '[]') AS forecasts FROM applied_calibrations c"
            " LEFT JOIN id_lists l ON l.id = c.forecast_list WHERE c.run_id = ?"
            " ORDER BY c.kind, c.day",
            (run_id,),
        )

    def past_pools(self) -> list[PastPool]:
        """Return the live pools of resolved questions, oldest run first, no replays."""
        return self._connection.read(
            PastPool,
            "SELECT n.run_id, n.question_id, q.subject, n.created_at, n.mean,"
            " coalesce(json_extract(rq.asked, '$.extra'), '{}') AS extra, d.coherent,"
            " d.calibration_kind, o.market, o.market_shown, o.base_rate,"
            " o.relative_count AS relatives, o.strength, o.kind"
            " FROM run_questions rq JOIN runs r ON r.id = rq.run_id"
            " JOIN ensembles n ON n.run_id = rq.run_id AND n.question_id = rq.question_id"
            " JOIN questions q ON q.id = rq.question_id"
            " LEFT JOIN final_numbers d ON d.run_id = rq.run_id AND d.question_id = rq.question_id"
            " LEFT JOIN outside_views o ON o.run_id = rq.run_id AND o.question_id = rq.question_id"
            " WHERE r.origin_run IS NULL AND rq.as_of IS NULL AND q.subject IN"
            " (SELECT s.subject FROM resolutions x JOIN questions s ON s.id = x.question_id)"
            " ORDER BY n.run_id, rq.position",
        )


def save_curve(
    sql: sqlite3.Connection, run_id: int, curve: AppliedCalibration, forecast_list: int | None
) -> None:
    """Store, or replace, a run's curve; its forecasts are those of a stored list."""
    values = _columns(run_id, curve) | {"forecast_list": forecast_list}
    del values["forecasts"]
    insert(sql, "applied_calibrations", values, "INSERT OR REPLACE")


def _columns(run_id: int, record: Any) -> dict[str, Any]:
    values = {**vars(record), "run_id": run_id}
    for name in _JSON:
        if name in values:
            values[name] = to_json(values[name])
    return values
