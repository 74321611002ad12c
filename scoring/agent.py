"""What both agents share: from tasks to fitted, aligned prompts to scored forecasts.

A room of its own because neither agent owns it: ``agents_vllm.py`` and ``agents.py`` (the legacy
oracle) must build the very same prompts, or comparing them would prove nothing.
"""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import pairwise
from types import TracebackType
from typing import Any, Final, Self

import config
from preflight.model_entries import ModelSpec
from questions.question import Question
from scoring import prompts
from scoring.chat_templates import render, template_dates
from scoring.number_trie import NumberTokenizer, NumberTrie, Path, TokenizationError
from scoring.scorer import (
    ForecastScoring,
    Limits,
    LogprobCache,
    Reply,
    Request,
    ScoringError,
    ScoringResult,
    score_batch,
)

# Filler that may pad a prompt to a whole cache block: the first one of which every copy is one more token.
# The last is for vocabularies of bytes and characters, where a spaced one costs two.
PADDING_UNITS: Final = (" .", " -", " *", " ~", " +", " |", ".")
# Tokens kept free at the end of the window: a number of up to three tokens, its ending, and one to spare.
ANSWER_TOKENS: Final = 8


class PromptError(Exception):
    """A prompt cannot be built: the question alone is longer than the window."""


class AgentError(Exception):
    """A model cannot be loaded or has stopped working; the message is one line for the user."""


@dataclass(frozen=True)
class ForecastTask:
    """One forecast to make: a question, the passages of one chunk of evidence (best first), and the date of "today"."""

    question: Question
    today: str
    passages: tuple[prompts.EvidencePassage, ...] = ()
    chunk: int = 0
    reasoning: str | None = None


@dataclass(frozen=True)
class Reasoning:
    """One reasoning for ``tasks[index]``: the notes ready to be quoted, or the error that stands in their place.

    ``tokens`` counts what was generated, thinking included; ``cut`` says that the length limit ended it.
    """

    index: int
    sample: int
    text: str = ""
    tokens: int = 0
    finish_reason: str = ""
    seed: int = 0
    error: str | None = None

    @property
    def cut(self) -> bool:
        """Whether the length limit ended the text."""
        return self.finish_reason == "length"


def reasoning_seed(task: ForecastTask, sample: int) -> int:
    """Seed of one sample: the same whatever else is asked beside it, or before it was resumed."""
    name = f"{config.SEED} {task.question.id} {task.chunk} {sample}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


@dataclass(frozen=True)
class Prompt:
    """A prompt that fits: its text, its token ids (numbers follow), the trie behind it, and how many passages it holds."""

    text: str
    token_ids: Path
    trie: NumberTrie
    passages_used: int


@dataclass(frozen=True)
class ForecastOutcome:
    """What became of ``tasks[index]``: a result, or the error that stands in its place. ``seconds`` is its share of the batch."""

    index: int
    prompt: Prompt | None
    result: ScoringResult | None
    error: str | None
    seconds: float = 0.0


class Wave:
    """How far a batch of engine calls is.

    Args:
        tell: told how many tasks are newly done, in parts of a task too.
        tasks: tasks of the batch.
        first: share (0-1) of the work that the first call is. Each further one is taken for half of what is left.
    """

    def __init__(self, tell: Callable[[float], object], tasks: int, first: float) -> None:
        self.tell, self.left, self.share = tell, float(tasks), first
        self.each = 0.0

    def begin(self, requests: int) -> None:
        """An engine call with so many requests begins."""
        self.each = self.left * self.share / requests
        self.share = 0.5

    def tick(self) -> None:
        """One of them is answered."""
        self.left -= self.each
        self.tell(self.each)

    def end(self) -> None:
        """The batch is done, whatever was told of it."""
        self.tell(self.left)


class BaseAgent(ABC):
    """One model's life: load, score, shut down. A context manager.

    Args:
        spec: which model, and how it is prompted.
        tolerance: see ``config.SCORING_TOLERANCE``.
    """

    # Tokens per prefix cache block; None where the engine has no prefix cache.
    block_size: int | None = None
    # Tokens whose KV cache the engine can hold at once; None when that is no limit.
    cache_tokens: int | None = None

    def __init__(self, spec: ModelSpec, *, tolerance: float | None = None) -> None:
        self.spec = spec
        self.tolerance = config.SCORING_TOLERANCE if tolerance is None else tolerance
        self.tokenizer: Any = None
        # Window of the model in tokens; the engine's own value once it is loaded.
        self.max_model_len = spec.max_model_len or 0
        # Told how many tasks are newly done, in parts of a task too; over a ``score`` or ``reason`` they add up to all of them.
        self.progress: Callable[[float], object] = float
        self.wave = Wave(float, 0, 1)
        self._scorings: dict[Path, ForecastScoring] = {}

    @property
    def name(self) -> str:
        """The configured name, under which forecasts are stored."""
        return self.spec.name

    # --- life -------------------------------------------------------------------------------------

    @abstractmethod
    def load(self) -> None:
        """Load tokenizer and weights; raises ``AgentError``. What a failed load leaves behind is for ``shutdown``."""

    @abstractmethod
    def shutdown(self) -> None:
        """Free everything; may be called more than once."""

    @abstractmethod
    def next_token_logprobs(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer all requests in one batched engine call, in order; where it can, it calls ``wave.tick`` for each."""

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

    # --- tokenizer facts --------------------------------------------------------------------------

    @cached_property
    def numbers(self) -> NumberTokenizer:
        """Where and how this tokenizer writes the integers."""
        return NumberTokenizer(self.tokenizer)

    @cached_property
    def control_tokens(self) -> tuple[str, ...]:
        """Texts the tokenizer would turn into control tokens, wherever they stand."""
        special = list(getattr(self.tokenizer, "all_special_tokens", ()))
        added: dict[str, int] = getattr(self.tokenizer, "get_added_vocab", dict)()
        return tuple(dict.fromkeys((*special, *added)))

    @cached_property
    def padding_unit(self) -> str | None:
        """Filler of which each copy costs exactly one token, or None when there is none."""
        for unit in PADDING_UNITS:
            lengths = [
                len(self.tokenizer.encode("Note\n" + unit * n, add_special_tokens=False))
                for n in range(1, 34)
            ]
            if all(b - a == 1 for a, b in pairwise(lengths)):
                return unit
        return None

    def assure_agent(self) -> bool:
        """Whether the tokenizer gives each of 0-100 one token where this model writes its answer.

        Such a model is read by the root request and stop checks alone; any other digit by digit,
        which is as exact and costs a few more requests.
        """
        question = Question("Does every integer from 0 to 100 have one token?")
        return self.build_prompt(
            ForecastTask(question, today=date.today().isoformat())
        ).trie.single_token

    # --- prompts ----------------------------------------------------------------------------------

    def build_prompt(self, task: ForecastTask) -> Prompt:
        """Render a task, fitted to the evidence budget and the window by whole passages, padded to whole cache blocks.

        The lowest-ranked passages go first; the question is never cut.

        Raises:
            PromptError: the question does not fit even without evidence.
            TokenizationError: the integers have no unambiguous spelling.
        """
        used = self._passages_in_budget(task)
        limit = self.max_model_len - ANSWER_TOKENS if self.max_model_len else None
        while True:
            prompt = self._render(task, used)
            if limit is None or len(prompt.token_ids) <= limit:
                return self._aligned(task, prompt, limit)
            if used == 0:
                what = "the question with its reasoning" if task.reasoning else "the question"
                raise PromptError(
                    f"{what} needs {len(prompt.token_ids)} tokens, the window of {self.name} has {limit}"
                )
            used -= 1

    def _passages_in_budget(self, task: ForecastTask) -> int:
        """How many of the best passages fit into ``config.CONTEXT_TOKENS``."""
        spent = 0
        for number, passage in enumerate(task.passages, start=1):
            block = prompts.passage_block(number, passage, self.control_tokens)
            spent += len(self.tokenizer.encode(block, add_special_tokens=False)) + 2
            if spent > config.CONTEXT_TOKENS:
                return number - 1
        return len(task.passages)

    def _template_kwargs(self, task: ForecastTask) -> dict[str, Any]:
        """What the chat template is given: the task's date in every form it may ask for, and the model's own settings."""
        return {**template_dates(task.today), **self.spec.chat_template_kwargs}

    def _render(self, task: ForecastTask, used: int, padding: str = "") -> Prompt:
        messages = prompts.forecast_messages(
            task.question,
            task.passages[:used],
            today=task.today,
            reasoning=task.reasoning,
            padding=padding,
            control_tokens=self.control_tokens,
        )
        rendered = render(
            self.tokenizer,
            messages,
            answer_prefix=self.spec.answer_prefix,
            chat_template_kwargs=self._template_kwargs(task),
        )
        token_ids, trie = self.numbers.place(
            rendered.text, rendered.lead, add_special_tokens=rendered.add_special_tokens
        )
        return Prompt(rendered.text, token_ids, trie, used)

    def _aligned(self, task: ForecastTask, prompt: Prompt, limit: int | None) -> Prompt:
        """Pad the prompt until its last cache block is full, so that a scoring request runs one to three tokens.

        Without it each request would run the started block again, up to ``block_size`` tokens. The
        filler is a line of dots before the question; where it cannot be made to fit exactly the prompt stays as it was.
        """
        if (
            self.block_size is None
            or self.padding_unit is None
            or len(prompt.token_ids) % self.block_size == 0
        ):
            return prompt
        copies = 1
        for _ in range(4):
            padded = self._render(
                task, prompt.passages_used, padding=(self.padding_unit * copies).strip()
            )
            missing = -len(padded.token_ids) % self.block_size
            if missing == 0:
                return padded if limit is None or len(padded.token_ids) <= limit else prompt
            copies += missing
        return prompt

    # --- reasoning --------------------------------------------------------------------------------

    def reason(self, tasks: Sequence[ForecastTask], samples: int) -> Iterator[Reasoning]:
        """``samples`` reasonings for each task, wave by wave; only engines that write text have it."""
        raise AgentError(
            f"{self.name}: this engine cannot write reasoning for {len(tasks) * samples} prompts"
        )

    def reasoning_prompt(self, task: ForecastTask) -> Path:
        """Token ids of the prompt that asks for reasoning, fitted by whole passages so that the whole answer has room.

        Raises:
            PromptError: the question and ``config.LOGIC_MAX_TOKENS`` do not fit even without evidence.
        """
        for used in range(self._passages_in_budget(task), -1, -1):
            messages = prompts.reasoning_messages(
                task.question,
                task.passages[:used],
                today=task.today,
                control_tokens=self.control_tokens,
            )
            rendered = render(
                self.tokenizer,
                messages,
                chat_template_kwargs=self._template_kwargs(task),
                free=True,
            )
            ids = tuple(
                self.numbers.encode(rendered.text, add_special_tokens=rendered.add_special_tokens)
            )
            if not self.max_model_len or len(ids) + config.LOGIC_MAX_TOKENS <= self.max_model_len:
                return ids
        raise PromptError(
            f"the question needs {len(ids)} tokens and LOGIC_MAX_TOKENS is {config.LOGIC_MAX_TOKENS},"
            f" the window of {self.name} has {self.max_model_len}"
        )

    # --- scoring ----------------------------------------------------------------------------------

    def score(self, tasks: Sequence[ForecastTask]) -> Iterator[ForecastOutcome]:
        """Score every task; outcomes come wave by wave, in order within a wave.

        A wave is at most ``config.SCORING_WAVE`` prompts, and as many as the engine's KV cache holds: within it,
        three engine calls score everything, and no prompt is computed twice.

        Raises:
            Exception: whatever the engine raises; outcomes already yielded stand.
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
        """One engine call of a wave, shown as it goes on."""
        self.wave.begin(len(requests))
        return self.next_token_logprobs(requests)

    def _root_share(self, wave: Sequence[tuple[int, Prompt]]) -> float:
        """The part of a wave's work that its first call is: its prompts against the tokens each may cost beyond."""
        tokens = sum(len(prompt.token_ids) for _, prompt in wave)
        beyond = len(wave) * config.SCORING_BLOCK_BUDGET * (self.block_size or 1)
        return tokens / (tokens + beyond)

    def _scoring(self, prompt: Prompt) -> ForecastScoring:
        """The scoring state of a prompt; asking the same prompt again costs no request."""
        if prompt.token_ids not in self._scorings:
            # Some tokenizers need more nodes than the setting's least: none may be evicted unread.
            capacity = max(len(prompt.trie.children), config.MAX_LOGPROB_CACHE)
            self._scorings[prompt.token_ids] = ForecastScoring(
                prompt.token_ids, prompt.trie, self.numbers, LogprobCache(capacity)
            )
        return self._scorings[prompt.token_ids]

    def _waves(self, built: Sequence[tuple[int, Prompt]]) -> Iterator[list[tuple[int, Prompt]]]:
        """Split prompts into waves of ``config.SCORING_WAVE`` whose tokens fit into the KV cache together."""
        # A tenth is left for the continuations and for blocks that are in use at the edges.
        room = None if self.cache_tokens is None else int(self.cache_tokens * 0.9)
        wave: list[tuple[int, Prompt]] = []
        filled = 0
        for index, prompt in built:
            full = room is not None and filled + len(prompt.token_ids) > room
            if wave and (full or len(wave) >= config.SCORING_WAVE):
                yield wave
                wave, filled = [], 0
            wave.append((index, prompt))
            filled += len(prompt.token_ids)
        if wave:
            yield wave
