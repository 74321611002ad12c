"""Live and back-dated forecasts over time, and changes between pools."""

from __future__ import annotations

import json
import sqlite3

import pytest

import analysis
from database import Database
from evaluation.resolved import BACK_DATED, LIVE
from questions.question import Question
from reporting.histories import histories
from reporting.overview_plot import row_label
from scoring.distribution import Distribution
from scoring.pooling import pool
from tests.support.record_database import add_run, grown, point
from tests.support.stub_cli import MODELS


def history(path, record: str, subject: str = "eu"):
    with Database(path) as db:
        return next(
            h
            for h in histories(db, record, db.runs.latest_questions(record))
            if h.subject == subject
        )


def means(points):
    return [(f"{p.when:%Y-%m-%d}", round(p.mean, 6)) for p in points]


def rows(path, sql: str):
    with sqlite3.connect(path) as connection:
        return connection.execute(sql).fetchall()


def test_live_and_back_dated_forecasts_never_share_a_line(ask, tmp_path):
    path = tmp_path / "d.db"
    ask("2026-03-02")
    ask("2026-03-09", "--as-of", "2026-03-05")
    ask("2026-03-10", "--as-of", "2026-03-01")
    ask("2026-03-16")
    stored = dict(
        rows(path, "SELECT run_id, round(mean, 6) FROM ensembles WHERE question_id = 'eu'")
    )
    live, dated = history(path, LIVE), history(path, BACK_DATED)
    assert means(live.ensemble) == [("2026-03-02", stored[1]), ("2026-03-16", stored[4])]
    assert means(dated.ensemble) == [("2026-03-01", stored[3]), ("2026-03-05", stored[2])]
    assert live.change == pytest.approx(stored[4] - stored[1], abs=1e-5)
    assert dated.change == pytest.approx(stored[2] - stored[3], abs=1e-5)
    assert row_label(live.overview_row()) == live.text
    assert row_label(dated.overview_row()) == f"{dated.text} (as of 2026-03-05)"
    assert {name: len(points) for name, points in dated.agents.items()} == dict.fromkeys(MODELS, 2)


def test_a_day_forecast_from_again_replaces_its_point(ask, tmp_path):
    ask("2026-03-09", "--as-of", "2026-03-05")
    ask("2026-03-10", "--as-of", "2026-03-05", "--models", "stub-a")
    dated = history(tmp_path / "d.db", BACK_DATED)
    (mean,) = [
        m
        for run, m in rows(
            tmp_path / "d.db", "SELECT run_id, mean FROM ensembles WHERE question_id = 'eu'"
        )
        if run == 2
    ]
    assert means(dated.ensemble) == [("2026-03-05", round(mean, 6))]
    assert dated.change is None


def test_views_name_the_record_and_the_models_that_took_part(ask, tmp_path):
    ask("2026-03-02", fail="stub-c")
    ask("2026-03-09", "--as-of", "2026-03-05")
    shown = rows(
        tmp_path / "d.db",
        "SELECT record, as_of, agents, agents_configured FROM latest_forecasts WHERE agent = 'ensemble' AND subject = 'eu'",
    )
    assert sorted(shown) == [("back-dated", "2026-03-05", 3, 3), ("live", None, 2, 3)]


def test_a_change_is_over_the_models_that_both_pools_have(ask, tmp_path):
    path = tmp_path / "d.db"
    ask("2026-03-02")
    ask("2026-03-09", fail="stub-c")
    read = "SELECT probabilities FROM forecasts WHERE question_id = 'eu' AND run_id = {} AND agent <> 'stub-c' ORDER BY agent"
    method = rows(path, "SELECT method FROM ensembles")[0][0]
    before, after = (
        pool([Distribution(json.loads(p)) for (p,) in rows(path, read.format(run))], method).mean
        for run in (1, 2)
    )
    found = history(path, LIVE)
    assert found.change == pytest.approx(after - before)
    assert found.change != pytest.approx(found.ensemble[1].mean - found.ensemble[0].mean, abs=0.1)
    row = found.overview_row()
    assert row.mean - row.previous == pytest.approx(found.change)
    assert (row.fewer, row.same_models) == ("2 of 3", True)
    assert [p.fewer for p in found.ensemble] == ["", "2 of 3"]


def test_pools_without_a_common_model_have_no_change(ask, tmp_path):
    ask("2026-03-02", "--models", "stub-a", "stub-b")
    ask("2026-03-09", "--models", "stub-c")
    found = history(tmp_path / "d.db", LIVE)
    assert found.change is None
    assert found.overview_row().previous is None


def test_joined_questions_share_one_history(ask, tmp_path, capsys):
    ask("2026-03-02")
    assert (
        analysis.main(["--database", str(tmp_path / "d.db"), "--same-question", "eu", "oil"]) == 0
    )
    with Database(tmp_path / "d.db") as db:
        (only,) = histories(db, LIVE, db.runs.latest_questions(LIVE))
    assert (only.subject, len(only.ensemble)) == ("eu", 2)


def test_a_history_has_the_newest_wording_of_its_record(tmp_path):
    with Database(tmp_path / "d.db") as db:
        for text, as_of in (
            ("Will A happen?", None),
            ("Will A occur?", None),
            ("Did A happen?", "2025-01-01"),
        ):
            add_run(db, [Question(text, id="a", as_of=as_of)], {"m": [point(30)]})
        texts = {
            record: next(histories(db, record, db.runs.latest_questions(record))).text
            for record in (LIVE, BACK_DATED)
        }
    assert texts == {LIVE: "Will A occur?", BACK_DATED: "Did A happen?"}


def test_the_overview_of_a_run_is_that_of_the_whole_record(tmp_path):
    path = tmp_path / "d.db"
    grown(path, 5)
    with Database(path) as db:
        questions = db.runs.latest_questions(LIVE)
        whole = [history.overview_row() for history in histories(db, LIVE, questions)]
        assert [
            history.overview_row() for history in histories(db, LIVE, questions, newest=2)
        ] == whole
        assert len(whole) == 12
        assert all(
            len(history.ensemble) == 2 for history in histories(db, LIVE, questions, newest=2)
        )
