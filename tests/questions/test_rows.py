"""Every kind of file is decoded into the same rows, or refused with its line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from questions.question import (
    MAX_BACKGROUND_CHARACTERS,
    MAX_QUESTION_CHARACTERS,
    QuestionError,
)
from tests.support.question_files import own, questions_in, write

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
        ("q.txt", '{ "question": "Will A?" }\n', "q.txt, line 1: this is JSON"),
        ("q.txt", '[ {"question": "Will A?"} ]\n', "q.txt, line 1: this is JSON"),
        ("q.txt", '\n["Will A?", "Will B?"]\n', "q.txt, line 1: this is JSON"),
        ("q.txt", '[\n  "Will A?"\n]\n', "q.txt, line 1: this is JSON"),
        ("q.txt", "question,notes\nWill A?,x\n", "q.txt, line 1: this is a table, its columns separated by comma"),
        ("q.txt", "sep=;\nid;question\n1;Will A?\n", "q.txt, line 1: this is a table; name the file .csv"),
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


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("q.csv", b"PK\x03\x04\x14\x00\x06\x00", "a workbook or a ZIP file; save the sheet as CSV"),
        ("q.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00", "an old Excel workbook; save the sheet as CSV"),
        ("q.json", b"\x1f\x8b\x08\x00\x00", "compressed; unpack it"),
        ("q.csv", b"SQLite format 3\x00\x10\x00", "a database; export the questions as CSV"),
        ("q.txt", b"%PDF-1.4\n1 0 obj\nendobj\n", "a PDF file"),
        ("q.txt", rb"{\rtf1\ansi Will A?}", "a file of a word processor (RTF)"),
        ("q.txt", b"\xef\xbb\xbf\n<!DOCTYPE html>\n<p>Log in</p>", "a page of the web"),
        ("q.json", b"<html><body>Log in</body></html>", "a page of the web"),
    ],
)  # fmt: skip
def test_another_kind_of_file_is_told_by_its_beginning(ask, name, content, what):
    code, err, _ = ask(name, content)
    assert code == 2
    assert f"{name}: this is {what}" in err


def test_a_password_in_a_file_is_neither_stored_nor_printed(ask, tmp_path):
    secret = "hunter-2-Xy"
    address = f"https://bot:{secret}@example.org/"
    rows = [
        {"id": "a", "question": "Will A happen?", "url": address, "background": f"See {address}q."},
        {"id": address, "question": f"Will {address} answer?", "tags": [{"key": address}]},
        {"id": "c", "question": "Will C happen?", "url": "https://example.org/@c"},
    ]
    code, err, asked = ask("q.json", json.dumps(rows, indent=0))
    assert code == 0
    assert (
        "*** stands for passwords or tokens in line 2: 'url', 'background', line 8: 'id', " in err
    )
    assert [q["text"] for q in asked][1] == "Will https://***@example.org/ answer?"
    assert asked[0]["background"] == "See https://***@example.org/q."
    assert asked[2]["extra"] == {"url": "https://example.org/@c"}
    assert secret not in err
    (tmp_path / "q.json").unlink()
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        "Will A happen?\nWill Norway or Iceland join the EU,\nor apply, before 2030?\n",
        "Will A happen?\nWill Norway join the EU\n    before 2030?\n",
        "Will A happen?\nWill Norway join the EU before\n1 January 2030?\n",
    ],
)
def test_a_question_in_two_lines_of_a_text_file_is_refused(ask, content):
    code, err, _ = ask("q.txt", content)
    assert code == 2
    assert "q.txt, line 3: it reads like the rest of line 2, which ends with" in err


def test_lines_of_a_text_file_need_no_question_mark(ask):
    lines = ["will norway join", "will iceland join", "Will A happen.", "iPhone sales rise?", "#", "x?"]  # fmt: skip
    assert len(ask("q.txt", "\n".join(lines))[2]) == 5
    assert len(ask("r.txt", "Will B happen\n\nwill C happen\n# D\nwill E happen\n")[2]) == 3


def test_a_comment_behind_a_byte_order_mark_is_a_comment(ask):
    _, _, asked = ask("q.txt", "Will A happen?\n\ufeff# the second file\nWill B happen?\n")
    assert [q["text"] for q in asked] == ["Will A happen?", "Will B happen?"]


@pytest.mark.parametrize(
    "content",
    [
        "question,close_date\nWill A?,2099-01-01\n# Will B?,2099-01-01\n",
        "question,close_date\nWill A?,2099-01-01\n#Will B happen?,2099-01-01\n",
        "id,question\na,Will A?\n# b,Will B?\n",
    ],
)
def test_a_table_has_no_comments(ask, content):
    code, err, _ = ask("q.csv", content)
    assert code == 2
    assert "line 3: the line begins with #, but a table has no comments; take it out" in err
    assert len(ask("r.csv", "id,question\n#1,Will A?\n")[2]) == 1


def test_headings_in_the_middle_are_skipped_and_said(ask):
    """``cat week1.csv week2.csv`` once asked the question "question"."""
    code, err, asked = ask("q.csv", "id,question\na,Will A?\nID,Question\nb,Will B?\n")
    assert code == 0
    assert [question["text"] for question in asked] == ["Will A?", "Will B?"]
    assert "warning: q.csv: line 3: the headings again, which are skipped" in err


def test_an_empty_list_beside_that_of_the_rows_is_nothing(ask):
    _, _, asked = ask("q.json", '{"questions": [], "results": [{"question": "Will A?"}]}')
    assert [question["text"] for question in asked] == ["Will A?"]


def test_an_object_with_others_in_it_may_be_one_question(ask):
    row = {"question": "Will A?", "similar": [{"question": "Will B?"}], "data": [{"title": "T"}]}
    _, err, asked = ask("q.json", json.dumps(row))
    assert [q["text"] for q in asked] == ["Will A?"]
    assert "columns that are not used: 'similar', 'data'" in err
    market = {"title": "Will A?", "events": [{"title": "An event"}], "tags": {"a": {"label": "x"}}}
    assert len(ask("r.json", json.dumps(market))[2]) == 1
    event = {"endDate": "2099-01-02", "markets": [{**market, "end_date": "2099-01-01"}]}
    assert ask("e.json", json.dumps(event))[2][0]["close_date"] == "2099-01-01"
    page = {"count": 9, "next": None, "title": "T", "date": "2026-01-01", "results": [row]}
    assert len(ask("s.json", json.dumps(page))[2]) == 1


def test_text_file_has_one_question_a_line_and_comments(tmp_path):
    path = write(
        tmp_path, "q.txt", "# my questions\nWill A happen?\n\n   Will   B happen? \n  # no\n"
    )
    assert [q.text for q in questions_in(path)] == ["Will A happen?", "Will B happen?"]


def test_csv_keeps_line_breaks_inside_quotes_and_counts_lines_of_the_file(tmp_path):
    text = 'question,background\n"Will A\nhappen?","first\nsecond"\nWill B happen?,\n"",x\n'
    with pytest.raises(QuestionError, match=r"q\.csv, line 6: the question is empty"):
        questions_in(write(tmp_path, "q.csv", text))
    first, second = questions_in(write(tmp_path, "q.csv", text.rsplit('""', 1)[0]))
    assert first.text == "Will A happen?"
    assert first.background == "first\nsecond"
    assert second.text == "Will B happen?"


def test_jsonl_keeps_what_it_does_not_know(tmp_path):
    row = {"text": "Will A happen?", "id": 7, "close_date": None, "outcome": 0, "tags": ["x"]}
    (q,) = questions_in(write(tmp_path, "q.jsonl", "\n" + json.dumps(row) + "\n\n"))
    assert (q.id, q.text, q.close_date) == ("7", "Will A happen?", None)
    assert q.extra == {"outcome": 0, "tags": ["x"]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.txt", "Will A happen?\r\n"),
        ("q.csv", "question\r\nWill A happen?\r\n"),
        ("q.jsonl", '{"question": "Will A happen?"}\r\n'),
        ("Q.TXT", "Will A happen?"),
    ],
)
def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_question(
    tmp_path, name, content
):
    (q,) = questions_in(write(tmp_path, name, b"\xef\xbb\xbf" + content.encode()))
    assert q.text == "Will A happen?"


def test_line_separators_inside_a_question_do_not_split_it(tmp_path):
    (q,) = questions_in(
        write(
            tmp_path,
            "q.jsonl",
            '{"question": "Will A\u2028or B\x0chappen?"}'.replace("\x0c", "\\f"),
        )
    )
    assert q.text == "Will A or B happen?"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.txt", "", r"q\.txt: no question in it"),
        ("q.txt", "# only a comment\n\n", "no question in it"),
        ("q.txt", "ok?\n" + "x" * (MAX_QUESTION_CHARACTERS + 1), "line 2: the question has 2001 characters"),
        ("q.txt", b"fine?\nna\xefve?\n", "line 2: not UTF-8"),
        ("q.csv", "", "line 1: the file is empty"),
        ("q.csv", "frage\nWill A happen?\n", "line 1: no known heading; it has 'frage'"),
        ("q.csv", "question\n", "no question in it"),
        ("q.csv", "question,id\nok?,1\nA?,2,3\n", "line 3: the line has more columns than the header"),
        ("q.csv", "question,id\n,1\n", "line 2: the question is empty"),
        ("q.csv", 'question\n"ok?"\n"never closed\n', "line 3 or later: malformed CSV"),
        ("q.csv", 'question\nok?\n"a" b\n', "line 3 or later: malformed CSV"),
        ("q.csv", "question,close_date\nok?,2027-01-01\nA?,31.12.2027\n", "line 3: close_date is '31.12.2027'"),
        ("q.csv", "question,as_of\nA?,2027-13-01\n", "line 2: as_of is '2027-13-01'"),
        ("q.jsonl", '{"question": "ok?"}\n{"question": \n', r"line 2: not JSON"),
        ("q.jsonl", '{"question": "ok?", "x": NaN}\n', r"line 1: not JSON \(NaN is not a JSON value\)"),
        ("q.jsonl", "[1]\n", "line 1: expected a JSON object, got list"),
        ("q.jsonl", "\n" + "[" * 100_000 + "\n", "line 2: not JSON"),
        ("q.jsonl", '{"question": [3]}\n', r"line 1: question is \[3\], expected text"),
        ("q.jsonl", '{"id": 3}\n', "line 1: the question is empty; the row has 'id'"),
        ("q.json", '{"data": {"questions": []}}', "line 1: the question is empty; the row has 'data'"),
        ("q.json", '{"questions": [{"question": "A?"}], "results": [{"question": "B?"}]}', "line 1: lists of rows under 'questions' and 'results'; give each"),
        ("q.json", '{"questions": [{"question": "A?"}], "archived": [{"question": "B?"}]}', "line 1: lists of rows under 'questions' and 'archived'; give each"),
        ("q.json", '{"questions": [{"question": "A?"}], "more": {"x": [{"question": "B?"}]}}', "line 1: lists of rows under 'questions' and 'more'; give each"),
        ("q.json", '{"title": "My list", "data": [{"title": "A?"}]}', "line 1: rows under 'data'; give them as a list, alone or under 'questions'"),
        ("q.json", '{"title": "My list", "questions": {"a": {"question": "A?"}}}', "line 1: rows under 'questions'; give them as a list"),
        ("q.json", '{"title": "My list", "mine": {"open": [{"question": "A?"}]}}', "line 1: rows under 'mine'; give them as a list"),
        ("q.json", '{"questions": [{"question": "A?"}], "question": "B?"}', "line 1: question is beside the rows; write it in each row"),
        ("q.json", '{"as_of": "2026-01-01", "results": [{"question": "A?"}]}', "line 1: as_of is beside the rows; write it in each row"),
        ("q.json", '{"questions": [{"question": "A?"}], "Close Date": "2027-01-01"}', "line 1: Close Date is beside the rows; write it in each"),
        ("q.csv", "id,question\na,A?\nquestion,id\nB?,b\n", "line 3: the line holds other headings; give each table a file"),
        ("q.csv", "id,question\na,#REF!\n", "line 2: question is '#REF!', a spreadsheet's error; correct it"),
        ("q.csv", "id,question,background\na,A?,x\nb,B?,#N/A\n", "line 3: background is '#N/A', a spreadsheet's error"),
        ("q.csv", "id,question\n#BEZUG!,A?\n", "line 2: id is '#BEZUG!', a spreadsheet's error"),
        ("q.json", '[{"qestion": "A?"}]', r"the row has 'qestion' \(did you mean question\?\)"),
        ("q.jsonl", '\n{\n "question": "A?"\n}\n', r"line 2: it goes on in the next line; .* name other JSON \.json"),
        ("q.jsonl", '{"question": "A?", "background": ["x"]}\n', "line 1: background is .*, expected text"),
        ("q.jsonl", json.dumps({"question": "A?", "background": "x" * (MAX_BACKGROUND_CHARACTERS + 1)}), "line 1: background"),
        ("q.csv", "question,id\nA?,1\nB?,1\n", r"line 3: id '1' stands for two questions: text is 'A\?' in line 2 and 'B\?' here; give each an id"),
        ("q.xlsx", "A?", r"unknown kind of file; allowed: \.txt, \.csv, \.tsv, \.jsonl, \.json"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_its_name_and_line(tmp_path, name, content, message):
    with pytest.raises(QuestionError, match=message) as caught:
        questions_in(write(tmp_path, name, content))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(QuestionError, match="cannot be read"):
        questions_in(tmp_path / "none.txt")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(QuestionError, match="cannot be read"):
        questions_in(tmp_path / "folder.csv")


def test_a_file_written_by_a_spreadsheet_comes_back(tmp_path):
    path = tmp_path / "q.csv"
    texts = ['Will "A", B;\tC happen?', "Will 'D' happen?", "Will =E happen?"]
    for dialect in ("excel", "excel-tab", "unix"):
        with Path(path).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, dialect)
            writer.writerows([["question", "background"], *([text, "x\ny"] for text in texts)])
        assert [q.text for q in questions_in(path)] == [" ".join(text.split()) for text in texts]


fragments = st.sampled_from(
    ["question", "text", "id", "close_date", ",", '"', "\n", "\r", "\r\n", "{", "}", ":", "[", "null", "\0", "\ufeff", "1e999"]
)  # fmt: skip


contents = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=100).map(lambda t: t.encode("utf-8", "surrogatepass")),
    st.lists(st.one_of(fragments, st.text(max_size=5)), max_size=30).map(lambda parts: "".join(parts).encode("utf-8", "replace")),
    st.dictionaries(
        st.sampled_from(["question", "text", "id", "as_of", "background", "x"]),
        st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=3),
    ).map(lambda d: json.dumps(d).encode()),
)  # fmt: skip


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from([".txt", ".csv", ".jsonl"]), contents)
def test_no_file_raises_anything_but_a_question_error(tmp_path, suffix, content):
    path = tmp_path / f"fuzz{suffix}"
    path.write_bytes(content)
    try:
        questions = questions_in(path)
    except QuestionError:
        return
    assert questions
    assert all(q.text.strip() and q.id for q in questions)
    assert len({q.id for q in questions}) == len(questions)
