"""The closing table: what each run asked, live and back-dated apart, the models that took part, and calibrated values."""

from __future__ import annotations

import pytest

import forecaster
from closing_table import summary
from database import CalibrationRecord, Database
from questions import Question
from tests.record_database import add_run, point
from tests.stub_cli import stub_main

HEAD = f"{'question':<52}   chance  80 % range  agree  captured  articles"


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    """Run the command line on a file of two questions without evidence; returns the lines of the table."""
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)

    def run(rows: str, *arguments: str, today: str = "2026-03-02") -> list[str]:
        (tmp_path / "q.csv").write_text(f"id,question,as_of\n{rows}", encoding="utf-8")
        words = [
            "--questions",
            str(tmp_path / "q.csv"),
            "--database",
            str(tmp_path / "d.db"),
            "--no-retrieval",
        ]
        assert stub_main([*words, *arguments], today=today) in (0, 1)
        return capsys.readouterr().out.splitlines()

    return run


LIVE = "a,Will A happen?,\nb,Will B happen?,\n"


def test_a_live_run_needs_no_name(ask):
    lines = ask(LIVE)
    assert lines[:2] == ["", HEAD]
    assert [line[:15] for line in lines[3:5]] == ["Will A happen? ", "Will B happen? "]
    assert "dated" not in "\n".join(lines)


def test_a_back_dated_run_says_so_in_its_heading(ask):
    assert ask(LIVE, "--as-of", "2026-02-01")[:3] == ["", "Back-dated forecasts, as of 2026-02-01", HEAD]


def test_a_mixed_run_has_a_table_for_each_record(ask):
    rows = "a,Will A happen?,2026-02-01\nb,Will B happen?,\nc,Will C happen?,2026-02-15\n"
    lines = ask(rows)
    shown = [line[:40].strip() for line in lines[:12]]
    assert shown == [
        "", "Live forecasts", "question", "-" * 40, "Will B happen?",
        "", "Back-dated forecasts, as of 2026-02-01 t", "question", "-" * 40, "Will A happen?", "Will C happen?", "",
    ]  # fmt: skip
    assert lines[6] == "Back-dated forecasts, as of 2026-02-01 to 2026-02-15"


def test_each_run_shows_the_wording_it_asked(ask, tmp_path):
    ask("a,Will A happen?,\n")
    ask("a,Will A occur?,\n", "--reworded", "a")
    with Database(tmp_path / "d.db") as db:
        assert [
            ("Will A happen?" in summary(db, run), "Will A occur?" in summary(db, run)) for run in (1, 2)
        ] == [
            (True, False),
            (False, True),
        ]


def test_the_calibrated_value_stands_beside_the_raw_one(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with Database(tmp_path / "d.db") as db:
        questions = [Question("Will A happen?", id="a"), Question("Will B happen?", id="b")]
        run = add_run(db, questions, {"m": [point(30), point(60)]})
        fitted = CalibrationRecord("ensemble", "platt", {}, 40, 30, 0.2, 0.1)
        db.save_calibration(fitted, [(run, "a", 0.3, 0.25, False)])
        lines = summary(db, run).splitlines()
    assert lines[1].split()[1:4] == ["chance", "calibrated", "80"]
    assert [line.split()[3:8] for line in lines[3:5]] == [
        ["30.0", "%", "25.0", "%", "30"],
        ["60.0", "%", "none", "60", "to"],
    ]
    assert lines[-1] == "Calibrated: by calibration 1 (platt), fitted on 40 resolved live forecasts."
