"""Read what a database knows of resolved questions and their forecasts.

Everything resolved is read; a caller uses what was resolved before a forecast's day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from typing import Any

from database import Database
from evaluation.applied_calibration import PastForecast
from evaluation.assistance import PastVoices
from evaluation.base_rates import SOURCE, PastQuestion, trust
from evaluation.resolved import parse_time
from questions.cells import is_nothing
from questions.checks import parent_id
from questions.question import cluster_of, folded
from storage.final_numbers import PastPool
from storage.records import KnownQuestion, Resolution

# Kinds of questions that are calibrated apart: with a market price, and without.
PRICED, UNPRICED = "priced", "unpriced"


@dataclass(frozen=True)
class PastRecord:
    """The live forecasts of resolved questions in a database.

    ``forecasts`` and ``voices`` are of the same pools, in the same order; ``keys`` has their runs
    and questions, each as ``RUN:QUESTION``.
    """

    forecasts: tuple[PastForecast, ...] = ()
    voices: tuple[PastVoices, ...] = ()
    keys: tuple[str, ...] = field(default_factory=tuple)

    @classmethod
    def read(cls, database: Database) -> PastRecord:
        """Read it from an open database."""
        outcomes = _outcomes(database)
        pools = [
            pool
            for pool in database.final.past_pools()
            if pool.question_id in outcomes
            and parent_id(pool.extra) is None
            and parse_time(pool.created_at) < parse_time(outcomes[pool.question_id].resolved_at)
        ]
        return cls(
            tuple(_forecast(pool, outcomes[pool.question_id]) for pool in pools),
            tuple(_voices(pool, outcomes[pool.question_id]) for pool in pools),
            tuple(f"{pool.run_id}:{pool.question_id}" for pool in pools),
        )


def _outcomes(database: Database) -> dict[str, Resolution]:
    latest = database.outcomes.latest().items()
    return {name: row for name, row in latest if row.outcome is not None}


def past_questions(database: Database) -> tuple[PastQuestion, ...]:
    """Return each resolved subject once, in its newest wording; no forecast is read.

    One text that ended on one day under several ids is one question.
    """
    outcomes = _outcomes(database)
    found = {
        row.subject: _question(row, outcomes[row.id])
        for row in database.runs.known_questions()
        if row.id in outcomes and parent_id(row.extra) is None
    }
    return tuple({_event(question): question for question in found.values()}.values())


def _event(question: PastQuestion) -> tuple[Any, ...]:
    """Return all of a question but its id."""
    return folded(question.text), *astuple(replace(question, id="", text=""))


def _question(row: KnownQuestion, ended: Resolution) -> PastQuestion:
    # Without a column the cluster is the question alone, which is no series.
    series = "" if is_nothing(row.extra.get("cluster")) else cluster_of(row.extra, row.subject)
    return PastQuestion(
        id=row.subject,
        text=row.text,
        source=_text(row.extra, "source"),
        reference_class=_text(row.extra, "reference_class"),
        outcome=float(ended.outcome or 0),
        resolved_on=ended.resolved_at[:10],
        close_date=row.close_date,
        series=series,
    )


def _text(extra: Mapping[str, Any], column: str) -> str:
    value = extra.get(column)
    return "" if is_nothing(value) else str(value).strip()


def _forecast(pool: PastPool, ended: Resolution) -> PastForecast:
    coherent = pool.mean / 100 if pool.coherent is None else pool.coherent
    return PastForecast(
        question_id=pool.subject,
        kind=pool.calibration_kind or UNPRICED,
        cluster=cluster_of(pool.extra, pool.subject),
        date=pool.created_at[:10],
        probability=min(1.0, max(0.0, coherent)),
        outcome=float(ended.outcome or 0),
        resolved_on=ended.resolved_at[:10],
    )


def _voices(pool: PastPool, ended: Resolution) -> PastVoices:
    count = pool.relatives or 0
    return PastVoices(
        cluster=cluster_of(pool.extra, pool.subject),
        resolved_on=ended.resolved_at[:10],
        outcome=float(ended.outcome or 0),
        models=min(1.0, max(0.0, pool.mean / 100)),
        market=pool.market,
        market_shown=bool(pool.market_shown),
        base_rate=pool.base_rate,
        # Of a source alone a base rate has no voice (``assistance.voices``).
        relatives=0 if pool.kind == SOURCE else count * trust(count, pool.strength or 0),
    )
