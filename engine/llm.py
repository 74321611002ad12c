"""Start, call and end ``vllm.LLM``."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import config
from engine.environment import engine_environment, processes_of, runs_in_children, vllm_is_cpu_build
from engine.processes import EngineProcesses
from preflight.model_entries import ModelSpec
from scoring.scorer import Reply, Request

logger = logging.getLogger(__name__)

T = TypeVar("T")

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

    ``LLM.generate`` returns when all have ended, and the engine would wait for its next call.

    Args:
        survive: called with what an engine raised; raises it, or closes the engine to go on.
        reopen: starts another engine and attaches it; what is not answered is asked again there.
    """

    def __init__(self, survive: Callable[[Exception], None], reopen: Callable[[], None]) -> None:
        self._survive, self._reopen = survive, reopen
        self._engine: Any = None
        self._asked: dict[str, tuple[dict[str, Any], Any]] = {}
        self._number = 0
        # Told how many tokens a request has, while texts are written.
        self._heard: Callable[[int, int], object] | None = None

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
        name = str(self._number)
        request = {"type": "token", "prompt_token_ids": token_ids}, sampling
        self._attempt(lambda: self._engine.add_request(name, *request))
        self._asked[name] = request
        return self._number

    def step(self) -> list[tuple[int, Any]]:
        """Wait for the engine's next step; returns what ended, with the numbers."""
        if not self._asked:
            return []
        ended = []
        for output in self._attempt(lambda: self._engine.step()):
            number = int(output.request_id)
            if self._heard is not None and output.request_id in self._asked:
                self._heard(number, len(output.outputs[0].token_ids))
            if output.finished and self._asked.pop(output.request_id, None):
                ended.append((number, output))
        return ended

    def run(
        self,
        asked: Sequence[tuple[list[int], Any]],
        told: Callable[[], object] = bool,
        written: Callable[[int, int], object] | None = None,
    ) -> list[Any]:
        """Return the outputs of requests, in order.

        Args:
            asked: prompts and sampling parameters.
            told: called for each that ends.
            written: called with the place of a request and how many tokens it has so far.
        """
        outputs: dict[int, Any] = {}
        try:
            numbers = [self.add(*one) for one in asked]
            if written is not None:
                places = {number: place for place, number in enumerate(numbers)}
                self._heard = lambda number, tokens: written(places[number], tokens)
            while self._asked:
                for number, output in self.step():
                    outputs[number] = output
                    told()
        finally:
            self._heard = None
            self.withdraw()
        return [outputs[number] for number in numbers]

    def withdraw(self) -> None:
        """Take back what is not answered yet."""
        asked, self._asked = list(self._asked), {}
        if asked and self._engine is not None:
            with contextlib.suppress(Exception):  # an engine that died has nothing to take back
                self._engine.abort_request(asked)

    def _attempt(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except Exception as error:  # what an engine raises has no common type
            self._survive(error)
        self._reopen()  # outside of "except", which would keep what failed, and its memory
        return self._attempt(act)


def sampling_parameters(*, tokens_told: int = 0, **values: Any) -> Any:
    """Return vLLM's parameters of a request that is answered once, at its end.

    With ``tokens_told`` it is also answered, so far, whenever it has so many tokens more.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    if tokens_told:
        kind = RequestOutputKind.CUMULATIVE
        return SamplingParams(**values, output_kind=kind, stream_interval=tokens_told)
    return SamplingParams(**values, output_kind=RequestOutputKind.FINAL_ONLY)


def reply(request: Request, output: Any) -> Reply:
    """Read the log-probabilities that a request names, and what it cost."""
    completions = output.outputs
    rows = completions[0].logprobs if completions else None
    row = rows[0] if rows else {}
    computed = len(request.prompt) + len(request.node) - (output.num_cached_tokens or 0)
    return Reply({token: row[token].logprob for token in request.wanted if token in row}, computed)
