"""The real engine with a model that thinks: seeded, cut and closed, resumed, replayed from stored thoughts."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

import config
import forecaster
from agents import Agent as Oracle
from agents_vllm import Agent
from engine.llm import Feed
from forecaster import QUESTIONS
from preflight.model_entries import ModelSpec
from questions.question import Question
from scoring.distribution import total_variation
from scoring.tasks import ForecastTask
from tests.engine.test_engine import PASSAGES, passage, pytestmark  # noqa: F401
from tests.support.thinking_model import thinking_model

SETTINGS = {"dtype": "float32", "max_model_len": 1024, "block_size": 32}
TODAY = "2026-11-24"


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    folder = thinking_model(tmp_path_factory.mktemp("model") / "smollm2")
    return ModelSpec("smollm2", str(folder), answer_prefix="Probability:", think=True)


def quiet(*_):
    """A bar that nobody looks at."""


def test_twenty_questions_think_in_one_call_and_their_numbers_cost_three(spec, monkeypatch):
    monkeypatch.setattr(config, "THINK_MAX_TOKENS", 48)
    questions = [*QUESTIONS, *(Question(f"Will {name} happen by 2030?") for name in "ABCDEF")]
    evidence = tuple(passage(n, f"{PASSAGES[n].text} " * 8) for n in (0, 1))
    tasks = [ForecastTask(question, TODAY, evidence) for question in questions[:20]]
    calls, run = [], Feed.run

    def counted(feed, asked, *arguments, **options):
        calls.append(len(asked))
        return run(feed, asked, *arguments, **options)

    monkeypatch.setattr(Feed, "run", counted)
    told = []
    with Agent(spec, vllm_config=SETTINGS, tolerance=0) as agent:
        written = list(agent.think(tasks, [0] * 20, lambda *tokens: told.append(tokens)))
        assert calls == [20, 20]  # the thoughts, and what is said after them
        assert sum(tokens for tokens, _ in told) == sum(one.tokens for one in written)
        assert len(told) > 40  # also while they are written
        behind = [
            replace(task, thought=one.thought) for task, one in zip(tasks, written, strict=True)
        ]
        outcomes = list(agent.score(behind))
        rounds = max(outcome.result.requests for outcome in outcomes)
        again = list(agent.think(tasks[:3], [0] * 3, quiet))
        # Prompt and thought are in the cache: only started blocks of 32 are computed again.
        prompts = sum(len(outcome.prompt.token_ids) for outcome in outcomes)
        computed = sum(outcome.result.forward_tokens for outcome in outcomes)
    print(f"{rounds} requests at most, {computed} tokens computed behind {prompts} of prompts")
    assert [outcome.error for outcome in outcomes] == [None] * 20
    assert computed < prompts / 2
    for one, same in zip(written, again, strict=False):
        assert one.thought.token_ids == same.thought.token_ids
        assert (one.seed, one.said) == (same.seed, same.said)
    assert len({one.thought.text for one in written}) == 20
    for one, outcome in zip(written, outcomes, strict=True):
        # Some end their turn without the mark; none writes it.
        assert one.cut == (one.tokens == 48)
        assert not one.thought.ended
        assert outcome.prompt.text.count("<think>") == outcome.prompt.text.count("</think>") == 1
        assert outcome.prompt.text.endswith("</think>\n\nProbability:")
        # One sequence of tokens: what was generated, between what was written around it. A space
        # that every number shares ends it.
        decoded = agent.tokenizer.decode(outcome.prompt.token_ids)
        assert decoded.removesuffix(" ") == outcome.prompt.text
    with Oracle(spec) as oracle:
        for task, outcome in list(zip(behind, outcomes, strict=True))[:2]:
            exact, mass = oracle.exact_distribution(task)
            assert total_variation(exact, outcome.result.distribution) <= 1e-5
            assert outcome.result.captured_mass == pytest.approx(mass, rel=1e-3)


def test_a_run_is_resumed_and_replayed_from_its_thoughts(spec, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(config, "THINK_MAX_TOKENS", 32)
    monkeypatch.setattr(config, "THINK_SAMPLES", 2)
    monkeypatch.setattr(config, "VLLM_CONFIG", {**config.VLLM_CONFIG, **SETTINGS})
    entry = {"path": spec.path, "answer_prefix": spec.answer_prefix, "think": True}
    monkeypatch.setattr(config, "FORECAST_MODEL_PATHS_VLLM", {"smollm2": entry})
    monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", "smollm2")
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    places = ["--database", str(tmp_path / "run.db"), "--plots", str(tmp_path / "plots")]
    asked = ["--no-retrieval", "--question", "Will A happen by 2030?", "--question", "Will B?"]

    class Killed(BaseException):
        """What no boundary catches, as a kill."""

    def factory(one):
        return Agent(one, vllm_config=SETTINGS)

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Agent, "score", killed)
        with pytest.raises(Killed):
            forecaster.main([*asked, *places], agent_factory=factory)
    before = rows(tmp_path / "run.db", THOUGHTS)
    assert len(before) == 4
    assert forecaster.main(["--resume", "1", *places], agent_factory=factory) == 0
    assert rows(tmp_path / "run.db", THOUGHTS) == before
    assert forecaster.main(["--replay", "1", *places], agent_factory=factory) == 0
    assert "the largest total variation is 0." in capsys.readouterr().out
    assert rows(tmp_path / "run.db", THOUGHTS + " offset 4") == before
    first, second = (
        json.loads(one)
        for (one,) in rows(
            tmp_path / "run.db",
            "select probabilities from forecasts where question_id = (select min(question_id) from"
            " forecasts) order by run_id",
        )
    )
    assert first == second
    assert total_variation_of(first, second) == 0


THOUGHTS = (
    "select question_id, sample, text, token_ids, tokens, finish_reason, cut, seed, answer, said"
    " from thoughts order by run_id, question_id, sample limit 4"
)


def rows(path, sql):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def total_variation_of(one, other):
    from scoring.distribution import Distribution

    return total_variation(Distribution(one), Distribution(other))
