"""Runs of a model that thinks first: thoughts stored, read, resumed, replayed, compared with none."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import numpy as np
import pytest

import config
from scoring.tasks import AgentError
from scoring.thinking import number_said
from tests.support import stub_cli
from tests.support.stub_cli import StubAgent, stub_main

ASKED = ("--question", "Will A happen?", "--question", "Will B happen?", "--no-retrieval")
THINKING = {"stub-b": {"path": "owner/stub-b", "think": True}}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    database = tmp_path / "run.db"

    def call(*arguments, **settings):
        places = ["--database", str(database), "--plots", str(tmp_path / "plots")]
        settings = {
            "FORECAST_MODEL_PATHS_VLLM": THINKING,
            "DEFAULT_MODEL_VLLM": "stub-b",
            "DEFAULT_LOGIC_MODEL_PATH": "stub-b",
            "THINK_MAX_TOKENS": 200,
            **settings,
        }
        return stub_main([*places, *arguments], today="2026-11-24", **settings), database

    return call


def rows(database, sql):
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(sql).fetchall()


def test_the_forecast_is_the_mean_of_the_distributions_after_each_thought(run, capsys):
    code, database = run(*ASKED)
    assert code == 0
    thoughts = rows(
        database,
        "select question_id, sample, text, tokens, length(token_ids), ended, cut, looped, empty, seed, said from thoughts",
    )
    assert len(thoughts) == 2 * config.THINK_SAMPLES
    assert len({row[9] for row in thoughts}) == len(thoughts)
    for _, _, text, tokens, size, ended, cut, looped, empty, _, said in thoughts:
        assert (ended, tokens - size // 4) == ((0, 0) if cut else (1, 4))  # the mark is four tokens
        assert looped == cut
        assert empty == (not text.strip())
        assert 0 <= said <= 100
    assert {row[6] for row in thoughts} == {0, 1}
    for question in {row[0] for row in thoughts}:
        samples = rows(
            database,
            "select s.probabilities from scored_samples s join forecasts f on f.id = s.forecast_id"
            f" where f.question_id = '{question}' order by sample",
        )
        (forecast,) = rows(
            database,
            "select probabilities, samples, within_deviation, between_deviation, prompt_tokens"
            f" from forecasts where question_id = '{question}'",
        )
        read = [json.loads(one) for (one,) in samples]
        assert len(read) == forecast[1] == config.THINK_SAMPLES
        assert json.loads(forecast[0]) == pytest.approx(np.mean(read, axis=0))
        assert forecast[3] > 0
    differences = rows(database, "select said, read, difference from thoughts_read")
    for said, read, difference in differences:
        assert difference == pytest.approx(said - read)
        assert abs(difference) < 3  # the stand-in says what it means, but for its captured mass
    printed = " ".join(capsys.readouterr().out.split())
    cut = sum(row[6] for row in thoughts)
    assert f"stub-b thought first, {config.THINK_SAMPLES} times each" in printed
    assert (
        f"{cut} of 6 thoughts ({100 * cut / 6:.0f} %) were cut at the limit, {cut} end in a loop"
        in printed
    )
    worst = max(abs(difference) for *_, difference in differences)
    assert f"at most {worst:.1f}; 0 of 6 answers hold no number" in printed


def test_costs_are_told_before(run, caplog):
    with caplog.at_level("INFO"):
        run(*ASKED, LOGIC_WAVE=4)
    told = [
        line.getMessage() for line in caplog.records if "stub-b thinks first" in line.getMessage()
    ]
    assert told == [
        "stub-b thinks first: for each of 2 questions 3 thoughts of at most 200 tokens, at most 600 tokens"
        " for a question and 1200 in all"
    ]
    paced = [line.getMessage() for line in caplog.records if "tokens a second" in line.getMessage()]
    assert len(paced) == 1
    assert paced[0].endswith("minutes for the 2 thoughts left")


class Killed(BaseException):
    """What no boundary catches, as a kill."""


@pytest.mark.parametrize("stage", ["thinking", "scoring"])
def test_a_killed_run_ends_like_one_that_was_not(run, monkeypatch, stage, tmp_path):
    _, database = run(*ASKED)
    whole = rows(database, CONTENT), rows(database, FORECASTS)
    database.unlink()
    with monkeypatch.context() as patched:
        if stage == "thinking":
            write, calls = StubAgent.write, []

            def dying(agent, asked, told):
                calls.append(asked)
                if len(calls) == 3:  # thoughts, their answers, thoughts
                    raise Killed
                return write(agent, asked, told)

            patched.setattr(StubAgent, "write", dying)
            patched.setattr(config, "LOGIC_WAVE", 2)
        else:
            patched.setattr(StubAgent, "score", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            run(*ASKED)
    written = rows(database, CONTENT)
    assert len(written) == (6 if stage == "scoring" else 2)
    assert run("--resume", "1")[0] == 0
    # Which ids the stand-in's tokenizer gives depends on the order in which it sees texts.
    content = [
        [one for one in row if not isinstance(one, bytes)] for row in rows(database, CONTENT)
    ]
    before = [[one for one in row if not isinstance(one, bytes)] for row in whole[0]]
    assert (content, rows(database, FORECASTS)) == (before, whole[1])


CONTENT = (
    "select question_id, sample, text, rest, token_ids, tokens, finish_reason, ended, cut, seed, answer, said"
    " from thoughts where run_id = (select max(id) from runs) order by 1, 2"
)
FORECASTS = "select question_id, probabilities, samples, error from forecasts order by 1"


def test_a_replay_reads_the_stored_thoughts_and_writes_none(run, monkeypatch, capsys):
    _, database = run(*ASKED)
    before = rows(database, CONTENT)
    capsys.readouterr()
    monkeypatch.setattr(StubAgent, "write", lambda *_: pytest.fail("a thought was written"))
    assert run("--replay", "1")[0] == 0
    assert "Run 2 replays run 1: the largest total variation is 0." in capsys.readouterr().out
    assert rows(database, CONTENT) == before
    # A setting that is another one by now does not ask for more than there is.
    assert run("--replay", "1", THINK_SAMPLES=2)[0] == 0
    assert "the largest total variation is 0." in capsys.readouterr().out


def test_a_run_cannot_be_resumed_with_other_thoughts(run, monkeypatch, capsys):
    monkeypatch.setattr(StubAgent, "score", lambda *_: (_ for _ in ()).throw(RuntimeError("gone")))
    assert run(*ASKED)[0] == 1
    assert run("--resume", "1", THINK_MAX_TOKENS=100)[0] == 2
    assert "thoughts.max_tokens was 200 and is now 100" in capsys.readouterr().err


def test_ablation_pairs_the_thought_with_none(run, capsys):
    # Wordings of the request are asked where there is no thought; here they would spoil the pair.
    code, database = run(*ASKED, "--ablate", SCORING_WORDINGS=2)
    assert code == 0
    assert rows(database, "select count(*) from prompts") == [(4,)]
    pairs = rows(database, "select condition, full_mean, mean, shift from ablation_pairs")
    assert [pair[0] for pair in pairs] == ["no_thought", "no_thought"]
    for _, full, without, shift in pairs:
        assert shift == pytest.approx(full - without)
        assert shift != 0
    assert "\nthought " in capsys.readouterr().out


def test_notes_and_thoughts_together(run, capsys):
    code, database = run(*ASKED, "--logic", "--ablate", LOGIC_SAMPLES=2, THINK_SAMPLES=3)
    assert code == 0
    # Two thoughts behind each of two sets of notes: three in all is no multiple of two.
    assert rows(database, "select count(*), max(sample) from thoughts") == [(8, 3)]
    assert rows(database, "select distinct samples from forecasts") == [(4,)]
    conditions = rows(database, "select distinct condition from ablations order by 1")
    assert [one for (one,) in conditions] == ["neither", "no_reasoning", "no_thought"]
    (prompt,) = rows(
        database,
        "select p.text from forecasts f join prompts p on p.sha256 = f.prompt_sha256 limit 1",
    )[0]
    assert "An analyst's notes" in prompt
    assert prompt.count("<think>") == prompt.count("</think>") == 1


@pytest.mark.parametrize("quoted", [False, True])
def test_a_model_that_cannot_think_costs_its_own_forecasts_one_line(
    quoted, run, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(
        stub_cli, "THINKING_TEMPLATE", "{{ messages[0].content }}{{ messages[-1].content }}"
    )
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("The dam will be finished in spring.")
    evidence = ["--documents", str(tmp_path / "texts")] if quoted else ["--no-retrieval"]
    code, database = run("--question", "Will the dam be finished in spring?", *evidence)
    assert code == 1
    assert bool(rows(database, "select * from retrievals")) is quoted
    (error,) = {row[0] for row in rows(database, "select error from forecasts")}
    assert error.startswith(
        "AgentError: stub-b: think is set but the chat template shows no way to think; allowed: "
    )
    assert capsys.readouterr().out.count("shows no way to think") == 1


def test_a_question_that_leaves_no_window_costs_its_forecast_alone(run, capsys):
    long = "Will A happen? " + "a " * 900
    models = {"stub-b": {"path": "owner/stub-b", "think": True, "max_model_len": 1024}}
    code, database = run(*ASKED, "--question", long, FORECAST_MODEL_PATHS_VLLM=models)
    assert code == 1
    stored = rows(database, "select error from forecasts order by error")
    assert [one is None for (one,) in stored] == [True, True, False]
    assert "and THINK_MAX_TOKENS is 200, the window of stub-b has 1024" in stored[2][0]


@pytest.mark.parametrize(
    ("entry", "settings", "line"),
    [
        ({"thnk": True}, {}, "unknown key 'thnk'"),
        ({"think": "yes\n"}, {}, "['think'] is 'yes\\n'; allowed: True, False, or the line"),
        (
            {"think": True, "chat_template_kwargs": {"enable_thinking": False}},
            {},
            "['chat_template_kwargs']['enable_thinking'] is False but 'think' is True; allowed: one or the other",
        ),
        (
            {"think": True, "max_model_len": 4096},
            {"THINK_MAX_TOKENS": 4000},
            "THINK_MAX_TOKENS is 4000 but stub-b (owner/stub-b) has a window of 4096 tokens; allowed: at most 3584",
        ),
        (
            {"think": True, "path": "http://gpu:8000", "server": "sglang"},
            {},
            "['think'] is True but 'server' is 'sglang'; allowed: only for a model that is loaded here or",
        ),
        (
            {"think": True},
            {"THINK_MIN_TOKENS": 300},
            "THINK_MIN_TOKENS is 300; allowed: at most THINK_MAX_TOKENS (200)",
        ),
    ],
)
def test_bad_input_is_one_line_and_nothing_starts(run, capsys, entry, settings, line):
    models = {"stub-b": {"path": "owner/stub-b", **entry}}
    code, database = run(*ASKED, FORECAST_MODEL_PATHS_VLLM=models, **settings)
    assert code == 2
    (printed,) = capsys.readouterr().err.strip().splitlines()
    assert line in printed
    assert not database.exists()


def test_named_open_forecasters_are_asked_by_name_only(run, monkeypatch, capsys):
    monkeypatch.setattr(
        StubAgent, "load", lambda agent: (_ for _ in ()).throw(AgentError(agent.spec.path))
    )
    code, database = run(*ASKED, "--models", "qwq-32b")
    assert code == 1
    assert rows(database, "select distinct model from forecasts") == [("Qwen/QwQ-32B",)]


@pytest.mark.parametrize(
    ("text", "percent"),
    [
        ("35", 35), ("35 %", 35), ("0.35", 35), ("0.35%", 0.35), (".4", 40), ("1", 1), ("1.0", 100), ("100", 100),
        ("About 12.5 percent.", 12.5), ("In 2027 it is 60%", 60), ("none", None), ("1,250", None), ("7,000", None),
        ("<answer>0.07", 7),
    ],
)  # fmt: skip
def test_the_number_in_an_answer(text, percent):
    assert number_said(text) == (percent if percent is None else pytest.approx(percent))
