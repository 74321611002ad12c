"""The forecasts of a question are compared with those of its negation and paraphrases."""

from __future__ import annotations

import pytest

from database import Database
from evaluation.calibration import _raw_probabilities
from evaluation.coherence import check_coherence
from questions.checks import coherence_questions
from questions.question import Question
from storage.new_records import EnsembleRecord, ForecastRecord
from tests.support.record_database import point


def test_gaps_are_computed_and_stored(tmp_path):
    question = Question(
        "A?", id="q", extra={"negation": "Not A?", "paraphrases": ["A, then?", "Is it A?"]}
    )
    asked = [question, *coherence_questions(question)]
    with Database(tmp_path / "d.db") as database:
        run = database.runs.start(settings={}, versions={}, seed=1, as_of=None, questions=asked)
        for one, percent in zip(asked, (70, 40, 60, 75), strict=True):
            d = point(percent)
            database.forecasts.save(
                run,
                ForecastRecord(
                    one.id,
                    "m",
                    "m",
                    distribution=d,
                    captured_mass=1,
                    residual_mass=0,
                ),
            )
            database.forecasts.save_ensemble(
                run, EnsembleRecord(one.id, "mean", d, 1, 1, 1.0, 1.0, 0.0, False)
            )
        gaps = {(r.forecaster, r.kind): r.gap for r in check_coherence(database, run)}
        assert gaps["m", "negation"] == pytest.approx(0.10)  # 0.7 + 0.4 - 1
        assert gaps["ensemble", "paraphrase"] == pytest.approx(0.15)  # 0.75 - 0.60
        check_coherence(database, run)
        rows = database.outcomes.coherence(run)
        assert len(rows) == 4  # repeated checks replace themselves
        assert rows[0].question_id == "q"
        assert database.runs.get(run).id == run


def test_a_run_without_checks_stores_nothing(tmp_path):
    with Database(tmp_path / "d.db") as database:
        run = database.runs.start(
            settings={}, versions={}, seed=1, as_of=None, questions=[Question("A?")]
        )
        assert check_coherence(database, run) == []
        assert database.outcomes.coherence(run) == []


def test_a_weak_chunk_of_an_agent_weighs_as_in_its_pool(tmp_path, monkeypatch):
    """Two chunks say 80 % in full and 20 % with a fifth of the mass that counts in full: (80 + 4) / 1.2 = 70 %."""
    monkeypatch.setattr("config.MIN_CAPTURED_MASS", 0.5)
    question = Question("A?", id="q", extra={"negation": "Not A?"})
    asked = [question, *coherence_questions(question)]
    with Database(tmp_path / "d.db") as database:
        run = database.runs.start(settings={}, versions={}, seed=1, as_of=None, questions=asked)
        for name, chunk, percent, mass in (("q", 0, 80, 1), ("q", 1, 20, 0.1), ("q~not", 0, 40, 1)):
            database.forecasts.save(
                run,
                ForecastRecord(
                    name, "m", "m", chunk=chunk, distribution=point(percent), captured_mass=mass, residual_mass=0
                ),
            )  # fmt: skip
        (record,) = check_coherence(database, run)
        assert (record.probability, record.gap) == (pytest.approx(0.7), pytest.approx(0.1))
        assert _raw_probabilities(database, "m", "live", run) == pytest.approx(
            {(run, "q"): 0.7, (run, "q~not"): 0.4}
        )
