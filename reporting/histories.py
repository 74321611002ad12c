"""Read each question's forecasts over time, live and back-dated apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from database import Database
from evaluation.changes import like_for_like
from evaluation.resolved import (
    ENSEMBLE,
    LIVE,
    Key,
    forecast_time,
    parse_time,
    point_forecasts,
    read_voices,
    record_of,
)
from reporting.plot_data import HistoryPoint, Outcome, OverviewRow
from scoring.pooling import Voice
from storage.points import Point
from storage.records import KnownQuestion, Resolution


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
            final=last.final,
        )
        if self.change is None:
            return row
        if last.final is not None:
            before = self.ensemble[-2]
            return replace(row, previous=before.mean if before.final is None else before.final)
        stored = last.mean - self.ensemble[-2].mean
        previous = min(100.0, max(0.0, last.mean - self.change))
        return replace(row, previous=previous, same_models=abs(stored - self.change) > 1e-9)


def outcome_of(row: Resolution | None) -> Outcome | None:
    """Return a stored outcome as plots need it; None when the question is open."""
    return None if row is None else Outcome(row.outcome, parse_time(row.resolved_at))


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
    subjects = [row.subject for row in questions]
    outcomes = database.outcomes.latest(subjects)
    asked = database.runs.asked_in(subjects, record, newest=newest if record == LIVE else None)
    found = _by_subject(point_forecasts(database, asked), record)
    chunked = {_key(one) for group in found.values() for one in group if one.chunk}
    voices = read_voices(database, sorted(chunked))
    for question in questions:
        spoken = found.get(question.subject, [])
        if not spoken:
            continue
        pooled = _points([one for one in spoken if one.forecaster == ENSEMBLE])
        agents: dict[str, list[HistoryPoint]] = {}
        own = [one for one in spoken if one.forecaster != ENSEMBLE]
        for one in sorted(_points(own), key=lambda one: one.forecaster):
            voice = voices.get(_key(one), {}).get(one.forecaster) if one.chunk else None
            agents.setdefault(one.forecaster, []).append(_history_point(one, voice))
        yield History(
            question.subject,
            question.text,
            record,
            agents,
            [_history_point(one) for one in pooled],
            change(database, pooled[-2], pooled[-1], own) if len(pooled) > 1 else None,
            outcome_of(outcomes.get(question.id)),
        )


def change(
    database: Database, before: Point, after: Point, spoken: Iterable[Point]
) -> float | None:
    """Return the points between two pools over their shared models; None without any.

    Where the models or the method differ, both are pooled again from the shared models'
    distributions, by the later one's method. ``spoken`` are the models' forecasts.
    """
    keys = [(row.run_id, row.question_id) for row in (before, after)]
    then, now = ({one.forecaster for one in spoken if _key(one) == key} for key in keys)
    if not then & now:
        return None
    if then == now and before.method == after.method:
        return after.mean - before.mean
    voices = read_voices(database, keys)
    return like_for_like(voices[keys[0]], voices[keys[1]], after.method or "mean")


def _by_subject(points: Iterable[Point], record: str) -> dict[str, list[Point]]:
    grouped: dict[str, list[Point]] = {}
    for one in points:
        if record_of(one.as_of) == record:
            grouped.setdefault(one.subject, []).append(one)
    return grouped


def _points(points: Iterable[Point]) -> list[Point]:
    """Sort forecasts by time; of a forecaster's several as of one day only the newest.

    Several runs may repeat the forecast of one day.
    """
    found = {(one.forecaster, one.as_of or _key(one)): one for one in points}
    return sorted(found.values(), key=lambda one: (_moment(one), one.run_id))


def _key(one: Point) -> Key:
    return one.run_id, one.question_id


def _moment(row: Point) -> datetime:
    """Return the start of a forecast's run, or the end of its past day.

    Agents and pool of a run are side by side.
    """
    return forecast_time(row.as_of, row.started_at)


def _history_point(row: Point, voice: Voice | None = None) -> HistoryPoint:
    """Make a point; ``voice`` has the mean over the chunks of an agent's evidence."""
    mean, low, high = row.mean, row.p10, row.p90
    if voice is not None:
        mean, (low, high) = voice.distribution.mean, voice.distribution.interval(0.8)
    configured = row.agents_configured or 0
    fewer = f"{row.agents} of {configured}" if (row.agents or 0) < configured else ""
    market = None if row.market is None else 100 * row.market
    return HistoryPoint(_moment(row), mean, low, high, row.calibrated, fewer, row.final, market)
