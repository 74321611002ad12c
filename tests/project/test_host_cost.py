"""benchmarks/host_cost.py: what its simulated engine counts and how long it takes."""

from __future__ import annotations

import pytest

from benchmarks import host_cost
from preflight.model_entries import ModelSpec
from tests.scoring.test_agent_stub import WordTokenizer, task

SPEC = ModelSpec("stub", "org/stub")
TASKS = [task(f"Will {name} happen?") for name in "ABCD"]


def scored(rate, own_seconds=0.0):
    with host_cost.simulated(SPEC, WordTokenizer(), own_seconds, rate) as agent:
        started = agent.llm.now()
        outcomes = list(agent.score(TASKS))
        return outcomes, agent.llm, agent.llm.now() - started


def test_follow_up_requests_run_the_last_block_and_no_more():
    outcomes, engine, _ = scored(1e9)
    prompts = sum(len(outcome.prompt.token_ids) for outcome in outcomes)
    follow_ups = engine.requests - len(outcomes)
    assert follow_ups == 11 * len(outcomes)  # the digits, and "10"
    assert prompts + follow_ups <= engine.tokens <= prompts + follow_ups * (host_cost.BLOCK + 2)
    assert sum(outcome.result.forward_tokens for outcome in outcomes) == engine.tokens


def test_a_slow_engine_is_what_takes_time():
    _, engine, seconds = scored(100)
    assert engine.busy == pytest.approx(engine.tokens / 100 + host_cost.STEP_SECONDS * engine.steps)
    assert seconds == pytest.approx(engine.busy, rel=0.02)


def test_a_slow_host_is_what_takes_time():
    _, engine, seconds = scored(1e9, own_seconds=60)
    assert seconds == pytest.approx(60 * engine.requests, rel=0.02)
