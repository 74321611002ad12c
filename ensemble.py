"""``Ensemble``: agents x questions, model by model; every result is stored as soon as it exists, then pooled.

Model-outer order: a model is loaded once per run, scores every question and chunk in one batch, and
is shut down before the next one starts. A model that fails costs its own forecasts: the reason goes
into their rows, the traceback into the log file, and the run goes on.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import config
from database import (
    AblationRecord,
    Database,
    DatabaseError,
    EnsembleRecord,
    EvidenceLink,
    ForecastRecord,
    Passage,
    ReasoningRecord,
)
from evaluation.ablation import FULL, effect, variants
from preflight.model_entries import ModelSpec
from questions.question import Question
from runs.weights import UNKNOWN_WEIGHTS, weights_identity
from scoring.agent import BaseAgent
from scoring.distribution import Distribution, spread
from scoring.number_trie import TokenizationError
from scoring.pooling import Voice, average, pool_voices, voice_weights, weak
from scoring.scorer import ScoringResult
from scoring.tasks import AgentError, ForecastOutcome, ForecastTask, PromptError, Reasoning
from terminal.progress import progress, waiting
from terminal.redaction import redact

logger = logging.getLogger(__name__)

AgentFactory = Callable[[ModelSpec], BaseAgent]
# The prompts of one condition with what became of them, in the order of the samples.
Scored = list[tuple[ForecastTask, ForecastOutcome]]


@dataclass(frozen=True)
class QuestionEvidence:
    """A question of a run with what was found for it: passages best first, or the reason why there are none."""

    question: Question
    today: str
    passages: tuple[Passage, ...] = ()
    context_error: str | None = None


def statistics(distribution: Distribution) -> dict[str, float]:
    """The columns that summarise a distribution: percentages, and the entropy in bits."""
    return {
        "mean": distribution.mean,
        "median": distribution.median,
        "mode": float(distribution.mode),
        "standard_deviation": distribution.standard_deviation,
        "p10": distribution.quantile(0.1),
        "p90": distribution.quantile(0.9),
        "entropy": distribution.entropy,
    }


def chunks(passages: Sequence[Passage], count: int) -> list[tuple[Passage, ...]]:
    """Deal passages out to at most ``count`` chunks by rank, so that each chunk has its share of the best."""
    count = max(1, min(count, len(passages)))
    return [tuple(passages[start::count]) for start in range(count)]


class Ensemble:
    """Forecasts of several models, stored one by one and pooled.

    Args:
        database: where the run is recorded.
        run_id: the run, already started.
        specs: the models, in the order in which they are loaded.
        agent_factory: makes an agent from a spec; ``agents_vllm.Agent`` in earnest.
        pool_method: see ``distribution.pool``.
        logic: the model that writes reasoning first; one of ``specs`` is loaded once for both.
        ablate: whether each forecast is also made without reasoning and without evidence (``evaluation/ablation.py``).
        write: whether the logic model writes what is missing; a replay scores with the reasonings that are stored.
        stopping: whether the user has asked to stop. An interrupt that a library has swallowed is then made good.
    """

    def __init__(
        self,
        database: Database,
        run_id: int,
        specs: Sequence[ModelSpec],
        agent_factory: AgentFactory,
        *,
        pool_method: str | None = None,
        logic: ModelSpec | None = None,
        ablate: bool = False,
        write: bool = True,
        stopping: Callable[[], bool] = bool,
    ) -> None:
        self.database = database
        self.run_id = run_id
        self.specs = list(specs)
        self.agent_factory = agent_factory
        self.pool_method = pool_method or config.POOL_METHOD
        self.ablate = ablate
        self.write = write
        self.stopping = stopping
        # The same weights are one model under whatever name, and the forecast entry's prompt settings count.
        self.logic = next((spec for spec in self.specs if logic and spec.path == logic.path), logic)
        if self.logic in self.specs:
            self.specs.sort(key=lambda spec: spec != self.logic)
        # Why there is no reasoning (or one fewer), by question and chunk.
        self._reasoning_errors: dict[tuple[str, int], str] = {}

    def forecast(self, items: Sequence[QuestionEvidence]) -> None:
        """Run every model over every question it has not forecast yet, then pool.

        Failures are rows, not exceptions (a later call tries them again); an interrupt and a DatabaseError pass through.
        """
        work = [
            (item, ForecastTask(item.question, item.today, passages, chunk))
            for item in items
            for chunk, passages in enumerate(chunks(item.passages, config.EVIDENCE_CHUNKS))
        ]
        done = {
            (row.question_id, row.agent, row.chunk)
            for row in self.database.forecasts(self.run_id)
            if row.error is None
        }
        try:
            unreasoned = self._unreasoned(work, done)
            if self.logic is not None and self.logic not in self.specs and unreasoned:
                self._reason_alone(self.logic, unreasoned)
            for number, spec in enumerate(self.specs, start=1):
                left = [
                    pair
                    for pair in work
                    if (pair[1].question.id, spec.name, pair[1].chunk) not in done
                ]
                reason = unreasoned if spec == self.logic else []
                if not left and not reason:
                    continue
                logger.info(
                    "model %d of %d: %s (%s)", number, len(self.specs), spec.name, spec.path
                )
                self._run_model(spec, left, reason)
        finally:
            # After an interrupt too: what is there is pooled, and the row says over how many agents.
            self.pool_all(item.question.id for item in items)

    def _unreasoned(
        self, work: Sequence[tuple[QuestionEvidence, ForecastTask]], done: set[tuple[str, str, int]]
    ) -> list[ForecastTask]:
        """The tasks that some model still has to forecast and that lack a reasoning."""
        if self.logic is None:
            return []
        counts = Counter(
            (row.question_id, row.chunk) for row in self.database.reasonings(self.run_id)
        )
        missing = [
            task
            for _, task in work
            if counts[task.question.id, task.chunk] < config.LOGIC_SAMPLES
            and any((task.question.id, spec.name, task.chunk) not in done for spec in self.specs)
        ]
        if self.write:
            return missing
        for task in missing:
            self._reasoning_errors[task.question.id, task.chunk] = (
                "the replayed run has no more reasonings"
            )
        return []

    def _reason_alone(self, spec: ModelSpec, tasks: Sequence[ForecastTask]) -> None:
        """Load the logic model for its reasoning only; its failure is noted and the forecast goes on without."""
        logger.info("logic model: %s (%s)", spec.name, spec.path)
        try:
            with self._loaded(spec) as agent:
                self._note_weights(spec)
                self._reason(spec, agent, tasks)
        except DatabaseError:
            raise
        except Exception as error:  # the agent boundary: one model's failure is not the run's
            self._reasoning_failed(spec, tasks, error)

    @contextmanager
    def _loaded(self, spec: ModelSpec) -> Iterator[BaseAgent]:
        """An agent while it is loaded; the time its loading takes is shown."""
        with ExitStack() as stack:
            with waiting(f"loading {spec.name}"):
                agent = stack.enter_context(self.agent_factory(spec))
            yield agent

    def _reason(self, spec: ModelSpec, agent: BaseAgent, tasks: Sequence[ForecastTask]) -> None:
        """Let a loaded model write and store its reasoning; its failure is noted and the forecast goes on without."""
        try:
            with progress(f"reasoning of {spec.name}", len(tasks), "question") as bar:
                agent.progress = bar.update
                for written in agent.reason(tasks, config.LOGIC_SAMPLES):
                    self._save_reasoning(spec, tasks[written.index], written)
        except DatabaseError:
            raise
        except Exception as error:  # the agent boundary: the forecast goes on without reasoning
            self._reasoning_failed(spec, tasks, error)

    def _save_reasoning(self, spec: ModelSpec, task: ForecastTask, written: Reasoning) -> None:
        if written.error is not None:
            self._reasoning_errors[task.question.id, task.chunk] = redact(written.error)
            return
        record = ReasoningRecord(
            question_id=task.question.id,
            chunk=task.chunk,
            sample=written.sample,
            model=redact(spec.path),
            text=written.text,
            tokens=written.tokens,
            finish_reason=written.finish_reason,
            cut=written.cut,
            seed=written.seed,
        )
        self.database.save_reasoning(self.run_id, record)

    def _reasoning_failed(
        self, spec: ModelSpec, tasks: Sequence[ForecastTask], error: Exception
    ) -> None:
        self._refuse_to_go_on(error)
        message = _logged(f"{spec.name} wrote no reasoning, the forecast goes on without", error)
        for task in tasks:
            self._reasoning_errors[task.question.id, task.chunk] = message

    def _run_model(
        self,
        spec: ModelSpec,
        work: Sequence[tuple[QuestionEvidence, ForecastTask]],
        reason: Sequence[ForecastTask],
    ) -> None:
        pending = dict(enumerate(work))
        try:
            with self._loaded(spec) as agent:
                self._note_weights(spec)
                if reason:
                    self._reason(spec, agent, reason)
                self._score(spec, agent, work, pending)
        except DatabaseError:
            raise
        except Exception as error:  # the agent boundary: one model's failure is not the run's
            self._refuse_to_go_on(error)
            message = _logged(f"{spec.name} failed", error)
            for item, task in pending.values():
                failure = ForecastOutcome(0, None, None, message)
                self.database.save_forecast(
                    self.run_id, self._record(spec, item, task, {FULL: [(task, failure)]})
                )

    def _score(
        self,
        spec: ModelSpec,
        agent: BaseAgent,
        work: Sequence[tuple[QuestionEvidence, ForecastTask]],
        pending: dict[int, tuple[QuestionEvidence, ForecastTask]],
    ) -> None:
        """Score all work, store each forecast as soon as it is complete, and take it out of ``pending``."""
        owners, tasks = self._expanded(agent, work)
        missing = Counter(owner for owner, _ in owners)
        outcomes: dict[int, list[ForecastOutcome]] = {}
        with progress(f"scoring with {spec.name}", len(work), "forecast") as bar:
            # A forecast may need several prompts: with each reasoning, and without for comparison.
            agent.progress = lambda prompts: bar.update(prompts * len(work) / len(tasks))
            for outcome in agent.score(tasks):
                owner, _ = owners[outcome.index]
                outcomes.setdefault(owner, []).append(outcome)
                missing[owner] -= 1
                if missing[owner]:
                    continue
                item, task = pending.pop(owner)
                scored: dict[str, Scored] = {}
                for one in sorted(outcomes.pop(owner), key=lambda outcome: outcome.index):
                    scored.setdefault(owners[one.index][1], []).append((tasks[one.index], one))
                self.database.save_forecast(self.run_id, self._record(spec, item, task, scored))

    def _refuse_to_go_on(self, error: Exception) -> None:
        """After the user asked to stop, an error is what became of the interrupt (or of the engine that got it too)."""
        if self.stopping():
            raise KeyboardInterrupt from error

    def _expanded(
        self, agent: BaseAgent, work: Sequence[tuple[QuestionEvidence, ForecastTask]]
    ) -> tuple[list[tuple[int, str]], list[ForecastTask]]:
        """Every prompt to score, and for each the index of its work and its condition.

        The prompts of one piece hold the same passages, as many as the longest reasoning leaves room for: what tells
        samples and conditions apart is then the reasoning, or the evidence as a whole, alone.
        """
        written: dict[tuple[str, int], list[str]] = {}
        if self.logic is not None:
            for row in self.database.reasonings(self.run_id):
                written.setdefault((row.question_id, row.chunk), []).append(row.text)
        owners: list[tuple[int, str]] = []
        tasks: list[ForecastTask] = []
        for number, (_, task) in enumerate(work):
            texts = written.get((task.question.id, task.chunk), [])
            if texts and task.passages:
                try:
                    used = min(
                        agent.build_prompt(replace(task, reasoning=text)).passages_used
                        for text in texts
                    )
                except (PromptError, TokenizationError):
                    used = len(task.passages)  # scoring meets the error again and says so
                task = replace(task, passages=task.passages[:used])
            for condition, prompts in variants(task, texts, ablate=self.ablate).items():
                owners += [(number, condition)] * len(prompts)
                tasks += prompts
        return owners, tasks

    def _record(
        self,
        spec: ModelSpec,
        item: QuestionEvidence,
        task: ForecastTask,
        scored: Mapping[str, Scored],
    ) -> ForecastRecord:
        """The row of one piece of work: its only outcome, or the mean over its samples with their spread; ablations beside it."""
        full = scored[FULL]
        record = forecast_record(spec, item, task, full[0][1])
        if self.logic is not None:
            record = replace(
                record, reasoning_error=self._reasoning_errors.get((task.question.id, task.chunk))
            )
        mean = averaged(full)
        if full[0][0].reasoning is not None:
            texts = "\n\n".join(f"[sample {n}]\n{one.reasoning}" for n, (one, _) in enumerate(full))
            record = replace(record, reasoning=texts, **_sample_columns(full, mean))
        if isinstance(mean, str):
            return record
        others = [
            _ablation(name, prompts, mean) for name, prompts in scored.items() if name != FULL
        ]
        return replace(record, ablations=tuple(others))

    def _note_weights(self, spec: ModelSpec) -> None:
        """Record which weights were loaded; a resumed run with others would mix two models under one name."""
        weights = weights_identity(spec.path)
        noted = self.database.weights(self.run_id).get(spec.name)
        if noted is None:
            self.database.save_weights(self.run_id, spec.name, weights)
        elif noted not in (weights, UNKNOWN_WEIGHTS):
            raise AgentError(
                f"{spec.name}: this run began with the weights {noted}, these are {weights}"
            )

    def pool_all(self, question_ids: Iterable[str]) -> None:
        """Pool each question's forecasts into its ensemble row; a question without any gets none."""
        by_question: dict[str, list[Any]] = {}
        for row in self.database.forecasts(self.run_id):
            if row.error is None:
                by_question.setdefault(row.question_id, []).append(row)
        for question_id in question_ids:
            if rows := by_question.get(question_id):
                self.database.save_ensemble(self.run_id, self._pooled(question_id, rows))

    def _pooled(self, question_id: str, rows: Sequence[Any]) -> EnsembleRecord:
        """Chunks of an agent are averaged first: an agent is one voice however its evidence was divided."""
        by_agent: dict[str, list[Any]] = {}
        for row in rows:
            by_agent.setdefault(row.agent, []).append(row)
        voices = {
            agent: average([row.voice for row in chunked]) for agent, chunked in by_agent.items()
        }
        found = pool_voices(voices, self.pool_method)
        return EnsembleRecord(
            question_id=question_id,
            method=self.pool_method,
            probabilities=found.voice.distribution.probabilities,
            statistics=statistics(found.voice.distribution),
            agents=len(voices),
            agents_configured=len(self.specs),
            agreement=found.agreement,
            captured_mass=found.voice.captured,
            residual_mass=found.voice.residual,
            # A strong majority must not hide a voice that hardly spoke in numbers.
            low_confidence=weak(found.voice.weakest) or any(row.low_confidence for row in rows),
            weights=found.weights,
            weakest_captured=found.voice.weakest,
        )


def _logged(what: str, error: Exception) -> str:
    """The error in one line without secrets, after it was logged with ``what``; the traceback goes to the file."""
    message = redact(f"{type(error).__name__}: {error}".splitlines()[0])
    logger.error("%s: %s", what, message)
    logger.debug("traceback: %s", what, exc_info=True)
    return message


def averaged(scored: Scored) -> Voice | str:
    """The mean over the samples of one piece of work, or the first error: a mean over fewer samples would pass for the whole."""
    parts = []
    for _, outcome in scored:
        if outcome.result is None:
            return redact(outcome.error or "no result")
        parts.append(_voice(outcome.result))
    return average(parts)


def _voice(result: ScoringResult) -> Voice:
    captured = result.captured_mass
    return Voice(result.distribution, captured, result.residual_mass, captured)


def _sample_columns(scored: Scored, mean: Voice | str) -> dict[str, Any]:
    """The columns of a forecast that is a mean over samples; of one that failed, those of the error."""
    if isinstance(mean, str):
        return {
            "probabilities": None,
            "statistics": {},
            "captured_mass": None,
            "residual_mass": None,
            "low_confidence": False,
            "error": mean,
        }
    results = [outcome.result for _, outcome in scored if outcome.result is not None]
    distributions = [result.distribution for result in results]
    divided = spread(distributions, voice_weights([result.captured_mass for result in results]))
    return {
        "probabilities": mean.distribution.probabilities,
        "statistics": statistics(mean.distribution),
        "captured_mass": mean.captured,
        "residual_mass": mean.residual,
        "low_confidence": weak(mean.weakest),
        "forward_tokens": sum(result.forward_tokens for result in results),
        "requests": sum(result.requests for result in results),
        "seconds": sum(outcome.seconds for _, outcome in scored),
        "samples": len(results),
        "within_deviation": divided.within,
        "between_deviation": divided.between,
        "sample_distributions": tuple(
            (n, one.probabilities) for n, one in enumerate(distributions)
        ),
    }


def _ablation(condition: str, scored: Scored, full: Voice) -> AblationRecord:
    """The row of a condition beside the forecast; its prompt is the first sample's."""
    prompt = scored[0][1].prompt
    text = "" if prompt is None else prompt.text
    mean = averaged(scored)
    if isinstance(mean, str):
        return AblationRecord(condition, text, error=mean)
    found = effect(full.distribution, mean.distribution)
    return AblationRecord(
        condition,
        text,
        mean.distribution.probabilities,
        mean.distribution.mean,
        mean.captured,
        mean.residual,
        found.shift,
        found.divergence,
    )


def forecast_record(
    spec: ModelSpec, item: QuestionEvidence, task: ForecastTask, outcome: ForecastOutcome
) -> ForecastRecord:
    """The database row of one outcome, with its prompt and the evidence that stood in it or was dropped."""
    common: dict[str, Any] = {
        "question_id": item.question.id,
        "agent": spec.name,
        "model": redact(spec.path),
        "chunk": task.chunk,
        "reasoning": task.reasoning,
        "context_error": item.context_error,
        "seconds": outcome.seconds,
    }
    if outcome.prompt is not None:
        rank = {passage.id: number for number, passage in enumerate(item.passages, start=1)}
        used = outcome.prompt.passages_used
        common["prompt"] = outcome.prompt.text
        common["prompt_tokens"] = len(outcome.prompt.token_ids)
        common["evidence"] = tuple(
            EvidenceLink(passage.id, number, rank[passage.id], passage.score, used=number <= used)
            for number, passage in enumerate(task.passages, start=1)
            if isinstance(passage, Passage)
        )
    if outcome.result is None:
        return ForecastRecord(**common, error=redact(outcome.error or "no result"))
    result = outcome.result
    return ForecastRecord(
        **common,
        probabilities=result.distribution.probabilities,
        statistics=statistics(result.distribution),
        captured_mass=result.captured_mass,
        residual_mass=result.residual_mass,
        low_confidence=weak(result.captured_mass),
        forward_tokens=result.forward_tokens,
        requests=result.requests,
    )
