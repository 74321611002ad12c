"""The preflight of a local checkpoint: a whole one passes, and each way of being broken is one line with its remedy."""

from __future__ import annotations

import json
import shutil
import struct

import pytest

from agents_vllm import Agent
from preflight.model_entries import ModelSpec
from preflight.weights import INDEX
from scoring.tasks import AgentError
from tests.support.checkpoints import inspect
from tests.support.needed import needs
from tests.support.small_model import save_small_llama

pytestmark = needs({"torch": "torch", "transformers": "transformers", "safetensors": "safetensors"})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save_small_llama(tmp_path_factory.mktemp("whole") / "model")


@pytest.fixture
def model(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "model")
    return tmp_path / "model"


def shards(folder):
    return sorted(folder.glob("model-*.safetensors"))


def drop_tensor(folder, name):
    """Take one tensor out of its shard and out of the index, as an interrupted conversion would."""
    from safetensors.torch import load_file, save_file

    index = json.loads((folder / INDEX).read_text())
    shard = folder / index["weight_map"].pop(name)
    if rest := {k: v for k, v in load_file(shard).items() if k != name}:
        save_file(rest, shard)
    else:
        shard.unlink()
    (folder / INDEX).write_text(json.dumps(index))


def drop_from_shard_only(folder, name="model.layers.1.mlp.up_proj.weight"):
    index = (folder / INDEX).read_text()
    drop_tensor(folder, name)
    (folder / INDEX).write_text(index)


def truncate(path, size):
    with path.open("r+b") as file:
        file.truncate(size)


def other_width(folder):
    settings = json.loads((folder / "config.json").read_text())
    settings["intermediate_size"] = 128
    (folder / "config.json").write_text(json.dumps(settings))


def edit_config(folder, **changes):
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, **changes}))


def stray(folder):
    shutil.copy(shards(folder)[0], folder / "consolidated.safetensors")


def header_beyond_the_file(folder):
    shards(folder)[0].write_bytes(struct.pack("<Q", 10**9) + b"{}")


CASES = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json is missing", "upload it"),
    "config is not JSON": (lambda f: (f / "config.json").write_text("{"), "config.json: is not readable JSON", "download"),
    "no architecture": (lambda f: edit_config(f, architectures=None), "names no architecture", "download"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer", "upload"),
    "empty tokenizer": (lambda f: (f / "tokenizer.json").write_text(""), "tokenizer.json: is empty", "upload it again"),
    "index is not JSON": (lambda f: (f / INDEX).write_text("no"), f"{INDEX}: is not readable JSON", "download"),
    "a shard is missing": (lambda f: shards(f)[1].unlink(), "the index names this shard and it is missing", "upload it"),
    "no weights": (lambda f: [p.unlink() for p in shards(f)], "no *.safetensors", "upload"),
    "a truncated shard": (lambda f: truncate(shards(f)[0], shards(f)[0].stat().st_size - 1), "its header says", "upload it again"),
    "cut within the header": (lambda f: truncate(shards(f)[0], 100), "not a whole safetensors file", "upload it again"),
    "an empty shard": (lambda f: truncate(shards(f)[0], 0), "not a whole safetensors file (0 bytes)", "upload it again"),
    "an absurd header": (header_beyond_the_file, "its header would have 1000000000 bytes", "upload it again"),
    "a Git LFS pointer": (
        lambda f: shards(f)[0].write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
        "is a Git LFS pointer, not the weights",
        "git lfs pull",
    ),
    "tensor gone from shard and index": (
        lambda f: drop_tensor(f, "model.layers.1.mlp.up_proj.weight"),
        "1 tensors that LlamaForCausalLM needs are missing (model.layers.1.mlp.up_proj.weight)",
        "upload the complete checkpoint",
    ),
    "tensor gone from the shard": (drop_from_shard_only, "the index names model.layers.1.mlp.up_proj.weight", "same revision"),
    "output head gone": (lambda f: drop_tensor(f, "lm_head.weight"), "(lm_head.weight)", "upload the complete checkpoint"),
    "another width": (other_width, "6 tensors have another shape", "same model"),
    "a stray consolidated file": (stray, "consolidated.safetensors: a stray weight file", "delete it"),
}  # fmt: skip


def test_a_whole_checkpoint_passes(whole):
    found = inspect(str(whole), load_format="runai_streamer")
    assert found.problems == ()
    assert found.notes == ()


@pytest.mark.parametrize("case", CASES)
def test_each_defect_is_named_with_its_mend(model, case):
    spoil, what, remedy = CASES[case]
    spoil(model)
    problems = inspect(str(model), load_format="runai_streamer").problems
    (line,) = [line for line in problems if what in line]
    assert line.startswith(str(model))
    assert remedy in line.partition(";")[2]
    assert "\n" not in line


def test_several_defects_are_all_named(model):
    shards(model)[0].unlink()
    (model / "tokenizer.json").unlink()
    assert len(inspect(str(model)).problems) == 2


def test_tied_embeddings_need_no_head_of_their_own(model):
    drop_tensor(model, "lm_head.weight")
    edit_config(model, tie_word_embeddings=True)
    assert inspect(str(model)).problems == ()


def test_an_architecture_that_transformers_does_not_know_is_a_note(model):
    edit_config(model, architectures=["NewForCausalLM"], model_type="no_such_model")
    found = inspect(str(model))
    assert found.problems == ()
    (note,) = found.notes
    assert "transformers cannot build NewForCausalLM" in note
    drop_from_shard_only(model)
    assert "the index names" in inspect(str(model)).problems[0]


def test_a_quantized_layer_may_keep_its_weight_under_another_name(model):
    import torch
    from safetensors.torch import load_file, save_file

    edit_config(model, quantization_config={"quant_method": "awq"})
    for number in (0, 1):
        drop_tensor(model, f"model.layers.{number}.mlp.up_proj.weight")
    assert "2 tensors" in inspect(str(model)).problems[0]
    shard = shards(model)[0]
    scales = {f"model.layers.{n}.mlp.up_proj.scales": torch.ones(1) for n in (0, 1)}
    save_file({**load_file(shard), **scales}, shard)
    assert "2 tensors" in inspect(str(model)).problems[0]
    packed = {
        f"model.layers.{n}.mlp.up_proj.qweight": load_file(shard).popitem()[1] for n in (0, 1)
    }
    save_file({**load_file(shard), **packed}, shard)
    assert inspect(str(model)).problems == ()


def test_a_name_that_says_a_billion_shards_is_a_few_lines(model):
    first, *others = shards(model)
    first.rename(model / "model-00002-of-1000000000.safetensors")
    for path in (*others, model / INDEX):
        path.unlink()
    problems = inspect(str(model)).problems
    assert problems[0].endswith(
        "shard 1 of 1000000000 is missing; upload it, and model.safetensors.index.json too"
    )
    assert any("more shards are missing" in problem for problem in problems)
    assert len(problems) < 20


@pytest.mark.parametrize("value", [[], {}, "x", 7, None, [7], [[]]])
@pytest.mark.parametrize(("name", "key"), [(INDEX, "weight_map"), ("config.json", "architectures")])
def test_values_of_another_kind_in_the_small_files_are_named(model, name, key, value):
    settings = json.loads((model / name).read_text()) | {key: value}
    (model / name).write_text(json.dumps(settings))
    problems = inspect(str(model)).problems
    if (key, value) == ("weight_map", {}):
        assert problems == ()
    else:
        assert any(name in problem for problem in problems)


def test_json_that_nests_too_deeply_is_named(model):
    (model / INDEX).write_text("[" * 100_000)
    assert "is not readable JSON" in inspect(str(model)).problems[0]


def test_a_stray_file_matters_to_the_streamer_only(model):
    stray(model)
    assert inspect(str(model), load_format="auto").problems == ()


def test_random_weights_need_no_weight_files(model):
    for shard in shards(model):
        shard.unlink()
    assert inspect(str(model), load_format="dummy").problems == ()


def test_no_engine_is_started_where_main_memory_is_too_small(model, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr("agents_vllm.prepare_environment", lambda: None)
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "2")
    monkeypatch.setattr("agents_vllm.vllm_is_cpu_build", lambda: True)
    monkeypatch.setattr("agents_vllm.start_llm", lambda *_: pytest.fail("an engine was started"))
    monkeypatch.setattr("engine.arguments.processor_flags", lambda: {"avx2"})
    monkeypatch.setattr("preflight.machine.memory_gib", lambda: 1.0)
    with pytest.raises(AgentError, match=r"^a did not load: a .* needs 2\.0 GiB of main memory"):
        Agent(ModelSpec("a", str(model))).load()
    assert "a: dtype float32, because this processor has no bfloat16" in caplog.text


def test_no_engine_is_started_on_a_checkpoint_that_lacks_tensors(model):
    drop_tensor(model, "model.layers.0.mlp.up_proj.weight")
    started = []
    agent = Agent(ModelSpec("a", str(model)), llm_factory=lambda **arguments: started.append(1))
    with pytest.raises(
        AgentError, match=r"^a did not load: .*up_proj.*; upload the complete checkpoint$"
    ):
        agent.load()
    assert started == []


def test_no_engine_is_started_on_a_model_that_the_gpus_cannot_share(model):
    started = []
    settings = {"tensor_parallel_size": 3, "load_format": "runai_streamer"}
    agent = Agent(
        ModelSpec("a", str(model)),
        vllm_config=settings,
        llm_factory=lambda **arguments: started.append(1),
    )
    with pytest.raises(
        AgentError, match=r"is 3 but a \(.*\) has 2 attention heads; allowed: 1, 2; choose"
    ):
        agent.load()
    assert started == []


def save_experts(folder, settings_class, model_class, **experts):
    import torch

    torch.manual_seed(1)
    shape = {
        "vocab_size": 320,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "head_dim": 16,
    }
    settings = settings_class(**shape, num_attention_heads=4, num_key_value_heads=2, **experts)
    model_class(settings).save_pretrained(folder)
    (folder / "tokenizer.json").write_text("{}")
    return folder / "model.safetensors"


@pytest.mark.parametrize("kind", ["Qwen3Moe", "Mixtral", "GptOss"])
def test_one_experts_weight_is_missed_though_experts_are_merged_in_memory(kind, tmp_path):
    import transformers
    from safetensors.torch import load_file, save_file

    counts = {"Qwen3Moe": {"num_experts": 4, "moe_intermediate_size": 32}}.get(
        kind, {"num_local_experts": 4}
    )
    classes = (getattr(transformers, f"{kind}{part}") for part in ("Config", "ForCausalLM"))
    weights = save_experts(tmp_path, *classes, num_experts_per_tok=2, **counts)
    assert inspect(str(tmp_path), load_format="runai_streamer").problems == ()
    tensors = load_file(weights)
    lost = next(
        name
        for name in tensors
        if "experts" in name and ("down_proj" in name or "w2" in name) and "bias" not in name
    )
    save_file(
        {name: tensor for name, tensor in tensors.items() if name != lost},
        weights,
        {"format": "pt"},
    )
    (line,) = inspect(str(tmp_path), load_format="runai_streamer").problems
    assert "model.layers.0.mlp.experts.down_proj" in line
