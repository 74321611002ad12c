"""Collect the forecasts that count: of resolved questions, made in time.

A forecast counts when its question is resolved (the latest outcome, not void) and it was made
before that moment. A back-dated forecast speaks from its ``as_of`` day: that day must end before
the resolution, and no passage in its prompt may be newer. What does not count is listed with the
reason. Live and back-dated forecasts are two records (docs/evaluation.md).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from database import Database
from questions.checks import parent_id
from questions.question import cluster_of
from scoring.distribution import Distribution
from scoring.pooling import Voice, average
from storage.records import AskedColumns, Forecast, PooledForecast, Resolution

# Run and question of a forecast.
Key = tuple[int, str]

ENSEMBLE = "ensemble"
# The two records: forecasts made live, and those made later as of a past day.
LIVE, BACK_DATED = "live", "back-dated"
RECORDS = (LIVE, BACK_DATED)


class AnalysisError(Exception):
    """Nothing can be done with what was given; the message is one line for the user."""


def parse_time(text: str) -> datetime:
    """Parse a stored ISO date or timestamp as UTC without a zone."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def forecast_time(as_of: str | None, created_at: str) -> datetime:
    """Return when a forecast was made; a back-dated one at the end of its day."""
    if as_of is None:
        return parse_time(created_at)
    moment = parse_time(as_of)
    return moment if len(as_of) > 10 else moment + timedelta(days=1, seconds=-1)


def record_of(as_of: str | None) -> str:
    """Return the record that a forecast as of a day belongs to."""
    return LIVE if as_of is None else BACK_DATED


@dataclass(frozen=True)
class Judged:
    """A forecast of a resolved question that counts.

    ``extra`` holds other people's probabilities (score_tables.REFERENCES), ``previous`` the
    forecaster's probability (0-1) before this one.
    """

    run_id: int
    question_id: str
    forecaster: str
    distribution: Distribution
    outcome: int
    cluster: str
    made: datetime
    resolved: datetime
    extra: Mapping[str, Any] = field(default_factory=dict)
    previous: float | None = None
    as_of: str | None = None
    subject: str = ""

    @property
    def record(self) -> str:
        """The record it belongs to."""
        return record_of(self.as_of)

    @property
    def scored_as(self) -> tuple[str, str | None]:
        """What a forecaster is scored once for: the question, back-dated also the day."""
        return self.subject or self.question_id, self.as_of

    @property
    def probability(self) -> float:
        """The point forecast, 0-1."""
        return min(1.0, max(0.0, self.distribution.probability))

    @property
    def horizon_days(self) -> float:
        """Days from the forecast to the resolution."""
        return (self.resolved - self.made) / timedelta(days=1)


@dataclass(frozen=True)
class Excluded:
    """A forecast that does not count, and why."""

    run_id: int
    question_id: str
    forecaster: str
    reason: str
    record: str = LIVE


@dataclass(frozen=True)
class Record:
    """The forecasts of resolved questions; ``voices`` by run, question and agent."""

    judged: tuple[Judged, ...]
    excluded: tuple[Excluded, ...]
    voices: Mapping[Key, Mapping[str, Voice]]

    def part(self, record: str) -> Record:
        """Return the live or the back-dated forecasts."""
        return Record(
            tuple(j for j in self.judged if j.record == record),
            tuple(e for e in self.excluded if e.record == record),
            self.voices,
        )

    def of_run(self, run_id: int) -> Record:
        """Return the forecasts of one run."""
        return Record(
            tuple(j for j in self.judged if j.run_id == run_id),
            tuple(e for e in self.excluded if e.run_id == run_id),
            self.voices,
        )

    def latest(self, forecaster: str | None = None) -> list[Judged]:
        """Return the last forecast of what is scored once, by each or one forecaster."""
        last: dict[tuple[str, tuple[str, str | None]], Judged] = {}
        for j in by_time(self.judged):
            if forecaster is None or j.forecaster == forecaster:
                last[j.forecaster, j.scored_as] = j
        return list(last.values())

    def forecasters(self) -> list[str]:
        """Return all names, the ensemble first."""
        return sorted(
            {j.forecaster for j in self.judged}, key=lambda name: (name != ENSEMBLE, name)
        )


def by_time(rows: Iterable[Judged]) -> list[Judged]:
    """Sort forecasts by when they were made, those of one moment by run."""
    return sorted(rows, key=lambda j: (j.made, j.run_id))


def collect(database: Database, subjects: Iterable[str] | None = None) -> Record:
    """Judge the forecasts of all resolved questions, or of ``subjects``."""
    wanted = None
    if subjects is not None:
        subjects = set(subjects)
        wanted = [key for kind in RECORDS for key in database.runs.asked_in(subjects, kind)]
    resolutions = database.outcomes.latest()
    asked = {
        (row.run_id, row.question_id): row
        for row in database.runs.asked_columns(wanted)
        if row.question_id in resolutions and parent_id(row.extra) is None
    }
    voices: dict[Key, dict[str, Voice]] = {}
    candidates: list[tuple[str, Distribution, Forecast | PooledForecast]] = []
    for key, by_agent in agent_parts(database.forecasts.successful(wanted)).items():
        if key not in asked:
            continue
        voices[key] = {name: mean_voice(rows) for name, rows in by_agent.items()}
        candidates += [
            (name, voices[key][name].distribution, _last(rows)) for name, rows in by_agent.items()
        ]
    candidates += [
        (ENSEMBLE, row.distribution, row)
        for row in database.forecasts.all_ensembles(wanted)
        if (row.run_id, row.question_id) in asked
    ]
    judged, excluded = [], []
    for name, distribution, row in candidates:
        key, resolution = (row.run_id, row.question_id), resolutions[row.question_id]
        if reason := exclusion(row, resolution):
            excluded.append(Excluded(*key, name, reason, record_of(row.as_of)))
        else:
            judged.append(_judged(name, distribution, row, asked[key], resolution))
    return Record(tuple(_with_previous(judged)), tuple(excluded), voices)


def agent_parts(rows: Iterable[Forecast]) -> dict[Key, dict[str, list[Forecast]]]:
    """Group rows by forecast and agent; each chunk of an agent's evidence has a row."""
    found: dict[Key, dict[str, list[Forecast]]] = {}
    for row in rows:
        found.setdefault((row.run_id, row.question_id), {}).setdefault(row.agent, []).append(row)
    return found


def mean_voice(parts: Sequence[Forecast]) -> Voice:
    """Average an agent's forecasts from the chunks of its evidence."""
    return average([row.voice for row in parts])


def _last(parts: Sequence[Forecast]) -> Forecast:
    """Return the last part, with the newest evidence of all."""
    newest = max((r.latest_evidence for r in parts if r.latest_evidence), default=None)
    return replace(parts[-1], latest_evidence=newest)


def _judged(
    name: str,
    distribution: Distribution,
    row: Forecast | PooledForecast,
    asked: AskedColumns,
    resolution: Resolution,
) -> Judged:
    return Judged(
        run_id=row.run_id,
        question_id=row.question_id,
        forecaster=name,
        distribution=distribution,
        outcome=int(resolution.outcome or 0),
        cluster=cluster_of(asked.extra, asked.subject),
        made=forecast_time(row.as_of, row.created_at),
        resolved=parse_time(resolution.resolved_at),
        extra=asked.extra,
        as_of=row.as_of,
        subject=asked.subject,
    )


def exclusion(row: Forecast | PooledForecast, resolution: Resolution) -> str | None:
    """Return why a forecast does not count (see the module's first lines), or None."""
    if resolution.outcome is None:
        return "the question was voided"
    made = forecast_time(row.as_of, row.created_at)
    if made >= parse_time(resolution.resolved_at):
        return "as_of is not before the resolution" if row.as_of else "made after the resolution"
    if row.as_of and row.latest_evidence and parse_time(row.latest_evidence) > made:
        return "evidence newer than as_of"
    return None


def _with_previous(judged: Sequence[Judged]) -> list[Judged]:
    """Sort by time and fill in each forecaster's earlier probability in a record."""
    series: dict[tuple[str, str, str], list[Judged]] = {}
    result = []
    for j in by_time(judged):
        earlier = series.setdefault((j.forecaster, j.subject, j.record), [])
        # Two back-dated forecasts of one day are two attempts at the same forecast.
        before = [k.probability for k in earlier if k.made < j.made]
        result.append(replace(j, previous=before[-1] if before else None))
        earlier.append(j)
    return result


def arrays(
    rows: Sequence[Judged],
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[Hashable]]:
    """Return probabilities (n,) in 0-1, outcomes (n,) and cluster labels of forecasts."""
    return (
        np.array([j.probability for j in rows]),
        np.array([j.outcome for j in rows], dtype=np.float64),
        [j.cluster for j in rows],
    )
