"""Pools are recomputed on the same questions, with weights that cannot see them."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

import config
from database import Database
from evaluation import pool_comparison
from evaluation.pool_comparison import past_score_weights, pooled
from evaluation.resolved import ENSEMBLE, Judged, Record, collect, read_voices
from evaluation.scorecard import score_lines
from questions.question import Question
from scoring.pooling import Voice
from storage.records import Resolution
from tests.support.record_database import add_run, around, point, resolve_small, small, two_records

DAY = "2025-06-01"


def voice(distribution, captured):
    return Voice(distribution, captured, 0.0, captured)


@pytest.fixture
def database(tmp_path):
    with Database(small(tmp_path / "d.db")) as database:
        yield database


def test_pools_are_recomputed_on_the_same_questions(database):
    resolve_small(database, a=1, b=0, c=0)
    by_method = pooled(collect(database), database)
    assert set(by_method) == {"mean", "median", "geometric", "extremised", "entropy"}
    assert all(len(rows) == 3 for rows in by_method.values())
    linear = {j.question_id: j.probability for j in by_method["mean"]}
    assert linear["a"] == pytest.approx(0.8)
    # Odds 0.7/0.3 and 0.9/0.1: geometric mean sqrt(21) = 4.583, but no mass lies between 70 and 90 to move it otherwise.
    geometric = {j.question_id: j.probability for j in by_method["geometric"]}
    assert geometric["a"] == pytest.approx(4.5826 / 5.5826, abs=1e-3)


def test_past_score_weights_do_not_see_their_own_cluster(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "CALIBRATION_SIMULATIONS", 100)
    generator = np.random.default_rng(2)
    questions = [Question(f"Q{n}?", id=f"q{n}") for n in range(20)]
    outcomes = generator.integers(0, 2, 20)
    good = [point(90 if y else 10) for y in outcomes]
    bad = [point(int(n)) for n in generator.integers(0, 101, 20)]
    third = [around(50) for _ in outcomes]
    with Database(tmp_path / "d.db") as database:
        add_run(
            database,
            questions,
            {"good": good, "bad": bad, "third": third},
            made="2025-01-01T00:00:00Z",
        )
        database.outcomes.add(
            [Resolution(q.id, int(y), DAY) for q, y in zip(questions, outcomes, strict=True)]
        )
        record = collect(database)
        by_method = pooled(record, database)
        text = "\n".join(score_lines(record, database, ["pool"]))
        latest = record.latest("ensemble")
        voices = read_voices(database, [(j.run_id, j.question_id) for j in latest])
    weights = past_score_weights([(j, voices[j.run_id, j.question_id]) for j in latest])
    assert weights is not None
    assert all(w["good"] > 0.7 for w in weights)
    score = {
        name: np.mean([(j.probability - j.outcome) ** 2 for j in rows])
        for name, rows in by_method.items()
    }
    assert score["weights by past score"] < score["mean"]
    assert "weights by past score" in text


def test_a_voice_weighs_by_what_it_captured(monkeypatch):
    monkeypatch.setattr(config, "MIN_CAPTURED_MASS", 0.9)
    judged = Judged(1, "q", ENSEMBLE, 0.5, 1, "q", datetime(2025, 1, 1), datetime(2025, 2, 1))

    def mean(captured):
        voices = {"x": voice(point(20), captured), "y": voice(point(80), 0.9)}
        monkeypatch.setattr(pool_comparison, "read_voices", lambda *_: {(1, "q"): voices})
        return pooled(Record((judged,), ()), None)["mean"][0].probability

    assert mean(0.9) == pytest.approx(0.5)
    assert mean(0.3) == pytest.approx(0.65)  # (20 / 3 + 80) / (4 / 3)


def test_pools_of_one_record_are_of_its_forecasts(tmp_path):
    with two_records(tmp_path / "d.db") as database:
        record = collect(database)
        for name, questions in (("live", {"a"}), ("back-dated", {"a@2025-01-10", "a@2025-01-20"})):
            rows = pooled(record.part(name), database)["mean"]
            assert {j.question_id for j in rows} == questions
