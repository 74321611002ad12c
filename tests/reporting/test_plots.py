"""Files and figures of runs and histories, and what drawing them reads."""

from __future__ import annotations

import pytest

import analysis
from database import Database
from evaluation.resolved import BACK_DATED, LIVE
from questions.question import Question
from reporting import plots
from reporting.histories import histories
from reporting.styles import PAPER
from tests.support.record_database import add_run, around, calibrate, grown


def history(path, record: str, subject: str = "eu"):
    with Database(path) as db:
        return next(
            h
            for h in histories(db, record, db.runs.latest_questions(record))
            if h.subject == subject
        )


def test_each_record_has_figures_of_its_own_name(ask, tmp_path, capsys):
    ask("2026-03-02", "--models", "stub-a")
    ask("2026-03-09", "--models", "stub-a", "--as-of", "2026-03-05")
    assert (
        analysis.main(["--database", str(tmp_path / "d.db"), "--plots", str(tmp_path / "plots")])
        == 0
    )
    assert {path.name for path in (tmp_path / "plots").iterdir() if not path.name.startswith("run")} == {
        "history_eu.svg", "history_oil.svg", "latest_forecasts.svg",
        "history_eu.back-dated.svg", "history_oil.back-dated.svg", "latest_forecasts.back-dated.svg",
    }  # fmt: skip
    with Database(tmp_path / "d.db") as db:
        for record, start in (
            (LIVE, "probability of yes: 1 live forecast, "),
            (BACK_DATED, "probability of yes: 1 back-dated forecast, "),
        ):
            figures = [figure for _, figure in plots.history_figures(db, record)]
            assert all(any(text.get_text().startswith(start) for text in f.texts) for f in figures)


def test_a_pool_of_fewer_models_has_a_hollow_marker_and_a_legend(ask, tmp_path):
    ask("2026-03-02")
    ask("2026-03-09", fail="stub-c")
    with Database(tmp_path / "d.db") as db:
        figure = next(figure for _, figure in plots.history_figures(db))
    (axes,) = figure.axes
    (hollow,) = [line for line in axes.lines if line.get_label() == "only 2 of 3 models"]
    assert hollow.get_markerfacecolor() == PAPER
    assert list(hollow.get_ydata()) == [history(tmp_path / "d.db", LIVE).ensemble[1].mean]


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


def test_agents_and_pool_of_one_run_stand_at_one_moment(tmp_path):
    with Database(tmp_path / "one.db") as database:
        add_run(
            database, [Question("Will A happen?", id="a")], {"m": [around(30)], "n": [around(60)]}
        )
        with database.connection.atomic() as connection:
            connection.execute(
                "UPDATE forecasts SET created_at = '2026-11-24T13:51:00Z' WHERE agent = 'm'"
            )
            connection.execute(
                "UPDATE forecasts SET created_at = '2026-11-24T14:51:00Z' WHERE agent = 'n'"
            )
        ((_, figure),) = plots.history_figures(database)
    assert any(
        text.get_text().startswith("probability of yes: 1 live forecast,") for text in figure.texts
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
    assert saved == 2 * ["history_q0.svg", "latest_forecasts.svg"]
    assert cost[28] < 2 * cost[3] + 100


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
                f"{name}{mark}.svg" for name in ("history_eu", "history_oil", "latest_forecasts")
            ]
