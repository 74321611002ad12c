"""The printed record: its sections, what does not count, and its two parts."""

from __future__ import annotations

import pytest

import config
from database import Database
from evaluation import headline
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
    assert "not counted: 6 forecasts, the question was voided (c)" in text
    assert "not counted: 3 forecasts, made after the resolution (a)" in text


@pytest.mark.parametrize(("count", "named"), [(5, "a, b, c, d, e"), (6, "a, b, c, d, e …")])
def test_of_many_questions_that_do_not_count_five_are_named(count, named, database):
    names = "abcdef"[:count]
    questions = [Question(f"Will {name} happen?", id=name) for name in names]
    add_run(database, questions, {"x": [point(60)] * count})
    ended = [Resolution(name, None, DAY) for name in names]
    database.outcomes.add([*ended, Resolution("b/ü", 1, DAY)])
    text = "\n".join(score_lines(collect(database), database))
    assert f"the question was voided ({named})" in text


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
    text = "\n".join(score_lines(collect(database), database, ["horizon", "run"]))
    assert "ensemble, run 1" in text
    assert "ensemble, run 2" in text
    assert "ensemble, 90–365 days" in text


def test_both_records_are_printed_under_their_names(tmp_path):
    with two_records(tmp_path / "d.db") as database:
        text = "\n".join(score_lines(collect(database), database, ["model"]))
    live, dated = text.split("# Record of back-dated forecasts")
    assert "# Record of live forecasts: 3 forecasts of 1 resolved question count\n" in live
    assert dated.startswith(": 6 forecasts of 1 resolved question count, as of 2 question days\n")
    row = next(line for line in live.splitlines() if line.startswith("x "))
    assert row.split()[1:4] == ["1", "1", "0.1600"]
    row = next(line for line in dated.splitlines() if line.startswith("x "))
    assert row.split()[1:4] == ["2", "1", "0.5650"]  # (0.64 + 0.49) / 2, of one cluster
    assert text.count("fewer than 30 questions") == 2


def test_five_lines_to_quote_come_first(tmp_path):
    with two_records(tmp_path / "d.db") as database:
        lines = score_lines(collect(database), database)
    # The pool said 70 % and it ended yes; the crowd said 90 %.
    assert lines[0] == (
        "Brier 0.090 on 1 resolved question (live forecasts, the models' pool; 95 % –);"
        " 0 is best, always 50 % has 0.250"
    )
    unsure = "not yet beyond chance: too few or too related for an interval"
    assert lines[1] == (
        f"always the base rate 0.000; difference +0.090 (95 % –): worse, {unsure};"
        " 100 % ended yes, known only afterwards"
    )
    assert lines[2] == f"the market (crowd) 0.010; difference +0.080 (95 % –): worse, {unsure}"
    assert lines[3] == "calibration: not judged under 30 forecasts"
    assert lines[4].startswith(
        "fewer than 30 questions, or than 30 clusters of related ones (1, 1)"
    )
    assert lines[5] == ""
    # The back-dated record is two days of the same question: (0.64 + 0.49) / 2.
    dated = next(line for line in lines[6:] if line.startswith("Brier"))
    assert dated.startswith("Brier 0.565 on 1 resolved question (2 question days) (back-dated")


def test_questions_come_worst_first(database):
    resolve_small(database, a=0, b=0, c=1)
    lines = score_lines(collect(database), database)
    start = lines.index("## By question, worst first") + 1
    rows = [line.rsplit(maxsplit=6) for line in lines[start + 1 : start + 4]]
    # The pools of the second run: 80, 30 and about 40 %.
    assert [(row[1], row[4], row[5]) for row in rows] == [
        ("a", "no", "0.640"),
        ("c", "yes", "0.360"),
        ("b/ü", "no", "0.090"),
    ]
    assert lines[-1] == "more with --by: question, model, pool, horizon, price, run"


def test_a_long_list_is_cut_unless_it_is_asked_for(database, monkeypatch):
    monkeypatch.setattr(headline, "LISTED", 2)
    resolve_small(database, a=0, b=0, c=1)
    short = score_lines(collect(database), database)
    assert "… and 1 that scored better (--by question)" in short
    whole = score_lines(collect(database), database, ["question"])
    assert not any(line.startswith("… and") for line in whole)
    assert len(whole) == len(short) - 2  # neither that line nor the one about --by, but the row


def test_enough_questions_are_claimed_with_their_interval(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "CALIBRATION_SIMULATIONS", 100)
    questions = [Question(f"Q{n}?", id=f"q{n}") for n in range(60)]
    given = {"x": [point(90 if n % 2 else 10) for n in range(60)]}
    with Database(tmp_path / "d.db") as database:
        add_run(database, questions, given, made="2025-01-01T00:00:00Z")
        ended = [Resolution(f"q{n}", int(n % 2 == (n % 15 > 0)), DAY) for n in range(60)]
        database.outcomes.add(ended)
        lines = score_lines(collect(database), database)
    assert "better, beyond chance; 50 % ended yes" in lines[1]
    assert lines[2] == "the market: no question has a price"
    assert lines[3].startswith("calibration error 0.0")
    assert lines[4].startswith("intervals are over 60 clusters")


def test_a_record_without_a_counting_forecast_says_why(tmp_path):
    with two_records(tmp_path / "d.db") as database:
        add_run(database, [Question("B?", id="b", as_of="2025-01-10")], {"x": [point(60)]})
        database.outcomes.add([Resolution("a", None, DAY), Resolution("b", 1, DAY)])
        text = "\n".join(score_lines(collect(database), database))
    assert text.startswith(
        "# Record of live forecasts: none counts\nnot counted: 3 forecasts, the question was voided (a)"
    )
