"""Whether this machine, and a model's own config.json, can do what ``VLLM_CONFIG`` asks; judged without torch or vLLM.

A room of its own because config.py knows values only: here they are held against GPUs, memory and the model's shape. Every
problem is one line: the setting, its value, what is allowed, what to do. vLLM finds most of them too, after half a minute
and in a child process.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from preflight.model_entries import HUGGING_FACE_ID, ModelSpec
from preflight.model_folders import is_local

# vLLM pads a vocabulary to a multiple of this and divides it among the GPUs (vocab_parallel_embedding.py).
VOCABULARY_PADDING: Final = 64
# GPUs that one layer may be shared by in a suggestion; a group is one machine, and those have 8 or 16.
MOST_SHARING: Final = 64
# Where config.json of a model for text and images keeps its language model's part (transformers, get_text_config).
TEXT_PARTS: Final = ("text_config", "decoder", "generator", "text_encoder")
# Names of a window in tokens; the smallest one counts (vLLM, derive_max_model_len_and_key).
WINDOW_KEYS: Final = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length", "max_target_positions",
    "max_sequence_length", "max_seq_length", "seq_len",
)  # fmt: skip
# Kinds of RoPE scaling that max_position_embeddings already includes (vLLM, _get_and_verify_max_len).
SCALED_ALREADY: Final = (
    "default", "su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling", "mrope",
)  # fmt: skip
# Quantized weights whose kernels compute in 16 bits only (vLLM, get_supported_act_dtypes).
HALF_ONLY: Final = ("awq", "gptq", "fp8", "mxfp4", "quark", "modelopt")
GIB: Final = 1 << 30


# --- the machine ------------------------------------------------------------------------------------


def visible_gpus() -> int:
    """NVIDIA GPUs this process may use: those of the driver, as far as ``CUDA_VISIBLE_DEVICES`` names them.

    As CUDA reads it, the list ends at the first entry that is no GPU (CUDA C++ Programming Guide, "CUDA Environment
    Variables").
    """
    installed = _driver_gpus()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return installed
    named: set[str] = set()
    for entry in map(str.strip, chosen.split(",")):
        if entry in named or not (
            (entry.isdecimal() and int(entry) < installed) or entry.startswith(("GPU-", "MIG-"))
        ):
            break
        named.add(entry)
    return len(named) if installed else 0


def _driver_gpus() -> int:
    """GPUs the driver shows to this machine or container, by NVML, which vLLM asks as well; 0 without a driver."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        count = ctypes.c_uint()
        if nvml.nvmlInit_v2() != 0:
            return 0
        found = nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0
        nvml.nvmlShutdown()
    except (OSError, AttributeError):
        return 0
    return count.value if found else 0


def memory_gib() -> float:
    """GiB of main memory this process may use: the machine's, or less where a container is limited."""
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        text = "max"
    return min(limit, int(text) if text.isdecimal() else limit) / GIB


def memory_problems(
    spec: ModelSpec, weight_bytes: int, dtype: str, settings: Mapping[str, Any], cache_gib: float
) -> Iterator[str]:
    """Say that an engine on a CPU does not fit into main memory.

    Args:
        spec: the model.
        weight_bytes: bytes of its weight files.
        dtype: the engine's number format; "auto" is 16 bits, or whatever the weights are quantized to.
        settings: the model's config.json; empty when it is not known.
        cache_gib: GiB of KV cache.
    """
    factor = 1.0
    if "quantization_config" not in settings:
        stored = settings.get("dtype") or settings.get("torch_dtype")
        wide = dtype in ("float32", "float")
        factor = (2 if wide else 1) / (2 if stored == "float32" else 1)
    weights, memory = weight_bytes * factor / GIB, memory_gib()
    if weight_bytes and weights + cache_gib > memory:
        yield (
            f"{spec.name} ({spec.path}) needs {weights + cache_gib:.1f} GiB of main memory"
            f" ({weights:.1f} of weights, dtype {dtype}, and {cache_gib:g} of KV cache) but the machine"
            f" has {memory:.1f}; allowed: what fits; take a smaller model, or lower VLLM_CPU_KVCACHE_SPACE"
        )


def machine_problems(vllm_config: Mapping[str, Any], gpus: int | None) -> Iterator[str]:
    """What of ``vllm_config`` this machine cannot do.

    Args:
        vllm_config: as in config.py; values that config.py refuses are passed over.
        gpus: NVIDIA GPUs that are visible; None for vLLM's CPU build, whose ranks share the processor's cores.
    """
    tensor, pipeline = (
        _size(vllm_config, name) for name in ("tensor_parallel_size", "pipeline_parallel_size")
    )
    backend = vllm_config.get("distributed_executor_backend")
    places, thing = (len(os.sched_getaffinity(0)), "CPU cores") if gpus is None else (gpus, "GPUs")
    if backend != "ray" and tensor * pipeline > places:
        name, value = ("tensor", tensor) if pipeline == 1 else ("pipeline", pipeline)
        product = (
            ""
            if pipeline == 1
            else f" and tensor_parallel_size {tensor}, together {tensor * pipeline},"
        )
        yield (
            f"VLLM_CONFIG['{name}_parallel_size'] is {value}{product} but {places} {thing} are visible; allowed: 1 to {places} in"
            " all on one node; lower it, or set distributed_executor_backend to 'ray' for several nodes"
        )
    if gpus is None and backend == "ray":
        # Its platform names no device that ray could hand out ("current platform cpu does not support ray").
        yield (
            "VLLM_CONFIG['distributed_executor_backend'] is 'ray' but vLLM's CPU build cannot use it; allowed: None or 'mp' on a"
            " CPU; set one of them"
        )
    swap, memory = vllm_config.get("swap_space_gb"), memory_gib()
    if isinstance(swap, int | float) and backend != "ray" and swap >= memory:
        yield (
            f"VLLM_CONFIG['swap_space_gb'] is {swap!r} but the machine has {memory:.0f} GiB of main memory; allowed: less than"
            " that; lower it, about half is sensible"
        )


def _size(vllm_config: Mapping[str, Any], name: str) -> int:
    value = vllm_config.get(name, 1)
    return value if isinstance(value, int) and value > 0 else 1


# --- the model --------------------------------------------------------------------------------------


def known_settings(path: str) -> dict[str, Any]:
    """The config.json of a model that is on this machine: in a local folder or in Hugging Face's cache; else empty."""
    if is_local(path):
        file: Any = Path(path).expanduser() / "config.json"
    elif HUGGING_FACE_ID.fullmatch(path):
        from huggingface_hub import try_to_load_from_cache

        file = try_to_load_from_cache(path, "config.json")
    else:
        return {}
    try:
        settings = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):  # TypeError: not in the cache
        return {}
    return settings if isinstance(settings, dict) else {}


def model_problems(
    spec: ModelSpec, settings: Mapping[str, Any], vllm_config: Mapping[str, Any]
) -> Iterator[str]:
    """What of ``vllm_config`` this model cannot do, by its config.json (``settings``; empty when it is not known)."""
    text = language_part(settings)
    tensor, pipeline = (
        _size(vllm_config, name) for name in ("tensor_parallel_size", "pipeline_parallel_size")
    )
    if unmet := _tensor_limits(text, tensor):
        allowed = [str(n) for n in range(1, MOST_SHARING + 1) if not _tensor_limits(text, n)]
        yield (
            f"VLLM_CONFIG['tensor_parallel_size'] is {tensor} but {spec.name} ({spec.path}) has {unmet[0]};"
            f" allowed: {', '.join(allowed)}; choose one of them"
        )
    layers = _number(text, "num_hidden_layers", "n_layer", "num_layers")
    if layers is not None and pipeline > layers:
        yield (
            f"VLLM_CONFIG['pipeline_parallel_size'] is {pipeline} but {spec.name} ({spec.path}) has {layers} layers;"
            f" allowed: 1 to {layers}; lower it"
        )
    limit = window(settings)
    if (
        spec.max_model_len
        and limit is not None
        and spec.max_model_len > limit
        and not _long_windows()
    ):
        yield (
            f"max_model_len of {spec.name} ({spec.path}) is {spec.max_model_len} but config.json says {limit} tokens;"
            f" allowed: at most {limit}; lower it, or leave it out"
        )
    quantization = settings.get("quantization_config") or text.get("quantization_config")
    method = quantization.get("quant_method") if isinstance(quantization, Mapping) else None
    if method in HALF_ONLY and vllm_config.get("dtype") in ("float32", "float"):
        yield (
            f"VLLM_CONFIG['dtype'] is {vllm_config['dtype']!r} but {spec.name} ({spec.path}) has {method} weights;"
            " allowed: 'auto', 'bfloat16' or 'float16' for them; set 'auto'"
        )


def language_part(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of the language model inside those of a model for text and images; else ``settings`` itself."""
    parts = [settings[name] for name in TEXT_PARTS if isinstance(settings.get(name), Mapping)]
    return parts[0] if len(parts) == 1 else settings


def _number(settings: Mapping[str, Any], *names: str) -> int | None:
    return next((v for name in names if isinstance(v := settings.get(name), int) and v > 0), None)


def _tensor_limits(text: Mapping[str, Any], tensor: int) -> list[str]:
    """What keeps a model's layers from being shared by ``tensor`` GPUs.

    Attention heads are divided; so are key/value heads, which are copied instead where there are fewer than GPUs
    (vLLM, QKVParallelLinear); the padded vocabulary is divided too. With latent attention every GPU has all of
    what stands for key/value heads.
    """
    unmet = []
    heads = _number(text, "num_attention_heads", "n_head")
    shared = None if "kv_lora_rank" in text else _number(text, "num_key_value_heads")
    vocabulary = _number(text, "vocab_size")
    if heads is not None and heads % tensor:
        unmet.append(f"{heads} attention heads")
    if shared is not None and (shared % tensor if tensor <= shared else tensor % shared):
        unmet.append(f"{shared} key/value heads")
    if (
        vocabulary is not None
        and math.ceil(vocabulary / VOCABULARY_PADDING) * VOCABULARY_PADDING % tensor
    ):
        unmet.append(f"a vocabulary of {vocabulary} tokens")
    return unmet


def window(settings: Mapping[str, Any]) -> int | None:
    """Tokens a model was made for, as vLLM derives them from config.json; None where nothing there says."""
    text = language_part(settings)
    named = [v for name in WINDOW_KEYS if isinstance(v := text.get(name), int) and v > 0]
    if not named:
        return None
    tokens = _number(text, "model_max_length") or min(named)
    factor: float = 1
    if "gemma3" not in str(text.get("model_type")):
        for scaling in _rope_scalings(text):
            kind = scaling.get("rope_type", scaling.get("type", "default"))
            if kind not in SCALED_ALREADY and isinstance(scaling.get("factor"), int | float):
                factor = scaling["factor"]
    return int(tokens * factor)


def _rope_scalings(text: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The tables of position scaling: one for the model, or one for each kind of layer."""
    for name in ("rope_scaling", "rope_parameters"):
        table = text.get(name)
        if isinstance(table, Mapping):
            nested = [part for part in table.values() if isinstance(part, Mapping)]
            yield from nested or [table]


def _long_windows() -> bool:
    """Whether the user has told vLLM to take windows beyond the model's own."""
    return os.environ.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "0").lower() in ("1", "true")
