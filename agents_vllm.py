"""``Agent``: one vLLM engine's life, from loading to batched number scoring to shutdown.

vLLM is imported only when an engine is started, so that ``--help``, configuration errors and most
tests never wait for it. The engine runs with prefix caching on: a scoring request repeats its
prompt and pays for one to three tokens of it (see ``scoring/scorer.py``).
"""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path as FilePath
from typing import Any

import config
from engine.processes import EngineProcesses, LoadEnded
from preflight import checkpoint
from preflight import machine as fit
from preflight.model_entries import HUGGING_FACE_ID, ModelSpec, model_spec
from preflight.model_folders import is_local
from preflight.store_errors import streaming_failure
from preflight.stores import Limits
from scoring.agent import (
    AgentError,
    BaseAgent,
    ForecastTask,
    PromptError,
    Reasoning,
    Wave,
    reasoning_seed,
)
from scoring.notes import strip_reasoning
from scoring.number_trie import Path
from scoring.scorer import Reply, Request

logger = logging.getLogger(__name__)

# Seconds an engine is given to end by itself before its processes are killed.
SHUTDOWN_SECONDS = 30
# GiB of KV cache on a CPU unless VLLM_CPU_KVCACHE_SPACE says otherwise: vLLM would take 90 % of the
# machine's memory, which a laptop does not have to give.
CPU_KV_CACHE_GIB = 2
# What to do about a load that the watchdog has ended.
STALL_MEND = "check the connection to where the weights lie, or raise the setting"
# How torch (on GPUs and CPUs) and vLLM (worker/utils.py, core/kv_cache_utils.py) say that memory is short, and which of it
# is vLLM's word for a cache that the weights and the largest batch leave no room for.
NO_ROOM_FOR_CACHE = re.compile(r"No available memory for the cache|KV cache is needed")
OUT_OF_MEMORY = re.compile(
    rf"{NO_ROOM_FOR_CACHE.pattern}|[Oo]ut ?[Oo]f ?[Mm]emory|MemoryError|Free memory on device|can't allocate memory"
)
# The second try: requests and tokens that are computed together (vLLM's own limits on a large GPU are 1024 and 16384), and the
# part of the configured share of the GPU's memory.
SMALL_BATCH = {"max_num_seqs": 32, "max_num_batched_tokens": 2048}
SMALLER_SHARE = 0.9
MEMORY_ADVICE = (
    "raise VLLM_CONFIG['tensor_parallel_size'], lower max_model_len, correct gpu_memory_utilization (up where only the cache"
    " lacks room, down where others use the GPU), or give it swap_space_gb"
)
# vLLM's switch between engines in child processes (1) and in this one (0).
MULTIPROCESSING = "VLLM_ENABLE_V1_MULTIPROCESSING"


def vllm_is_cpu_build() -> bool:
    """Whether the installed vLLM runs on CPUs only; read from package metadata, without importing it."""
    for package in ("vllm-cpu", "vllm"):
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        return package == "vllm-cpu" or "cpu" in version.partition("+")[2]
    return False


def prepare_environment(ranks: int = 1) -> None:
    """Set the environment variables vLLM reads on import; values the user has set stay.

    Args:
        ranks: processes that share the model, tensor times pipeline parallel size; on a CPU each gets its part of the cores.
    """
    # vLLM logs through the root logger then, which sends its noise to the log file.
    os.environ.setdefault("VLLM_CONFIGURE_LOGGING", "0")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    # This process has threads (one reads what libraries write, one shows the time): a fork would inherit their locks, held.
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    if not vllm_is_cpu_build():
        return
    # The log-probability helper would be compiled with g++ at the first request: seconds, for no gain here.
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(CPU_KV_CACHE_GIB))
    os.environ.setdefault(
        "VLLM_CPU_OMP_THREADS_BIND", core_lists(len(os.sched_getaffinity(0)), ranks)
    )
    # A pipeline's stages make their buffers in a warm-up that would compile ahead of time, switched off or not.
    os.environ.setdefault("VLLM_USE_AOT_COMPILE", "0")


def runs_in_children(spec: ModelSpec, vllm_config: Mapping[str, Any]) -> bool:
    """Whether the engine has processes of its own; the user's VLLM_ENABLE_V1_MULTIPROCESSING decides where it is set.

    In this process a CPU engine starts in a fifth of the time, and true exceptions reach the caller. It cannot be killed
    there, though, which weights that come through a network may make necessary.
    """
    if chosen := os.environ.get(MULTIPROCESSING):
        return chosen != "0"
    ranks = [
        vllm_config.get(key) or 1 for key in ("tensor_parallel_size", "pipeline_parallel_size")
    ]
    return not vllm_is_cpu_build() or max(ranks) > 1 or spec.path.startswith("s3://")


@contextlib.contextmanager
def _multiprocessing(wanted: bool) -> Iterator[None]:
    """Within it vLLM starts engines in child processes, or in this one."""
    from vllm import envs

    # vLLM stops looking at its variables once an engine runs in this process.
    envs.disable_envs_cache()
    before = os.environ.get(MULTIPROCESSING)
    os.environ[MULTIPROCESSING] = str(int(wanted))
    try:
        yield
    finally:
        del os.environ[MULTIPROCESSING]
        if before is not None:
            os.environ[MULTIPROCESSING] = before


def core_lists(cores: int, ranks: int) -> str:
    """The cores of each rank as vLLM's CPU build reads them: ``0-3|4-7``; what cannot be divided evenly is left free."""
    share = max(1, cores // ranks)
    return "|".join(f"{rank * share}-{(rank + 1) * share - 1}" for rank in range(ranks))


def engine_arguments(
    spec: ModelSpec, vllm_config: Mapping[str, Any], folder: FilePath | None = None
) -> dict[str, Any]:
    """Translate ``VLLM_CONFIG`` and a model entry into the keyword arguments of ``vllm.LLM``.

    ``folder`` holds the small files of a model on S3 as they were inspected: vLLM would fetch them once more, without a time
    limit, into a cache that knows no endpoint. Their config.json names the window, beyond which vLLM refuses to go; the
    configured one is meant for the larger models.

    ``swap_space_gb`` becomes ``kv_offloading_size`` (GiB): vLLM's swap space is gone, offloading
    KV cache blocks to main memory is what took its place.
    """
    path = str(FilePath(spec.path).expanduser()) if is_local(spec.path) else spec.path
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
    for key in (
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "distributed_executor_backend",
        "gpu_memory_utilization",
        "load_format",
        "dtype",
        "enforce_eager",
        "block_size",
    ):
        if vllm_config.get(key) is not None:
            arguments[key] = vllm_config[key]
    if arguments.get("load_format") == "auto" and HUGGING_FACE_ID.fullmatch(path):
        # "auto" would fall back to weights in PyTorch's format, which are pickles; a folder's are refused earlier.
        arguments["load_format"] = "safetensors"
    if loader := vllm_config.get("model_loader_extra_config"):
        arguments["model_loader_extra_config"] = dict(loader)
    if swap_space := vllm_config.get("swap_space_gb"):
        arguments["kv_offloading_size"] = float(swap_space)
    if window := spec.max_model_len or vllm_config.get("max_model_len"):
        arguments["max_model_len"] = (
            window
            if spec.max_model_len
            else min(window, fit.window(fit.known_settings(str(folder or path))) or window)
        )
    return arguments


class Ticks:
    """What ``LLM.generate`` takes for a bar: draws nothing and passes on that a request has ended.

    vLLM makes one over the prompts it is given (``iterable``) and one over the requests it runs (``total``), and reads and sets
    attributes of tqdm (vllm/entrypoints/common/offline.py, ``_run_engine``).
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
        """A request has ended."""
        self.n += 1
        self.tick()

    def refresh(self) -> None:
        """Nothing is drawn."""

    def close(self) -> None:
        """Nothing is drawn."""


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
        self._checkpoint: checkpoint.Inspection | None = None
        # Engine arguments of the second try, after memory ran out.
        self._smaller: dict[str, Any] = {}
        self._processes = EngineProcesses()
        self._llm_factory = llm_factory

    # --- life -------------------------------------------------------------------------------------

    def load(self) -> None:
        """Look at the checkpoint, then start the engine.

        Raises:
            AgentError: the checkpoint is broken, or the engine did not start; the cause is chained and goes to the log file.
        """
        if self._llm_factory is None:
            sizes = ("tensor_parallel_size", "pipeline_parallel_size")
            prepare_environment(math.prod(self.vllm_config.get(size) or 1 for size in sizes))
        self._inspect()
        self._open()

    def _open(self) -> None:
        """Start the engine; where memory runs out, once more with a smaller batch."""
        folder = self._checkpoint.folder if self._checkpoint is not None else None
        arguments = engine_arguments(self.spec, self.vllm_config, folder) | self._smaller
        try:
            self.llm = self._start(arguments)
        except (
            Exception,
            SystemExit,
        ) as error:  # the agent boundary: any failure of an engine is this model's alone
            line = f"{self.name} {self._load_failure(error)}"
            if not self._shrink(line):
                raise AgentError(_with_advice(line)) from error
        if self.llm is None:  # outside of "except", which would keep what failed, and its memory
            return self._open()
        if self._checkpoint is not None and (
            changed := checkpoint.changes(self.spec.path, self._checkpoint, Limits.of(config))
        ):
            raise AgentError(f"{self.name} did not load: {changed[0]}")
        self.tokenizer = self.llm.get_tokenizer()
        settings = self.llm.llm_engine.vllm_config
        self.max_model_len = settings.model_config.max_model_len
        cache = settings.cache_config
        self.block_size = cache.block_size if cache.enable_prefix_caching else None
        blocks = cache.num_gpu_blocks
        self.cache_tokens = blocks * cache.block_size if blocks else None
        logger.info(
            "%s loaded: window %d tokens, KV cache %s tokens in blocks of %s",
            self.name,
            self.max_model_len,
            self.cache_tokens,
            self.block_size,
        )
        return None

    def _shrink(self, line: str) -> bool:
        """Whether an engine that failed with ``line`` is to be started once more; memory ran out then, and for the first time."""
        if self._smaller or not OUT_OF_MEMORY.search(line):
            return False
        self._smaller = dict(SMALL_BATCH)
        share = self.vllm_config.get("gpu_memory_utilization")
        if share and not NO_ROOM_FOR_CACHE.search(line):
            self._smaller["gpu_memory_utilization"] = round(share * SMALLER_SHARE, 2)
        logger.warning("%s; it is loaded once more with %s", line, self._smaller)
        self._close()
        return True

    def _inspect(self) -> None:
        """Refuse a checkpoint with problems before an engine starts on it; a Hugging Face id is vLLM's to check."""
        if not checkpoint.is_checked(self.spec.path):
            return
        found = checkpoint.inspect_checkpoint(
            self.spec.path,
            Limits.of(config),
            load_format=self.vllm_config.get("load_format") or "auto",
            trust_remote_code=self.spec.trust_remote_code,
        )
        self._checkpoint = found
        problems = [
            *found.problems,
            *fit.model_problems(self.spec, found.settings, self.vllm_config),
        ]
        for note in found.notes:
            logger.warning("%s: %s", self.name, note)
        if problems:
            found.close()
            for problem in problems[1:]:
                logger.error("%s: %s", self.name, problem)
            raise AgentError(f"{self.name} did not load: {problems[0]}")

    def _start(self, arguments: dict[str, Any]) -> Any:
        if self._llm_factory is not None:
            return self._llm_factory(**arguments)
        if vllm_is_cpu_build():
            # The block size 16 that suits GPUs is not one the CPU kernels are tuned for: 32 is their smallest.
            arguments["block_size"] = max(32, arguments.get("block_size") or 0)
            # A share of the machine's memory is not meant there: VLLM_CPU_KVCACHE_SPACE rules.
            arguments.pop("gpu_memory_utilization", None)
            # Nor can a prompt be computed in steps, see below: the window is the least a step must hold.
            arguments.pop("max_num_batched_tokens", None)
            # Without it the model is compiled for minutes, for less than a CPU gains from it. A pipeline needs the warm-up
            # that goes with compiling (its stages make their buffers there); TORCHDYNAMO_DISABLE keeps that from compiling.
            arguments["enforce_eager"] = arguments.get("pipeline_parallel_size", 1) == 1
            # A seeded request whose prompt is computed in two steps ends a CPU engine ("CPU Generator does not use offset").
            arguments["enable_chunked_prefill"] = False
            # torch's log_softmax is not accurate to float32 on a CPU; engine/log_normalizer.py says why and how much.
            arguments["logits_processors"] = ["engine.log_normalizer:LogNormalizer"]
            arguments["logprobs_mode"] = "processed_logits"
        child = runs_in_children(self.spec, self.vllm_config)
        with _multiprocessing(child):
            from vllm import LLM

            self._processes = EngineProcesses()
            llm = self._processes.start(
                lambda: LLM(**arguments),
                child=child,
                # What workers on other nodes do is not seen from here.
                stall_seconds=None
                if arguments.get("distributed_executor_backend") == "ray"
                else config.LOAD_STALL_SECONDS,
                limit_seconds=config.LOAD_TIMEOUT_SECONDS,
            )
        if not child:
            return llm
        # vLLM's client waits for ever for an engine that is killed at work: it closes the socket and wakes nobody.
        from vllm.v1.engine.exceptions import EngineDeadError

        answers = llm.llm_engine.engine_core.outputs_queue
        self._processes.on_death(lambda: answers.put(EngineDeadError()))
        return llm

    def _load_failure(self, error: BaseException) -> str:
        """What became of a load, in one line with its cause and, where that is known, the mend."""
        if self.spec.path.startswith("s3://") and not isinstance(error, LoadEnded):
            line = streaming_failure(self.spec.path, self._processes.lines)
            if line is not None:
                return f"did not load: {line}"
        if isinstance(error, LoadEnded):
            return f"({self.spec.path}) did not load: it {error}; {STALL_MEND}"
        cause = self._processes.cause() or _one_line(error)
        return f"({self.spec.path}) did not load: {cause[:300]}"

    def shutdown(self) -> None:
        """End the engine and its processes and free its memory; may be called more than once."""
        self._scorings.clear()
        if self._checkpoint is not None:
            self._checkpoint.close()
        self._close()

    def _close(self) -> None:
        llm, self.llm = self.llm, None
        if llm is None:
            return
        try:
            llm.llm_engine.engine_core.shutdown(timeout=SHUTDOWN_SECONDS)
        except (
            Exception
        ):  # an engine that died cannot be asked to end; its processes are already gone
            logger.debug("%s: shutdown of the engine failed", self.name, exc_info=True)
        del llm
        gc.collect()
        self._processes.kill()
        if not vllm_is_cpu_build() and self._llm_factory is None:
            import torch

            torch.cuda.empty_cache()

    def _generate(self, asked: list[dict[str, Any]], sampling: list[Any]) -> Any:
        """One batched call of the engine; where memory runs out, once more on an engine with a smaller batch.

        Raises:
            AgentError: the engine died or memory ran out again; with the cause.
        """
        try:
            return self.llm.generate(asked, sampling, use_tqdm=partial(Ticks, self.wave.tick))
        except Exception as error:  # the agent boundary: what an engine raises has no common type
            line = self._work_failure(error)
            if line is None:
                raise
            if not self._shrink(line):
                raise AgentError(_with_advice(line)) from error
        self._open()
        return self._generate(asked, sampling)

    def _work_failure(self, error: Exception) -> str | None:
        """What became of an engine at work, in one line; None for an error that it survives."""
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if type(error).__name__ == "EngineDeadError":
            cause = (
                self._processes.cause()
                or "a process of it was killed; was main memory short? see dmesg"
            )
            return f"{self.name} ({self.spec.path}): the engine died at work: {cause[:300]}"
        if OUT_OF_MEMORY.search(said):
            return f"{self.name} ({self.spec.path}): memory ran out at work: {said[:300]}"
        return None

    # --- scoring ----------------------------------------------------------------------------------

    def next_token_logprobs(self, requests: Sequence[Request]) -> list[Reply]:
        """One batched ``generate`` call; each request returns exactly the log-probabilities it names."""
        asked = [{"prompt_token_ids": list(request.token_ids)} for request in requests]
        outputs = self._generate(asked, [self._sampling(request.wanted) for request in requests])
        return [
            self._reply(request, output) for request, output in zip(requests, outputs, strict=True)
        ]

    def _sampling(self, wanted: Sequence[int]) -> Any:
        if self._llm_factory is not None:
            return {"max_tokens": 1, "temperature": 0.0, "logprob_token_ids": list(wanted)}
        from vllm import SamplingParams

        return SamplingParams(
            max_tokens=1, temperature=0.0, logprob_token_ids=list(wanted), detokenize=False
        )

    # --- reasoning --------------------------------------------------------------------------------

    def reason(self, tasks: Sequence[ForecastTask], samples: int) -> Iterator[Reasoning]:
        """``samples`` reasonings for each task, in order of task and sample, ``config.LOGIC_WAVE`` of them in one batched call.

        One seeded request for each sample: they share their prompt through the prefix cache, and each can be
        repeated by itself (vLLM's ``n`` would draw them from one stream).
        """
        size = max(1, config.LOGIC_WAVE // samples)
        for start in range(0, len(tasks), size):
            self.wave = Wave(self.progress, len(tasks[start : start + size]), 1)
            for written in self._reason_together(tasks[start : start + size], samples):
                yield replace(written, index=written.index + start)
            self.wave.end()

    def _reason_together(self, tasks: Sequence[ForecastTask], samples: int) -> list[Reasoning]:
        results: dict[tuple[int, int], Reasoning] = {}
        asked: list[tuple[int, int, int, Path]] = []
        for index, task in enumerate(tasks):
            try:
                ids = self.reasoning_prompt(task)
            except PromptError as error:
                results |= {
                    (index, n): Reasoning(index, n, error=str(error)) for n in range(samples)
                }
                continue
            asked += [(index, n, reasoning_seed(task, n), ids) for n in range(samples)]
        if asked:
            self.wave.begin(len(asked))
            outputs = self._generate(
                [{"prompt_token_ids": list(ids)} for *_, ids in asked],
                [self._writing(seed) for _, _, seed, _ in asked],
            )
            for (index, n, seed, _), output in zip(asked, outputs, strict=True):
                written = output.outputs[0]
                text = strip_reasoning(written.text)
                results[index, n] = Reasoning(
                    index,
                    n,
                    text,
                    len(written.token_ids),
                    written.finish_reason or "",
                    seed,
                    None if text else f"{self.name} wrote no reasoning",
                )
        return [results[key] for key in sorted(results)]

    def _writing(self, seed: int) -> Any:
        # Marks of thinking are special tokens in some vocabularies; they must be seen to be taken out.
        values: dict[str, Any] = {
            "max_tokens": config.LOGIC_MAX_TOKENS,
            "temperature": config.LOGIC_TEMPERATURE,
            "seed": seed,
            "skip_special_tokens": False,
        }
        if self._llm_factory is not None:
            return values
        from vllm import SamplingParams

        return SamplingParams(**values)

    @staticmethod
    def _reply(request: Request, output: Any) -> Reply:
        completions = output.outputs
        rows = completions[0].logprobs if completions else None
        row = rows[0] if rows else {}
        computed = len(request.token_ids) - (output.num_cached_tokens or 0)
        return Reply(
            {token: row[token].logprob for token in request.wanted if token in row}, computed
        )


def _with_advice(line: str) -> str:
    return f"{line}; {MEMORY_ADVICE}" if OUT_OF_MEMORY.search(line) else line


def _one_line(error: BaseException) -> str:
    """What the innermost cause says, on one line of at most 300 characters."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")[:300]
