"""Translate ``VLLM_CONFIG`` and a model entry into arguments of ``vllm.LLM``."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import config
from preflight import machine
from preflight.model_entries import HUGGING_FACE_ID, ModelSpec
from preflight.model_folders import is_local

# Settings that vLLM knows by the same name.
SAME_NAME: Final = (
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "distributed_executor_backend",
    "gpu_memory_utilization",
    "load_format",
    "dtype",
    "enforce_eager",
    "block_size",
)
# Models that may bring Mistral's own tokenizer (tekken.json) beside the usual one.
MISTRAL: Final = re.compile(r"mistral|ministral|mixtral|pixtral|devstral|magistral", re.IGNORECASE)
# Words of /proc/cpuinfo for processors that multiply bfloat16 matrices themselves.
FAST_BFLOAT16: Final = {"avx512_bf16", "amx_bf16", "bf16"}


def engine_arguments(
    spec: ModelSpec, vllm_config: Mapping[str, Any], folder: Path | None = None
) -> dict[str, Any]:
    """Return the arguments for any platform.

    ``folder`` has the small files of a model on S3, as they were inspected: vLLM would fetch them
    again, without a time limit, into a cache that knows no endpoint.
    """
    path = str(Path(spec.path).expanduser()) if is_local(spec.path) else spec.path
    remote = folder is not None and path.startswith("s3://")
    arguments: dict[str, Any] = {
        "model": str(folder) if remote else path,
        "trust_remote_code": spec.trust_remote_code,
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        # It goes to the log file, and from there into the line that shows the loading.
        "use_tqdm_on_load": True,
        "seed": config.SEED,
    }
    if remote:
        arguments["model_weights"] = path
    for key in SAME_NAME:
        if vllm_config.get(key) is not None:
            arguments[key] = vllm_config[key]
    if arguments.get("load_format") == "auto" and HUGGING_FACE_ID.fullmatch(path):
        # "auto" would fall back to weights in PyTorch's format, which are pickles; a folder's are
        # refused earlier.
        arguments["load_format"] = "safetensors"
    if loader := vllm_config.get("model_loader_extra_config"):
        arguments["model_loader_extra_config"] = dict(loader)
    if swap_space := vllm_config.get("swap_space_gb"):
        # vLLM's swap space is gone; moving KV cache blocks to main memory took its place. GiB.
        arguments["kv_offloading_size"] = float(swap_space)
    settings = machine.known_settings(str(folder or path))
    if window := _window(spec, vllm_config, settings):
        arguments["max_model_len"] = window
    name = f"{path if HUGGING_FACE_ID.fullmatch(path) else ''} {settings.get('model_type', '')}"
    if MISTRAL.search(name):
        # vLLM would take Mistral's own tokenizer where the model brings it, which has no chat
        # template: the model would be asked in plain text.
        arguments["tokenizer_mode"] = "hf"
    return arguments


def _window(
    spec: ModelSpec, vllm_config: Mapping[str, Any], settings: Mapping[str, Any]
) -> int | None:
    """Return the window to ask for, in tokens.

    vLLM refuses one beyond the model's own (``settings`` is its config.json); the configured one
    is meant for the larger models.
    """
    configured = vllm_config.get("max_model_len")
    if spec.max_model_len or not configured:
        return spec.max_model_len
    own = machine.window(settings)
    return int(min(configured, own or configured))


def adapt_to_cpu(arguments: dict[str, Any], dtype: str) -> None:
    """Change arguments to what vLLM's CPU build needs."""
    arguments["dtype"] = dtype
    # The block size 16 that suits GPUs is not one the CPU kernels are tuned for: 32 is their
    # smallest.
    arguments["block_size"] = max(32, arguments.get("block_size") or 0)
    # A share of the machine's memory is not meant there: VLLM_CPU_KVCACHE_SPACE rules.
    arguments.pop("gpu_memory_utilization", None)
    # A seeded request whose prompt is computed in two steps ends a CPU engine ("CPU Generator does
    # not use offset"), so the window is the least a step must hold.
    arguments["enable_chunked_prefill"] = False
    arguments.pop("max_num_batched_tokens", None)
    # Compiling takes minutes, for less than a CPU gains from it. A pipeline needs the warm-up that
    # goes with it (its stages make their buffers there); TORCHDYNAMO_DISABLE prevents compiling.
    arguments["enforce_eager"] = arguments.get("pipeline_parallel_size", 1) == 1
    # torch's log_softmax is not accurate to float32 on a CPU (engine/log_normalizer.py).
    arguments["logits_processors"] = ["engine.log_normalizer:LogNormalizer"]
    arguments["logprobs_mode"] = "processed_logits"


@dataclass(frozen=True)
class Dtype:
    """The number format of an engine on a CPU and why, for the log."""

    name: str
    reason: str


def cpu_dtype(asked: str, settings: Mapping[str, Any]) -> Dtype:
    """Choose the format where "auto" was asked; the run still stores "auto".

    vLLM takes bfloat16 on every processor; where it is emulated, float32 is several times faster
    (docs/engines.md).
    ``settings`` is the model's config.json; kernels of quantized weights take 16 bits only.
    """
    if asked != "auto":
        return Dtype(asked, "VLLM_CONFIG['dtype'] says so")
    if "quantization_config" in settings:
        return Dtype("auto", "its weights are quantized")
    if found := FAST_BFLOAT16 & processor_flags():
        return Dtype("auto", f"this processor multiplies bfloat16 itself ({min(found)})")
    return Dtype(
        "float32",
        "this processor has no bfloat16 instructions (avx512_bf16, amx_bf16), so float32 is faster",
    )


def processor_flags() -> set[str]:
    """Return the instruction sets that Linux lists for this processor."""
    if platform.system() != "Linux":
        return set()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, words = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return set(words.split())
    return set()
