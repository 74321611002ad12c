"""Entries of the model table that name servers: what is allowed, and one line for what is not."""

from __future__ import annotations

import pytest

from preflight.model_entries import ModelSpec, model_problems, model_spec
from preflight.rules import ConfigError
from runs.environment import environment_problems


def problems(entry):
    return list(model_problems("MODELS", {"far": entry}))


@pytest.mark.parametrize(
    "entry",
    [
        "http://gpu-box:8000",
        {"path": "https://gpu-box", "model": "m", "tokenizer": "owner/name"},
        {"path": ["http://a:1", "http://b:2/prefix"], "server": "sglang"},
        {"path": "http://a:1", "api_key_variable": "GPU_KEY", "top_tokens": 20},
    ],
)
def test_right_entries(entry):
    assert problems(entry) == []
    spec = model_spec("far", {"far": entry})
    assert spec.addresses
    assert all(address.startswith("http") for address in spec.addresses)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"path": "http://user:secret-word@box:8000"}, "address with a user or password"),
        ({"path": "http://box:8000/v1"}, "without /v1"),
        ({"path": "http://box:8000/"}, "without /v1 or / at its end"),
        ({"path": "http://"}, "allowed: http://host:port"),
        ({"path": ["http://a:1", "owner/name"]}, "list of servers' addresses"),
        ({"path": []}, "list of servers' addresses"),
        ({"path": "http://a:1", "server": "vlm"}, "one of 'vllm', 'sglang'"),
        (
            {"path": "http://a:1", "api_key_variable": "sk-secret-word"},
            "['api_key_variable'] is ***; allowed: the name of an environment variable",
        ),
        (
            {"path": "http://a:99999"},
            "has the address 'http://a:99999' (Port out of range 0-65535); allowed",
        ),
        ({"path": "http://a:1", "top_tokens": 0}, "top_tokens"),
        ({"path": "http://a:1", "modle": "m"}, "did you mean 'model'?"),
        ({"path": "owner/name", "tokenizer": "owner/name"}, "only where 'path' is a server's"),
    ],
)
def test_wrong_entries_are_one_line(entry, words):
    found = problems(entry)
    assert any(words in line for line in found), found
    assert not any("\n" in line or "secret-word" in line for line in found)


def test_an_address_on_the_command_line():
    spec = model_spec("http://gpu-box:8000", {})
    assert (spec.name, spec.path) == ("gpu-box:8000", "http://gpu-box:8000")
    with pytest.raises(ConfigError, match="user or password"):
        model_spec("http://me:word-of-mine@gpu-box:8000", {})


def test_served_models_need_neither_vllm_nor_a_gpu(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert environment_problems({}, [ModelSpec("far", "http://a:1")]) == []
    assert environment_problems({}, [ModelSpec("near", "owner/name")])


def test_a_key_that_is_not_set_is_one_line(monkeypatch):
    monkeypatch.delenv("GPU_BOX_KEY", raising=False)
    spec = ModelSpec("far", "http://a:1", api_key_variable="GPU_BOX_KEY")
    (line,) = environment_problems({}, [spec])
    assert "GPU_BOX_KEY" in line
    # A key may look like a name.
    spec = ModelSpec("far", "http://a:1", api_key_variable="gsk_0a1b2c3d4e")
    assert "gsk_0a1b2c3d4e" not in "".join(environment_problems({}, [spec]))


@pytest.mark.parametrize("name", ["final", "Assisted", "ensemble"])
def test_no_model_is_called_what_the_record_calls_a_number_of_the_pool(name):
    (line,) = model_problems("MODELS", {name: "owner/model", f"{name}-2": "owner/model"})
    assert line.startswith(f"MODELS names a model {name!r}; allowed: any name but ensemble, ")
    with pytest.raises(ConfigError) as refused:
        model_spec(f"owner/{name}", {}, "MODELS")
    assert refused.value.problems[0].endswith("which are the pool's own; name it in MODELS")
