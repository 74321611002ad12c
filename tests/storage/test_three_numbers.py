"""The three numbers of a question in the file: round trips, views for people, older databases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from database import Database
from questions.question import Question
from storage.errors import DatabaseError
from storage.final_numbers import AppliedCalibration, FinalNumbers, OutsideView
from storage.records import Resolution
from tests.support.older_schema import older_schema, schema_before
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


def test_lists_of_ids_are_stored_once_and_an_empty_one_not_at_all(db):
    views = [VIEW, replace(VIEW, question_id="b"), replace(VIEW, question_id="c", relatives=())]
    db.runs.start(
        settings={}, versions={}, seed=1, as_of=None,
        questions=[Question(f"Will {name}?", id=name) for name in "abc"],
    )  # fmt: skip
    db.final.save_outside_views(2, views)
    curves = [CURVE, replace(CURVE, kind="none", forecasts=()), replace(CURVE, kind="other")]
    db.final.save(2, [], curves)
    db.final.save(1, [], [CURVE])
    assert db.final.outside_views(2) == {view.question_id: view for view in views}
    assert db.final.calibrations(2) == curves
    lists = db.connection.query("SELECT ids FROM id_lists ORDER BY id")
    assert [row["ids"] for row in lists] == ['["r1", "r2"]', '["1:a", "2:b"]']


def test_lists_of_older_schemas_are_kept(tmp_path):
    """There each row had its own list."""
    path = tmp_path / "old.db"
    with older_schema(schema_before("TABLE id_lists")), Database(path) as database:
        questions = [Question("Will A?", id="a"), Question("Will B?", id="b")]
        add_run(database, questions, {"x": [point(60), point(20)]})
        sql = database.connection.sql
        for name, ids in (("a", '["r1", "r2"]'), ("b", "[]")):
            sql.execute(
                "INSERT INTO outside_views (run_id, question_id, market_shown, base_rate_shown,"
                " relatives) VALUES (1, ?, 0, 0, ?)",
                (name, ids),
            )
        for kind, ids in (("both", '["1:a", "1:b"]'), ("none", "[]"), ("same", '["r1", "r2"]')):
            sql.execute(
                "INSERT INTO applied_calibrations VALUES"
                " (1, ?, '2026-01-05', 'beta', '{}', 0, NULL, NULL, 0, '', ?)",
                (kind, ids),
            )
    with Database(path) as database:
        views = database.final.outside_views(1)
        assert [views[name].relatives for name in "ab"] == [("r1", "r2"), ()]
        curves = {one.kind: one.forecasts for one in database.final.calibrations(1)}
        assert curves == {"both": ("1:a", "1:b"), "none": (), "same": ("r1", "r2")}
        counts = database.connection.query("SELECT relatives FROM final_forecasts ORDER BY 1")
        assert [row["relatives"] for row in counts] == [0, 2]
        assert [*database.connection.query("SELECT count(*) FROM id_lists")[0]] == [2]
        assert database.connection.query("PRAGMA foreign_key_check") == []


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
    assert (past.market_shown, past.base_rate, past.relatives) == (True, 0.4, 2)
    assert past.strength == 5
    assert past.extra == {"cluster": "k"}


@pytest.mark.parametrize("value", ["{}", "[1]"])
def test_relatives_that_are_no_list_of_names_are_foreign(db, value):
    db.final.save_outside_views(1, [VIEW])
    db.connection.sql.execute("UPDATE id_lists SET ids = ?", (value,))
    with pytest.raises(DatabaseError, match="relatives"):
        db.final.outside_views(1)
