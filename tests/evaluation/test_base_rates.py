"""Base rates: masked templates, shrinkage by hand, and nothing from the future."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.base_rates import (
    FEW,
    LEAST_TRUST,
    STRENGTH,
    BaseRate,
    Past,
    PastQuestion,
    base_rate,
    held_near_half,
    trust,
)
from evaluation.templates import OPENING_WORDS, opening, question_template
from questions.question import Question


def past(number: int, outcome: float, resolved_on: str, **changes: object) -> PastQuestion:
    text = f"Will Rovers win match {number} by 2025-03-{number % 28 + 1:02}?"
    known = PastQuestion(f"p{number}", text, "league", "", outcome, resolved_on)
    return replace(known, **changes)  # type: ignore[arg-type]


ASKED = Question("Will United win match 77 by 5 May 2026?", extra={"source": "league"})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            "Will there be more 'Battles' in Bosnia and Herzegovina for the 30 days before"
            " 2026-01-11? e.g. whatever",
            "Will there be more 'Riots' in Haiti for the 7 days before {resolution_date}?",
        ),
        (
            "Will JBL's market close price on 2026-01-11 be higher than on 2026-01-04?",
            "Will Nvidia's market close price on March 3, 2026 be higher than on 1 March?",
        ),
        (
            "Will the S&P 500 close above $7,883.34 on December 31, 2026?",
            "Will the Nasdaq 100 close above 21k on Dec 3?",
        ),
        (
            "Will “Dune: Part Three” gross over $500m by 1st of May 2027?",
            "Will “Wicked” gross over $20m by Q3 2026?",
        ),
        (
            "Will a vaccine exist for Toxic shock (TSS) by 2026-01-11?",
            "Will a vaccine exist for Herpes shock by 2029?",
        ),
    ],
)
def test_questions_of_one_template(first: str, second: str) -> None:
    assert question_template(first) == question_template(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Will Haiti have more riots by May 2026?", "Will Haiti have fewer riots by May 2026?"),
        ("Will the price rise?", "Will the price fall?"),
        (
            "Will there be more than ten times as many 'Riots' in Haiti?",
            "Will there be more 'Riots' in Haiti?",
        ),
        ("Will Bitcoin Close Above $9 in May?", "Will Bitcoin Close Below $9 in May?"),
        ("WILL PELE WIN THE CUP?", "WILL PELE LOSE THE CUP?"),
        ("Will the rate change by 5% or more?", "Will the rate change by -5% or more?"),
        ("What will the CPI be? Above 3%", "What will the CPI be? Below 3%"),
        ("How many riots? (More than 5)", "How many riots? (Fewer than 5)"),
        ("Will Ann say 'yes'?", "Will Ann say 'no'?"),
        ("Will Ann Sing?", "Won't Ann Sing?"),
    ],
)
def test_questions_of_different_templates(first: str, second: str) -> None:
    assert question_template(first) != question_template(second)


def test_opposite_questions_share_no_opening() -> None:
    start = "Will the price of gold at the end of May be"
    first, second = (question_template(f"{start} {way} $5?") for way in ("above", "below"))
    known = [past(n, 1.0, "2026-01-10", text=f"{start} above ${n}?") for n in range(20)]
    assert opening(first) == "will the price of gold at the end above"
    assert opening(second) == "will the price of gold at the end below"
    asked = Question(f"{start} below $5?", extra={"source": "league"})
    found = base_rate(asked, "2026-02-01", known)
    assert found is not None
    assert (found.kind, found.support) == ("source", 0)


def test_a_template_by_hand() -> None:
    text = "Will Emmanuel Macron resign before July 1, 2026? Or later?"
    assert question_template(text) == "will <name> resign before <date> ?"


def test_a_share_by_hand() -> None:
    """0 of 8 of one month, shrunk by two relatives towards the 2 of 4 others of the source.

    (0 + 1) / 10 is 0.4 from 1/2. The months' luck: 4 x 0.2 x p (1 - p) with p = 0.5 / 9 is
    0.041975, a quarter of 0.4 squared: 0.73765 of the distance is kept.
    """
    known = [past(n, 0, "2026-01-10") for n in range(8)]
    known += [past(n, float(n < 12), "2026-01-10", text=f"Is {n} odd?") for n in range(10, 14)]
    found = base_rate(ASKED, "2026-02-01", known)
    assert found is not None
    assert STRENGTH == 2
    assert found.probability == pytest.approx(0.5 - 0.73765 * 0.4, abs=1e-5)
    assert (found.kind, found.yes, found.count) == ("template", 0, 8)
    assert found.strength == pytest.approx(10 / 0.73765 - 8, abs=1e-3)
    assert found.support == pytest.approx(8 * 0.73765, abs=1e-4)
    assert found.family == "will <name> win match <number> by <date> ?"
    assert found.wider is not None
    assert (found.wider.kind, found.wider.yes, found.wider.count) == ("source", 2, 4)
    assert (found.wider.probability, found.wider.prior, found.wider.strength) == (0.5, 0.5, 2)
    check_consistent(found)


def check_consistent(rate: BaseRate | None) -> None:
    """Every level is its own formula; the last one names its relatives."""
    assert rate is None or len(rate.relatives) == rate.count
    while rate is not None:
        whole = (rate.yes + rate.strength * rate.prior) / (rate.count + rate.strength)
        assert rate.probability == pytest.approx(whole)
        assert 0 <= rate.probability <= 1
        rate = rate.wider


def test_relatives_are_the_newest_first_and_end_the_day_before() -> None:
    known = [past(1, 1, "2026-01-01"), past(2, 0, "2026-01-31T23:00:00Z"), past(3, 1, "2026-02-01")]
    found = base_rate(ASKED, "2026-02-01T09:00:00Z", known)
    assert found is not None
    assert found.relatives == ("p2", "p1")


def test_a_question_is_no_relative_of_itself() -> None:
    known = [past(1, 1, "2026-01-01"), past(2, 0, "2026-01-02", id=ASKED.id)]
    found = base_rate(ASKED, "2026-02-01", known)
    assert found is not None
    assert found.relatives == ("p1",)


def test_an_early_answer_counts_from_its_close_date_on() -> None:
    """Of questions that are still open the early answers are known, and those are mostly yes."""
    known = [past(1, 1, "2026-01-01", close_date="2026-06-01")]
    assert base_rate(ASKED, "2026-05-31", known) is None
    assert base_rate(ASKED, "2026-06-02", known) is not None


def test_a_reference_class_takes_the_place_of_the_template() -> None:
    known = [past(n, 0, "2026-01-10") for n in range(8)]
    known += [
        past(n, 1, "2026-01-10", text=f"Odd {n}?", source="x", reference_class="cup")
        for n in range(10, 14)
    ]
    question = replace(ASKED, extra={"source": "league", "reference_class": "cup"})
    found = base_rate(question, "2026-02-01", known)
    assert found is not None
    assert (found.kind, found.family, found.count, found.yes) == ("reference_class", "cup", 4, 4)
    unknown = replace(ASKED, extra={"source": "league", "reference_class": "no such class"})
    other = base_rate(unknown, "2026-02-01", known)
    assert other is not None
    assert other.kind == "template"


def test_a_series_of_five_is_shrunk_towards_the_rest_of_its_template() -> None:
    known = [past(n, 0, "2026-01-10") for n in range(8)]
    known += [past(n, 1, "2026-01-10", series="united") for n in range(10, 10 + FEW)]
    question = replace(ASKED, extra={"source": "league", "cluster": "united"})
    found = base_rate(question, "2026-02-01", known)
    assert found is not None
    assert found.wider is not None
    assert (found.kind, found.count) == ("series", FEW)
    assert (found.wider.kind, found.wider.count, found.wider.yes) == ("template", 8, 0)
    assert found.wider.probability == pytest.approx(0.1)
    # (5 + 2 x 0.1) / 7 = 0.742857, of which the one month of all 13 leaves nothing.
    assert found.probability == pytest.approx(0.5 + LEAST_TRUST * 0.242857, abs=1e-6)
    check_consistent(found)
    fewer = base_rate(question, "2026-02-01", known[:-1])
    assert fewer is not None
    assert (fewer.kind, fewer.count, fewer.yes) == ("template", 8 + FEW - 1, FEW - 1)


def test_nothing_related_has_no_base_rate() -> None:
    assert base_rate(ASKED, "2026-02-01", []) is None
    other = past(1, 1, "2026-01-01", source="else", text="Is it so?")
    assert base_rate(ASKED, "2026-02-01", [other]) is None


def test_a_source_alone_supports_nothing() -> None:
    found = base_rate(ASKED, "2026-02-01", [past(1, 1, "2026-01-01", text="Is it so?")])
    assert found is not None
    assert (found.kind, found.support) == ("source", 0)


def yes_of(yes: int, count: int, months: int) -> BaseRate:
    """The base rate of so many relatives, spread evenly over months."""
    days = [f"{2020 + month // 12}-{month % 12 + 1:02}-15" for month in range(months)]
    known = [past(n, float(n < yes), days[n % months]) for n in range(count)]
    found = base_rate(ASKED, "2026-02-01", known)
    assert found is not None
    check_consistent(found)
    assert (found.yes, found.count) == (yes, count)
    return found


@pytest.mark.parametrize("yes", [20, 65, 80])
def test_one_month_of_prices_says_nothing_however_many_there_are(yes: int) -> None:
    """In March 2026 a fifth of the shares rose, in January and February seven of ten."""
    found = yes_of(yes, 100, 1)
    assert found.probability == pytest.approx(0.5, abs=0.001)
    assert held_near_half(found.count, found.strength)
    assert found.support == pytest.approx(100 * LEAST_TRUST)


def test_a_share_near_an_end_is_news_after_one_month() -> None:
    """0 of 100: (0 + 1) / 102 is 0.4902 from 1/2; luck is 0.8 x 0.00495 x 0.99505 = 0.003941."""
    found = yes_of(0, 100, 1)
    assert found.probability == pytest.approx(0.5 - 0.490196 * (1 - 0.003941 / 0.240292), abs=1e-5)
    assert not held_near_half(found.count, found.strength)


def test_months_count_not_relatives() -> None:
    """70 of 100 in 1, 2, 10 and 50 months; in 10: 1 - 0.8 x 0.21079 / 10 / 0.19608^2 = 0.5614."""
    kept = [trust(100, yes_of(70, 100, months).strength) for months in (1, 2, 10, 50)]
    assert kept == pytest.approx([LEAST_TRUST, LEAST_TRUST, 0.5614, 0.9123], abs=2e-4)
    assert yes_of(70, 100, 10).probability == pytest.approx(0.5 + 0.5614 * 0.196078, abs=1e-4)
    many = trust(1000, yes_of(700, 1000, 2).strength)
    assert many == pytest.approx(LEAST_TRUST)


def test_a_rate_of_one_half_is_held_there() -> None:
    found = yes_of(50, 100, 10)
    assert found.probability == 0.5
    assert found.support == pytest.approx(100 * LEAST_TRUST)


def test_templates_that_open_alike_are_one_family_while_each_is_small() -> None:
    """Eight words: the ninth may differ."""
    text = "Will a vaccine against the disease exist for Herpes {} by May 2026?"
    question = Question(text.format("zoster"), extra={"source": "league"})
    known = [past(n, 0, "2026-01-10", text=text.format(f"type{n}")) for n in range(4)]
    assert OPENING_WORDS == 8
    found = base_rate(question, "2026-02-01", known)
    assert found is not None
    assert (found.family, found.count) == ("will a vaccine against the disease exist for …", 4)
    other = replace(known[0], text="Will a vaccine against the disease exist against Herpes?")
    assert base_rate(question, "2026-02-01", [replace(other, source="x")]) is None


def test_a_few_relatives_in_many_months_are_nearly_taken_at_their_word() -> None:
    """9 of 12 over a year: 10 / 14 = 0.7143; luck 0.8 x (9.5 / 13) (3.5 / 13) / 12 = 0.013116."""
    found = yes_of(9, 12, 12)
    assert found.probability == pytest.approx(0.5 + 0.214286 * (1 - 0.013116 / 0.045918), abs=1e-4)


ROWS = st.lists(
    st.tuples(
        st.integers(1, 28), st.integers(1, 12), st.sampled_from([0.0, 1.0]), st.integers(0, 3)
    ),
    max_size=40,
)


def known_rows(rows: Sequence[tuple[int, int, float, int]]) -> list[PastQuestion]:
    """Past questions of four series, every third with a scheduled close."""
    return [
        past(
            number,
            outcome,
            f"2025-{month:02}-{day:02}",
            series=f"s{series}",
            close_date=f"2025-{month:02}-28" if number % 3 == 0 else None,
        )
        for number, (day, month, outcome, series) in enumerate(rows)
    ]


@given(ROWS, st.integers(1, 12), st.integers(1, 28), st.randoms(use_true_random=False))
def test_no_relative_was_unresolved_and_the_future_changes_nothing(
    rows: list[tuple[int, int, float, int]], month: int, day: int, shuffle: random.Random
) -> None:
    """Whatever the order of the list, and whatever the outcomes that were unknown then."""
    as_of = f"2025-{month:02}-{day:02}"
    known = known_rows(rows)
    question = replace(ASKED, extra={"source": "league", "cluster": "s1"})
    found = base_rate(question, as_of, known)
    resolved = {p.id: p for p in known}
    rate = found
    while rate is not None:
        for name in rate.relatives:
            assert resolved[name].resolved_on < as_of
            assert (resolved[name].close_date or "") < as_of
        rate = rate.wider
    later = [
        replace(p, outcome=1 - p.outcome, text="Another?") if p.resolved_on >= as_of else p
        for p in known
    ]
    shuffle.shuffle(later)
    assert base_rate(question, as_of, later) == found
    assert base_rate(question, as_of, Past(later)) == found
    assert base_rate(question, as_of, [p for p in known if p.resolved_on < as_of]) == found
