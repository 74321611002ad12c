"""Derive the questions that check another one: its negation and its paraphrases.

A question file may carry a column ``negation`` (the opposite question) and a column ``paraphrases``
(a list, or texts separated by ``|``). They are asked in the same run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from questions.cells import json_list, shortened
from questions.columns import RESERVED
from questions.question import Question, QuestionError, folded

# Keys in ``Question.extra`` of a check: the id of the question it checks, and its kind.
PARENT_KEY, KIND_KEY = RESERVED


def parent_id(extra: Mapping[str, Any]) -> str | None:
    """Return the id of the question that one checks by its ``extra``, else None."""
    parent = extra.get(PARENT_KEY)
    return None if parent is None else str(parent)


def coherence_questions(question: Question) -> list[Question]:
    """Derive the negation (id ``…~not``) and paraphrases (``…~p1`` …); often none.

    They share background and dates with the question, paraphrases its resolution criteria too.

    Raises:
        QuestionError: a column that is neither text nor a list of texts, or has a wording that is
            the question's own, or one twice: nothing would be compared.
    """
    criteria = question.resolution_criteria
    opposite = f"Yes exactly when the answer to this question is no: {question.text} {criteria}"
    wordings = [
        *(("negation", "~not", text, opposite.strip()) for text in _texts(question, "negation")),
        *(
            ("paraphrase", f"~p{number}", text, criteria)
            for number, text in enumerate(_texts(question, "paraphrases"), start=1)
        ),
    ]
    known = {folded(question.text): "the question itself"}
    for kind, _, text, _ in wordings:
        if there := known.get(folded(text)):
            raise QuestionError(f"{question.id}: {kind} {shortened(text)} is {there}; reword it")
        known[folded(text)] = "there twice"
    return [
        replace(
            question,
            text=text,
            id=question.id + suffix,
            resolution_criteria=settled,
            extra={PARENT_KEY: question.id, KIND_KEY: kind},
            subject=question.subject + suffix,
        )
        for kind, suffix, text, settled in wordings
    ]


def _texts(question: Question, column: str) -> list[str]:
    value: Any = question.extra.get(column)
    if value is None or value == "":
        return []
    several = column == "paraphrases"
    texts = value
    if isinstance(value, str):
        texts = [value]
        if several and value.lstrip().startswith("["):
            texts = json_list(value)
        elif several:
            texts = [part.strip() for part in value.split("|") if part.strip()]
    if isinstance(texts, list) and all(isinstance(text, str) and text.strip() for text in texts):
        return texts
    expected = "text or a list of texts" if several else "text"
    raise QuestionError(f"{question.id}: {column} is {value!r}, expected {expected}")
