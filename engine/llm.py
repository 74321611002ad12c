"""Start, call and end ``vllm.LLM``."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
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


class Feed:
    """Requests to an engine, handed over one by one and answered as they end.

    ``LLM.generate`` returns when all have ended, and the engine would wait for its next call. What
    is not answered yet is kept, to be asked again of another engine.
    """

    def __init__(self) -> None:
        self._engine: Any = None
        self._asked: dict[str, tuple[dict[str, Any], Any]] = {}
        self._number = 0

    def attach(self, llm: Any) -> None:
        """Go on with this engine."""
        self._engine = llm.llm_engine
        for name, request in self._asked.items():
            self._engine.add_request(name, *request)

    def detach(self) -> None:
        """Let go of an engine that ends."""
        self._engine = None

    def add(self, token_ids: list[int], sampling: Any) -> int:
        """Hand over a request; returns its number."""
        self._number += 1
        request = {"type": "token", "prompt_token_ids": token_ids}, sampling
        self._engine.add_request(str(self._number), *request)
        self._asked[str(self._number)] = request
        return self._number

    def step(self) -> list[tuple[int, Any]]:
        """Wait for the engine's next step; returns what ended, with the numbers."""
        if not self._asked:
            return []
        return [
            (int(output.request_id), output)
            for output in self._engine.step()
            if output.finished and self._asked.pop(output.request_id, None)
        ]

    def withdraw(self) -> None:
        """Take back what is not answered yet."""
        asked, self._asked = list(self._asked), {}
        if asked and self._engine is not None:
            with contextlib.suppress(Exception):  # an engine that died has nothing to take back
                self._engine.abort_request(asked)
