"""Evidence that does not fit: what is dropped is on record, and chunks of one question share a batch and are pooled."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

import config
from agents_vllm import Agent
from database import Database
from ensemble import Ensemble
from preflight.model_entries import ModelSpec
from questions.question import Question
from scoring.pooling import voice_weights
from scoring.prompts import Passage
from storage.records import Article, Evidence
from tests.scoring.test_agent_stub import StubLLM

SPEC = ModelSpec("stub", "org/stub")
QUESTION = Question("Will the bridge open?")
FACTS = [f"fact {number}: " + "words about the bridge " * 8 for number in range(6)]


class LeaningLLM(StubLLM):
    """Writes "1" with 90 % where the best passage is in the prompt, and is indifferent elsewhere."""

    def generate(self, prompts, sampling):
        outputs = super().generate(prompts, sampling)
        size = len(self.tokenizer.texts)
        one = self.tokenizer.ids["1"]
        for prompt, output in zip(prompts, outputs, strict=True):
            if "fact 0" in self.tokenizer.decode(prompt["prompt_token_ids"]):
                for token, row in output.outputs[0].logprobs[0].items():
                    row.logprob = math.log(0.9) if token == one else math.log(0.1 / (size - 1))
        return outputs


@pytest.fixture
def database(tmp_path):
    with Database(tmp_path / "database.db") as db:
        yield db


def forecast(database, *, window=4096):
    """One question with six stored passages through ensemble, agent and database; the engine that answered."""
    article = Article(
        "wikipedia", "Bridge", "r1", "2026-01-01T00:00:00Z", "https://example.org", "text"
    )
    database.articles.add(article, [Passage(text=text, tokens=30) for text in FACTS])
    ids = [row["id"] for row in database.connection.query("SELECT id FROM passages ORDER BY id")]
    passages = database.articles.passages(ids, {p: 1.0 - rank / 10 for rank, p in enumerate(ids)})
    run = database.runs.start(settings={}, versions={}, seed=1, as_of=None, questions=[QUESTION])
    engines = []

    def start(**arguments):
        engines.append(LeaningLLM(**arguments, window=window))
        return engines[-1]

    Ensemble(
        database, run, [SPEC], lambda spec: Agent(spec, tolerance=0, llm_factory=start)
    ).forecast([Evidence(QUESTION, tuple(passages))], "2026-11-24")
    return run, SimpleNamespace(calls=[call for engine in engines for call in engine.calls])


def links(database, chunk=0):
    return database.connection.query(
        "SELECT e.number, e.rank, e.score, e.used, p.text FROM evidence e JOIN forecasts f ON f.id = e.forecast_id"
        " JOIN passages p ON p.id = e.passage_id WHERE f.chunk = ? ORDER BY e.number",
        (chunk,),
    )


def test_what_the_window_dropped_is_recorded_as_unused(database):
    run, _ = forecast(database, window=2000)
    (row,) = database.forecasts.of_run(run)
    assert row.error is None
    (prompt,) = database.connection.query("SELECT text FROM prompts")
    found = links(database)
    assert [link["number"] for link in found] == [1, 2, 3, 4, 5, 6]
    used = [bool(link["used"]) for link in found]
    assert used == sorted(used, reverse=True)
    assert True in used
    assert False in used
    for link in found:
        assert (link["text"].strip() in prompt["text"]) == bool(link["used"])
    assert QUESTION.text in prompt["text"]


def test_what_the_evidence_budget_dropped_is_recorded_too(database, monkeypatch):
    monkeypatch.setattr(config, "CONTEXT_TOKENS", 600)
    forecast(database)
    used = [link["used"] for link in links(database)]
    assert 0 < sum(used) < 6


def test_chunks_share_every_batch_and_their_mean_is_the_agents_voice(database, monkeypatch):
    monkeypatch.setattr(config, "EVIDENCE_CHUNKS", 2)
    run, engine = forecast(database)
    rows = database.forecasts.of_run(run)
    assert [row.chunk for row in rows] == [0, 1]
    assert [link["rank"] for link in links(database, 0)] == [1, 3, 5]
    assert [link["rank"] for link in links(database, 1)] == [2, 4, 6]
    assert len(engine.calls) <= 3
    assert len(engine.calls[0]) == 2
    first, second = (row.distribution.probabilities for row in rows)
    assert np.abs(first - second).sum() > 0.5
    (pooled,) = database.forecasts.ensembles(run)
    assert pooled.agents == 1
    weights = voice_weights([row.captured_mass for row in rows])
    np.testing.assert_allclose(
        pooled.distribution.probabilities,
        np.average([first, second], axis=0, weights=weights),
        atol=1e-9,
    )
