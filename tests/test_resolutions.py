"""Files of outcomes: what they may say, and how they find their questions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from resolutions import Entry, ResolutionError, match, parse_date, parse_outcome, read_resolutions

QUESTIONS = [
    {"id": "a", "subject": "a", "text": "Will A happen?"},
    {"id": "b", "subject": "b", "text": "Same text?"},
    {"id": "c", "subject": "c", "text": "Same  Text?"},
]


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_and_jsonl_say_the_same(tmp_path):
    csv_file = write(
        tmp_path, "r.csv", 'question,outcome,date,source\n"Will A happen?",yes,2026-01-02,http://x\n'
    )
    jsonl = '{"question": "Will A happen?", "outcome": 1, "resolution_date": "2026-01-02", "source": "http://x"}\n\n'
    expected = Entry("line 2", "", "Will A happen?", 1, "2026-01-02", "http://x")
    (entry,) = read_resolutions(csv_file).entries
    assert entry == expected
    (entry,) = read_resolutions(write(tmp_path, "r.jsonl", "\n" + jsonl)).entries
    assert entry == replace(expected, horizon="2026-01-02")


@pytest.mark.parametrize(
    ("value", "outcome"),
    [(1, 1), (1.0, 1), (True, 1), ("Yes", 1), (0, 0), ("no", 0), (False, 0), ("VOID", None), ("n/a", None)],
)
def test_outcomes(value, outcome):
    assert parse_outcome(value) == outcome


@pytest.mark.parametrize("value", [0.5, "maybe", "", None, 2, "0.97"])
def test_what_is_no_outcome(value):
    with pytest.raises(ResolutionError, match="expected 0, 1"):
        parse_outcome(value)


def test_dates():
    assert parse_date(" 2026-01-02 ") == "2026-01-02"
    assert parse_date("2026-01-02T03:04:05Z") == "2026-01-02T03:04:05Z"
    with pytest.raises(ResolutionError, match="future"):
        parse_date("2026-01-03", now=datetime(2026, 1, 2, tzinfo=UTC))
    with pytest.raises(ResolutionError, match="missing"):
        parse_date("")
    with pytest.raises(ResolutionError, match="expected a date"):
        parse_date("31.12.2026")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("r.csv", "id,outcome,date\na,1,2026-01-02\nb,perhaps,2026-01-02\n", r"line 3: outcome is 'perhaps'"),
        ("r.csv", "id,outcome,date\na,1\n", r"line 2: date is missing"),
        ("r.csv", "id,outcome,date\na,1,2026-01-02,extra,more\n", r"line 2: the line has more columns"),
        ("r.csv", "name,outcome\na,1\n", r"line 1: the header needs"),
        ("r.csv", 'id,outcome,date\n"a,1,2026-01-02\n', r"line 2 or later: malformed CSV"),
        (
            "r.csv",
            "id,outcome,date\na,1,2026-01-02\na,0,2026-01-03\n",
            r"line 3: 'a' has another outcome in line 2",
        ),
        ("r.csv", "id,outcome,date\n", "no outcome in it"),
        ("r.jsonl", '{"id": "a", "outcome": 1, "date": "2026-01-02"}\n{"id": \n', r"line 2: not JSON"),
        ("r.jsonl", "[1]\n", r"line 1: expected a JSON object"),
        ("r.jsonl", '{"outcome": 1, "date": "2026-01-02"}\n', r"line 1: neither id nor question"),
        ("r.txt", "a", "unknown kind of file"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(tmp_path, name, text, words):
    with pytest.raises(ResolutionError, match=words):
        read_resolutions(write(tmp_path, name, text))


def test_unreadable_files(tmp_path):
    with pytest.raises(ResolutionError, match="cannot be read"):
        read_resolutions(tmp_path / "missing.csv")
    path = tmp_path / "latin.csv"
    path.write_bytes(b"id,outcome,date\n\xe9,1,2026-01-02\n")
    with pytest.raises(ResolutionError, match="line 2: not UTF-8"):
        read_resolutions(path)


def test_an_id_is_meant_a_text_may_find_its_question_and_the_rest_is_listed():
    entries = [
        Entry("line 1", "a", "", 1, "2026-01-02", "s"),
        Entry("line 2", "", "will a HAPPEN?", 1, "2026-01-02", "s"),
        Entry("line 4", "", "Same text?", 1, "2026-01-02", "s"),
        Entry("line 5", "z", "", 1, "2026-01-02", "s"),
    ]
    found, unknown = match(entries, QUESTIONS)
    assert [(r.question_id, r.outcome) for r in found] == [("a", 1)]
    assert [entry.place for entry, _ in unknown] == ["line 4", "line 5"]
    assert "give the id: b, c" in unknown[0][1]
