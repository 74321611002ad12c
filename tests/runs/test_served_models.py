"""A whole run on a served model from the command line: stored, replayed, resumed, and no key."""

from __future__ import annotations

import sqlite3

import pytest

import config
import forecaster
from tests.support.model_server import ModelServer
from tests.support.needed import needs

pytestmark = needs({"transformers": "transformers", "tokenizers": "tokenizers"})
# A template that opens a thought with the generation prompt.
TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: <think>\n{% endif %}"
)
KEY = "k3y-of-the-gpu-box-0815"


@pytest.fixture
def tokenizer(tmp_path):
    from transformers import PreTrainedTokenizerFast

    from tests.support.tiny_models import END, merged_tokenizer

    wrapped = PreTrainedTokenizerFast(tokenizer_object=merged_tokenizer(), eos_token=END)
    wrapped.chat_template = TEMPLATE
    wrapped.save_pretrained(tmp_path / "tokenizer")
    return wrapped


@pytest.fixture
def run(tmp_path, monkeypatch, tokenizer):
    """Return a function that runs the program on servers and returns its exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPU_BOX_LOGIN", KEY)
    monkeypatch.setattr(config, "SERVER_MAX_ATTEMPTS", 1)

    def started(*arguments, servers, **keys):
        entry = {
            **keys,
            "path": [server.url for server in servers],
            "model": "made-up",
            "tokenizer": str(tmp_path / "tokenizer"),
            "api_key_variable": "GPU_BOX_LOGIN",
        }
        monkeypatch.setattr(config, "FORECAST_MODEL_PATHS_VLLM", {"far": entry})
        monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", "far")
        monkeypatch.setattr(config, "DEFAULT_LOGIC_MODEL_PATH", "far")
        asked = ["--question", "Will it rain?", "--question", "Will it snow?"]
        common = [*asked, "--no-retrieval", "--models", "far"]
        given = [*common, *arguments] if arguments[:1] != ("--replay",) else list(arguments)
        return forecaster.main(given)

    return started


def stored(sql):
    with sqlite3.connect("database.db") as database:
        return database.execute(sql).fetchall()


def test_a_served_model_is_forecast_stored_and_replayed(run, tmp_path, tokenizer, capsys):
    with (
        ModelServer(tokenizer=tokenizer, key=KEY) as one,
        ModelServer(tokenizer=tokenizer, key=KEY) as two,
    ):
        assert run("--logic", servers=[one, two]) == 0
        assert run("--replay", "1", servers=[one, two]) == 0
        assert "Bearer " + KEY in one.behaviour.authorizations + two.behaviour.authorizations
    shown = capsys.readouterr()
    values = stored("select run_id, question_id, probabilities from forecasts order by 2, 1")
    assert len(values) == 4
    assert values[0][2] == values[1][2]
    assert values[2][2] == values[3][2]
    ((weights,),) = stored("select distinct weights from run_models")
    assert "weights unknown" in weights
    assert KEY not in shown.out + shown.err
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert KEY.encode() not in file.read_bytes(), file


def test_a_server_that_fails_costs_its_own_forecasts_in_one_line(run, tokenizer, capsys):
    with ModelServer(tokenizer=tokenizer, key="another") as server:
        assert run(servers=[server]) == 1
    shown = capsys.readouterr()
    errors = [error for (error,) in stored("select error from forecasts")]
    assert len(errors) == 2
    assert all("answered 401" in error and "\n" not in error for error in errors)
    assert KEY not in str(errors) + shown.out + shown.err


def test_a_served_model_thinks_before_it_forecasts(run, tokenizer, monkeypatch):
    monkeypatch.setattr(config, "THINK_MAX_TOKENS", 64)
    with ModelServer(tokenizer=tokenizer, key=KEY) as server:
        assert run(servers=[server], think=True) == 0
        assert run("--replay", "1", servers=[server], think=True) == 0
    thoughts = stored("select text, cut from thoughts where run_id = 1")
    assert [text for text, _ in thoughts] == [" notes"] * 2 * config.THINK_SAMPLES
    values = stored("select question_id, probabilities from forecasts order by 1, run_id")
    assert values[0] == values[1]
    assert values[2] == values[3]
