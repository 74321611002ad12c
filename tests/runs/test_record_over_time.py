"""What earlier runs, outcomes and calibrations left in the database, met by later runs on the command line."""

from __future__ import annotations

import sqlite3

import pytest

import analysis
import forecaster
from database import Database
from evaluation.resolved import BACK_DATED, LIVE
from reporting.histories import histories
from reporting.overview_plot import row_label
from storage.connection import Connection
from storage.points import PointStore
from storage.records import CalibrationRecord
from tests.support.stub_cli import StubAgent, stub_main

ASKED = "id,question\neu,Will a country join the EU?\noil,Will oil rise?\n"
ENDED = (
    "id,question,as_of,outcome,resolution_date\neu,Will a country join the EU?,2026-05-01,{},{}\n"
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder that the runs write to, without plots."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    (tmp_path / "q.csv").write_text(ASKED)
    return tmp_path


def ask(today: str, *arguments: str, **settings) -> int:
    words = arguments if "--backtest" in arguments else ("--questions", "q.csv", *arguments)
    return stub_main([*words, "--database", "d.db", "--no-retrieval"], today=today, **settings)


def analyse(*arguments: str) -> int:
    return analysis.main(["--database", "d.db", "--plots", "plots", *arguments])


def rows(sql: str):
    with sqlite3.connect("d.db") as connection:
        return connection.execute(sql).fetchall()


def test_the_latest_forecasts_are_those_of_one_run_when_evidence_had_more_parts_before(place):
    documents = place / "documents"
    documents.mkdir()
    for name in ("north", "south", "east", "west"):
        said = (
            f"In the {name}ern country oil of the {name} may rise, and join the EU {name} of it. "
        )
        (documents / f"{name}.txt").write_text(said * 30)
    words = ["--questions", "q.csv", "--database", "d.db", "--documents", str(documents)]
    assert stub_main(words, today="2026-05-11", EVIDENCE_CHUNKS=2, CONTEXT_TOKENS=600) == 0
    assert rows("SELECT max(chunk) FROM forecasts") == [(1,)]
    assert ask("2026-05-18") == 0
    latest = "SELECT run, question_id, agent, chunk FROM latest_forecasts"
    assert rows(f"SELECT DISTINCT run FROM ({latest})") == [(2,)]
    assert rows(f"SELECT count(*) FROM ({latest})") == [
        (8,)
    ]  # two questions, three models and the pool


def test_the_mark_of_a_younger_reference_is_not_cut(place, capsys):
    text = ENDED.format("yes", "2026-06-01").splitlines()
    given = ("superforecaster_median,forecast_due_date", "0.6,2026-05-20")
    (place / "b.csv").write_text(
        "\n".join(f"{row},{more}" for row, more in zip(text, given, strict=True))
    )
    assert ask("2026-06-11", "--backtest", "b.csv") == 0
    assert "superforecaster median (later than the forecast)  " in capsys.readouterr().out


def test_a_long_question_keeps_its_day_and_a_voided_one_says_so(place):
    long = "Will the committee that was set up by the assembly of the member states " * 3 + "meet?"
    (place / "q.csv").write_text(f"id,question\neu,{long}\noil,Will oil rise?\n")
    assert ask("2026-05-18", "--as-of", "2026-05-11") == 0
    assert ask("2026-05-18") == 0
    assert analyse("--resolve-one", "oil", "void", "--date", "2026-06-02") == 0
    labels = {}
    with Database("d.db") as database:
        for record in (LIVE, BACK_DATED):
            found = histories(database, record, database.runs.latest_questions(record))
            labels |= {(h.subject, record): row_label(h.overview_row()) for h in found}
    assert labels["oil", LIVE] == "Will oil rise? (voided)"
    assert labels["oil", BACK_DATED] == "Will oil rise? (as of 2026-05-11) (voided)"
    assert labels["eu", LIVE].endswith(" …")
    assert labels["eu", BACK_DATED].endswith(" … (as of 2026-05-11)")
    assert labels["eu", BACK_DATED].count("\n") == 1


def test_a_calibrated_run_reads_its_own_forecasts_only(place, monkeypatch):
    assert ask("2026-05-04") == 0
    assert ask("2026-05-11") == 0
    with Database("d.db") as database:
        for name in ("ensemble", "stub-a"):
            record = CalibrationRecord(name, "platt", {"weights": [0.5, 0.1]}, 100, 50, 0.2, 0.2)
            database.outcomes.save_calibration(record, [])
    read, of = [], PointStore.read

    def noted(store, asked=None, **which):
        found = of(store, asked, **which)
        read.extend(row.run_id for row in found)
        return found

    monkeypatch.setattr(PointStore, "read", noted)
    assert ask("2026-05-18") == 0
    assert set(read) == {3}
    assert rows("SELECT run_id, count(*) FROM calibrated_forecasts GROUP BY run_id") == [(3, 4)]


def test_outcomes_and_scores_of_a_backtest_read_the_forecasts_of_their_questions_only(
    place, monkeypatch, capsys
):
    assert ask("2026-05-11") == 0
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    (place / "b.csv").write_text(ENDED.format("yes", "2026-06-01"))
    query, read = Connection.query, []

    def noted(database, sql, parameters=()):
        found = query(database, sql, parameters)
        names = found[0].keys() if found else ()
        if {"probabilities", "forecaster"} & {*names} and "question_id" in names:
            read.extend((row["run_id"], row["question_id"]) for row in found)
        return found

    monkeypatch.setattr(Connection, "query", noted)
    assert ask("2026-06-11", "--backtest", "b.csv") == 0
    assert set(read) == {(1, "eu"), (2, "eu")}
    assert "4 forecasts of 1 resolved question count" in capsys.readouterr().out
    read.clear()
    assert analyse("--resolve-one", "oil", "no", "--date", "2026-05-11") == 0
    assert read == []
    assert (
        "'oil': the outcome was known before the first forecast was made" in capsys.readouterr().out
    )


def test_an_interrupted_run_shows_calibrated_values_too(place, monkeypatch, capsys):
    with Database("d.db") as database:
        record = CalibrationRecord("ensemble", "platt", {"weights": [0.5, 0.1]}, 100, 50, 0.2, 0.2)
        database.outcomes.save_calibration(record, [])
    answer = StubAgent.next_token_logprobs

    def interrupted(agent, requests):
        if agent.name == "stub-b":
            raise KeyboardInterrupt
        return answer(agent, requests)

    with monkeypatch.context() as patch:
        patch.setattr(StubAgent, "next_token_logprobs", interrupted)
        assert ask("2026-05-11") == 130
    shown = capsys.readouterr().out
    assert "calibrated" in shown
    assert "Calibrated: by calibration 1 (platt), fitted on 100 resolved live forecasts." in shown
    raw = "SELECT raw FROM calibrated_forecasts ORDER BY question_id"
    one = [value for (value,) in rows(raw)]
    assert len(one) == 2
    # Resumed, the pool is of three models, and so is its calibrated value.
    assert stub_main(["--resume", "1", "--database", "d.db"], today="2026-05-11") == 0
    pools = [value for (value,) in rows("SELECT mean / 100 FROM ensembles ORDER BY question_id")]
    assert [value for (value,) in rows(raw)] == pytest.approx(pools)
    assert one != pytest.approx(pools)
