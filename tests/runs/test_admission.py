"""One id, one question: what older databases mixed up is split, and what is asked under a known id is judged before it starts."""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import sqlite3
from pathlib import Path

import pytest

import analysis
import forecaster
from database import Database
from evaluation.resolved import collect
from questions.question import Question, folded, text_id
from runs.resume import stored_questions
from storage.repairs import _TABLES as STORED_BY_RUN
from storage.repairs import split_unrelated
from tests.support.record_database import calibrated_values, history
from tests.support.stub_cli import stub_main

NORWAY = "Will Norway join the European Union before 2030?"
BRENT = "Will Brent close above 100 dollars before 2028?"
SPLIT = "1 (run 1)"


@pytest.fixture
def two_weeks(tmp_path) -> Path:
    """Weekly runs of a file with row numbers as ids, stored by schema 5: week 2 renamed the question of week 1."""
    path = tmp_path / "old.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            (Path(__file__).parents[1] / "data" / "schema_5.sql").read_text(encoding="utf-8")
        )
    return path


def test_an_older_database_forgets_the_user_and_password_of_a_wiki(two_weeks):
    url = "http://bot:a@pass@wiki.local/w/index.php?title=@Norway&oldid=1"
    with contextlib.closing(sqlite3.connect(two_weeks)) as connection, connection:
        connection.execute(
            "INSERT INTO articles (source, title, revision_id, timestamp, url, text, text_sha256, fetched_at, current_until)"
            " VALUES ('wiki', 'Norway', '1', '2026-01-01T00:00:00Z', ?, 't', 'h', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z')",
            (url,),
        )
        connection.execute(
            "UPDATE run_questions SET context_error = 'no answer from http://bot:pass@wiki.local/w/api.php (503)'"
        )
        connection.execute(
            "UPDATE runs SET settings = json_set(settings, '$.x', 'https://***@wiki.local/w')"
        )
    Database(two_weeks).close()
    with contextlib.closing(sqlite3.connect(two_weeks)) as connection:
        assert connection.execute("SELECT url FROM articles WHERE title = 'Norway'").fetchall() == [
            ("http://wiki.local/w/index.php?title=@Norway&oldid=1",)
        ]
        assert set(connection.execute("SELECT context_error FROM run_questions")) == {
            ("no answer from http://wiki.local/w/api.php (503)",)
        }
        assert set(connection.execute("SELECT json_extract(settings, '$.x') FROM runs")) == {
            ("https://wiki.local/w",)
        }


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
        assert db.connection.query("PRAGMA foreign_key_check") == []
        history = [
            (row["run"], row["question_id"], row["question"], row["mean"])
            for row in db.connection.query(
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
        assert {row.id: row.text for row in db.runs.known_questions()} == {
            SPLIT: NORWAY,
            "1": BRENT,
            "2": "will turkey JOIN the European Union before 2040",
        }
        (norway,) = [row for row in db.runs.questions(1) if row.id == SPLIT]
        assert (norway.subject, norway.close_date, norway.extra) == (
            SPLIT,
            "2030-01-01",
            {"crowd": "0.1"},
        )
        assert norway.question.id == SPLIT
        # Everything that the run stored went along.
        assert [row.question_id for row in db.forecasts.reasonings(1)] == [SPLIT, "2"]
        assert len(db.articles.retrieval(1, SPLIT)) == 1
        assert {row.question_id for row in db.forecasts.ablations(1)} == {SPLIT, "2"}
        assert [(r["run_id"], r["question_id"]) for r in calibrated_values(db, 1)] == [
            (1, SPLIT),
            (2, "1"),
            (3, "1"),
        ]
        assert [(r.run_id, r.question_id) for r in db.outcomes.coherence(1)] == [
            (1, SPLIT),
            (1, "2"),
        ]
        question = db.connection.query(
            "SELECT DISTINCT question FROM evidence_trail WHERE run = 1 AND question_id = ?",
            (SPLIT,),
        )
        assert [row["question"] for row in question] == [NORWAY]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        f"{two_weeks}: id '1' was asked as two questions; '{NORWAY}' (run 1) is now '1 (run 1)'; if they are the same, join"
        f" them: python analysis.py --database {two_weeks} --same-question 1 '1 (run 1)'"
    )
    assert two_weeks.with_name("old.db.schema-5.bak").exists()


def test_an_outcome_goes_to_the_wording_it_was_recorded_for(two_weeks):
    with Database(two_weeks) as db:
        assert {name: (row.outcome, row.source) for name, row in db.outcomes.latest().items()} == {
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


def test_a_run_of_a_split_question_is_resumed_under_its_new_id(ask, tmp_path, monkeypatch, caplog):
    ask([{"id": "1", "question": NORWAY}])
    with contextlib.closing(sqlite3.connect(tmp_path / "run.db")) as connection, connection:
        connection.execute("UPDATE runs SET status = 'partial'")
        # Of the schema with which ids are split; later tables are not there yet.
        for table in ("forecasts", "outside_views", "final_numbers"):
            connection.execute(f"DELETE FROM {table}")
    with Database(tmp_path / "run.db") as db:
        again = [Question(BRENT, id="1")]
        db.runs.start(settings={}, versions={}, seed=1, as_of=None, questions=again)
        db.runs.finish(2, "finished")
        with db.connection.atomic() as connection:
            assert len(split_unrelated(connection, "run.db")) == 1
    database = ["--database", str(tmp_path / "run.db")]
    assert stub_main([*database, "--resume", "1"], today="2026-03-03") == 0
    assert asked(tmp_path) == [(1, NORWAY)]
    assert stub_main([*database, "--replay", "1"], today="2026-03-04") == 0
    with Database(tmp_path / "run.db") as db:
        assert {row.id: row.text for row in db.runs.known_questions()} == {
            SPLIT: NORWAY,
            "1": BRENT,
        }
        assert [row.question_id for row in db.forecasts.of_run(3)] == [SPLIT]


DECOMPOSED = "cafe\u0301"


def test_ids_of_an_older_database_are_composed(two_weeks):
    """Files are read in composed form: an id stored in another form would begin a second history."""
    with contextlib.closing(sqlite3.connect(two_weeks)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        for table in (*STORED_BY_RUN, "resolutions"):
            connection.execute(
                f"UPDATE {table} SET question_id = ? WHERE question_id = '2'", (DECOMPOSED,)
            )
        connection.execute("UPDATE questions SET id = ? WHERE id = '2'", (DECOMPOSED,))
        connection.execute(
            "UPDATE run_questions SET asked = json_set(asked, '$.id', ?) WHERE question_id = ?",
            (DECOMPOSED, DECOMPOSED),
        )
        connection.execute(
            "INSERT INTO resolutions (question_id, outcome, resolved_at, source, recorded_at)"
            " VALUES (?, 1, '2026-01-20', '', '2026-01-21T00:00:00Z')",
            (DECOMPOSED,),
        )
    with Database(two_weeks) as db:
        assert db.connection.query("PRAGMA foreign_key_check") == []
        assert {row.id for row in db.runs.known_questions()} == {"1", SPLIT, "café"}
        assert {row["run"] for row in history(db, "café")} == {1, 2}
        assert db.outcomes.latest()["café"].outcome == 1
        assert [q.id for q in stored_questions(db, 2)] == ["1", "café"]


def test_a_run_whose_question_has_two_ids_is_refused(ask, tmp_path, capsys):
    ask([{"id": "1", "question": NORWAY}])
    with contextlib.closing(sqlite3.connect(tmp_path / "run.db")) as connection, connection:
        connection.execute("UPDATE run_questions SET asked = json_set(asked, '$.id', '2')")
    assert (
        stub_main(["--database", str(tmp_path / "run.db"), "--resume", "1"], today="2026-03-03")
        == 2
    )
    assert (
        "run 1: its stored questions are damaged ('1' is stored as '2')" in capsys.readouterr().err
    )


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
                "INSERT INTO run_questions (run_id, question_id, position, asked) VALUES (?, ?, ?, ?)",
                values,
            )
        connection.execute(
            """UPDATE coherence SET others = '{"1~not": 0.5}' WHERE question_id = '1'"""
        )
    with Database(two_weeks) as db:
        moved = {row.id: row.extra for row in db.runs.questions(1)}
        assert moved["1 (run 1)~not"]["coherence_of"] == SPLIT
        kept = {row.id: row.extra for row in db.runs.questions(3)}
        assert kept["1~not"]["coherence_of"] == "1"
        others = {
            (row.run_id, row.question_id): row.others
            for run in (1, 3)
            for row in db.outcomes.coherence(run)
        }
        assert others[1, SPLIT] == {"1 (run 1)~not": 0.5}
        assert others[3, "1"] == {"1~not": 0.5}


# --- what a new run asks --------------------------------------------------------------------------


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    """Run the command line on a file of questions; returns the exit code and the lines for the user."""
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)

    def run(rows, *arguments, today="2026-03-02"):
        names = list(dict.fromkeys(name for row in rows for name in row))
        with (tmp_path / "q.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
        database = ["--database", str(tmp_path / "run.db"), "--models", "stub-a"]
        questions = ["--questions", str(tmp_path / "q.csv")]
        code = stub_main([*questions, *database, "--no-retrieval", *arguments], today=today)
        return code, capsys.readouterr().err

    return run


def asked(tmp_path) -> list[tuple]:
    with contextlib.closing(sqlite3.connect(tmp_path / "run.db")) as connection:
        return connection.execute(
            "SELECT run, question FROM forecast_history WHERE agent = 'ensemble'"
        ).fetchall()


def test_an_id_that_comes_back_with_another_text_is_refused(ask, tmp_path):
    assert ask([{"id": "1", "question": NORWAY}, {"id": "2", "question": "Will it rain?"}])[0] == 0
    code, said = ask([{"id": "1", "question": BRENT}, {"id": "2", "question": "Will it snow?"}])
    assert code == 2
    assert said.splitlines() == [
        f"forecaster.py: id '1' was asked in run 1 as '{NORWAY}' and is now '{BRENT}'; if it is the same question in other"
        " words, say so with --reworded 1; else give it another id",
        "forecaster.py: id '2' was asked in run 1 as 'Will it rain?' and is now 'Will it snow?'; if it is the same question"
        " in other words, say so with --reworded 2; else give it another id",
    ]
    assert asked(tmp_path) == [(1, NORWAY), (1, "Will it rain?")]


def test_case_space_and_final_punctuation_are_no_other_text(ask, tmp_path):
    assert ask([{"id": "1", "question": "Will the café close?"}])[0] == 0
    assert ask([{"id": "1", "question": "will the  CAFE\u0301 close"}])[0] == 0
    # A run shows what it asked.
    assert [run for run, _ in asked(tmp_path)] == [1, 2]
    assert asked(tmp_path)[0][1] == "Will the café close?"


def test_long_texts_are_told_apart_in_the_message(ask):
    start = "Will the committee, " * 10
    ask([{"id": "1", "question": f"{start}agree?"}])
    _, said = ask([{"id": "1", "question": f"{start}resign?"}])
    assert "agree?'" in said
    assert "resign?'" in said


def test_a_rewording_that_the_user_accepts_is_stored_and_needs_no_further_word(ask, tmp_path):
    reworded = "Will Norway be a member of the EU before 2030?"
    ask([{"id": "1", "question": NORWAY}])
    assert ask([{"id": "1", "question": reworded}], "--reworded", "1")[0] == 0
    for text in (reworded, NORWAY):
        assert ask([{"id": "1", "question": text}])[0] == 0
    assert [text for _, text in asked(tmp_path)] == [NORWAY, reworded, reworded, NORWAY]
    with contextlib.closing(sqlite3.connect(tmp_path / "run.db")) as connection:
        stored = connection.execute(
            "SELECT question_id, run_id, old_text, new_text FROM rewordings"
        ).fetchall()
    assert stored == [("1", 2, NORWAY, reworded)]


@pytest.mark.parametrize(
    ("name", "why"),
    [("1", "no earlier run asked it in other words"), ("7", "no question of this run has that id")],
)
def test_an_id_that_is_not_reworded_is_refused(ask, tmp_path, name, why):
    ask([{"id": "1", "question": NORWAY}])
    code, said = ask([{"id": "1", "question": NORWAY}], "--reworded", name)
    assert (code, said) == (2, f"forecaster.py: --reworded {name}: {why}\n")
    assert len(asked(tmp_path)) == 1


def test_shifted_ids_are_no_rewordings(ask, tmp_path):
    ask([{"id": "1", "question": NORWAY}, {"id": "2", "question": BRENT}])
    shifted = [{"id": "1", "question": BRENT}, {"id": "2", "question": "Will India vote early?"}]
    code, said = ask(shifted, "--reworded", "1", "--reworded", "2")
    assert code == 2
    assert said.startswith(
        f"forecaster.py: --reworded 1: run 1 asked {BRENT!r} as the question '2'; ask it under"
    )
    assert len(asked(tmp_path)) == 2


def test_a_refused_rewording_makes_no_database(ask, tmp_path):
    assert ask([{"id": "1", "question": NORWAY}], "--reworded", "1")[0] == 2
    assert not (tmp_path / "run.db").exists()


def test_an_edited_close_date_is_said(ask):
    ask([{"id": "1", "question": NORWAY, "close_date": "2030-01-01"}])
    code, said = ask(
        [{"id": "1", "question": NORWAY, "close_date": "2031-01-01", "background": "More."}]
    )
    assert code == 0
    assert "the close date of '1' was 2030-01-01 in run 1 and is now 2031-01-01" in said


def test_one_question_under_two_ids_is_said(ask, tmp_path):
    ask([{"id": "eu", "question": NORWAY}, {"id": "", "question": BRENT}])
    code, said = ask([{"id": "", "question": NORWAY.upper()}, {"id": "oil", "question": BRENT}])
    assert code == 0
    assert "has the id 'eu' in run 1 and none here" in said
    assert (
        f"python analysis.py --database {tmp_path / 'run.db'} --same-question oil {text_id(BRENT)}"
        in said
    )


def test_one_question_under_another_id_of_the_user_is_said(ask, tmp_path):
    rows = [
        {"id": "1", "question": NORWAY, "close_date": ""},
        {"id": "w1", "question": BRENT, "close_date": "2030-01-07"},
    ]
    ask(rows)
    code, said = ask(
        [{**rows[0], "id": "1.0"}, {**rows[1], "id": "w2", "close_date": "2030-01-14"}]
    )
    assert code == 0
    assert (
        "asked before under another id, with a history apart: '1.0' (run 1: '1'); if two are one"
        in said
    )
    assert f"--database {tmp_path / 'run.db'} --same-question ID OTHER" in said


def resolve(tmp_path, name: str) -> None:
    words = [
        "--database",
        str(tmp_path / "run.db"),
        "--resolve-one",
        name,
        "yes",
        "--date",
        "2026-03-02",
    ]
    assert analysis.main(words) == 0


THREE = [
    {"id": "eu", "question": NORWAY, "close_date": "2026-03-20"},
    {"id": "oil", "question": BRENT, "close_date": ""},
    {"id": "rain", "question": "Will it rain?", "close_date": "2026-04-01"},
]


def test_resolved_and_closed_questions_are_left_out_unless_wanted(ask, tmp_path):
    ask(THREE)
    resolve(tmp_path, "oil")
    code, said = ask(THREE, today="2026-03-21")
    assert code == 0
    assert (
        "left out: 2 questions that are resolved or closed (eu, oil); --ask-closed asks them all the same"
        in said
    )
    assert asked(tmp_path)[3:] == [(2, "Will it rain?")]
    assert ask(THREE, "--ask-closed", today="2026-03-21")[0] == 0
    assert len(asked(tmp_path)) == 7
    code, said = ask(THREE, today="2026-05-01")
    assert (code, said.count("left out: 3 questions"), len(asked(tmp_path))) == (2, 1, 7)


def test_on_its_close_date_and_as_of_a_past_day_a_question_is_asked(ask, tmp_path):
    ask(THREE[:1])
    assert ask(THREE[:1], today="2026-03-20")[0] == 0
    assert ask(THREE[:1], "--as-of", "2026-03-10", today="2026-05-01")[0] == 0
    assert ask([{**THREE[0], "as_of": "2026-03-11"}], today="2026-05-01")[0] == 0
    assert ask(THREE[:1], today="2026-05-01")[0] == 2
    assert len(asked(tmp_path)) == 4


def test_a_question_never_asked_is_asked_although_its_date_is_past(ask, tmp_path):
    assert ask(THREE, today="2026-05-01")[0] == 0
    assert len(asked(tmp_path)) == 3


def test_checks_of_a_question_that_is_left_out_are_left_out_too(ask, tmp_path):
    rows = [{**THREE[0], "negation": "Will Norway stay out?"}, THREE[2]]
    assert ask(rows, "--coherence")[0] == 0
    code, said = ask(rows, "--coherence", today="2026-03-21")
    assert (code, "left out: 1 question that is resolved or closed (eu);" in said) == (0, True)
    assert [text for run, text in asked(tmp_path) if run == 2] == ["Will it rain?"]


def test_two_ids_can_share_a_history_and_their_outcome(ask, tmp_path, capsys):
    ask(
        [
            {"id": "eu", "question": NORWAY},
            {"id": "eu2", "question": "Will Norway enter the EU by 2029?"},
        ]
    )
    join = ["--database", str(tmp_path / "run.db"), "--same-question"]
    assert analysis.main([*join, "eu", "eu2"]) == 0
    assert (
        capsys.readouterr().out == "eu2 is now the same question as eu: one history, one outcome\n"
    )
    resolve(tmp_path, "eu2")
    with Database(tmp_path / "run.db") as db:
        assert {name: row.outcome for name, row in db.outcomes.latest().items()} == {
            "eu": 1,
            "eu2": 1,
        }
        assert {row["question_id"] for row in history(db, "eu")} == {"eu", "eu2"}
    # Each wording is known under both ids now.
    assert (
        ask([{"id": "eu", "question": "Will Norway enter the EU by 2029?"}], "--ask-closed")[0] == 0
    )
    for words, why in (
        (("eu", "eu2"), "are one question already"),
        (("eu", "x"), "no question has the id 'x'"),
    ):
        assert analysis.main([*join, *words]) == 2
        assert why in capsys.readouterr().err


@pytest.mark.parametrize("ids", [("eu", "eu~not"), ("eu~not", "rain")])
def test_a_negation_is_not_joined_with_a_question(ask, tmp_path, capsys, ids):
    rows = [
        {"id": "eu", "question": NORWAY, "negation": "Will Norway stay outside?"},
        {"id": "rain", "question": "Will it rain?"},
    ]
    assert ask(rows, "--coherence")[0] == 0
    assert analysis.main(["--database", str(tmp_path / "run.db"), "--same-question", *ids]) == 2
    line = "analysis.py: --same-question: 'eu~not' is a coherence check of 'eu'\n"
    assert capsys.readouterr().err == line


def test_ids_with_different_outcomes_are_not_joined(two_weeks, capsys):
    assert analysis.main(["--database", str(two_weeks), "--same-question", "1", SPLIT]) == 2
    assert "'1' ended yes and '1 (run 1)' ended no" in capsys.readouterr().err


def test_a_new_day_of_a_joined_question_joins_too(ask, tmp_path):
    """Forecasts from several days have ids of their own; their subject is the one the user chose."""
    both = [
        {"id": "eu", "question": NORWAY},
        {"id": "eu2", "question": "Will Norway enter the EU by 2029?"},
    ]
    assert ask(both)[0] == 0
    database = ["--database", str(tmp_path / "run.db")]
    assert analysis.main([*database, "--same-question", "eu", "eu2"]) == 0
    days = [
        {"id": "eu2", "question": "Will Norway enter the EU by 2029?", "as_of": day}
        for day in ("2026-01-01", "2026-02-01")
    ]
    assert ask(days)[0] == 0
    with Database(tmp_path / "run.db") as db:
        subjects = {row.id: row.subject for row in db.runs.known_questions()}
    assert subjects == dict.fromkeys(("eu", "eu2", "eu2@2026-01-01", "eu2@2026-02-01"), "eu")
    resolve(tmp_path, "eu")
    with Database(tmp_path / "run.db") as db:
        assert len(db.outcomes.latest()) == 4
    reworded = [{**row, "question": "Will Oslo be in the EU by 2029?"} for row in days]
    code, said = ask(reworded)
    assert (code, "was asked in run 2 as" in said) == (2, True)


def test_a_rewording_of_a_question_that_is_left_out_is_not_stored(ask, tmp_path):
    rows = [{"id": "eu", "question": NORWAY}, {"id": "rain", "question": "Will it rain?"}]
    assert ask(rows)[0] == 0
    resolve(tmp_path, "eu")
    new = [{"id": "eu", "question": "Will Norway enter the EU by 2029?"}, rows[1]]
    assert ask(new, "--reworded", "eu", today="2026-03-21")[0] == 0
    with Database(tmp_path / "run.db") as db:
        assert db.connection.query("SELECT * FROM rewordings") == []


def test_documents_without_retrieval_are_refused(ask, tmp_path):
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "a.txt").write_text("Norway holds a referendum.")
    rows = [{"id": "eu", "question": NORWAY}]
    line = (
        "forecaster.py: --documents and --no-retrieval exclude each other; documents are evidence"
    )
    assert ask(rows, "--documents", str(tmp_path / "documents")) == (2, line + "\n")
    assert not (tmp_path / "run.db").exists()
