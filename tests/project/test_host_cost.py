"""benchmarks/host_cost.py: what its simulated engine counts and how long it takes."""

from __future__ import annotations

import math

import pytest

from benchmarks import host_cost
from preflight.model_entries import ModelSpec
from tests.scoring.test_agent_stub import WordTokenizer, task

SPEC = ModelSpec("stub", "org/stub")
TASKS = [task(f"Will {name} happen?") for name in "ABCD"]


def scored(rate, tokenizer=None):
    with host_cost.simulated(SPEC, tokenizer or WordTokenizer(), 0.0, rate) as agent:
        outcomes = list(agent.score(TASKS))
        return outcomes, agent.llm


@pytest.mark.parametrize("rate", [math.inf, 1e9])
def test_follow_up_requests_run_the_last_block_and_no_more(rate):
    outcomes, engine = scored(rate)
    prompts = sum(len(outcome.prompt.token_ids) for outcome in outcomes)
    follow_ups = engine.requests - len(outcomes)
    assert follow_ups == 11 * len(outcomes)  # the digits, and "10"
    assert prompts + follow_ups <= engine.tokens <= prompts + follow_ups * (host_cost.BLOCK + 2)
    assert sum(outcome.result.forward_tokens for outcome in outcomes) == engine.tokens


def test_the_simulated_time_is_that_of_its_steps(monkeypatch):
    slept = []
    monkeypatch.setattr(host_cost.time, "sleep", slept.append)
    _, engine = scored(1e4)
    assert engine.steps == len(slept)
    # Whoever sleeps less than told is told to sleep on by the next step.
    assert max(slept) >= engine.tokens / 1e4
