"""The three numbers of a question in the file: round trips, views for people, older databases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from database import Database
from questions.question import Question
from storage.errors import DatabaseError
from storage.final_numbers import AppliedCalibration, FinalNumbers, OutsideView
from storage.records import Resolution
from tests.support.record_database import add_run, point

VIEW = OutsideView(
    "a", 0.3, "2026-01-01", True, 0.4, "template", "will <name> win ?", 7.0, ("r1", "r2"), 0.35, 5.0, True
)  # fmt: skip
NUMBERS = FinalNumbers(
    question_id="a",
    rule_version=1,
    models=0.6,
    assisted=0.45,
    coherent=0.44,
    final=0.42,
    voices={"models": {"probability": 0.6, "weight": 1.0, "note": ""}},
    weights={"models": 1.0},
    projections={"negation": {"before": 0.45, "after": 0.44, "members": {"a~not": 0.57}}},
    calibration_kind="market",
    calibration_day="2026-01-05",
)
CURVE = AppliedCalibration(
    "market", "2026-01-05", "beta", {"a": [1.0]}, 60, 0.2, 0.19, True, "it won", ("1:a", "2:b")
)


@pytest.fixture
def db(tmp_path):
    with Database(tmp_path / "d.db") as database:
        add_run(
            database,
            [Question("Will A?", id="a", extra={"cluster": "k"}), Question("Will B?", id="b")],
            {"x": [point(60), point(20)]},
            made="2026-01-05T10:00:00Z",
        )
        yield database


def test_what_is_stored_comes_back(db):
    db.final.save_outside_views(1, [VIEW])
    db.final.save_outside_views(1, [replace(VIEW, market=0.9)])  # the first stays
    assert db.final.outside_views(1) == {"a": VIEW}
    db.final.save(1, [replace(NUMBERS, final=0.9)], [replace(CURVE, count=3)])
    db.final.save(1, [NUMBERS], [CURVE])  # the last stays
    assert db.final.of_run(1) == {"a": NUMBERS}
    assert db.final.calibrations(1) == [CURVE]


def test_views_have_final_beside_models_and_pools_without_it_are_their_own(db):
    db.final.save_outside_views(1, [VIEW])
    db.final.save(1, [NUMBERS], [CURVE])
    rows = db.connection.query(
        "SELECT question, record, final, models, assisted, market, market_date, market_shown,"
        " base_rate, yes, relatives, calibration_used FROM final_forecasts ORDER BY question"
    )
    assert [tuple(row) for row in rows] == [
        ("Will A?", "live", 42, 60, 45, 30, "2026-01-01", 1, 40, 7, 2, 1),
        ("Will B?", "live", 20, 20, 20, None, None, 0, None, None, None, None),
    ]
    latest = db.connection.query("SELECT agent, mean, final FROM latest_forecasts ORDER BY 2, 1")
    assert [tuple(row) for row in latest] == [
        ("ensemble", 20, 20), ("x", 20, None), ("ensemble", 60, 42), ("x", 60, None)
    ]  # fmt: skip
    assert [(p.mean, p.final, p.final_mean) for p in db.forecasts.ensembles(1)] == [
        (60, 42, 42),
        (20, None, 20),
    ]


def test_final_numbers_that_moved_nothing_are_the_models_exactly(db):
    same = 0.20000000000000004
    db.final.save(
        1,
        [replace(NUMBERS, question_id="b", models=same, assisted=same, coherent=same, final=same)],
        [],
    )
    (row,) = db.connection.query("SELECT final FROM final_forecasts WHERE question_id = 'b'")
    assert row["final"] == db.forecasts.ensembles(1)[1].mean
    assert db.forecasts.ensembles(1)[1].final is None


def test_past_pools_are_live_and_resolved(db):
    db.final.save_outside_views(1, [VIEW])
    db.final.save(1, [NUMBERS], [CURVE])
    assert db.final.past_pools() == []
    db.outcomes.add([Resolution("a", 1, "2026-02-01")])
    (past,) = db.final.past_pools()
    assert (past.question_id, past.mean, past.coherent, past.market) == ("a", 60, 0.44, 0.3)
    assert (past.market_shown, past.base_rate, past.relatives) == (True, 0.4, ("r1", "r2"))
    assert past.strength == 5
    assert past.extra == {"cluster": "k"}


@pytest.mark.parametrize("value", ["{}", "[1]"])
def test_relatives_that_are_no_list_of_names_are_foreign(db, value):
    db.final.save_outside_views(1, [VIEW])
    db.connection.sql.execute("UPDATE outside_views SET relatives = ?", (value,))
    with pytest.raises(DatabaseError, match="relatives"):
        db.final.outside_views(1)
