"""What makes a run repeatable: settings that differ, secrets, and the lines of a replay."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import config
from database import Database
from evaluation.run_differences import differences
from preflight.model_entries import ModelSpec
from questions.question import Question
from runs import demo
from runs.command_line import UsageError
from runs.gather_evidence import make_retriever
from runs.manifest import Manifest, plan_settings, prompt_template
from runs.plan import Plan
from scoring import prompts

SPEC = ModelSpec("one", "owner/one")


def planned(vllm=None, **options):
    plan = Plan(
        questions=[Question("Will A happen?")],
        specs=[SPEC],
        database=Path("run.db"),
        plots=Path("plots"),
        as_of=None,
        retrieval=False,
        documents=None,
        demo=False,
        coherence=False,
        backtest=None,
        vllm_config=vllm or {},
        today="2026-01-02",
    )
    return replace(plan, **options)


def settings_of(vllm=None, **options):
    return plan_settings(planned(vllm, **options))


def lines(then, now):
    return [str(difference) for difference in differences(then, now)]


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", [{}, {"documents": True}, {"demo": True}])
def test_a_run_stores_the_settings_that_its_retriever_got(tmp_path, monkeypatch, choice):
    """The demonstration searches less, and in its own corpus, with its own encoder."""
    (tmp_path / "notes.txt").write_text("A.")
    encoder = SimpleNamespace(count_tokens=len)
    monkeypatch.setattr("evidence.encoders.Embedder", lambda *_, **__: encoder)
    monkeypatch.setattr(demo, "factbook_articles", list)
    monkeypatch.setattr(demo, "package_folder", lambda *_: tmp_path / "packaged")
    documents = str(tmp_path) if choice.get("documents") else None
    plan = planned(retrieval=True, documents=documents, demo="demo" in choice)
    with Database(tmp_path / "run.db") as database:
        got = asdict(make_retriever(plan, database).settings)
    if got["wiki"] is not None:
        got["wiki"] = {"api_url": config.WIKIPEDIA_API_URL}
    found = plan_settings(plan)["retrieval"]
    assert found == got
    assert found["documents"] == documents
    searched = (found["passages_per_question"], found["candidates"])
    assert searched == ((5, 25) if plan.demo else (config.PASSAGES_PER_QUESTION, 100))
    assert (found["wiki"] is None) is plan.demo
    assert (found["embedding_model"] == config.EMBEDDING_MODEL_PATH) is not plan.demo


def test_settings_that_differ_are_named_in_order_with_both_values():
    then = Manifest({"b": {"x": 1, "y": {}, "same": 0}, "a": "é"}, 1, {"vllm": "1"})
    now = Manifest({"b": {"x": 3, "y": {"z": None}, "same": 0}, "c": [1]}, 2, {})
    assert lines(then, now) == [
        'a was "é" and is now not set',
        "b.x was 1 and is now 3",
        "b.y was {} and is now not set",
        "b.y.z was not set and is now null",
        "c was not set and is now [1]",
        "seed was 1 and is now 2",
        'version.vllm was "1" and is now not set',
    ]
    assert lines(then, then) == []


def test_a_run_from_before_the_most_viewed_articles_went_can_be_resumed():
    views = "https://wikimedia.org/api/rest_v1"
    wiki = {"api_url": "https://en.wikipedia.org/w/api.php"}
    then = {"retrieval": {"top_articles": 0, "wiki": {**wiki, "pageviews_url": views}}}
    now = Manifest({"retrieval": {"wiki": wiki}}, 1, {})
    assert lines(Manifest(then, 1, {}), now) == []
    then["retrieval"]["top_articles"] = 10
    assert lines(Manifest(then, 1, {}), now) == ["retrieval.top_articles was 10 and is now not set"]


def test_runs_read_by_different_rules_of_scoring_are_told_apart():
    then, now = Manifest({"scoring_block_budget": 12}, 1, {}), Manifest(settings_of(), 1, {})
    found = [line for line in lines(then, now) if line.startswith("scoring_")]
    assert found == [
        'scoring_rule was "1: no digit follows" and is now "2: the longest spelling"',
        "scoring_tolerance was not set and is now 0.01",
    ]
    assert lines(Manifest(settings_of(), 1, {}), now) == []


def test_weights_are_compared_where_both_are_known():
    then = Manifest({}, 1, {}, {"a": "x", "b": "x", "c": "unknown", "d": "x", "e": "x"})
    now = Manifest({}, 1, {}, {"a": "y", "b": "x", "c": "y", "d": "unknown"})
    assert lines(then, now) == ['weights of a was "x" and is now "y"']


def test_another_patch_of_python_is_no_difference_and_another_numpy_a_harmless_one():
    then = Manifest({}, 1, {"python": "3.11.7", "numpy": "2.2.0", "vllm": "1"})
    now = Manifest({}, 1, {"python": "3.11.9", "numpy": "2.3.0", "vllm": "2"})
    found = differences(then, now)
    assert [(one.name, one.harmless) for one in found] == [
        ("version.numpy", True),
        ("version.vllm", False),
    ]
    (minor,) = differences(then, Manifest({}, 1, {**then.versions, "python": "3.12.0"}))
    assert (str(minor), minor.harmless) == (
        'version.python was "3.11" and is now "3.12"',
        True,
    )


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
    before = {flag: prompt_template(logic=flag) for flag in (False, True)}
    assert before[False] != before[True]
    assert all(len(found) == 16 and int(found, 16) >= 0 for found in before.values())
    monkeypatch.setattr(prompts, text, "other words")
    assert prompt_template(logic=True) != before[True]
    assert (prompt_template() == before[False]) is logic


def stored(settings):
    run = SimpleNamespace(id=7, settings=settings, seed=3, versions={"python": "3.11.7"})
    return Manifest.stored(
        SimpleNamespace(runs=SimpleNamespace(weights=lambda run: {"one": f"of {run}"})), run
    )


def test_a_stored_manifest_comes_back_as_it_was():
    found = stored(settings_of())
    assert found == Manifest(settings_of(), 3, {"python": "3.11.7"}, {"one": "of 7"})


@pytest.mark.parametrize(
    "changes",
    [{"today": "tomorrow"}, {"today": None}, {"models": {"one": {"path": 5}}}, {"models": {}}, {"demo": "no"},
     {"retrieval": "all"}, {"documents": 3}, {"model_order": None}],
)  # fmt: skip
def test_settings_of_another_kind_are_damaged(changes):
    with pytest.raises(UsageError, match=r"^run 7: its stored settings are damaged"):
        stored({**settings_of(), **changes})


def test_settings_without_anything_are_damaged_too():
    with pytest.raises(UsageError, match=r"^run 7: its stored settings are damaged"):
        stored({})
