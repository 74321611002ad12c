"""Questions of one event before different days are told from all others."""

from __future__ import annotations

import pytest

from questions.deadlines import deadline


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("before 1 July 2027", "2027-07-01"),
        ("before July 1, 2027", "2027-07-01"),
        ("before the 1st of Jul 2027", "2027-07-01"),
        ("on or before 2027-07-01", "2027-07-02"),
        ("no later than 31 December 2027", "2028-01-01"),
        ("no later than Sept. 2027", "2027-10-01"),
        ("on or before Dec 2027", "2028-01-01"),
        ("no later than 2027", "2028-01-01"),
        ("before 2028", "2028-01-01"),
    ],
)
def test_the_day_is_read_and_taken_out(written, day):
    found = deadline(f"Will a human land on the Moon {written}?")
    assert found == ("will a human land on the moon <before>", day)


@pytest.mark.parametrize(
    "text",
    [
        "Will a human land on the Moon by 1 July 2027?",  # may mean the state on that day
        "Will a human land on the Moon before 31 February 2027?",
        "Will a human land on the Moon before Christmas?",
        "Will A happen before 1 July 2027 and B before 1 August 2027?",
        "Will the king remain on the throne before 1 July 2027?",
        "Will there be fewer than 5 launches before 1 July 2027?",
        "Will Norway not join before 1 July 2027?",
        "Won't Norway join before 1 July 2027?",
        "Will gold close above $5 on the day before 1 July 2027?",
        "Will the latest inflation rate before 1 July 2027 exceed 3 %?",
        "Will A have won more games than B before 1 July 2027?",
        "Will only one person land there before 1 July 2027?",
        "Will a human land on the Moon no later than 9999-12-31?",
        "Will it rise between 1 May 2027 and before 1 July 2027?",
    ],
)
def test_what_need_not_get_more_probable_with_time_is_left_alone(text):
    assert deadline(text) is None


def test_other_words_for_the_same_day_are_one_deadline():
    ways = (
        "before 1 July 2027",
        "before July 2027",
        "on or before June 30, 2027",
        "no later than June 2027",
        "before the end of June 2027",
        "prior to July 1, 2027",
        "no later than 2027-06-30",
    )
    found = {deadline(f"Will more than 5 people land there {way}?") for way in ways}
    assert found == {("will more than 5 people land there <before>", "2027-07-01")}


def test_other_words_are_another_event():
    one, other = (
        deadline(f"Will {name} join NATO before 2029?") for name in ("Austria", "Ireland")
    )
    assert one is not None
    assert other is not None
    assert one[0] != other[0]
