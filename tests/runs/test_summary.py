"""The closing table: what each run asked, live and back-dated apart, the models that took part, and calibrated values."""

from __future__ import annotations

from unicodedata import combining, east_asian_width, normalize

import pytest

import analysis
import config
import forecaster
from database import Database
from evaluation.curves import Curve
from questions.question import Question
from runs.summary import MANY, summary
from storage.records import CalibrationRecord
from tests.support.record_database import add_run, point
from tests.support.stub_cli import stub_main

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
    assert ask(LIVE, "--as-of", "2026-02-01")[:3] == [
        "",
        "Back-dated forecasts, as of 2026-02-01",
        HEAD,
    ]


def test_a_mixed_run_has_a_table_for_each_record(ask):
    rows = "a,Will A happen?,2026-02-01\nb,Will B happen?,\nc,Will C happen?,2026-02-15\n"
    lines = ask(rows)
    shown = [line[:40].strip() for line in lines[:12]]
    assert shown == [
        "", "Live forecasts", "question", "-" * 40, "Will B happen?",
        "", "Back-dated forecasts, as of 2026-02-01 t", "question", "-" * 40, "Will A happen? (as of 2026-02-01)", "Will C happen? (as of 2026-02-15)", "",
    ]  # fmt: skip
    assert lines[6] == "Back-dated forecasts, as of 2026-02-01 to 2026-02-15"


def test_each_run_shows_the_wording_it_asked(ask, tmp_path):
    ask("a,Will A happen?,\n")
    ask("a,Will A occur?,\n", "--reworded", "a")
    with Database(tmp_path / "d.db") as db:
        assert [
            ("Will A happen?" in summary(db, run), "Will A occur?" in summary(db, run))
            for run in (1, 2)
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
        db.outcomes.save_calibration(fitted, [(run, "a", 0.3, 0.25, False)])
        lines = summary(db, run).splitlines()
    assert lines[1].split()[1:4] == ["chance", "calibrated", "80"]
    assert [line.split()[3:8] for line in lines[3:5]] == [
        ["30.0", "%", "25.0", "%", "30"],
        ["60.0", "%", "none", "60", "to"],
    ]
    assert (
        lines[-1] == "Calibrated: by calibration 1 (platt), fitted on 40 resolved live forecasts."
    )


def test_a_calibration_reaches_later_runs_of_its_record(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    for name, least in (("QUESTIONS", 20), ("CLUSTERS", 20), ("EACH_OUTCOME", 5)):
        monkeypatch.setattr(config, f"CALIBRATION_MIN_{name}", least)
    path = tmp_path / "d.db"
    (tmp_path / "q.csv").write_text(
        "id,question\n" + "".join(f"q{n},Will event {n} happen?\n" for n in range(40))
    )
    words = [
        "--questions",
        str(tmp_path / "q.csv"),
        "--database",
        str(path),
        "--no-retrieval",
        "--models",
        "stub-a",
    ]
    assert stub_main(words, today="2026-03-02") == 0
    with Database(path) as db:
        ends = {row.question_id: int(row.mean > 40) for row in db.forecasts.ensembles(1)}
    ends["q0"], ends["q1"] = 1 - ends["q0"], 1 - ends["q1"]
    outcomes = "".join(f"{name},{end},2026-03-20\n" for name, end in list(ends.items())[:39])
    (tmp_path / "r.csv").write_text(f"id,outcome,date\n{outcomes}")
    assert analysis.main(["--database", str(path), "--resolve", str(tmp_path / "r.csv")]) == 0
    assert analysis.main(["--database", str(path), "--calibrate", "platt"]) == 0
    capsys.readouterr()
    assert stub_main(words, today="2026-04-01") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "calibrated" in lines[1]
    with Database(path) as db:
        (row,) = db.forecasts.ensembles(2)
        (calibration,) = db.outcomes.calibrations()
        expected = Curve("platt", calibration.parameters)([row.mean / 100])
        assert row.calibrated == pytest.approx(100 * float(expected[0]))
        assert f"{row.mean:.1f} %  {row.calibrated:>8.1f} %" in lines[3]
        (shown,) = db.connection.query(
            "SELECT calibrated FROM latest_forecasts WHERE run = 2 AND agent = 'ensemble'"
        )
        assert shown["calibrated"] == row.calibrated
    # A back-dated run is another record.
    assert stub_main([*words, "--as-of", "2026-02-01"], today="2026-04-02") == 0
    assert "calibrated" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "name",
    ["中国" * 40, "하늘 " * 20, "\U0001f600" * 50, "W" * 300, "e\u0301" * 90, "q\u0323\u0307" * 70],
)
@pytest.mark.parametrize("columns", ["40", "80", "101"])
def test_a_name_of_any_width_leaves_the_columns_in_line(ask, monkeypatch, name, columns):
    monkeypatch.setenv("COLUMNS", columns)
    _, head, rule, *rows = ask(f"a,Will {name} come?,\n")
    rows = rows[: rows.index("")]
    taken = [
        sum((not combining(c)) * (1 + (east_asian_width(c) in "WF")) for c in row) for row in rows
    ]
    assert taken[0] == len(head) == len(rule)
    assert max(taken[1:]) < head.index("chance")
    assert "".join(rows).replace(" ", "").count(normalize("NFC", name).strip()[0]) >= 20


def test_many_questions_take_a_line_each_with_their_id(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    count = MANY + 1
    with Database(tmp_path / "d.db") as db:
        questions = [
            Question(f"Will {'選挙' * 20} number {n} happen?", id=f"question-{n}-of-many")
            for n in range(count)
        ]
        run = add_run(db, questions, {"m": [point(30)] * count})
        lines = summary(db, run).splitlines()
        few = summary(db, add_run(db, questions[:2], {"m": [point(30)] * 2})).splitlines()
    rows = lines[3 : 3 + count]
    assert [row.split()[0] for row in rows[:2]] == ["question-0-of…", "question-1-of…"]
    assert all("30.0 %" in row for row in rows)
    assert few[4].strip()
    assert "30.0 %" not in few[4]  # two questions are written out
