"""Weak voices: what a pool of agents gives to one that hardly answered in numbers, through the command line."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace

import numpy as np
import pytest

import config
import forecaster
from runs.forecast_records import mean_voice
from scoring.distribution import Distribution, agreement, spread, total_variation
from scoring.pooling import POOL_METHODS, Voice, average, pool, pool_voices, voice_weights
from scoring.scorer import ScoringResult
from scoring.tasks import ForecastOutcome, Prompt
from tests.support.fake_agent import TRIE, FakeAgent


def point(n):
    p = np.zeros(101)
    p[n] = 1
    return Distribution(p)


# Agent to the percentage it says and the mass it captures, per question or for all.
SAYS = {"low": (20, 0.9), "high": (40, 0.8), "noise": (100, 1e-9)}


class Saying(FakeAgent):
    """Says its number of ``SAYS`` with its captured mass; "fails" in a question stops the agent "high" there."""

    def score(self, tasks):
        number, captured = SAYS[self.spec.name]
        for index, task in enumerate(tasks):
            prompt = Prompt("p", (1, 2), TRIE, 0)
            if "fails" in task.question.text and self.spec.name == "high":
                yield ForecastOutcome(
                    index, prompt, None, "the engine returned the log-probability nan"
                )
                continue
            result = ScoringResult(point(number), captured, 0.5 if captured < 0.1 else 0.01, 1, 1)
            yield ForecastOutcome(index, prompt, result, None)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command line with the agents named; the exit code, the output and the pools by question."""

    def call(*questions, agents=("low", "high", "noise"), **settings):
        for name, value in settings.items():
            monkeypatch.setattr(config, name, value)
        monkeypatch.setattr(config, "FORECAST_MODEL_PATHS_VLLM", {n: f"owner/{n}" for n in agents})
        monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", agents[0])
        monkeypatch.setattr(forecaster, "draw", lambda *_: True)
        monkeypatch.setenv("LOG_DIR", str(tmp_path))
        database = tmp_path / f"{len(list(tmp_path.glob('*.db')))}.db"
        asked = [part for question in questions or ("Q?",) for part in ("--question", question)]
        code = forecaster.main(
            [*asked, "--no-retrieval", "--database", str(database)], agent_factory=Saying
        )
        with sqlite3.connect(database) as connection:
            connection.row_factory = sqlite3.Row
            sql = "SELECT e.*, q.text FROM ensembles e JOIN questions q ON q.id = e.question_id"
            return (
                code,
                capsys.readouterr().out,
                {row["text"]: row for row in connection.execute(sql)},
            )

    return call


@pytest.mark.parametrize("method", sorted(POOL_METHODS))
def test_noise_of_one_agent_changes_no_pool_and_is_marked(run, method):
    code, out, pools = run(POOL_METHOD=method)
    _, _, without = run(POOL_METHOD=method, agents=("low", "high"))
    assert code == 0
    row = pools["Q?"]
    assert row["mean"] == pytest.approx(without["Q?"]["mean"], abs=1e-4)
    assert row["agreement"] == pytest.approx(without["Q?"]["agreement"], abs=1e-4)
    weights = json.loads(row["weights"])
    assert set(weights) == {"low", "high", "noise"}
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["low"] == pytest.approx(0.5)
    assert weights["noise"] < 1e-8
    assert (row["weakest_captured"], row["low_confidence"]) == (1e-9, 1)
    assert (without["Q?"]["weakest_captured"], without["Q?"]["low_confidence"]) == (0.8, 0)
    assert row["captured_mass"] > config.MIN_CAPTURED_MASS  # the mean alone would have hidden it
    assert "!" in next(line for line in out.splitlines() if line.startswith("Q?"))
    assert "under 0.5 (the lowest: 1e-09): low confidence" in out


def test_the_weight_falls_in_proportion_below_the_threshold(monkeypatch):
    monkeypatch.setattr(config, "MIN_CAPTURED_MASS", 0.5)
    np.testing.assert_allclose(voice_weights([1.0, 0.5, 0.25, 1e-9]), [1, 1, 0.5, 2e-9])
    np.testing.assert_allclose(voice_weights([0.0, 0.0]), [1, 1])
    monkeypatch.setattr(config, "MIN_CAPTURED_MASS", 0)
    np.testing.assert_allclose(voice_weights([1.0, 1e-9]), [1, 1])


def test_weak_voices_alone_are_pooled_as_equals_and_marked(run, monkeypatch):
    monkeypatch.setitem(SAYS, "low", (20, 1e-6))
    monkeypatch.setitem(SAYS, "high", (40, 1e-6))
    _, _, pools = run(agents=("low", "high"))
    assert pools["Q?"]["mean"] == pytest.approx(30)
    assert json.loads(pools["Q?"]["weights"]) == {"low": 0.5, "high": 0.5}
    assert pools["Q?"]["low_confidence"] == 1


def test_chunks_and_samples_of_one_agent_are_weighed_alike(monkeypatch):
    monkeypatch.setattr(config, "MIN_CAPTURED_MASS", 0.5)
    parts = [Voice(point(20), 0.9, 0.01, 0.9), Voice(point(100), 0.25, 0.04, 0.25)]
    whole = average(parts)
    assert whole.distribution.mean == pytest.approx((20 + 0.5 * 100) / 1.5)
    assert whole.captured == pytest.approx((0.9 + 0.25) / 2)
    assert whole.residual == pytest.approx((0.01 + 0.5 * 0.04) / 1.5)
    assert whole.weakest == 0.25
    scored = [
        (
            None,
            ForecastOutcome(
                n, None, ScoringResult(v.distribution, v.captured, v.residual, 1, 1), None
            ),
        )
        for n, v in enumerate(parts)
    ]
    assert mean_voice(scored).distribution.mean == pytest.approx(whole.distribution.mean)


def test_a_weak_chunk_marks_the_pool_though_the_agents_mean_is_strong(monkeypatch):
    monkeypatch.setattr(config, "MIN_CAPTURED_MASS", 0.5)
    agent = average([Voice(point(20), 1.0, 0, 1.0), Voice(point(90), 0.3, 0, 0.3)])
    found = pool_voices({"a": agent, "b": Voice(point(20), 1.0, 0, 1.0)}, "mean")
    assert agent.captured > 0.5
    assert found.voice.weakest == 0.3


def test_the_residual_of_the_weighted_mean_bounds_its_error(monkeypatch):
    monkeypatch.setattr(config, "MIN_CAPTURED_MASS", 0.5)
    random = np.random.default_rng(5)
    for _ in range(50):
        true, read, masses = [], [], random.random(4)
        for _ in range(4):
            true.append(Distribution.from_weights(random.random(101) ** 6))
            read.append(
                Distribution.from_weights(true[-1].probabilities + 0.01 * random.random(101))
            )
        voices = {
            str(n): Voice(r, m, total_variation(t, r), m)
            for n, (t, r, m) in enumerate(zip(true, read, masses, strict=True))
        }
        found = pool_voices(voices, "mean")
        exact = pool(true, "mean", voice_weights(masses))
        assert total_variation(found.voice.distribution, exact) <= found.voice.residual + 1e-12
        assert found.voice.residual <= max(v.residual for v in voices.values())


def test_agreement_and_spread_take_weights():
    three = [point(20), point(20), point(90)]
    assert agreement(three) == pytest.approx(1 / 3)
    assert agreement(three, [1, 1, 0]) == 1
    assert agreement(three, [1, 0, 0]) == 1
    assert agreement(three, [1, 1, 0.5]) == pytest.approx(1 - 1 / 2)
    assert spread([point(0), point(100)], [1, 3]).between == pytest.approx(100 * np.sqrt(3) / 4)


def test_the_median_of_two_voices_is_not_decided_by_a_third_without_weight():
    for third in (0, 30, 100):
        found = pool([point(20), point(40), point(third)], "median", [1, 1, 1e-9])
        assert found.mean == pytest.approx(30, abs=1e-5)


def test_a_pool_that_lacks_a_model_says_so_on_every_line(run):
    code, out, pools = run("Q?", "fails?")
    assert code == 1
    lines = {
        line.split()[0]: line for line in out.splitlines() if line.startswith(("Q?", "fails?"))
    }
    assert lines["Q?"].endswith("3 of 3")
    assert lines["fails?"].endswith("2 of 3")
    assert "1 of 2 pools lack a model" in out
    assert [(pools[q]["agents"], pools[q]["agents_configured"]) for q in ("Q?", "fails?")] == [
        (3, 3),
        (2, 3),
    ]
    assert set(json.loads(pools["fails?"]["weights"])) == {"low", "noise"}
    _, out, _ = run("this fails?", "that fails?")
    assert out.count("2 of 3") == 2


def test_a_question_without_any_forecast_is_0_of_all_models(run):
    code, out, pools = run("Q?", "fails?", agents=("high",))
    assert (code, set(pools)) == (1, {"Q?"})
    assert next(line for line in out.splitlines() if line.startswith("fails?")).endswith("0 of 1")


def test_pools_that_are_recomputed_from_the_record_weigh_alike(monkeypatch):
    from datetime import UTC, datetime

    from evaluation import pool_comparison
    from evaluation.resolved import ENSEMBLE, Judged, Record

    monkeypatch.setattr(config, "MIN_CAPTURED_MASS", 0.5)
    day = datetime(2026, 1, 1, tzinfo=UTC)
    record = Record((Judged(1, "a", ENSEMBLE, 0.5, 1, "a", day, day),), ())
    said = {"low": (20, 0.9), "high": (40, 0.8), "noise": (100, 1e-9)}
    voices = {n: Voice(point(at), mass, 0.0, mass) for n, (at, mass) in said.items()}

    def means(found):
        monkeypatch.setattr(pool_comparison, "read_voices", lambda *_: {(1, "a"): found})
        pools = pool_comparison.pooled(record, None)
        return {method: 100 * rows[0].probability for method, rows in pools.items()}

    weighed = means(voices)
    for method in ("mean", "median", "entropy"):
        assert weighed[method] == pytest.approx(30, abs=1e-4), method
    whole = {name: replace(voice, captured=0.9) for name, voice in voices.items()}
    assert means(whole)["mean"] == pytest.approx(160 / 3)
