"""Files of questions on the command line: whatever they hold is asked as it is meant, or refused in one line."""

from __future__ import annotations

import contextlib
import csv
import json
import sqlite3
import unicodedata
from pathlib import Path

import pytest

import analysis
import forecaster
from evaluation import scorecard
from questions import columns
from questions.files import read_question_file
from tests.support.stub_cli import stub_main

TODAY = "2026-11-26"


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    """Run the command line on a file; returns the exit code, the lines on standard error and what was asked."""
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)

    def run(name, content, *arguments, option="--questions"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        database = tmp_path / "run.db"
        common = ["--database", str(database), "--models", "stub-a", "--no-retrieval"]
        code = stub_main([option, str(path), *common, *arguments], today=TODAY)
        err = capsys.readouterr().err
        if code == 2:
            assert not database.exists()
            assert len(err.splitlines()) == 1
            return code, err.strip().replace(str(path), name), []
        with contextlib.closing(sqlite3.connect(database)) as connection:
            found = connection.execute(
                "SELECT asked FROM run_questions WHERE run_id = (SELECT max(id) FROM runs) ORDER BY position"
            ).fetchall()
            (forecasts,) = connection.execute(
                "SELECT count(*) FROM forecasts WHERE error IS NULL"
            ).fetchone()
            assert forecasts >= len(found)
        return code, err.replace(str(path), name), [json.loads(asked) for (asked,) in found]

    return run


def own(asked) -> list[tuple]:
    return [(q["id"], q["text"], q["background"], q["close_date"]) for q in asked]


# --- text and separators --------------------------------------------------------------------------

EXPECTED = [
    ("q1", "Will Malmö, or Ystad, open it?", "first line\nsecond; line", "2029-12-31"),
    ("q2", "Will B happen?", "", "2028-12-31"),
]


def table(separator: str, end: str = "\n") -> str:
    rows = [
        ("id", "question", "close_date", "background"),
        ("q1", '"Will Malmö, or Ystad, open it?"', "2029-12-31", '"first line\nsecond; line"'),
        ("q2", "Will B happen?", "2028-12-31", ""),
    ]
    return end.join(separator.join(row) for row in rows) + end


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.csv", table(",")),
        ("q.csv", table(",", "\r\n")),
        ("q.csv", b"\xef\xbb\xbf" + table(";", "\r\n").encode()),
        ("q.csv", table("\t", "\r\n")),
        ("q.tsv", table("\t")),
        ("q.tsv", table(";")),
        ("q.csv", "sep=;\r\n" + table(";", "\r\n")),
        ("q.csv", '"sep=|"\n' + table("|")),
        ("q.csv", table(",").replace("\n", "\r")),
        ("q.csv", table(",").encode("utf-16")),
        ("q.csv", "\n,,,\n" + table(",") + ",,,\n , ,,\n"),
        ("q.jsonl", "".join(json.dumps(dict(zip(("id", "question", "background", "close_date"), row, strict=True))) + "\n" for row in EXPECTED)),
        ("q.json", json.dumps([dict(zip(("id", "question", "background", "close_date"), row, strict=True)) for row in EXPECTED], indent=1)),
        ("q.json", json.dumps({"version": 1, "questions": [dict(zip(("ID", "Question", "textDescription", "closeTime"), row, strict=True)) for row in EXPECTED]})),
    ],
)  # fmt: skip
def test_every_kind_of_file_says_the_same(ask, name, content):
    code, _, asked = ask(name, content)
    assert code == 0
    assert own(asked) == EXPECTED


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("q.csv", "id,question\nq1,Will\0 A happen?\n", 2),
        ("q.csv", "id,question\r\n1,Will A?\r\n".encode("utf-16-le"), 1),
        ("q.txt", "Will å happen?\n".encode("utf-16-be"), 1),
        ("q.jsonl", '{"question": "Will A?"}\n{"question": "Will\\u0000 B?"}\n', 2),
    ],
)
def test_nul_characters_are_refused(ask, name, content, line):
    code, err, _ = ask(name, content)
    assert code == 2
    assert f"{name}, line {line}: " in err
    assert "holds NUL characters" in err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.csv", 'question;background\r\n"Will A?";"x\r\ny"\r\n"Will B?";"z\r\n', "q.csv, line 4 or later: malformed CSV"),
        ("q.csv", 'question;close_date\r"Will\rA?";2027-01-01\rWill B?;soon\r', "q.csv, line 4: close_date is 'soon'"),
        ("q.csv", "sep=;\nid;question\n1;Will A?\n1;Will B?\n", "q.csv, line 4: id '1' stands for two questions"),
        ("q.json", '[\n{"question": "Will A?"},\n{"question": "Will B?", "as_of": "x"}\n]', "q.json, line 3: as_of is 'x'"),
        ("q.json", '[{"question": "Will A?"}, {"id": 2, "question": ""}]', "q.json, line 1, entry 2: the question is empty"),
        ("q.json", '{"questions": [\n{"question": "Will A?"}\n{}]}', "q.json, line 3: not JSON"),
        ("q.json", '{"questions": []}', "q.json: no question in it"),
        ("q.txt", "id;question;close_date\n1;Will A?;2027-01-01\n", "q.txt, line 1: this is a table, its columns separated by semicolon"),
        ("q.txt", '{"question": "Will A?"}\n', "q.txt, line 1: this is JSON"),
        ("q.csv", "frage;datum\nWill A?;2027-01-01\n", "q.csv, line 1: no known heading; it has 'frage;datum'"),
        ("q.csv", "# notes\nid,question\n1,Will A?\n", "q.csv, line 1: no known heading; it has '# notes'"),
        ("q.csv", "id,queston\n1,Will A?\n", "q.csv, line 1: the header has no column named question; it has 'id', 'queston' (did you mean question?)"),
        ("q.csv", "title,question\nA,Will A?\n", "q.csv, line 2: two columns are named question: title is 'A', question is 'Will A?'"),
        ("q.csv", "question,resolution\nWill A?,Yes if B.\n", "q.csv, line 2: outcome is 'Yes if B.', expected 0, 1 (no, yes) or void; what counts as yes belongs in"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_line_of_the_file(ask, name, content, message):
    code, err, _ = ask(name, content)
    assert code == 2
    assert message in err


# --- headings -------------------------------------------------------------------------------------


def test_headings_are_compared_without_case_spaces_and_dashes(ask):
    text = (
        " ID ,QUESTION-Title,Close Date,Resolution  Criteria,Back_ground,As Of\n"
        "q1,Will A?,2029-12-31,In force.,EEA.,\n"
    )
    _, err, (asked,) = ask("q.csv", text)
    assert own([asked]) == [("q1", "Will A?", "EEA.", "2029-12-31")]
    assert asked["resolution_criteria"] == "In force."
    assert "not used" not in err


def test_a_column_without_a_heading_is_named_by_its_number(ask):
    code, err, (asked,) = ask("q.csv", ",question,,\n0,Will A?,,x\n")
    assert code == 0
    assert "columns that are not used: 'column 1', 'column 4'" in err
    assert asked["extra"] == {"column 1": "0", "column 4": "x"}


@pytest.mark.parametrize(
    ("name", "content", "names"),
    [
        ("q.csv", "id,question,background,question\nq1,Will A?,x,Will B?\n", "question"),
        ("q.csv", "id,question,Close Date,close_date\nq1,Will A?,,\n", "close_date ('Close Date' and 'close_date')"),
        ("q.csv", "question,a,a\nWill A?,1,2\n", "'a'"),
        ("q.jsonl", '{"question": "Will A?", "question": "Will B?"}', "question"),
        ("q.jsonl", '{"question": "Will A?", "closeTime": "2027-01-01", "close_time": "2027-01-02"}', "close_date ('closeTime' and 'close_time')"),
        ("q.json", '{"questions": [{"question": "Will A?", "x": {"k": 1, "k": 2}}]}', "'k'"),
        ("q.csv", "question,closeTime,endDate\nWill A?,2027-01-01,2027-01-02\n", "close_date: closeTime is '2027-01-01', endDate is '2027-01-02'"),
        ("q.jsonl", '{"question": "Will A?", "text": "Will B?"}', "question: question is 'Will A?', text is 'Will B?'"),
    ],
)  # fmt: skip
def test_two_columns_of_one_meaning_are_refused(ask, name, content, names):
    code, err, _ = ask(name, content)
    assert code == 2
    assert f": two columns are named {names}" in err


def test_two_columns_that_agree_are_one(ask):
    _, _, (asked,) = ask(
        "q.csv", "question,closeTime,endDate\nWill A?,2027-01-01,2027-01-01T00:00:00Z\n"
    )
    assert asked["close_date"] == "2027-01-01"


def test_columns_that_are_not_used_are_named_once_with_the_nearest_known_name(ask):
    text = "question,resolution_criterai,notes,crowd,cluster,negation\nWill A?,x,y,0.2,c,\nWill B?,x,y,,,\n"
    code, err, asked = ask("q.csv", text)
    assert code == 0
    assert [line for line in err.splitlines() if "q.csv" in line] == [
        "warning: q.csv: columns that are not used: 'resolution_criterai' (did you mean resolution_criteria?), 'notes'"
    ]
    assert asked[0]["extra"] == {
        "resolution_criterai": "x", "notes": "y", "crowd": "0.2", "cluster": "c",
    }  # fmt: skip


def test_every_reference_column_is_known_as_a_probability():
    assert set(scorecard.REFERENCES) <= set(columns.PROBABILITIES)


def test_a_file_cannot_hide_a_question_as_a_check_of_another(ask):
    code, err, _ = ask("q.csv", "question,coherence_of\nWill A?,x\n")
    assert code == 2
    assert "q.csv, line 2: the name coherence_of is this program's own" in err


# --- rows and unquoted separators -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("question\nWill Norway, Iceland or Sweden join?\n", "line 2: the line has more columns than the header (2 for 1)"),
        ("id,question\n1,Will Norway, Iceland join?\n", "line 2: the line has more columns than the header (3 for 2)"),
        ("question,background\nWill A?,\nWill Norway, Iceland join?\n", "line 3: the question ends with 'Will Norway' and the next column begins with ' Iceland join?'"),
        ("id,question,background,cluster\n1,Will Norway, Iceland join?,\n", "line 2: the question ends with 'Will Norway' and"),
        ("question,background\nWill Norway,Iceland or Sweden join?\n", "line 2: the question ends with 'Will Norway' and"),
        ("question;background\nWill Norway; Iceland join?\n", "a question with a semicolon in it needs quotes"),
        ("question,background,cluster\nWill Norway, Sweden, or Iceland join?\n", "line 2: the question ends with 'Will Norway'"),
        ("question,background\nWill Norway join\n", "its question does not end like one: 'Will Norway join'"),
    ],
)  # fmt: skip
def test_an_unquoted_separator_is_refused(ask, content, message):
    code, err, _ = ask("q.csv", content)
    assert code == 2
    assert message in err


def test_what_may_be_an_unquoted_separator_is_said(ask):
    text = 'question,background\nWill Norway, Iceland or Sweden join\nNorway joins,"see below. why? so"\n'
    code, err, asked = ask("q.csv", text + "Norway leaves,\n")
    assert code == 0
    assert len(asked) == 3
    (line,) = [line for line in err.splitlines() if "warning" in line]
    assert (
        "line 2: the question ends with 'Will Norway' and the next column begins with ' Iceland"
        in line
    )


# --- dates and probabilities ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("2026-12-31", "2026-12-31"),
        ("2026-12-31T12:00:00Z", "2026-12-31"),
        ("2026-12-31 23:30:00-05:00", "2027-01-01"),
        ("2027-01-01T01:00:00.123456+02:00", "2026-12-31"),
        ("2026-12-31 12:00:00 UTC", "2026-12-31"),
        ("N/A", None),
        (" ", None),
    ],
)
def test_a_timestamp_is_its_day_in_utc(ask, written, day):
    _, _, (asked,) = ask("q.csv", f"question,close_date\nWill A?,{written}\n")
    assert asked["close_date"] == day


@pytest.mark.parametrize(
    "written", ["2026-12-310000 garbage", "2026-12-31 or so", "12/31/2026", "31.12.2026", "2026-13-01", "20261231",
                "1798675200", "2026-12-31T25:00:00Z", "2026-W53-4", "٢٠٢٦-١٢-٣١", "9999-12-31T23:59:59-01:00"]
)  # fmt: skip
def test_what_is_no_date_is_refused(ask, written):
    code, err, _ = ask("q.csv", f"question,close_date\nWill A?,2027-01-01\nWill B?,{written}\n")
    assert code == 2
    assert f"q.csv, line 3: close_date is '{written}', expected a date like 2026-12-31" in err


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


@pytest.mark.parametrize("column", columns.PROBABILITIES)
@pytest.mark.parametrize("cell", ["12", '"0,35"', "12%", "-0.1", "nan", "1e3", "high", "1.0001"])
def test_a_probability_is_from_0_to_1(ask, column, cell):
    text = f"question,{column}\nWill A?,1\nWill B?,0.5\nWill C?,\nWill D?,N/A\nWill E?,{cell}\nWill F?,99\n"
    code, err, _ = ask("q.csv", text)
    assert code == 2
    assert (
        f"q.csv, line 6: {column} is '{cell.strip(chr(34))}', expected a probability from 0 to 1"
        in err
    )


def test_probabilities_within_bounds_are_kept(ask):
    _, _, asked = ask(
        "q.jsonl", '{"question": "Will A?", "crowd": 1}\n{"question": "Will B?", "crowd": "N/A"}\n'
    )
    assert [q["extra"] for q in asked] == [{"crowd": 1}, {}]


def test_a_truth_value_is_no_probability(ask):
    code, err, _ = ask("q.jsonl", '{"question": "Will A?", "crowd": true}')
    assert code == 2
    assert "q.jsonl, line 1: crowd is True, expected a probability" in err


# --- identity -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,question,close_date\nDGS10,Will it rise?,2026-12-31\nDGS10,Will it rise?,2027-12-31\n",
         "line 3: id 'DGS10' stands for two questions: close_date is '2026-12-31' in line 2 and '2027-12-31' here; give each an id"),
        ("question,close_date\nWill it rise?,2026-12-31\nWill it rise?,2027-12-31\n",
         "line 3: 'Will it rise?' stands for two questions: close_date is"),
        ("id,question,background\na,Will it rise?,x\na,Will it rise?,y\n", "background is 'x' in line 2 and 'y' here"),
        ("id,question,resolution_criteria\na,Will it rise?,x\na,Will it rise?,\n", "resolution_criteria is 'x' in line 2 and '' here"),
        ("id,question\na,Will it rise?\nb,Will it rise?\na,Will it fall?\n", "line 4: id 'a' stands for two questions: text is 'Will it rise?' in line 2"),
        ("id,question,cluster\na,Will it rise?,x\na,Will it rise?,y\n", "cluster is 'x' in line 2 and 'y' here; leave one out"),
        ("id,question,as_of\na,Will it rise?,2026-01-01\na,Will it fall?,2026-01-02\n", "text is 'Will it rise?' in line 2"),
        ("id,question,as_of\na,Will A?,2026-01-01\na,Will A?,2026-01-02\na@2026-01-02,Will B?,\n", "line 4: id 'a@2026-01-02' is also that of line 3"),
    ],
)  # fmt: skip
def test_rows_of_one_id_that_differ_are_refused(ask, content, message):
    code, err, _ = ask("q.csv", content)
    assert code == 2
    assert message in err


def test_repeats_in_every_field_are_one_question_and_said(ask):
    nfd = unicodedata.normalize("NFD", "Will São Tomé hold an election?")
    code, err, asked = ask("q.txt", f"{nfd}\nWill B?\nWill São Tomé hold an election?\n Will  B?\n")
    assert code == 0
    assert [q["text"] for q in asked] == ["Will São Tomé hold an election?", "Will B?"]
    assert "warning: q.txt: 2 exact repeats dropped: line 3, line 4" in err


def test_ids_that_differ_in_case_are_two_questions(ask):
    _, _, asked = ask("q.csv", "id,question\nAbC,Will A?\nabc,Will B?\n")
    assert [q["id"] for q in asked] == ["AbC", "abc"]


def test_several_days_are_several_forecasts_of_one_question(ask):
    text = "id,question,as_of\na,Will A?,2026-01-01\na,Will A?,2026-02-01\na,Will A?,\nb,Will B?,2026-01-01\n"
    _, _, asked = ask("q.csv", text)
    assert [(q["id"], q["subject"], q["as_of"]) for q in asked] == [
        ("a@2026-01-01", "a", "2026-01-01"),
        ("a@2026-02-01", "a", "2026-02-01"),
        ("a", "a", None),
        ("b", "b", "2026-01-01"),
    ]


# --- backtests ------------------------------------------------------------------------------------

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
    assert analysis.main(["--database", database, "--score", "--plots", str(tmp_path)]) == 0
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


def test_a_file_written_by_a_spreadsheet_comes_back(tmp_path):
    path = tmp_path / "q.csv"
    texts = ['Will "A", B;\tC happen?', "Will 'D' happen?", "Will =E happen?"]
    for dialect in ("excel", "excel-tab", "unix"):
        with Path(path).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, dialect)
            writer.writerows([["question", "background"], *([text, "x\ny"] for text in texts)])
        assert [q.text for q in read_question_file(path).questions] == [
            " ".join(text.split()) for text in texts
        ]


def test_a_live_question_with_its_outcome_in_the_file_is_said(ask):
    text = "id,question,outcome,as_of\na,Will A?,yes,\nb,Will B?,,\nc,Will C?,no,2025-01-01\n"
    code, err, asked = ask("q.csv", text)
    assert (code, len(asked)) == (0, 3)
    assert (
        "1 question asked live with the outcome in the file already: 'a'; --backtest forecasts"
        in err
    )


# --- ids as spreadsheets and web pages give them ------------------------------------------------------


def test_characters_of_no_width_around_a_cell_do_not_count(ask):
    code, _, asked = ask(
        "q.csv",
        "id,question,close_date,crowd\n\ufeffq1\u200b,\u200bWill A?\u200b,\u200e2099-01-01\u200b,\u200b0.5\n",
    )
    assert code == 0
    assert own(asked) == [("q1", "Will A?", "", "2099-01-01")]
    assert ask("r.csv", "id,question\nq1,Will A?\n")[0] == 0
    flag = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
    assert ask("f.csv", f"id,question\n{flag},Will England win?\n")[2][0]["id"] == flag


def test_two_ids_that_differ_in_what_has_no_width_are_one(ask):
    code, err, _ = ask("q.csv", "id,question\nq1,Will A?\nq1\u200b,Will B?\n")
    assert code == 2
    assert "line 3: id 'q1' stands for two questions" in err


@pytest.mark.parametrize(
    "content",
    [
        "id,question\na,Will A happen?\nb,will A  happen\n",
        "id,question\na,Will A happen?\nb,Will\u200b A happen?\n",
        "question\nWill A happen?\nwill a happen?\n",
    ],
)
def test_one_question_under_two_ids_is_said(ask, content):
    code, err, asked = ask("q.csv", content)
    assert (code, len(asked)) == (0, 2)
    assert "q.csv: the same question under two ids, asked and counted twice: line 3 (" in err


@pytest.mark.parametrize(
    "content",
    [
        "id,question,close_date\na,Will A?,2099-01-01\nb,Will A?,2099-01-08\n",
        "id,question,background\na,Will A?,x\nb,Will A?,y\n",
        "id,question,as_of\na,Will A?,2025-01-01\na,Will A?,2025-01-02\n",
    ],
)
def test_one_text_with_other_dates_or_background_is_no_repeat(ask, content):
    code, err, asked = ask("q.csv", content)
    assert (code, len(asked)) == (0, 2)
    assert "two ids" not in err


@pytest.mark.parametrize("name", ["1.23457E+17", "1,23457e+17", "5E+17"])
def test_an_id_that_a_spreadsheet_has_cut_is_said(ask, name):
    code, err, _ = ask("q.csv", f'id,question\n"{name}",Will A?\n')
    assert (code, f"whose last digits are lost: {name};" in err) == (0, True)


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
