"""Which forecasts count, and scores that can be checked by hand."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

import config
import scorecard
from database import Database, Resolution
from questions import Question
from scorecard import (
    AnalysisError,
    collect,
    exclusion,
    forecast_time,
    horizon_name,
    pooled,
    score_lines,
    skill_rows,
)
from tests.record_database import add_evidence, add_run, around, point, small

DAY = "2025-06-01"


@pytest.fixture
def database(tmp_path):
    with Database(small(tmp_path / "d.db")) as database:
        yield database


def resolve(database, **outcomes):
    database.add_resolutions([Resolution({"b": "b/ü"}.get(k, k), v, DAY) for k, v in outcomes.items()])


@pytest.mark.parametrize(
    ("as_of", "created", "evidence", "outcome", "resolved", "reason"),
    [
        (None, "2025-05-31T23:59:59Z", None, 1, DAY, None),
        (None, "2025-06-01T00:00:00Z", None, 1, DAY, "made after the resolution"),
        (None, "2025-06-01T09:00:00Z", None, 1, "2025-06-01T10:00:00Z", None),
        (
            None,
            "2025-01-01T00:00:00Z",
            "2025-05-05T00:00:00Z",
            0,
            DAY,
            None,
        ),  # live: evidence is what there was
        ("2025-05-31", "2026-01-01T00:00:00Z", "2025-05-31T20:00:00Z", 1, DAY, None),
        ("2025-05-31", "2026-01-01T00:00:00Z", "2025-06-01T00:00:00Z", 1, DAY, "evidence newer than as_of"),
        ("2025-06-01", "2026-01-01T00:00:00Z", None, 1, DAY, "as_of is not before the resolution"),
        (None, "2025-01-01T00:00:00Z", None, None, DAY, "the question was voided"),
    ],
)
def test_what_counts(as_of, created, evidence, outcome, resolved, reason):
    assert exclusion(as_of, created, evidence, outcome, resolved) == reason


def test_forecast_time_of_a_backtest_is_the_end_of_its_day():
    assert forecast_time("2025-05-31", "2026-01-01T00:00:00Z") == datetime(2025, 5, 31, 23, 59, 59)
    assert forecast_time(None, "2026-01-01T00:00:00Z") == datetime(2026, 1, 1)


def test_scores_by_hand(database):
    resolve(database, a=1, b=0)
    record = collect(database)
    latest = {j.question_id: j.probability for j in record.latest("x")}
    assert latest == pytest.approx({"a": 0.7, "b/ü": 0.2})  # the second run's forecast of a counts, once
    row = scorecard.score_row("x", record.latest("x"))
    assert row[1:4] == ["2", "2", "0.0650"]  # (0.09 + 0.04) / 2
    # The ensemble is the mean: 0.8 and 0.3.
    assert scorecard.score_row("e", record.latest("ensemble"))[3] == "0.0650"
    assert record.latest("ensemble")[0].between == pytest.approx(0.1)


def test_skill_by_hand(database):
    resolve(database, a=1, b=0)
    rows = {row[0]: row for row in skill_rows(collect(database).latest("x"))}
    assert rows["always 50 %"][1:5] == ["2", "0.2500", "0.0650", "+0.740"]
    assert rows["base rate (of these questions)"][2] == "0.2500"
    # Only a has a crowd (0.9 -> 0.01); ours on a alone is 0.09, skill 1 - 9.
    assert rows["crowd"][1:5] == ["1", "0.0100", "0.0900", "-8.000"]
    # The run before said 0.6 and 0.2: 0.16 and 0.04.
    assert rows["previous forecast"][1:4] == ["2", "0.1000", "0.0650"]


def test_a_crowd_price_from_after_the_forecast_is_marked():
    extra = {
        "baseline_crowd": 0.5,
        "freeze_date": "2025-03-01",
        "crowd_at_due": 0.4,
        "forecast_due_date": "2025-01-01",
    }
    j = scorecard.Judged(
        1, "q", "x", point(50), 1, "q", datetime(2025, 2, 1), datetime(2025, 4, 1), extra=extra
    )
    names = [row[0] for row in skill_rows([j])]
    assert "crowd at freeze (later than the forecast)" in names
    assert "crowd at due date" in names


@pytest.mark.parametrize("value", ["", None, "many", 1.2, -0.1])
def test_what_is_no_reference(value):
    j = scorecard.Judged(
        1, "q", "x", point(50), 1, "q", datetime(2025, 1, 1), datetime(2025, 2, 1), {"crowd": value}
    )
    assert scorecard.reference_value(j, "crowd") is None


def test_later_forecasts_and_voids_are_listed_not_scored(database):
    database.add_resolutions([Resolution("a", 1, "2025-02-15"), Resolution("c", None, DAY)])
    record = collect(database)
    assert {(j.run_id, j.forecaster) for j in record.judged} == {(1, "x"), (1, "y"), (1, "ensemble")}
    text = "\n".join(score_lines(record))
    assert "not counted: 6 forecasts, the question was voided (c …)" in text
    assert "not counted: 3 forecasts, made after the resolution (a)" in text


def test_nothing_resolved_is_said(database):
    with pytest.raises(
        AnalysisError, match="no forecast question is resolved; record outcomes with --resolve"
    ):
        score_lines(collect(database))
    database.add_resolutions([Resolution("a", 1, "2025-01-15")])
    with pytest.raises(AnalysisError, match="6 made after the resolution"):
        score_lines(collect(database))


def test_a_backtest_with_newer_evidence_does_not_count(tmp_path):
    questions = [Question("A?", id="a", as_of="2025-01-10")]
    with Database(tmp_path / "d.db") as database:
        old, new = (
            add_evidence(database, "2025-01-09T00:00:00Z"),
            add_evidence(database, "2025-01-11T00:00:00Z"),
        )
        add_run(database, questions, {"x": [point(60)]}, passage=old)
        add_run(database, questions, {"x": [point(60)]}, passage=new)
        database.add_resolutions([Resolution("a", 1, DAY)])
        record = collect(database)
    assert {j.run_id for j in record.judged} == {1}
    assert {(e.run_id, e.forecaster, e.reason) for e in record.excluded} == {
        (2, "x", "evidence newer than as_of"),
        (2, "ensemble", "evidence newer than as_of"),
    }


def test_pools_are_recomputed_on_the_same_questions(database):
    resolve(database, a=1, b=0, c=0)
    pools = pooled(collect(database))
    assert {"mean", "median", "geometric", "extremised", "entropy"} <= set(pools)
    assert all(len(rows) == 3 for rows in pools.values())
    linear = {j.question_id: j.probability for j in pools["mean"]}
    assert linear["a"] == pytest.approx(0.8)
    # Odds 0.7/0.3 and 0.9/0.1: geometric mean sqrt(21) = 4.583, but no mass lies between 70 and 90 to move it otherwise.
    geometric = {j.question_id: j.probability for j in pools["geometric"]}
    assert geometric["a"] == pytest.approx(4.5826 / 5.5826, abs=1e-3)
    assert not any("without" in name for name in pools)  # one agent alone is no pool


def test_past_score_weights_do_not_see_their_own_cluster(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "BOOTSTRAP_SAMPLES", 100)
    generator = np.random.default_rng(2)
    questions = [Question(f"Q{n}?", id=f"q{n}") for n in range(20)]
    outcomes = generator.integers(0, 2, 20)
    good = [point(90 if y else 10) for y in outcomes]
    bad = [point(int(n)) for n in generator.integers(0, 101, 20)]
    third = [around(50) for _ in outcomes]
    with Database(tmp_path / "d.db") as database:
        add_run(database, questions, {"good": good, "bad": bad, "third": third}, made="2025-01-01T00:00:00Z")
        database.add_resolutions(
            [Resolution(q.id, int(y), DAY) for q, y in zip(questions, outcomes, strict=True)]
        )
        record = collect(database)
    base = record.latest("ensemble")
    parts = [record.agents[j.run_id, j.question_id] for j in base]
    weights = scorecard._past_score_weights(base, parts)
    assert weights is not None
    assert all(w["good"] > 0.7 for w in weights)
    pools = pooled(record)
    assert len(pools[f"{config.POOL_METHOD} without bad"]) == 20
    score = {name: np.mean([(j.probability - j.outcome) ** 2 for j in rows]) for name, rows in pools.items()}
    assert score["weights by past score"] < score["mean"]
    assert score[f"{config.POOL_METHOD} without bad"] < score[f"{config.POOL_METHOD} without good"]
    text = "\n".join(score_lines(record))
    assert "weights by past score" in text
    assert "spread between agents" in text


@pytest.mark.parametrize(
    ("days", "name"), [(0.5, "0–7 days"), (7, "0–7 days"), (31, "30–90 days"), (400, "over 365 days")]
)
def test_horizons(days, name):
    assert horizon_name(days) == name


def test_horizons_and_runs_get_their_own_rows(database):
    resolve(database, a=1, b=0)
    text = "\n".join(score_lines(collect(database)))
    assert "ensemble, run 1" in text
    assert "ensemble, run 2" in text
    assert "ensemble, 90–365 days" in text


def test_table_aligns_and_cuts():
    lines = scorecard.table(("", "n"), [("short", "1"), ("x" * 60, "22")], width=10)
    assert lines[1] == "short        1"
    assert lines[2] == "xxxxxxxxx…  22"
