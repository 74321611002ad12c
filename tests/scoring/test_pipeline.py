"""Prompts in flight on one engine: who may join, what is asked together, what is left when it ends early."""

from __future__ import annotations

import pytest

import config
from agents_vllm import Agent
from scoring.pipeline import CACHE_SHARE, QUEUED_STEPS
from tests.scoring.test_agent_stub import SPEC, StubLLM, agent_with, task


def tasks(names):
    return [task(f"Will {name} happen?") for name in names]


LENGTH = len(agent_with().build_prompt(tasks("A")[0]).token_ids)


class SteppingLLM(StubLLM):
    """Answers as many waiting requests a step as fit into its batch, first come first served."""

    def __init__(self, *, step, **arguments):
        super().__init__(step=step, **arguments)
        self.tokens = step

    def step(self):
        waiting, left, taken = self.queue, self.tokens, 0
        while taken < len(waiting):
            cost = len(waiting[taken][1]["prompt_token_ids"])
            cost = cost if self.is_root(waiting[taken]) else 1
            if taken and cost > left:
                break
            left -= cost
            taken += 1
        self.queue = waiting[:taken]
        outputs = super().step()
        self.queue = waiting[taken:]
        return outputs

    @staticmethod
    def is_root(request):
        return len(request[1]["prompt_token_ids"]) == LENGTH


def roots(calls):
    return [sum(len(prompt["prompt_token_ids"]) == LENGTH for prompt in call) for call in calls]


def stepping(step):
    agent = Agent(SPEC, tolerance=0, llm_factory=lambda **_: SteppingLLM(step=step))
    agent.load()
    return agent


def test_outcomes_come_in_order_and_progress_adds_up_to_the_tasks(monkeypatch):
    monkeypatch.setattr(config, "SCORING_WAVE", 2)
    # A window that holds the short questions and not the long one.
    agent = agent_with(window=LENGTH + 100)
    told = []
    agent.progress = told.append
    asked = [*tasks("ABCD"), task("x" * 900), task("Will E?")]
    seen = []
    for outcome in agent.score(asked):
        seen.append(outcome.index)
        assert (outcome.error is not None) == (outcome.index == 4)
        assert sum(told) >= len(seen) - 1e-9
    assert seen == [0, 1, 2, 3, 4, 5]
    assert sum(told) == pytest.approx(6)


def test_no_more_than_a_wave_is_lost_when_a_run_is_killed(monkeypatch):
    monkeypatch.setattr(config, "SCORING_WAVE", 3)
    agent = agent_with()
    outcomes = agent.score(tasks("ABCDEFG"))
    for count in range(1, 8):
        next(outcomes)
        assert sum(roots(agent.llm.calls)) <= count - 1 + 3
    assert sum(roots(agent.llm.calls)) == 7


def test_prompts_join_while_others_are_asked_their_next_round():
    agent = stepping(2 * LENGTH)
    means = [o.result.distribution.mean for o in agent.score(tasks("ABCDEFGH"))]
    counts = roots(agent.llm.calls)
    assert sum(counts) == 8
    assert len(agent.llm.calls) < 2 * 8 / 2  # two calls for each pair, were they apart
    assert any(0 < count < len(call) for count, call in zip(counts, agent.llm.calls, strict=True))
    plain = agent_with().score(tasks("ABCDEFGH"))
    assert means == [o.result.distribution.mean for o in plain]


def test_no_more_prompts_wait_in_the_engine_than_keep_it_busy():
    agent = stepping(2 * LENGTH)
    waiting = []
    step = agent.llm.llm_engine.step

    def watched():
        waiting.append(sum(map(SteppingLLM.is_root, agent.llm.queue)))
        return step()

    agent.llm.llm_engine.step = watched
    list(agent.score(tasks("ABCDEFGHIJ")))
    assert max(waiting) == 2 * QUEUED_STEPS


@pytest.mark.parametrize("prompts", [1, 2.5])
def test_no_more_prompts_are_in_flight_than_the_cache_holds(prompts):
    agent = agent_with(blocks=int(prompts * LENGTH / CACHE_SHARE / 16))
    list(agent.score(tasks("ABCD")))
    assert roots(agent.llm.calls) == ([2, 0] * 2 if prompts > 2 else [1, 0] * 4)


def test_what_is_not_answered_is_taken_back_when_scoring_ends_early():
    agent = stepping(2 * LENGTH)
    outcomes = agent.score(tasks("ABCDEF"))
    assert next(outcomes).index == 0
    assert agent.llm.queue
    outcomes.close()
    assert not agent.llm.queue
    assert [outcome.index for outcome in agent.score(tasks("XY"))] == [0, 1]
