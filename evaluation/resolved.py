"""Collect the stored forecasts that count: those of resolved questions, made in time.

A forecast counts when its question is resolved (the latest outcome, not void) and it was made
before that moment. A back-dated forecast speaks from its ``as_of`` day: that day must end before
the resolution, and no passage in its prompt may be newer. What does not count is listed with the
reason. Live and back-dated forecasts are two records (docs/evaluation.md).
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
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
from storage.records import Forecast, PooledForecast, Resolution

# Forecaster, distribution, stored row and date of the newest evidence of a forecast.
Candidate = tuple[str, Distribution, Forecast | PooledForecast, str | None]

ENSEMBLE = "ensemble"
# The two records: forecasts made live, and those made later as of a past day.
LIVE, BACK_DATED = "live", "back-dated"
RECORDS = (LIVE, BACK_DATED)


class AnalysisError(Exception):
    """Nothing can be done with what was given; the message is one line for the user."""


def parse_time(text: str) -> datetime:
    """A stored ISO date or timestamp as UTC without a zone, the form that plots and comparisons here use."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def forecast_time(as_of: str | None, created_at: str) -> datetime:
    """The moment a forecast speaks from: the end of its ``as_of`` day for a backtest, else when it was made."""
    if as_of is None:
        return parse_time(created_at)
    moment = parse_time(as_of)
    return moment if len(as_of) > 10 else moment + timedelta(days=1, seconds=-1)


@dataclass(frozen=True)
class Judged:
    """One forecast of a resolved question.

    ``probability`` is in 0-1; ``extra`` holds other people's probabilities (``REFERENCES``).
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
        """The record it belongs to, ``LIVE`` or ``BACK_DATED``."""
        return LIVE if self.as_of is None else BACK_DATED

    @property
    def scored_as(self) -> tuple[str, str | None]:
        """What one forecaster is scored once for: a question live, a question and day back-dated."""
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
    """Everything the database says about resolved questions.

    agents: each agent's distribution by (run, question); captured: captured mass (0-1) of the agents' voices by the same keys
    (an agent without an entry counts in full); back_dated: those of these keys that are back-dated.
    """

    judged: tuple[Judged, ...]
    excluded: tuple[Excluded, ...]
    agents: Mapping[tuple[int, str], Mapping[str, Distribution]]
    captured: Mapping[tuple[int, str], Mapping[str, float]] = field(default_factory=dict)
    back_dated: frozenset[tuple[int, str]] = frozenset()

    def part(self, record: str) -> Record:
        """Only the live or only the back-dated forecasts."""
        return Record(
            tuple(j for j in self.judged if j.record == record),
            tuple(e for e in self.excluded if e.record == record),
            {
                key: d
                for key, d in self.agents.items()
                if (key in self.back_dated) == (record == BACK_DATED)
            },
            self.captured,
            self.back_dated,
        )

    def of_run(self, run_id: int) -> Record:
        """Only the forecasts of one run."""
        return Record(
            tuple(j for j in self.judged if j.run_id == run_id),
            tuple(e for e in self.excluded if e.run_id == run_id),
            {key: value for key, value in self.agents.items() if key[0] == run_id},
            self.captured,
            self.back_dated,
        )

    def latest(self, forecaster: str | None = None) -> list[Judged]:
        """The last counting forecast by each (or one) forecaster of what is scored once, in order of time.

        That is each question in the live record, and each question and day in the back-dated one.
        """
        last: dict[tuple[str, tuple[str, str | None]], Judged] = {}
        for j in sorted(self.judged, key=lambda j: (j.made, j.run_id)):
            if forecaster is None or j.forecaster == forecaster:
                last[j.forecaster, j.scored_as] = j
        return list(last.values())

    def forecasters(self) -> list[str]:
        """All names, the ensemble first."""
        names = sorted({j.forecaster for j in self.judged})
        return sorted(names, key=lambda name: name != ENSEMBLE)


def collect(database: Database, subjects: Iterable[str] | None = None) -> Record:
    """Read the forecasts of resolved questions (of ``subjects``, where given) and judge them."""
    resolutions = database.outcomes.latest()
    wanted = (
        None
        if subjects is None
        else [key for kind in RECORDS for key in database.runs.asked_in(set(subjects), kind)]
    )
    asked = {
        (row.run_id, row.question_id): row
        for row in database.runs.asked_columns(wanted)
        if row.question_id in resolutions and parent_id(row.extra) is None
    }
    voices, spoken = _agents(database, wanted, asked)
    pools = [
        (ENSEMBLE, row.distribution, row, row.latest_evidence)
        for row in database.forecasts.all_ensembles(wanted)
        if (row.run_id, row.question_id) in asked
    ]
    judged, excluded = [], []
    for name, distribution, row, newest in [*spoken, *pools]:
        key = (row.run_id, row.question_id)
        resolution = resolutions[row.question_id]
        reason = exclusion(
            row.as_of, row.created_at, newest, resolution.outcome, resolution.resolved_at
        )
        if reason:
            record = LIVE if row.as_of is None else BACK_DATED
            excluded.append(Excluded(*key, name, reason, record))
        else:
            judged.append(_judged(name, distribution, row, asked[key], resolution))
    return Record(
        tuple(_with_previous(judged)),
        tuple(excluded),
        {key: {name: v.distribution for name, v in by.items()} for key, by in voices.items()},
        {key: {name: v.captured for name, v in by.items()} for key, by in voices.items()},
        frozenset(key for key, row in asked.items() if row.as_of is not None),
    )


def _agents(
    database: Database, wanted: Any, asked: Collection[tuple[int, str]]
) -> tuple[dict[tuple[int, str], dict[str, Voice]], list[Candidate]]:
    """Average each agent's parts: its voice by (run, question) and name, and as candidates."""
    rows: dict[tuple[int, str], dict[str, list[Forecast]]] = {}
    for forecast in database.forecasts.successful(wanted):
        key = (forecast.run_id, forecast.question_id)
        if key in asked:
            rows.setdefault(key, {}).setdefault(forecast.agent, []).append(forecast)
    voices: dict[tuple[int, str], dict[str, Voice]] = {}
    candidates: list[Candidate] = []
    for key, by_agent in rows.items():
        for agent, parts in by_agent.items():
            voice = voices.setdefault(key, {})[agent] = average([row.voice for row in parts])
            newest = max((r.latest_evidence for r in parts if r.latest_evidence), default=None)
            candidates.append((agent, voice.distribution, parts[-1], newest))
    return voices, candidates


def _judged(
    name: str,
    distribution: Distribution,
    row: Forecast | PooledForecast,
    asked: Any,
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


def exclusion(
    as_of: str | None,
    created_at: str,
    latest_evidence: str | None,
    outcome: float | None,
    resolved_at: str,
) -> str | None:
    """Why a forecast does not count, or None when it does (see the module's first lines)."""
    if outcome is None:
        return "the question was voided"
    made = forecast_time(as_of, created_at)
    if made >= parse_time(resolved_at):
        return "as_of is not before the resolution" if as_of else "made after the resolution"
    if as_of and latest_evidence and parse_time(latest_evidence) > made:
        return "evidence newer than as_of"
    return None


def _with_previous(judged: Sequence[Judged]) -> list[Judged]:
    """Fill in each forecast's predecessor: the forecaster's last earlier one of the question in that record."""
    series: dict[tuple[str, str, str], list[Judged]] = {}
    result = []
    for j in sorted(judged, key=lambda j: (j.made, j.run_id)):
        earlier = series.setdefault((j.forecaster, j.subject, j.record), [])
        # Two back-dated forecasts of one day are two attempts at the same forecast.
        before = [k.probability for k in earlier if k.made < j.made]
        result.append(replace(j, previous=before[-1] if before else None))
        earlier.append(j)
    return result


def arrays(
    rows: Sequence[Judged],
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[Hashable]]:
    """Probabilities (n,) in 0-1, outcomes (n,) and cluster labels of some forecasts."""
    return (
        np.array([j.probability for j in rows]),
        np.array([j.outcome for j in rows], dtype=np.float64),
        [j.cluster for j in rows],
    )
