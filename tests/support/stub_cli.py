"""Run the command line of forecaster.py on a stand-in engine.

    python -m tests.support.stub_cli ARGUMENTS

Everything but the engine is the program's own: prompts are built, scored through the number trie,
stored, pooled and drawn. No model and no network are needed, and a run starts in about a second. It
writes to stub.db and stub-plots unless --database and --plots say otherwise; analysis.py reads the
database as any other. Three models are configured, stub-a (one token an integer), stub-b and stub-c
(digit by digit), and are used unless --models names others. Retrieval is as configured, but no wiki
is asked and passages are ranked by words.

A forecast follows from config.SEED, the model, the question's text, the evidence, the reasoning and
the day alone: models agree more or less on a question, forecasts move by some points from week to
week. Environment:

    STUB_FAIL=stub-b,...           these models do not load
    STUB_WEAK=stub-c,...           these hardly ever answer with a number (captured mass 0.02)
    STUB_TODAY=2026-09-01          the day the run takes for today, in prompts and stored times
    STUB_WIKIPEDIA_API_URL=URL     ask this wiki

``stub_main`` is the same for tests.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from statistics import NormalDist
from typing import Any, Final
from unittest.mock import patch

import numpy as np
from jinja2.sandbox import ImmutableSandboxedEnvironment

import config
import forecaster
from evidence import freshness
from preflight.model_entries import ModelSpec
from questions.checks import KIND_KEY, PARENT_KEY
from runs import command_line, plan
from scoring import tasks as agent_tasks
from scoring.agent import BaseAgent
from scoring.distribution import Distribution
from scoring.number_trie import NumberTrie, TokenPath
from scoring.prompts import NEGATED
from scoring.scorer import Reply, Request
from scoring.tasks import AgentError, ForecastOutcome, ForecastTask, Prompt, Reasoning
from scoring.thoughts import Completion, Writing
from storage import connection

MODELS: Final = ("stub-a", "stub-b", "stub-c")
# Days between two draws of the noise that moves a question's log-odds, and its standard deviation.
MOVES: Final = ((7, 0.15), (28, 0.3), (182, 0.6))
# Log-probability of a token that no answer needs.
UNLIKELY: Final = -14.0
# A chat template that opens a thought with the generation prompt.
THINKING_TEMPLATE: Final = (
    "{% for m in messages %}[{{ m.role }}]\n{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n<think>\n{% endif %}"
)
THOUGHT: Final = "Let me weigh the signals; about {0} of them speak for it.\n"
REASONING: Final = (
    "Base rate: events of this class were {0} over spans as long as this one.\n"
    "Status quo: nothing changes by itself, and the time that is left is {1}.\n"
    "For yes: the signals are {2}.\n"
    "For no: the obstacles are {3}.\n"
    "What would change the answer: an announcement by those who decide."
)


# --- what the stand-in believes -------------------------------------------------------------------


def draw(deviation: float, *name: object) -> float:
    """Draw a normal number that follows from its name and ``config.SEED``."""
    digest = hashlib.sha256(repr((config.SEED, *name)).encode()).digest()
    return NormalDist().inv_cdf((int.from_bytes(digest[:6], "big") + 0.5) / 2**48) * deviation


def log_odds(text: str, day: str) -> float:
    """What all models share on an ISO date: a level, and noise that moves slowly."""
    days = date.fromisoformat(day).toordinal()
    moved = 0.0
    for length, deviation in MOVES:
        step, part = divmod(days, length)
        ends = (draw(deviation, text, length, step), draw(deviation, text, length, step + 1))
        moved += ends[0] + (ends[1] - ends[0]) * part / length
    return draw(1.4, text) - 0.5 + moved


def believed(agent: str, task: ForecastTask, used: int, parent: str | None) -> Distribution:
    """The distribution of a model for a task of which ``used`` passages are read.

    ``parent`` is the text of the question that this one rewords or negates: its probability is taken,
    or mirrored.
    """
    text = parent or task.question.text
    centre = log_odds(text, task.today) + draw(0.2, agent) + draw(0.4, agent, text)
    passages = task.passages[:used]
    found = [draw(0.3, "evidence", text, p.title, p.timestamp, p.text) for p in passages]
    centre += sum(found) / math.sqrt(len(found) or 1)
    if task.reasoning:
        centre += draw(0.25, "reasoning", text, task.reasoning)
    if task.thought:
        centre += draw(0.4, "thought", text, task.thought.text)
    if (task.question.extra.get(KIND_KEY) == "negation") != (task.wording == NEGATED):
        centre = -centre
    centre += draw(0.2, "wording", text, task.wording) if task.wording else 0.0
    centre += draw(0.1, agent, task.question.text, task.today)
    width = math.exp(draw(0.25, "width", agent, text)) * (0.45 if passages else 0.6)
    grid = (np.arange(101) + 0.5) / 101
    bell = np.exp(-(((np.log(grid / (1 - grid)) - centre) / width) ** 2) / 2) / (grid * (1 - grid))
    # Models prefer round numbers.
    bell[::5] *= 3
    bell[::10] *= 1.5
    return Distribution.from_weights(bell + 1e-9)


def captured(agent: str, text: str) -> float:
    """The probability (0-1) that the answer is an integer from 0 to 100 at all."""
    if agent in named("STUB_WEAK"):
        return 0.02 * math.exp(draw(0.3, "captured", agent, text))
    return 1 - 0.03 * math.exp(draw(0.6, "captured", agent, text))


def named(variable: str) -> set[str]:
    """The names in a variable of the environment, separated by commas."""
    return {name.strip() for name in os.environ.get(variable, "").split(",")} - {""}


# --- the engine -----------------------------------------------------------------------------------


class PieceTokenizer:
    """One token for each word, mark, space and digit; a chat template only where one is given.

    With ``whole`` an integer up to 100 is one token too.
    """

    all_special_ids = ()
    all_special_tokens = ()

    def __init__(self, *, whole: bool, template: str | None = None) -> None:
        self.chat_template = template
        integers = r"100(?!\d)|[1-9]\d(?!\d)|" if whole else ""
        self.pieces = re.compile(rf"{integers}[0-9]| ?[^\W\d_]+|.", re.DOTALL)
        self.texts = [str(n) for n in range(101 if whole else 10)]
        self.ids = {text: number for number, text in enumerate(self.texts)}

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Token ids; a piece not seen before gets the next one."""
        found = []
        for piece in self.pieces.findall(text):
            if piece not in self.ids:
                self.ids[piece] = len(self.texts)
                self.texts.append(piece)
            found.append(self.ids[piece])
        return found

    def apply_chat_template(
        self, messages: Any, *, tokenize: bool, add_generation_prompt: bool = False, **kwargs: Any
    ) -> str:
        """Messages as the chat template writes them."""
        return (
            ImmutableSandboxedEnvironment()
            .from_string(self.chat_template or "")
            .render(messages=messages, add_generation_prompt=add_generation_prompt, **kwargs)
        )

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """Text of token ids."""
        return "".join(self.texts[number] for number in token_ids)

    def get_vocab(self) -> dict[Any, int]:
        """Every piece seen so far; the digits are there from the start."""
        return dict(self.ids)


@dataclass
class Answer:
    """The probability (0-1) of every node of the trie behind a prompt."""

    trie: NumberTrie
    masses: dict[TokenPath, float]

    @classmethod
    def of(cls, trie: NumberTrie, distribution: Distribution, mass: float) -> Answer:
        """Spread ``mass`` over the numbers' paths; the root has 1."""
        masses: dict[TokenPath, float] = {}
        for path, probability in zip(trie.paths, distribution.probabilities, strict=True):
            for depth in range(1, len(path) + 1):
                masses[path[:depth]] = masses.get(path[:depth], 0.0) + float(probability) * mass
        return cls(trie, {**masses, (): 1.0})

    def logprobs(self, node: TokenPath, wanted: Sequence[int]) -> dict[int, float]:
        """Natural log-probabilities of the tokens that may follow ``node``."""
        onward = {
            token: self.masses.get((*node, token), 0.0) / self.masses[node] for token in wanted
        }
        return {token: math.log(share) if share else UNLIKELY for token, share in onward.items()}


class StubAgent(BaseAgent):
    """A model with made-up numbers, read through real prompts and real scoring."""

    block_size = 16

    def load(self) -> None:
        """Make the tokenizer; raises ``AgentError`` for a model named in STUB_FAIL."""
        if self.name in named("STUB_FAIL"):
            raise AgentError(f"{self.name} did not load: STUB_FAIL names it")
        template = THINKING_TEMPLATE if self.spec.think is True else None
        self.tokenizer = PieceTokenizer(whole=self.name == MODELS[0], template=template)
        self.max_model_len = self.spec.max_model_len or 16384
        self.answers: dict[TokenPath, Answer] = {}
        self.means: dict[TokenPath, float] = {}
        self.texts: dict[str, str] = {}

    def shutdown(self) -> None:
        """Nothing is held."""

    def score(self, tasks: Sequence[ForecastTask]) -> Iterator[ForecastOutcome]:
        """As every agent; the parents of negations and paraphrases are noted first."""
        self.texts = {task.question.id: task.question.text for task in tasks}
        return super().score(tasks)

    def build_prompt(self, task: ForecastTask) -> Prompt:
        """The program's own prompt; what the engine will answer to it is noted."""
        prompt = super().build_prompt(task)
        parent = self.texts.get(str(task.question.extra.get(PARENT_KEY)))
        distribution = believed(self.name, task, prompt.passages_used, parent)
        mass = captured(self.name, task.question.text)
        self.means[prompt.token_ids] = distribution.mean
        self.answers[prompt.token_ids] = Answer.of(prompt.trie, distribution, mass)
        return prompt

    def next_token_logprobs(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer each request from the prompt it begins with."""
        replies = []
        for request in requests:
            ids = request.token_ids
            depth = next(n for n in range(4) if ids[: len(ids) - n] in self.answers)
            node = ids[len(ids) - depth :]
            logprobs = self.answers[ids[: len(ids) - depth]].logprobs(node, request.wanted)
            replies.append(Reply(logprobs, depth or len(ids)))
        return replies

    def write(
        self, asked: Sequence[Writing], told: Callable[[int, int], object]
    ) -> Iterator[Completion]:
        """A thought by its seed, every fifth of them cut; behind a thought the number's mean."""
        for place, one in enumerate(asked):
            if "seed" in one.sampling:
                seed, most = one.sampling["seed"], one.sampling["max_tokens"]
                text = THOUGHT.format(seed % 97) if seed % 7 else "\n"
                ids = self.tokenizer.encode(text if seed % 5 else text * 99)
                cut = len(ids) >= most
                ids = ids[:most] if cut else ids + self.tokenizer.encode("</think>")
                told(place, len(ids))
                yield Completion(tuple(ids), "length" if cut else "stop")
            else:
                text = f"{self.means[one.token_ids]:.0f} %"
                yield Completion(tuple(self.tokenizer.encode(text)), "stop")

    def reason(self, tasks: Sequence[ForecastTask], samples: int) -> Iterator[Reasoning]:
        """Notes in the five parts that are asked for, different for each sample."""
        words = ("rare", "uncommon", "mixed", "common", "frequent")
        for index, task in enumerate(tasks):
            for sample in range(samples):
                seed = agent_tasks.reasoning_seed(task, sample)
                text = REASONING.format(*(words[seed // 5**n % 5] for n in range(4)))
                yield Reasoning(index, sample, text, len(text) // 5, "stop", seed)
            self.progress(1)


# --- the command line -----------------------------------------------------------------------------


def stub_main(argv: Sequence[str], *, today: str | None = None, **settings: Any) -> int:
    """Run ``forecaster.main`` on the stand-in and return its exit code.

    Args:
        argv: arguments without the program's name.
        today: ISO date of the run; STUB_TODAY, else the clock's when left out.
        settings: values of config.py for this run, beside the stand-in's own.
    """
    models: dict[str, Any] = {name: f"owner/{name}" for name in MODELS}
    if any(_option(word) in ("--models", "--resume", "--replay") for word in argv):
        models |= config.FORECAST_MODEL_PATHS_VLLM
    stand_in: dict[str, Any] = {
        "FORECAST_MODEL_PATHS_VLLM": models,
        "DEFAULT_MODEL_VLLM": MODELS[0],
        "DEFAULT_LOGIC_MODEL_PATH": MODELS[0],
        "WIKIPEDIA_API_URL": os.environ.get("STUB_WIKIPEDIA_API_URL", ""),
        "RANKING": "bm25",
        "CROSS_ENCODER_MODEL_PATH": "",
    }
    today = today or os.environ.get("STUB_TODAY")
    with ExitStack() as changed:
        for name, value in {**stand_in, **settings}.items():
            changed.enter_context(patch.object(config, name, value))
        if today:
            date.fromisoformat(today)
            changed.enter_context(patch.object(plan, "current_day", lambda: today))
            for module in (connection, freshness):
                changed.enter_context(patch.object(module, "utc_now", lambda: f"{today}T12:00:00Z"))
        # In front: what the user names comes later and counts.
        places = ["--database", "stub.db", "--plots", "stub-plots"]
        return forecaster.main([*places, *argv], agent_factory=make_agent)


def make_agent(spec: ModelSpec) -> StubAgent:
    """An agent factory."""
    return StubAgent(spec)


def _option(word: str) -> str:
    """The long option that a word of the command line means, abbreviated or not, or ""."""
    name = word.partition("=")[0]
    known = command_line.parser()._option_string_actions
    long = [option for option in known if option.startswith(name)]
    return long[0] if len(name) > 2 and name.startswith("--") and len(long) == 1 else name


if __name__ == "__main__":
    sys.exit(stub_main(sys.argv[1:]))
