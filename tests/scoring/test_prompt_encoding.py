"""Prompts encoded in pieces: the tokens of one plain encoding, the passages of the budget, about one encoding's cost."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace

import pytest

import config
from agents_vllm import Agent
from preflight.model_entries import ModelSpec
from questions.question import Question
from scoring import prompts
from scoring.number_trie import NumberTokenizer
from scoring.prompt_encoding import BETWEEN, PromptEncoder
from scoring.prompt_fitting import ANSWER_TOKENS
from scoring.prompts import Passage
from scoring.tasks import ForecastTask
from tests.scoring.test_agent_stub import StubLLM, WordTokenizer
from tests.scoring.test_real_tokenizers import FAMILIES, load
from tests.support.needed import needs
from tests.support.tiny_models import merged_tokenizer

pytestmark = needs({"transformers": "transformers", "tokenizers": "tokenizers"})

WORDS = (
    "the",
    "bank",
    "raised",
    "its",
    "rate",
    "by",
    "half",
    "a",
    "point",
    "in",
    "2026",
    "while",
    "inflation",
)
# What tokenizers treat in ways of their own, at the ends of passages too.
ODD = [
    *("12345", "0.75 %", "\n", "\n\n", "  ", "\t", "====", "----", "....", "'s ", "CamelCaseWord"),
    *(
        "東京は日本の首都",
        "。",
        "한국어 ",
        "e\u0301",
        "👩‍👩‍👧",
        "हिन्दी ",
        "العربية ",
        "\u00a0",
        "…",
        "“",
        "ﬁ",
    ),
    *("x" * 50, "7" * 45, "foo_bar(baz);\n    return 1\n", "[1]", " (", "{}", "—", "▁▁", "\u0301"),
]


class Counting:
    """A tokenizer that counts the characters it is asked to encode."""

    def __init__(self, inner):
        self.inner, self.characters = inner, 0

    def encode(self, text, **options):
        self.characters += len(text)
        return self.inner.encode(text, **options)

    def __getattr__(self, name):
        return getattr(self.inner, name)


def tiny():
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=merged_tokenizer(), eos_token="<|endoftext|>")


@pytest.fixture(params=["tiny", *(pytest.param(f, marks=pytest.mark.registry) for f in FAMILIES)])
def tokenizer(request):
    found = tiny() if request.param == "tiny" else load(request.param)
    return found or pytest.skip("not reachable: npm's registry")


def agent_of(tokenizer, window=100_000) -> Agent:
    class Engine(StubLLM):
        def get_tokenizer(self):
            return tokenizer

    agent = Agent(ModelSpec("stub", "org/stub"), llm_factory=lambda **a: Engine(window=window, **a))
    agent.load()
    return agent


def passages(seed, count, words=180, odd=0.0) -> tuple[Passage, ...]:
    """Seeded passages, of the same few words and a share of odd ones."""
    chance = random.Random(seed)

    def text():
        size = chance.choice((1, 5, words)) if odd else words
        parts = (chance.choice(ODD if chance.random() < odd else WORDS) for _ in range(size))
        return ("" if odd else " ").join(
            f"{part} " if chance.random() < 0.7 else part for part in parts
        )

    return tuple(
        Passage(text=text(), source="wikipedia", title=f"Title {n}", timestamp="2026-01-01")
        for n in range(count)
    )


def asked(seed, found, **changes) -> ForecastTask:
    question = Question(f"Will case {seed} be decided in 2027?", background=f"Case {seed}. " * seed)
    return replace(ForecastTask(question, "2026-11-24", found), **changes)


def whole(agent, text):
    plain = not agent.tokenizer.chat_template
    return tuple(agent.numbers.encode(text, add_special_tokens=plain))


def within_budget(agent, task):
    """Count passages by the definition: each encoded by itself, two tokens for what is between."""
    spent = 0
    for number, passage in enumerate(task.passages, start=1):
        block = prompts.passage_block(number, passage, agent.control_tokens)
        spent += len(agent.tokenizer.encode(block, add_special_tokens=False)) + 2
        if spent > config.CONTEXT_TOKENS:
            return number - 1
    return len(task.passages)


def test_the_tokens_are_those_of_one_plain_encoding_and_the_passages_those_of_the_budget(
    tokenizer, monkeypatch
):
    agent, plain = agent_of(tokenizer), agent_of(tokenizer)
    plain.encoder.in_pieces = False
    assert agent.encoder.in_pieces
    for seed in range(25):
        monkeypatch.setattr(config, "CONTEXT_TOKENS", (400, 2000, 6000)[seed % 3])
        task = asked(seed, passages(seed, 20, 60, odd=0.4), reasoning="Notes. " * (seed % 2))
        prompt, other = agent.build_prompt(task), plain.build_prompt(task)
        assert prompt == other
        assert prompt.passages_used == within_budget(agent, task)
        for n in (0, 7, 42, 100):
            spelled = (*prompt.token_ids, *prompt.trie.paths[n])
            assert spelled in (
                whole(agent, prompt.text + str(n)),
                whole(agent, f"{prompt.text} {n}"),
            )
        assert agent.reasoning_prompt(task) == plain.reasoning_prompt(task)
    assert agent.encoder.in_pieces  # and its own comparison found nothing either


@pytest.mark.parametrize("tokens", [2000, 8000])
def test_a_prompt_costs_at_most_1_3_encodings_of_its_text(tokenizer, monkeypatch, tokens):
    # Prompts of about 4 characters a token, whatever the tokenizer makes of them.
    sample = passages(0, 1)[0].text
    rate = 4 * len(tokenizer.encode(sample, add_special_tokens=False)) / len(sample)
    monkeypatch.setattr(config, "CONTEXT_TOKENS", int((tokens - 300) * rate))
    counting = Counting(tokenizer)
    agent = agent_of(counting)
    built = [agent.build_prompt(asked(seed, passages(seed, 70))) for seed in range(16)]
    assert min(len(prompt.text) for prompt in built) > 3 * tokens
    assert counting.characters <= 1.3 * sum(len(prompt.text) for prompt in built)


def test_samples_conditions_and_thoughts_of_a_question_share_its_evidence(tokenizer, monkeypatch):
    monkeypatch.setattr(config, "CONTEXT_TOKENS", 4000)
    counting = Counting(tokenizer)
    agent = agent_of(counting)
    total = 0
    for seed in range(4):
        task = asked(seed, passages(seed, 40))
        total += len(agent.tokenizer.decode(agent.reasoning_prompt(task)))
        for notes in (None, "The first notes.", "Other notes.", "The third notes."):
            total += len(agent.build_prompt(replace(task, reasoning=notes)).text)
    assert counting.characters <= 0.5 * total


def test_dropping_passages_for_the_window_encodes_nothing_again(tokenizer, monkeypatch):
    monkeypatch.setattr(config, "CONTEXT_TOKENS", 20_000)
    task = asked(1, passages(1, 30))
    unlimited = agent_of(tokenizer).build_prompt(task)
    for window in (len(unlimited.token_ids) * 2 // 3, len(unlimited.token_ids) // 3):
        counting = Counting(tokenizer)
        agent = agent_of(counting, window)
        prompt = agent.build_prompt(task)
        assert counting.characters <= 1.3 * len(unlimited.text) + 101 * 60
        assert 0 < prompt.passages_used < 30
        assert len(prompt.token_ids) <= window - ANSWER_TOKENS
        blocks = [
            prompts.passage_block(n, one, agent.control_tokens)
            for n, one in enumerate(task.passages[: prompt.passages_used + 1], start=1)
        ]
        more = agent._forecast_prompt(task, blocks)
        assert len(more.token_ids) > window - ANSWER_TOKENS


# --- tokenizers that cannot be read in pieces -----------------------------------------------------


def test_a_tokenizer_that_is_no_byte_pair_encoding_is_read_as_a_whole():
    class Unigram(WordTokenizer):
        backend_tokenizer = SimpleNamespace(model=type("Unigram", (), {})())

    for kind, in_pieces in ((Unigram, False), (WordTokenizer, True)):
        counting = Counting(kind())
        agent = agent_of(counting)
        task = asked(1, passages(1, 4))
        assert agent.encoder.in_pieces is in_pieces
        agent.build_prompt(task)
        before = counting.characters
        prompt = agent.build_prompt(task)
        assert (counting.characters - before >= len(prompt.text)) is not in_pieces
        assert prompt.token_ids == tuple(counting.encode(prompt.text + " "))
        assert prompt.passages_used == within_budget(agent, task)


class NotLocal(WordTokenizer):
    """Claims to be byte-pair encoding, and writes letters otherwise in texts of some length."""

    backend_tokenizer = SimpleNamespace(model=type("BPE", (), {})())

    def encode(self, text, *, add_special_tokens=False):
        ids = super().encode(text)
        return ids if len(text) < 400 else [0 if self.texts[i] == "q" else i for i in ids]


def test_a_tokenizer_that_reads_pieces_otherwise_is_noticed_and_read_as_a_whole(caplog):
    numbers = NumberTokenizer(NotLocal())
    encoder = PromptEncoder(numbers)
    blocks = ["The quick question. " * 10] * 4
    text = "Head of a prompt: " + BETWEEN.join(blocks) + " and its tail"
    assert encoder.encode(text, blocks) == tuple(numbers.encode(text))
    assert not encoder.in_pieces
    assert "pieces of a text" in caplog.text


def test_a_text_whose_seams_do_not_agree_is_read_as_a_whole(monkeypatch):
    monkeypatch.setattr("scoring.prompt_encoding.SEAM_CHARACTERS", (1, 2))
    agent = agent_of(Counting(tiny()))
    prompt = agent.build_prompt(asked(1, passages(1, 4)))
    assert agent.encoder.in_pieces
    assert prompt == agent_of(tiny()).build_prompt(asked(1, passages(1, 4)))
    before = agent.tokenizer.characters
    agent.build_prompt(asked(1, passages(1, 4)))
    assert agent.tokenizer.characters - before >= len(prompt.text)
