"""Do a question's negation and its paraphrases get forecasts that fit together? A diagnostic that had no room elsewhere.

A question file may carry a column ``negation`` (the opposite question) and a column ``paraphrases`` (a list, a JSON list in one
CSV cell, or texts separated by ``|``). ``coherence_questions`` turns them into further questions of the same run; after the run
``check_coherence`` compares the forecasts and stores the gaps. Nothing here changes a forecast.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from database import CoherenceRecord, Database
from evaluation.metrics import negation_gap, paraphrase_range
from questions.question import Question, QuestionError
from scoring.voices import stored_voice

# Keys in ``Question.extra`` that mark a question as a check of another one; such questions are kept out of tables and plots.
PARENT_KEY = "coherence_of"
KIND_KEY = "coherence_kind"


def parent_id(extra: Mapping[str, Any] | str) -> str | None:
    """The id of the question that this one checks, from its ``extra`` (a mapping, or JSON as stored); None for ordinary ones."""
    values = json.loads(extra) if isinstance(extra, str) else extra
    parent = values.get(PARENT_KEY)
    return None if parent is None else str(parent)


def coherence_questions(question: Question) -> list[Question]:
    """The negation (id ``…~not``) and paraphrases (``…~p1``, ``…~p2`` …) that a question's file names; often none.

    They share background, dates and, for paraphrases, resolution criteria with the question.

    Raises:
        QuestionError: a column that is neither text nor a list of texts.
    """
    checks = []
    for negation in _texts(question, "negation"):
        criteria = f"Yes exactly when the answer to this question is no: {question.text} {question.resolution_criteria}".strip()
        checks.append(_check(question, negation, "~not", "negation", criteria))
    for number, paraphrase in enumerate(_texts(question, "paraphrases"), start=1):
        checks.append(
            _check(question, paraphrase, f"~p{number}", "paraphrase", question.resolution_criteria)
        )
    return checks


def _texts(question: Question, column: str) -> list[str]:
    value = question.extra.get(column)
    if value is None or value == "":
        return []
    if isinstance(value, str):
        value = _split(value) if column == "paraphrases" else [value]
    if not isinstance(value, list) or not all(
        isinstance(text, str) and text.strip() for text in value
    ):
        raise QuestionError(
            f"{question.id}: {column} is {value!r}, expected text"
            + (" or a list of texts" * (column == "paraphrases"))
        )
    return value


def _split(cell: str) -> Any:
    if cell.lstrip().startswith("["):
        try:
            return json.loads(cell)
        except json.JSONDecodeError:
            return None
    return [part.strip() for part in cell.split("|") if part.strip()]


def _check(question: Question, text: str, suffix: str, kind: str, criteria: str) -> Question:
    return Question(
        text=text,
        id=question.id + suffix,
        background=question.background,
        resolution_criteria=criteria,
        close_date=question.close_date,
        as_of=question.as_of,
        extra={PARENT_KEY: question.id, KIND_KEY: kind},
        subject=question.subject + suffix,
    )


def coherence_records(
    run_id: int, kinds: Mapping[str, tuple[str, str]], forecasts: Mapping[tuple[str, str], float]
) -> list[CoherenceRecord]:
    """Compare forecasts of one run.

    Args:
        run_id: the run.
        kinds: for each checking question's id, the id it checks and ``"negation"`` or ``"paraphrase"``.
        forecasts: probability (0-1) by (question id, forecaster).

    Returns:
        One record for each question, forecaster and kind with both sides forecast: for a negation gap = P(A) + P(not A) - 1
        (-1 to 1), for paraphrases gap = largest minus smallest probability over all wordings (0 to 1).
    """
    records = []
    forecasters = sorted({forecaster for _, forecaster in forecasts})
    parents = sorted({(parent, kind) for parent, kind in kinds.values()})
    for parent, kind in parents:
        children = sorted(child for child, link in kinds.items() if link == (parent, kind))
        for forecaster in forecasters:
            own = forecasts.get((parent, forecaster))
            others = {
                child: forecasts[child, forecaster]
                for child in children
                if (child, forecaster) in forecasts
            }
            if own is None or not others:
                continue
            gap = (
                negation_gap(own, *others.values())
                if kind == "negation"
                else paraphrase_range([own, *others.values()])
            )
            records.append(CoherenceRecord(run_id, parent, forecaster, kind, own, others, gap))
    return records


def check_coherence(database: Database, run_id: int) -> list[CoherenceRecord]:
    """Compare and store every check of a run; an empty list when its questions had none."""
    kinds: dict[str, tuple[str, str]] = {}
    for row in database.run_questions(run_id):
        extra = json.loads(row["extra"])
        if PARENT_KEY in extra:
            kinds[row["id"]] = (str(extra[PARENT_KEY]), str(extra[KIND_KEY]))
    if not kinds:
        return []
    forecasts = {
        (row["question_id"], "ensemble"): row["mean"] / 100 for row in database.ensembles(run_id)
    }
    forecasts |= _agent_means(database.forecasts(run_id))
    records = coherence_records(run_id, kinds, forecasts)
    database.save_coherence(records)
    return records


def _agent_means(rows: Iterable[Any]) -> dict[tuple[str, str], float]:
    """Probability (0-1) by question and agent, over the chunks of its evidence."""
    found: dict[tuple[str, str], list[Any]] = {}
    for row in rows:
        if row["error"] is None:
            found.setdefault((row["question_id"], row["agent"]), []).append(row)
    return {key: stored_voice(parts).distribution.probability for key, parts in found.items()}
