"""What was written is cut at the mark that ends a thought; loops and bad ends are seen."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from agents_vllm import Agent
from preflight.model_entries import ModelSpec
from scoring.thinking import loops, thought_format
from scoring.thoughts import Writing, split_thought
from tests.scoring.test_agent_stub import StubLLM
from tests.scoring.test_chat_templates import CHATML, TemplateTokenizer


class Pieces:
    """Tokens are given texts, as vocabularies with merges have them; 9 ends a turn."""

    texts = ("Hm", ".", "</", "think", ">", ".</", ">\n", "</think>", "�", "<|end|>")
    all_special_ids = (9,)

    def decode(self, ids, *, skip_special_tokens):
        assert not skip_special_tokens
        return "".join(self.texts[i] for i in ids)


@pytest.mark.parametrize(
    ("ids", "text", "kept", "rest", "ended"),
    [
        ((0, 1, 7), "Hm.", (0, 1), "", True),  # the mark is a token
        ((0, 1, 2, 3, 4), "Hm.", (0, 1), "", True),  # it is three
        ((0, 5, 3, 6), "Hm.", (0,), ".", True),  # its first one belongs to the thought in part
        ((0, 1), "Hm.", (0, 1), "", False),  # cut
        ((0, 1, 2, 3), "Hm.", (0, 1), "", False),  # cut inside of the mark
        ((0, 5), "Hm.", (0,), ".", False),  # and inside of a token
        ((0, 1, 9), "Hm.", (0, 1), "", False),  # the turn ended, not the thought
        ((7,), "", (), "", True),
        ((), "", (), "", False),
    ],
)
def test_a_thought_ends_before_its_mark(ids, text, kept, rest, ended):
    found = split_thought(Pieces(), ids, "</think>")
    assert (found.text, found.token_ids, found.rest, found.ended) == (text, kept, rest, ended)


@pytest.mark.parametrize(
    ("ids", "loop"),
    [
        ([*range(50), *[7] * 60], True),
        ([*range(50), *[7] * 59], False),
        ([*range(100), *[1, 2, 3] * 20], True),
        ([*range(100), *[1, 2, 3] * 19, 1, 2], False),
        ([*range(40)] * 4, True),
        ([*range(40)] * 3, False),
        ([], False),
        ([5] * 3, False),
    ],
)
def test_a_tail_that_repeats_itself_is_a_loop(ids, loop):
    assert loops(ids) is loop


SWITCHES = {
    "opens by default": ("<think>\n{{ '' }}", "<think>\n", "<think>\n\n</think>\n\n"),
    "asks for enable_thinking": (
        "{% if enable_thinking %}<think>\n{{ '' }}{% else %}<think></think>{% endif %}",
        "<think>\n",
        "<think></think>",
    ),
    "asks for thinking": (
        "{% if thinking %}<think>{% else %}<think></think>{% endif %}", "<think>", "<think></think>",
    ),
    "named by its end only": ("{# </think> #}", "<think>", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", SWITCHES)
def test_a_format_is_read_off_the_template(name):
    behind, begin, empty = SWITCHES[name]
    template = CHATML.replace("{% endif %}", f"{behind}{{% endif %}}")
    form = thought_format(TemplateTokenizer(template))
    assert (form.begin, form.empty) == (begin, empty)
    for text in (f"assistant\n{behind}" for behind in form.written):
        assert form.opened(text) == f"assistant\n{begin}"
        assert form.unthought(text) == f"assistant\n{empty}"


def test_the_entrys_own_switch_wins():
    template = CHATML.replace(
        "{% endif %}", f"{SWITCHES['asks for enable_thinking'][0]}{{% endif %}}"
    )
    form = thought_format(TemplateTokenizer(template), {"enable_thinking": True})
    assert form.off == {"enable_thinking": True}
    assert form.empty == "<think>\n\n</think>\n\n"  # opened, so it is closed


@pytest.mark.parametrize("template", [CHATML, None, ""])
def test_a_template_without_marks_shows_no_thought(template):
    assert thought_format(TemplateTokenizer(template)) is None


# --- the engine's side ----------------------------------------------------------------------------


class WritingLLM(StubLLM):
    """Writes as many tokens as the seed says."""

    def generate(self, prompts, sampling):
        self.calls.append(sampling)
        return [
            SimpleNamespace(
                outputs=[SimpleNamespace(token_ids=[5] * values["seed"], finish_reason="length")]
            )
            for values in sampling
        ]


def test_texts_are_written_in_one_batch_and_told_by_their_places():
    with Agent(ModelSpec("stub", "org/stub"), vllm_config={}, llm_factory=WritingLLM) as agent:
        told = []
        asked = [Writing((1, 2), {"seed": seed, "max_tokens": 9}) for seed in (3, 4, 5)]
        written = list(agent.write(asked, lambda *tokens: told.append(tokens)))
        assert len(agent.llm.calls) == 1
    assert [len(one.token_ids) for one in written] == [3, 4, 5]
    assert {one.finish_reason for one in written} == {"length"}
    assert sorted(told) == [(0, 3), (1, 4), (2, 5)]
