"""``python tests/kill_driver.py ARGUMENTS``: forecaster.py with agents and a retriever that need no model, to be killed.

For tests/test_killed.py: after the SQL statement numbered ``KILL_AT`` one byte is written to the descriptor ``KILL_FD``; whoever
reads it sends SIGKILL while this process goes on. For tests/test_interrupted.py: the stage ``PAUSE_AT`` writes such a byte and
waits for a signal. With ``REAL`` in the environment the agent is the real one, on the model in ``MODEL``. Nothing here depends on the clock or on chance: a forecast follows from
its prompt alone, so that a run killed any number of times must end in the same table as one that was not.
"""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

import config
import database
import forecaster
from database import Database
from runs import gather_evidence, start
from scoring.distribution import Distribution
from scoring.prompts import Passage
from scoring.scorer import ScoringResult
from scoring.tasks import ForecastOutcome, Prompt, Reasoning
from storage import connection
from storage.connection import Connection
from storage.forecasts import ForecastStore
from storage.new_records import ForecastRecord
from storage.records import Article, Evidence
from tests.support.fake_agent import TRIE, FakeAgent


def here(stage: str) -> None:
    """Wait for a signal when this is the stage to wait in."""
    if os.environ.get("PAUSE_AT") == stage:
        os.write(int(os.environ["KILL_FD"]), b".")
        while True:
            signal.pause()


class Agent(FakeAgent):
    """Answers one task after another, as an engine does wave by wave."""

    def __enter__(self):
        here("loading")
        return self

    def __exit__(self, *_):
        here("a shutdown that hangs")

    def build_prompt(self, task):
        return Prompt("", (1, 2), TRIE, len(task.passages))

    def reason(self, tasks, samples):
        for index in range(len(tasks)):
            if index == 1:
                here("reasoning")
            for sample in range(samples):
                yield Reasoning(index, sample, f"note {sample}", 9, "stop", sample)

    def score(self, tasks):
        for index, task in enumerate(tasks):
            if index == 3:
                here("scoring")
                here("a shutdown that hangs")
                try:
                    here("an engine that dies of it")
                except KeyboardInterrupt:
                    raise RuntimeError("engine died") from None
            text = f"{task.today}|{task.question.text}|{[p.text for p in task.passages]}|{self.spec.name}"
            seed = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
            result = ScoringResult(
                Distribution.from_weights(np.random.default_rng(seed).random(101) ** 8),
                0.9,
                0.001,
                3,
                5,
            )
            yield ForecastOutcome(
                index, Prompt(text, (1, 2), TRIE, len(task.passages)), result, None
            )


class Retriever:
    """Stores two articles with a passage each for every question and finds them."""

    def __init__(self, store: Database):
        self.store = store

    def retrieve_all(self, questions, *, as_of=None, searched=None):
        found = []
        for question in questions:
            if question.id == "q2":
                here("retrieval")
            searched()
            ids = []
            for name in ("first", "second"):
                article = Article(
                    "wikipedia",
                    f"{name} {question.id}",
                    "r",
                    "2020-01-01T00:00:00Z",
                    "https://example.org",
                    "t",
                )
                row = self.store.articles.add(
                    article, [Passage(text=f"{name} of {question.text}", tokens=3)]
                )
                (passage,) = self.store.connection.query(
                    "SELECT id FROM passages WHERE article_id = ?", (row,)
                )
                ids.append(passage["id"])
            found.append(
                Evidence(
                    question, tuple(self.store.articles.passages(ids, dict.fromkeys(ids, 0.5)))
                )
            )
        return found


class CountingConnection(Connection):
    """Says when its statements come to ``KILL_AT``."""

    statements = 0

    def _open(self) -> None:
        self.sql.set_trace_callback(self._count)
        super()._open()

    def _count(self, _statement: str) -> None:
        CountingConnection.statements += 1
        say_when("KILL_AT", CountingConnection.statements)


class CountingStore(ForecastStore):
    """Says when its forecasts come to ``KILL_AT_ROW``."""

    rows = 0

    def save(self, run_id: int, record: ForecastRecord) -> int:
        number = super().save(run_id, record)
        CountingStore.rows += 1
        say_when("KILL_AT_ROW", CountingStore.rows)
        return number


class CountingHandler(logging.Handler):
    """Says when vLLM's records come to ``KILL_AT_RECORD``: most of them are about loading."""

    records = 0
    # SQL statements before the first of them, that is before the engine is loaded.
    statements = 0

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("vllm"):
            CountingHandler.statements = CountingHandler.statements or CountingConnection.statements
            CountingHandler.records += 1
            say_when("KILL_AT_RECORD", CountingHandler.records)


def say_when(variable: str, count: int) -> None:
    """Write the byte when the variable of the environment names this count."""
    if count == int(os.environ.get(variable, "-1")):
        os.write(int(os.environ["KILL_FD"]), b".")


def make_retriever(plan, store):
    here("preparation")
    return Retriever(store)


def draw(*_):
    here("plotting")
    return True


def main():
    """Run the command line with everything heavy replaced."""
    config.FORECAST_MODEL_PATHS_VLLM = {"one": os.environ["MODEL"], "two": os.environ["MODEL"]}
    if real := "REAL" in os.environ:
        config.FORECAST_MODEL_PATHS_VLLM = {
            "one": {"path": os.environ["MODEL"], "answer_prefix": "Probability in percent:"}
        }
        config.SCORING_WAVE = 1
        logging.getLogger().addHandler(CountingHandler())
    config.DEFAULT_MODEL_VLLM = config.DEFAULT_LOGIC_MODEL_PATH = "one"
    config.EVIDENCE_CHUNKS = 2
    vars(gather_evidence).update(RETRIEVAL_GROUP=2)
    forecaster.draw = draw
    start.make_retriever = make_retriever
    vars(database).update(Connection=CountingConnection, ForecastStore=CountingStore)
    vars(connection).update(
        BUSY_TIMEOUT_SECONDS=float(os.environ.get("BUSY", connection.BUSY_TIMEOUT_SECONDS))
    )
    code = forecaster.main(sys.argv[1:], agent_factory=None if real else Agent)
    if "COUNT" in os.environ:
        print(f"statements: {CountingConnection.statements}", file=sys.stderr)
        print(
            f"vLLM: {CountingHandler.records} records from {CountingHandler.statements} on",
            file=sys.stderr,
        )
    return code


if __name__ == "__main__":
    sys.exit(main())
