"""Make the JSON document that closes a run (``--json``), of its table's values."""

from __future__ import annotations

from typing import Any, Final

from database import Database
from evaluation.backtest import run_record
from evaluation.changes import change_rows
from evaluation.scorecard import score_rows
from runs.finish import Ending
from runs.plan import Plan
from runs.replay import replay_pairs
from runs.summary import Closing
from storage.records import AskedQuestion, PooledForecast

# Numbers of a pool, which are null where no model forecast.
NUMBERS: Final = (
    "final", "models", "calibrated", "p10", "p90", "agreement", "captured", "low_confidence",
)  # fmt: skip


def run_document(plan: Plan, database: Database, run_id: int, ending: Ending) -> dict[str, Any]:
    """Return how a run ended, its forecasts, what changed, and the tables below them.

    Probabilities are 0-1. What a run does not have is left out: ``replay``, ``scores`` (of a
    backtest that was not interrupted), ``ablations``.
    """
    closing = Closing.read(database, run_id)
    document = {
        "run": run_id,
        "status": ending.status,
        "exit_code": ending.exit_code,
        "forecasts": [_row(question, closing) for question in closing.asked],
        "changes": change_rows(database, run_id),
        "notes": closing.notes,
    }
    if plan.origin is not None:
        pairs = replay_pairs(database, plan.origin, run_id)
        return document | {"origin": plan.origin, "replay": [one.document() for one in pairs]}
    if plan.backtest and not ending.interrupted:
        document["scores"] = score_rows(run_record(database, run_id), database)
    if ablations := _ablations(database, run_id):
        document["ablations"] = ablations
    return document


def _row(question: AskedQuestion, closing: Closing) -> dict[str, Any]:
    """Return a row of the table; its numbers are null where no model forecast."""
    pool = closing.pools.get(question.id)
    return {
        "question": question.text,
        "id": question.id,
        "as_of": question.as_of,
        **(dict.fromkeys(NUMBERS) if pool is None else _numbers(pool)),
        "members": pool.agents if pool else 0,
        "configured": closing.configured,
        "articles": closing.articles.get(question.id, 0),
    }


def _numbers(pool: PooledForecast) -> dict[str, Any]:
    percent = pool.final_mean, pool.mean, pool.calibrated, pool.p10, pool.p90
    probabilities = [None if value is None else value / 100 for value in percent]
    others = pool.agreement, pool.captured_mass, pool.low_confidence
    return dict(zip(NUMBERS, (*probabilities, *others), strict=True))


def _ablations(database: Database, run_id: int) -> list[dict[str, Any]]:
    return [
        {
            "id": pair.question_id,
            "model": pair.agent,
            "chunk": pair.chunk,
            "condition": pair.condition,
            "with": None if pair.full_mean is None else pair.full_mean / 100,
            "without": None if pair.mean is None else pair.mean / 100,
            "points": pair.shift,
            "divergence_bits": pair.divergence,
            "error": pair.error,
        }
        for pair in database.forecasts.ablations(run_id)
    ]
