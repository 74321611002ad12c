"""Scores that can be checked by hand, and what a few questions cannot show."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

import config
from database import Database
from evaluation.intervals import mean_interval
from evaluation.metrics import brier_scores, log_scores
from evaluation.resolved import Judged, arrays, collect
from evaluation.score_tables import (
    brier_interval,
    log_interval,
    parts_row,
    reference_problems,
    reference_value,
    score_row,
    skill_rows,
    table,
)
from tests.support.record_database import resolve_small, small


@pytest.fixture
def database(tmp_path):
    with Database(small(tmp_path / "d.db")) as database:
        yield database


def test_scores_by_hand(database):
    resolve_small(database, a=1, b=0)
    record = collect(database)
    latest = {j.question_id: j.probability for j in record.latest("x")}
    assert latest == pytest.approx(
        {"a": 0.7, "b/ü": 0.2}
    )  # the second run's forecast of a counts, once
    row = score_row("x", record.latest("x"))
    assert row[1:4] == ["2", "2", "0.0650"]  # (0.09 + 0.04) / 2
    assert record.forecasters() == ["ensemble", "x", "y"]
    # The ensemble is the mean: 0.8 and 0.3.
    assert score_row("e", record.latest("ensemble"))[3] == "0.0650"


def test_skill_by_hand(database, monkeypatch):
    monkeypatch.setattr(config, "MIN_INTERVAL_CLUSTERS", 2)
    monkeypatch.setattr(config, "MIN_INTERVAL_DF", 1)
    resolve_small(database, a=1, b=0)
    rows = {row[0]: row for row in skill_rows(collect(database).latest("x"))}
    assert rows["always 50 %"][1:5] == ["2", "0.2500", "0.0650", "+0.740"]
    assert rows["in-sample base rate"][2] == "0.2500"
    # Only a has a crowd (0.9 -> 0.01); ours on a alone is 0.09. One question shows no skill.
    assert rows["crowd"][1:7] == ["1", "0.0100", "0.0900", "–", "+0.0800", "–"]
    # The run before said 0.6 and 0.2: 0.16 and 0.04.
    assert rows["previous forecast"][1:4] == ["2", "0.1000", "0.0650"]


def test_a_crowd_price_from_after_the_forecast_is_marked():
    extra = {
        "baseline_crowd": 0.5,
        "freeze_date": "2025-03-01",
        "crowd_at_due": 0.4,
        "forecast_due_date": "2025-01-01",
    }
    j = Judged(1, "q", "x", 0.5, 1, "q", datetime(2025, 2, 1), datetime(2025, 4, 1), extra=extra)
    names = [row[0] for row in skill_rows([j])]
    assert "crowd at freeze (later than the forecast)" in names
    assert "crowd at due date" in names


@pytest.mark.parametrize("value", ["", None, "many", 1.2, -0.1])
def test_what_is_no_reference(value):
    j = Judged(
        1, "q", "x", 0.5, 1, "q", datetime(2025, 1, 1), datetime(2025, 2, 1), {"crowd": value}
    )
    assert reference_value(j, "crowd") is None


def test_table_aligns_and_cuts():
    lines = table(("", "n"), [("short", "1"), ("x" * 60, "22")], wide=10)
    assert lines[1] == "short        1"
    assert lines[2] == "xxxxxxxxx…  22"


def test_a_wide_character_takes_two_columns():
    lines = table(("", "n"), [("ab", "1"), ("選挙は行われるか", "22")], wide=11)
    assert lines[1] == "ab" + " " * 12 + "1"
    assert lines[2] == "選挙は行わ…  22"


def forecasts(count, clusters=None, said=70):
    return [
        Judged(
            1,
            f"q{n}",
            "x",
            (said - n % 40) / 100,
            n % 3 == 0,
            str(n % (clusters or count)),
            datetime(2025, 1, 1),
            datetime(2025, 2, 1),
        )
        for n in range(count)
    ]


def test_a_row_of_few_questions_claims_nothing():
    few = score_row("few", forecasts(29))
    assert few[4] == few[6] == few[9] == "–"
    assert few[3] != "–"  # the average itself describes these questions
    parts = parts_row("few", forecasts(29))
    assert parts[2:6] == ["–"] * 4
    assert "–" not in (parts[1], parts[6])
    assert "–" not in parts_row("enough", forecasts(30))
    enough = score_row("enough", forecasts(30))
    assert "–" not in (enough[4], enough[6], enough[9])
    related = score_row("related", forecasts(90, clusters=29))
    assert related[4] == related[6] == "–"
    assert related[9] != "–"


def test_skill_needs_an_interval():
    assert [row[4] for row in skill_rows(forecasts(29))] == ["–", "–"]
    assert all(row[4] != "–" and "…" in row[6] for row in skill_rows(forecasts(30)))


def test_the_interval_of_a_row_is_that_of_its_scores_and_stays_in_range():
    rows = forecasts(60)
    p, y, clusters = arrays(rows)
    interval = mean_interval((p - y) ** 2, clusters, least=0, most=1)
    assert score_row("x", rows)[4] == f"{interval.low:.3f} … {interval.high:.3f}"
    sure = [replace(j, probability=float(j.outcome)) for j in rows]
    sure[0] = replace(sure[0], probability=1.0 - sure[0].outcome)  # a single error, of 1
    brier = brier_interval(brier_scores(*arrays(sure)[:2]), clusters)
    assert 0 <= brier.low < 1 / 60 < brier.high <= 1
    log = log_interval(log_scores(*arrays(sure)[:2]), clusters)
    assert 0 <= log.low < log.high <= 5.2984


def test_ece_stands_beside_chance_and_is_starred_beyond_it():
    wrong = [replace(j, outcome=int(n % 5 == 0)) for n, j in enumerate(forecasts(60, said=99))]
    row = score_row("wrong", wrong)
    assert row[7].endswith("*")
    error, bound = float(row[7][:-1]), float(row[8].split("up to ")[1])
    assert error > bound
    right = [
        replace(j, outcome=int(n % 10 < 7), probability=0.7) for n, j in enumerate(forecasts(30))
    ]
    assert score_row("right", right)[7] == "0.000"


def test_stored_values_that_are_no_probability_are_counted_in_one_line():
    rows = [
        replace(j, extra={"crowd": v})
        for j, v in zip(forecasts(5), ["12", 0.5, "", None, "0,35"], strict=True)
    ]
    (line,) = reference_problems(rows)
    assert line == (
        "not counted: 2 of 3 stored values of crowd are no probability from 0 to 1 (such as '12' of q0)"
    )
    assert reference_problems(forecasts(2)) == []


def test_a_narrow_terminal_does_without_spare_columns_and_says_so(monkeypatch):
    headers, rows = ("", "n", "Brier", "log", "AUC"), [["x", "12", "0.1234", "0.5", "0.75"]]
    whole = ["    n   Brier  log   AUC", "x  12  0.1234  0.5  0.75"]
    monkeypatch.setenv("COLUMNS", "24")
    assert table(headers, rows, spare=("log", "AUC")) == whole
    monkeypatch.setenv("COLUMNS", "23")
    assert table(headers, rows, spare=("log", "AUC")) == [
        "    n   Brier   AUC",
        "x  12  0.1234  0.75",
        "(a wider terminal shows: log)",
    ]
    monkeypatch.setenv("COLUMNS", "5")
    assert table(headers, rows, spare=("log", "AUC"))[1:] == [
        "x  12  0.1234",
        "(a wider terminal shows: log, AUC)",
    ]
