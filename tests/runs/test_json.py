"""``--json``: one document on standard output, with the numbers that the tables have."""

from __future__ import annotations

import importlib.util
import json
import re

import pytest

import analysis
import config
import forecaster
from database import Database
from tests.support.stub_cli import stub_main

FILE = "id,question,market_price\nrate,Will the rate rise before 2027?,0.4\npact,Will A sign?,\n"


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Run a command; return its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    monkeypatch.setattr(config, "CALIBRATION_SIMULATIONS", 100)
    (tmp_path / "q.csv").write_text(FILE)

    def run(main, *words, **settings):
        if main is analysis.main:
            words = ("--database", "stub.db", *words)
        code = main([*words], **settings)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def document(printed):
    def refused(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(printed, parse_constant=refused)


def forecast(call, *words, today="2026-09-01", code=0):
    found, out, err = call(
        stub_main, "--questions", "q.csv", "--no-retrieval", "--json", *words, today=today
    )
    assert found == code, err
    return document(out)


def test_a_run_prints_its_table_and_its_changes_and_nothing_else(call):
    forecast(call)
    second = forecast(call, today="2026-09-08")
    with Database("stub.db") as database:
        pools = {one.question_id: one for one in database.forecasts.ensembles(2)}
        before = {one.question_id: one for one in database.forecasts.ensembles(1)}
    assert (second["run"], second["status"], second["exit_code"]) == (2, "finished", 0)
    assert [row["id"] for row in second["forecasts"]] == ["rate", "pact"]
    for row in second["forecasts"]:
        pool = pools[row["id"]]
        assert row["final"] == pytest.approx(pool.final_mean / 100)
        assert row["models"] == pytest.approx(pool.mean / 100)
        assert (row["p10"], row["p90"]) == (pool.p10 / 100, pool.p90 / 100)
        assert (row["members"], row["configured"], row["articles"]) == (3, 3, 0)
    assert second["forecasts"][0]["final"] != second["forecasts"][0]["models"]
    moved = {row["id"]: row for row in second["changes"]}
    for name, row in moved.items():
        assert row["run_before"] == 1
        assert row["models_points"] == pytest.approx(pools[name].mean - before[name].mean)
        assert row["final_points"] == pytest.approx(
            pools[name].final_mean - before[name].final_mean
        )
    sizes = [max(abs(r["models_points"]), abs(r["final_points"])) for r in second["changes"]]
    assert sizes == sorted(sizes, reverse=True)
    assert any(note.startswith("Final: the models' pool with market") for note in second["notes"])


def test_the_table_of_the_same_run_has_the_same_numbers(call):
    found = forecast(call)
    _, table, _ = call(
        stub_main, "--questions", "q.csv", "--no-retrieval", "--database", "other.db",
        today="2026-09-01",
    )  # fmt: skip
    printed = re.findall(r"(\d+\.\d) %", table)[:4]
    numbers = [row[name] for row in found["forecasts"] for name in ("final", "models")]
    assert printed == [f"{100 * number:.1f}" for number in numbers]


def test_what_is_missing_is_null_and_the_exit_code_stays(call, monkeypatch):
    monkeypatch.setenv("STUB_FAIL", "stub-b")
    code, out, err = call(
        stub_main, "--question", "Will B?", "--no-retrieval", "--models", "stub-b", "--json"
    )
    found = document(out)
    assert code == found["exit_code"] == 1
    assert found["status"] == "partial"
    (row,) = found["forecasts"]
    assert (row["final"], row["models"], row["members"]) == (None, None, 0)
    assert any(note.startswith("Failed: stub-b") for note in found["notes"])
    assert "Try what is missing again with: " in err


def test_a_replay_and_what_was_taken_away_are_rows(call):
    assert "replay" not in forecast(call)
    code, out, _ = call(stub_main, "--replay", "1", "--json")
    rows = document(out)["replay"]
    assert (code, len(rows)) == (0, 6)
    assert {(row["points"], row["same_prompt"]) for row in rows} == {(0.0, True)}
    ablated = forecast(call, "--logic", "--ablate", "--models", "stub-a")["ablations"]
    assert {row["condition"] for row in ablated} == {"no_reasoning"}
    for row in ablated:
        assert row["points"] == pytest.approx(100 * (row["with"] - row["without"]))


def test_a_backtest_has_its_scores(call, tmp_path):
    (tmp_path / "b.csv").write_text(
        "id,question,as_of,outcome,resolution_date\na,Will A?,2026-01-05,1,2026-03-01\n"
    )
    code, out, err = call(stub_main, "--backtest", "b.csv", "--no-retrieval", "--json")
    found = document(out)
    pooled = next(row for row in found["scores"] if row["forecaster"] == "ensemble")
    assert code == 0
    assert pooled["forecast"] == pytest.approx(found["forecasts"][0]["models"])
    assert pooled["brier"] == pytest.approx((1 - pooled["forecast"]) ** 2)
    assert "Caution: " in err


def test_an_explanation_has_each_step_with_what_it_is_made_of(call):
    forecast(call)
    code, out, _ = call(analysis.main, "--explain", "rate", "--json")
    found = document(out)
    _, text, _ = call(analysis.main, "--explain", "rate")
    steps = {row["step"]: row for row in found["steps"]}
    assert (code, found["id"], found["run"]) == (0, "rate", 1)
    assert steps["Market price"]["probability"] == pytest.approx(0.4)
    with Database("stub.db") as database:
        pool = next(o for o in database.forecasts.ensembles(1) if o.question_id == "rate")
        stored = {
            one.agent: one.mean for one in database.forecasts.of_run(1) if one.question_id == "rate"
        }
    models = {row["model"]: row["probability"] for row in steps["Models"]["models"]}
    assert models == pytest.approx({name: mean / 100 for name, mean in stored.items()})
    assert steps["Final"]["probability"] == pytest.approx(pool.final_mean / 100)
    for row in found["steps"]:
        assert all(f"     {line}" in text.splitlines() for line in row["details"])
        if row["probability"] is not None:
            assert f"{100 * row['probability']:.1f} %" in text


@pytest.mark.parametrize("again", [True, False])
def test_the_parts_of_a_change_sum_to_it(call, monkeypatch, again):
    from evaluation.why import Engine
    from preflight.model_entries import ModelSpec
    from tests.support.stub_cli import make_agent

    forecast(call)
    forecast(call, today="2026-10-08")
    if again:
        monkeypatch.setattr(analysis, "open_engine", lambda _: Engine(ModelSpec, make_agent))
    else:
        found = importlib.util.find_spec
        monkeypatch.setattr("importlib.util.find_spec", lambda n: None if n == "vllm" else found(n))
    words = ["--why", "rate", *(["--passages"] if again else [])]
    code, out, _ = call(analysis.main, *words, "--json")
    why = document(out)
    _, text, _ = call(analysis.main, *words)
    assert (code, why["run_before"], why["run"], why["scored_again"]) == (0, 1, 2, again)
    assert why["passages_left_out"] == ([] if again else None)
    for number in (why["models"], why["final"]):
        assert sum(part["points"] for part in number["parts"]) == pytest.approx(number["points"])
        assert number["points"] == pytest.approx(100 * (number["after"] - number["before"]))
        assert f"{100 * number['before']:5.1f} % -> {100 * number['after']:5.1f} %" in text
    assert "date" in "".join(part["part"] + part["detail"] for part in why["models"]["parts"])


@pytest.mark.parametrize("words", [["--explain", "x"], ["--why", "x"], ["--report", "x.html"]])
def test_an_error_is_one_line_and_exit_2(call, words):
    forecast(call)
    code, out, err = call(analysis.main, *words, "--json")
    assert (code, out) == (2, "")
    assert err.startswith("analysis.py: --")
    assert err.count("\n") == 1


def test_an_interrupted_run_prints_what_it_has_and_ends_with_130(call, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ensemble.Ensemble.forecast", interrupted)
    code, out, err = call(stub_main, "--questions", "q.csv", "--no-retrieval", "--json")
    found = document(out)
    assert (code, found["status"], found["exit_code"]) == (130, "interrupted", 130)
    assert [row["final"] for row in found["forecasts"]] == [None, None]
    assert "Resume with: " in err


def test_a_secret_is_not_printed_and_the_document_stays_whole(call, monkeypatch, tmp_path):
    asked = 'Will tok"en\\0123456789 be revoked?'
    assert call(stub_main, "--question", asked, "--no-retrieval")[0] == 0
    monkeypatch.setenv("HF_TOKEN", 'tok"en\\0123456789')
    code, out, _ = call(stub_main, "--replay", "1", "--json")
    assert code == 0
    assert document(out)["forecasts"][0]["question"] == "Will *** be revoked?"
    (tmp_path / "q.jsonl").write_text(json.dumps({"question": asked}), encoding="utf-8")
    code, out, _ = call(stub_main, "--questions", "q.jsonl", "--no-retrieval", "--json")
    assert code == 0
    assert document(out)["forecasts"][0]["question"] == "Will *** be revoked?"


def test_a_question_that_holds_a_secret_is_refused_without_a_document(call, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "token-0123456789")
    code, out, err = call(stub_main, "--question", "Will token-0123456789 go?", "--json")
    assert (code, out) == (2, "")
    assert "take it out" in err
    assert "0123456789" not in err


def test_a_wrong_command_line_prints_no_document(call):
    code, out, err = call(stub_main, "--questions", "none.csv", "--json")
    assert (code, out) == (2, "")
    assert err.startswith("forecaster.py: ")
    assert err.count("\n") == 1
