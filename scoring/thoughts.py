"""Let a model write thoughts in its own format, one seeded request for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import config
from scoring.number_trie import TokenizationError, TokenPath
from scoring.prompt_fitting import PromptFitting
from scoring.tasks import ForecastTask, PromptError, Thought, WrittenThought, thought_seed
from scoring.thinking import ThoughtFormat, loops, number_said

# Tokens in which an answer says its number.
ANSWER_TOKENS: Final = 16


@dataclass(frozen=True)
class Writing:
    """A text to be written behind a prompt; ``sampling`` are arguments of vLLM's."""

    token_ids: TokenPath
    sampling: Mapping[str, Any]


@dataclass(frozen=True)
class Completion:
    """What was written, and why it ended there."""

    token_ids: TokenPath
    finish_reason: str


# Writes texts in one batch, in order; tells the place of a text and its tokens so far.
Writer = Callable[[Sequence[Writing], Callable[[int, int], object]], Iterable[Completion]]
# Hears how many tokens are newly written, and how many will not be, for a thought has ended.
Told = Callable[[int, int], object]


def write_thoughts(
    agent: PromptFitting,
    tasks: Sequence[ForecastTask],
    samples: Sequence[int],
    write: Writer,
    told: Told,
) -> Iterator[WrittenThought]:
    """Write one thought for each task, then what the model answers after it.

    Args:
        agent: the model's prompts.
        tasks: what is asked; a task is repeated for each of its samples.
        samples: the number of each task's thought, which seeds it.
        write: the engine's.
        told: hears of the tokens of all thoughts together.

    Raises:
        AgentError: the model cannot think.
    """
    form = agent.required_thoughts
    for start in range(0, len(tasks), config.LOGIC_WAVE):
        end = start + config.LOGIC_WAVE
        batch = list(zip(range(start, end), tasks[start:end], samples[start:end], strict=False))
        yield from _write_batch(agent, form, batch, write, told)


def _write_batch(
    agent: PromptFitting,
    form: ThoughtFormat,
    batch: Sequence[tuple[int, ForecastTask, int]],
    write: Writer,
    told: Told,
) -> Iterator[WrittenThought]:
    found: dict[int, WrittenThought] = {}
    asked: list[tuple[int, Writing]] = []
    stop = _stopping(agent.tokenizer, form.end)
    for index, task, sample in batch:
        try:
            ids = agent.thought_prompt(task).token_ids
        except (PromptError, TokenizationError) as error:
            found[index] = WrittenThought(index, error=str(error))
            told(0, config.THINK_MAX_TOKENS)
            continue
        seed = thought_seed(task, sample)
        asked.append((index, Writing(ids, _sampling(seed) | stop)))
    counts = [0] * len(asked)

    def count(place: int, tokens: int) -> None:
        told(tokens - counts[place], 0)
        counts[place] = tokens

    completions = write([writing for _, writing in asked], count)
    for (index, writing), one in zip(asked, completions, strict=True):
        told(0, config.THINK_MAX_TOKENS - len(one.token_ids))
        thought = split_thought(agent.tokenizer, one.token_ids, form.end)
        found[index] = WrittenThought(
            index,
            thought,
            tokens=len(one.token_ids),
            finish_reason=one.finish_reason,
            looped=loops(thought.token_ids),
            seed=writing.sampling["seed"],
        )
    yield from _with_answers(agent, [(task, found[i]) for i, task, _ in batch], write)


def _with_answers(
    agent: PromptFitting, thought: Sequence[tuple[ForecastTask, WrittenThought]], write: Writer
) -> Iterator[WrittenThought]:
    """Add the answer that the model writes after each thought, for comparison."""
    asked: dict[int, Writing] = {}
    for task, one in thought:
        if one.thought is None:
            continue
        try:
            prompt = agent.build_prompt(replace(task, thought=one.thought))
        except (PromptError, TokenizationError):
            continue  # scoring meets the error again and reports it
        sampling = {"max_tokens": ANSWER_TOKENS, "temperature": 0.0}
        asked[one.index] = Writing(prompt.token_ids, sampling)
    completions = write(list(asked.values()), lambda *_: None)
    texts = {
        index: agent.tokenizer.decode(list(one.token_ids), skip_special_tokens=True)
        for index, one in zip(asked, completions, strict=True)
    }
    for _, one in thought:
        answer = texts.get(one.index, "")
        yield replace(one, answer=answer, said=number_said(answer))


def _sampling(seed: int) -> dict[str, Any]:
    return {
        "max_tokens": config.THINK_MAX_TOKENS,
        "min_tokens": config.THINK_MIN_TOKENS,
        "temperature": config.THINK_TEMPERATURE,
        "top_p": config.THINK_TOP_P,
        "seed": seed,
        # Marks of thinking are special tokens in some vocabularies, and must be seen.
        "skip_special_tokens": False,
    }


def _stopping(tokenizer: Any, end: str) -> dict[str, Any]:
    """Return what ends a thought: a token where the mark is one, else its text."""
    ids = tokenizer.encode(end, add_special_tokens=False)
    return {"stop_token_ids": [ids[0]]} if len(ids) == 1 else {"stop": [end]}


def split_thought(tokenizer: Any, token_ids: Sequence[int], end: str) -> Thought:
    """Cut what was written at the mark that ends a thought.

    The tokens before the mark are kept as they were generated. Text of a token that also holds the
    mark's beginning is the thought's ``rest``, written again with the mark.
    """

    def text_of(count: int) -> str:
        return str(tokenizer.decode(list(token_ids[:count]), skip_special_tokens=False))

    count = len(token_ids)
    text = text_of(count)
    at = text.find(end)
    if at < 0 and count and token_ids[-1] in getattr(tokenizer, "all_special_ids", ()):
        # A turn ended without the mark: its own mark is no part of the thought.
        count -= 1
        text = text_of(count)
    ended = at >= 0
    if not ended:
        # A limit may come inside of a mark of several tokens.
        begun = (n for n in range(len(end) - 1, 1, -1) if text.endswith(end[:n]))
        at = len(text) - next(begun, 0)
    text = text[:at]
    while count and not text.startswith(text_of(count)):
        count -= 1
    rest = text[len(text_of(count)) :]
    return Thought(text, rest, tuple(token_ids[:count]), ended)
