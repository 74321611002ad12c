"""Live and back-dated forecasts over time, pools of fewer models, and calibrated values, from runs of the command line."""

from __future__ import annotations

import json
import sqlite3

import pytest

import analysis
import config
import forecaster
from database import Database
from evaluation.resolved import BACK_DATED, LIVE
from questions.question import Question
from reporting import plots, report
from reporting.histories import histories
from reporting.overview_plot import row_label
from scoring.distribution import Distribution
from scoring.pooling import pool
from storage.records import CalibrationRecord
from tests.support.record_database import add_run, point
from tests.support.stub_cli import MODELS, stub_main

ASKED = "id,question\neu,Will a country join the EU?\noil,Will oil rise?\n"


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Run the command line on two questions without evidence."""
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    (tmp_path / "q.csv").write_text(ASKED, encoding="utf-8")

    def run(today: str, *arguments: str, fail: str = "") -> int:
        monkeypatch.setenv("STUB_FAIL", fail)
        words = [
            "--questions",
            str(tmp_path / "q.csv"),
            "--database",
            str(tmp_path / "d.db"),
            "--no-retrieval",
        ]
        return stub_main([*words, *arguments], today=today)

    return run


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


def test_each_record_has_figures_of_its_own_name(ask, tmp_path, capsys):
    ask("2026-03-02", "--models", "stub-a")
    ask("2026-03-09", "--models", "stub-a", "--as-of", "2026-03-05")
    assert (
        analysis.main(["--database", str(tmp_path / "d.db"), "--plots", str(tmp_path / "plots")])
        == 0
    )
    assert {path.name for path in (tmp_path / "plots").iterdir() if not path.name.startswith("run")} == {
        "history_eu.png", "history_oil.png", "latest_forecasts.png",
        "history_eu.back-dated.png", "history_oil.back-dated.png", "latest_forecasts.back-dated.png",
    }  # fmt: skip
    with Database(tmp_path / "d.db") as db:
        for record, start in ((LIVE, "1 live forecast, "), (BACK_DATED, "1 back-dated forecast, ")):
            figures = [figure for _, figure in plots.history_figures(db, record)]
            assert all(any(text.get_text().startswith(start) for text in f.texts) for f in figures)


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


def test_a_pool_of_fewer_models_has_a_hollow_marker_and_a_legend(ask, tmp_path):
    ask("2026-03-02")
    ask("2026-03-09", fail="stub-c")
    with Database(tmp_path / "d.db") as db:
        figure = next(figure for _, figure in plots.history_figures(db))
    (axes,) = figure.axes
    (hollow,) = [line for line in axes.lines if line.get_label() == "only 2 of 3 models"]
    assert hollow.get_markerfacecolor() == "white"
    assert list(hollow.get_ydata()) == [history(tmp_path / "d.db", LIVE).ensemble[1].mean]


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


def calibrate(path, value: float) -> None:
    with Database(path) as db:
        (row,) = [
            row
            for row in db.forecasts.all_ensembles()
            if row.question_id == "eu" and row.as_of is None
        ]
        fitted = CalibrationRecord("ensemble", "platt", {}, 30, 30, 0.2, 0.1)
        db.outcomes.save_calibration(fitted, [(row.run_id, "eu", row.mean / 100, value, False)])


def test_the_calibrated_value_is_drawn_beside_the_raw_one(ask, tmp_path):
    ask("2026-03-02")
    ask("2026-03-09", "--as-of", "2026-03-05")
    calibrate(tmp_path / "d.db", 0.42)
    found = history(tmp_path / "d.db", LIVE)
    assert found.ensemble[0].calibrated == pytest.approx(42)
    assert found.overview_row().calibrated == pytest.approx(42)
    assert history(tmp_path / "d.db", BACK_DATED).ensemble[0].calibrated is None
    with Database(tmp_path / "d.db") as db:
        figure = next(figure for _, figure in plots.history_figures(db))
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == "ensemble, calibrated"]
    assert list(line.get_ydata()) == pytest.approx([42])


def test_the_report_names_both_records_the_models_and_the_calibrated_value(
    ask, tmp_path, monkeypatch
):
    monkeypatch.setattr(config, "MAX_PLOTTED_QUESTIONS", 1)
    monkeypatch.setattr(report, "png", lambda _: b"png")
    ask("2026-03-02", fail="stub-c")
    calibrate(tmp_path / "d.db", 0.42)
    ask("2026-03-09", "--as-of", "2026-03-05")
    pages = []
    for run in (1, 2):
        with Database(tmp_path / "d.db") as db:
            report.write_report(db, tmp_path / "r.html", run)
        pages.append((tmp_path / "r.html").read_text(encoding="utf-8"))
    live, dated = pages
    for page in pages:
        assert "<h2>Latest live forecasts</h2>" in page
        assert "<h2>Latest back-dated forecasts</h2>" in page
    assert "<h3>Back-dated forecasts</h3>" not in live
    assert live.count("2 of 3 models") == 2
    assert '<td class="n">42.0 %</td>' in live
    assert "<h3>Back-dated forecasts</h3>" in dated
    assert dated.count("back-dated: as of 2026-03-05") == 2
    assert "calibrated</th>" not in dated


# --- a record that grows --------------------------------------------------------------------------


def grown(path, runs: int) -> int:
    """A record of ``runs`` runs of twelve questions and a last one of one of them; the last run's id."""
    questions = [Question(f"Will thing {n} happen?", id=f"q{n}") for n in range(12)]
    with Database(path) as db:
        for run in range(runs):
            given = {
                name: [point((7 * run + 11 * n) % 101) for n in range(12)]
                for name in ("one", "two")
            }
            add_run(db, questions, given, made=f"2026-01-{run + 1:02}T00:00:00Z")
        return add_run(
            db, questions[:1], {"one": [point(50)], "two": [point(60)]}, made="2026-02-01T00:00:00Z"
        )


def steps(path, work) -> int:
    """Steps of SQLite's machine, in hundreds."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    with Database(path) as db:
        db.connection.sql.set_progress_handler(count, 100)
        work(db)
        db.connection.sql.set_progress_handler(None, 0)
    return counted


def test_the_end_of_a_run_reads_no_more_of_a_longer_record(tmp_path, monkeypatch):
    saved: list[str] = []
    monkeypatch.setattr(plots, "save", lambda _, path: saved.append(path.name) or path)
    monkeypatch.setattr(plots, "history_figure", lambda *_, **__: None)
    cost = {}
    for runs in (3, 28):
        run = grown(tmp_path / f"{runs}.db", runs)
        cost[runs] = steps(
            tmp_path / f"{runs}.db", lambda db, run=run: plots.draw_history(db, tmp_path, run)
        )
    # The question's own history is longer; nothing of the other eleven is read but their last two pools.
    assert saved == 2 * ["history_q0.png", "latest_forecasts.png"]
    assert cost[28] < 2 * cost[3] + 100


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


def test_a_live_run_draws_no_back_dated_history(ask, tmp_path, monkeypatch):
    ask("2026-03-01", "--as-of", "2026-01-01")
    ask("2026-03-02")
    saved: list[str] = []
    monkeypatch.setattr(plots, "save", lambda _, path: saved.append(path.name) or path)
    with Database(tmp_path / "d.db") as db:
        for run in (1, 2):
            saved.clear()
            plots.draw_history(db, tmp_path, run)
            mark = ".back-dated" if run == 1 else ""
            assert saved == [
                f"{name}{mark}.png" for name in ("history_eu", "history_oil", "latest_forecasts")
            ]
