"""What makes a run repeatable: settings that differ, secrets, and the lines of a replay."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

import config
from database import Database
from preflight.model_entries import ModelSpec
from preflight.rules import ConfigError
from questions.question import Question
from runs import manifest as runs
from scoring import prompts

SPEC = ModelSpec("one", "owner/one")


def settings_of(vllm=None, **options):
    common = {
        "retrieval": None,
        "documents": None,
        "demo": False,
        "coherence": False,
        "backtest": None,
    }
    return runs.run_settings([SPEC], vllm or {}, **{**common, **options})


# --- settings -------------------------------------------------------------------------------------


def test_settings_that_differ_are_named_in_order_with_both_values():
    then = {"b": {"x": 1, "y": {}, "same": 0}, "a": "é"}
    now = {"b": {"x": 3, "y": {"z": None}, "same": 0}, "c": [1]}
    assert runs.changed_settings(then, now) == [
        'a was "é" and is now not set',
        "b.x was 1 and is now 3",
        "b.y was {} and is now not set",
        "b.y.z was not set and is now null",
        "c was not set and is now [1]",
    ]
    assert runs.changed_settings(then, then) == []


def test_a_run_from_before_the_most_viewed_articles_went_can_be_resumed():
    views = "https://wikimedia.org/api/rest_v1"
    wiki = {"api_url": "https://en.wikipedia.org/w/api.php"}
    then = {"retrieval": {"top_articles": 0, "wiki": {**wiki, "pageviews_url": views}}}
    assert runs.changed_settings(then, {"retrieval": {"wiki": wiki}}) == []
    then["retrieval"]["top_articles"] = 10
    assert runs.changed_settings(then, {"retrieval": {"wiki": wiki}}) == [
        "retrieval.top_articles was 10 and is now not set"
    ]


def test_values_under_names_of_secrets_are_not_stored():
    vllm = {
        "hf_token": "plainword",
        "deep": [{"password": "x", "API_KEY": "y", "aws_access_key_id": "z"}],
        "token": "",
        "secret": 5,
        "tokens": "kept",
        "block_size": 16,
    }
    assert settings_of(vllm)["vllm"] == {
        "hf_token": "***",
        "deep": [{"password": "***", "API_KEY": "***", "aws_access_key_id": "***"}],
        "token": "",
        "secret": 5,
        "tokens": "kept",
        "block_size": 16,
    }


def test_settings_of_options_are_there_only_when_they_are_used():
    assert "ablate" not in settings_of()
    assert "logic" not in settings_of()
    assert settings_of(ablate=True)["ablate"] is True
    logic = settings_of(logic=SPEC)["logic"]
    assert (logic["path"], logic["samples"], logic["temperature"]) == (
        "owner/one",
        config.LOGIC_SAMPLES,
        config.LOGIC_TEMPERATURE,
    )


@pytest.mark.parametrize(
    ("text", "logic"),
    [("SYSTEM", False), ("ANSWER_REQUEST", False), ("PLAIN_ANSWER", False), ("EVIDENCE_NOTICE", False),
     ("REASONING_REQUEST", True), ("PLAIN_NOTES", True)],
)  # fmt: skip
def test_the_template_s_hash_follows_every_fixed_text(monkeypatch, text, logic):
    before = {flag: runs.prompt_template(logic=flag) for flag in (False, True)}
    assert before[False] != before[True]
    assert all(len(found) == 16 and int(found, 16) >= 0 for found in before.values())
    monkeypatch.setattr(prompts, text, "other words")
    assert runs.prompt_template(logic=True) != before[True]
    assert (runs.prompt_template() == before[False]) is logic


def stored(**changes):
    settings = {**settings_of(), "today": "2026-01-02", **changes}
    return SimpleNamespace(id=7, settings=settings)


def test_stored_settings_come_back_as_they_were():
    assert runs.stored_settings(stored()) == {**settings_of(), "today": "2026-01-02"}


@pytest.mark.parametrize(
    "changes",
    [{"today": "tomorrow"}, {"today": None}, {"models": {"one": {"path": 5}}}, {"models": {}}, {"demo": "no"},
     {"retrieval": "all"}, {"documents": 3}, {"model_order": None}],
)  # fmt: skip
def test_settings_of_another_kind_are_damaged(changes):
    with pytest.raises(runs.RunError, match=r"^run 7: its stored settings are damaged"):
        runs.stored_settings(stored(**changes))


def test_settings_without_anything_are_damaged_too():
    with pytest.raises(runs.RunError, match=r"^run 7: its stored settings are damaged"):
        runs.stored_settings(SimpleNamespace(id=7, settings={}))


def test_a_stored_model_that_is_not_configured_has_its_path_and_the_defaults(monkeypatch):
    monkeypatch.setattr(config, "FORECAST_MODEL_PATHS_VLLM", {"known": "owner/known-today"})
    stored_models = {
        "new": {"path": "owner/new", "trust_remote_code": True},
        "known": {"path": "owner/known-then"},
    }
    specs = runs.stored_specs({"model_order": ["new", "known"], "models": stored_models})
    assert specs == [ModelSpec("new", "owner/new"), ModelSpec("known", "owner/known-today")]


def test_a_stored_path_that_is_none_any_more_is_refused(monkeypatch):
    with pytest.raises(ConfigError):
        runs.stored_specs({"model_order": ["x"], "models": {"x": {"path": "./gone"}}})


# --- from a row to a run --------------------------------------------------------------------------


class Rows:
    """A database that holds some rows only."""

    path = "run.db"

    def __init__(self, rows):
        self.rows = rows

    def run_questions(self, _run):
        return self.rows

    def forecasts(self, run):
        return self.rows[run]


def test_questions_come_back_as_they_were_asked():
    asked = [
        Question("Will A happen?", extra={"n": 1}),
        Question("Will B happen?", id="b", as_of="2026-01-01"),
    ]
    rows = [SimpleNamespace(id=q.id, question=q) for q in asked]
    assert runs.stored_questions(Rows(rows), 1) == asked


def test_a_run_without_its_questions_is_an_older_one():
    with pytest.raises(runs.RunError, match="older Forecaster"):
        runs.stored_questions(Rows([]), 1)


def test_a_question_under_another_id_is_one_line():
    rows = [SimpleNamespace(id="b", question=Question("Will A happen?", id="a"))]
    with pytest.raises(runs.RunError, match=r"^run 4: its stored questions are damaged"):
        runs.stored_questions(Rows(rows), 4)


def test_a_run_is_found_by_its_number_or_as_the_latest_unfinished_one(tmp_path):
    with Database(tmp_path / "d.db") as database:
        with pytest.raises(runs.RunError, match="every run is finished"):
            runs.find_run(database, "latest")
        with pytest.raises(runs.RunError, match=r"there is no run '1'; stored: none$"):
            runs.find_run(database, "1")
        common = {"settings": {}, "versions": {}, "seed": 1, "as_of": None, "questions": []}
        for _ in range(12):
            database.start_run(**common)
        database.finish_run(12, "finished")
        assert [runs.find_run(database, wanted)["id"] for wanted in ("latest", "3", 4)] == [
            11,
            3,
            4,
        ]
        stored_numbers = ", ".join(map(str, range(3, 13)))
        for wanted in ("13", "x", "03"):
            with pytest.raises(
                runs.RunError, match=rf"there is no run '{wanted}'; stored: {stored_numbers}$"
            ):
                runs.find_run(database, wanted)


def test_the_command_that_resumes_names_another_database_only():
    assert runs.resume_command(3, Path(config.DATABASE_PATH)) == "python forecaster.py --resume 3"
    assert runs.resume_command("latest", Path("my runs.db")) == (
        "python forecaster.py --resume latest --database 'my runs.db'"
    )


# --- replay ---------------------------------------------------------------------------------------


def row(question, agent, mean, chunk=0, sha="a", error=None):
    return SimpleNamespace(
        question_id=question, agent=agent, chunk=chunk, mean=mean, prompt_sha256=sha, error=error
    )


def test_the_lines_of_a_replay():
    failed = row("q5", "m", 0, error="nan")
    before = [
        failed,
        row("q1", "m", 40.0),
        row("q1", "m", 50.0, chunk=1),
        row("q2", "m", 10.0),
        row("q3", "m", 20.0),
    ]
    after = [
        row("q1", "m", 41.5, sha="b"),
        row("q1", "m", 50.0, chunk=1),
        row("q2", "m", 0, error="nan"),
        row("q4", "m", 1),
        row("q5", "m", 1),
    ]

    def distance(old, new):
        return abs(old.mean - new.mean) / 100

    head, *lines, empty, closing = runs.replay_lines(Rows({1: before, 2: after}), 1, 2, distance)
    assert [line.split() for line in lines] == [
        ["m", "q5", "then:", "failed", "(nan);", "now:", "a", "forecast"],
        ["m", "q1", "0.015", "+1.50", "differs"],
        ["m", "q1", "(chunk", "1)", "0", "+0.00", "same"],
        ["m", "q2", "then:", "a", "forecast;", "now:", "failed", "(nan)"],
        ["m", "q3", "then:", "a", "forecast;", "now:", "none"],
        ["m", "q4", "then:", "none;", "now:", "a", "forecast"],
    ]
    assert head.split() == ["agent", "question", "TV", "points", "prompt"]
    assert empty == ""
    assert closing == (
        "Run 2 replays run 1: the largest total variation is 0.015; 4 forecasts cannot be compared."
    )
