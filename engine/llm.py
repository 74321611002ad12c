"""Start, call and end ``vllm.LLM``."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import config
from engine.environment import engine_environment, processes_of, runs_in_children, vllm_is_cpu_build
from engine.processes import EngineProcesses
from preflight.model_entries import ModelSpec

logger = logging.getLogger(__name__)

# Seconds an engine is given to end by itself before its processes are killed.
SHUTDOWN_SECONDS: Final = 30


def start_llm(
    spec: ModelSpec,
    vllm_config: Mapping[str, Any],
    arguments: Mapping[str, Any],
    processes: EngineProcesses,
) -> Any:
    """Start an engine in this process or in children, under the watchdog.

    Raises:
        LoadEnded: by the watchdog.
        BaseException: whatever vLLM raises.
    """
    child = runs_in_children(spec, vllm_config)
    with engine_environment(child=child, processes=processes_of(vllm_config)):
        from vllm import LLM

        llm = processes.start(
            lambda: LLM(**arguments),
            child=child,
            # What workers on other nodes do is not seen from here.
            stall_seconds=None
            if arguments.get("distributed_executor_backend") == "ray"
            else config.LOAD_STALL_SECONDS,
            limit_seconds=config.LOAD_TIMEOUT_SECONDS,
        )
    if child:
        # vLLM's client waits for ever for an engine that is killed at work: it closes the socket
        # and wakes nobody.
        from vllm.v1.engine.exceptions import EngineDeadError

        answers = llm.llm_engine.engine_core.outputs_queue
        processes.on_death(lambda: answers.put(EngineDeadError()))
    return llm


def end_llm(llm: Any) -> None:
    """Ask an engine to end."""
    try:
        llm.llm_engine.engine_core.shutdown(timeout=SHUTDOWN_SECONDS)
    except Exception:  # one that died cannot be asked to end; its processes are already gone
        logger.debug("shutdown of the engine failed", exc_info=True)


def free_gpu_memory() -> None:
    """Give back what torch keeps of the GPU for later."""
    if not vllm_is_cpu_build():
        import torch

        torch.cuda.empty_cache()


class Ticks:
    """A bar for ``LLM.generate`` that only reports each request that ends.

    vLLM makes one over the prompts it is given (``iterable``) and one over the requests it runs
    (``total``), and reads and sets attributes of tqdm (vllm/entrypoints/common/offline.py,
    ``_run_engine``).
    """

    postfix = ""

    def __init__(self, tick: Callable[[], None], iterable: Iterable[Any] = (), **_: Any) -> None:
        self.tick, self.iterable = tick, iterable
        self.n = 0
        self.started = time.monotonic()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.iterable)

    @property
    def format_dict(self) -> dict[str, float]:
        """Seconds since the start, never 0: vLLM divides by them."""
        return {"elapsed": max(1e-6, time.monotonic() - self.started)}

    def update(self, _completions: int = 1) -> None:
        """Report that a request has ended."""
        self.n += 1
        self.tick()

    def refresh(self) -> None:
        """Draw nothing."""

    def close(self) -> None:
        """Draw nothing."""
