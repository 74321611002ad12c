"""Finish a run: its status, the lines below its table, and its exit code."""

from __future__ import annotations

import contextlib
import logging
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from database import Database
from evaluation.ablation import effect_lines
from evaluation.backtest import leak_warnings, question_warnings, record_outcomes, score_run
from evaluation.calibration import apply_latest
from evaluation.coherence import check_coherence
from evaluation.resolved import AnalysisError
from questions.checks import parent_id
from runs.final_numbers import store_final_numbers
from runs.plan import Plan
from runs.replay import replay_lines
from storage.errors import DamagedDatabaseError, DatabaseError, ReplacedDatabaseError
from storage.records import NOTHING_FOUND, NOTHING_RELEVANT

logger = logging.getLogger("forecaster")


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Args:
        status: "finished", "partial" (a forecast failed) or "interrupted".
        lines: what is printed below the table.
        in_vain: whether no search for evidence worked.
        drawn: whether every plot was written.
    """

    status: str
    lines: list[str]
    in_vain: bool = False
    drawn: bool = True

    @property
    def interrupted(self) -> bool:
        """Whether the user ended the run."""
        return self.status == "interrupted"

    @property
    def exit_code(self) -> int:
        """0 all is forecast, 1 something is missing, 130 interrupted."""
        if self.interrupted:
            return 130
        return 0 if self.status == "finished" and self.drawn and not self.in_vain else 1

    def advice(self, command: str) -> str:
        """Say what to do about what is missing; ``command`` resumes the run."""
        if self.interrupted:
            return f"Interrupted; what was forecast is stored. Resume with: {command}"
        if self.status == "partial":
            return f"Try what is missing again with: {command}"
        if self.in_vain:
            return (
                "No search for evidence worked: every forecast was made without any."
                " Start a new run later."
            )
        return ""


def finish(
    forecast: Callable[[], None], plan: Plan, database: Database, run_id: int, command: str
) -> Ending:
    """Make and pool the forecasts of a run, and store how it ended.

    Raises:
        DatabaseError: with what to do, ``command`` where the run can be resumed.
    """
    try:
        with contextlib.ExitStack() as on_error:
            on_error.callback(_failed, database, run_id)
            ending = _ended(forecast, plan, database, run_id)
            database.runs.finish(run_id, ending.status)
            on_error.pop_all()
    except ReplacedDatabaseError as error:
        raise DatabaseError(
            f"{error} and go on with: {command}, or start the run again where it is gone"
        ) from error
    except DatabaseError as error:
        damaged = isinstance(error, DamagedDatabaseError)
        kept = ", then" if damaged else "; what was forecast is kept,"
        raise DatabaseError(f"{error}{kept} go on with: {command}") from error
    return ending


def _failed(database: Database, run_id: int) -> None:
    # Where even that cannot be written the status stays "running", and the owner's end makes it
    # resumable.
    with contextlib.suppress(DatabaseError):
        database.runs.finish(run_id, "failed")


def _ended(forecast: Callable[[], None], plan: Plan, database: Database, run_id: int) -> Ending:
    """Forecast, calibrate and score; after an interrupt, with what there is."""
    with contextlib.suppress(KeyboardInterrupt):
        forecast()
        calibrate(plan, database, run_id)
        store_final_numbers(plan, database, run_id)
        # Before the run counts as finished: one that is killed in here does it again when resumed.
        lines = closing_lines(plan, database, run_id)
        stored = database.forecasts.of_run(run_id)
        if not stored or any(one.error is not None for one in stored):
            return Ending("partial", lines)
        return Ending("finished", lines, in_vain=evidence_failed(plan, database, run_id))
    calibrate(plan, database, run_id)
    store_final_numbers(plan, database, run_id)
    return Ending("interrupted", interrupted_backtest_lines(plan, database, run_id))


def calibrate(plan: Plan, database: Database, run_id: int) -> None:
    """Give the run's forecasts the newest calibrations; those of a replay get none."""
    if plan.origin is None:
        apply_latest(database, run_id)


def evidence_failed(plan: Plan, database: Database, run_id: int) -> bool:
    """Whether evidence was to be found and an error left every question without any."""
    if not plan.retrieval or plan.origin is not None:
        return False
    asked = database.runs.questions(run_id)
    return bool(asked) and all(
        one.context_error not in (None, NOTHING_FOUND, NOTHING_RELEVANT)
        and not database.articles.retrieval(run_id, one.id)
        for one in asked
    )


def closing_lines(plan: Plan, database: Database, run_id: int) -> list[str]:
    """Return a replay's differences, or scores and effects; store coherence."""
    if plan.origin is not None:
        return ["", *replay_lines(database, plan.origin, run_id)]
    if plan.coherence:
        report_coherence(database, run_id)
    lines = backtest_lines(plan, database, run_id) if plan.backtest else []
    return lines + ablation_lines(database, run_id)


def ablation_lines(database: Database, run_id: int) -> list[str]:
    """Return the effects of reasoning and evidence, for a run with ``--ablate``."""
    pairs = database.forecasts.ablations(run_id)
    if not pairs:
        return []
    asked = {pair.question_id for pair in pairs}
    subjects = database.runs.subjects(list(asked)).values()
    outcomes = {
        name: resolution.outcome
        for name, resolution in database.outcomes.latest(list(subjects)).items()
        if name in asked and resolution.outcome is not None
    }
    return ["", *effect_lines(pairs, outcomes)]


def report_coherence(database: Database, run_id: int) -> None:
    """Store and log how far negations and paraphrases of a question disagree with it."""
    for record in check_coherence(database, run_id):
        logger.info(
            "coherence of %s (%s, %s): gap %.2f",
            record.question_id,
            record.kind,
            record.forecaster,
            record.gap,
        )


def backtest_lines(plan: Plan, database: Database, run_id: int) -> list[str]:
    """Record the outcomes now that forecasts exist; return scores and cautions."""
    kept = record_outcomes(database, plan.questions, Path(plan.backtest or "").name)
    try:
        scores = score_run(database, run_id)
    except AnalysisError as error:
        scores = [str(error)]
    return ["", *(f"Caution: {line}" for line in [*kept, *backtest_cautions(plan)]), "", *scores]


def backtest_cautions(plan: Plan) -> list[str]:
    """Name what limits a backtest: models that may know answers, its questions."""
    if not plan.backtest or plan.origin is not None:
        return []
    models = {spec.name: spec.path for spec in plan.specs}
    return [*leak_warnings(models, plan.questions), *question_warnings(plan.questions)]


def interrupted_backtest_lines(plan: Plan, database: Database, run_id: int) -> list[str]:
    """Record the outcomes of what an interrupted backtest has forecast; say so."""
    if not plan.backtest or plan.origin is not None:
        return []
    forecast = {one.question_id for one in database.forecasts.of_run(run_id) if one.error is None}
    asked = [q for q in plan.questions if parent_id(q.extra) is None]
    questions = [q for q in asked if q.id in forecast]
    if not questions:
        return []
    kept = record_outcomes(database, questions, Path(plan.backtest).name)
    return [
        *(f"Caution: {line}" for line in kept),
        "",
        f"{len(questions)} of {len(asked)} questions were forecast, a random sample of them; their"
        " outcomes are recorded. Score them with: python analysis.py --score --database"
        f" {shlex.quote(str(plan.database))}",
    ]
