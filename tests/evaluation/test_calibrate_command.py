"""``analysis.py --calibrate`` and ``--score`` on records of a hundred questions, live and back-dated."""

from __future__ import annotations

import json

import numpy as np
import pytest

import analysis
import config
from database import Database
from evaluation import calibration
from evaluation.reliability import expected_calibration_error
from questions.question import Question
from storage.records import Resolution
from tests.support.record_database import add_run, calibrated_values, point

COUNT = 120


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(config, "CALIBRATION_SIMULATIONS", 100)


def percents(skill: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Forecasts in percent whose log-odds are ``skill`` times the true ones, and outcomes, shape (COUNT,)."""
    g = np.random.default_rng(seed)
    odds = g.normal(0, 1.5, COUNT)
    outcomes = (g.random(COUNT) < 1 / (1 + np.exp(-odds))).astype(int)
    return np.clip(np.round(100 / (1 + np.exp(-skill * odds))), 1, 99).astype(int), outcomes


def add(database, name, said, outcomes, *, as_of=None):
    """One run of COUNT questions with these forecasts, and their outcomes."""
    questions = [
        Question(f"Will {name} {n} happen?", id=f"{name}{n}", as_of=as_of) for n in range(len(said))
    ]
    made = "2025-02-01T10:00:00Z" if as_of is None else "2026-01-01T10:00:00Z"
    run = add_run(database, questions, {"x": [point(int(p)) for p in said]}, made=made)
    database.outcomes.add(
        [Resolution(q.id, int(y), "2025-06-01") for q, y in zip(questions, outcomes, strict=True)]
    )
    return run


def call(path, *arguments):
    return analysis.main(
        ["--database", str(path), "--plots", str(path.parent / "plots"), *arguments]
    )


def rows(path):
    """Every calibration, and the number of calibrated forecasts by run."""
    with Database(path) as database:
        return database.outcomes.calibrations(), {
            row["run_id"]: row["n"]
            for row in database.connection.query(
                "SELECT run_id, count(*) AS n FROM calibrated_forecasts GROUP BY run_id"
            )
        }


@pytest.mark.parametrize("method", ["platt", "beta", "isotonic"])
def test_forecasts_that_rank_the_outcomes_wrongly_are_refused(tmp_path, capsys, method):
    said, outcomes = percents(-1.0)
    with Database(tmp_path / "d.db") as database:
        add(database, "q", said, outcomes)
    assert call(tmp_path / "d.db", "--calibrate", method) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "analysis.py: calibration of 'ensemble' (live) refused: the forecasts rank the outcomes wrongly"
    )
    assert error.count("\n") == 1
    assert rows(tmp_path / "d.db") == ([], {})


def test_a_flat_curve_is_refused(tmp_path, capsys):
    said, outcomes = np.array([50, 51] * 55 + [99] * 10), np.array([0, 1] * 55 + [0] * 10)
    with Database(tmp_path / "d.db") as database:
        add(database, "q", said, outcomes)
    assert call(tmp_path / "d.db", "--calibrate", "platt") == 2
    assert "the fitted curve is flat at 46 %" in capsys.readouterr().err
    assert rows(tmp_path / "d.db") == ([], {})


def test_all_scores_are_printed_and_stored_raw_and_cross_validated(tmp_path, capsys):
    said, outcomes = percents(3.0)
    with Database(tmp_path / "d.db") as database:
        add(database, "q", said, outcomes)
    assert call(tmp_path / "d.db", "--calibrate", "platt") == 0
    lines = capsys.readouterr().out.splitlines()
    ((stored,), counts) = rows(tmp_path / "d.db")
    p = said / 100
    fitted = calibration.cross_validate("platt", p, outcomes, [f"q{n}" for n in range(COUNT)])
    clipped = np.clip(p, 0.005, 0.995)
    assert stored.record == "live"
    assert stored.raw_brier == pytest.approx(((p - outcomes) ** 2).mean())
    assert stored.calibrated_brier == pytest.approx(((fitted - outcomes) ** 2).mean())
    assert stored.raw_log == pytest.approx(
        -np.log(np.where(outcomes == 1, clipped, 1 - clipped)).mean()
    )
    assert stored.calibrated_log == pytest.approx(
        -np.log(np.where(outcomes == 1, fitted, 1 - fitted)).mean()
    )
    assert stored.raw_ece == pytest.approx(expected_calibration_error(p, outcomes))
    assert stored.calibrated_ece == pytest.approx(expected_calibration_error(fitted, outcomes))
    assert counts == {1: COUNT}
    assert (
        lines[0]
        == "calibration 1: platt for ensemble, 120 live forecasts of resolved questions in 120 clusters"
    )
    assert lines[1].startswith(f"  Brier raw {stored.raw_brier:.4f} (95 %: 0.")
    assert lines[1].endswith(": better")  # three times the right log-odds
    assert f"log score raw {stored.raw_log:.4f}" in lines[2]
    assert f"calibrated {stored.calibrated_log:.4f}" in lines[2]
    assert f"ECE raw {stored.raw_ece:.3f} (a calibrated forecaster would show" in lines[3]
    assert stored.parameters["weights"][0] == pytest.approx(1 / 3, abs=0.15)


def test_live_and_back_dated_forecasts_are_calibrated_apart(tmp_path, capsys):
    path = tmp_path / "d.db"
    with Database(path) as database:
        add(database, "old", *percents(2.0, seed=1), as_of="2025-01-10")
    # Nothing live counts: the back-dated ones are used, and a line says so.
    assert call(path, "--calibrate", "platt") == 0
    out = capsys.readouterr().out
    assert "120 back-dated forecasts of resolved questions" in out
    assert "no live forecast counts, so the back-dated ones were used" in out
    assert call(path, "--calibrate", "platt", "--record", "live") == 2
    assert "'ensemble' has no resolved live forecast that counts" in capsys.readouterr().err
    with Database(path) as database:
        add(database, "new", *percents(0.4, seed=2))
    assert call(path, "--calibrate", "platt") == 0
    out = capsys.readouterr().out
    assert "120 live forecasts of resolved questions" in out
    assert "120 back-dated forecasts were not used (--record back-dated fits those)" in out
    assert call(path, "--calibrate", "platt", "--record", "back-dated") == 0
    capsys.readouterr()
    with Database(path) as database:
        found = {row.id: row.record for row in database.outcomes.calibrations()}
        runs = {
            number: {r["run_id"] for r in calibrated_values(database, number)} for number in found
        }
    assert found == {1: "back-dated", 2: "live", 3: "back-dated"}
    assert runs == {1: {1}, 2: {2}, 3: {1}}


def test_the_newest_curve_of_each_record_reaches_a_later_run(tmp_path):
    path = tmp_path / "d.db"
    with Database(path) as database:
        add(database, "old", *percents(2.0, seed=1), as_of="2025-01-10")
        add(database, "new", *percents(0.4, seed=2))
        for method, wanted in (("isotonic", "live"), ("platt", "live"), ("beta", "back-dated")):
            calibration.calibrate_database(database, "ensemble", method, wanted)
        questions = [
            Question("Open one?", id="o1"),
            Question("Open two?", id="o2", as_of="2025-01-10"),
        ]
        run = add_run(
            database, questions, {"x": [point(30), point(30)], "y": [point(50), point(50)]}
        )
        assert calibration.apply_latest(database, run) == 2
        assert calibration.apply_latest(database, run) == 2  # again: the same two
        live, dated = (
            calibration.Curve(row.method, row.parameters)
            for row in database.outcomes.calibrations()[1:]
        )
        stored = {
            row["question_id"]: (
                row["calibration_id"],
                row["raw"],
                row["calibrated"],
                row["out_of_fold"],
            )
            for number in (1, 2, 3)
            for row in calibrated_values(database, number)
            if row["run_id"] == run
        }
        shown = database.connection.query(
            "SELECT question_id, calibrated FROM latest_forecasts WHERE run = ? AND agent = 'ensemble'",
            (run,),
        )
    assert stored["o1"] == (2, pytest.approx(0.4), pytest.approx(live([0.4])[0]), 0)
    assert stored["o2"] == (3, pytest.approx(0.4), pytest.approx(dated([0.4])[0]), 0)
    assert len(stored) == 2
    assert {row["question_id"]: row["calibrated"] for row in shown} == {
        "o1": pytest.approx(100 * live([0.4])[0]),
        "o2": pytest.approx(100 * dated([0.4])[0]),
    }


def test_applying_a_curve_keeps_cross_validated_values(tmp_path):
    with Database(tmp_path / "d.db") as database:
        run = add(database, "q", *percents(2.0))
        calibration.calibrate_database(database, "ensemble", "platt")
        before = [tuple(row) for row in calibrated_values(database, 1)]
        calibration.apply_latest(database, run)
        assert [tuple(row) for row in calibrated_values(database, 1)] == before
        assert all(row[-1] == 1 for row in before)


def test_a_run_without_any_calibration_stays_as_it_is(tmp_path):
    with Database(tmp_path / "d.db") as database:
        run = add_run(database, [Question("Open?", id="o")], {"x": [point(30)]})
        assert calibration.apply_latest(database, run) == 0


def test_a_refusal_says_what_the_other_record_has(tmp_path, capsys):
    with Database(tmp_path / "d.db") as database:
        add(database, "old", *percents(2.0, seed=1), as_of="2025-01-10")
        add(database, "new", [30, 60], [0, 1])
    assert call(tmp_path / "d.db", "--calibrate", "platt") == 2
    error = capsys.readouterr().err
    assert "(live) refused: 2 resolved questions, at least 100 are needed" in error
    assert "120 back-dated forecasts were not used (--record back-dated fits those)" in error
    assert error.count("\n") == 1


def test_score_prints_and_draws_both_records(tmp_path, capsys):
    path = tmp_path / "d.db"
    with Database(path) as database:
        add(database, "old", *percents(2.0, seed=1), as_of="2025-01-10")
        add(database, "new", *percents(0.4, seed=2))
    assert call(path, "--score") == 0
    live, dated = capsys.readouterr().out.split("# Record of back-dated forecasts: ")
    assert live.startswith("Brier 0.")
    assert "# Record of live forecasts: 240 forecasts of 120 resolved questions count" in live
    assert dated.startswith("240 forecasts of 120 resolved questions count")
    assert {p.name for p in (tmp_path / "plots").iterdir()} == {
        f"{name}{mark}.svg"
        for name in ("reliability", "score_over_time")
        for mark in ("", ".back-dated")
    }


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--score", "--record", "live"], "--record is 'live'; it goes with --calibrate"),
        (["--score", "--forecaster", "x"], "--forecaster is 'x'; it goes with --calibrate"),
        (
            ["--resolve", "o.csv", "--date", "2026-01-01"],
            "--date is '2026-01-01'; it goes with --resolve-one",
        ),
        (["--report", "r.html", "--source", "s"], "--source is 's'; it goes with --resolve-one"),
        (["--score", "--run", "0"], "--run is 0; it goes with --report or with drawing alone"),
    ],
)
def test_an_option_that_the_job_does_not_use_is_refused(tmp_path, capsys, arguments, line):
    Database(tmp_path / "d.db").close()
    assert call(tmp_path / "d.db", *arguments) == 2
    assert capsys.readouterr().err == f"analysis.py: {line}\n"


def test_an_agent_has_a_calibration_of_its_own(tmp_path, capsys):
    path = tmp_path / "d.db"
    with Database(path) as database:
        add(database, "q", *percents(2.0))
    assert call(path, "--calibrate", "platt", "--forecaster", "x") == 0
    assert "platt for x, 120 live forecasts" in capsys.readouterr().out
    with Database(path) as database:
        run = add_run(database, [Question("Open?", id="o")], {"x": [point(30)], "y": [point(80)]})
        other = add_run(database, [Question("Open?", id="o")], {"x": [point(40)], "y": [point(90)]})
        assert calibration.apply_latest(database, run) == 1
        (row,) = [r for r in calibrated_values(database, 1) if r["run_id"] in (run, other)]
        curve = calibration.Curve("platt", database.outcomes.calibrations()[0].parameters)
    assert row["raw"] == pytest.approx(0.3)  # neither y's 0.8 nor the pool's 0.55
    assert row["calibrated"] == pytest.approx(curve([0.3])[0])


def test_an_unknown_forecaster_is_told_who_there_is(tmp_path, capsys):
    with Database(tmp_path / "d.db") as database:
        add(database, "new", [30, 60], [0, 1])
    for arguments, known in (((), "ensemble, x"), (("--record", "back-dated"), "none")):
        assert (
            call(tmp_path / "d.db", "--calibrate", "platt", "--forecaster", "nobody", *arguments)
            == 2
        )
        assert capsys.readouterr().err.endswith(f"forecasters with one: {known}\n")


@pytest.mark.parametrize("parameters", ["[]", "{}", '{"weights": ["x", 1]}', '{"weights": [1]}'])
def test_a_calibration_that_another_program_wrote_is_not_applied(tmp_path, caplog, parameters):
    with Database(tmp_path / "run.db") as database:
        said, outcomes = percents(2)
        add(database, "A", said, outcomes)
        calibration.calibrate_database(database, "x", "platt")
        with database.connection.atomic() as connection:
            connection.execute("UPDATE calibrations SET parameters = ?", (parameters,))
        later = add_run(database, [Question("Will B happen?", id="B")], {"x": [point(30)]})
        assert calibration.apply_latest(database, later) == 0
        assert "calibration 1 is not one that Forecaster writes; it is not applied" in caplog.text


def test_json_has_the_scores_that_are_printed(tmp_path, capsys):
    said, outcomes = percents(2.0)
    with Database(tmp_path / "d.db") as database:
        add(database, "q", said, outcomes)
    assert call(tmp_path / "d.db", "--calibrate", "platt", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert call(tmp_path / "d.db", "--calibrate", "platt") == 0
    text = capsys.readouterr().out
    (stored, _), _ = rows(tmp_path / "d.db")
    assert (found["calibration"], found["forecasts"], found["values"]) == (1, COUNT, COUNT)
    brier = found["scores"]["Brier"]
    assert (brier["raw"], brier["calibrated"]) == (stored.raw_brier, stored.calibrated_brier)
    assert found["scores"]["log score"]["raw"] == stored.raw_log
    low, high = brier["difference_interval"]
    printed = (
        f"difference {brier['difference']:+.4f} ({low:+.4f} … {high:+.4f}): {brier['verdict']}"
    )
    assert printed in text
    assert found["ece"]["raw"]["error"] == stored.raw_ece
