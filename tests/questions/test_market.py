"""Market prices: their names, unit and day; a bad one costs a line and never the forecast."""

from __future__ import annotations

import json

import pytest

from questions.files import read_question_file
from questions.market import MarketPrice, market_price, price_notes, stated_price
from questions.question import Question


def read(folder, content, name="q.csv"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    reading = read_question_file(path)
    return reading.questions, [note.replace(f"{path}: ", "") for note in reading.notes]


@pytest.mark.parametrize(
    ("cell", "price"), [("0.38", 0.38), ("62%", 0.62), ("62 %", 0.62), ("0", 0.0), ("1", 1.0)]
)
def test_a_price_is_a_probability_or_a_percentage_with_its_sign(tmp_path, cell, price):
    table = f"question,Market Price,price_date\nWill A?,{cell},2026-05-01T23:30:00-02:00\n"
    (question,), notes = read(tmp_path, table)
    assert stated_price(question.extra) == MarketPrice(price, "2026-05-02")
    assert notes == []


@pytest.mark.parametrize("cell", ["-0.1", "1.01", "62", "140 %", "nan", "high", '"0,35"', "[]"])
def test_a_bad_price_is_one_line_and_the_others_stay(tmp_path, cell):
    table = f"question,market_probability\nWill A?,0.5\nWill B?,{cell}\nWill C?,0.25\n"
    questions, notes = read(tmp_path, table)
    prices = [
        price and price.probability for price in map(stated_price, (q.extra for q in questions))
    ]
    assert prices == [0.5, None, 0.25]
    shown = cell.strip('"')
    assert len(notes) == 1
    assert notes[0].startswith(
        f"1 market price not used, line 3: market_probability is '{shown}', expected a probability"
    )


def test_a_column_in_percent_without_the_sign_is_not_trusted_below_1_either(tmp_path):
    table = "question,market_probability\nWill A?,62\nWill B?,0.5\nWill C?,97\nWill D?,3%\n"
    questions, notes = read(tmp_path, table)
    assert [stated_price(q.extra) for q in questions] == [None, None, None, MarketPrice(0.03, None)]
    assert len(notes) == 1
    assert "3 market prices not used" in notes[0]
    assert "line 3: market_probability is '0.5', beside others above 1" in notes[0]


@pytest.mark.parametrize(
    ("cells", "trusted"),
    [
        (("0", "1", "1", "62", "97"), []),  # one percent is not certain
        (("0.5", "62"), []),
        (("0.5", "0.25", "62"), [0.5, 0.25]),
        (("0", "1", "1"), [0.0, 1.0, 1.0]),
        (('"62,5"', '"97,5"', "1"), []),
        (('"0,625"', "1"), [1.0]),
    ],
)
def test_numbers_that_may_be_percent_are_not_trusted(tmp_path, cells, trusted):
    rows = "".join(f"Will {n}?,{cell}\n" for n, cell in enumerate(cells))
    questions, _ = read(tmp_path, f"question,market_probability\n{rows}")
    prices = [stated_price(q.extra) for q in questions]
    assert [price.probability for price in prices if price] == trusted


@pytest.mark.parametrize("value", [10**400, -(10**400), True, [0.5], {"q2": 0.5}, "50％", "1e999"])
def test_no_value_of_a_price_ends_the_program(tmp_path, value):
    for row in (
        {"market_probability": value},
        {"outcomeType": "BINARY", "isResolved": False, "probability": value},
        {"source": "infer", "freeze_datetime": "2026-05-01", "freeze_datetime_value": value},
    ):
        (question,), notes = read(tmp_path, [{"question": "Will A?", **row}], "q.json")
        assert stated_price(question.extra) is None
        assert "1 market price not used, line 1: market_probability is" in "".join(notes)


def test_prices_of_polymarket_that_cannot_be_read_are_said(tmp_path):
    row = {
        "conditionId": "0x",
        "question": "Will A?",
        "outcomes": "Yes|No",
        "outcomePrices": "0.2|0.8",
    }
    (question,), notes = read(tmp_path, [row], "q.json")
    assert stated_price(question.extra) is None
    assert (
        "1 market price not used, line 1: market_probability is '0.2|0.8', expected a" in notes[0]
    )


def test_a_day_that_is_none_takes_its_price_with_it(tmp_path):
    table = "question,market_probability,market_date\nWill A?,0.5,last week\n"
    (question,), notes = read(tmp_path, table)
    assert stated_price(question.extra) is None
    assert notes == [
        "1 market price not used, line 2: market_date is 'last week', expected a date like 2026-12-31"
    ]


PLATFORMS = [
    ({"id": "m", "question": "Will A?", "outcomeType": "BINARY", "isResolved": False,
      "probability": 0.3, "closeTime": 1798675200000, "lastBetTime": 1777636800000},
     MarketPrice(0.3, "2026-05-01")),
    ({"id": "p", "question": "Will A?", "conditionId": "0x", "outcomes": '["No", "Yes"]',
      "outcomePrices": '["0.8", "0.2"]', "updatedAt": "2026-05-01T10:00:00Z", "closed": False},
     MarketPrice(0.2, "2026-05-01")),
    ({"id": 1, "title": "Will A?", "question": {"id": 2, "type": "binary", "aggregations":
      {"recency_weighted": {"latest": {"centers": [0.41], "start_time": 1777636800.5}}}}},
     MarketPrice(0.41, "2026-05-01")),
    ({"id": "f", "question": "Will A?", "source": "infer", "freeze_datetime_value": "0.95",
      "freeze_datetime": "2026-05-01T00:00:00+00:00"}, MarketPrice(0.95, "2026-05-01")),
    # The prices of what has ended are its answer.
    ({"id": "q", "question": "Will A?", "conditionId": "0x", "outcomes": '["Yes", "No"]',
      "outcomePrices": '["1", "0"]', "updatedAt": "2026-05-01T10:00:00Z", "closed": True}, None),
    ({"id": "q", "question": "Will A?", "conditionId": "0x", "outcomes": '["Yes", "No"]',
      "outcomePrices": '["1", "0"]', "updatedAt": "2026-05-01T10:00:00Z", "closed": 1}, None),
    ({"id": "m", "question": "Will A?", "outcomeType": "BINARY", "isResolved": 1, "resolution": "YES",
      "resolutionTime": 1700000000000, "probability": 0.99}, None),
    ({"condition_id": "0x", "question": "Will A?", "closed": False,
      "tokens": [{"outcome": "No", "price": 0.7}, {"outcome": "Yes", "price": 0.3}]}, MarketPrice(0.3, None)),
    # Never traded: the prices of both answers do not add up to 1.
    ({"id": "u", "question": "Will A?", "conditionId": "0x", "outcomes": '["Yes", "No"]',
      "outcomePrices": '["0", "0"]', "updatedAt": "2026-05-01T10:00:00Z", "closed": False}, None),
    ({"id": 7, "name": "Will A?", "type": "Forecast::YesNoQuestion", "state": "resolved",
      "answers": [{"name": "Yes", "probability": 1.0}, {"name": "No", "probability": 0.0}]}, None),
    ({"id": 8, "name": "Will A?", "type": "Forecast::YesNoQuestion", "state": "active",
      "answers": [{"name": "Yes", "probability": 0.9}, {"name": "No", "probability": 0.1}]},
     MarketPrice(0.9, None)),
    # A level of a series is no price.
    ({"id": "s", "question": "Will A?", "source": "fred", "freeze_datetime_value": "0.95",
      "freeze_datetime": "2026-05-01T00:00:00+00:00"}, None),
]  # fmt: skip


@pytest.mark.parametrize(("row", "price"), PLATFORMS)
def test_platforms_state_a_price_and_its_day(tmp_path, row, price):
    (question,), notes = read(tmp_path, [row], "q.json")
    assert stated_price(question.extra) == price
    assert [note for note in notes if "price" in note] == []


def test_a_freeze_value_that_is_no_price_costs_a_line(tmp_path):
    row = {"question": "Will A?", "source": "infer", "freeze_datetime_value": "95"}
    (question,), (note,) = read(tmp_path, [{**row, "freeze_datetime": "2026-05-01"}], "q.json")
    assert stated_price(question.extra) is None
    assert note.startswith("1 market price not used, line 1: market_probability is '95'")


def test_freeze_values_in_percent_are_no_prices_under_another_name(tmp_path):
    rows = [
        {"id": str(n), "question": f"Will {n}?", "source": "infer", "freeze_datetime": "2026-05-01",
         "freeze_datetime_value": value}
        for n, value in enumerate(("1", "62", "97"))
    ]  # fmt: skip
    questions, _ = read(tmp_path, rows, "q.json")
    assert [stated_price(q.extra) for q in questions] == [None] * 3


@pytest.mark.parametrize(
    ("day", "as_of", "reason"),
    [
        ("2026-05-01", "2026-05-01", ""),
        ("2026-05-02", "2026-05-01", "it is dated after the day of the forecast: 'x' (2026-05-02)"),
        (None, "2026-05-01", "it has no date, so it may be later than as_of: 'x'"),
        ("2026-06-01", None, ""),
        ("2026-06-02", None, "it is dated after the day of the forecast: 'x' (2026-06-02)"),
        (None, None, ""),
    ],
)
def test_no_price_from_after_the_day_is_used(day, as_of, reason):
    extra = {"market_probability": 0.4, **({"market_date": day} if day else {})}
    question, today = Question("Will A?", id="x", as_of=as_of, extra=extra), "2026-06-01"
    expected = [] if not reason else [f"1 market price not used, {reason}"]
    assert price_notes([question], None, today) == expected
    found = market_price(question, as_of or today, live=as_of is None)
    assert (found is None) == bool(reason)


def test_the_first_price_that_can_be_used_counts():
    extra = {"market_probability": 0.4, "baseline_crowd": 0.3, "freeze_date": "2026-04-01"}
    question = Question("Will A?", id="x", as_of="2026-05-01", extra=extra)
    assert market_price(question, "2026-05-01", live=False) == MarketPrice(0.3, "2026-04-01")
    assert market_price(question, "2026-05-01", live=True) == MarketPrice(0.4, None)
    assert price_notes([question], None, "2026-06-01") == []
