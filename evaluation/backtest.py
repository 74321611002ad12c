"""Forecast questions whose answers are known, as if they were open.

    python forecaster.py --backtest questions.jsonl

A backtest file is a question file (not .txt) with two more columns, ``outcome`` (0 or 1) and
``resolution_date``, and a day to forecast from: ``as_of``, else ForecastBench's
``forecast_due_date``, else ``freeze_date``. Evidence and "today" are held at or before that day.
Every column that is not part of a question (outcome, resolution date, prices, address, cluster …)
goes to ``Question.extra``, of which prompts show only a price that is not later than that day.

The output names what a backtest cannot promise: a model may have been trained on the answer
(training_cutoffs.py), questions that resolved by now are not a fair sample of all questions, and
related questions count as one cluster.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np

from database import Database
from evaluation.earlier_questions import Known
from evaluation.outcomes import outcome_word, parse_date
from evaluation.resolved import Judged, Record, collect, parse_time
from evaluation.score_tables import score_table
from evaluation.scorecard import score_lines
from evaluation.training_cutoffs import cutoff
from questions.cells import (
    PRICED,
    counted,
    is_priced,
    iso_date,
    listed,
    parse_outcome,
    shortened,
)
from questions.checks import parent_id
from questions.files import Reading, question_from, read_question_file
from questions.question import Question, QuestionError, cluster_of
from storage.records import Resolution

AS_OF_COLUMNS: Final = ("as_of", "forecast_due_date", "freeze_date")


# --- reading --------------------------------------------------------------------------------------


def read_backtest(path: str | Path) -> Reading:
    """Read resolved questions, each with its own ``as_of``.

    The answers are in ``Question.extra`` only. Rows without an outcome, or that ended neither yes
    nor no, are left out by name.

    Raises:
        QuestionError: what ``read_question_file`` refuses, a file without outcomes, or a row
            without a resolution date or a day to forecast from, with its line.
    """
    path = Path(path)
    if path.suffix.lower() == ".txt":
        raise QuestionError(
            f"{path}: a backtest needs outcomes; use a .csv, .tsv, .jsonl or .json file"
        )
    unanswered: dict[tuple[str, str], list[str]] = {}

    def question_of(values: Mapping[str, Any]) -> Question | None:
        if why := _unanswered(values):
            name = shortened(values.get("id") or values.get("question"))
            unanswered.setdefault(why, []).append(name)
            return None
        return _backtest_question(values)

    try:
        reading = read_question_file(path, question_of)
    except QuestionError as error:
        if unanswered and "no question in it" in str(error):
            raise QuestionError(f"{path}: a backtest needs outcomes; no row has one") from None
        raise
    notes = [
        f"{path}: {counted(len(names), what)} skipped ({reason}): {listed(names)}"
        for (what, reason), names in unanswered.items()
    ]
    return Reading(reading.questions, [*reading.notes, *notes])


def _unanswered(values: Mapping[str, Any]) -> tuple[str, str] | None:
    """Say what a row without an answer is, and why; None for one with an answer.

    Raises:
        InputError: its outcome is none of those known.
    """
    if "outcome" not in values:
        return "open question", "no outcome yet"
    if is_priced(values["outcome"]):
        return "question", f"{PRICED}: resolved to a price"
    return ("question", "void") if parse_outcome(values["outcome"]) is None else None


def _backtest_question(values: Mapping[str, Any]) -> Question:
    day = values.get("resolution_date", values.get("date"))
    day = parse_date(day, "resolution_date")
    for name in AS_OF_COLUMNS:
        iso_date(values.get(name), name)
    as_of = next((values[name] for name in AS_OF_COLUMNS if name in values), None)
    if as_of is None:
        raise QuestionError(f"no day to forecast from; give one of {', '.join(AS_OF_COLUMNS)}")
    return question_from({**values, "as_of": as_of, "resolution_date": day})


def sample(questions: Sequence[Question], count: int, seed: int) -> list[Question]:
    """Draw ``count`` questions at random (or all), in their original order."""
    if count >= len(questions):
        return list(questions)
    chosen = np.random.default_rng(seed).choice(len(questions), size=count, replace=False)
    return [questions[i] for i in sorted(chosen.tolist())]


def fair_order(questions: Sequence[Question], seed: int) -> list[Question]:
    """Shuffle questions, so that an interrupted run has forecast a fair sample."""
    return [questions[i] for i in np.random.default_rng(seed).permutation(len(questions)).tolist()]


def contradictions(questions: Iterable[Question], known: Known) -> dict[str, str]:
    """Describe, by question id, where file and record disagree on outcome or day."""
    lines = {}
    for q in questions:
        recorded = known.resolved.get(known.subject(q)) if parent_id(q.extra) is None else None
        if recorded is None:
            continue
        here, there = parse_outcome(q.extra["outcome"]), recorded.outcome
        moments = (str(q.extra["resolution_date"]), recorded.resolved_at)
        days = [parse_time(text).date().isoformat() for text in moments]
        if here != there or days[0] != days[1]:
            words = [outcome_word(value) for value in (here, there)]
            lines[q.id] = (
                f"{q.id!r} ended {words[0]} on {days[0]} in the file and {words[1]} on {days[1]} in"
                f" {known.path}; correct the file, or the record: python analysis.py --database"
                f" {shlex.quote(known.path)} --resolve-one {shlex.quote(q.id)} {words[0]}"
                f" --date {days[0]}"
            )
    return lines


def record_outcomes(database: Database, questions: Iterable[Question], source: str) -> list[str]:
    """Store the outcomes of a backtest's questions that have none in the database.

    To be called after the forecasts exist, so that nothing that makes a forecast can read an answer
    from the database. Returns a line for each recorded outcome that differs; it stays.
    """
    questions = list(questions)
    known = Known.read(database, questions)
    asked = [q for q in questions if q.id in known.subjects and parent_id(q.extra) is None]
    database.outcomes.add(
        [
            Resolution(
                q.id, parse_outcome(q.extra["outcome"]), str(q.extra["resolution_date"]), source
            )
            for q in asked
            if known.subject(q) not in known.resolved
        ]
    )
    return list(contradictions(asked, known).values())


# --- warnings -------------------------------------------------------------------------------------


def may_know(name: str, path: str, as_of: str) -> bool:
    """Whether training may include a day; it may where no cut-off is known."""
    known = cutoff(name, path)
    return known is None or date.fromisoformat(as_of[:10]) <= date.fromisoformat(known.day)


def leak_warnings(models: Mapping[str, str], questions: Sequence[Question]) -> list[str]:
    """Warn of each model (path by name) whose training may contain answers."""
    questions = [q for q in questions if parent_id(q.extra) is None]
    lines = []
    for name, path in models.items():
        known = cutoff(name, path)
        count = sum(may_know(name, path, q.as_of) for q in questions if q.as_of)
        if known is None:
            lines.append(
                f"{name}: no training cut-off is known of {path}; it may have been trained on all"
                f" {count} answers"
            )
        elif count:
            how = "stated cut-off" if known.stated else "no cut-off stated, released"
            lines.append(
                f"{name}: {count} of {len(questions)} questions are forecast from a day that its"
                f" training may include ({how} {known.day}; {known.source})"
            )
    return lines


def question_warnings(questions: Sequence[Question]) -> list[str]:
    """Warn of late days, related questions and the sample's base rate."""
    lines = []
    questions = [q for q in questions if parent_id(q.extra) is None]
    ended = [(q, parse_time(str(q.extra["resolution_date"])).date().isoformat()) for q in questions]
    late = [q for q, day in ended if day <= str(q.as_of)]
    if late:
        lines.append(
            f"{len(late)} questions were resolved on or before their as_of day; their forecasts"
            " will not count"
        )
    clusters = {cluster_of(q.extra, q.subject) for q in questions}
    if len(clusters) < len(questions):
        lines.append(
            f"{len(questions)} questions form {len(clusters)} clusters of related ones; intervals"
            " are over clusters"
        )
    yes = np.mean([parse_outcome(q.extra["outcome"]) or 0 for q in questions])
    lines.append(
        f"{100 * yes:.0f} % of them ended yes; questions resolved by now are not a fair sample of"
        " all that were open"
    )
    return lines


# --- comparison -----------------------------------------------------------------------------------


def run_record(database: Database, run_id: int) -> Record:
    """Collect what counts of one run's forecasts."""
    subjects = {question.subject for question in database.runs.questions(run_id)}
    return collect(database, subjects).of_run(run_id)


def score_run(database: Database, run_id: int) -> list[str]:
    """Score one run, and apart the questions that no model may know.

    Raises:
        AnalysisError: no forecast of the run counts.
    """
    part = run_record(database, run_id)
    return score_lines(part, database, ["model", "pool", "horizon"]) + _untouched(
        part, database, run_id
    )


def _untouched(record: Record, database: Database, run_id: int) -> list[str]:
    """Score the questions forecast from a day after every model's cut-off."""
    models = sorted({(row.agent, row.model) for row in database.forecasts.of_run(run_id)})
    clean: dict[str, list[Judged]] = {}
    for j in record.judged:
        if not any(may_know(name, path, j.made.date().isoformat()) for name, path in models):
            clean.setdefault(j.forecaster, []).append(j)
    title = ["", "## Only questions forecast from a day after every model's training cut-off"]
    if not clean:
        none = "none: each was forecast from before a cut-off, or a model's cut-off is unknown"
        return [*title, none]
    return title + score_table({n: clean[n] for n in record.forecasters() if n in clean})
