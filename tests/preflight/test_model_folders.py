"""Folders that are no model: each is one clear line, before anything starts and at the preflight of a prefix."""

from __future__ import annotations

import json

import pytest

import config
import forecaster
from preflight.checkpoint import inspect_store
from preflight.model_folders import is_local
from preflight.stores import FolderStore

BASE = "meta-llama/Llama-3.1-8B-Instruct"
ADAPTER = json.dumps({"peft_type": "LORA", "base_model_name_or_path": BASE, "r": 16})
LORA = {"adapter_config.json": ADAPTER, "adapter_model.safetensors": "x", "tokenizer.json": "{}"}
WHOLE = {"config.json": "{}", "model.safetensors": "x", "tokenizer.json": "{}"}
MERGE = "; merge it first"

CASES = {
    "an adapter": (LORA, f"is a LoRA adapter of {BASE}{MERGE}"),
    "an adapter with the base's config": ({**LORA, "config.json": "{}"}, f"is a LoRA adapter of {BASE}{MERGE}"),
    "an adapter beside a model": ({**LORA, **WHOLE}, f"holds a LoRA adapter of {BASE} beside a model; merge it"),
    "another adapter": ({"adapter_config.json": '{"peft_type": "IA3"}'}, "is an adapter; merge it first"),
    "a broken adapter": ({"adapter_config.json": "{"}, "is a LoRA adapter; merge it first"),
    "embeddings": ({**WHOLE, "modules.json": "[]"}, "is a sentence-transformers model, which embeds texts"),
    "GGUF": ({"m-Q4_K_M.gguf": "x", "README.md": ""}, "holds GGUF files for llama.cpp, which are not read here"),
}  # fmt: skip


def fill(folder, files):
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def refused(path, tmp_path, monkeypatch, capsys):
    """The one line that the command line says of a model path."""
    monkeypatch.setattr(config, "FORECAST_MODEL_PATHS_VLLM", {"mine": str(path)})
    monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", "mine")
    database = tmp_path / "d.db"
    arguments = ["--question", "Q?", "--database", str(database)]
    assert forecaster.main(arguments, agent_factory=lambda spec: None) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert not database.exists()
    assert "FORECAST_MODEL_PATHS_VLLM['mine']" in line
    return line


@pytest.mark.parametrize("case", CASES)
def test_a_local_folder_that_is_no_model(tmp_path, monkeypatch, capsys, case):
    files, words = CASES[case]
    assert f"this one {words}" in refused(
        fill(tmp_path / "m", files), tmp_path, monkeypatch, capsys
    )


@pytest.mark.parametrize("case", CASES)
def test_the_preflight_says_the_same_of_a_prefix(tmp_path, case):
    files, words = CASES[case]

    class Prefix(FolderStore):
        """Read like an object store: listing and ranges only."""

    store = Prefix(str(fill(tmp_path / "m", files)))
    (line,) = inspect_store(store, 60, load_format="runai_streamer").problems
    assert line.startswith(f"{store.address}: {words}")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "is empty; download the model into it"),
        ({"notes.txt": ""}, "config.json is missing in it"),
        ({"pytorch_model.bin": "x", "tokenizer.json": "{}"}, "config.json is missing in it"),
    ],
)
def test_a_folder_without_a_model(tmp_path, monkeypatch, capsys, files, words):
    assert words in refused(fill(tmp_path / "m", files), tmp_path, monkeypatch, capsys)


def test_a_folder_of_the_hub_cache_names_its_snapshot(tmp_path, monkeypatch, capsys):
    hub = tmp_path / "models--org--name"
    fill(hub / "snapshots" / "0a1b2c", WHOLE)
    assert "give its snapshots/0a1b2c" in refused(hub, tmp_path, monkeypatch, capsys)
    lora = tmp_path / "models--org--lora"
    fill(lora / "snapshots" / "0a1b2c", LORA)
    line = refused(lora, tmp_path, monkeypatch, capsys)
    assert f"its snapshots/0a1b2c is a LoRA adapter of {BASE}{MERGE}" in line


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("m.gguf", "is a GGUF file for llama.cpp"),
        ("model.safetensors", "is a file; give the folder"),
    ],
)
def test_a_file_instead_of_a_folder(tmp_path, monkeypatch, capsys, name, words):
    (tmp_path / name).write_text("x")
    assert f"this one {words}" in refused(tmp_path / name, tmp_path, monkeypatch, capsys)
    monkeypatch.chdir(tmp_path)
    assert is_local(name)
    assert f"this one {words}" in refused(name, tmp_path, monkeypatch, capsys)


def test_pickled_weights_are_named_at_the_preflight(tmp_path):
    files = {
        "config.json": '{"architectures": ["A"]}',
        "tokenizer.json": "{}",
        "pytorch_model.bin": "x",
    }
    store = FolderStore(str(fill(tmp_path / "m", files)))
    (line,) = inspect_store(store, 60).problems
    assert "weights in PyTorch's format are pickles" in line


def test_a_base_models_name_cannot_command_a_terminal(tmp_path, monkeypatch, capsys):
    named = json.dumps({"base_model_name_or_path": "a\x1b[31m\n" + "b" * 500})
    line = refused(
        fill(tmp_path / "m", {"adapter_config.json": named}), tmp_path, monkeypatch, capsys
    )
    assert "\x1b" not in line
    assert len(line) < 500
