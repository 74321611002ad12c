"""``Ensemble``: models × questions, each result stored at once, then pooled.

A model is loaded once a run, scores every question and chunk of evidence in one batch, and is shut
down before the next one starts. A model that fails costs its own forecasts: the reason goes into
their rows, the traceback into the log file, and the run goes on.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import config
from database import Database
from evaluation.ablation import FULL
from evaluation.run_differences import UNKNOWN_WEIGHTS
from preflight.model_entries import ModelSpec
from runs.forecast_records import Key, Piece, Scored, forecast_record, pieces, pool_record
from runs.prompt_batches import Batch, Thoughts, prompt_batch
from runs.thoughts import think
from runs.weights_identity import weights_identity
from scoring.agent import AgentFactory, BaseAgent, loaded
from scoring.samples import fitted_task, noted_tasks
from scoring.tasks import AgentError, ForecastOutcome, Reasoning
from storage.errors import DatabaseError
from storage.records import Evidence, Forecast, ReasoningRecord
from terminal.progress import progress
from terminal.redaction import redact

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Load:
    """What a model is loaded for: pieces to write reasoning for, pieces to forecast."""

    spec: ModelSpec
    title: str
    reason: Sequence[Piece] = ()
    score: Sequence[Piece] = ()


class Ensemble:
    """Forecasts of several models, stored one by one and pooled.

    Args:
        database: where the run is recorded.
        run_id: the run, already started.
        specs: the models, in the order in which they are loaded.
        agent_factory: makes an agent from a spec; ``agents_vllm.Agent`` outside of tests.
        logic: the model that writes reasoning first; one of ``specs`` is loaded once for both.
        ablate: whether each forecast is also made without reasoning and without evidence.
        write: whether missing reasoning is written; a replay scores with what is stored.
        stopping: whether the user has asked to stop, even if a library swallowed the interrupt.
    """

    def __init__(
        self,
        database: Database,
        run_id: int,
        specs: Sequence[ModelSpec],
        agent_factory: AgentFactory,
        *,
        logic: ModelSpec | None = None,
        ablate: bool = False,
        write: bool = True,
        stopping: Callable[[], bool] = bool,
    ) -> None:
        self.database = database
        self.run_id = run_id
        self.agent_factory = agent_factory
        self.ablate = ablate
        self.write = write
        self.stopping = stopping
        # The same weights are one model under any name, and the forecast entry's settings count.
        self.logic = next((spec for spec in specs if logic and spec.path == logic.path), logic)
        self.specs = sorted(specs, key=lambda spec: logic is not None and spec != self.logic)
        # Why there is no reasoning (or one fewer), by the key of a piece.
        self._reasoning_errors: dict[tuple[str, int], str] = {}

    def forecast(self, found: Sequence[Evidence], today: str) -> None:
        """Let every model forecast each question it has not forecast yet, then pool.

        ``today`` is the ISO date the models are told, unless a question has one of its own.
        Failures are rows, not exceptions (a later call tries them again); an interrupt and a
        DatabaseError pass through.
        """
        work = pieces(found, config.EVIDENCE_CHUNKS, today)
        done = {
            (one.agent, one.question_id, one.chunk)
            for one in self.database.forecasts.of_run(self.run_id)
            if one.error is None
        }
        try:
            unreasoned = self._unreasoned(work, done)
            if not self.write:
                self._note_unreasoned(unreasoned, "the replayed run has no more reasonings")
                unreasoned = []
            for load in self._loads(work, done, unreasoned):
                logger.info("%s: %s (%s)", load.title, load.spec.name, load.spec.path)
                self._run_model(load)
        finally:
            # After an interrupt too: the row says how many models took part.
            self.pool_all(evidence.question.id for evidence in found)

    def _unreasoned(self, work: Sequence[Piece], done: set[tuple[str, str, int]]) -> list[Piece]:
        """Return pieces that lack a reasoning and some model still has to forecast."""
        if self.logic is None:
            return []
        written = Counter(
            (one.question_id, one.chunk) for one in self.database.forecasts.reasonings(self.run_id)
        )
        return [
            piece
            for piece in work
            if written[piece.key] < config.LOGIC_SAMPLES
            and any((spec.name, *piece.key) not in done for spec in self.specs)
        ]

    def _loads(
        self, work: Sequence[Piece], done: set[tuple[str, str, int]], unreasoned: Sequence[Piece]
    ) -> list[Load]:
        """Decide which models are loaded, in order, and what for."""
        loads = []
        if self.logic is not None and self.logic not in self.specs:
            loads.append(Load(self.logic, "logic model", reason=unreasoned))
        for number, spec in enumerate(self.specs, start=1):
            left = [piece for piece in work if (spec.name, *piece.key) not in done]
            reason = unreasoned if spec == self.logic else ()
            title = f"model {number} of {len(self.specs)}"
            loads.append(Load(spec, title, reason, left))
        return [load for load in loads if load.reason or load.score]

    def _run_model(self, load: Load) -> None:
        """Load a model, let it reason and score, and store its failure where it fails."""
        left = dict(enumerate(load.score))
        try:
            with loaded(load.spec, self.agent_factory) as agent:
                self._note_weights(load.spec, agent.served_by)
                if load.reason:
                    self._reason(load, agent)
                if load.score:
                    self._score(load, agent, left)
        except DatabaseError:
            raise
        except Exception as error:  # the agent boundary: one model's failure is not the run's
            if not load.score:
                self._reasoning_failed(load, error)
                return
            self._stop_if_interrupted(error)
            failure = ForecastOutcome(0, None, None, _logged(f"{load.spec.name} failed", error))
            for piece in left.values():
                self._save(load.spec, piece, {FULL: [(piece.task, failure)]})

    def _note_weights(self, spec: ModelSpec, served_by: str | None) -> None:
        """Record which weights were loaded; others would mix two models under one name."""
        weights = served_by or weights_identity(spec.path)
        noted = self.database.runs.weights(self.run_id).get(spec.name)
        if noted is None:
            self.database.runs.save_weights(self.run_id, spec.name, weights)
        elif noted not in (weights, UNKNOWN_WEIGHTS):
            raise AgentError(
                f"{spec.name}: this run began with the weights {noted}, these are {weights}"
            )

    def _reason(self, load: Load, agent: BaseAgent) -> None:
        """Let a loaded model write reasoning; if it fails, the forecast goes on without."""
        tasks = [piece.task for piece in load.reason]
        try:
            with progress(f"reasoning of {load.spec.name}", len(tasks), "question") as bar:
                agent.progress = bar.update
                for written in agent.reason(tasks, config.LOGIC_SAMPLES):
                    self._save_reasoning(load.spec, load.reason[written.index], written)
        except DatabaseError:
            raise
        except Exception as error:  # the agent boundary: the forecast goes on without reasoning
            self._reasoning_failed(load, error)

    def _save_reasoning(self, spec: ModelSpec, piece: Piece, written: Reasoning) -> None:
        if written.error is not None:
            self._reasoning_errors[piece.key] = redact(written.error)
            return
        record = ReasoningRecord(
            question_id=piece.task.question.id,
            chunk=piece.task.chunk,
            sample=written.sample,
            model=redact(spec.path),
            text=written.text,
            tokens=written.tokens,
            finish_reason=written.finish_reason,
            cut=written.cut,
            seed=written.seed,
        )
        self.database.forecasts.save_reasoning(self.run_id, record)

    def _reasoning_failed(self, load: Load, error: Exception) -> None:
        self._stop_if_interrupted(error)
        what = f"{load.spec.name} wrote no reasoning, the forecast goes on without"
        self._note_unreasoned(load.reason, _logged(what, error))

    def _note_unreasoned(self, work: Sequence[Piece], why: str) -> None:
        self._reasoning_errors.update({piece.key: why for piece in work})

    def _stop_if_interrupted(self, error: Exception) -> None:
        """Re-raise an error that an interrupt caused, here or in an engine, as one."""
        if self.stopping():
            raise KeyboardInterrupt from error

    def _score(self, load: Load, agent: BaseAgent, left: dict[int, Piece]) -> None:
        """Score all prompts; store each complete forecast and take it out of ``left``."""
        batch = self._batch(load.spec, agent, left)
        sizes = Counter(number for number, _ in batch.owners)
        outcomes: dict[int, dict[int, ForecastOutcome]] = {number: {} for number in left}
        with progress(f"scoring with {load.spec.name}", len(left), "forecast") as bar:
            # A forecast may need several prompts: with each thought, and without for comparison.
            share = len(left) / max(1, len(batch.tasks))
            agent.progress = lambda prompts: bar.update(prompts * share)
            for outcome in agent.score(batch.tasks):
                number, _ = batch.owners[outcome.index]
                outcomes[number][outcome.index] = outcome
                if len(outcomes[number]) == sizes[number]:
                    scored = batch.by_condition(outcomes.pop(number))
                    self._save(load.spec, left.pop(number), scored)

    def _save(self, spec: ModelSpec, piece: Piece, scored: Mapping[str, Scored]) -> None:
        record = forecast_record(spec, piece, scored, self._reasoning_errors.get(piece.key))
        self.database.forecasts.save(self.run_id, record)

    def _batch(self, spec: ModelSpec, agent: BaseAgent, left: dict[int, Piece]) -> Batch:
        """Let the model think where it is to, and return every prompt to score.

        Where it could not, the reason is stored and the piece taken out of ``left``.
        """
        notes: dict[Key, list[str]] = {}
        if self.logic is not None:
            for one in self.database.forecasts.reasonings(self.run_id):
                notes.setdefault((one.question_id, one.chunk), []).append(one.text)
        fitted = {
            piece.key: fitted_task(
                agent, piece.task, notes.get(piece.key, ()), think=bool(spec.think)
            )
            for piece in left.values()
        }
        thoughts: Thoughts = {}
        if spec.think:
            asked = {key: noted_tasks(task, notes.get(key, ())) for key, task in fitted.items()}
            thinking = think(self.database, self.run_id, spec, agent, asked, write=self.write)
            thoughts = thinking.thoughts
            for number, piece in list(left.items()):
                if error := thinking.errors.get(piece.key):
                    failure = ForecastOutcome(0, None, None, error)
                    self._save(spec, left.pop(number), {FULL: [(piece.task, failure)]})
        return prompt_batch(left, fitted, notes, thoughts, ablate=self.ablate)

    def pool_all(self, question_ids: Iterable[str]) -> None:
        """Pool each question's forecasts; a question without any gets no row."""
        by_question: dict[str, list[Forecast]] = {}
        for one in self.database.forecasts.of_run(self.run_id):
            if one.error is None:
                by_question.setdefault(one.question_id, []).append(one)
        for question_id in question_ids:
            if found := by_question.get(question_id):
                record = pool_record(
                    question_id, found, method=config.POOL_METHOD, models=len(self.specs)
                )
                self.database.forecasts.save_ensemble(self.run_id, record)


def _logged(what: str, error: Exception) -> str:
    """Log an error, its traceback to the file only; return it without secrets."""
    message = redact(f"{type(error).__name__}: {error}".splitlines()[0])
    logger.error("%s: %s", what, message)
    logger.debug("traceback: %s", what, exc_info=True)
    return message
