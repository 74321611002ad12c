"""How real templates let a model think, close a thought and answer: read off the makers' own.

Tokenizers and templates come from registries as in ``test_real_templates``; where a maker's tokenizer is in no package
another family's takes its place, for the marks are found in the text. Weights of these models are not at hand: what
is tested is where thought and number are placed.
"""

from __future__ import annotations

from typing import Any

import pytest

import config
from scoring.tasks import ForecastTask, Thought
from scoring.thinking import thought_format
from tests.scoring.test_real_templates import QUESTION, TODAY, agent_of
from tests.support.needed import needs

pytestmark = [pytest.mark.registry, needs({"transformers": "transformers"})]

OLD, NEW = "llama-cpp-python==0.3.16", "llama-cpp-python==0.3.36"
TASK = ForecastTask(QUESTION, TODAY)
CHATML = "<|im_start|>assistant\n"
R1 = "<｜Assistant｜>"
# The package's own template of Qwen3 with the generation prompt of the Thinking-2507 models, whose card says that the
# template opens the thought.
THINKING_2507 = "qwen3, thinking 2507"
# Tokenizer, template, where it is from, the entry's template arguments; then the end of the prompt that a thought
# follows, what closes a thought that the model ended, what closes a cut one, and the end of a prompt without a thought.
FAMILIES: dict[str, tuple[Any, ...]] = {
    "Qwen3, hybrid": (
        "qwen3", None, "", {},
        f"{CHATML}<think>\n", "</think>\n\n", "\n</think>\n\n", f"{CHATML}<think>\n\n</think>\n\n",
    ),
    "Qwen3-Thinking-2507": (
        "qwen3", THINKING_2507, "", {},
        f"{CHATML}<think>\n", "</think>\n\n", "\n</think>\n\n", f"{CHATML}<think>\n\n</think>\n\n",
    ),
    "Qwen3.5": (
        "qwen3", "Qwen3.5-4B.jinja", NEW, {},
        f"{CHATML}<think>\n", "</think>\n\n", "\n</think>\n\n", f"{CHATML}<think>\n\n</think>\n\n",
    ),
    "QwQ": (
        "qwen2_5", "Qwen-QwQ-32B.jinja", OLD, {},
        f"{CHATML}<think>\n", "</think>\n\n", "\n</think>\n\n", f"{CHATML}<think>\n\n</think>\n\n",
    ),
    "R1 distill of Qwen": (
        "qwen2_5", "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja", OLD, {},
        f"{R1}<think>\n", "</think>\n\n", "\n</think>\n\n", f"{R1}<think>\n\n</think>\n\n",
    ),
    "R1 distill of Llama": (
        "llama3_2", "deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja", OLD, {},
        f"{R1}<think>\n", "</think>\n\n", "\n</think>\n\n", f"{R1}<think>\n\n</think>\n\n",
    ),
    "gpt-oss": (
        "gptoss", "openai-gpt-oss-120b.jinja", OLD, {},
        "<|start|>assistant<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
        "<|start|>assistant<|channel|>final<|message|>",
    ),
    "Nemotron Nano v2": (
        "llama3_2", "NVIDIA-Nemotron-Nano-v2.jinja", NEW, {},
        "Assistant\n<think>\n", "</think>\n\n", "\n</think>\n\n", "Assistant\n<think></think>",
    ),
    "Nemotron 3 Nano": (
        "qwen2_5", "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16.jinja", NEW, {},
        f"{CHATML}<think>\n", "</think>\n", "\n</think>\n", f"{CHATML}<think></think>",
    ),
    "SmolLM3": (
        "llama3_2", "HuggingFaceTB-SmolLM3-3B.jinja", NEW, {},
        f"{CHATML}<think>\n", "</think>\n", "\n</think>\n", f"{CHATML}<think>\n\n</think>\n",
    ),
    "DeepSeek V3.1": (
        "deepseek_v3", "deepseek-ai-DeepSeek-V3.1.jinja", NEW, {},
        f"{R1}<think>", "</think>", "</think>", f"{R1}<think></think>",
    ),
    "GLM 4.6": (
        "qwen2_5", "GLM-4.6.jinja", NEW, {},
        "<|assistant|>\n<think>", "</think>\n", "</think>\n", "<|assistant|>\n<think></think>",
    ),
    "Gemma 4": (
        "gemma3", "google-gemma-4-31B-it.jinja", NEW, {},
        "<|turn>model\n<|channel>thought\n", "<channel|>", "\n<channel|>",
        "<|turn>model\n<|channel>thought\n<channel|>",
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def short_thoughts(monkeypatch):
    """The stand-in's window holds 4096 tokens."""
    monkeypatch.setattr(config, "THINK_MAX_TOKENS", 256)


def agent(name, **settings):
    """An agent of a family in FAMILIES."""
    tokenizer, template, source, kwargs = FAMILIES[name][:4]
    if template != THINKING_2507:
        return agent_of(tokenizer, template, source, chat_template_kwargs=kwargs, **settings)
    found = agent_of(tokenizer, **settings)
    head, found_prompt, _ = found.tokenizer.chat_template.partition(
        "{%- if add_generation_prompt %}"
    )
    assert found_prompt
    generation = "{{- '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}"
    found.tokenizer = type(found.tokenizer)(
        tokenizer_object=found.tokenizer.backend_tokenizer,
        chat_template=head + found_prompt + generation,
    )
    return found


def thought(agent, text, *, ended):
    """A thought as if it had been generated."""
    ids = agent.tokenizer.encode(text, add_special_tokens=False)
    return Thought(text, "", tuple(ids), ended)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_thought_is_opened_and_closed_as_its_makers_do(name):
    opening, ended, cut, without = FAMILIES[name][4:]
    thinking = agent(name, think=True)
    prompt = thinking.thought_prompt(TASK)
    assert prompt.text.endswith(opening)
    for closing, itself in ((ended, True), (cut, False)):
        said = thought(thinking, "It often rains in June.", ended=itself)
        behind = thinking.build_prompt(ForecastTask(QUESTION, TODAY, thought=said))
        assert behind.text == f"{prompt.text}It often rains in June.{closing}"
        # The engine has the prompt and the thought in its cache: the very tokens.
        known = prompt.token_ids + said.token_ids
        assert behind.token_ids[: len(known)] == known
        assert len(set(behind.trie.paths)) == 101
        decoded = thinking.tokenizer.decode(
            behind.token_ids[len(known) :], skip_special_tokens=False
        )
        assert closing.startswith(decoded)
    assert thinking.build_prompt(TASK).text.endswith(without)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_that_is_not_asked_to_think_never_answers_inside_a_thought(name):
    begin = agent(name, think=True).thoughts.begin.strip()
    plain = agent(name)
    text = plain.build_prompt(TASK).text
    assert text.endswith(FAMILIES[name][7])
    assert text.rfind(begin) <= text.rfind(plain.thoughts.end)
    # And behind a prefix of the entry's own.
    assert agent(name, answer_prefix="<answer>").build_prompt(TASK).text == f"{text}<answer>"


@pytest.mark.parametrize("effort", ["low", "medium", "high"])
def test_gpt_oss_thinks_with_the_entrys_effort(effort):
    found = agent_of(
        "gptoss", "openai-gpt-oss-120b.jinja", OLD, think=True,
        chat_template_kwargs={"reasoning_effort": effort},
    )  # fmt: skip
    for prompt in (found.thought_prompt(TASK), found.build_prompt(TASK)):
        assert f"Reasoning: {effort}" in prompt.text


@pytest.mark.parametrize("prefix", ["<answer>", "<probability>", "Probability in percent:"])
def test_the_number_is_read_behind_the_answer_format_of_a_fine_tune(prefix):
    found = agent("Qwen3, hybrid", think=True, answer_prefix=prefix)
    said = thought(found, "Rain is likely.", ended=True)
    text = found.build_prompt(ForecastTask(QUESTION, TODAY, thought=said)).text
    assert text.endswith(f"Rain is likely.</think>\n\n{prefix}")


def test_words_of_the_entry_switch_thinking_on_in_the_system_prompt():
    """As Llama-3.1-Nemotron-Nano-8B-v1 is told; its template shows nothing of it."""
    found = agent_of("llama3_2", think="detailed thinking on")
    assert thought_format(found.tokenizer) is None
    text = found.thought_prompt(TASK).text
    assert "detailed thinking on<|eot_id|>" in text
    assert text.endswith("assistant<|end_header_id|>\n\n<think>\n")
    without = found.build_prompt(TASK).text
    assert "detailed thinking" not in without
    assert without.endswith("<think>\n\n</think>\n\n")


def test_words_in_quoted_text_do_not_switch_thinking():
    """Nemotron's template looks for /no_think in every message, quoted evidence too."""
    from tests.scoring.test_agent_stub import passage

    quoted = passage(1)
    object.__setattr__(quoted, "text", "See example.org/no_think for the rules.")
    task = ForecastTask(QUESTION, TODAY, (quoted,))
    found = agent("Nemotron Nano v2", think=True)
    assert found.thought_prompt(task).text.endswith("Assistant\n<think>\n")
    assert found.build_prompt(task).text.endswith("Assistant\n<think></think>")


@pytest.mark.parametrize("family", ["gemma3", "llama3_2", "mistral_nemo", "qwen2_5", "gpt2"])
def test_a_template_without_a_thought_shows_none(family):
    found = agent_of(family, think=True)
    assert found.thoughts is None
    with pytest.raises(Exception, match="think is set but the chat template shows no way to think"):
        list(found.think([TASK], [0], lambda *_: None))
