"""Which forecasts count, and which of them is the latest."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pytest

from database import Database
from evaluation import command_line
from evaluation.resolved import (
    RECORDS,
    collect,
    exclusion,
    forecast_time,
    point_forecasts,
    read_voices,
)
from questions.question import Question
from scoring.distribution import Distribution
from scoring.prompts import Passage
from storage.new_records import ForecastRecord
from storage.records import Resolution
from tests.support.record_database import add_evidence, add_run, point, two_records

DAY = "2025-06-01"


@pytest.mark.parametrize(
    ("as_of", "created", "evidence", "outcome", "resolved", "reason"),
    [
        (None, "2025-05-31T23:59:59Z", None, 1, DAY, None),
        (None, "2025-06-01T00:00:00Z", None, 1, DAY, "made after the resolution"),
        (None, "2025-06-01T09:00:00Z", None, 1, "2025-06-01T10:00:00Z", None),
        # Live: the evidence is what there was.
        (None, "2025-01-01T00:00:00Z", "2025-05-05T00:00:00Z", 0, DAY, None),
        ("2025-05-31", "2026-01-01T00:00:00Z", "2025-05-31T20:00:00Z", 1, DAY, None),
        (
            "2025-05-31",
            "2026-01-01T00:00:00Z",
            "2025-06-01T00:00:00Z",
            1,
            DAY,
            "evidence newer than as_of",
        ),
        ("2025-06-01", "2026-01-01T00:00:00Z", None, 1, DAY, "as_of is not before the resolution"),
        (None, "2025-01-01T00:00:00Z", None, None, DAY, "the question was voided"),
    ],
)
def test_what_counts(as_of, created, evidence, outcome, resolved, reason):
    row = SimpleNamespace(as_of=as_of, created_at=created, latest_evidence=evidence)
    assert exclusion(row, Resolution("a", outcome, resolved)) == reason


def test_forecast_time_of_a_backtest_is_the_end_of_its_day():
    assert forecast_time("2025-05-31", "2026-01-01T00:00:00Z") == datetime(2025, 5, 31, 23, 59, 59)
    assert forecast_time(None, "2026-01-01T00:00:00Z") == datetime(2026, 1, 1)


def test_a_backtest_with_newer_evidence_does_not_count(tmp_path):
    questions = [Question("A?", id="a", as_of="2025-01-10")]
    with Database(tmp_path / "d.db") as database:
        old, new = (
            add_evidence(database, "2025-01-09T00:00:00Z"),
            add_evidence(database, "2025-01-11T00:00:00Z"),
        )
        add_run(database, questions, {"x": [point(60)]}, passage=old)
        add_run(database, questions, {"x": [point(60)]}, passage=new)
        database.outcomes.add([Resolution("a", 1, DAY)])
        record = collect(database)
    assert {j.run_id for j in record.judged} == {1}
    assert {(e.run_id, e.forecaster, e.reason) for e in record.excluded} == {
        (2, "x", "evidence newer than as_of"),
        (2, "ensemble", "evidence newer than as_of"),
    }


def test_a_point_forecast_is_never_above_one_by_rounding(tmp_path):
    p = np.zeros(101)
    p[99:] = 1e-16, 1.0
    assert Distribution(p).probability > 1
    with Database(tmp_path / "d.db") as database:
        given = {"x": [Distribution(p)]}
        add_run(database, [Question("A?", id="a")], given, made="2025-01-01T00:00:00Z")
        database.outcomes.add([Resolution("a", 1, DAY)])
        assert {j.probability for j in collect(database).judged} == {1.0}


def test_a_later_backtest_never_replaces_a_live_forecast(tmp_path):
    with two_records(tmp_path / "d.db") as database:
        record = collect(database)
    live, dated = record.part("live"), record.part("back-dated")
    assert [j.probability for j in live.latest("x")] == [pytest.approx(0.6)]
    assert [(j.as_of, j.probability) for j in dated.latest("x")] == [
        ("2025-01-10", pytest.approx(0.2)),
        ("2025-01-20", pytest.approx(0.3)),
    ]
    # Also where nobody asks for one record only.
    assert sorted(j.probability for j in record.latest("x")) == pytest.approx([0.2, 0.3, 0.6])
    assert {j.cluster for j in dated.judged} == {"a"}  # days of one question are related


def test_a_backtest_of_the_same_id_does_not_replace_a_live_forecast_either(tmp_path):
    with Database(tmp_path / "d.db") as database:
        add_run(database, [Question("A?", id="a")], {"x": [point(60)]}, made="2025-02-01T10:00:00Z")
        add_run(
            database,
            [Question("A?", id="a", as_of="2025-05-01")],
            {"x": [point(99)]},
            made="2026-01-01T10:00:00Z",
        )
        database.outcomes.add([Resolution("a", 1, DAY)])
        record = collect(database)
    assert [j.probability for j in record.part("live").latest("x")] == [pytest.approx(0.6)]
    assert [j.previous for j in record.part("live").latest("x")] == [None]
    assert [j.previous for j in record.part("back-dated").latest("x")] == [None]


def test_a_forecast_is_scored_with_the_columns_of_its_own_run(tmp_path):
    with Database(tmp_path / "d.db") as database:
        for crowd, cluster, made in (
            ("0.9", "old", "2025-02-01T10:00:00Z"),
            ("0.2", "new", "2025-03-01T10:00:00Z"),
        ):
            question = Question("A?", id="a", extra={"crowd": crowd, "cluster": cluster})
            add_run(database, [question], {"x": [point(60)]}, made=made)
        database.outcomes.add([Resolution("a", 1, DAY)])
        found = {j.run_id: (j.extra["crowd"], j.cluster) for j in collect(database).judged}
    assert found == {1: ("0.9", "old"), 2: ("0.2", "new")}


def test_back_dated_forecasts_of_one_day_are_not_one_anothers_previous(tmp_path):
    questions = [
        Question("A?", id=f"a@{day}", subject="a", as_of=day)
        for day in ("2025-01-10", "2025-01-20")
    ]
    with Database(tmp_path / "d.db") as database:
        add_run(database, questions, {"x": [point(20), point(30)]})
        add_run(database, questions, {"x": [point(40), point(50)]})
        database.outcomes.add([Resolution("a", 1, DAY)])
        record = collect(database)
    found = {(j.run_id, j.as_of): j.previous for j in record.judged if j.forecaster == "x"}
    assert found[1, "2025-01-10"] is None
    assert found[2, "2025-01-10"] is None
    assert found[1, "2025-01-20"] == pytest.approx(0.4)  # the later attempt at the 10th
    assert [j.probability for j in record.latest("x")] == pytest.approx([0.4, 0.5])


def chunked(path, as_of, *chunks):
    """A resolved question of one agent whose evidence was divided: (percentage, day of the evidence) of each chunk."""
    with Database(path) as database:
        question = Question("Will D happen?", id="d")
        run = database.runs.start(
            settings={}, versions={}, seed=1, as_of=as_of, questions=[question]
        )
        for number, (percent, day) in enumerate(chunks):
            passage = add_evidence(database, f"{day}T00:00:00Z", f"https://example.org/{number}")
            forecast = ForecastRecord(
                "d",
                "x",
                "owner/x",
                chunk=number,
                distribution=point(percent),
                captured_mass=0.9,
                residual_mass=0.0,
                evidence=(Passage(id=passage, text="", rank=1, score=0.5),),
            )
            database.forecasts.save(run, forecast)
        database.outcomes.add([Resolution("d", 1, "2099-06-01")])
        return collect(database)


def test_an_agent_s_forecast_is_the_mean_of_its_chunks(tmp_path):
    record = chunked(
        tmp_path / "d.db",
        None,
        (20, "2025-01-01"),
        (80, "2025-01-01"),
        (50, "2025-01-01"),
        (90, "2025-01-01"),
    )
    (judged,) = record.judged
    assert judged.probability == pytest.approx(0.6)


@pytest.mark.parametrize("days", [("2025-03-02", "2025-01-01"), ("2025-01-01", "2025-03-02")])
def test_one_chunk_with_newer_evidence_leaves_a_back_dated_forecast_out(tmp_path, days):
    record = chunked(tmp_path / "d.db", "2025-03-01", *((50, day) for day in days))
    assert (record.judged, [e.reason for e in record.excluded]) == (
        (),
        ["evidence newer than as_of"],
    )
    record = chunked(tmp_path / "e.db", "2025-03-02", *((50, day) for day in days))
    assert [j.as_of for j in record.judged] == ["2025-03-02"]


def test_a_chunk_of_little_captured_mass_weighs_less(tmp_path):
    with Database(tmp_path / "d.db") as database:
        question = Question("Will D happen?", id="d")
        run = database.runs.start(
            settings={}, versions={}, seed=1, as_of=None, questions=[question]
        )
        for chunk, (percent, captured) in enumerate(((20, 0.1), (80, 0.9))):
            forecast = ForecastRecord(
                "d",
                "x",
                "owner/x",
                chunk=chunk,
                distribution=point(percent),
                captured_mass=captured,
                residual_mass=0.0,
            )
            database.forecasts.save(run, forecast)
        (row,) = point_forecasts(database)
        voice = read_voices(database, [(run, "d")])[run, "d"]["x"]
    assert row.mean == pytest.approx(70)  # (0.2 * 20 + 80) / 1.2
    assert voice.distribution.mean == pytest.approx(70)


def test_the_command_line_knows_the_two_records():
    assert command_line.RECORDS == RECORDS
