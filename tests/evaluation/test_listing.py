"""What a database holds, for people and for programs."""

from __future__ import annotations

import json

import pytest

import analysis
from database import Database
from evaluation.listing import listed, listing_lines
from questions.question import Question
from tests.support.record_database import add_run, point, resolve_small, small


@pytest.fixture
def path(tmp_path):
    with Database(small(tmp_path / "d.db")) as database:
        resolve_small(database, a=1)
    return tmp_path / "d.db"


def test_questions_have_their_last_forecast_and_outcome(path):
    with Database(path) as database:
        rows = {row["id"]: row for row in listed(database, "questions")}
    assert list(rows) == ["a", "b/ü", "c"]
    assert rows["a"]["forecast"] == pytest.approx(0.8)
    assert (rows["a"]["outcome"], rows["b/ü"]["outcome"]) == ("yes", None)
    assert {(row["runs"], row["last run"]) for row in rows.values()} == {(2, 2)}


def test_a_back_dated_forecast_is_marked(path):
    with Database(path) as database:
        add_run(
            database, [Question("Will A happen?", id="a", as_of="2025-01-31")], {"x": [point(1)]}
        )
        questions = listed(database, "questions")
    rows = {row["id"]: row for row in questions}
    assert (rows["a"]["forecast"], rows["a"]["as of"]) == (pytest.approx(0.01), "2025-01-31")
    assert (rows["c"]["as of"], rows["a"]["last run"]) == (None, 3)
    assert "as of" in listing_lines(questions)[0]
    assert "as of" not in listing_lines([rows["c"]])[0]


@pytest.mark.parametrize(("today", "ids"), [("2026-01-01", []), ("2026-01-02", ["b/ü"])])
def test_due_is_what_is_open_after_its_close_date(path, today, ids):
    with Database(path) as database:
        assert [row["id"] for row in listed(database, "due", today)] == ids
        assert listing_lines([]) == ["none"]


def test_runs_and_models_count_their_forecasts(path):
    with Database(path) as database:
        replay = database.runs.start(
            settings={}, versions={}, seed=1, as_of=None, questions=[], origin_run=1
        )
        runs = listed(database, "runs")
        models = listed(database, "models")
    assert [(row["run"], row["questions"], row["forecasts"]) for row in runs] == [
        (replay, 0, 0),
        (2, 3, 6),
        (1, 3, 6),
    ]
    assert runs[0]["status"] == "replay of 1"
    assert [(row["model"], row["path"], row["forecasts"], row["runs"]) for row in models] == [
        ("x", "owner/x", 6, 2),
        ("y", "owner/y", 6, 2),
    ]


def test_a_line_fits_the_terminal(path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    with Database(path) as database:
        lines = listing_lines(listed(database, "questions"))
    assert max(map(len, lines)) <= 90
    assert len(lines) == 4


def test_a_long_id_is_cut_only_as_far_as_it_must_be(path, monkeypatch):
    with Database(path) as database:
        row = {**listed(database, "questions")[0], "id": "0x" + "e" * 64}
        monkeypatch.setenv("COLUMNS", "80")
        head, line = listing_lines([row])
        assert max(len(head), len(line)) <= 80
        assert "  0xeeeeeeeeee…  " in line
        monkeypatch.setenv("COLUMNS", "150")
        assert row["id"] in listing_lines([row])[1]
        assert "80.0 %" in line


@pytest.mark.parametrize("words", [["--list", "questions"], ["--score"]])
def test_json_is_for_programs(path, capsys, words):
    assert analysis.main([*words, "--json", "--database", str(path)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["id"] for row in rows} >= {"a"}
    if words == ["--score"]:
        assert rows[0]["brier"] == pytest.approx(0.04)
        assert {row["forecaster"] for row in rows} == {"ensemble", "x", "y"}


def test_an_id_that_is_nearly_known_is_named(path, capsys):
    assert analysis.main(["--same-question", "b/u", "a", "--database", str(path)]) == 2
    assert "no question has the id 'b/u'; did you mean 'b/ü'?" in capsys.readouterr().err


@pytest.mark.parametrize("program", ["analysis", "forecaster"])
def test_the_version_is_printed_without_a_database(program, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        __import__(program).main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"{program}.py: Forecaster, ")
    assert list(tmp_path.iterdir()) == []


def test_a_text_that_is_nearly_known_is_named(path, capsys):
    words = ["--resolve-one", "Will C happens?", "no", "--date", "2025-06-01"]
    assert analysis.main([*words, "--database", str(path)]) == 1
    line = "'Will C happens?': no such question in the database; did you mean 'Will C happen?'?"
    assert line in capsys.readouterr().out
