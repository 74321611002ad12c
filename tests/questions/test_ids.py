"""Rows of one id are one question, several forecasts of it, or refused."""

from __future__ import annotations

import unicodedata

import pytest

from questions.files import unique_questions
from questions.question import (
    Question,
    QuestionError,
    text_id,
)
from tests.support.question_files import questions_in, rows_of, write


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


def test_exact_repeats_are_dropped_and_the_order_kept(tmp_path):
    path = write(tmp_path, "q.txt", "Will B happen?\nWill A happen?\nWill  B happen?\n")
    assert [q.text for q in questions_in(path)] == ["Will B happen?", "Will A happen?"]


def test_ids_that_differ_in_case_are_two_questions(ask):
    _, _, asked = ask("q.csv", "id,question\nAbC,Will A?\nabc,Will B?\n")
    assert [q["id"] for q in asked] == ["AbC", "abc"]


def test_two_ids_that_differ_in_what_has_no_width_are_one(ask):
    code, err, _ = ask("q.csv", "id,question\nq1,Will A?\nq1\u200b,Will B?\n")
    assert code == 2
    assert "line 3: id 'q1' stands for two questions" in err


def test_several_days_are_several_forecasts_of_one_question(ask):
    text = "id,question,as_of\na,Will A?,2026-01-01\na,Will A?,2026-02-01\na,Will A?,\nb,Will B?,2026-01-01\n"
    _, _, asked = ask("q.csv", text)
    assert [(q["id"], q["subject"], q["as_of"]) for q in asked] == [
        ("a@2026-01-01", "a", "2026-01-01"),
        ("a@2026-02-01", "a", "2026-02-01"),
        ("a", "a", None),
        ("b", "b", "2026-01-01"),
    ]


def test_forecasts_from_two_days_may_differ_in_what_was_known_and_not_in_when_it_closes(tmp_path):
    header = "id,question,as_of,close_date,background,resolution_criteria"
    first, second = rows_of(
        tmp_path, header, "a,A?,2025-01-01,2025-05-01,little,C", "a,A?,2025-02-01,2025-05-01,much,D"
    )
    assert (first.id, second.id, first.subject, second.subject) == (
        "a@2025-01-01",
        "a@2025-02-01",
        "a",
        "a",
    )
    assert (first.background, second.background) == ("little", "much")
    with pytest.raises(
        QuestionError, match="line 3: id 'a' stands for two questions: close_date is"
    ):
        rows_of(tmp_path, header, "a,A?,2025-01-01,2025-05-01,,", "a,A?,2025-02-01,2025-06-01,,")
    with pytest.raises(
        QuestionError, match="line 3: id 'a' stands for two questions: background is"
    ):
        rows_of(tmp_path, header, "a,A?,2025-01-01,,little,", "a,A?,2025-01-01,,much,")


def test_one_question_with_two_answers_is_told_before_anything_else(tmp_path):
    header = "id,question,as_of,close_date,outcome,resolution_date"
    first = "a,A?,2025-01-01,2025-05-01,1,2025-05-02"
    for second, column in (
        ("a,A?,2025-02-01,2025-06-01,0,2025-05-02", "outcome"),
        ("a,A?,2025-02-01,2025-06-01,1,2025-05-03", "resolution_date"),
    ):
        with pytest.raises(QuestionError, match=f"line 3: 'a' has another {column} in line 2"):
            rows_of(tmp_path, header, first, second)
    known_once = rows_of(tmp_path, header, first, "a,A?,2025-02-01,2025-05-01,,")
    assert [question.id for question in known_once] == ["a@2025-01-01", "a@2025-02-01"]
    same = rows_of(tmp_path, header, first, "a,A?,2025-02-01,2025-05-01,yes,2025-05-02T00:00:00Z")
    assert [question.id for question in same] == ["a@2025-01-01", "a@2025-02-01"]


def test_resolution_dates_of_a_series_are_questions_of_their_own(tmp_path):
    header = "id,question,source,resolution_date"
    lines = ("s,Will the rate rise?,FRED,2025-01-01", "s,Will the rate rise?,fred,2025-02-01")
    first, second = rows_of(tmp_path, header, *lines)
    assert (first.id, first.subject, first.extra["cluster"]) == (
        "s@2025-01-01",
        "s@2025-01-01",
        "s",
    )
    assert (second.id, second.subject) == ("s@2025-02-01", "s@2025-02-01")
    with pytest.raises(QuestionError, match="line 3"):
        rows_of(tmp_path, header, lines[0], lines[1].replace("fred", "somewhere"))


def test_an_id_that_equals_a_derived_one_is_refused(tmp_path):
    lines = ("a,A?,2025-01-01", "a,A?,2025-02-01", "a@2025-01-01,B?,")
    with pytest.raises(QuestionError, match="line 4: id 'a@2025-01-01' is also that of line 2"):
        rows_of(tmp_path, "id,question,as_of", *lines)


def test_a_question_without_an_id_is_called_by_its_text(tmp_path):
    with pytest.raises(
        QuestionError, match=r"line 3: 'Will A\?' stands for two questions: close_date"
    ):
        rows_of(tmp_path, "question,close_date", "Will A?,2030-01-01", "Will A?,2031-01-01")
    assert text_id("Will  A?") == text_id("Will A?")


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


@pytest.mark.parametrize("text", ["?", "2027", "0,35 %"])
def test_a_question_of_the_command_line_has_words_as_that_of_a_file(text):
    with pytest.raises(QuestionError, match=r"^--question: question 2: question is .* in words"):
        unique_questions([Question("Will A?"), Question(text)], "--question")


def test_a_password_in_a_question_of_the_command_line_is_refused():
    with pytest.raises(QuestionError, match="question 1: the question holds a passw"):
        unique_questions([Question("Will https://bot:hunter-2@example.org/ fail?")], "--question")


def test_two_questions_of_a_list_under_one_id_are_refused_with_its_name():
    with pytest.raises(QuestionError, match=r"^list: question 2: id 'x' stands for two questions"):
        unique_questions([Question("A?", id="x"), Question("B?", id="x")], "list")
    reading = unique_questions([Question("A?"), Question("B?"), Question("A?")], "list")
    assert [question.text for question in reading.questions] == ["A?", "B?"]
    assert reading.notes == ["list: 1 exact repeat dropped: question 3"]
