"""Headings are compared loosely, and two of one meaning are refused."""

from __future__ import annotations

import pytest

from evaluation import score_tables
from questions import columns
from tests.support.question_files import own


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


def test_columns_that_a_platform_uses_are_not_named_as_unused(ask):
    text = (
        "id,question,conditionId,endDate,closed,outcomes,outcomePrices,volume\n"
        '1,Will A?,0x1,2027-12-31,False,"[""Yes"", ""No""]","[""0.2"", ""0.8""]",7\n'
    )
    code, err, (asked,) = ask("q.csv", text)
    assert code == 0
    assert asked["extra"]["market_probability"] == "0.2"
    assert "not used" not in err


def test_every_reference_column_is_known_as_a_probability():
    assert set(score_tables.REFERENCES) <= set(columns.PROBABILITIES)


def test_a_file_cannot_hide_a_question_as_a_check_of_another(ask):
    code, err, _ = ask("q.csv", "question,coherence_of\nWill A?,x\n")
    assert code == 2
    assert "q.csv, line 2: the name coherence_of is this program's own" in err
