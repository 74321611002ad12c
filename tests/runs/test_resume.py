"""--resume and --replay: what is done again, what is refused, and what a stored run brings along."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

import config
import forecaster
from database import Database
from preflight.model_entries import ModelSpec
from preflight.rules import ConfigError
from questions.question import Question
from runs import demo, gather_evidence, manifest, plan, start
from runs.command_line import UsageError
from runs.resume import find_run, resume_command, stored_questions, stored_specs
from runs.weights_identity import weights_identity
from scoring.distribution import Distribution
from scoring.prompts import Passage
from scoring.scorer import ScoringResult
from scoring.tasks import ForecastOutcome, Prompt
from storage.records import Article, Evidence
from tests.support.fake_agent import TRIE, FakeAgent


class Agent(FakeAgent):
    """Its distribution follows from the prompt alone; ``stop`` tells it after how many answers Ctrl-C comes."""

    asked: ClassVar[list[tuple[str, str]]] = []
    failing: ClassVar[set[str]] = set()
    shift: ClassVar[float] = 0.0
    stop: ClassVar[int | None] = None

    def score(self, tasks):
        for index, task in enumerate(tasks):
            if Agent.stop is not None:
                if Agent.stop == 0:
                    raise KeyboardInterrupt
                Agent.stop -= 1
            Agent.asked.append((self.spec.name, task.question.text))
            text = f"{task.today}|{task.question.text}|{[p.text for p in task.passages]}|{self.spec.name}"
            prompt = Prompt(text, (1, 2), TRIE, len(task.passages))
            if self.spec.name in Agent.failing:
                yield ForecastOutcome(
                    index, prompt, None, "the engine returned the log-probability nan"
                )
                continue
            weights = np.random.default_rng(len(text) + sum(map(ord, text))).random(101) ** 8
            weights[50] += Agent.shift
            result = ScoringResult(Distribution.from_weights(weights), 0.9, 0.001, 3, 5)
            yield ForecastOutcome(index, prompt, result, None)


class Retriever:
    """Finds one passage a question, and counts how often it is asked."""

    asked: ClassVar[list[str]] = []
    stop_at: ClassVar[str] = ""
    down: ClassVar[bool] = False

    def __init__(self, database):
        self.database = database

    def retrieve_all(self, questions, *, as_of=None, searched=None):
        found = []
        for question in questions:
            if Retriever.stop_at and Retriever.stop_at in question.text:
                raise KeyboardInterrupt
            Retriever.asked.append(question.text)
            if Retriever.down:
                found.append(Evidence(question, (), "wiki is down"))
                continue
            article = Article(
                "wikipedia",
                question.text,
                "r1",
                "2020-01-01T00:00:00Z",
                "https://example.org",
                "text",
            )
            self.database.articles.add(article, [Passage(text=f"About {question.text}", tokens=3)])
            (row,) = self.database.connection.query(
                "SELECT id FROM articles WHERE title = ?", (question.text,)
            )
            (passage,) = self.database.connection.query(
                "SELECT id FROM passages WHERE article_id = ?", (row["id"],)
            )
            found.append(
                Evidence(
                    question,
                    tuple(self.database.articles.passages([passage["id"]], {passage["id"]: 0.5})),
                )
            )
        return found


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    monkeypatch.setattr(
        start,
        "make_retriever",
        lambda plan, database: Retriever(database) if plan.retrieval else None,
    )
    monkeypatch.setattr(
        config, "FORECAST_MODEL_PATHS_VLLM", {"one": "owner/one", "two": "owner/two"}
    )
    monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", "one")
    monkeypatch.setattr(config, "DEFAULT_LOGIC_MODEL_PATH", "one")
    Agent.asked, Agent.failing, Agent.shift, Agent.stop = [], set(), 0.0, None
    Retriever.asked, Retriever.stop_at, Retriever.down = [], "", False

    def run(*arguments, name="run.db"):
        code = forecaster.main(
            [*arguments, "--database", str(tmp_path / name)], agent_factory=Agent
        )
        return code, capsys.readouterr()

    return run


ASK = (
    "--question",
    "Will A happen?",
    "--question",
    "Will B happen?",
    "--question",
    "Will C happen?",
)


def interrupt(call, *arguments: str) -> int:
    """Ctrl-C after the second answer; the exit code."""
    Agent.stop = 2
    code, _ = call(*arguments)
    Agent.stop = None
    return code


def stored(path: Path, sql: str):
    with sqlite3.connect(path) as connection:
        return connection.execute(sql).fetchall()


CONTENT = (
    "select question_id, agent, chunk, probabilities, prompt_sha256, error from forecasts order by 1, 2, 3",
    "select question_id, method, probabilities, agents, agents_configured from ensembles order by 1",
    "select status, as_of, seed, settings from runs",
)


@pytest.mark.parametrize("stop", [0, 1, 3, 5])
def test_an_interrupted_run_is_finished_with_what_is_missing_only(call, tmp_path, stop):
    _, whole = call(*ASK, name="whole.db")
    everything = list(Agent.asked)
    Agent.asked, Agent.stop = [], stop
    code, said = call(*ASK)
    assert code == 130
    assert (
        f"Resume with: python forecaster.py --resume 1 --database {tmp_path / 'run.db'}" in said.out
    )
    Agent.stop = None
    Retriever.asked = []
    code, said = call("--resume")
    assert code == 0
    assert sorted(Agent.asked) == sorted(everything)  # together both calls asked each thing once
    assert Retriever.asked == []
    assert said.out == whole.out
    for sql in CONTENT:
        assert stored(tmp_path / "run.db", sql) == stored(tmp_path / "whole.db", sql)


@pytest.mark.parametrize("stop", [0, 2])
def test_a_search_that_failed_is_tried_again_where_nothing_was_forecast(call, tmp_path, stop):
    Retriever.down = True
    Agent.stop = stop
    assert call(*ASK)[0] == 130
    Retriever.asked, Retriever.down, Agent.stop = [], False, None
    assert call("--resume")[0] == 0
    texts = ["Will A happen?", "Will B happen?", "Will C happen?"]
    assert Retriever.asked == texts[stop:]
    found = stored(tmp_path / "run.db", "select distinct context_error from forecasts where question_id in"
                   " (select question_id from retrievals)")  # fmt: skip
    assert found == [(None,)]
    assert len(stored(tmp_path / "run.db", "select 1 from forecasts where error is null")) == 6


def test_only_evidence_that_is_missing_is_retrieved(call, tmp_path, monkeypatch):
    monkeypatch.setattr(gather_evidence, "RETRIEVAL_GROUP", 1)
    Retriever.stop_at = "Will C"
    assert call(*ASK)[0] == 130
    Retriever.asked, Retriever.stop_at = [], ""
    assert call("--resume", "1")[0] == 0
    assert Retriever.asked == ["Will C happen?"]


def test_failed_forecasts_are_tried_again_and_models_without_work_are_not_loaded(call, tmp_path):
    Agent.failing = {"two"}
    code, said = call(*ASK, "--no-retrieval")
    assert code == 1
    assert "Try what is missing again with: python forecaster.py --resume 1" in said.out
    Agent.failing, Agent.asked = set(), []
    assert call("--resume")[0] == 0
    assert Agent.asked == [("two", f"Will {x} happen?") for x in "ABC"]
    assert stored(tmp_path / "run.db", "select status from runs") == [("finished",)]
    assert (
        stored(tmp_path / "run.db", "select agents, agents_configured from ensembles")
        == [(2, 2)] * 3
    )


def test_a_finished_run_is_shown_again_and_the_latest_unfinished_one_is_none(call):
    _, first = call(*ASK)
    Agent.asked = []
    code, again = call("--resume", "1")
    assert (code, again.out, Agent.asked) == (0, first.out, [])
    code, said = call("--resume")
    assert code == 2
    assert "every run is finished" in said.err


def test_the_latest_unfinished_run_is_taken(call, tmp_path):
    Agent.stop = 1
    call(*ASK)
    Agent.stop = 1
    call("--question", "Will D happen?", "--question", "Will E happen?")
    Agent.stop = None
    call(*ASK)
    assert call("--resume")[0] == 0
    assert stored(tmp_path / "run.db", "select id, status from runs") == [
        (1, "interrupted"),
        (2, "finished"),
        (3, "finished"),
    ]


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("POOL_METHOD", "median", 'pool_method was "mean" and is now "median"'),
        ("SEED", 7, "seed was 20261123 and is now 7"),
        ("SCORING_TOLERANCE", 0.5, "scoring_tolerance was 0.01 and is now 0.5"),
        ("PASSAGE_TOKENS", 150, "retrieval.passage_tokens was 200 and is now 150"),
        ("EVIDENCE_CHUNKS", 2, "evidence_chunks was 1 and is now 2"),
        ("VLLM_CONFIG", {"dtype": "float32"}, 'vllm.dtype was "auto" and is now "float32"'),
        ("VLLM_CONFIG", {}, "vllm.block_size was 16 and is now not set"),
        (
            "FORECAST_MODEL_PATHS_VLLM",
            {"one": {"path": "owner/one", "trust_remote_code": True}, "two": "owner/two"},
            "models.one.trust_remote_code was false and is now true",
        ),
        (
            "FORECAST_MODEL_PATHS_VLLM",
            {"one": "owner/one", "two": "owner/three"},
            'models.two.path was "owner/two" and is now "owner/three"',
        ),
    ],
)
def test_a_changed_setting_is_refused_by_name(call, tmp_path, monkeypatch, name, value, line):
    interrupt(call, *ASK)
    before = stored(tmp_path / "run.db", "select * from runs")
    monkeypatch.setattr(config, name, value)
    code, said = call("--resume")
    assert code == 2
    assert f"run 1 cannot be resumed: {line}\n" in said.err
    assert len(Agent.asked) == 2
    assert stored(tmp_path / "run.db", "select * from runs") == before


def as_before_rules_had_versions(path: Path) -> None:
    """Make the stored runs those of a Forecaster whose manifest named no rule of scoring."""
    sql = "json_set(json_remove(settings, '$.scoring_rule'), '$.scoring_block_budget', 12)"
    with sqlite3.connect(path) as connection:
        assert connection.execute(f"UPDATE runs SET settings = {sql}").rowcount


def test_a_run_scored_by_the_older_rule_is_refused_with_one_line(call, tmp_path):
    interrupt(call, *ASK)
    as_before_rules_had_versions(tmp_path / "run.db")
    code, said = call("--resume")
    assert code == 2
    assert said.err.splitlines() == [
        "forecaster.py: run 1 cannot be resumed: scoring_rule was"
        ' "1: no digit follows" and is now "2: the longest spelling"',
        "forecaster.py: set them back to resume it, or start a new run",
    ]


def test_a_replay_of_a_run_scored_by_the_older_rule_says_so(call, tmp_path, caplog):
    call(*ASK)
    as_before_rules_had_versions(tmp_path / "run.db")
    assert call("--replay", "1")[0] == 0
    assert (
        'replayed with another setting: scoring_rule was "1: no digit follows"'
        ' and is now "2: the longest spelling"' in caplog.text
    )


def test_another_version_is_refused_by_name(call, monkeypatch):
    monkeypatch.setattr(manifest, "versions", lambda: {"python": "3.11.7", "vllm": "0.32.0"})
    interrupt(call, *ASK)
    monkeypatch.setattr(manifest, "versions", lambda: {"python": "3.11.9", "vllm": "0.33.0"})
    code, said = call("--resume")
    assert code == 2
    assert said.err.splitlines()[:-1] == [
        'forecaster.py: run 1 cannot be resumed: version.vllm was "0.32.0" and is now "0.33.0"'
    ]


def test_a_version_that_decides_no_number_is_noted_only(call, monkeypatch):
    monkeypatch.setattr(manifest, "versions", lambda: {"vllm": "0.32.0", "numpy": "2.2.0"})
    interrupt(call, *ASK)
    monkeypatch.setattr(manifest, "versions", lambda: {"vllm": "0.32.0", "numpy": "2.3.0"})
    code, said = call("--resume")
    assert code == 0
    assert 'resumed with another version.numpy was "2.2.0" and is now "2.3.0"' in said.err


def test_reworded_prompts_are_refused(call, monkeypatch):
    interrupt(call, *ASK)
    monkeypatch.setattr(manifest.prompts, "ANSWER_REQUEST", "How probable is it?")
    code, said = call("--resume")
    assert code == 2
    assert "prompt_template was" in said.err


def test_other_weights_under_the_same_path_are_refused(call, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(5_000_000))
    monkeypatch.setattr(
        config, "FORECAST_MODEL_PATHS_VLLM", {"one": str(folder), "two": "owner/two"}
    )
    interrupt(call, *ASK)
    (folder / "model.safetensors").write_bytes(bytes(4_999_999) + b"x")
    code, said = call("--resume")
    assert code == 2
    assert "run 1 cannot be resumed: weights of one was" in said.err
    (folder / "model.safetensors").write_bytes(bytes(5_000_000))
    assert call("--resume")[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--no-retrieval",),
        ("--models", "one"),
        ("--as-of", "2025-01-01"),
        ("--sample", "3"),
        ("--coherence",),
    ],
)
@pytest.mark.parametrize("option", ["--resume", "--replay"])
def test_what_to_forecast_cannot_be_given_again(call, tmp_path, option, arguments):
    call(*ASK)
    Agent.asked = []
    code, said = call(option, "1", *arguments)
    assert code == 2
    assert f"leave out {arguments[0]}" in said.err
    assert Agent.asked == []


@pytest.mark.parametrize(
    "arguments", [("--question", "Will A happen?"), ("--demo",), ("--questions", "x.csv")]
)
def test_two_sources_of_questions_are_a_usage_error(call, arguments):
    with pytest.raises(SystemExit) as error:
        call("--resume", "1", *arguments)
    assert error.value.code == 2


@pytest.mark.parametrize(
    ("wanted", "expected"), [("7", "there is no run '7'; stored: 1"), ("x", "there is no run 'x'")]
)
def test_a_run_that_does_not_exist_is_one_line(call, wanted, expected):
    call(*ASK)
    code, said = call("--resume", wanted)
    assert code == 2
    assert expected in said.err


def test_no_database_is_made_to_resume_from(call, tmp_path):
    code, said = call("--resume", name="none.db")
    assert code == 2
    assert "no such database" in said.err
    assert not (tmp_path / "none.db").exists()


def test_a_run_another_process_works_on_is_left_to_it(call, tmp_path):
    interrupt(call, *ASK)
    parent = os.getppid()
    with sqlite3.connect(tmp_path / "run.db") as connection:
        owner = f"{start.socket.gethostname()} {parent} {start._started(parent)}"
        connection.execute("update runs set status = 'running', owner = ?", (owner,))
    connection.close()
    code, said = call("--resume")
    assert code == 2
    assert f"run 1 is being worked on by process {parent}" in said.err
    with sqlite3.connect(
        tmp_path / "run.db"
    ) as connection:  # the number was given to another process since
        connection.execute(
            "update runs set owner = ?", (f"{start.socket.gethostname()} {parent} 1",)
        )
    connection.close()
    assert call("--resume")[0] == 0


def test_a_run_is_claimed_by_one_process_only(tmp_path):
    with Database(tmp_path / "run.db") as db:
        run = db.runs.start(
            settings={}, versions={}, seed=1, as_of=None, questions=[Question("Will A?")], owner="a"
        )
        living = {"b": "process b"}
        assert db.runs.claim(run, "b", living.get) is None
        assert db.runs.claim(run, "c", living.get) == "process b"
        assert db.runs.get(run).owner == "b"
        db.runs.finish(run, "partial")
        assert db.runs.claim(run, "c", living.get) is None
        assert db.runs.get(run).owner == "c"


def test_questions_stay_as_this_run_asked_them(call, tmp_path):
    file = tmp_path / "q.jsonl"
    row = {"id": "q", "question": "Will A happen?", "background": "Old", "note": [1, {"x": None}]}
    file.write_text(json.dumps(row) + "\n" + json.dumps({"question": "Will B happen?"}))
    Agent.stop = 1
    call("--questions", str(file), "--no-retrieval")
    Agent.stop = None
    file.write_text(json.dumps({**row, "question": "Will A really happen?", "background": "New"}))
    call("--questions", str(file), "--no-retrieval")
    with Database(tmp_path / "run.db") as db:
        question = stored_questions(db, 1)[0]
    assert (question.text, question.background, question.extra) == (
        "Will A happen?",
        "Old",
        {"note": [1, {"x": None}]},
    )
    Agent.asked = []
    assert call("--resume", "1")[0] == 0
    assert Agent.asked == [
        ("one", "Will B happen?"),
        ("two", "Will A happen?"),
        ("two", "Will B happen?"),
    ]


def test_the_models_are_told_the_same_day_whenever_the_run_is_finished(call, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "current_day", lambda: "2026-01-31")
    interrupt(call, *ASK)
    monkeypatch.setattr(plan, "current_day", lambda: "2026-02-01")
    assert call("--resume")[0] == 0
    assert {text[:10] for (text,) in stored(tmp_path / "run.db", "select text from prompts")} == {
        "2026-01-31"
    }


BACKTEST = [
    {
        "id": f"q{n}",
        "question": f"Will {n} happen?",
        "forecast_due_date": "2025-05-01",
        "resolution_date": "2025-06-01",
        "outcome": n % 2,
        "baseline_crowd": 0.5,
    }
    for n in range(4)
]


def test_a_backtest_is_resumed_without_its_file_and_scored(call, tmp_path):
    file = tmp_path / "b.jsonl"
    file.write_text("\n".join(map(json.dumps, BACKTEST)))
    code, whole = call("--backtest", str(file), name="whole.db")
    assert code == 0
    Agent.stop = 3
    assert call("--backtest", str(file))[0] == 130
    # What was forecast is scored by its outcome, even if the run is never finished.
    assert stored(tmp_path / "run.db", "select count(*) from resolutions") == [(3,)]
    Agent.stop = None
    file.unlink()
    code, said = call("--resume")
    assert code == 0
    assert said.out == whole.out
    assert "Brier" in said.out
    outcomes = "select question_id, outcome, resolved_at, source from resolutions order by 1"
    assert stored(tmp_path / "run.db", outcomes) == stored(tmp_path / "whole.db", outcomes)
    assert len(stored(tmp_path / "run.db", outcomes)) == 4


def test_a_run_of_an_older_forecaster_is_refused_in_words(call, tmp_path):
    with sqlite3.connect(tmp_path / "run.db") as connection:
        connection.executescript(
            (Path(__file__).parents[1] / "data" / "schema_1.sql").read_text(encoding="utf-8")
        )
    connection.close()
    code, said = call("--resume")
    assert code == 2
    assert "run 1 was stored by an older Forecaster" in said.err
    assert call(*ASK)[0] == 0  # the migrated file goes on in use


@pytest.mark.parametrize("settings", ["{}", "[]", '{"model_order": 3}', "null"])
def test_damaged_settings_are_one_line(call, tmp_path, settings):
    Agent.stop = 1
    call(*ASK)
    with sqlite3.connect(tmp_path / "run.db") as connection:
        connection.execute("update runs set settings = ?", (settings,))
    connection.close()
    code, said = call("--resume")
    assert code == 2
    assert "its stored settings are damaged" in said.err
    assert len(said.err.splitlines()) == 1


# --- from a stored run to a plan --------------------------------------------------------------------


def manifest_of(models):
    settings = {"demo": False, "model_order": list(models), "models": models}
    return manifest.Manifest(settings, 1, {})


def rows_of(rows):
    return SimpleNamespace(runs=SimpleNamespace(questions=lambda _: rows))


def test_a_stored_model_that_is_not_configured_has_its_path_and_the_defaults(monkeypatch):
    monkeypatch.setattr(config, "FORECAST_MODEL_PATHS_VLLM", {"known": "owner/known-today"})
    stored_models = {
        "new": {"path": "owner/new", "trust_remote_code": True},
        "known": {"path": "owner/known-then"},
    }
    specs = stored_specs(manifest_of(stored_models))
    assert specs == [ModelSpec("new", "owner/new"), ModelSpec("known", "owner/known-today")]


def test_a_stored_path_that_is_none_any_more_is_refused(monkeypatch):
    with pytest.raises(ConfigError):
        stored_specs(manifest_of({"x": {"path": "./gone"}}))


def test_questions_come_back_as_they_were_asked():
    asked = [
        Question("Will A happen?", extra={"n": 1}),
        Question("Will B happen?", id="b", as_of="2026-01-01"),
    ]
    rows = [SimpleNamespace(id=q.id, question=q) for q in asked]
    assert stored_questions(rows_of(rows), 1) == asked


def test_a_run_without_its_questions_is_an_older_one():
    with pytest.raises(UsageError, match="older Forecaster"):
        stored_questions(rows_of([]), 1)


def test_a_question_under_another_id_is_one_line():
    rows = [SimpleNamespace(id="b", question=Question("Will A happen?", id="a"))]
    with pytest.raises(UsageError, match=r"^run 4: its stored questions are damaged"):
        stored_questions(rows_of(rows), 4)


def test_a_run_is_found_by_its_number_or_as_the_latest_unfinished_one(tmp_path):
    with Database(tmp_path / "d.db") as database:
        with pytest.raises(UsageError, match="every run is finished"):
            find_run(database, "latest")
        with pytest.raises(UsageError, match=r"there is no run '1'; stored: none$"):
            find_run(database, "1")
        common = {"settings": {}, "versions": {}, "seed": 1, "as_of": None, "questions": []}
        for _ in range(12):
            database.runs.start(**common)
        database.runs.finish(12, "finished")
        assert [find_run(database, wanted).id for wanted in ("latest", "3", 4)] == [
            11,
            3,
            4,
        ]
        stored_numbers = ", ".join(map(str, range(3, 13)))
        for wanted in ("13", "x", "03"):
            with pytest.raises(
                UsageError, match=rf"there is no run '{wanted}'; stored: {stored_numbers}$"
            ):
                find_run(database, wanted)


def test_the_command_that_resumes_names_another_database_only():
    assert resume_command(3, Path(config.DATABASE_PATH)) == "python forecaster.py --resume 3"
    assert resume_command("latest", Path("my runs.db")) == (
        "python forecaster.py --resume latest --database 'my runs.db'"
    )


# --- settings and weights -------------------------------------------------------------------------


def test_the_settings_row_holds_what_can_change_a_number(call, tmp_path):
    call(*ASK)
    (row,) = stored(tmp_path / "run.db", "select settings, versions from runs")
    settings, versions = map(json.loads, row)
    assert set(settings) >= {
        "models", "model_order", "vllm", "pool_method", "scoring_rule", "scoring_tolerance", "min_captured_mass",
        "context_tokens", "evidence_chunks", "prompt_template", "retrieval", "documents", "demo", "coherence", "backtest", "today",
    }  # fmt: skip
    assert settings["retrieval"]["embedding_model"] == config.EMBEDDING_MODEL_PATH
    assert "numpy" in versions


def test_secrets_and_addresses_of_people_are_not_stored(call, tmp_path, monkeypatch):
    token = "hf_" + "A1" * 12
    monkeypatch.setenv("MY_TOKEN", "a-secret-of-the-environment")
    monkeypatch.setattr(
        config, "WIKIPEDIA_API_URL", "https://user:passw0rd@wiki.example.org/api.php"
    )
    monkeypatch.setattr(config, "WIKIPEDIA_CONTACT", "person@example.org")
    monkeypatch.setattr(
        config,
        "FORECAST_MODEL_PATHS_VLLM",
        {
            "one": {
                "path": "owner/one",
                "chat_template_kwargs": {"note": f"{token} a-secret-of-the-environment"},
            }
        },
    )
    call(*ASK)
    dump = "\n".join(
        str(row) for row in stored(tmp_path / "run.db", "select settings, versions from runs")
    )
    for secret in (token, "a-secret-of-the-environment", "passw0rd", "person@example.org"):
        assert secret not in dump
    assert "wiki.example.org" in dump


def test_the_identity_of_a_folder_follows_its_content(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"a": 1}')
    weights = np.random.default_rng(1).bytes(6_000_000)
    (folder / "model.safetensors").write_bytes(weights)
    first = weights_identity(str(folder))
    assert first.startswith("folder sha256:")
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert weights_identity(str(copy)) == first
    (copy / "config.json").write_text('{"a": 2}')
    assert weights_identity(str(copy)) != first
    shutil.copy(folder / "config.json", copy)
    other = bytes(
        b ^ 1 for b in weights[:6_000_000]
    )  # every value a little different, as after training
    (copy / "model.safetensors").write_bytes(other)
    assert weights_identity(str(copy)) != first
    (copy / "model.safetensors").write_bytes(weights + b"\0")
    assert weights_identity(str(copy)) != first


def test_the_identity_of_a_hub_model_is_its_commit(tmp_path, monkeypatch):
    import huggingface_hub

    snapshot = tmp_path / "models--owner--name" / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (tmp_path / "models--owner--name" / "refs").mkdir()
    (tmp_path / "models--owner--name" / "refs" / "main").write_text("abc123")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert weights_identity("owner/name") == "revision abc123"
    assert weights_identity("owner/other") == "unknown"


# --- replay ---------------------------------------------------------------------------------------


def test_a_replay_of_the_same_model_differs_by_nothing(call, tmp_path, monkeypatch):
    call(*ASK)
    Retriever.asked = []
    monkeypatch.setattr(plan, "current_day", lambda: "2099-01-01")
    code, said = call("--replay", "1")
    assert code == 0
    assert "Run 2 replays run 1: the largest total variation is 0." in said.out
    assert said.out.count(" same") == 6
    assert Retriever.asked == []
    first, second = (
        stored(
            tmp_path / "run.db",
            f"select question_id, agent, probabilities, prompt_sha256 from forecasts where run_id = {n}",
        )
        for n in (1, 2)
    )
    assert sorted(first) == sorted(second)
    assert stored(tmp_path / "run.db", "select origin_run from runs") == [(None,), (1,)]


def test_a_replay_reports_differences_in_total_variation_and_points(call, tmp_path):
    call("--question", "Will A happen?")
    Agent.shift = 5.0
    _, said = call("--replay", "1")
    rows = stored(
        tmp_path / "run.db",
        "select agent, probabilities, mean from forecasts order by run_id, agent",
    )
    for (agent, then, mean), (_, now, new_mean) in zip(rows[:2], rows[2:], strict=True):
        tv = np.abs(np.array(json.loads(then)) - np.array(json.loads(now))).sum() / 2
        (line,) = [line for line in said.out.splitlines() if line.startswith(agent)]
        assert tv > 0.01
        assert f"{tv:.2g}" in line
        assert f"{new_mean - mean:+.2f}" in line


def test_a_replay_is_no_forecast_of_its_own(call, tmp_path):
    call(*ASK)
    call("--replay", "1")
    assert stored(tmp_path / "run.db", "select distinct run from forecast_history") == [(1,)]
    assert stored(tmp_path / "run.db", "select distinct run from latest_forecasts") == [(1,)]
    with Database(tmp_path / "run.db") as db:
        found = {(row.run_id, row.forecaster == "ensemble") for row in db.points.read()}
        assert found == {(1, False), (1, True)}


def test_a_replay_with_another_setting_says_so_and_goes_on(call, monkeypatch, caplog):
    call(*ASK)
    monkeypatch.setattr(config, "POOL_METHOD", "median")
    code, _ = call("--replay", "1")
    assert code == 0
    assert (
        'replayed with another setting: pool_method was "mean" and is now "median"' in caplog.text
    )


def retrieval_of(path, run):
    ((settings,),) = stored(path, f"select settings from runs where id = {run}")
    return json.loads(settings)["retrieval"]


def test_a_replay_has_its_origin_s_settings_of_retrieval(call, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(config, "PASSAGES_PER_QUESTION", 7)
    call(*ASK)
    monkeypatch.setattr(config, "PASSAGES_PER_QUESTION", 8)
    assert interrupt(call, "--replay", "1") == 130
    monkeypatch.setattr(config, "PASSAGES_PER_QUESTION", 9)
    assert call("--resume")[0] == 0
    assert call("--replay", "2")[0] == 0
    found = [retrieval_of(tmp_path / "run.db", run) for run in (1, 2, 3)]
    assert [one["passages_per_question"] for one in found] == [7, 7, 7]
    assert "another setting" not in caplog.text


def test_a_demonstration_that_stored_other_settings_can_be_replayed(
    call, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(demo, "model_spec", lambda: ModelSpec("smollm2-135m", "/cache/smollm2"))
    monkeypatch.setattr(demo, "package_folder", lambda *_: tmp_path)
    path = tmp_path / "run.db"
    assert call("--demo")[0] == 0
    assert retrieval_of(path, 1)["candidates"] == demo.CANDIDATES
    before = {**retrieval_of(path, 1), "candidates": 100, "wiki": {"api_url": "https://w.org"}}
    with sqlite3.connect(path) as connection:
        change = "update runs set settings = json_set(settings, '$.retrieval', json(?))"
        connection.execute(change, (json.dumps(before),))
    # A replay searches for nothing, so it does not need what a search needs.
    monkeypatch.setattr(demo, "package_folder", None)
    code, said = call("--replay", "1")
    assert code == 0
    assert "Run 2 replays run 1: the largest total variation is 0." in said.out
    assert retrieval_of(path, 2) == before
    assert "another setting" not in caplog.text


def test_a_replay_says_what_cannot_be_compared(call):
    Agent.failing = {"two"}
    call("--question", "Will A happen?")
    Agent.failing = {"one"}
    code, said = call("--replay", "1")
    assert code == 1
    assert "then: failed (the engine returned the log-probability nan); now: a forecast" in said.out
    assert "then: a forecast; now: failed" in said.out
    assert "2 forecasts cannot be compared" in said.out


def test_an_interrupted_replay_is_resumed_as_a_replay(call, tmp_path):
    call(*ASK)
    assert interrupt(call, "--replay", "1") == 130
    Retriever.asked = []
    code, said = call("--resume")
    assert code == 0
    assert "Run 2 replays run 1: the largest total variation is 0." in said.out
    assert Retriever.asked == []


def test_a_replay_of_a_backtest_records_no_outcomes_twice(call, tmp_path):
    file = tmp_path / "b.jsonl"
    file.write_text("\n".join(map(json.dumps, BACKTEST)))
    call("--backtest", str(file))
    before = stored(tmp_path / "run.db", "select * from resolutions")
    code, said = call("--replay", "1")
    assert code == 0
    assert "Run 2 replays run 1" in said.out
    assert stored(tmp_path / "run.db", "select * from resolutions") == before
