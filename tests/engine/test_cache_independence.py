"""A forecast does not depend on the engine's cache: its block size, whether there is one, what is in it."""

from __future__ import annotations

from itertools import combinations

import pytest

import agents_vllm
from agents_vllm import Agent
from preflight.model_entries import ModelSpec
from scoring.distribution import total_variation
from tests.engine.test_engine import TASKS, WINDOW, pytestmark  # noqa: F401
from tests.support.tiny_models import merged_tokenizer, save_model

CACHES = {
    # The CPU kernels take multiples of 32 only.
    "blocks of 32": {"block_size": 32},
    "blocks of 64": {"block_size": 64},
    "blocks of 128": {"block_size": 128},
    "no prefix cache": {"enable_prefix_caching": False},
}
# Two prompts with evidence that begin alike, one without: they share blocks.
ASKED = [TASKS[15], TASKS[17], TASKS[14]]
# All were equal to the last bit on two CPU cores; float32 sums in another order may differ.
NOISE = 1e-5


def distributions(agent, tasks):
    agent._scorings.clear()
    outcomes = list(agent.score(tasks))
    assert [outcome.error for outcome in outcomes] == [None] * len(tasks)
    return [(outcome.prompt, outcome.result) for outcome in outcomes]


@pytest.fixture
def spec(tmp_path):
    """A model whose forecasts hang on all of the prompt; without a cache each node costs all of it."""
    save_model(tmp_path, merged_tokenizer(), max_position_embeddings=WINDOW)
    return ModelSpec("tiny", str(tmp_path), answer_prefix="Probability in percent: ")


def test_a_forecast_is_the_same_with_every_cache_cold_and_warm(spec, monkeypatch):
    adapt = agents_vllm.adapt_to_cpu
    found = {}
    for name, cache in CACHES.items():

        def adapted(arguments, dtype, cache=cache):
            adapt(arguments, dtype)
            arguments.update(cache)

        monkeypatch.setattr(agents_vllm, "adapt_to_cpu", adapted)
        settings = {"dtype": "float32", "max_model_len": WINDOW}
        with Agent(spec, vllm_config=settings, tolerance=0) as agent:
            assert agent.block_size == cache.get("block_size")
            found[name, "cold"] = distributions(agent, ASKED)
            found[name, "warm"] = distributions(agent, ASKED[::-1])[::-1]
    ((first, _), expected), *rest = found.items()
    # A block of another prompt would be seen.
    for (_, one), (_, other) in combinations(expected, 2):
        assert total_variation(one.distribution, other.distribution) > 0.01
    for case, same in rest:
        for (prompt, result), (other, again) in zip(expected, same, strict=True):
            assert prompt.text == other.text
            assert prompt.token_ids == other.token_ids
            difference = total_variation(result.distribution, again.distribution)
            print(f"{case} against {first}: total variation {difference:.1e}")
            assert difference <= NOISE, case
            assert again.captured_mass == pytest.approx(result.captured_mass, rel=1e-4)
