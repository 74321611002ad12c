"""A question: its limits, its identity and what makes two wordings the same."""

from __future__ import annotations

import hashlib

import pytest

from questions.question import (
    MAX_BACKGROUND_CHARACTERS,
    MAX_QUESTION_CHARACTERS,
    Question,
    QuestionError,
    cluster_of,
    folded,
    text_id,
)
from tests.support.question_files import questions_in


def test_the_id_is_the_start_of_the_texts_sha256_with_white_space_folded():
    expected = hashlib.sha256(b"Will A happen?").hexdigest()[:12]
    assert Question("  Will\tA \n happen? ").id == expected
    assert Question("Will A happen?", id=" mine ").id == "mine"


@pytest.mark.parametrize("text", ["", " \t\n"])
def test_an_empty_question_is_refused(text):
    with pytest.raises(QuestionError, match="empty"):
        Question(text)


def test_texts_may_be_as_long_as_the_limits():
    text, facts = "x" * MAX_QUESTION_CHARACTERS, "x" * MAX_BACKGROUND_CHARACTERS
    assert Question(text, background=facts, resolution_criteria=facts).text == text
    with pytest.raises(QuestionError, match="at most 2000"):
        Question(text + "x")
    for name in ("background", "resolution_criteria"):
        with pytest.raises(QuestionError, match=f"^{name} has more than 20000"):
            Question("A?", **{name: facts + "x"})


@pytest.mark.parametrize("name", ["text", "id", "background", "resolution_criteria", "close_date"])
def test_half_a_character_is_refused_in_every_text(name):
    with pytest.raises(QuestionError, match=f"^{name} holds half a character"):
        Question(**{"text": "A?", name: "x\udfff"})


def test_every_text_is_kept_in_composed_form():
    accent, composed = "e\u0301", "\u00e9"
    names = ("text", "id", "background", "resolution_criteria", "subject")
    question = Question(**dict.fromkeys(names, accent))
    assert [getattr(question, name) for name in names] == [composed] * 5
    assert Question(accent).id == text_id(composed)


def test_a_wording_is_folded_and_its_letters_are_not_confused():
    assert folded("  Will  STRASSE be\tclosed ?!") == folded("will straße be closed")
    assert folded("Ilıca?") != folded("Ilica?")
    assert folded("A.B?") == "a.b"


def test_what_has_no_width_belongs_to_no_wording_and_to_no_end_of_a_text():
    assert folded("Will\u200b A\u200e happen?") == folded("Will A happen?")
    assert folded("Ünder\u200b?") == "ünder"
    assert Question("\ufeff Will A happen?\u200b").text == "Will A happen?"
    assert Question("\u200bWill \u200eA\u200e happen?").text == "Will \u200eA\u200e happen?"


def test_a_subject_is_the_id_unless_given_and_never_a_column(tmp_path):
    assert Question("Will it rain?", id="rain").subject == "rain"
    assert Question("Will it rain?", id="rain@2025-01-06", subject="rain").subject == "rain"
    file = tmp_path / "q.csv"
    file.write_text("question,id,subject\nWill it rain?,rain,weather\n", encoding="utf-8")
    (question,) = questions_in(file)
    assert (question.subject, question.extra) == ("rain", {"subject": "weather"})


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        (0, "0"),
        ("0", "0"),
        (" oil ", "oil"),
        ("oil\u200b", "oil"),
        ("", "q"),
        (None, "q"),
        ("N/A", "q"),
    ],
)
def test_a_cluster_is_its_text_or_the_question_alone(cluster, expected):
    assert cluster_of({"cluster": cluster}, "q") == expected
    assert cluster_of({}, "q") == "q"
