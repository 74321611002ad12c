"""Define what agents are asked and answer: tasks, reasonings, outcomes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import config
from questions.question import Question
from scoring.number_trie import NumberTrie, TokenPath
from scoring.prompts import Passage
from scoring.scorer import ScoringResult


class PromptError(Exception):
    """A prompt cannot be built: the question alone is longer than the window."""


class AgentError(Exception):
    """A model cannot be loaded or has stopped working; one line for the user."""


@dataclass(frozen=True)
class Thought:
    """One thought of a model: its text and the tokens as they were generated.

    ``rest`` is the end of the text that is in no token of the thought alone, ``ended`` whether the
    model itself ended it.
    """

    text: str
    rest: str
    token_ids: TokenPath
    ended: bool


@dataclass(frozen=True)
class ForecastTask:
    """One forecast to make from one chunk of evidence, its passages best first.

    ``today`` is the ISO date the model is told; ``reasoning`` are notes quoted in the prompt,
    ``facts`` lines about market price and base rate, ``thought`` what the model itself thought.
    ``wording`` is the number of the request's wording.
    """

    question: Question
    today: str
    passages: tuple[Passage, ...] = ()
    chunk: int = 0
    reasoning: str | None = None
    facts: tuple[str, ...] = ()
    thought: Thought | None = None
    wording: int = 0


@dataclass(frozen=True)
class Reasoning:
    """One reasoning for ``tasks[index]``: notes ready to be quoted, or an error.

    ``tokens`` counts what was generated, thinking included.
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


@dataclass(frozen=True)
class WrittenThought:
    """One thought for ``tasks[index]`` and the model's answer after it, or an error.

    ``tokens`` counts what was generated, the mark at the end too; ``said`` is the number in the
    answer, in percent.
    """

    index: int
    thought: Thought | None = None
    tokens: int = 0
    finish_reason: str = ""
    looped: bool = False
    seed: int = 0
    answer: str = ""
    said: float | None = None
    error: str | None = None

    @property
    def cut(self) -> bool:
        """Whether the length limit ended it."""
        return self.finish_reason == "length"


def reasoning_seed(task: ForecastTask, sample: int) -> int:
    """Return the seed of one sample, whatever else is asked beside or before it."""
    return _seed(f"{config.SEED} {task.question.id} {task.chunk} {sample}")


def thought_seed(task: ForecastTask, sample: int) -> int:
    """Return the seed of one thought; another one than that of the notes."""
    return _seed(f"{config.SEED} {task.question.id} {task.chunk} thought {sample}")


def _seed(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


@dataclass(frozen=True)
class Prompt:
    """A prompt that fits, with the trie of the numbers that may follow."""

    text: str
    token_ids: TokenPath
    trie: NumberTrie
    passages_used: int


@dataclass(frozen=True)
class ForecastOutcome:
    """The result of ``tasks[index]`` or an error; ``seconds`` is its share.

    ``note`` says what was unusual and changed no number.
    """

    index: int
    prompt: Prompt | None
    result: ScoringResult | None
    error: str | None
    seconds: float = 0.0
    note: str | None = None
