"""Other tokenizers through the real engine: tiny random models with one token per integer and with GPT-2-like merges."""

from __future__ import annotations

import importlib.util

import pytest

from agent_base import ForecastTask
from agents_vllm import Agent
from agents_vllm import vllm_is_cpu_build as cpu_build
from config import ModelSpec
from distribution import total_variation
from forecaster import QUESTIONS

MISSING = [
    name for name in ("vllm", "torch", "transformers", "tokenizers") if importlib.util.find_spec(name) is None
]
pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(not cpu_build(), reason="not installed: a CPU build of vllm (float32 is compared)"),
]

WINDOW = 1024
BLOCK_SIZE = 32
SETTINGS = {"dtype": "float32", "max_model_len": WINDOW, "block_size": BLOCK_SIZE}
TASKS = [ForecastTask(question, "2026-11-24") for question in QUESTIONS[:4]]
END = "<|endoftext|>"


def byte_level(model):
    from tokenizers import Tokenizer, decoders, pre_tokenizers

    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def merged_tokenizer():
    """Byte-level BPE trained on the questions and on some numbers: some integers are one token, others two, as in GPT-2."""
    from tokenizers import models, pre_tokenizers, trainers

    tokenizer = byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    frequent = [str(n) for n in range(0, 101, 7)] + [f" {n}" for n in range(0, 101, 10)]
    tokenizer.train_from_iterator([*(q.text for q in QUESTIONS), *frequent * 50], trainer)
    return tokenizer


def single_token_tokenizer():
    """The byte alphabet, and merges that give each of 0-100 and no other number a token, as in Llama 3."""
    from tokenizers import models, pre_tokenizers

    vocabulary = {END: 0}
    for character in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[character] = len(vocabulary)
    merges = [(str(n)[:-1], str(n)[-1]) for n in range(10, 101)]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    tokenizer = byte_level(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.add_special_tokens([END])
    return tokenizer


def save_model(folder, tokenizer):
    """A Llama of 2 layers with random weights, large enough that its answers are far from uniform."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(7)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(wrapped),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=WINDOW,
            initializer_range=0.3,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
    model.save_pretrained(folder)
    wrapped.save_pretrained(folder)


@pytest.fixture(scope="module", params=[single_token_tokenizer, merged_tokenizer], ids=["single", "merged"])
def agents(request, tmp_path_factory):
    from agents import Agent as LegacyAgent

    folder = tmp_path_factory.mktemp("tiny")
    save_model(folder, request.param())
    spec = ModelSpec("tiny", str(folder), answer_prefix="Probability in percent: ")
    with LegacyAgent(spec) as legacy, Agent(spec, vllm_config=SETTINGS) as agent:
        legacy.block_size, legacy.max_model_len = agent.block_size, agent.max_model_len
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
    _, agent, exact = agents
    for result, (distribution, captured) in zip(score(agent, 0), exact, strict=True):
        assert total_variation(result.distribution, distribution) <= 1e-5
        assert result.captured_mass == pytest.approx(captured, rel=1e-4)
        assert result.residual_mass <= 1e-6


def test_default_scoring_is_within_its_certificate(agents):
    _, agent, exact = agents
    for result, (distribution, _) in zip(score(agent, 0.01), exact, strict=True):
        assert total_variation(result.distribution, distribution) <= 1e-3 + result.residual_mass
