"""A date is read by one rule, wherever a user gives one."""

from __future__ import annotations

import pytest

from evaluation.outcomes import parse_date
from evaluation.resolving import one_outcome
from evidence.as_of import as_of_moment
from questions.cells import InputError
from questions.files import question_from, unique_questions
from questions.question import Question
from runs.command_line import UsageError, parser
from runs.plan import make_plan

# Dates to Python's date.fromisoformat, but for the last two.
REFUSED = ("20250601", "2025-W23-1", "2025-W23", "2025W231", "2025-06", "yesterday")


def option(text):
    return make_plan(parser().parse_args(["--question", "Will A?", "--as-of", text]), []).as_of


DOORS = {
    "--as-of": option,
    "--date": lambda text: one_outcome("a", "yes", [], text).date,
    "as_of": lambda text: question_from({"question": "Will A?", "as_of": text}).as_of,
    "close_date": lambda text: Question("Will A?", close_date=text).close_date,
    "date": parse_date,
}


@pytest.mark.parametrize("name", DOORS)
@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_date_in_a_file_is_none_elsewhere(name, text):
    with pytest.raises((InputError, UsageError)) as caught:
        DOORS[name](text)
    assert str(caught.value) == f"{name} is {text!r}, expected a date like 2026-12-31"


@pytest.mark.parametrize("name", DOORS)
def test_what_is_a_date_in_a_file_is_one_elsewhere(name):
    kept = "2025-06-02T04:30:00Z" if "date" in (name, name.removeprefix("--")) else "2025-06-02"
    assert DOORS[name]("2025-06-01T23:30:00-05:00") == kept
    assert DOORS[name](" 2025-06-01 ") == "2025-06-01"


@pytest.mark.parametrize("name", [name for name in DOORS if name != "close_date"])
def test_a_day_that_is_past_is_not_in_the_future(name):
    with pytest.raises((InputError, UsageError)) as caught:
        DOORS[name]("2999-01-01")
    assert str(caught.value) == f"{name} is '2999-01-01', which lies in the future"


@pytest.mark.parametrize("text", ["", " ", "n/a"])
def test_an_option_without_a_date_is_not_taken_as_left_out(text):
    for name in ("--as-of", "--date"):
        with pytest.raises((InputError, UsageError), match=f"{name} is missing"):
            DOORS[name](text)


def test_a_listed_question_is_asked_from_no_day_to_come():
    listed = [Question("Will A?"), Question("Will B?", as_of="2999-01-01")]
    with pytest.raises(InputError, match="list: question 2: as_of is '2999-01-01', which lies"):
        unique_questions(listed, "list")


def test_a_retriever_is_given_a_date_or_a_moment():
    assert as_of_moment("2025-06-01") == "2025-06-01T23:59:59Z"
    assert as_of_moment("2025-06-01T10:00:00+02:00") == "2025-06-01T08:00:00Z"
    for text in (*REFUSED, ""):
        with pytest.raises(InputError, match=r"expected a date like 2026-12-31"):
            as_of_moment(text)
