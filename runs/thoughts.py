"""Let a model think before it forecasts; keep every thought, and log costs first."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import config
from database import Database
from preflight.model_entries import ModelSpec
from runs.forecast_records import Key
from scoring.agent import BaseAgent
from scoring.tasks import ForecastTask, Thought, WrittenThought
from storage.thoughts import ThoughtRecord
from terminal.progress import progress
from terminal.redaction import redact

logger = logging.getLogger("ensemble")


@dataclass(frozen=True)
class Wanted:
    """A thought to write: for which piece, its number, and what is asked."""

    key: Key
    sample: int
    task: ForecastTask


@dataclass(frozen=True)
class Thinking:
    """What a model thought, by piece and notes; why it could not, by piece."""

    thoughts: Mapping[Key, Sequence[Sequence[Thought]]]
    errors: Mapping[Key, str]


def think(
    database: Database,
    run_id: int,
    spec: ModelSpec,
    agent: BaseAgent,
    asked: Mapping[Key, Sequence[ForecastTask]],
    *,
    write: bool,
) -> Thinking:
    """Return a model's thoughts, writing those that the run does not have yet.

    Each set of notes gets as many thoughts as make ``THINK_SAMPLES`` in all, at least one. What is
    scored is what is stored, so that a resumed or replayed run reads the same tokens.

    Args:
        database: where thoughts are kept.
        run_id: the run.
        spec: the model.
        agent: the model, loaded.
        asked: each piece's task, with each of its notes.
        write: whether missing thoughts are written; a replay has those of its original.

    Raises:
        Exception: whatever the engine raises; thoughts already stored remain.
    """
    stored = _stored(database, run_id, spec)
    each = {
        # A replay takes as many as there are.
        key: (0 if write else len(stored.get(key, ())) // len(tasks))
        or math.ceil(config.THINK_SAMPLES / len(tasks))
        for key, tasks in asked.items()
    }
    missing = [
        Wanted(key, sample, tasks[sample // each[key]])
        for key, tasks in asked.items()
        for sample in range(len(tasks) * each[key])
        if sample not in stored.get(key, {})
    ]
    errors: dict[Key, str] = {}
    if missing and write:
        errors = _write(database, run_id, spec, agent, missing)
        stored = _stored(database, run_id, spec)
    found: dict[Key, list[list[Thought]]] = {}
    for key, tasks in asked.items():
        have, size = stored.get(key, {}), each[key]
        if have.keys() >= set(range(len(tasks) * size)):
            found[key] = [[have[n * size + i] for i in range(size)] for n in range(len(tasks))]
        else:
            errors.setdefault(key, f"{spec.name} has no thought stored for this question")
    return Thinking(found, errors)


def _stored(database: Database, run_id: int, spec: ModelSpec) -> dict[Key, dict[int, Thought]]:
    found: dict[Key, dict[int, Thought]] = {}
    for one in database.thoughts.of_run(run_id, spec.name):
        thought = Thought(one.text, one.rest, one.token_ids, one.ended)
        found.setdefault((one.question_id, one.chunk), {})[one.sample] = thought
    return found


def _write(
    database: Database, run_id: int, spec: ModelSpec, agent: BaseAgent, missing: Sequence[Wanted]
) -> dict[Key, str]:
    """Write thoughts and store each; return what went wrong, by piece."""
    longest, questions = config.THINK_MAX_TOKENS, len({one.key for one in missing})
    each, most = math.ceil(len(missing) / questions), len(missing) * longest
    logger.info(
        "%s thinks first: for each of %d questions %d thoughts of at most %d tokens, at most %d"
        " tokens for a question and %d in all",
        spec.name, questions, each, longest, each * longest, most,
    )  # fmt: skip
    errors: dict[Key, str] = {}
    pace = Pace(spec.name, len(missing))
    with progress(f"thoughts of {spec.name}", most, "token") as bar:

        def told(tokens: int, spared: int) -> None:
            bar.total -= spared
            bar.update(tokens)

        asked = [one.task for one in missing], [one.sample for one in missing]
        for written in agent.think(*asked, told):
            one = missing[written.index]
            if written.thought is None:
                errors[one.key] = redact(written.error or "no thought")
            else:
                database.thoughts.save(run_id, _record(spec, one, written, written.thought))
            pace.count(written.tokens)
    return errors


class Pace:
    """Tell after the first batch how long the other thoughts will take."""

    def __init__(self, name: str, thoughts: int) -> None:
        self.name, self.left = name, thoughts
        self.batch = min(config.LOGIC_WAVE, thoughts)
        self.tokens, self.started = 0, time.monotonic()

    def count(self, tokens: int) -> None:
        """Count a thought; the last one of the first batch gives the pace."""
        self.tokens += tokens
        self.left -= 1
        self.batch -= 1
        if self.batch == 0 and self.left and self.tokens:
            rate = self.tokens / (time.monotonic() - self.started)
            minutes = self.left * self.tokens / config.LOGIC_WAVE / rate / 60
            logger.info(
                "%s writes %.0f tokens a second: about %.1f minutes for the %d thoughts left",
                self.name, rate, minutes, self.left,
            )  # fmt: skip


def _record(
    spec: ModelSpec, one: Wanted, written: WrittenThought, thought: Thought
) -> ThoughtRecord:
    question, chunk = one.key
    return ThoughtRecord(
        question_id=question,
        chunk=chunk,
        agent=spec.name,
        sample=one.sample,
        model=redact(spec.path),
        text=thought.text,
        rest=thought.rest,
        token_ids=thought.token_ids,
        tokens=written.tokens,
        finish_reason=written.finish_reason,
        ended=thought.ended,
        cut=written.cut,
        looped=written.looped,
        empty=not thought.text.strip(),
        seed=written.seed,
        answer=written.answer,
        said=written.said,
    )
