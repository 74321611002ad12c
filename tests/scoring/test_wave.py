"""Scoring comes in waves, and the waves tell how far it is."""

from __future__ import annotations

import pytest

import config
from scoring.tasks import Wave
from tests.scoring.test_agent_stub import agent_with, task


def test_what_a_wave_tells_adds_up_to_its_tasks():
    told = []
    wave = Wave(told.append, 4, 0.8)
    wave.begin(4)
    for _ in range(4):
        wave.tick()
    assert sum(told) == pytest.approx(3.2)
    wave.begin(10)
    wave.tick()
    assert told[-1] == pytest.approx(0.04)  # half of what is left, a tenth of it
    wave.end()
    assert sum(told) == pytest.approx(4)


def test_scoring_comes_in_waves_and_tells_how_far_it_is(monkeypatch):
    monkeypatch.setattr(config, "SCORING_WAVE", 2)
    # A window that holds the short questions and not the long one.
    agent = agent_with(
        window=len(agent_with().build_prompt(task("Will A happen?")).token_ids) + 100
    )
    told = []
    agent.progress = told.append
    outcomes = agent.score(
        [*(task(f"Will {name} happen?") for name in "ABCD"), task("x" * 900), task("Will E?")]
    )
    assert next(outcomes).error is not None  # the one that does not fit
    assert next(outcomes).index == 0
    assert len(agent.llm.calls) == 3
    assert sum(told) == pytest.approx(3)  # that one and the first wave
    assert [outcome.index for outcome in outcomes] == [1, 2, 3, 5]
    assert len(agent.llm.calls) == 9
    assert sum(told) == pytest.approx(6)
