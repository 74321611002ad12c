"""A backtest that is stopped half-way: its order, its outcomes, its warnings, and what a resumed one adds."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest

import analysis
import config
import forecaster
from database import Database
from storage.records import Resolution
from tests.support.stub_cli import StubAgent, stub_main

COUNT = 40


class Stopping(StubAgent):
    """Acts as a user who presses Ctrl-C while the first model forecasts."""

    after = 12

    def score(self, tasks):
        for number, outcome in enumerate(super().score(tasks)):
            if number == self.after:
                raise KeyboardInterrupt
            yield outcome


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    monkeypatch.setattr("reporting.plots.draw_record", lambda *_: [])
    monkeypatch.setattr(config, "CALIBRATION_SIMULATIONS", 100)
    monkeypatch.setattr(config, "SCORING_WAVE", 4)
    with (tmp_path / "b.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "question", "outcome", "resolution_date", "as_of"])
        # Sorted by outcome, as files often are: the first half of the file ended no.
        for n in range(COUNT):
            writer.writerow(
                [
                    f"q{n:02d}",
                    f"Will event {n} happen?",
                    int(n >= COUNT / 2),
                    "2026-03-01",
                    "2026-01-10",
                ]
            )
    return tmp_path


def backtest(*arguments):
    return stub_main(
        ["--backtest", "b.csv", "--no-retrieval", "--models", "stub-a", *arguments],
        today="2026-09-01",
    )


def positions(path):
    with Database(path / "stub.db") as database:
        return [row.id for row in database.runs.questions(1)]


def test_an_interrupted_backtest_is_a_fair_sample_with_its_outcomes(place, monkeypatch, capsys):
    monkeypatch.setattr("tests.support.stub_cli.StubAgent", Stopping)
    assert backtest() == 130
    out = capsys.readouterr().out
    order = positions(place)
    with Database(place / "stub.db") as database:
        done = [row.question_id for row in database.forecasts.of_run(1)]
        outcomes = {name: row.outcome for name, row in database.outcomes.latest().items()}
    assert done == order[:12]
    assert outcomes == {
        name: int(int(name[1:]) >= COUNT / 2) for name in done
    }  # nobody else's answer
    # In the order of the file all twelve would have ended no.
    assert 3 <= sum(outcomes.values()) <= 9
    assert (
        "12 of 40 questions were forecast, a random sample of them; their outcomes are recorded"
        in out
    )
    assert analysis.main(["--database", "stub.db", "--score"]) == 0
    assert (
        "# Record of back-dated forecasts: 24 forecasts of 12 resolved questions"
        in capsys.readouterr().out
    )


def test_a_resumed_backtest_keeps_its_order_and_records_the_rest(place, monkeypatch, capsys):
    with monkeypatch.context() as stopped:
        stopped.setattr("tests.support.stub_cli.StubAgent", Stopping)
        assert backtest() == 130
    order = positions(place)
    assert stub_main(["--resume"], today="2026-09-01") == 0
    out = capsys.readouterr().out
    assert positions(place) == order
    with Database(place / "stub.db") as database:
        assert [row.question_id for row in database.forecasts.of_run(1)] == order
        assert len(database.outcomes.latest()) == COUNT
    assert "# Record of back-dated forecasts: 80 forecasts of 40 resolved questions" in out


def test_any_first_part_is_a_sample_of_the_whole(place):
    assert backtest() == 0
    order = [int(name[1:]) for name in positions(place)]
    assert sorted(order) == list(range(COUNT))
    halves = np.array(order).reshape(4, 10) >= COUNT / 2
    assert all(2 <= part.sum() <= 8 for part in halves)


def test_the_order_is_that_of_the_seed(place):
    orders = []
    for number, seed in enumerate((1, 1, 2)):
        stub_main(
            [
                "--backtest",
                "b.csv",
                "--no-retrieval",
                "--models",
                "stub-a",
                "--database",
                f"s{number}.db",
            ],
            today="2026-09-01",
            SEED=seed,
        )
        with Database(place / f"s{number}.db") as database:
            orders.append([row.id for row in database.runs.questions(1)])
    assert orders[0] == orders[1] != orders[2]


def test_leaks_are_named_before_the_first_forecast_and_again_at_the_end(place, monkeypatch, capsys):
    said_before = []

    class Watching(StubAgent):
        def load(self):
            said_before.append(capsys.readouterr())
            super().load()

    monkeypatch.setattr("tests.support.stub_cli.StubAgent", Watching)
    assert backtest() == 0
    before = said_before[0].out + said_before[0].err
    caution = "stub-a: no training cut-off is known of owner/stub-a; it may have been trained on all 40 answers"
    assert caution in re.sub(r"\s+", " ", before)
    assert "50 % of them ended yes" in before
    assert caution in capsys.readouterr().out


def test_negations_in_a_backtest_have_no_outcome_of_their_own(place, capsys):
    (place / "b.csv").write_text(
        "id,question,outcome,resolution_date,as_of,negation\nq,Will it rain?,1,2026-03-01,2026-01-10,Will it stay dry?\n"
    )
    assert backtest("--coherence") == 0
    with Database(place / "stub.db") as database:
        assert set(database.outcomes.latest()) == {"q"}
    assert "all 1 answers" in capsys.readouterr().out


def test_an_outcome_that_is_recorded_otherwise_is_not_overturned(place, monkeypatch, capsys):
    """Neither by a new backtest, which is refused, nor by one that was interrupted before."""
    with monkeypatch.context() as stopped:
        stopped.setattr("tests.support.stub_cli.StubAgent", Stopping)
        assert backtest() == 130
    first = positions(place)[0]
    told, now = ("yes", "no") if int(first[1:]) >= COUNT / 2 else ("no", "yes")
    fix = ["--database", "stub.db", "--resolve-one", first, now, "--date", "2026-03-01"]
    assert analysis.main(fix) == 0
    line = (
        f"'{first}' ended {told} on 2026-03-01 in the file and {now} on 2026-03-01 in stub.db; correct the file, or"
        f" the record: python analysis.py --database stub.db --resolve-one {first} {told} --date 2026-03-01"
    )
    capsys.readouterr()
    assert backtest() == 2
    assert capsys.readouterr().err == f"forecaster.py: b.csv: {line}\n"
    assert stub_main(["--resume"], today="2026-09-01") == 0
    assert f"Caution: {line}" in capsys.readouterr().out
    with Database(place / "stub.db") as database:
        assert len(database.runs.all()) == 1
        assert database.outcomes.latest()[first].outcome == (now == "yes")


def test_a_recorded_outcome_of_another_day_is_not_moved(place, capsys):
    assert backtest() == 0
    fix = ["--database", "stub.db", "--resolve-one", "q00", "no", "--date", "2026-02-02"]
    assert analysis.main(fix) == 0
    assert backtest() == 2
    assert (
        "'q00' ended no on 2026-03-01 in the file and no on 2026-02-02 in stub.db"
        in capsys.readouterr().err
    )
    # An older Forecaster stored dates in every form that Python reads.
    with Database(place / "stub.db") as database:
        database.outcomes.add([Resolution("q00", 0, "20260301")])
    assert backtest() == 0


def test_a_backtest_stopped_before_its_first_forecast_speaks_of_no_sample(
    place, monkeypatch, capsys
):
    monkeypatch.setattr(Stopping, "after", 0)
    monkeypatch.setattr("tests.support.stub_cli.StubAgent", Stopping)
    assert backtest() == 130
    assert "sample" not in capsys.readouterr().out
