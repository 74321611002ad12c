"""Dates and probabilities are read strictly."""

from __future__ import annotations

import pytest

from questions import columns
from questions.cells import is_fractional
from tests.support.question_files import own


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("2026-12-31", "2026-12-31"),
        ("2026-12-31T12:00:00Z", "2026-12-31"),
        ("2026-12-31 23:30:00-05:00", "2027-01-01"),
        ("2027-01-01T01:00:00.123456+02:00", "2026-12-31"),
        ("2026-12-31 12:00:00 UTC", "2026-12-31"),
        ("N/A", None),
        (" ", None),
    ],
)
def test_a_timestamp_is_its_day_in_utc(ask, written, day):
    _, _, (asked,) = ask("q.csv", f"question,close_date\nWill A?,{written}\n")
    assert asked["close_date"] == day


@pytest.mark.parametrize(
    "written", ["2026-12-310000 garbage", "2026-12-31 or so", "12/31/2026", "31.12.2026", "2026-13-01", "20261231",
                "1798675200", "2026-12-31T25:00:00Z", "2026-W53-4", "٢٠٢٦-١٢-٣١", "9999-12-31T23:59:59-01:00",
                "0206-12-31", "0001-01-01T00:00:00", "1899-12-30"]
)  # fmt: skip
def test_what_is_no_date_is_refused(ask, written):
    code, err, _ = ask("q.csv", f"question,close_date\nWill A?,2027-01-01\nWill B?,{written}\n")
    assert code == 2
    assert f"q.csv, line 3: close_date is '{written}', expected a date like 2026-12-31" in err


@pytest.mark.parametrize("column", columns.PROBABILITIES)
@pytest.mark.parametrize("cell", ["12", '"0,35"', "12%", "-0.1", "nan", "1e3", "high", "1.0001"])
def test_a_probability_is_from_0_to_1(ask, column, cell):
    text = f"question,{column}\nWill A?,1\nWill B?,0.5\nWill C?,\nWill D?,N/A\nWill E?,{cell}\nWill F?,99\n"
    code, err, _ = ask("q.csv", text)
    assert code == 2
    assert (
        f"q.csv, line 6: {column} is '{cell.strip(chr(34))}', expected a probability from 0 to 1"
        in err
    )


def test_probabilities_within_bounds_are_kept(ask):
    _, _, asked = ask(
        "q.jsonl", '{"question": "Will A?", "crowd": 1}\n{"question": "Will B?", "crowd": "N/A"}\n'
    )
    assert [q["extra"] for q in asked] == [{"crowd": 1}, {}]


def test_a_truth_value_is_no_probability(ask):
    code, err, _ = ask("q.jsonl", '{"question": "Will A?", "crowd": true}')
    assert code == 2
    assert "q.jsonl, line 1: crowd is True, expected a probability" in err


def test_characters_of_no_width_around_a_cell_do_not_count(ask):
    code, _, asked = ask(
        "q.csv",
        "id,question,close_date,crowd\n\ufeffq1\u200b,\u200bWill A?\u200b,\u200e2099-01-01\u200b,\u200b0.5\n",
    )
    assert code == 0
    assert own(asked) == [("q1", "Will A?", "", "2099-01-01")]
    assert ask("r.csv", "id,question\nq1,Will A?\n")[0] == 0
    flag = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
    assert ask("f.csv", f"id,question\n{flag},Will England win?\n")[2][0]["id"] == flag


def test_a_number_beyond_all_floats_is_no_fraction():
    assert not is_fractional(10**400)
    assert is_fractional("0.5")
