"""Named open-weight families on the real engine: their tokenizers and templates, tiny random weights.

The weights themselves cannot be had here. That a thought is opened, written, closed and read as each family's template
asks is tested; that the numbers are worth anything is not.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

import config
from agents_vllm import Agent
from preflight.model_entries import ModelSpec
from scoring.tasks import ForecastTask
from tests.scoring.test_real_templates import QUESTION, TODAY
from tests.scoring.test_thinking_templates import FAMILIES, agent
from tests.support.needed import PACKAGED_MODEL, needs
from tests.support.tiny_models import TINY

pytestmark = [pytest.mark.engine, pytest.mark.registry, needs(PACKAGED_MODEL)]

ASKED = (
    "Qwen3, hybrid",
    "Qwen3-Thinking-2507",
    "QwQ",
    "R1 distill of Llama",
    "gpt-oss",
    "Nemotron Nano v2",
)


def save(folder, tokenizer):
    """Write a random Llama with a family's tokenizer and template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    shape = LlamaConfig(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, **TINY)
    LlamaForCausalLM(shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize("name", ASKED)
def test_a_thought_is_written_closed_and_read(name, tmp_path, monkeypatch):
    monkeypatch.setattr(config, "THINK_MAX_TOKENS", 24)
    save(tmp_path, agent(name, think=True).tokenizer)
    opening, _, cut, without = FAMILIES[name][4:]
    spec = ModelSpec("tiny", str(tmp_path), think=True)
    settings = {"dtype": "float32", "max_model_len": 1024}
    tasks = [ForecastTask(QUESTION, TODAY)] * 2
    with Agent(spec, vllm_config=settings, tolerance=0) as engine:
        assert engine.thought_prompt(tasks[0]).text.endswith(opening)
        written = list(engine.think(tasks, [0, 1], lambda *_: None))
        thoughts = [one.thought for one in written]
        behind = [
            replace(task, thought=thought) for task, thought in zip(tasks, thoughts, strict=True)
        ]
        *thought, plain = engine.score([*behind, tasks[0]])
    assert len({one.token_ids for one in thoughts}) == 2
    assert [one.cut for one in written] == [True, True]
    for outcome in thought:
        assert outcome.error is None
        assert outcome.prompt.text.endswith(cut)
        assert outcome.result.residual_mass == pytest.approx(0, abs=1e-6)
        assert 0 < outcome.result.captured_mass <= 1.001
    assert plain.prompt.text.endswith(without)
    assert len({outcome.result.distribution.mean for outcome in (*thought, plain)}) == 3
