"""The example files that the README uses, through both command lines."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import analysis
import forecaster
from tests.support.question_files import questions_in
from tests.support.stub_cli import stub_main

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
IDS = ["france-2027", "kenya-2027", "ecb-june-2027", "arctic-2027", "world-cup-2027", "starship-2027"]  # fmt: skip


def test_the_examples_are_asked_and_resolved(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    database = str(tmp_path / "run.db")
    words = ["--questions", str(EXAMPLES / "questions.csv"), "--database", database]
    assert stub_main([*words, "--no-retrieval"], today="2026-10-01") == 0
    assert "warning" not in capsys.readouterr().err
    with contextlib.closing(sqlite3.connect(database)) as connection:
        asked = connection.execute("SELECT question_id FROM run_questions ORDER BY position")
        assert [name for (name,) in asked.fetchall()] == IDS
    assert analysis.main(["--database", database, "--resolve", str(EXAMPLES / "outcomes.csv")]) == 0
    out = capsys.readouterr().out
    assert "2 outcomes recorded, 0 known already, 0 without a question" in out
    assert "1 open question skipped (no outcome yet)" in out
    assert "warning" not in out


def test_the_examples_show_commas_quotes_and_a_missing_price():
    questions = questions_in(EXAMPLES / "questions.csv")
    assert questions[4].text == (
        "Will Spain, England or Germany win the Women's World Cup of 2027 in Brazil?"
    )
    assert '"Sea Ice Index" of NSIDC' in questions[3].resolution_criteria
    assert all("2027-05-01" < str(q.close_date) < "2028-01-01" for q in questions)
    prices = [q.extra.get("market_probability") for q in questions]
    assert prices == ["0.38", "0.61", "0.27", None, "0.45", "0.52"]
