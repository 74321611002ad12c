"""Question files on the command line and in backtests."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import unicodedata

import pytest

import analysis
import forecaster
from questions.cells import shortened
from questions.files import closed_note, question_from
from questions.question import (
    Question,
    QuestionError,
)
from tests.support.question_files import questions_in, write
from tests.support.stub_cli import stub_main


def test_csv_columns_become_fields_and_the_unknown_ones_extra(tmp_path):
    path = write(
        tmp_path,
        "q.csv",
        "id,question,background,resolution_criteria,close_date,as_of,outcome,cluster\n"
        'a1,Will A happen?,"Some, facts",Counts if,2027-01-31T12:00:00Z,2026-11-01,1,elections\n',
    )
    (q,) = questions_in(path)
    assert q == Question(
        "Will A happen?",
        "a1",
        "Some, facts",
        "Counts if",
        "2027-01-31",
        "2026-11-01",
        {"outcome": "1", "cluster": "elections"},
    )


def test_a_day_to_forecast_from_is_not_in_the_future(ask):
    code, err, _ = ask("q.csv", "question,as_of\nWill A?,2099-01-01\n")
    assert code == 2
    assert "q.csv, line 2: as_of is '2099-01-01', which lies in the future" in err


def test_close_dates_in_the_past_are_one_line(ask):
    text = (
        "id,question,close_date\na,Will A?,2019-12-31\nb,Will B?,2020-01-01\nc,Will C?,2027-01-01\n"
    )
    code, err, asked = ask("q.csv", text)
    assert code == 0
    assert len(asked) == 3
    assert (
        "warning: 2 questions with a close_date in the past: 'a' (2019-12-31), 'b' (2020-01-01)"
        in err
    )


OIL = "oil,Will Brent close above 100 dollars in 2025?"


def test_three_days_of_a_backtest_are_scored_as_forecasts_of_their_own(ask, capsys, tmp_path):
    days = "".join(
        f"{OIL},{day},no,2025-12-31\n" for day in ("2025-01-06", "2025-06-02", "2025-11-03")
    )
    text = f"id,question,as_of,outcome,resolution_date\n{days}eu,Will Norway apply?,2025-06-02,no,2025-12-31\n"
    code, _, asked = ask("b.csv", text, option="--backtest")
    assert code == 0
    assert sorted(q["id"] for q in asked) == [
        "eu",
        "oil@2025-01-06",
        "oil@2025-06-02",
        "oil@2025-11-03",
    ]
    database = str(tmp_path / "run.db")
    assert (
        analysis.main(
            ["--database", database, "--score", "--by", "model", "--plots", str(tmp_path)]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert "8 forecasts of" in out  # of the model and of the pool
    assert next(line for line in out.splitlines() if line.startswith("stub-a")).split()[1] == "4"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (f"{OIL},2025-01-06,no,2025-06-30,\n{OIL},2025-01-06,yes,2025-12-31,\n", "line 3: 'oil' has another outcome in line 2"),
        (f"{OIL},2025-01-06,no,2025-06-30,\n{OIL},2025-02-06,yes,2025-06-30,\n", "line 3: 'oil' has another outcome in line 2"),
        (f"{OIL},2025-01-06,no,2025-06-30,\n{OIL},2025-02-06,0,2025-07-30,\n", "line 3: 'oil' has another resolution_date in line 2"),
        (f"{OIL},2025-01-06,no,2025-06-30,12\n{OIL},2025-02-06,no,2025-06-30,1\n", "line 2: crowd is '12'"),
        (f"{OIL},2099-01-06,no,2025-06-30,\n", "line 2: as_of is '2099-01-06', which lies in the future"),
        (f"{OIL},2025-01-06,,,\n", "b.csv: a backtest needs outcomes; no row has one"),
        (f"{OIL},2025-01-06,0.4,2025-06-30,\n", "line 2: outcome is '0.4'"),
    ],
)  # fmt: skip
def test_a_backtest_that_contradicts_itself_is_refused(ask, rows, message):
    code, err, _ = ask(
        "b.csv", "id,question,as_of,outcome,resolution_date,crowd\n" + rows, option="--backtest"
    )
    assert code == 2
    assert message in err


def test_open_questions_of_a_backtest_are_skipped_and_counted(ask):
    text = f"id;question;as of;Resolution;Resolved At\n{OIL.replace(',', ';')};2025-01-06;no;2025-06-30\neu;Will B?;2025-01-06;;\n"
    code, err, asked = ask("b.csv", text, option="--backtest")
    assert code == 0
    assert [q["id"] for q in asked] == ["oil"]
    assert "warning: b.csv: 1 open question skipped (no outcome yet): 'eu'" in err


def test_a_question_on_the_command_line_is_composed(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    texts = [unicodedata.normalize(form, "Will São Tomé vote?") for form in ("NFD", "NFC")]
    words = [word for text in texts for word in ("--question", text)]
    database = tmp_path / "run.db"
    assert (
        stub_main([*words, "--database", str(database), "--models", "stub-a", "--no-retrieval"])
        == 0
    )
    assert "--question: 1 exact repeat dropped: question 2" in capsys.readouterr().err
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT text FROM questions").fetchall() == [
            ("Will São Tomé vote?",)
        ]


def test_a_live_question_with_its_outcome_in_the_file_is_said(ask):
    text = "id,question,outcome,as_of\na,Will A?,yes,\nb,Will B?,,\nc,Will C?,no,2025-01-01\n"
    code, err, asked = ask("q.csv", text)
    assert (code, len(asked)) == (0, 3)
    assert (
        "1 question asked live with the outcome in the file already: 'a'; --backtest forecasts"
        in err
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"question": 5}', "question is 5, expected a question in words"),
        ('{"question": "2027-01-01?"}', "question is '2027-01-01?', expected a question in words"),
        ('{"question": "Will A?", "cluster": ["x"]}', "cluster is ['x'], expected text"),
    ],
)
def test_a_wrong_column_is_no_question_and_no_cluster(ask, content, message):
    code, err, _ = ask("q.jsonl", content)
    assert (code, err) == (2, f"forecaster.py: q.jsonl, line 1: {message}")


@pytest.mark.parametrize("heading", ["date", "resolution_date", "Resolved Date"])
def test_a_day_that_settles_nothing_is_said(ask, heading):
    ours = "date" if heading == "date" else "resolution_date"
    rows = f"id,question,{heading},close_date\na,Will A?,2099-01-01,\nb,Will B?,2099-01-01,2099-01-02\n"
    _, err, (asked, _) = ask("q.csv", rows)
    assert asked["close_date"] is None
    note = f"{ours} not used without an outcome, and no close_date given: 'a'\n"
    assert note in err
    series = "id,question,source,resolution_date\ns,Up on 1 May?,fred,2099-05-01\ns,Up on 2 May?,fred,2099-05-02\n"
    assert "not used" not in ask("r.csv", series)[1]


@pytest.mark.parametrize(
    "cell",
    ["nan", "None", "NULL", "<NA>", "TRUE", "no", "void", "https://example.org/q/1", "www.example.org/q", "1.2E+05",
     "2026-12-31T00:00:00Z", "12:30 PM", "Questions", "Question Title", "close_date", "Week 12 of 2027:", "{'id': 5, 'title': 'Will A?'}", '{ "title": "Will A?" }', "-"],
)  # fmt: skip
def test_what_is_no_sentence_is_no_question(ask, cell):
    code, err, _ = ask("q.jsonl", json.dumps({"id": "a", "question": cell}))
    expected = f"question is {shortened(cell)}, expected a question in words"
    assert (code, err) == (2, f"forecaster.py: q.jsonl, line 1: {expected}")


def test_two_questions_in_one_cell_are_refused(ask):
    both = "Will A happen? \nWill B happen?"
    message = "two questions in one text; give each its own: 'Will A happen? Will B happen?'"
    code, err, _ = ask("q.csv", f'id,question\na,"{both}"\n')
    assert (code, err) == (2, f"forecaster.py: q.csv, line 2: {message}")
    with pytest.raises(QuestionError, match=re.escape(message)):
        Question(both)
    cells = ("Will A happen?\n(see below)", "Will A\nhappen?", "When? Will A happen by 2030?")
    rows = [{"question": text} for text in cells]
    assert len(ask("q.json", json.dumps(rows))[2]) == 3


ERRORS = ["#REF!", "#DIV/0!", "#¡VALOR!", "#¿NOMBRE?", "#N/A", "#N/D", "#Н/Д", "#YOK", "#DĚLENÍ_NULOU!", "#GETTING_DATA",
          "Err:502", "Loading...", "########"]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("column", ["question", "background", "cluster", "reference_class"])
def test_an_error_of_any_spreadsheet_is_no_text(ask, error, column):
    code, err, _ = ask("q.jsonl", json.dumps({"question": "Will A?", column: error}))
    message = f"{column} is {error!r}, a spreadsheet's error; correct it"
    assert (code, err) == (2, f"forecaster.py: q.jsonl, line 1: {message}")


@pytest.mark.parametrize(
    "cell", ["=B2&C2", '="Will "&A2', "=VLOOKUP(A2;B:C;2)", "='a b'!C3", "=+$A$1", '="007"']
)
def test_a_formula_is_no_text(ask, cell):
    for column in ("question", "background", "id", "cluster"):
        code, err, _ = ask("q.jsonl", json.dumps({"question": "Will A?", column: cell}))
        assert code == 2
        assert f"line 1: {column} is {shortened(cell)}, a formula; give its value" in err


@pytest.mark.parametrize("column", ["cluster", "reference_class", "source"])
def test_what_stands_for_nothing_groups_no_questions(ask, column):
    for cell in ("-", "?", "—", "nan", "None", "null"):
        code, err, _ = ask("q.csv", f"question,{column}\nWill A?,{cell}\nWill B?,{cell}\n")
        assert code == 2
        assert f"line 2: {column} is {cell!r}, expected a name; leave it blank where there" in err


def test_texts_with_signs_are_texts(ask):
    row = {
        "question": "#MeToo: will 5.1 % of A = B in 2027 (see https://example.org)?",
        "background": "=== History! ===\nNone.",
        "cluster": 2027,
        "source": "#1",
    }
    code, _, (asked,) = ask("q.json", json.dumps([row]))
    assert (code, asked["background"]) == (0, row["background"])
    assert asked["extra"] == {"cluster": 2027, "source": "#1"}


def test_fine_print_stands_below_the_criteria():
    assert question_from({"question": "A?", "fine_print": " F\n"}).resolution_criteria == "F"
    row = {
        "question": "A?",
        "fine_print": "F",
        "resolution_criteria": "C",
        "id": 5,
        "close_date": None,
        "x": 1,
    }
    question = question_from(row)
    assert (question.resolution_criteria, question.id, question.extra) == ("C\n\nF", "5", {"x": 1})
    for wrong in (True, 0.5, ["x"]):
        with pytest.raises(QuestionError, match=r"^background is .*, expected text"):
            question_from({"question": "A?", "background": wrong})


def test_a_question_is_closed_after_its_day_and_as_seen_from_the_day_it_is_asked_from():
    first, second = (
        Question("A?", id="a", close_date="2026-01-01"),
        Question("B?", id="b", close_date="2026-01-02"),
    )
    past = Question("C?", id="c", close_date="2026-01-01", as_of="2025-12-31")
    note = "1 question with a close_date in the past: 'a' (2026-01-01)"
    assert closed_note([first, second, past, Question("D?")], "2026-01-02") == note
    assert closed_note([first, second], "2026-01-03").startswith("2 questions with")
    assert closed_note([second, past], "2026-01-01") == ""
