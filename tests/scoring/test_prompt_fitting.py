"""Prompts are the same words and tokens whatever the engine's cache, and cost about one encoding of their text."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

import config
import forecaster
from agents_vllm import Agent
from preflight.model_entries import ModelSpec
from scoring.tasks import Thought
from tests.scoring.test_agent_stub import StubLLM, agent_with, passage, task
from tests.support.stub_cli import StubAgent

CACHES = [
    {"block_size": 16},
    {"block_size": 32},
    {"block_size": 128},
    {"block_size": 16, "caching": False},
]


@pytest.mark.parametrize("text", ["Will A happen?", "Will A happen, or B, or C?", "X" * 77])
def test_a_prompt_is_the_same_words_for_every_cache(text):
    asked = task(text, [passage(1)])
    prompts = [agent_with(**cache).build_prompt(asked) for cache in CACHES]
    assert len({(prompt.text, prompt.token_ids) for prompt in prompts}) == 1
    assert f"</evidence>\n\nQuestion: {text}\n\nHow probable" in prompts[0].text


def test_the_stored_prompt_is_the_same_for_every_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    monkeypatch.setattr(config, "FORECAST_MODEL_PATHS_VLLM", {"stub": "owner/stub"})
    monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", "stub")
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    arguments = ["--question", "Will it rain?", "--no-retrieval"]
    arguments += ["--database", str(tmp_path / "d.db")]
    for cache in CACHES:

        def start(cache=cache, **given):
            return StubLLM(**{**given, **cache})

        agent = lambda spec, start=start: Agent(spec, llm_factory=start)  # noqa: E731
        assert forecaster.main(arguments, agent_factory=agent) == 0
    with sqlite3.connect(tmp_path / "d.db") as connection:
        rows = connection.execute("SELECT prompt_sha256 FROM forecasts").fetchall()
    assert len(rows) == len(CACHES)
    assert len(set(rows)) == 1
    assert rows[0][0]


@pytest.mark.parametrize("prefix", ["", "Probability in percent:"])
def test_the_number_is_read_behind_the_prompt_that_the_longest_thought_was_written_behind(
    prefix, monkeypatch
):
    agent = StubAgent(ModelSpec("stub-b", "owner/stub-b", think=True, answer_prefix=prefix))
    agent.load()
    text = "x " * 39
    ids = tuple(agent.tokenizer.encode(text))
    monkeypatch.setattr(config, "THINK_MAX_TOKENS", len(ids))
    asked = task("Will A happen?", [passage(n) for n in range(1, 4)])
    least = len(agent.thought_prompt(asked).token_ids) + len(ids)
    used = set()
    for agent.max_model_len in range(least, least + 50):
        opened = agent.thought_prompt(asked)
        behind = agent.build_prompt(replace(asked, thought=Thought(text, "", ids, ended=False)))
        known = opened.token_ids + ids
        assert behind.token_ids[: len(known)] == known, agent.max_model_len - least
        used.add(opened.passages_used)
    assert used == {2, 3}
