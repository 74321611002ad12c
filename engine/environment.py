"""Set up the process for vLLM: build, environment variables, threads."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

from preflight.model_entries import ModelSpec

# GiB of KV cache on a CPU unless VLLM_CPU_KVCACHE_SPACE says otherwise: vLLM would take 90 % of
# the machine's memory, which a laptop does not have to give.
CPU_KV_CACHE_GIB: Final = 2
KV_CACHE: Final = "VLLM_CPU_KVCACHE_SPACE"
# vLLM's switch between engines in child processes (1) and in this one (0).
MULTIPROCESSING: Final = "VLLM_ENABLE_V1_MULTIPROCESSING"


def vllm_is_cpu_build() -> bool:
    """Tell by package metadata, without importing vLLM, whether it runs on CPUs only."""
    for package in ("vllm-cpu", "vllm"):
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        return package == "vllm-cpu" or "cpu" in version.partition("+")[2]
    return False


def prepare_environment() -> None:
    """Set the variables that vLLM and OpenMP read on import, unless the user has.

    To be called before anything imports torch: OpenMP reads its own only once.
    """
    defaults = {
        # vLLM logs through the root logger then, which sends its noise to the log file.
        "VLLM_CONFIGURE_LOGGING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        # This process has threads; a fork would inherit the locks they hold.
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    }
    if vllm_is_cpu_build():
        defaults |= {
            # The log-probability helper would be compiled with g++ at the first request.
            "TORCHDYNAMO_DISABLE": "1",
            # A pipeline's stages make their buffers in a warm-up, which would compile anyway.
            "VLLM_USE_AOT_COMPILE": "0",
            KV_CACHE: str(CPU_KV_CACHE_GIB),
            # Threads that wait give their core to others and may move to a free one
            # (docs/engines.md, "Threads on a busy machine").
            "OMP_WAIT_POLICY": "passive",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def kv_cache_gib() -> float:
    """Return the GiB of KV cache an engine on a CPU will have."""
    try:
        return float(os.environ.get(KV_CACHE) or CPU_KV_CACHE_GIB)
    except ValueError:  # vLLM says what is wrong with it
        return CPU_KV_CACHE_GIB


def processes_of(vllm_config: Mapping[str, Any]) -> int:
    """Return how many processes share the model: tensor times pipeline parallel size."""
    tensor = vllm_config.get("tensor_parallel_size") or 1
    return int(tensor * (vllm_config.get("pipeline_parallel_size") or 1))


def runs_in_children(spec: ModelSpec, vllm_config: Mapping[str, Any]) -> bool:
    """Decide whether the engine has child processes; the user's variable comes first.

    In this process a CPU engine starts in a fifth of the time, and true exceptions reach the
    caller. It cannot be killed there, which weights that come through a network may require.
    """
    if chosen := os.environ.get(MULTIPROCESSING):
        return chosen != "0"
    return not vllm_is_cpu_build() or processes_of(vllm_config) > 1 or spec.path.startswith("s3://")


@contextlib.contextmanager
def engine_environment(*, child: bool, processes: int) -> Iterator[None]:
    """Make vLLM start an engine in child processes, or in this one.

    On a CPU each child gets its share of the cores as threads, unless OMP_NUM_THREADS is set.
    """
    from vllm import envs

    # vLLM stops looking at its variables once an engine runs in this process.
    envs.disable_envs_cache()
    values = {MULTIPROCESSING: str(int(child))}
    if child and vllm_is_cpu_build() and "OMP_NUM_THREADS" not in os.environ:
        values["OMP_NUM_THREADS"] = str(threads_each(processes))
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def threads_each(processes: int) -> int:
    """Share this process's cores among so many processes."""
    return max(1, len(os.sched_getaffinity(0)) // processes)
