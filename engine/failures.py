"""Describe failures of an engine in one line each: cause and, if known, remedy."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from engine.processes import EngineProcesses, LoadEnded
from preflight.model_entries import ModelSpec
from preflight.store_errors import streaming_failure

# Characters of a cause that are repeated.
CAUSE_LENGTH: Final = 300
STALL_ADVICE: Final = "check the connection to the weights' disk or server, or raise the setting"
# How torch and vLLM (worker/utils.py, core/kv_cache_utils.py) say that memory is short; the first
# of them is vLLM's for a cache beside which the weights and the largest batch do not fit.
NO_CACHE_MEMORY: Final = re.compile(r"No available memory for the cache|KV cache is needed")
OUT_OF_MEMORY: Final = re.compile(
    rf"{NO_CACHE_MEMORY.pattern}|[Oo]ut ?[Oo]f ?[Mm]emory|MemoryError|Free memory on device"
    "|can't allocate memory|STATUS_ALLOC_FAILED"
)
# The second try: requests and tokens that are computed together (vLLM's own limits on a large GPU
# are 1024 and 16384), and the part of the configured share of the GPU's memory.
SMALL_BATCH: Final = {"max_num_seqs": 32, "max_num_batched_tokens": 2048}
SMALLER_SHARE: Final = 0.9
# vLLM's words for what others left of a GPU at the start, GiB (worker/utils.py), and the part of it
# that stays free in case they take a little more.
FREE_MEMORY: Final = re.compile(r"Free memory on device \S* ?\((\d[\d.]*)/(\d[\d.]*) GiB\)")
LEFT_FREE: Final = 0.01
MEMORY_ADVICE: Final = (
    "raise VLLM_CONFIG['tensor_parallel_size'], lower max_model_len, correct gpu_memory_utilization"
    " (up where only the cache lacks room, down where others use the GPU), or give it swap_space_gb"
)


def load_failure(spec: ModelSpec, error: BaseException, processes: EngineProcesses) -> str:
    """Describe a failed load."""
    if isinstance(error, LoadEnded):
        return f"{spec.name} ({spec.path}) did not load: it {error}; {STALL_ADVICE}"
    if spec.path.startswith("s3://"):
        line = streaming_failure(spec.path, processes.lines)
        if line is not None:
            return f"{spec.name} did not load: {line}"
    cause = (processes.cause() or _innermost(error))[:CAUSE_LENGTH]
    return f"{spec.name} ({spec.path}) did not load: {cause}"


def work_failure(spec: ModelSpec, error: Exception, processes: EngineProcesses) -> str | None:
    """Describe what ended an engine at work; None for an error that it survives."""
    what = f"{spec.name} ({spec.path})"
    if type(error).__name__ == "EngineDeadError":
        cause = processes.cause() or (
            "a process of it was killed; was main memory short? see dmesg"
        )
        return f"{what}: the engine died at work: {cause[:CAUSE_LENGTH]}"
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if OUT_OF_MEMORY.search(text):
        return f"{what}: memory ran out at work: {text[:CAUSE_LENGTH]}"
    return None


def smaller_engine(line: str, vllm_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a second try; empty if memory was not the cause."""
    if not OUT_OF_MEMORY.search(line):
        return {}
    share = vllm_config.get("gpu_memory_utilization")
    if not share or NO_CACHE_MEMORY.search(line):
        return dict(SMALL_BATCH)
    smaller = share * SMALLER_SHARE
    if free := FREE_MEMORY.search(line):
        smaller = min(smaller, max(float(free[1]) / float(free[2]) - LEFT_FREE, LEFT_FREE))
    return {**SMALL_BATCH, "gpu_memory_utilization": math.floor(smaller * 100 + 1e-6) / 100}


def with_advice(line: str) -> str:
    """Add what to do where memory ran out."""
    return f"{line}; {MEMORY_ADVICE}" if OUT_OF_MEMORY.search(line) else line


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
