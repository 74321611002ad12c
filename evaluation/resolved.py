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
from functools import cached_property, lru_cache
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from database import Database
from questions.checks import parent_id
from questions.question import cluster_of
from scoring.pooling import Voice, average, voice_weights
from storage.points import Point
from storage.records import AskedColumns, Resolution

# Run and question of a forecast.
Key = tuple[int, str]

# The pool of the models, and what price, base rate, coherence and calibration made of it.
ENSEMBLE = "ensemble"
ASSISTED, FINAL = "assisted", "final"
NUMBERS = (FINAL, ASSISTED, ENSEMBLE)
NO_PRICE = "no price"
# The two records: forecasts made live, and those made later as of a past day.
LIVE, BACK_DATED = "live", "back-dated"
RECORDS = (LIVE, BACK_DATED)


class AnalysisError(Exception):
    """Nothing can be done with what was given; the message is one line for the user."""


def chosen_run(database: Database, run_id: int | None, purpose: str) -> int:
    """Return the run that was asked for, else the newest.

    Raises:
        AnalysisError: there is none "to ``purpose``".
    """
    runs = database.runs.all()
    if not runs:
        raise AnalysisError(
            f"{database.path}: there is no run to {purpose}; forecast something first"
            " (python forecaster.py)"
        )
    return runs[-1].id if run_id is None else run_id


@lru_cache(maxsize=10_000)
def parse_time(text: str) -> datetime:
    """Parse a stored ISO date or timestamp as UTC without a zone."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


@lru_cache(maxsize=10_000)
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

    ``probability`` is the point forecast (0-1), ``previous`` the forecaster's before this one.
    ``extra`` holds other people's probabilities (score_tables.REFERENCES), ``price`` says for a
    pool whether there was a market price, and whether the models saw it.
    """

    run_id: int
    question_id: str
    forecaster: str
    probability: float
    outcome: int
    cluster: str
    made: datetime
    resolved: datetime
    extra: Mapping[str, Any] = field(default_factory=dict)
    previous: float | None = None
    as_of: str | None = None
    subject: str = ""
    price: str = ""
    market: float | None = None

    @property
    def record(self) -> str:
        """The record it belongs to."""
        return record_of(self.as_of)

    @property
    def scored_as(self) -> tuple[str, str | None]:
        """What a forecaster is scored once for: the question, back-dated also the day."""
        return self.subject or self.question_id, self.as_of

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
    """The forecasts of resolved questions, oldest first, and those that do not count."""

    judged: tuple[Judged, ...]
    excluded: tuple[Excluded, ...]

    def part(self, record: str) -> Record:
        """Return the live or the back-dated forecasts."""
        return Record(
            tuple(j for j in self.judged if j.record == record),
            tuple(e for e in self.excluded if e.record == record),
        )

    def of_run(self, run_id: int) -> Record:
        """Return the forecasts of one run."""
        return Record(
            tuple(j for j in self.judged if j.run_id == run_id),
            tuple(e for e in self.excluded if e.run_id == run_id),
        )

    @cached_property
    def _latest(self) -> Mapping[str, list[Judged]]:
        """The last forecast of what is scored once, by forecaster."""
        last: dict[str, dict[tuple[str, str | None], Judged]] = {}
        for j in self.judged:
            last.setdefault(j.forecaster, {})[j.scored_as] = j
        return {name: list(rows.values()) for name, rows in last.items()}

    def latest(self, forecaster: str) -> list[Judged]:
        """Return a forecaster's last forecast of what is scored once."""
        return self._latest.get(forecaster, [])

    def forecasters(self) -> list[str]:
        """Return all names: the final number, what it was made of, then the models."""
        order = {name: number for number, name in enumerate(NUMBERS)}
        return sorted(self._latest, key=lambda name: (order.get(name, len(order)), name))


def point_forecasts(
    database: Database, asked: Sequence[Key] | None = None, *, resolved: bool = False
) -> list[Point]:
    """Read point forecasts of all runs or of ``asked``, averaged over chunks.

    Only stored means are read. ``resolved`` leaves out questions without an outcome. The last chunk
    is returned for all, with their mean and newest evidence; its 80 % range is its own.
    """
    rows = database.points.read(asked, resolved=resolved)
    found = []
    for _, group in groupby(rows, key=lambda row: (row.run_id, row.question_id, row.forecaster)):
        last, *others = reversed(list(group))
        if others:
            last = _averaged([last, *others])
        found.append(last)
    return found


def _averaged(parts: Sequence[Point]) -> Point:
    weights = voice_weights([row.captured_mass for row in parts])
    # The mean of a mixture is the mixture of the means.
    mean = float(np.average([row.mean for row in parts], weights=weights))
    newest = max((row.latest_evidence for row in parts if row.latest_evidence), default=None)
    return replace(parts[0], mean=mean, latest_evidence=newest)


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
        if parent_id(row.extra) is None
    }
    counting, excluded = [], []
    points = point_forecasts(database, wanted, resolved=True)
    for row in [*points, *_later_numbers(points)]:
        if (row.run_id, row.question_id) not in asked:
            continue
        if reason := exclusion(row, resolutions[row.question_id]):
            if row.forecaster in (ASSISTED, FINAL):
                continue  # its pool says so
            kind = record_of(row.as_of)
            excluded.append(Excluded(row.run_id, row.question_id, row.forecaster, reason, kind))
        else:
            counting.append(row)
    return Record(tuple(_judged(counting, asked, resolutions)), tuple(excluded))


def _later_numbers(points: Sequence[Point]) -> list[Point]:
    """Return the assisted and final numbers of the pools of each record that has any."""
    pools = [row for row in points if row.forecaster == ENSEMBLE]
    moved = {record_of(row.as_of) for row in pools if (row.assisted, row.final) != (None, None)}
    return [
        replace(row, forecaster=name, mean=row.mean if value is None else value)
        for row in pools
        if record_of(row.as_of) in moved
        for name, value in ((ASSISTED, row.assisted), (FINAL, row.final))
    ]


def exclusion(row: Point, resolution: Resolution) -> str | None:
    """Return why a forecast does not count (see the module's first lines), or None."""
    if resolution.outcome is None:
        return "the question was voided"
    made = forecast_time(row.as_of, row.created_at)
    if made >= parse_time(resolution.resolved_at):
        return "as_of is not before the resolution" if row.as_of else "made after the resolution"
    if row.as_of and row.latest_evidence and parse_time(row.latest_evidence) > made:
        return "evidence newer than as_of"
    return None


def _judged(
    points: Iterable[Point],
    asked: Mapping[Key, AskedColumns],
    resolutions: Mapping[str, Resolution],
) -> list[Judged]:
    """Sort by time and fill in each forecaster's earlier probability in a record."""
    series: dict[tuple[str, str, str], _Earlier] = {}
    result = []
    timed = [(forecast_time(row.as_of, row.created_at), row) for row in points]
    for made, row in sorted(timed, key=lambda one: (one[0], one[1].run_id)):
        columns, resolution = asked[row.run_id, row.question_id], resolutions[row.question_id]
        name = row.forecaster, columns.subject, record_of(row.as_of)
        earlier = series.setdefault(name, _Earlier())
        result.append(
            Judged(
                run_id=row.run_id,
                question_id=row.question_id,
                forecaster=row.forecaster,
                probability=row.probability,
                outcome=int(resolution.outcome or 0),
                cluster=cluster_of(columns.extra, columns.subject),
                made=made,
                resolved=parse_time(resolution.resolved_at),
                extra=columns.extra,
                previous=earlier.than(made, row.probability),
                as_of=row.as_of,
                subject=columns.subject,
                price=_price(row),
                market=row.market,
            )
        )
    return result


def _price(row: Point) -> str:
    if row.market is None:
        return NO_PRICE
    return "price shown to the models" if row.market_shown else "price not shown to the models"


@dataclass
class _Earlier:
    """The last forecast of a series, and the last one before that one's moment."""

    made: datetime = datetime.min
    last: float | None = None
    before: float | None = None

    def than(self, made: datetime, probability: float) -> float | None:
        """Add a forecast; return the last one made before it, None for the first.

        Two back-dated forecasts of one day are two attempts at the same forecast.
        """
        if made > self.made:
            self.made, self.before = made, self.last
        self.last = probability
        return self.before


def read_voices(database: Database, asked: Sequence[Key]) -> dict[Key, dict[str, Voice]]:
    """Read the agents' distributions of some forecasts, chunks averaged."""
    found: dict[Key, dict[str, Voice]] = {}
    parts = database.points.parts(asked)
    for key, group in groupby(parts, key=lambda row: (row.run_id, row.question_id)):
        for agent, rows in groupby(group, key=lambda row: row.agent):
            found.setdefault(key, {})[agent] = average([row.voice for row in rows])
    return found


def arrays(
    rows: Sequence[Judged],
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[Hashable]]:
    """Return probabilities (n,) in 0-1, outcomes (n,) and cluster labels of forecasts."""
    return (
        np.array([j.probability for j in rows]),
        np.array([j.outcome for j in rows], dtype=np.float64),
        [j.cluster for j in rows],
    )
