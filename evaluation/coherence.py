"""Compare the forecasts of a question, its negation and its paraphrases.

A diagnostic: the gaps are stored after the run, and nothing here changes a forecast.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from database import Database
from evaluation.metrics import negation_gap, paraphrase_range
from evaluation.resolved import point_forecasts
from questions.checks import KIND_KEY, parent_id
from storage.records import CoherenceRecord


def coherence_records(
    run_id: int, kinds: Mapping[str, tuple[str, str]], forecasts: Mapping[tuple[str, str], float]
) -> list[CoherenceRecord]:
    """Compare the forecasts of one run.

    Args:
        run_id: the run.
        kinds: by the id of each check, the id it checks and ``"negation"`` or ``"paraphrase"``.
        forecasts: probability (0-1) by (question id, forecaster).

    Returns:
        One record for each question, forecaster and kind with both sides forecast. The gap of a
        negation is P(A) + P(not A) - 1 (-1 to 1), that of paraphrases the largest minus the
        smallest probability over all wordings (0 to 1).
    """
    records = []
    forecasters = sorted({forecaster for _, forecaster in forecasts})
    for (parent, kind), forecaster in product(sorted(set(kinds.values())), forecasters):
        own = forecasts.get((parent, forecaster))
        children = sorted(child for child, link in kinds.items() if link == (parent, kind))
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
    """Compare and store every check of a run; empty when its questions had none."""
    questions = database.runs.questions(run_id)
    kinds = {
        q.id: (parent, str(q.extra[KIND_KEY]))
        for q in questions
        if (parent := parent_id(q.extra)) is not None
    }
    if not kinds:
        return []
    asked = [(run_id, q.id) for q in questions]
    points = point_forecasts(database, asked)
    forecasts = {(row.question_id, row.forecaster): row.probability for row in points}
    records = coherence_records(run_id, kinds, forecasts)
    database.outcomes.save_coherence(records)
    return records
