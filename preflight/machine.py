"""Judge ``VLLM_CONFIG`` by this machine and by a model's config.json.

Neither torch nor vLLM is imported. vLLM finds most of these problems too, after half a minute and
in a child process.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from preflight.model_entries import HUGGING_FACE_ID, ModelSpec
from preflight.model_folders import is_local

T = TypeVar("T")

# vLLM pads a vocabulary to a multiple of this and divides it (vocab_parallel_embedding.py).
VOCABULARY_PADDING: Final = 64
# Most GPUs suggested for sharing a layer: more than one machine has.
MOST_SHARING: Final = 64
# Parts of a config.json for text and images that are a language model (transformers,
# get_text_config).
TEXT_PARTS: Final = ("text_config", "decoder", "generator", "text_encoder")
# Names of a window in tokens; the smallest counts (vLLM, derive_max_model_len_and_key).
WINDOW_KEYS: Final = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length",
    "max_target_positions", "max_sequence_length", "max_seq_length", "seq_len",
)  # fmt: skip
# Scalings that max_position_embeddings already includes (vLLM, _get_and_verify_max_len).
SCALED_ALREADY: Final = (
    "default", "su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling",
    "mrope",
)  # fmt: skip
# Quantized weights whose kernels compute in 16 bits only (vLLM, get_supported_act_dtypes).
HALF_ONLY: Final = ("awq", "gptq", "fp8", "mxfp4", "quark", "modelopt")
# Tokens of a window that a question without evidence needs beside a thought.
QUESTION_TOKENS: Final = 512
GIB: Final = 1 << 30


# --- the machine ----------------------------------------------------------------------------------


def visible_gpus() -> int:
    """Count the driver's GPUs that ``CUDA_VISIBLE_DEVICES`` lets this process use.

    Its list ends at the first entry that is no GPU (CUDA C++ Programming Guide, "CUDA Environment
    Variables").
    """
    installed = _driver_gpus()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None or not installed:
        return installed
    named: set[str] = set()
    for entry in map(str.strip, chosen.split(",")):
        known = entry.startswith(("GPU-", "MIG-")) or (entry.isdecimal() and int(entry) < installed)
        if entry in named or not known:
            break
        named.add(entry)
    return len(named)


def _driver_gpus() -> int:
    """Count the GPUs by NVML, as vLLM does; 0 without a driver."""
    return _ask_nvml(_count, 0)


def gpu_names() -> list[str]:
    """Name the driver's GPUs by NVML.

    CUDA would keep memory of a GPU until this process ends.
    """
    return _ask_nvml(_names, [])


def _ask_nvml(ask: Callable[[ctypes.CDLL], T], otherwise: T) -> T:
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        if nvml.nvmlInit_v2() != 0:
            return otherwise
        try:
            return ask(nvml)
        finally:
            nvml.nvmlShutdown()
    except (OSError, AttributeError):
        return otherwise


def _count(nvml: ctypes.CDLL) -> int:
    count = ctypes.c_uint()
    found = nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0
    return count.value if found else 0


def _names(nvml: ctypes.CDLL) -> list[str]:
    names = []
    for index in range(_count(nvml)):
        device, name = ctypes.c_void_p(), ctypes.create_string_buffer(96)
        nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device))
        found = nvml.nvmlDeviceGetName(device, name, len(name)) == 0
        names.append(name.value.decode(errors="replace") if found else "unknown")
    return names


def memory_gib() -> float:
    """Return the main memory of this machine, or of its container if less, in GiB."""
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
        dtype: the engine's number format; "auto" is 16 bits, or what the weights are quantized to.
        settings: the model's config.json; empty where that is not known.
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
            f" ({weights:.1f} of weights, dtype {dtype}, and {cache_gib:g} of KV cache) but the"
            f" machine has {memory:.1f}; allowed: what fits; take a smaller model, or lower"
            " VLLM_CPU_KVCACHE_SPACE"
        )


def machine_problems(vllm_config: Mapping[str, Any], gpus: int | None) -> Iterator[str]:
    """Describe what of ``vllm_config`` this machine cannot do.

    Args:
        vllm_config: as in config.py; values that its rules refuse are passed over.
        gpus: visible NVIDIA GPUs; None for vLLM's CPU build, whose ranks share the cores.
    """
    tensor, pipeline = _sizes(vllm_config)
    backend = vllm_config.get("distributed_executor_backend")
    places, thing = (len(os.sched_getaffinity(0)), "CPU cores") if gpus is None else (gpus, "GPUs")
    if backend != "ray" and tensor * pipeline > places:
        size = f"['tensor_parallel_size'] is {tensor}"
        if pipeline > 1:
            size = (
                f"['pipeline_parallel_size'] is {pipeline} and tensor_parallel_size {tensor},"
                f" together {tensor * pipeline},"
            )
        yield (
            f"VLLM_CONFIG{size} but {places} {thing} are visible; allowed: 1 to {places} in all on"
            " one node; lower it, or set distributed_executor_backend to 'ray' for several nodes"
        )
    if gpus is None and backend == "ray":
        # Its platform names no device that ray could hand out.
        yield (
            "VLLM_CONFIG['distributed_executor_backend'] is 'ray' but vLLM's CPU build cannot use"
            " it; allowed: None or 'mp' on a CPU; set one of them"
        )
    swap, memory = vllm_config.get("swap_space_gb"), memory_gib()
    if isinstance(swap, int | float) and backend != "ray" and swap >= memory:
        yield (
            f"VLLM_CONFIG['swap_space_gb'] is {swap!r} but the machine has {memory:.0f} GiB of"
            " main memory; allowed: less than that; lower it, about half is sensible"
        )


def _sizes(vllm_config: Mapping[str, Any]) -> tuple[int, int]:
    """Return the tensor and the pipeline parallel size."""
    values = (vllm_config.get(f"{kind}_parallel_size", 1) for kind in ("tensor", "pipeline"))
    tensor, pipeline = (v if isinstance(v, int) and v > 0 else 1 for v in values)
    return tensor, pipeline


# --- the model ------------------------------------------------------------------------------------


def known_settings(path: str) -> dict[str, Any]:
    """Read config.json from a local folder or Hugging Face's cache, {} if neither."""
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
    """Describe what of ``vllm_config`` a model cannot do.

    ``settings`` is its config.json; empty where that is not known.
    """
    model = f"{spec.name} ({spec.path})"
    text = language_part(settings)
    tensor, pipeline = _sizes(vllm_config)
    if unmet := _tensor_limits(text, tensor):
        allowed = [str(n) for n in range(1, MOST_SHARING + 1) if not _tensor_limits(text, n)]
        yield (
            f"VLLM_CONFIG['tensor_parallel_size'] is {tensor} but {model} has {unmet[0]};"
            f" allowed: {', '.join(allowed)}; choose one of them"
        )
    layers = _number(text, "num_hidden_layers", "n_layer", "num_layers")
    if layers is not None and pipeline > layers:
        yield (
            f"VLLM_CONFIG['pipeline_parallel_size'] is {pipeline} but {model} has {layers} layers;"
            f" allowed: 1 to {layers}; lower it"
        )
    limit = window(settings)
    # vLLM takes longer windows where this variable says so.
    longer = os.environ.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "0").lower() in ("1", "true")
    if spec.max_model_len and limit is not None and spec.max_model_len > limit and not longer:
        yield (
            f"max_model_len of {model} is {spec.max_model_len} but config.json says {limit} tokens;"
            f" allowed: at most {limit}; lower it, or leave it out"
        )
    quantization = settings.get("quantization_config") or text.get("quantization_config")
    method = quantization.get("quant_method") if isinstance(quantization, Mapping) else None
    if method in HALF_ONLY and vllm_config.get("dtype") in ("float32", "float"):
        yield (
            f"VLLM_CONFIG['dtype'] is {vllm_config['dtype']!r} but {model} has {method} weights;"
            " allowed: 'auto', 'bfloat16' or 'float16' for them; set 'auto'"
        )


def thinking_problems(spec: ModelSpec, vllm_config: Any, longest: int) -> Iterator[str]:
    """Say that a thought of ``longest`` tokens leaves a question too little window."""
    common = vllm_config.get("max_model_len") if isinstance(vllm_config, Mapping) else None
    own = window(known_settings(spec.path))
    known = [v for v in (spec.max_model_len or common, own) if isinstance(v, int) and v > 0]
    if spec.think and known and longest > min(known) - QUESTION_TOKENS:
        yield (
            f"THINK_MAX_TOKENS is {longest} but {spec.name} ({spec.path}) has a window of"
            f" {min(known)} tokens; allowed: at most {max(0, min(known) - QUESTION_TOKENS)},"
            " which leaves its question some; lower it, or choose a larger max_model_len"
        )


def language_part(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the language model's part of a config.json, or all of it."""
    parts = [settings[name] for name in TEXT_PARTS if isinstance(settings.get(name), Mapping)]
    return parts[0] if len(parts) == 1 else settings


def _number(settings: Mapping[str, Any], *names: str) -> int | None:
    return next((v for name in names if isinstance(v := settings.get(name), int) and v > 0), None)


def _tensor_limits(text: Mapping[str, Any], tensor: int) -> list[str]:
    """Name what keeps a model's layers from being shared by ``tensor`` GPUs.

    Attention heads are divided; so are key/value heads, which are copied instead where there are
    fewer than GPUs (vLLM, QKVParallelLinear); the padded vocabulary is divided too. With latent
    attention (kv_lora_rank) every GPU has the whole of what replaces key/value heads.
    """
    unmet = []
    heads = _number(text, "num_attention_heads", "n_head")
    shared = None if "kv_lora_rank" in text else _number(text, "num_key_value_heads")
    vocabulary = _number(text, "vocab_size")
    if heads is not None and heads % tensor:
        unmet.append(f"{heads} attention heads")
    if shared is not None and max(shared, tensor) % min(shared, tensor):
        unmet.append(f"{shared} key/value heads")
    if vocabulary is not None:
        padded = math.ceil(vocabulary / VOCABULARY_PADDING) * VOCABULARY_PADDING
        if padded % tensor:
            unmet.append(f"a vocabulary of {vocabulary} tokens")
    return unmet


def window(settings: Mapping[str, Any]) -> int | None:
    """Return a model's window in tokens as vLLM derives it, None if unknown."""
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
    """Yield the tables of position scaling: one, or one for each kind of layer."""
    for name in ("rope_scaling", "rope_parameters"):
        table = text.get(name)
        if isinstance(table, Mapping):
            nested = [part for part in table.values() if isinstance(part, Mapping)]
            yield from nested or [table]
