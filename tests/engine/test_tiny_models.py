"""Other tokenizers through the real engine: tiny random models with one token per integer and with GPT-2-like merges."""

from __future__ import annotations

import importlib.util

import pytest

from agents_vllm import Agent
from engine.environment import vllm_is_cpu_build as cpu_build
from forecaster import QUESTIONS
from preflight.model_entries import ModelSpec
from scoring.distribution import total_variation
from scoring.tasks import ForecastTask
from tests.support.tiny_models import WINDOW, merged_tokenizer, save_model, single_token_tokenizer

MISSING = [
    name
    for name in ("vllm", "torch", "transformers", "tokenizers")
    if importlib.util.find_spec(name) is None
]
pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(
        not cpu_build(), reason="not installed: a CPU build of vllm (float32 is compared)"
    ),
]

BLOCK_SIZE = 32
SETTINGS = {"dtype": "float32", "max_model_len": WINDOW, "block_size": BLOCK_SIZE}
TASKS = [ForecastTask(question, "2026-11-24") for question in QUESTIONS[:4]]


@pytest.fixture(
    scope="module", params=[single_token_tokenizer, merged_tokenizer], ids=["single", "merged"]
)
def agents(request, tmp_path_factory):
    from agents import Agent as LegacyAgent

    folder = tmp_path_factory.mktemp("tiny")
    save_model(folder, request.param())
    spec = ModelSpec("tiny", str(folder), answer_prefix="Probability in percent: ")
    with LegacyAgent(spec) as legacy, Agent(spec, vllm_config=SETTINGS) as agent:
        legacy.max_model_len = agent.max_model_len
        yield request.param.__name__, agent, [legacy.exact_distribution(task) for task in TASKS]


def score(agent, tolerance):
    agent._scorings.clear()
    agent.tolerance = tolerance
    outcomes = list(agent.score(TASKS))
    assert [outcome.error for outcome in outcomes] == [None] * len(TASKS)
    return [outcome.result for outcome in outcomes]


def test_the_tokenizers_are_what_they_claim_to_be(agents):
    name, agent, _ = agents
    lengths = {len(path) for path in agent.build_prompt(TASKS[0]).trie.paths}
    assert lengths == {1} if name == "single_token_tokenizer" else {1, 2} <= lengths
    assert agent.assure_agent() is (name == "single_token_tokenizer")


def test_exhaustive_scoring_equals_teacher_forcing(agents):
    name, agent, exact = agents
    for result, (distribution, captured) in zip(score(agent, 0), exact, strict=True):
        assert total_variation(result.distribution, distribution) <= 1e-5
        assert result.captured_mass == pytest.approx(captured, rel=1e-4)
        assert result.residual_mass == 0
        assert name != "single_token_tokenizer" or result.requests == 2


def test_default_scoring_is_within_its_certificate(agents):
    _, agent, exact = agents
    for result, (distribution, _) in zip(score(agent, 0.01), exact, strict=True):
        assert total_variation(result.distribution, distribution) <= 1e-3 + result.residual_mass
        assert result.residual_mass <= 0.01
