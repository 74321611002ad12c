"""What all agents share: a model's life, and scoring by questions to its engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from types import TracebackType
from typing import Self

import config
from preflight.model_entries import ModelSpec
from scoring.number_trie import TokenPath
from scoring.pipeline import Pipeline
from scoring.prompt_fitting import PromptFitting
from scoring.scorer import ForecastScoring, Reply, Request
from scoring.tasks import (
    AgentError,
    ForecastOutcome,
    ForecastTask,
    Prompt,
    Reasoning,
    WrittenThought,
)
from scoring.thoughts import Completion, Told, Writing, write_thoughts
from terminal.progress import waiting

# ``probabilities`` and ``unseen`` of a ``ForecastScoring``.
Kept = tuple[dict[TokenPath, dict[int, float]], dict[TokenPath, float]]


class BaseAgent(PromptFitting, ABC):
    """One model's life: load, score, shut down. A context manager."""

    # Tokens per prefix cache block; None where the engine has no prefix cache.
    block_size: int | None = None
    # Tokens whose KV cache the engine can hold at once; None when that is no limit.
    cache_tokens: int | None = None
    # Tokens that the engine computes at a time; None when it answers all requests together.
    step_tokens: int | None = None
    # What is known of the weights of a served model; None where they are on this machine.
    served_by: str | None = None

    def __init__(self, spec: ModelSpec, *, tolerance: float | None = None) -> None:
        super().__init__(spec)
        self.tolerance = config.SCORING_TOLERANCE if tolerance is None else tolerance
        # Told how many tasks are newly done, in parts of a task too; over a ``score`` or ``reason``
        # they add up to all of them.
        self.progress: Callable[[float], object] = float
        # What was read of each prompt so far.
        self._scorings: dict[bytes, Kept] = {}
        self._submitted: dict[int, Request] = {}
        self._numbered = 0

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
        """Answer all requests in one batched engine call, in order."""

    def submit(self, request: Request) -> int:
        """Hand a request to the engine; returns its number."""
        self._numbered += 1
        self._submitted[self._numbered] = request
        return self._numbered

    def collect(self) -> list[tuple[int, Reply]]:
        """Wait until some requests are answered; returns their numbers and replies.

        Here all are answered together; an engine that works in steps answers as they end.
        """
        asked, self._submitted = self._submitted, {}
        return list(zip(asked, self.next_token_logprobs(list(asked.values())), strict=True))

    def withdraw(self) -> None:
        """Forget the requests that are not answered yet."""
        self._submitted.clear()

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

    def think(
        self, tasks: Sequence[ForecastTask], samples: Sequence[int], told: Told
    ) -> Iterator[WrittenThought]:
        """Write one thought for each task; see ``scoring/thoughts.py``."""
        return write_thoughts(self, tasks, samples, self.write, told)

    def write(
        self, asked: Sequence[Writing], told: Callable[[int, int], object]
    ) -> Iterator[Completion]:
        """Write all texts in one batch, in order.

        ``told`` hears of the place of a text in ``asked`` and how many tokens it has so far.
        """
        raise AgentError(f"{self.name}: this engine cannot write {len(asked)} thoughts")

    def score(self, tasks: Sequence[ForecastTask]) -> Iterator[ForecastOutcome]:
        """Score every task; outcomes come in order, each as soon as it is known.

        Raises:
            Exception: whatever the engine raises; outcomes already yielded remain valid.
        """
        return Pipeline(self, tasks).outcomes()

    def scoring(self, prompt: Prompt) -> ForecastScoring:
        """Return the scoring state of a prompt; asking a kept one again costs no request."""
        if prompt.trie.size > config.MAX_LOGPROB_CACHE:
            return ForecastScoring(prompt.token_ids, prompt.trie)
        # The prompts themselves would be hundreds of kilobytes each.
        key = sha256(array("I", prompt.token_ids)).digest()
        kept = self._scorings.setdefault(key, ({}, {}))
        return ForecastScoring(prompt.token_ids, prompt.trie, *kept)


AgentFactory = Callable[[ModelSpec], BaseAgent]


@contextmanager
def loaded(spec: ModelSpec, agent_factory: AgentFactory) -> Iterator[BaseAgent]:
    """Yield a loaded agent; show how long its loading takes."""
    with ExitStack() as stack:
        with waiting(f"loading {spec.name}"):
            agent = stack.enter_context(agent_factory(spec))
        yield agent
