"""Which forecasts count, and scores that can be checked by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

import config
from database import Database
from evaluation import intervals, pools, resolved, score_tables
from evaluation import metrics as tr
from evaluation.pools import pooled
from evaluation.resolved import AnalysisError, collect, exclusion, forecast_time
from evaluation.score_tables import skill_rows
from evaluation.scorecard import horizon_name, score_lines
from questions.question import Question
from scoring.distribution import Distribution
from storage.records import EvidenceLink, ForecastRecord, Resolution
from tests.support.record_database import add_evidence, add_run, around, point, small

DAY = "2025-06-01"


@pytest.fixture
def database(tmp_path):
    with Database(small(tmp_path / "d.db")) as database:
        yield database


def resolve(database, **outcomes):
    database.outcomes.add([Resolution({"b": "b/ü"}.get(k, k), v, DAY) for k, v in outcomes.items()])


@pytest.mark.parametrize(
    ("as_of", "created", "evidence", "outcome", "resolved", "reason"),
    [
        (None, "2025-05-31T23:59:59Z", None, 1, DAY, None),
        (None, "2025-06-01T00:00:00Z", None, 1, DAY, "made after the resolution"),
        (None, "2025-06-01T09:00:00Z", None, 1, "2025-06-01T10:00:00Z", None),
        (
            None,
            "2025-01-01T00:00:00Z",
            "2025-05-05T00:00:00Z",
            0,
            DAY,
            None,
        ),  # live: evidence is what there was
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
    assert exclusion(as_of, created, evidence, outcome, resolved) == reason


def test_forecast_time_of_a_backtest_is_the_end_of_its_day():
    assert forecast_time("2025-05-31", "2026-01-01T00:00:00Z") == datetime(2025, 5, 31, 23, 59, 59)
    assert forecast_time(None, "2026-01-01T00:00:00Z") == datetime(2026, 1, 1)


def test_scores_by_hand(database):
    resolve(database, a=1, b=0)
    record = collect(database)
    latest = {j.question_id: j.probability for j in record.latest("x")}
    assert latest == pytest.approx(
        {"a": 0.7, "b/ü": 0.2}
    )  # the second run's forecast of a counts, once
    row = score_tables.score_row("x", record.latest("x"))
    assert row[1:4] == ["2", "2", "0.0650"]  # (0.09 + 0.04) / 2
    assert record.forecasters() == ["ensemble", "x", "y"]
    # The ensemble is the mean: 0.8 and 0.3.
    assert score_tables.score_row("e", record.latest("ensemble"))[3] == "0.0650"


def test_skill_by_hand(database, monkeypatch):
    monkeypatch.setattr(config, "MIN_INTERVAL_CLUSTERS", 2)
    monkeypatch.setattr(config, "MIN_INTERVAL_DF", 1)
    resolve(database, a=1, b=0)
    rows = {row[0]: row for row in skill_rows(collect(database).latest("x"))}
    assert rows["always 50 %"][1:5] == ["2", "0.2500", "0.0650", "+0.740"]
    assert rows["in-sample base rate"][2] == "0.2500"
    # Only a has a crowd (0.9 -> 0.01); ours on a alone is 0.09. One question shows no skill.
    assert rows["crowd"][1:7] == ["1", "0.0100", "0.0900", "–", "+0.0800", "–"]
    # The run before said 0.6 and 0.2: 0.16 and 0.04.
    assert rows["previous forecast"][1:4] == ["2", "0.1000", "0.0650"]


def test_a_crowd_price_from_after_the_forecast_is_marked():
    extra = {
        "baseline_crowd": 0.5,
        "freeze_date": "2025-03-01",
        "crowd_at_due": 0.4,
        "forecast_due_date": "2025-01-01",
    }
    j = resolved.Judged(
        1, "q", "x", point(50), 1, "q", datetime(2025, 2, 1), datetime(2025, 4, 1), extra=extra
    )
    names = [row[0] for row in skill_rows([j])]
    assert "crowd at freeze (later than the forecast)" in names
    assert "crowd at due date" in names


@pytest.mark.parametrize("value", ["", None, "many", 1.2, -0.1])
def test_what_is_no_reference(value):
    j = resolved.Judged(
        1, "q", "x", point(50), 1, "q", datetime(2025, 1, 1), datetime(2025, 2, 1), {"crowd": value}
    )
    assert score_tables.reference_value(j, "crowd") is None


def test_later_forecasts_and_voids_are_listed_not_scored(database):
    database.outcomes.add([Resolution("a", 1, "2025-02-15"), Resolution("c", None, DAY)])
    record = collect(database)
    assert {(j.run_id, j.forecaster) for j in record.judged} == {
        (1, "x"),
        (1, "y"),
        (1, "ensemble"),
    }
    text = "\n".join(score_lines(record))
    assert "not counted: 6 forecasts, the question was voided (c …)" in text
    assert "not counted: 3 forecasts, made after the resolution (a)" in text


def test_nothing_resolved_is_said(database):
    with pytest.raises(
        AnalysisError, match="no forecast question is resolved; record outcomes with --resolve"
    ):
        score_lines(collect(database))
    database.outcomes.add([Resolution("a", 1, "2025-01-15")])
    with pytest.raises(AnalysisError, match="6 made after the resolution"):
        score_lines(collect(database))


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


def test_pools_are_recomputed_on_the_same_questions(database):
    resolve(database, a=1, b=0, c=0)
    by_method = pooled(collect(database))
    assert set(by_method) == {"mean", "median", "geometric", "extremised", "entropy"}
    assert all(len(rows) == 3 for rows in by_method.values())
    linear = {j.question_id: j.probability for j in by_method["mean"]}
    assert linear["a"] == pytest.approx(0.8)
    # Odds 0.7/0.3 and 0.9/0.1: geometric mean sqrt(21) = 4.583, but no mass lies between 70 and 90 to move it otherwise.
    geometric = {j.question_id: j.probability for j in by_method["geometric"]}
    assert geometric["a"] == pytest.approx(4.5826 / 5.5826, abs=1e-3)


def test_past_score_weights_do_not_see_their_own_cluster(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "CALIBRATION_SIMULATIONS", 100)
    generator = np.random.default_rng(2)
    questions = [Question(f"Q{n}?", id=f"q{n}") for n in range(20)]
    outcomes = generator.integers(0, 2, 20)
    good = [point(90 if y else 10) for y in outcomes]
    bad = [point(int(n)) for n in generator.integers(0, 101, 20)]
    third = [around(50) for _ in outcomes]
    with Database(tmp_path / "d.db") as database:
        add_run(
            database,
            questions,
            {"good": good, "bad": bad, "third": third},
            made="2025-01-01T00:00:00Z",
        )
        database.outcomes.add(
            [Resolution(q.id, int(y), DAY) for q, y in zip(questions, outcomes, strict=True)]
        )
        record = collect(database)
    base = record.latest("ensemble")
    parts = [record.agents[j.run_id, j.question_id] for j in base]
    weights = pools._past_score_weights(base, parts)
    assert weights is not None
    assert all(w["good"] > 0.7 for w in weights)
    by_method = pooled(record)
    score = {
        name: np.mean([(j.probability - j.outcome) ** 2 for j in rows])
        for name, rows in by_method.items()
    }
    assert score["weights by past score"] < score["mean"]
    text = "\n".join(score_lines(record))
    assert "weights by past score" in text


@pytest.mark.parametrize(
    ("days", "name"),
    [(0.5, "0–7 days"), (7, "0–7 days"), (31, "30–90 days"), (400, "over 365 days")],
)
def test_horizons(days, name):
    assert horizon_name(days) == name


def test_horizons_and_runs_get_their_own_rows(database):
    resolve(database, a=1, b=0)
    text = "\n".join(score_lines(collect(database)))
    assert "ensemble, run 1" in text
    assert "ensemble, run 2" in text
    assert "ensemble, 90–365 days" in text


def test_table_aligns_and_cuts():
    lines = score_tables.table(("", "n"), [("short", "1"), ("x" * 60, "22")], width=10)
    assert lines[1] == "short        1"
    assert lines[2] == "xxxxxxxxx…  22"


# --- what a few questions cannot show -----------------------------------------------------------------------


def forecasts(count, clusters=None, said=70):
    return [
        resolved.Judged(
            1,
            f"q{n}",
            "x",
            point(said - n % 40),
            n % 3 == 0,
            str(n % (clusters or count)),
            datetime(2025, 1, 1),
            datetime(2025, 2, 1),
        )
        for n in range(count)
    ]


def test_a_row_of_few_questions_claims_nothing():
    few = score_tables.score_row("few", forecasts(29))
    assert few[4] == few[6] == few[9] == "–"
    assert few[3] != "–"  # the average itself describes these questions
    parts = score_tables.parts_row("few", forecasts(29))
    assert parts[2:6] == ["–"] * 4
    assert "–" not in (parts[1], parts[6])
    assert "–" not in score_tables.parts_row("enough", forecasts(30))
    enough = score_tables.score_row("enough", forecasts(30))
    assert "–" not in (enough[4], enough[6], enough[9])
    related = score_tables.score_row("related", forecasts(90, clusters=29))
    assert related[4] == related[6] == "–"
    assert related[9] != "–"


def test_skill_needs_an_interval():
    assert [row[4] for row in skill_rows(forecasts(29))] == ["–", "–"]
    assert all(row[4] != "–" and "…" in row[6] for row in skill_rows(forecasts(30)))


def test_the_interval_of_a_row_is_that_of_its_scores_and_stays_in_range():
    rows = forecasts(60)
    p, y, clusters = resolved.arrays(rows)
    interval = intervals.mean_interval((p - y) ** 2, clusters, least=0, most=1)
    assert score_tables.score_row("x", rows)[4] == f"{interval.low:.3f} … {interval.high:.3f}"
    sure = [replace(j, distribution=point(100 if j.outcome else 0)) for j in rows]
    sure[0] = replace(
        sure[0], distribution=point(0 if sure[0].outcome else 100)
    )  # a single error, of 1
    brier = score_tables.brier_interval(tr.brier_scores(*resolved.arrays(sure)[:2]), clusters)
    assert 0 <= brier.low < 1 / 60 < brier.high <= 1
    log = score_tables.log_interval(tr.log_scores(*resolved.arrays(sure)[:2]), clusters)
    assert 0 <= log.low < log.high <= 5.2984


def test_ece_stands_beside_chance_and_is_starred_beyond_it():
    wrong = [replace(j, outcome=int(n % 5 == 0)) for n, j in enumerate(forecasts(60, said=99))]
    row = score_tables.score_row("wrong", wrong)
    assert row[7].endswith("*")
    error, bound = float(row[7][:-1]), float(row[8].split("up to ")[1])
    assert error > bound
    right = [
        replace(j, outcome=int(n % 10 < 7), distribution=point(70))
        for n, j in enumerate(forecasts(30))
    ]
    assert score_tables.score_row("right", right)[7] == "0.000"


def test_stored_values_that_are_no_probability_are_counted_in_one_line():
    rows = [
        replace(j, extra={"crowd": v})
        for j, v in zip(forecasts(5), ["12", 0.5, "", None, "0,35"], strict=True)
    ]
    (line,) = score_tables.reference_problems(rows)
    assert line == (
        "not counted: 2 of 3 stored values of crowd are no probability from 0 to 1 (such as '12' of q0)"
    )
    assert score_tables.reference_problems(forecasts(2)) == []


def test_coverage_of_a_reference_is_over_clusters():
    """The 80 % interval of 70 % is the point itself, widened by half a percent: 0.70 and 0.704 are inside."""
    values = [0.7, 0.704, 0.71, 0.3]
    rows = [
        replace(j, distribution=point(70), extra={"crowd": values[n % 4]})
        for n, j in enumerate(forecasts(60))
    ]
    inside = np.array([n % 4 < 2 for n in range(60)], dtype=float)
    interval = intervals.mean_interval(inside, range(60), least=0, most=1)
    assert score_tables.coverage_lines(rows) == [
        "the 80 % interval holds the probability of the crowd in 50 % of 60 questions"
        f" (95 %: {interval.low:.2f} … {interval.high:.2f})"
    ]
    assert score_tables.coverage_lines(rows[:29])[0].endswith("of 29 questions (95 %: –)")


def test_a_point_forecast_is_never_above_one_by_rounding():
    p = np.zeros(101)
    p[99:] = 1e-16, 1.0
    (j,) = [replace(j, distribution=Distribution(p)) for j in forecasts(1)]
    assert j.distribution.probability > 1
    assert j.probability == 1


def test_an_agent_without_a_captured_mass_counts_in_full(monkeypatch):
    monkeypatch.setattr(config, "MIN_CAPTURED_MASS", 0.9)
    (j,) = forecasts(1)
    agents = {"x": point(20), "y": point(80)}
    record = resolved.Record((j,), (), {(1, "q0"): agents}, {(1, "q0"): {"x": 0.9}})
    assert pools._pool(record, j, agents, "mean").mean == pytest.approx(50)
    weak = replace(record, captured={(1, "q0"): {"x": 0.3}})
    assert pools._pool(weak, j, agents, "mean").mean == pytest.approx(65)  # (20 / 3 + 80) / (4 / 3)


# --- two records --------------------------------------------------------------------------------------------


def two_records(path):
    """One question forecast live on 1 February, then back-dated twice as of January days; it ended yes in June."""
    database = Database(path)
    live = Question("Will A happen?", id="a", extra={"crowd": "0.9"})
    add_run(database, [live], {"x": [point(60)], "y": [point(80)]}, made="2025-02-01T10:00:00Z")
    for day, said in (("2025-01-10", 20), ("2025-01-20", 30)):
        dated = Question(
            "Will A happen?", id=f"a@{day}", subject="a", as_of=day, extra={"crowd": "0.1"}
        )
        add_run(
            database, [dated], {"x": [point(said)], "y": [point(said)]}, made="2026-01-01T10:00:00Z"
        )
    database.outcomes.add([Resolution("a", 1, DAY)])
    return database


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
    assert set(live.agents) == {(1, "a")}
    assert set(dated.agents) == {(2, "a@2025-01-10"), (3, "a@2025-01-20")}


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


def test_both_records_are_printed_under_their_names(tmp_path):
    with two_records(tmp_path / "d.db") as database:
        text = "\n".join(score_lines(collect(database)))
    live, dated = text.split("# Record of back-dated forecasts")
    assert live.startswith("# Record of live forecasts: 3 forecasts of 1 resolved question count\n")
    assert dated.startswith(": 6 forecasts of 1 resolved question count, as of 2 question days\n")
    row = next(line for line in live.splitlines() if line.startswith("x "))
    assert row.split()[1:4] == ["1", "1", "0.1600"]
    row = next(line for line in dated.splitlines() if line.startswith("x "))
    assert row.split()[1:4] == ["2", "1", "0.5650"]  # (0.64 + 0.49) / 2, of one cluster
    assert "fewer than 30 questions" in live
    assert "fewer than 30 questions" in dated


def test_a_record_without_a_counting_forecast_says_why(tmp_path):
    with two_records(tmp_path / "d.db") as database:
        add_run(database, [Question("B?", id="b", as_of="2025-01-10")], {"x": [point(60)]})
        database.outcomes.add([Resolution("a", None, DAY), Resolution("b", 1, DAY)])
        text = "\n".join(score_lines(collect(database)))
    assert text.startswith(
        "# Record of live forecasts: none counts\nnot counted: 3 forecasts, the question was voided (a)"
    )


def test_a_forecast_is_scored_with_the_columns_of_its_own_run(tmp_path):
    with Database(tmp_path / "d.db") as database:
        for crowd, cluster, made in (
            ("0.9", "old", "2025-02-01T10:00:00Z"),
            ("0.2", "new", "2025-03-01T10:00:00Z"),
        ):
            question = Question("A?", id="a", extra={"crowd": crowd, "cluster": cluster})
            add_run(database, [question], {"x": [point(60)]}, made=made)
        database.outcomes.add([Resolution("a", 1, DAY)])
        found = {
            j.run_id: (score_tables.reference_value(j, "crowd"), j.cluster)
            for j in collect(database).judged
        }
    assert found == {1: (0.9, "old"), 2: (0.2, "new")}


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
                evidence=(EvidenceLink(passage, 1, 1, 0.5),),
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
    assert judged.distribution.probabilities[[20, 50, 80, 90]] == pytest.approx([0.25] * 4)


@pytest.mark.parametrize("days", [("2025-03-02", "2025-01-01"), ("2025-01-01", "2025-03-02")])
def test_one_chunk_with_newer_evidence_leaves_a_back_dated_forecast_out(tmp_path, days):
    record = chunked(tmp_path / "d.db", "2025-03-01", *((50, day) for day in days))
    assert (record.judged, [e.reason for e in record.excluded]) == (
        (),
        ["evidence newer than as_of"],
    )
    record = chunked(tmp_path / "e.db", "2025-03-02", *((50, day) for day in days))
    assert [j.as_of for j in record.judged] == ["2025-03-02"]
