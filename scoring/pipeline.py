"""Score many prompts; the engine works on some while others are built and read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Protocol

import config
from scoring.number_trie import TokenizationError, TokenPath
from scoring.scorer import ForecastScoring, Reply, Request, ScoringError
from scoring.tasks import ForecastOutcome, ForecastTask, Prompt, PromptError

# Steps of the engine that wait in its queue as unread prompts: it never idles while a reply is read
# here, and what is cached of a prompt is still there when its follow-up requests come.
QUEUED_STEPS: Final = 2
# The rest of the KV cache is for continuations and for blocks that are in use at the edges.
CACHE_SHARE: Final = 0.9
# How much of a forecast is done once its prompt is read, for the progress bar.
PROMPT_SHARE: Final = 0.9


@dataclass
class Flight:
    """A forecast on its way: its requests in the engine, the rounds it has begun."""

    index: int
    prompt: Prompt
    scoring: ForecastScoring
    rounds: int = 0
    unanswered: int = 0
    reported: float = 0.0
    error: ScoringError | None = None

    @property
    def tokens(self) -> int:
        """Tokens of the prompt, which the KV cache has to hold."""
        return len(self.prompt.token_ids)


class Engine(Protocol):
    """What forecasts need of an agent; ``scoring/agent.py`` says what each part is."""

    tolerance: float
    cache_tokens: int | None
    step_tokens: int | None
    progress: Callable[[float], object]

    def build_prompt(self, task: ForecastTask) -> Prompt:
        """Render a task so that it fits."""
        ...

    def scoring(self, prompt: Prompt) -> ForecastScoring:
        """Return the scoring state of a prompt."""
        ...

    def submit(self, request: Request) -> int:
        """Hand a request to the engine; returns its number."""
        ...

    def collect(self) -> Iterable[tuple[int, Reply]]:
        """Wait for replies, each with the number of its request."""
        ...

    def withdraw(self) -> None:
        """Forget the requests that are not answered yet."""
        ...


class Pipeline:
    """Forecasts in flight on one engine.

    New prompts join as long as ``config.SCORING_WAVE``, the KV cache and the engine's queue allow.
    Each forecast asks its next round as soon as its last is answered, whatever the others do.
    """

    def __init__(self, agent: Engine, tasks: Iterable[ForecastTask]) -> None:
        self.agent = agent
        self._tasks = enumerate(tasks)
        # Built ahead, so that it can join at once.
        self._upcoming: Flight | None = None
        self._flying: dict[int, Flight] = {}
        # By the engine's number of a request.
        self._asked: dict[int, tuple[Flight, TokenPath]] = {}
        # Complete, in any order, and the index that is to be yielded next.
        self._done: dict[int, ForecastOutcome] = {}
        self._next = 0
        self._last = time.monotonic()

    def outcomes(self) -> Iterator[ForecastOutcome]:
        """Yield each task's outcome in order, as soon as it is known.

        Raises:
            Exception: whatever the engine raises; outcomes already yielded remain valid.
        """
        try:
            while True:
                self._begin()
                while self._next in self._done:
                    self._next += 1
                    yield self._done.pop(self._next - 1)
                if self._asked:
                    self._read(self.agent.collect())
                elif self._upcoming is None:
                    return
        finally:
            self.agent.withdraw()

    def _begin(self) -> None:
        """Let prompts join while there is space for them."""
        while True:
            self._upcoming = self._upcoming or self._build()
            if self._upcoming is None or not self._admits(self._upcoming):
                return
            flight, self._upcoming = self._upcoming, None
            self._flying[flight.index] = flight
            self._advance(flight)

    def _build(self) -> Flight | None:
        """Build the next prompt that fits; None after the last task."""
        for index, task in self._tasks:
            try:
                prompt = self.agent.build_prompt(task)
            except (PromptError, TokenizationError) as error:
                self._finish(ForecastOutcome(index, None, None, str(error)))
                self.agent.progress(1)
            else:
                return Flight(index, prompt, self.agent.scoring(prompt))
        return None

    def _admits(self, flight: Flight) -> bool:
        """Tell whether one more prompt may join."""
        if flight.index - self._next >= config.SCORING_WAVE:
            return False
        if not self._flying:
            return True
        cache, step = self.agent.cache_tokens, self.agent.step_tokens
        flying = sum(other.tokens for other in self._flying.values())
        if cache is not None and flying + flight.tokens > CACHE_SHARE * cache:
            return False
        queued = sum(other.tokens for other in self._flying.values() if other.rounds == 1)
        return step is None or queued < QUEUED_STEPS * step

    def _advance(self, flight: Flight) -> None:
        """Ask a forecast's next round, or finish it."""
        flight.rounds += 1
        if flight.error is None:
            for node, request in flight.scoring.next_requests(self.agent.tolerance):
                self._asked[self.agent.submit(request)] = flight, node
                flight.unanswered += 1
        if not flight.unanswered:
            del self._flying[flight.index]
            self._finish(self._outcome(flight))
        done = PROMPT_SHARE * (flight.rounds > 1) if flight.unanswered else 1
        if done > flight.reported:
            self.agent.progress(done - flight.reported)
            flight.reported = done

    def _read(self, replies: Iterable[tuple[int, Reply]]) -> None:
        """Record replies; a forecast whose round is complete goes on."""
        for number, reply in replies:
            flight, node = self._asked.pop(number)
            flight.unanswered -= 1
            try:
                flight.scoring.record(node, reply)
            except ScoringError as error:
                flight.error = error
            if not flight.unanswered:
                self._advance(flight)

    def _outcome(self, flight: Flight) -> ForecastOutcome:
        try:
            if flight.error is not None:
                raise flight.error
            return ForecastOutcome(flight.index, flight.prompt, flight.scoring.result(), None)
        except ScoringError as error:
            return ForecastOutcome(flight.index, flight.prompt, None, str(error))

    def _finish(self, outcome: ForecastOutcome) -> None:
        """Keep an outcome until its turn; its time is what has passed since the last one."""
        now = time.monotonic()
        seconds = now - self._last if outcome.prompt is not None else 0.0
        self._last = now
        self._done[outcome.index] = replace(outcome, seconds=seconds)
