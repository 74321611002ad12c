"""Reasoning before the number: its prompt, what is taken out of it, how it is stored, scored, averaged and resumed."""

from __future__ import annotations

import json
import sqlite3
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

import config
import forecaster
from agents_vllm import Agent
from preflight.model_entries import ModelSpec
from questions.question import Question
from runs.manifest import prompt_template
from scoring.chat_templates import render
from scoring.distribution import Distribution, spread
from scoring.prompts import PLAIN_NOTES, reasoning_messages
from scoring.reasoning_notes import WITHHELD, strip_reasoning
from scoring.scorer import ScoringResult
from scoring.tasks import (
    AgentError,
    ForecastOutcome,
    ForecastTask,
    Prompt,
    Reasoning,
    reasoning_seed,
)
from tests.scoring.test_agent_stub import StubLLM
from tests.scoring.test_chat_templates import CHATML, TemplateTokenizer
from tests.support.fake_agent import TRIE, FakeAgent

NOTES = ["first notes", "second notes", "third notes"]


# --- prompt and output ----------------------------------------------------------------------------


def test_the_prompt_asks_for_every_part_and_for_no_number():
    text = reasoning_messages(Question("Will A happen?"), today="2026-11-24")[1]["content"]
    for part in ("Base rate", "Status quo", "For yes", "For no", "What would change the answer"):
        assert part in text
    assert "Do not give a probability" in text
    assert "from 0 to 100" not in text


def test_a_free_prompt_ends_with_the_generation_prompt_alone():
    messages = reasoning_messages(Question("Will A happen?"), today="2026-11-24")
    opening = CHATML.replace("assistant\n{% endif %}", "assistant\n{% endif %}")
    assert render(TemplateTokenizer(opening), messages, free=True).text.endswith(
        "<|im_start|>assistant\n"
    )
    plain = render(SimpleNamespace(chat_template=None), messages, free=True)
    assert plain.text.endswith(PLAIN_NOTES)


@pytest.mark.parametrize(
    "text",
    [
        "Probability: 70 %",
        "The probability is 70%.",
        "I'd say 70% likely.",
        "I would put it at 70 percent.",
        "The chance of YES is 70 percent.",
        "There is a 70 % chance of this.",
        "Odds are 70 in 100 at best.",
        "The likelihood that it passes by 2027 is 60-70 percent.",
        "My final estimate: 0.70",
        "Probability: 70",
        "Answer: 70",
        r"So \boxed{70}",
        "All in all it is likely.\n\n**70%**",
    ],
)
def test_a_number_given_away_is_withheld(text):
    shown = strip_reasoning(text)
    assert WITHHELD in shown
    assert "70" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "Inflation was 5 % in 2025 and 3.2 percent before.",
        "GDP fell by 2.5 % while 70 % of voters backed the law.",
        "The party holds 112 of 200 seats; 3 of the last 10 attempts succeeded.",
        "1. Base rate: two such events in 40 years.\n2. Status quo: nothing changes.",
    ],
)
def test_figures_of_the_evidence_stay(text):
    assert strip_reasoning(text) == text


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        ("<think>hm</think>\n\nThe notes.", "The notes."),
        ("hm, opened by the template</think>The notes.", "The notes."),
        ("<think>cut off in the middle", "cut off in the middle"),
        ("<think>only thought</think>", "only thought"),
        (
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>The notes.<|return|>",
            "The notes.",
        ),
        ("<|channel|>analysis<|message|>cut off", "cut off"),
    ],
)
def test_marks_of_thinking_are_taken_out(raw, kept):
    assert strip_reasoning(raw) == kept


# --- the engine's side ----------------------------------------------------------------------------


class WritingLLM(StubLLM):
    """Writes a text that names its seed, and ends the second by the length limit."""

    def generate(self, prompts, sampling):
        self.calls.append((prompts, sampling))
        return [
            SimpleNamespace(
                outputs=[
                    SimpleNamespace(
                        text=f"<think>x</think>seed {values['seed']}",
                        token_ids=[1, 2, 3],
                        finish_reason="length" if n == 1 else "stop",
                    )
                ]
            )
            for n, values in enumerate(sampling)
        ]


def test_reasoning_is_one_call_seeded_by_sample_and_marked_when_cut(monkeypatch):
    monkeypatch.setattr(config, "LOGIC_MAX_TOKENS", 64)
    tasks = [ForecastTask(Question(f"Will {x} happen?"), "2026-11-24") for x in "AB"]
    with Agent(ModelSpec("stub", "org/stub"), vllm_config={}, llm_factory=WritingLLM) as agent:
        written = list(agent.reason(tasks, 2))
        alone = list(agent.reason(tasks[1:], 2))
        assert len(agent.llm.calls) == 2
        assert {v["max_tokens"] for v in agent.llm.calls[0][1]} == {64}
    assert [(r.index, r.sample, r.cut) for r in written] == [
        (0, 0, False),
        (0, 1, True),
        (1, 0, False),
        (1, 1, False),
    ]
    assert len({r.seed for r in written}) == 4
    assert written[0].text == f"seed {reasoning_seed(tasks[0], 0)}"
    # A question's seeds do not depend on what is asked beside it.
    assert [r.seed for r in alone] == [r.seed for r in written[2:]]


def test_a_question_without_room_for_reasoning_is_an_error_that_names_the_setting(monkeypatch):
    monkeypatch.setattr(config, "LOGIC_MAX_TOKENS", 5000)
    with Agent(ModelSpec("stub", "org/stub"), vllm_config={}, llm_factory=WritingLLM) as agent:
        written = list(agent.reason([ForecastTask(Question("Will A happen?"), "2026-11-24")], 2))
        assert not agent.llm.calls
    assert [r.error is not None and "LOGIC_MAX_TOKENS is 5000" in r.error for r in written] == [
        True,
        True,
    ]


# --- a whole run ----------------------------------------------------------------------------------


class ThinkingAgent(FakeAgent):
    """Scores near 20, 50 and 80 after the three notes, and 10 without any; says what was asked of it."""

    loads: ClassVar[list[str]] = []
    fail: ClassVar[set[str]] = set()

    def __enter__(self):
        ThinkingAgent.loads.append(self.spec.path)
        if "load" in self.fail and "logic" in self.spec.path:
            raise AgentError("no such weights")
        return self

    def build_prompt(self, task):
        fitting = 5 - (task.reasoning or "").count("second")
        return Prompt(f"{task.reasoning}", (1, 2), TRIE, min(len(task.passages), fitting))

    def reason(self, tasks, samples):
        if "reason" in self.fail:
            raise RuntimeError("engine died")
        return [
            Reasoning(i, n, NOTES[n], 9, "length" if n == 2 else "stop", n)
            for i in range(len(tasks))
            for n in range(samples)
        ]

    def score(self, tasks):
        for index, task in enumerate(tasks):
            if "score" in self.fail and "chat" in self.spec.path:
                raise RuntimeError("engine died")
            yield ForecastOutcome(
                index,
                self.build_prompt(task),
                ScoringResult(after(task.reasoning), 0.9, 0.001, 3, 5),
                None,
            )


def after(reasoning):
    weights = np.ones(101)
    weights[10 if reasoning is None else (20, 50, 80)[NOTES.index(reasoning)]] = 400
    return Distribution.from_weights(weights)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(config, "LOGIC_SAMPLES", 3)
    ThinkingAgent.loads, ThinkingAgent.fail = [], set()
    database = tmp_path / "run.db"

    def call(*arguments, models=("chat", "other"), logic="owner/logic"):
        monkeypatch.setattr(
            config, "FORECAST_MODEL_PATHS_VLLM", {name: f"owner/{name}" for name in models}
        )
        monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", models[0])
        monkeypatch.setattr(config, "DEFAULT_LOGIC_MODEL_PATH", logic)
        monkeypatch.setattr(forecaster, "draw", lambda *_: True)
        code = forecaster.main(
            [*arguments, "--database", str(database), "--plots", str(tmp_path / "plots")],
            agent_factory=ThinkingAgent,
        )
        return code, database

    return call


def rows(database, sql):
    with sqlite3.connect(database) as connection:
        return connection.execute(sql).fetchall()


ASKED = (
    "--question",
    "Will A happen?",
    "--question",
    "Will B happen?",
    "--no-retrieval",
    "--logic",
)


def test_each_forecast_is_the_mean_over_the_reasonings_with_its_spread(run, capsys):
    code, database = run(*ASKED)
    assert code == 0
    assert ThinkingAgent.loads == ["owner/logic", "owner/chat", "owner/other"]
    expected = [after(text) for text in NOTES]
    divided = spread(expected)
    stored = rows(
        database,
        "select probabilities, samples, within_deviation, between_deviation, reasoning, reasoning_error from forecasts",
    )
    assert len(stored) == 4
    for probabilities, samples, within, between, reasoning, error in stored:
        assert json.loads(probabilities) == pytest.approx(
            list(np.mean([d.probabilities for d in expected], axis=0))
        )
        assert (samples, error) == (3, None)
        assert (within, between) == pytest.approx((divided.within, divided.between))
        assert all(text in reasoning for text in NOTES)
    assert rows(database, "select sample, round(mean) from scored_samples limit 3") == [
        (n, round(d.mean)) for n, d in enumerate(expected)
    ]
    written = rows(database, "select text, model, tokens, finish_reason, cut, seed from reasonings")
    assert len(written) == 6
    assert written[2] == (NOTES[2], "owner/logic", 9, "length", 1, 2)
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{divided.between:.1f} between them; 2 reasonings were cut off" in printed


def test_a_logic_model_that_also_forecasts_is_loaded_once_and_first(run):
    code, database = run(*ASKED, models=("other", "chat"), logic="chat")
    assert code == 0
    assert ThinkingAgent.loads == ["owner/chat", "owner/other"]
    assert rows(database, "select distinct agent, samples from forecasts order by 1") == [
        ("chat", 3),
        ("other", 3),
    ]


@pytest.mark.parametrize(
    ("fault", "logic"), [("load", "owner/logic"), ("reason", "owner/logic"), ("reason", "chat")]
)
def test_without_the_logic_model_the_forecast_goes_on_and_says_so(run, capsys, fault, logic):
    ThinkingAgent.fail = {fault}
    code, database = run(*ASKED, logic=logic)
    assert code == 0
    stored = rows(
        database, "select samples, reasoning, reasoning_error, round(mean) from forecasts"
    )
    assert len(stored) == 4
    for samples, reasoning, error, mean in stored:
        assert (samples, reasoning, mean) == (0, None, round(after(None).mean))
        assert "engine died" in error or "no such weights" in error
    assert "Scored without all of its reasoning:" in capsys.readouterr().out


def test_a_resumed_run_keeps_its_reasonings(run, tmp_path):
    ThinkingAgent.fail = {"score"}
    code, database = run(*ASKED)
    assert code == 1
    before = rows(database, "select * from reasonings")
    assert len(before) == 6
    ThinkingAgent.loads, ThinkingAgent.fail = [], {"reason"}
    code, _ = run("--resume", "1")
    assert code == 0
    assert ThinkingAgent.loads == ["owner/chat"]
    assert rows(database, "select * from reasonings") == before
    assert rows(database, "select distinct samples from forecasts where error is null") == [(3,)]


def test_a_replay_scores_with_the_stored_reasonings_and_writes_none(run, capsys):
    run(*ASKED)
    capsys.readouterr()
    ThinkingAgent.loads, ThinkingAgent.fail = [], {"load", "reason"}
    code, database = run("--replay", "1")
    assert code == 0
    assert ThinkingAgent.loads == ["owner/chat", "owner/other"]
    assert "Run 2 replays run 1: the largest total variation is 0." in capsys.readouterr().out
    then, now = (
        rows(
            database,
            "select question_id, chunk, sample, model, text, tokens, finish_reason, cut, seed from reasonings"
            f" where run_id = {number} order by 1, 2, 3",
        )
        for number in (1, 2)
    )
    assert len(now) == 6
    assert now == then
    assert rows(
        database, "select distinct samples, reasoning_error from forecasts where run_id = 2"
    ) == [(3, None)]
    # What had no reasoning then gets none now, and the row says so.
    with sqlite3.connect(database) as connection:
        connection.execute("delete from reasonings where run_id = 1")
    connection.close()
    assert run("--replay", "1")[0] == 0
    assert rows(
        database, "select distinct samples, reasoning_error from forecasts where run_id = 3"
    ) == [(0, "the replayed run has no more reasonings")]


def test_the_settings_of_a_run_name_reasoning_only_when_there_is_some(run):
    assert prompt_template() != prompt_template(logic=True)
    _, database = run(*ASKED)
    run(*ASKED[:-1])
    first, second = (
        json.loads(row[0]) for row in rows(database, "select settings from runs order by id")
    )
    assert first["logic"]["samples"] == 3
    assert first["logic"]["path"] == "owner/logic"
    assert "logic" not in second
    assert second["prompt_template"] == prompt_template()
