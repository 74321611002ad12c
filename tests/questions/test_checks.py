"""Columns of a file become questions that check another one."""

from __future__ import annotations

import re

import pytest

from questions.checks import coherence_questions, parent_id
from questions.question import Question, QuestionError


def test_columns_become_questions_that_share_everything_but_the_wording():
    question = Question(
        "Will A happen?", id="q", background="B", resolution_criteria="C", as_of="2026-01-02",
        extra={"negation": "Will A not happen?", "paraphrases": "Does A occur? | Is A going to be?"},
    )  # fmt: skip
    negation, first, second = coherence_questions(question)
    assert (negation.id, first.id, second.id) == ("q~not", "q~p1", "q~p2")
    assert second.text == "Is A going to be?"
    assert negation.as_of == "2026-01-02"
    assert negation.background == "B"
    assert "no: Will A happen?" in negation.resolution_criteria
    assert first.resolution_criteria == "C"
    assert parent_id(first.extra) == "q"
    assert parent_id(question.extra) is None


@pytest.mark.parametrize(
    "cell", [["Does A occur?", "Is A?"], '["Does A occur?", "Is A?"]', "Does A occur?|Is A?"]
)
def test_paraphrases_as_list_json_or_bars(cell):
    assert [q.text for q in coherence_questions(Question("A?", extra={"paraphrases": cell}))] == [
        "Does A occur?",
        "Is A?",
    ]


@pytest.mark.parametrize(
    "extra", [{"negation": 3}, {"paraphrases": [1]}, {"paraphrases": "[broken"}]
)
def test_a_column_that_is_not_text_is_named(extra):
    with pytest.raises(QuestionError, match=next(iter(extra))):
        coherence_questions(Question("A?", id="q", extra=extra))


def test_no_columns_no_questions():
    assert coherence_questions(Question("A?", extra={"negation": "", "paraphrases": None})) == []


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"negation": "will A happen"}, "negation 'will A happen' is the question itself; reword"),
        ({"paraphrases": "Is A so?|Will A happen?"}, "paraphrase 'Will A happen?' is the question it"),
        ({"paraphrases": ["Is A so?", "is A so"]}, "paraphrase 'is A so' is there twice; reword it"),
        ({"negation": "Is A so?", "paraphrases": "Is A so?"}, "paraphrase 'Is A so?' is there twice"),
    ],
)  # fmt: skip
def test_a_wording_that_compares_nothing_is_refused(extra, said):
    with pytest.raises(QuestionError, match=f"^a: {re.escape(said)}"):
        coherence_questions(Question("Will A happen?", id="a", extra=extra))


def test_coherence_without_wordings_is_said(ask):
    assert "--coherence: no question has a negation" in ask("q.txt", "A?", "--coherence")[1]
    row = '{"id": "a", "question": "Will A happen?", "negation": "Will A stay away?"}'
    code, err, asked = ask("q.jsonl", row, "--coherence")
    assert (code, len(asked), "--coherence" in err) == (0, 2, False)
