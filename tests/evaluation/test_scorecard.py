"""The printed record: its sections, what does not count, and its two parts."""

from __future__ import annotations

import pytest

from database import Database
from evaluation.resolved import AnalysisError, collect
from evaluation.scorecard import horizon, score_lines
from questions.question import Question
from storage.records import Resolution
from tests.support.record_database import add_run, point, resolve_small, small, two_records

DAY = "2025-06-01"


@pytest.fixture
def database(tmp_path):
    with Database(small(tmp_path / "d.db")) as database:
        yield database


def test_later_forecasts_and_voids_are_listed_not_scored(database):
    database.outcomes.add([Resolution("a", 1, "2025-02-15"), Resolution("c", None, DAY)])
    record = collect(database)
    assert {(j.run_id, j.forecaster) for j in record.judged} == {
        (1, "x"),
        (1, "y"),
        (1, "ensemble"),
    }
    text = "\n".join(score_lines(record, database))
    assert "not counted: 6 forecasts, the question was voided (c …)" in text
    assert "not counted: 3 forecasts, made after the resolution (a)" in text


def test_nothing_resolved_is_said(database):
    with pytest.raises(
        AnalysisError, match="no forecast question is resolved; record outcomes with --resolve"
    ):
        score_lines(collect(database), database)
    database.outcomes.add([Resolution("a", 1, "2025-01-15")])
    with pytest.raises(AnalysisError, match="6 made after the resolution"):
        score_lines(collect(database), database)


@pytest.mark.parametrize(
    ("days", "least", "name"),
    [(0.5, 0, "0–7 days"), (7, 0, "0–7 days"), (31, 30, "30–90 days"), (400, 365, "over 365 days")],
)
def test_horizons(days, least, name):
    assert horizon(days) == (least, name)


def test_horizons_and_runs_get_their_own_rows(database):
    resolve_small(database, a=1, b=0)
    text = "\n".join(score_lines(collect(database), database))
    assert "ensemble, run 1" in text
    assert "ensemble, run 2" in text
    assert "ensemble, 90–365 days" in text


def test_both_records_are_printed_under_their_names(tmp_path):
    with two_records(tmp_path / "d.db") as database:
        text = "\n".join(score_lines(collect(database), database))
    live, dated = text.split("# Record of back-dated forecasts")
    assert live.startswith("# Record of live forecasts: 3 forecasts of 1 resolved question count\n")
    assert dated.startswith(": 6 forecasts of 1 resolved question count, as of 2 question days\n")
    row = next(line for line in live.splitlines() if line.startswith("x "))
    assert row.split()[1:4] == ["1", "1", "0.1600"]
    row = next(line for line in dated.splitlines() if line.startswith("x "))
    assert row.split()[1:4] == ["2", "1", "0.5650"]  # (0.64 + 0.49) / 2, of one cluster
    assert "fewer than 30 questions" in live
    assert "fewer than 30 questions" in dated


def test_a_record_without_a_counting_forecast_says_why(tmp_path):
    with two_records(tmp_path / "d.db") as database:
        add_run(database, [Question("B?", id="b", as_of="2025-01-10")], {"x": [point(60)]})
        database.outcomes.add([Resolution("a", None, DAY), Resolution("b", 1, DAY)])
        text = "\n".join(score_lines(collect(database), database))
    assert text.startswith(
        "# Record of live forecasts: none counts\nnot counted: 3 forecasts, the question was voided (a)"
    )
