"""What both agents share: from tasks to prompts to scored forecasts, wave by wave."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import config
from preflight.model_entries import ModelSpec
from scoring.number_trie import TokenizationError, TokenPath
from scoring.prompt_fitting import PromptFitting
from scoring.scorer import (
    ForecastScoring,
    Limits,
    Reply,
    Request,
    ScoringError,
    score_batch,
)
from scoring.tasks import (
    AgentError,
    ForecastOutcome,
    ForecastTask,
    Prompt,
    PromptError,
    Reasoning,
    Wave,
)


class BaseAgent(PromptFitting, ABC):
    """One model's life: load, score, shut down. A context manager."""

    # Tokens per prefix cache block; None where the engine has no prefix cache.
    block_size: int | None = None
    # Tokens whose KV cache the engine can hold at once; None when that is no limit.
    cache_tokens: int | None = None

    def __init__(self, spec: ModelSpec, *, tolerance: float | None = None) -> None:
        super().__init__(spec)
        self.tolerance = config.SCORING_TOLERANCE if tolerance is None else tolerance
        # Told how many tasks are newly done, in parts of a task too; over a ``score`` or ``reason``
        # they add up to all of them.
        self.progress: Callable[[float], object] = float
        self.wave = Wave(float, 0, 1)
        self._scorings: dict[TokenPath, ForecastScoring] = {}

    @abstractmethod
    def load(self) -> None:
        """Load tokenizer and weights; ``shutdown`` clears up after a failed load.

        Raises:
            AgentError: with what to do.
        """

    @abstractmethod
    def shutdown(self) -> None:
        """Free everything; may be called more than once."""

    @abstractmethod
    def next_token_logprobs(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer all requests in one batched engine call, in order.

        Where it can, it calls ``wave.tick`` for each.
        """

    def __enter__(self) -> Self:
        # ``with`` calls no __exit__ for a load that failed half-way, and its engine would stay.
        with ExitStack() as undo:
            undo.callback(self.shutdown)
            self.load()
            undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown()

    def reason(self, tasks: Sequence[ForecastTask], samples: int) -> Iterator[Reasoning]:
        """Write ``samples`` reasonings for each task; only some engines can."""
        raise AgentError(
            f"{self.name}: this engine cannot write reasoning for {len(tasks) * samples} prompts"
        )

    def score(self, tasks: Sequence[ForecastTask]) -> Iterator[ForecastOutcome]:
        """Score every task; outcomes come wave by wave, in order within a wave.

        A wave is at most ``config.SCORING_WAVE`` prompts, and as many as the engine's KV cache
        holds: within it, three engine calls score everything, and no prompt is computed twice.

        Raises:
            Exception: whatever the engine raises; outcomes already yielded remain valid.
        """
        built: list[tuple[int, Prompt]] = []
        for index, task in enumerate(tasks):
            try:
                built.append((index, self.build_prompt(task)))
            except (PromptError, TokenizationError) as error:
                self.progress(1)
                yield ForecastOutcome(index, None, None, str(error))
        for wave in self._waves(built):
            started = time.monotonic()
            self.wave = Wave(self.progress, len(wave), self._root_share(wave))
            results = score_batch(
                [self._scoring(prompt) for _, prompt in wave],
                self._answered,
                Limits(self.tolerance, self.block_size, config.SCORING_BLOCK_BUDGET),
            )
            self.wave.end()
            seconds = (time.monotonic() - started) / len(wave)
            for (index, prompt), result in zip(wave, results, strict=True):
                if isinstance(result, ScoringError):
                    yield ForecastOutcome(index, prompt, None, str(result), seconds)
                else:
                    yield ForecastOutcome(index, prompt, result, None, seconds)

    def _answered(self, requests: Sequence[Request]) -> list[Reply]:
        """Call the engine for a wave and report it."""
        self.wave.begin(len(requests))
        return self.next_token_logprobs(requests)

    def _root_share(self, wave: Sequence[tuple[int, Prompt]]) -> float:
        """Return the first call's share of the work: prompts, of all tokens."""
        tokens = sum(len(prompt.token_ids) for _, prompt in wave)
        beyond = len(wave) * config.SCORING_BLOCK_BUDGET * (self.block_size or 1)
        return tokens / (tokens + beyond)

    def _scoring(self, prompt: Prompt) -> ForecastScoring:
        """Return the scoring state of a prompt; asking a kept one again costs no request."""
        known = self._scorings.get(prompt.token_ids)
        if known is None:
            known = ForecastScoring(prompt.token_ids, prompt.trie, self.numbers)
            if len(prompt.trie.children) <= config.MAX_LOGPROB_CACHE:
                self._scorings[prompt.token_ids] = known
        return known

    def _waves(self, built: Sequence[tuple[int, Prompt]]) -> Iterator[list[tuple[int, Prompt]]]:
        """Split prompts into waves whose tokens fit into the KV cache together."""
        # A tenth is left for the continuations and for blocks that are in use at the edges.
        capacity = None if self.cache_tokens is None else int(self.cache_tokens * 0.9)
        wave: list[tuple[int, Prompt]] = []
        filled = 0
        for index, prompt in built:
            full = capacity is not None and filled + len(prompt.token_ids) > capacity
            if wave and (full or len(wave) >= config.SCORING_WAVE):
                yield wave
                wave, filled = [], 0
            wave.append((index, prompt))
            filled += len(prompt.token_ids)
        if wave:
            yield wave
