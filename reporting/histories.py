"""Read each question's forecasts over time, live and back-dated apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from database import Database
from evaluation.resolved import (
    LIVE,
    Key,
    agent_parts,
    forecast_time,
    mean_voice,
    parse_time,
    record_of,
)
from reporting.plot_data import HistoryPoint, Outcome, OverviewRow
from scoring.distribution import Distribution
from scoring.pooling import pool_voices
from storage.records import Forecast, KnownQuestion, PooledForecast, Resolution

# Forecast rows of one run, by agent; the parts of an agent's evidence are rows of their own.
Voices = dict[str, list[Forecast]]
R = TypeVar("R", Forecast, PooledForecast)


@dataclass(frozen=True)
class History:
    """One question's forecasts in one record, oldest first.

    Args:
        subject: what its forecasts share.
        text: its wording in the newest run.
        record: "live" or "back-dated".
        agents, ensemble: a point for each run; in the back-dated record for each day.
        change: points from the last pool but one to the last, over the models that both have.
        outcome: how it ended; None while it is open.
    """

    subject: str
    text: str
    record: str
    agents: Mapping[str, Sequence[HistoryPoint]]
    ensemble: Sequence[HistoryPoint]
    change: float | None
    outcome: Outcome | None

    def overview_row(self) -> OverviewRow | None:
        """Return the latest pool and the one before it; None without a pool."""
        if not self.ensemble:
            return None
        last = self.ensemble[-1]
        row = OverviewRow(
            self.text,
            last.mean,
            last.low,
            last.high,
            outcome=self.outcome,
            calibrated=last.calibrated,
            fewer=last.fewer,
            day="" if self.record == LIVE else f"{last.when:%Y-%m-%d}",
        )
        if self.change is None:
            return row
        stored = last.mean - self.ensemble[-2].mean
        previous = min(100.0, max(0.0, last.mean - self.change))
        return replace(row, previous=previous, same_models=abs(stored - self.change) > 1e-9)


def outcome_of(row: Resolution | None) -> Outcome | None:
    """Return a stored outcome as plots need it; None when the question is open."""
    return None if row is None else Outcome(row.outcome, parse_time(row.resolved_at))


def fewer_models(row: PooledForecast) -> str:
    """Return how many of its models a pool has, like "2 of 3"; "" when it has all."""
    return f"{row.agents} of {row.agents_configured}" if row.agents < row.agents_configured else ""


def histories(
    database: Database,
    record: str,
    questions: Sequence[KnownQuestion],
    *,
    newest: int | None = None,
) -> Iterator[History]:
    """Read the histories of questions that have a forecast in a record.

    ``newest`` limits them to the last so many live pools. Nothing of other questions is read.
    """
    outcomes = database.outcomes.latest()
    asked = database.runs.asked_in(
        [row.subject for row in questions], record, newest=newest if record == LIVE else None
    )
    voices = _by_subject(database.forecasts.successful(asked), record)
    pools = _by_subject(database.forecasts.all_ensembles(asked), record)
    for question in questions:
        subject = question.subject
        spoken = agent_parts(voices.get(subject, []))
        pooled = sorted(_newest(pools.get(subject, [])), key=_moment)
        if not spoken and not pooled:
            continue
        agents: dict[str, list[HistoryPoint]] = {}
        for agent, rows in _agent_rows(spoken):
            agents.setdefault(agent, []).append(_point(rows[0], mean_voice(rows).distribution))
        yield History(
            subject,
            question.text,
            record,
            agents,
            [_point(row, row.distribution) for row in pooled],
            change(pooled[-2], pooled[-1], spoken) if len(pooled) > 1 else None,
            outcome_of(outcomes.get(question.id)),
        )


def change(
    before: PooledForecast, after: PooledForecast, voices: Mapping[Key, Voices]
) -> float | None:
    """Return the points between two pools over their shared models; None without any.

    Both are pooled again from the shared models' rows (``voices``, by run and question), by the
    later one's method.
    """
    then, now = (voices.get((row.run_id, row.question_id), {}) for row in (before, after))
    shared = sorted(then.keys() & now.keys())
    if not shared:
        return None
    if then.keys() == now.keys() and before.method == after.method:
        return float(after.mean - before.mean)
    method = after.method
    old, new = (
        pool_voices({name: mean_voice(rows[name]) for name in shared}, method)
        for rows in (then, now)
    )
    return new.voice.distribution.mean - old.voice.distribution.mean


def _by_subject(rows: Iterable[R], record: str) -> dict[str, list[R]]:
    grouped: dict[str, list[R]] = {}
    for row in rows:
        if record_of(row.as_of) == record:
            grouped.setdefault(row.subject, []).append(row)
    return grouped


def _agent_rows(runs: Mapping[Key, Voices]) -> list[tuple[str, list[Forecast]]]:
    """List agents' rows by run, in order of time; of runs as of one day the newest."""
    found: dict[tuple[str, str | Key], list[Forecast]] = {}
    for voices in runs.values():
        for agent, rows in voices.items():
            found[agent, _slot(rows[0])] = rows
    return [
        (agent, rows)
        for (agent, _), rows in sorted(
            found.items(), key=lambda item: (item[0][0], _moment(item[1][0]))
        )
    ]


def _newest(rows: Iterable[PooledForecast]) -> list[PooledForecast]:
    return list({_slot(row): row for row in rows}.values())


def _slot(row: Forecast | PooledForecast) -> str | Key:
    """Identify a point of a history: a run, or the day it was forecast from.

    Several runs may repeat the forecast of one day.
    """
    return row.as_of or (row.run_id, row.question_id)


def _moment(row: Forecast | PooledForecast) -> tuple[datetime, int]:
    return forecast_time(row.as_of, row.started_at), row.run_id


def _point(row: Forecast | PooledForecast, distribution: Distribution) -> HistoryPoint:
    """Make a point at its run's start, so that agents and pool are side by side."""
    low, high = distribution.interval(0.8)
    calibrated = row.calibrated if isinstance(row, PooledForecast) else None
    fewer = fewer_models(row) if isinstance(row, PooledForecast) else ""
    when = forecast_time(row.as_of, row.started_at)
    return HistoryPoint(when, distribution.mean, low, high, calibrated, fewer)
