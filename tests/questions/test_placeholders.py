"""Placeholders in questions are filled from the row, or the file is refused; they are never asked literally."""

from __future__ import annotations

import contextlib
import json
import sqlite3

import pytest

import forecaster
from questions.placeholders import filled_text, placeholders
from tests.support.stub_cli import stub_main


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    """Run the command line; returns the exit code, the lines on standard error and what was asked."""
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)

    def run(*arguments):
        database = tmp_path / "run.db"
        code = stub_main(
            [*arguments, "--database", str(database), "--models", "stub-a", "--no-retrieval"]
        )
        err = capsys.readouterr().err
        if code == 2:
            assert not database.exists()
            return code, err, []
        with contextlib.closing(sqlite3.connect(database)) as connection:
            rows = connection.execute(
                "SELECT asked FROM run_questions ORDER BY position"
            ).fetchall()
        return code, err, [json.loads(row[0]) for row in rows]

    return run


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.csv", "id,question\nq1,Will {country} win?\n", "line 2: the question holds {country}, and the row has no country"),
        ("q.csv", "id,question,country\nq1,Will {country} win?,\n", "line 2: the question holds {country}"),
        ("q.txt", "Will A?\nWill { country } win?\n", "line 2: the question holds {country}"),
        ("q.jsonl", '{"question": "Will {{team}} win?"}\n', "line 1: the question holds {team}"),
        ("q.csv", "question\nWill it cost {price:.0f} dollars?\n", "line 2: the question holds {price}"),
        ("q.csv", "question,outcome\nWill it end {outcome}?,yes\n", "line 2: the question holds {outcome}"),
        ("q.csv", "question\nWill {land name} win?\n", "line 2: the question holds {land name}"),
    ],
)  # fmt: skip
def test_a_placeholder_that_nothing_fills_is_refused(ask, tmp_path, name, content, message):
    (tmp_path / name).write_text(content, encoding="utf-8")
    code, err, _ = ask("--questions", str(tmp_path / name))
    assert (code, len(err.splitlines())) == (2, 1)
    assert f"{name}, {message}" in err


def test_a_question_on_the_command_line_has_nothing_to_fill_it(ask):
    code, err, _ = ask("--question", "Will A?", "--question", "Will {country} win?")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "--question: question 2: the question holds {country}" in err


def test_placeholders_are_filled_from_the_row_in_every_text(ask, tmp_path):
    row = {
        "id": "q1",
        "question": "Will {Country Name} win {{cups}} cups by {close_date}?",
        "Country_Name": "Norway",
        "cups": 2,
        "close_date": "2099-01-01",
        "resolution_criteria": "{country name} wins, as in {the source}.",
        "negation": "Will {country name} fail?",
    }
    (tmp_path / "q.json").write_text(json.dumps([row]), encoding="utf-8")
    code, _, asked = ask("--questions", str(tmp_path / "q.json"), "--coherence")
    assert code == 0
    assert [q["text"] for q in asked] == [
        "Will Norway win 2 cups by 2099-01-01?",
        "Will Norway fail?",
    ]
    assert asked[0]["resolution_criteria"] == "Norway wins, as in {the source}."


def test_other_braces_stay():
    text = r"Will $\text{CO}_{max}$ of {1, 2} and 10^{n} exceed {}?"
    assert placeholders(text) == []
    assert filled_text(text, {}, "question") == text
