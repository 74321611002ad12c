"""The stand-in command line: weekly runs, outcomes, scores, the page, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import analysis
import config
import forecaster
from tests.support.stub_cli import log_odds, stub_main
from tests.support.stub_run import rows

FILE = """\
id,question,negation
rate,Will the central bank raise its rate before 2027?,Will the central bank leave its rate alone until 2027?
vote,Will the parliament pass the budget before 2027?,
pact,Will both countries sign the fishing treaty before 2027?,
"""
HEAVY = ("torch", "vllm", "transformers", "sklearn", "scipy")


def test_a_clock_that_was_set_back_makes_no_forecast_older_than_its_run(place, monkeypatch):
    monkeypatch.setenv("STUB_FAIL", "stub-b")
    asked = ["--questions", "q.csv", "--no-retrieval", "--models", "stub-a", "stub-b"]
    assert stub_main(asked, today="2026-09-08") == 1
    monkeypatch.delenv("STUB_FAIL")
    assert stub_main(["--resume"], today="2025-09-08") == 0
    for table in ("forecasts", "ensembles"):
        found = rows(place / "stub.db", f"SELECT DISTINCT created_at FROM {table}")
        assert found == [("2026-09-08T12:00:00Z",)]
    assert rows(place / "stub.db", "SELECT finished_at FROM runs") == [("2026-09-08T12:00:00Z",)]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with a question file; no plots are drawn."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    (tmp_path / "q.csv").write_text(FILE, encoding="utf-8")
    return tmp_path


def means(place: Path) -> dict[tuple[int, str, str], float]:
    found = rows(place / "stub.db", "SELECT run_id, agent, question_id, mean FROM forecasts")
    return {(run, agent, question): mean for run, agent, question, mean in found}


def test_two_weeks_are_run_resolved_scored_and_reported(place, monkeypatch, capsys):
    for day in ("2026-09-01", "2026-09-08"):
        assert stub_main(["--questions", "q.csv", "--no-retrieval"], today=day) == 0
    assert rows(place / "stub.db", "SELECT id, status, substr(started_at, 1, 10) FROM runs") == [
        (1, "finished", "2026-09-01"),
        (2, "finished", "2026-09-08"),
    ]
    found = means(place)
    assert len(found) == 2 * 3 * 3
    moves = [abs(found[2, agent, q] - found[1, agent, q]) for run, agent, q in found if run == 1]
    assert 0 < max(moves) < 20
    (place / "o.csv").write_text("id,outcome,date\nrate,yes,2026-10-01\nvote,no,2026-10-02\n")
    monkeypatch.setattr(config, "CALIBRATION_SIMULATIONS", 100)
    monkeypatch.setattr("reporting.plots.draw_record", lambda *_: [])
    assert analysis.main(["--database", "stub.db", "--resolve", "o.csv"]) == 0
    assert analysis.main(["--database", "stub.db", "--score", "--by", "model"]) == 0
    assert "stub-b" in capsys.readouterr().out
    assert analysis.main(["--database", "stub.db", "--report", "page.html"]) == 0
    assert "fishing treaty" in (place / "page.html").read_text(encoding="utf-8")


def test_the_same_seed_gives_the_same_numbers_and_another_one_others(place):
    for database, seed in (("stub.db", 1), ("again.db", 1), ("other.db", 2)):
        arguments = ["--questions", "q.csv", "--no-retrieval", "--database", database]
        assert stub_main(arguments, today="2026-09-01", SEED=seed) == 0
    sql = "SELECT probabilities FROM forecasts ORDER BY question_id, agent"
    first, again, other = (rows(place / name, sql) for name in ("stub.db", "again.db", "other.db"))
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_a_failing_and_a_weak_model_are_told_by_the_environment(place, monkeypatch, capsys):
    monkeypatch.setenv("STUB_FAIL", "stub-b")
    monkeypatch.setenv("STUB_WEAK", "stub-c")
    arguments = ["--question", "Will A happen?", "--no-retrieval"]
    assert stub_main(arguments) == 1
    assert "Failed: stub-b, 1 forecasts: AgentError: stub-b did not load" in capsys.readouterr().out
    found = dict(rows(place / "stub.db", "SELECT agent, captured_mass FROM forecasts"))
    assert found["stub-b"] is None
    assert found["stub-a"] > 0.8
    assert found["stub-c"] < 0.1
    monkeypatch.delenv("STUB_FAIL")
    assert stub_main(["--resume"]) == 0
    assert stub_main([*arguments, "--sample", "3"]) == 2


def test_evidence_reasoning_and_negations_move_the_numbers_plausibly(place):
    folder = place / "papers"
    folder.mkdir()
    (folder / "bank.txt").write_text("The central bank may raise its rate, said its president.")
    arguments = [
        "--questions",
        "q.csv",
        "--documents",
        "papers",
        "--logic",
        "--ablate",
        "--coherence",
    ]
    assert stub_main(arguments, LOGIC_SAMPLES=2) == 0
    sql = "SELECT a.condition, f.mean - a.mean FROM ablations a"
    sql += " JOIN forecasts f ON f.id = a.forecast_id WHERE f.question_id = 'rate'"
    shifts = rows(place / "stub.db", sql)
    assert {name for name, _ in shifts} == {"no_reasoning", "no_evidence", "neither"}
    assert all(0 < abs(shift) < 30 for _, shift in shifts)
    gaps = rows(place / "stub.db", "SELECT gap FROM coherence WHERE forecaster = 'ensemble'")
    assert len(gaps) == 1
    assert abs(gaps[0][0]) < 0.15


def test_a_replay_finds_no_difference(place, capsys):
    assert stub_main(["--questions", "q.csv", "--no-retrieval"]) == 0
    assert stub_main(["--replay", "1"]) == 0
    assert "the largest total variation is 0." in capsys.readouterr().out


def test_other_models_can_be_named(place):
    assert stub_main(["--question", "Will A happen?", "--models", "stub-b", "owner/other"]) == 0
    assert rows(place / "stub.db", "SELECT agent FROM forecasts ORDER BY id") == [
        ("stub-b",),
        ("other",),
    ]


def test_a_question_moves_little_from_day_to_day_and_much_in_a_year():
    texts = [f"Will {n} happen?" for n in range(40)]

    def moved(day: str) -> float:
        return sum(abs(log_odds(text, day) - log_odds(text, "2026-01-01")) for text in texts) / len(
            texts
        )

    assert 0 < moved("2026-01-02") < 0.1 < moved("2026-12-31") < 2


def test_it_runs_as_a_program_without_anything_heavy(place):
    root = Path(__file__).parents[2]
    code = "import sys, runpy\nsys.argv += ['--question', 'Will A happen?', '--no-retrieval']\n"
    code += "try: runpy.run_module('tests.support.stub_cli', run_name='__main__')\n"
    code += f"except SystemExit as end: print(end.code, {{*{HEAVY}}} & {{*sys.modules}})"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, env=environment, capture_output=True, text=True
    )
    assert done.stdout.endswith("0 set()\n"), done.stderr


def test_a_run_may_draw_nothing(place, monkeypatch):
    drawn = []
    monkeypatch.setattr(forecaster, "draw", lambda plots, *_: drawn.append(plots) or True)
    words = ["--questions", "q.csv", "--no-retrieval"]
    assert stub_main([*words, "--no-plots"], today="2026-09-01") == 0
    assert drawn == []
    assert stub_main(["--resume", "1"], today="2026-09-01") == 0
    assert drawn == [Path("stub-plots")]
