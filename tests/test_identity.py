"""One id, one question: what older databases mixed up is split, and what is asked under a known id is judged before it starts."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
from pathlib import Path

import pytest

import analysis
from database import Database
from questions import folded
from scorecard import collect

NORWAY = "Will Norway join the European Union before 2030?"
BRENT = "Will Brent close above 100 dollars before 2028?"
SPLIT = "1 (run 1)"


@pytest.fixture
def two_weeks(tmp_path) -> Path:
    """Weekly runs of a file with row numbers as ids, stored by schema 5: week 2 renamed the question of week 1."""
    path = tmp_path / "old.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            (Path(__file__).parent / "data" / "schema_5.sql").read_text(encoding="utf-8")
        )
    return path


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Will A happen?", " will  a HAPPEN"),
        ("Will the café close?", "Will the cafe\u0301 close?!"),
        ("A：B？", "A：B"),
    ],
)
def test_the_same_wording_but_for_case_space_composition_and_final_punctuation(one, other):
    assert folded(one) == folded(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Will A rise 5 %?", "Will A rise 5?"), ("Before 2030?", "Before 2031?"), ("A-B?", "A B?")],
)
def test_another_word_or_sign_is_another_wording(one, other):
    assert folded(one) != folded(other)


def test_a_renamed_id_is_split_and_each_run_shows_what_it_asked(two_weeks, caplog):
    with caplog.at_level(logging.WARNING), Database(two_weeks) as db:
        assert db.query("PRAGMA foreign_key_check") == []
        history = [
            (row["run"], row["question_id"], row["question"], row["mean"])
            for row in db.query(
                "SELECT * FROM forecast_history WHERE agent = 'ensemble' ORDER BY run, question_id"
            )
        ]
        assert history == [
            (1, SPLIT, NORWAY, 10),
            (1, "2", "Will Turkey join the European Union before 2040?", 20),
            (2, "1", BRENT, 60),
            (2, "2", "will turkey JOIN the European Union before 2040", 25),
            (3, "1", BRENT, 70),
        ]
        assert {row["id"]: row["text"] for row in db.questions()} == {
            SPLIT: NORWAY,
            "1": BRENT,
            "2": "will turkey JOIN the European Union before 2040",
        }
        (norway,) = [row for row in db.run_questions(1) if row["id"] == SPLIT]
        assert (norway["subject"], norway["close_date"], norway["extra"]) == (
            SPLIT,
            "2030-01-01",
            '{"crowd":"0.1"}',
        )
        assert json.loads(norway["asked"])["id"] == SPLIT
        # Everything that the run stored went along.
        assert [row["question_id"] for row in db.reasonings(1)] == [SPLIT, "2"]
        assert len(db.retrieval(1, SPLIT)) == 1
        assert {row["question_id"] for row in db.ablations(1)} == {SPLIT, "2"}
        assert [(r["run_id"], r["question_id"]) for r in db.calibrated_forecasts(1)] == [
            (1, SPLIT),
            (2, "1"),
            (3, "1"),
        ]
        assert [(r["run_id"], r["question_id"]) for r in db.coherence()][:2] == [(1, SPLIT), (1, "2")]
        question = db.query(
            "SELECT DISTINCT question FROM evidence_trail WHERE run = 1 AND question_id = ?", (SPLIT,)
        )
        assert [row["question"] for row in question] == [NORWAY]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        f"{two_weeks}: id '1' was asked as two questions; '{NORWAY}' (run 1) is now '1 (run 1)'; if they are the same, join"
        " them: python analysis.py --same-question 1 '1 (run 1)'"
    )
    assert two_weeks.with_name("old.db.schema-5.bak").exists()


def test_an_outcome_goes_to_the_wording_it_was_recorded_for(two_weeks):
    with Database(two_weeks) as db:
        assert {name: (row["outcome"], row["source"]) for name, row in db.resolutions().items()} == {
            SPLIT: (0, "newspaper"),
            "1": (1, "exchange"),
        }


def test_resolving_an_id_scores_only_its_own_forecasts(two_weeks, capsys):
    with contextlib.closing(sqlite3.connect(two_weeks)) as connection, connection:
        connection.execute("DELETE FROM resolutions")
    words = ["--database", str(two_weeks), "--resolve-one", "1", "yes", "--date", "2026-01-25"]
    assert analysis.main(words) == 0
    assert "1 outcomes recorded" in capsys.readouterr().out
    with Database(two_weeks) as db:
        judged = collect(db).judged
        assert sorted((j.run_id, j.question_id) for j in judged if j.forecaster == "ensemble") == [
            (2, "1"),
            (3, "1"),
        ]


def test_checks_of_a_split_question_go_along(two_weeks):
    check = {
        "id": "1~not", "text": "Will Norway stay out?", "background": "", "resolution_criteria": "", "close_date": None,
        "as_of": None, "extra": {"coherence_of": "1", "coherence_kind": "negation"},
    }  # fmt: skip
    with contextlib.closing(sqlite3.connect(two_weeks)) as connection, connection:
        row = ("1~not", check["text"], json.dumps(check["extra"]))
        connection.execute(
            "INSERT INTO questions VALUES (?, ?, '', '', NULL, ?, '2026-01-05T10:00:00Z')", row
        )
        for run, text in ((1, check["text"]), (3, "Will Brent stay below?")):
            asked = json.dumps({**check, "text": text})
            values = (run, "1~not", 9, asked)
            connection.execute(
                "INSERT INTO run_questions (run_id, question_id, position, asked) VALUES (?, ?, ?, ?)", values
            )
        connection.execute("""UPDATE coherence SET others = '{"1~not": 0.5}' WHERE question_id = '1'""")
    with Database(two_weeks) as db:
        moved = {row["id"]: json.loads(row["extra"]) for row in db.run_questions(1)}
        assert moved["1 (run 1)~not"]["coherence_of"] == SPLIT
        kept = {row["id"]: json.loads(row["extra"]) for row in db.run_questions(3)}
        assert kept["1~not"]["coherence_of"] == "1"
        others = {(row["run_id"], row["question_id"]): json.loads(row["others"]) for row in db.coherence()}
        assert others[1, SPLIT] == {"1 (run 1)~not": 0.5}
        assert others[3, "1"] == {"1~not": 0.5}
