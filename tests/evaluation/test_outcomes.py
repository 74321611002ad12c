"""Files of outcomes: what they may say, and how they find their questions."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from evaluation.outcomes import (
    Entry,
    match,
    parse_date,
    read_resolutions,
)
from evaluation.resolving import late_outcomes
from questions.cells import InputError, parse_outcome
from storage.records import KnownQuestion, Resolution

QUESTIONS = [
    KnownQuestion("a", "a", "Will A happen?", {}),
    KnownQuestion("b", "b", "Same text?", {}),
    KnownQuestion("c", "c", "Same  Text?", {}),
]


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_and_jsonl_say_the_same(tmp_path):
    csv_file = write(
        tmp_path,
        "r.csv",
        'question,outcome,date,source\n"Will A happen?",yes,2026-01-02,http://x\n',
    )
    jsonl = '{"question": "Will A happen?", "outcome": 1, "resolution_date": "2026-01-02", "source": "http://x"}\n\n'
    expected = Entry("line 2", "", "Will A happen?", 1, "2026-01-02", "http://x")
    (entry,) = read_resolutions(csv_file).entries
    assert entry == expected
    (entry,) = read_resolutions(write(tmp_path, "r.jsonl", "\n" + jsonl)).entries
    assert entry == replace(expected, horizon="2026-01-02")


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        (1, 1),
        (1.0, 1),
        (True, 1),
        ("Yes", 1),
        (0, 0),
        ("no", 0),
        (False, 0),
        ("VOID", None),
        ("n/a", None),
    ],
)
def test_outcomes(value, outcome):
    assert parse_outcome(value) == outcome


@pytest.mark.parametrize("value", [0.5, "maybe", "", None, 2, "0.97"])
def test_what_is_no_outcome(value):
    with pytest.raises(InputError, match="expected 0, 1"):
        parse_outcome(value)


def test_dates():
    assert parse_date(" 2026-01-02 ") == "2026-01-02"
    assert parse_date("2026-01-02T03:04:05Z") == "2026-01-02T03:04:05Z"
    with pytest.raises(InputError, match="future"):
        parse_date("2026-01-03", now=datetime(2026, 1, 2, tzinfo=UTC))
    with pytest.raises(InputError, match="missing"):
        parse_date("")
    with pytest.raises(InputError, match="expected a date"):
        parse_date("31.12.2026")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "r.csv",
            "id,outcome,date\na,1,2026-01-02\nb,perhaps,2026-01-02\n",
            r"line 3: outcome is 'perhaps'",
        ),
        ("r.csv", "id,outcome,date\na,1\n", r"line 2: date is missing"),
        (
            "r.csv",
            "id,outcome,date\na,1,2026-01-02,extra,more\n",
            r"line 2: the line has more columns",
        ),
        ("r.csv", "name,outcome\na,1\n", r"line 1: the header needs"),
        ("r.csv", 'id,outcome,date\n"a,1,2026-01-02\n', r"line 2 or later: malformed CSV"),
        (
            "r.csv",
            "id,outcome,date\na,1,2026-01-02\na,0,2026-01-03\n",
            r"line 3: 'a' has another outcome in line 2",
        ),
        ("r.csv", "id,outcome,date\n", "no outcome in it"),
        (
            "r.jsonl",
            '{"id": "a", "outcome": 1, "date": "2026-01-02"}\n{"id": \n',
            r"line 2: not JSON",
        ),
        ("r.jsonl", "[1]\n", r"line 1: expected a JSON object"),
        ("r.jsonl", '{"outcome": 1, "date": "2026-01-02"}\n', r"line 1: neither id nor question"),
        ("r.txt", "a", "unknown kind of file; allowed: .csv, .tsv, .jsonl, .json"),
        ("r.xlsx", "a", "unknown kind of file; allowed: .csv, .tsv, .jsonl, .json"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(tmp_path, name, text, words):
    with pytest.raises(InputError, match=words):
        read_resolutions(write(tmp_path, name, text))


def test_unreadable_files(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_resolutions(tmp_path / "missing.csv")
    path = tmp_path / "latin.csv"
    path.write_bytes(b"id,outcome,date\n\xe9,1,2026-01-02\n")
    with pytest.raises(InputError, match="line 2: not UTF-8"):
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


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-01-02 03:04", "2026-01-02T03:04:00Z"),
        ("2026-01-02T03:04:05.123+02:00", "2026-01-02T01:04:05Z"),
        ("2026-01-02T03:04:05+0200", "2026-01-02T01:04:05Z"),
        ("2026-01-02T23:00:00-05:00", "2026-01-03T04:00:00Z"),
        ("2026-01-02", "2026-01-02"),
    ],
)
def test_a_moment_is_kept_in_utc_whatever_its_zone(value, expected):
    assert parse_date(value) == expected


def test_now_is_not_the_future():
    now = datetime(2026, 1, 2, tzinfo=UTC)
    assert parse_date("2026-01-02", now=now) == "2026-01-02"
    with pytest.raises(InputError, match="future"):
        parse_date("2026-01-02T00:00:01Z", now=now)


def test_an_outcome_that_a_platform_voided_is_kept_and_its_scheduled_end_is_no_outcome(tmp_path):
    rows = [
        {"id": "v", "question": "V?", "resolution": "CANCEL", "isResolved": True, "resolutionTime": 1_767_312_000_000,
         "outcomeType": "BINARY", "mechanism": "cpmm-1"},
        {"id": "f", "question": "F?", "resolution": "YES", "isResolved": True, "resolutionTime": 4_102_444_800_000,
         "outcomeType": "BINARY", "mechanism": "cpmm-1"},
    ]  # fmt: skip
    outcomes = read_resolutions(write(tmp_path, "r.json", json.dumps(rows)))
    assert [(entry.id, entry.outcome) for entry in outcomes.entries] == [("v", None)]
    assert any("2100-01-01 lies in the future" in note for note in outcomes.notes)


def test_the_kind_of_a_file_is_told_without_case(tmp_path):
    with pytest.raises(InputError, match=r"allowed: \.csv, \.tsv, \.jsonl, \.json$"):
        read_resolutions(write(tmp_path, "R.TXT", "a"))


def test_white_space_within_a_question_is_folded(tmp_path):
    path = write(
        tmp_path,
        "r.jsonl",
        '{"question": " Will  A\\nhappen? ", "outcome": 1, "date": "2026-01-02"}',
    )
    (entry,) = read_resolutions(path).entries
    assert entry.text == "Will A happen?"


def test_the_horizon_of_an_outcome_is_the_day_of_its_resolution_date(tmp_path):
    line = '{"id": "s", "outcome": 1, "resolution_date": "2026-01-02T10:00:00Z"}'
    (entry,) = read_resolutions(write(tmp_path, "r.jsonl", line)).entries
    assert (entry.horizon, entry.date) == ("2026-01-02", "2026-01-02T10:00:00Z")
    (entry,) = read_resolutions(
        write(tmp_path, "s.jsonl", line.replace("resolution_date", "date"))
    ).entries
    assert entry.horizon == ""


def test_two_texts_without_ids_are_two_questions(tmp_path):
    lines = '{"question": "A?", "outcome": 1, "date": "2026-01-02"}\n{"question": "B?", "outcome": 0, "date": "2026-01-03"}'
    assert [e.outcome for e in read_resolutions(write(tmp_path, "r.jsonl", lines)).entries] == [
        1,
        0,
    ]


def test_an_unknown_id_whose_text_is_known_names_two_questions_but_for_a_text_with_gaps():
    with pytest.raises(InputError, match=r"name two questions: that text has the id 'a'$"):
        match([Entry("line 2", "z", "Will A happen?", 1, "2026-01-02", "")], QUESTIONS)
    template = [
        *QUESTIONS,
        KnownQuestion("t", "t", "Will X rise by {resolution_date}?", {}),
    ]
    found, unknown = match(
        [Entry("line 2", "z", "Will X rise by {resolution_date}?", 1, "2026-01-02", "")], template
    )
    assert (found, [why for _, why in unknown]) == ([], ["no such question in the database"])
    found, unknown = match([Entry("line 2", "a", "will a happen", 1, "2026-01-02", "")], QUESTIONS)
    assert [r.question_id for r in found] == ["a"]


def test_an_outcome_known_before_the_first_forecast_counts_for_none():
    found = [
        Resolution(name, 1, day)
        for name, day in (("a", "2026-01-02"), ("b", "2026-01-03T12:00:00Z"), ("c", "2026-01-04"))
    ]
    first = {"a": datetime(2026, 1, 2), "b": datetime(2026, 1, 3, 11), "d": datetime(2026, 1, 1)}
    assert late_outcomes(found, first) == ["a"]


@pytest.mark.parametrize("cell", [True, 0.5, {"a": 1}])
def test_an_id_that_is_no_text_is_refused(tmp_path, cell):
    row = {"id": cell, "outcome": 1, "date": "2026-01-02"}
    with pytest.raises(InputError, match=r"line 1: id is .*, expected text"):
        read_resolutions(write(tmp_path, "r.jsonl", json.dumps(row)))


def test_two_outcomes_under_one_name_are_told_without_a_second_name():
    entries = [Entry(f"line {n}", "a", "", n, "2026-01-02", "") for n in (0, 1)]
    with pytest.raises(InputError, match=r"^line 1: 'a' has another outcome in line 0$"):
        match(entries, QUESTIONS)
