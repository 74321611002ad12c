"""Compare the forecasts of a question with those of its negation and its paraphrases.

A diagnostic: the gaps are stored after the run, and nothing here changes a forecast.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from database import CoherenceRecord, Database
from evaluation.metrics import negation_gap, paraphrase_range
from questions.checks import KIND_KEY, PARENT_KEY
from scoring.voices import average


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
        extra = row.extra
        if PARENT_KEY in extra:
            kinds[row.id] = (str(extra[PARENT_KEY]), str(extra[KIND_KEY]))
    if not kinds:
        return []
    forecasts = {
        (row.question_id, "ensemble"): row.mean / 100 for row in database.ensembles(run_id)
    }
    forecasts |= _agent_means(database.forecasts(run_id))
    records = coherence_records(run_id, kinds, forecasts)
    database.save_coherence(records)
    return records


def _agent_means(rows: Iterable[Any]) -> dict[tuple[str, str], float]:
    """Probability (0-1) by question and agent, over the chunks of its evidence."""
    found: dict[tuple[str, str], list[Any]] = {}
    for row in rows:
        if row.error is None:
            found.setdefault((row.question_id, row.agent), []).append(row)
    return {
        key: average([part.voice for part in parts]).distribution.probability
        for key, parts in found.items()
    }
