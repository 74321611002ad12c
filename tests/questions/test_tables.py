"""An unquoted separator in a question is refused, or named where it is doubtful."""

from __future__ import annotations

import pytest


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
