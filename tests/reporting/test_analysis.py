"""The command line of the record: what it writes, prints and refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import analysis
import config
from database import Database
from storage.records import Resolution
from tests.support.record_database import (
    calibrated_values,
    recorded_outcomes,
    small,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "CALIBRATION_SIMULATIONS", 100)
    return small(tmp_path / "d.db")


def call(path, *arguments):
    return analysis.main(
        ["--database", str(path), "--plots", str(path.parent / "plots"), *map(str, arguments)]
    )


def write(path, text):
    file = path.parent / "outcomes.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_reader_that_leaves_ends_the_printing_only(path, monkeypatch):
    file = write(path, "id,outcome,date\na,yes,2026-11-20\n")
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as broken:
        monkeypatch.setattr(sys, "stdout", broken)
        assert call(path, "--resolve", file) == 0
    with Database(path) as database:
        assert database.outcomes.latest()["a"].outcome == 1


def test_redraw(path, capsys):
    assert call(path) == 0
    names = {p.name for p in (path.parent / "plots").iterdir()}
    assert {"run2_a.svg", "run2_c.svg", "history_a.svg", "latest_forecasts.svg"} <= names
    assert len(names) == 7
    assert "7 plots" in capsys.readouterr().out
    assert call(path, "--run", 1) == 0
    assert (path.parent / "plots" / "run1_a.svg").is_file()


def test_resolve_lists_unknown_questions_and_keeps_history(path, capsys):
    file = write(
        path,
        "id,question,outcome,date,source\na,,yes,2025-06-01,S\n,will c HAPPEN?,0,2025-06-02,\nzzz,,1,2025-06-01,\n",
    )
    assert call(path, "--resolve", file) == 1
    out = capsys.readouterr().out
    assert "2 outcomes recorded, 0 known already, 1 without a question" in out
    assert "not recorded, line 4: 'zzz': no such question" in out
    assert call(path, "--resolve", file) == 1
    assert "0 outcomes recorded, 2 known already" in capsys.readouterr().out
    assert call(path, "--resolve-one", "a", "no", "--date", "2025-06-03", "--source", "T") == 0
    assert "changed: a from yes to no (the earlier record is kept)" in capsys.readouterr().out
    assert call(path, "--resolve-one", "a", "no", "--date", "2025-06-04", "--source", "T") == 0
    said = "changed: the date of a from 2025-06-03 to 2025-06-04 (the earlier record is kept)"
    assert said in capsys.readouterr().out
    with Database(path) as database:
        history = recorded_outcomes(database, "a")
        assert [(r["outcome"], r["source"]) for r in history] == [(1, "S"), (0, "T"), (0, "T")]
        assert database.outcomes.latest()["a"].outcome == 0
        assert set(database.outcomes.latest()) == {"a", "c"}


def test_an_outcome_of_an_older_database_may_have_another_form_of_date(path, capsys):
    """Dates were once stored in every form that Python reads."""
    with Database(path) as database:
        database.outcomes.add([Resolution("a", 1, "20250601")])
    assert call(path, "--resolve-one", "a", "yes", "--date", "2025-06-01") == 0
    assert "changed" not in capsys.readouterr().out
    assert call(path, "--resolve-one", "a", "yes", "--date", "2025-06-02") == 0
    assert "changed: the date of a from 2025-06-01 to 2025-06-02" in capsys.readouterr().out


def test_resolve_one_by_text_and_void(path):
    assert call(path, "--resolve-one", "Will A happen?", "void", "--date", "2025-06-03") == 0
    with Database(path) as database:
        assert database.outcomes.latest()["a"].outcome is None
    assert call(path, "--resolve-one", "Will D happen?", "yes") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--resolve-one", "a", "0.7"], "outcome is '0.7'"),
        (["--resolve-one", "a", "yes", "--date", "2999-01-01"], "future"),
        (["--resolve", "missing.csv"], "cannot be read"),
        (["--run", "9"], "there is no run 9"),
        (["--score"], "record outcomes with --resolve"),
        (["--calibrate", "platt"], "'ensemble' has no resolved live forecast that counts"),
        (["--report", "no/such/folder/r.html"], "could not be written"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(path, capsys, arguments, words):
    before = path.read_bytes()
    assert call(path, *arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("analysis.py: ")
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["d.db", "list.csv", ".", "folder", "folder/.."])
def test_a_report_takes_the_place_of_no_folder_and_of_no_other_file(
    path, monkeypatch, capsys, name
):
    """``--report database.db`` once replaced the record itself."""
    monkeypatch.chdir(path.parent)
    (path.parent / "folder").mkdir()
    (path.parent / "list.csv").write_text("question\nWill A happen?\n")
    before = path.read_bytes()
    assert call(path, "--report", name) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "web page" in captured.err or "is a folder" in captured.err
    assert path.read_bytes() == before
    assert (path.parent / "list.csv").read_text() == "question\nWill A happen?\n"


def test_a_report_takes_the_place_of_an_older_one_and_of_an_empty_file(path, capsys):
    target = path.with_name("r.html")
    target.touch()
    for _ in range(2):
        assert call(path, "--report", str(target)) == 0
        assert target.read_text().startswith("<!doctype html>")
    capsys.readouterr()


def test_a_malformed_line_writes_nothing(path, capsys):
    file = write(path, "id,outcome,date\na,1,2025-06-01\nc,maybe,2025-06-01\n")
    assert call(path, "--resolve", file) == 2
    assert f"{file}, line 3: outcome is 'maybe'" in capsys.readouterr().err
    with Database(path) as database:
        assert database.outcomes.latest() == {}


def test_missing_and_foreign_databases(tmp_path, capsys):
    assert analysis.main(["--database", str(tmp_path / "none.db")]) == 2
    assert "no such database" in capsys.readouterr().err
    (tmp_path / "text.db").write_text(
        "not a database at all, but long enough to be read as one" * 30
    )
    assert analysis.main(["--database", str(tmp_path / "text.db")]) == 2
    assert not (tmp_path / "none.db").exists()


def test_a_database_without_runs(tmp_path, capsys):
    Database(tmp_path / "empty.db").close()
    assert analysis.main(["--database", str(tmp_path / "empty.db")]) == 2
    assert "there is no run to draw" in capsys.readouterr().err


def test_plots_that_cannot_be_written(path, capsys):
    blocker = path.parent / "plots"
    blocker.write_text("a file, not a folder")
    assert call(path) == 2
    assert "the plot could not be written" in capsys.readouterr().err


def test_score_prints_the_record_and_draws_it(path, capsys, monkeypatch):
    call(path, "--resolve", write(path, "id,outcome,date\na,1,2025-06-01\nb/ü,0,2025-06-01\n"))
    assert call(path, "--score", "--by", "model") == 0
    out = capsys.readouterr().out
    assert "0.0650" in out
    assert "fewer than 30 questions" in out
    assert "no plots of live forecasts: 2 scored, 30 are needed (MIN_CLAIM_QUESTIONS)" in out
    plots = path.parent / "plots"
    assert not plots.exists()
    monkeypatch.setattr(config, "MIN_CLAIM_QUESTIONS", 2)
    assert call(path, "--score", "--no-plots") == 0
    assert not plots.exists()
    assert call(path, "--score") == 0
    assert {p.name for p in plots.iterdir()} == {"reliability.svg", "score_over_time.svg"}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--no-plots"], "--no-plots; it goes with --score"),
        (["--report", "r.html", "--by", "run"], "--by is ['run']; it goes with --score"),
    ],
)
def test_an_option_of_scores_goes_with_them(path, capsys, words, line):
    assert call(path, *words) == 2
    assert capsys.readouterr().err == f"analysis.py: {line}\n"


def test_calibration_is_refused_when_there_is_too_little(path, capsys):
    call(path, "--resolve", write(path, "id,outcome,date\na,1,2025-06-01\nb/ü,0,2025-06-01\n"))
    capsys.readouterr()
    assert call(path, "--calibrate", "beta") == 2
    assert "refused: 2 resolved questions, at least 100 are needed" in capsys.readouterr().err
    with Database(path) as database:
        assert database.outcomes.calibrations() == []


def test_calibrated_values_stand_beside_raw_ones(path, capsys, monkeypatch):
    for name, least in (("QUESTIONS", 2), ("CLUSTERS", 2), ("EACH_OUTCOME", 1)):
        monkeypatch.setattr(config, f"CALIBRATION_MIN_{name}", least)
    monkeypatch.setattr(config, "validate_config", lambda: None)
    call(path, "--resolve", write(path, "id,outcome,date\na,1,2025-06-01\nb/ü,0,2025-06-01\n"))
    with Database(path) as database:
        raw = [tuple(row) for row in database.connection.query("SELECT * FROM ensembles")]
    assert call(path, "--calibrate", "platt") == 0
    assert "cross-validated by cluster" in capsys.readouterr().out
    with Database(path) as database:
        (calibration,) = database.outcomes.calibrations()
        rows = {
            (r["run_id"], r["question_id"]): r for r in calibrated_values(database, calibration.id)
        }
        assert [tuple(row) for row in database.connection.query("SELECT * FROM ensembles")] == raw
    assert len(rows) == 6  # both runs, the open question too
    assert rows[2, "a"]["out_of_fold"] == 1
    assert rows[2, "c"]["out_of_fold"] == 0
    assert rows[2, "a"]["raw"] == pytest.approx(0.8)
    assert 0 < rows[2, "a"]["calibrated"] < 1


def test_a_wrong_setting_is_named(path, capsys, monkeypatch):
    monkeypatch.setattr(config, "MIN_INTERVAL_CLUSTERS", "many")
    assert call(path) == 2
    assert "MIN_INTERVAL_CLUSTERS is 'many'" in capsys.readouterr().err


def test_help_needs_neither_matplotlib_nor_scipy():
    code = (
        "import sys, analysis\n"
        "try: analysis.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'matplotlib', 'scipy', 'jinja2', 'torch', 'vllm'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert "--resolve-one" in done.stdout
    assert done.stdout.rstrip().endswith("[]")
