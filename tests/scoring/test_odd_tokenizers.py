"""Tokenizers that put an end-of-text behind every text, and the smallest cache, through the command line."""

from __future__ import annotations

import sqlite3

import pytest

import config
import forecaster
from agents_vllm import Agent
from scoring.number_trie import NumberTokenizer
from tests.scoring.test_agent_stub import StubLLM, WordTokenizer


class Ending(WordTokenizer):
    """Writes an end-of-text behind every text; with ``always`` also where no special tokens are wanted."""

    def __init__(self, whole=False, always=False):
        super().__init__(whole)
        self.ids["</s>"] = len(self.texts)
        self.texts.append("</s>")
        self.all_special_ids = (self.ids["</s>"],)
        self.all_special_tokens = ("</s>",)
        self.always = always

    def encode(self, text, *, add_special_tokens=False):
        parts = text.split("</s>")
        ids = super().encode(parts[0])
        for part in parts[1:]:
            ids += [self.ids["</s>"], *super().encode(part)]
        return [*ids, self.ids["</s>"]] if add_special_tokens or self.always else ids


def forecast(tmp_path, monkeypatch, tokenizer, **settings):
    """Ask one question of a stand-in engine with this tokenizer; the exit code and the stored row."""

    class LLM(StubLLM):
        def __init__(self, **arguments):
            super().__init__(window=100_000, blocks=100_000, **arguments)
            self.tokenizer = tokenizer

    for name, value in settings.items():
        monkeypatch.setattr(config, name, value)
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    monkeypatch.setattr(config, "FORECAST_MODEL_PATHS_VLLM", {"stub": "owner/stub"})
    monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", "stub")
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    arguments = [
        "--question",
        "Will it rain?",
        "--no-retrieval",
        "--database",
        str(tmp_path / "d.db"),
    ]
    code = forecaster.main(arguments, agent_factory=lambda spec: Agent(spec, llm_factory=LLM))
    with sqlite3.connect(tmp_path / "d.db") as connection:
        row = connection.execute(
            "SELECT error, mean, residual_mass, requests FROM forecasts"
        ).fetchone()
    return code, row


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("always", [False, True])
def test_an_appended_end_of_text_is_taken_off(tmp_path, monkeypatch, whole, always):
    code, (error, mean, _, _) = forecast(
        tmp_path, monkeypatch, Ending(whole, always), SCORING_TOLERANCE=0
    )
    assert (code, error) == (0, None)
    plain = WordTokenizer(whole)
    plain.texts.append("never")  # as large a vocabulary, so that the uniform model is the same
    (tmp_path / "plain").mkdir()
    _, (_, expected, _, _) = forecast(tmp_path / "plain", monkeypatch, plain, SCORING_TOLERANCE=0)
    assert mean == pytest.approx(expected)


def test_a_text_that_is_the_end_of_text_keeps_it():
    for always in (False, True):
        numbers = NumberTokenizer(Ending(always=always))
        assert numbers.encode("</s>") == [numbers.tokenizer.ids["</s>"]]


@pytest.mark.parametrize("whole", [False, True])
def test_the_smallest_cache_reads_every_node(tmp_path, monkeypatch, whole):
    settings = {"MAX_LOGPROB_CACHE": 102, "SCORING_TOLERANCE": 0}
    code, (error, _, residual, requests) = forecast(
        tmp_path, monkeypatch, WordTokenizer(whole), **settings
    )
    assert (code, error, residual) == (0, None, 0)
    assert requests == (2 if whole else 12)  # of 102 nodes those that lead on


def test_a_smaller_cache_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(config, "MAX_LOGPROB_CACHE", 101)
    database = tmp_path / "d.db"
    code = forecaster.main(["--question", "Q?", "--database", str(database)], agent_factory=Agent)
    assert code == 2
    assert (
        "MAX_LOGPROB_CACHE is 101; allowed: a whole number, 102 or more" in capsys.readouterr().err
    )
    assert not database.exists()


def test_a_trie_with_more_nodes_than_the_setting_is_read_whole(tmp_path, monkeypatch):
    class Bytes(WordTokenizer):
        """Two tokens for each digit, as a vocabulary of half bytes would have."""

        def encode(self, text, *, add_special_tokens=False):
            ids = []
            for one in super().encode(text):
                ids += [self.ids["\t"], one] if self.texts[one] in "23456789" else [one]
            return ids

        def decode(self, token_ids):
            return super().decode(token_ids).replace("\t", "")

    settings = {"MAX_LOGPROB_CACHE": 102, "SCORING_TOLERANCE": 0}
    code, (error, _, _, _) = forecast(tmp_path, monkeypatch, Bytes(), **settings)
    assert (code, error) == (0, None)


@pytest.mark.parametrize("kind", ["merged_tokenizer", "single_token_tokenizer"])
def test_a_real_post_processor_that_appends_the_end_of_text(kind):
    processors = pytest.importorskip("tokenizers", reason="not installed: tokenizers").processors
    transformers = pytest.importorskip("transformers", reason="not installed: transformers")
    from tests.support import tiny_models

    tokenizer = getattr(tiny_models, kind)()
    end = tokenizer.token_to_id(tiny_models.END)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {tiny_models.END}", special_tokens=[(tiny_models.END, end)]
    )
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=tiny_models.END
    )
    assert wrapped.encode("7")[-1] == end
    prompt, trie = NumberTokenizer(wrapped).place("Answer:\n", add_special_tokens=True)
    assert end not in prompt
    assert all(end not in path for path in trie.paths)
    assert wrapped.decode([*prompt, *trie.paths[42]]) == "Answer:\n42"
