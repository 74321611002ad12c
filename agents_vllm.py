"""``Agent``: one model on vLLM, from loading to number scoring to shutdown.

vLLM is imported only when an engine is started, so that ``--help``, configuration errors and most
tests never wait for it. The engine runs with prefix caching on: a scoring request repeats its
prompt and computes only what follows the last whole cache block (see ``scoring/scorer.py``).
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import config
from engine.arguments import Dtype, adapt_to_cpu, cpu_dtype, engine_arguments
from engine.environment import kv_cache_gib, prepare_environment, vllm_is_cpu_build
from engine.failures import load_failure, smaller_engine, with_advice, work_failure
from engine.llm import Feed, end_llm, free_gpu_memory, reply, sampling_parameters, start_llm
from engine.processes import EngineProcesses
from preflight import checkpoint, machine
from preflight.hub import inspect_hub_model
from preflight.model_entries import ModelSpec, model_spec
from preflight.stores import Limits
from scoring.agent import BaseAgent
from scoring.number_trie import TokenPath
from scoring.reasoning_notes import notes_sampling, strip_reasoning
from scoring.scorer import Reply, Request
from scoring.tasks import AgentError, ForecastTask, PromptError, Reasoning, reasoning_seed
from scoring.thoughts import Completion, Writing

logger = logging.getLogger(__name__)

# Tokens of a text between two updates of the bar.
TOKENS_TOLD: Final = 16

READING: Final = {"max_tokens": 1, "temperature": 0.0, "detokenize": False}


class Agent(BaseAgent):
    """A forecast model on vLLM.

    Args:
        spec: the model; default ``config.DEFAULT_MODEL_VLLM``.
        vllm_config: replaces ``config.VLLM_CONFIG``.
        tolerance: replaces ``config.SCORING_TOLERANCE``.
        llm_factory: called with the engine arguments in place of ``vllm.LLM``; for tests.
    """

    def __init__(
        self,
        spec: ModelSpec | None = None,
        *,
        vllm_config: Mapping[str, Any] | None = None,
        tolerance: float | None = None,
        llm_factory: Callable[..., Any] | None = None,
    ) -> None:
        if spec is None:
            spec = model_spec(config.DEFAULT_MODEL_VLLM, config.FORECAST_MODEL_PATHS_VLLM)
        super().__init__(spec, tolerance=tolerance)
        self.vllm_config = config.VLLM_CONFIG if vllm_config is None else vllm_config
        self.llm: Any = None
        self._feed = Feed(self._survive, self._open)
        # By the tokens asked for; vLLM copies them for each request.
        self._samplings: dict[tuple[int, ...], Any] = {}
        self._checkpoint: checkpoint.Inspection | None = None
        # Engine arguments of the second try, after memory ran out.
        self._smaller: dict[str, Any] = {}
        self._processes = EngineProcesses()
        self._llm_factory = llm_factory

    # --- load -------------------------------------------------------------------------------------

    def load(self) -> None:
        """Inspect the checkpoint, then start the engine.

        Raises:
            AgentError: the checkpoint is broken, or the engine did not start; the cause is chained
                and goes to the log file.
        """
        if self._llm_factory is None:
            prepare_environment()
        self._inspect()
        self._open()

    def _inspect(self) -> None:
        """Refuse a model with problems before an engine starts on it."""
        limits = Limits.of(config)
        problems: Sequence[str] = ()
        weight_bytes = 0
        if checkpoint.is_checked(self.spec.path):
            found = self._checkpoint = checkpoint.inspect_checkpoint(
                self.spec.path,
                limits,
                load_format=self.vllm_config.get("load_format") or "auto",
                trust_remote_code=self.spec.trust_remote_code,
            )
            for note in found.notes:
                logger.warning("%s: %s", self.name, note)
            problems, weight_bytes = found.problems, found.weight_bytes
        elif self._llm_factory is None:
            known = inspect_hub_model(self.spec.path, limits.seconds)
            problems, weight_bytes = known.problems, known.weight_bytes
        settings = self._model_settings()
        problems = [*problems, *machine.model_problems(self.spec, settings, self.vllm_config)]
        if vllm_is_cpu_build() and self._llm_factory is None:
            dtype = self._cpu_dtype()
            logger.info("%s: dtype %s, because %s", self.name, dtype.name, dtype.reason)
            problems += machine.memory_problems(
                self.spec, weight_bytes, dtype.name, settings, kv_cache_gib()
            )
        self._refuse(problems)

    def _cpu_dtype(self) -> Dtype:
        return cpu_dtype(self.vllm_config.get("dtype") or "auto", self._model_settings())

    def _refuse(self, problems: Sequence[str]) -> None:
        """Raise the first problem, log the others."""
        for problem in problems[1:]:
            logger.error("%s: %s", self.name, problem)
        if problems:
            raise AgentError(f"{self.name} did not load: {problems[0]}")

    def _open(self) -> None:
        """Start the engine; where memory runs out, once more with a smaller batch."""
        folder = self._checkpoint.folder if self._checkpoint is not None else None
        arguments = engine_arguments(self.spec, self.vllm_config, folder) | self._smaller
        try:
            self.llm = self._start(arguments)
        except (Exception, SystemExit) as error:  # any failure of an engine is this model's alone
            line = load_failure(self.spec, error, self._processes)
            if not self._shrink(line):
                raise AgentError(with_advice(line)) from error
        if self.llm is None:  # outside of "except", which would keep what failed, and its memory
            self._open()
            return
        if self._checkpoint is not None:
            self._refuse(checkpoint.changes(self.spec.path, self._checkpoint, Limits.of(config)))
        self.tokenizer = self.llm.get_tokenizer()
        settings = self.llm.llm_engine.vllm_config
        self.max_model_len = settings.model_config.max_model_len
        cache = settings.cache_config
        self.block_size = cache.block_size if cache.enable_prefix_caching else None
        blocks = cache.num_gpu_blocks
        self.cache_tokens = blocks * cache.block_size if blocks else None
        stages = self.vllm_config.get("pipeline_parallel_size") or 1
        self.step_tokens = stages * settings.scheduler_config.max_num_batched_tokens
        self._feed.attach(self.llm)
        what = f"window {self.max_model_len} tokens, KV cache {self.cache_tokens} tokens"
        logger.info("%s loaded: %s in blocks of %s", self.name, what, self.block_size)

    def _start(self, arguments: dict[str, Any]) -> Any:
        if self._llm_factory is not None:
            return self._llm_factory(**arguments)
        if vllm_is_cpu_build():
            adapt_to_cpu(arguments, self._cpu_dtype().name)
        self._processes = EngineProcesses()
        return start_llm(self.spec, self.vllm_config, arguments, self._processes)

    def _model_settings(self) -> Mapping[str, Any]:
        """Return the model's config.json; empty where it is not on this machine yet."""
        if self._checkpoint is not None:
            return self._checkpoint.settings
        return machine.known_settings(self.spec.path)

    def _shrink(self, line: str) -> bool:
        """Close an engine that failed with ``line`` to start a smaller one.

        Returns:
            Whether to start it: memory ran out, and for the first time.
        """
        smaller = {} if self._smaller else smaller_engine(line, self.vllm_config)
        if not smaller:
            return False
        self._smaller = smaller
        logger.warning("%s; it is loaded once more with %s", line, smaller)
        self._close()
        return True

    # --- shut down --------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """End the engine and its processes, free its memory; may be called more than once."""
        self._scorings.clear()
        if self._checkpoint is not None:
            self._checkpoint.close()
        self._close()

    def _close(self) -> None:
        llm, self.llm = self.llm, None
        if llm is None:
            return
        end_llm(llm)
        self._feed.detach()
        del llm
        gc.collect()
        self._processes.kill()
        if self._llm_factory is None:
            free_gpu_memory()

    # --- think ------------------------------------------------------------------------------------

    def reason(self, tasks: Sequence[ForecastTask], samples: int) -> Iterator[Reasoning]:
        """Write ``samples`` reasonings for each task, in order of task and sample.

        ``config.LOGIC_WAVE`` of them are written in one batched call, one seeded request for each:
        they share their prompt through the prefix cache, and each can be repeated by itself
        (vLLM's ``n`` would draw them from one stream).
        """
        size = max(1, config.LOGIC_WAVE // samples)
        for start in range(0, len(tasks), size):
            for written in self._reason_together(tasks[start : start + size], samples):
                yield replace(written, index=written.index + start)

    def _reason_together(self, tasks: Sequence[ForecastTask], samples: int) -> list[Reasoning]:
        results: dict[tuple[int, int], Reasoning] = {}
        asked: list[tuple[int, int, int, TokenPath]] = []
        for index, task in enumerate(tasks):
            try:
                ids = self.reasoning_prompt(task)
            except PromptError as error:
                for n in range(samples):
                    results[index, n] = Reasoning(index, n, error=str(error))
                self.progress(1)
                continue
            asked += [(index, n, reasoning_seed(task, n), ids) for n in range(samples)]
        outputs = self._feed.run(
            [([*ids], self._sampling(**notes_sampling(seed))) for *_, seed, ids in asked],
            lambda: self.progress(1 / samples),
        )
        for (index, n, seed, _), output in zip(asked, outputs, strict=True):
            results[index, n] = _written(self.name, index, n, seed, output.outputs[0])
        return [results[key] for key in sorted(results)]

    def write(
        self, asked: Sequence[Writing], told: Callable[[int, int], object]
    ) -> Iterator[Completion]:
        """Write all texts in one batch; ``told`` hears of each place's tokens so far."""
        requests = [
            ([*one.token_ids], self._sampling(tokens_told=TOKENS_TOLD, **one.sampling))
            for one in asked
        ]
        for output in self._feed.run(requests, written=told):
            (written,) = output.outputs
            yield Completion(tuple(written.token_ids), written.finish_reason or "")

    # --- score ------------------------------------------------------------------------------------

    def next_token_logprobs(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer all requests in one batch, each with exactly the tokens it names."""
        asked = [(list(one.token_ids), self._reading(one.wanted)) for one in requests]
        return [reply(*pair) for pair in zip(requests, self._feed.run(asked), strict=True)]

    def submit(self, request: Request) -> int:
        """Hand a request to the engine, which may begin with it at once."""
        token_ids = [*request.prompt, *request.node]
        number = self._feed.add(token_ids, self._reading(request.wanted))
        self._submitted[number] = request
        return number

    def collect(self) -> list[tuple[int, Reply]]:
        """Wait for the engine's next step; returns what it answered."""
        return [(n, reply(self._submitted.pop(n), output)) for n, output in self._feed.step()]

    def withdraw(self) -> None:
        """Take back the requests that are not answered yet."""
        super().withdraw()
        self._feed.withdraw()

    def _reading(self, wanted: tuple[int, ...]) -> Any:
        if wanted not in self._samplings:
            self._samplings[wanted] = self._sampling(logprob_token_ids=list(wanted), **READING)
        return self._samplings[wanted]

    def _sampling(self, **values: Any) -> Any:
        return values if self._llm_factory is not None else sampling_parameters(**values)

    def _survive(self, error: Exception) -> None:
        """Close an engine whose memory ran out, for a smaller one.

        Raises:
            AgentError: the engine died or memory ran out again; with the cause.
            Exception: the error itself, where the engine survives it.
        """
        line = work_failure(self.spec, error, self._processes)
        if line is None:
            raise error
        if not self._shrink(line):
            raise AgentError(with_advice(line)) from error


def _written(name: str, index: int, sample: int, seed: int, completion: Any) -> Reasoning:
    text = strip_reasoning(completion.text)
    error = None if text else f"{name} wrote no reasoning"
    tokens, reason = len(completion.token_ids), completion.finish_reason or ""
    return Reasoning(index, sample, text, tokens, reason, seed, error)
