"""Build a run's records: forecasts from scored prompts, pools from forecasts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evaluation.ablation import FULL
from preflight.model_entries import ModelSpec
from scoring.distribution import jensen_shannon, spread
from scoring.pooling import Voice, average, pool_voices, voice_weights, weak
from scoring.samples import result_voice
from scoring.tasks import ForecastOutcome, ForecastTask, Prompt
from storage.new_records import AblationRecord, EnsembleRecord, ForecastRecord
from storage.records import Evidence, Forecast
from terminal.redaction import redact

# The prompts of one condition with their outcomes, in the order of the samples.
Scored = Sequence[tuple[ForecastTask, ForecastOutcome]]
# A question's id and the number of a chunk of its evidence.
Key = tuple[str, int]


@dataclass(frozen=True)
class Piece:
    """What every model forecasts once: a question with one chunk of its evidence."""

    evidence: Evidence
    task: ForecastTask

    @property
    def key(self) -> Key:
        """The question's id and the number of the chunk."""
        return self.task.question.id, self.task.chunk


def pieces(found: Iterable[Evidence], chunks: int, today: str) -> list[Piece]:
    """Deal each question's passages out to at most ``chunks`` chunks by rank.

    Each chunk gets its share of the best. ``today`` (ISO date) is what the model is told where the
    question has no day of its own.
    """
    dealt = []
    for evidence in found:
        count = max(1, min(chunks, len(evidence.passages)))
        for chunk in range(count):
            passages = evidence.passages[chunk::count]
            day = evidence.question.as_of or today
            task = ForecastTask(evidence.question, day, passages, chunk, facts=evidence.facts)
            dealt.append(Piece(evidence, task))
    return dealt


def forecast_record(
    spec: ModelSpec, piece: Piece, scored: Mapping[str, Scored], reasoning_error: str | None = None
) -> ForecastRecord:
    """Return the record of a forecast, the mean over its notes, thoughts and wordings.

    ``scored`` has the scored prompts by condition; ``FULL`` is the forecast itself.
    ``reasoning_error`` says why some of its reasoning is missing.
    """
    full = scored[FULL]
    results = [outcome.result for _, outcome in full if outcome.result is not None]
    common: dict[str, Any] = {
        "question_id": piece.task.question.id,
        "agent": spec.name,
        "model": redact(spec.path),
        "chunk": piece.task.chunk,
        "reasoning": _reasoning(full),
        "reasoning_error": reasoning_error,
        "context_error": piece.evidence.context_error,
        "note": next((outcome.note for _, outcome in full if outcome.note), None),
        "seconds": sum(outcome.seconds for _, outcome in full),
        "forward_tokens": sum(result.forward_tokens for result in results),
        "requests": sum(result.requests for result in results),
        **_prompt_columns(piece, full[0][1].prompt),
    }
    if error := failure(full):
        return ForecastRecord(**common, error=error)
    mean = mean_voice(full)
    others = [(name, prompts) for name, prompts in scored.items() if name != FULL]
    common["ablations"] = tuple(_ablation(name, prompts, mean) for name, prompts in others)
    samples = _samples(full)
    if len(samples[0]) > 1:
        common |= _wording_columns(samples)
    if full[0][0].reasoning is None and full[0][0].thought is None:
        # One prompt: its distribution as it was read, without the rounding of a mean.
        voice = mean if len(full) > 1 else result_voice(results[0])
        return ForecastRecord(**common, **_voice_columns(voice))
    voices = [average(wordings) for wordings in samples]
    return ForecastRecord(**common, **_voice_columns(mean), **_sample_columns(voices))


def _samples(scored: Scored) -> list[list[Voice]]:
    """Group the voices of a forecast that has not failed by sample."""
    found: list[list[Voice]] = []
    for task, outcome in scored:
        if outcome.result is not None:
            if task.wording == 0:
                found.append([])
            found[-1].append(result_voice(outcome.result))
    return found


def _wording_columns(samples: Sequence[Sequence[Voice]]) -> dict[str, Any]:
    """Return each wording's distribution over all samples, and their spread."""
    distributions = [average(voices).distribution for voices in zip(*samples, strict=True)]
    return {
        "wording_deviation": spread(distributions).between,
        "wording_distributions": tuple(enumerate(distributions)),
    }


def _reasoning(scored: Scored) -> str | None:
    texts = [task.reasoning for task, _ in scored if task.wording == 0]
    if texts[0] is None:
        return None
    if scored[0][0].thought is not None:  # several thoughts may follow the same notes
        texts = list(dict.fromkeys(texts))
    return "\n\n".join(f"[sample {n}]\n{text}" for n, text in enumerate(texts))


def _prompt_columns(piece: Piece, prompt: Prompt | None) -> dict[str, Any]:
    if prompt is None:
        return {}
    rank = {passage.id: number for number, passage in enumerate(piece.evidence.passages, start=1)}
    evidence = tuple(
        replace(passage, rank=rank[passage.id], used=number <= prompt.passages_used)
        for number, passage in enumerate(piece.task.passages, start=1)
    )
    return {
        "prompt": prompt.text,
        "prompt_tokens": len(prompt.token_ids),
        "evidence": evidence,
    }


def _voice_columns(voice: Voice) -> dict[str, Any]:
    return {
        "distribution": voice.distribution,
        "captured_mass": voice.captured,
        "residual_mass": voice.residual,
        "low_confidence": weak(voice.weakest),
    }


def _sample_columns(voices: Sequence[Voice]) -> dict[str, Any]:
    distributions = [voice.distribution for voice in voices]
    divided = spread(distributions, voice_weights([voice.captured for voice in voices]))
    return {
        "samples": len(voices),
        "within_deviation": divided.within,
        "between_deviation": divided.between,
        "sample_distributions": tuple((number, one) for number, one in enumerate(distributions)),
    }


def failure(scored: Scored) -> str | None:
    """Return the first error: a mean over fewer samples would pass for the whole."""
    errors = (outcome.error for _, outcome in scored if outcome.result is None)
    return next((redact(error or "no result") for error in errors), None)


def mean_voice(scored: Scored) -> Voice:
    """Return the mean over the samples, of which none has failed."""
    return average(
        [result_voice(outcome.result) for _, outcome in scored if outcome.result is not None]
    )


def _ablation(condition: str, scored: Scored, full: Voice) -> AblationRecord:
    """Return the record of a condition; its prompt is the first sample's."""
    prompt = scored[0][1].prompt
    text = "" if prompt is None else prompt.text
    if error := failure(scored):
        return AblationRecord(condition, text, error=error)
    mean = mean_voice(scored)
    return AblationRecord(
        condition,
        text,
        distribution=mean.distribution,
        captured_mass=mean.captured,
        residual_mass=mean.residual,
        shift=full.distribution.mean - mean.distribution.mean,
        divergence=jensen_shannon(full.distribution, mean.distribution),
    )


def pool_record(
    question_id: str, forecasts: Sequence[Forecast], *, method: str, models: int
) -> EnsembleRecord:
    """Pool a question's forecasts: those without an error, at least one.

    A model's chunks are averaged first: it is one voice however its evidence was divided.
    ``models`` is how many were configured.
    """
    chunks: dict[str, list[Voice]] = {}
    for forecast in forecasts:
        chunks.setdefault(forecast.agent, []).append(forecast.voice)
    found = pool_voices({agent: average(voices) for agent, voices in chunks.items()}, method)
    return EnsembleRecord(
        question_id=question_id,
        method=method,
        distribution=found.voice.distribution,
        agents=len(chunks),
        agents_configured=models,
        agreement=found.agreement,
        captured_mass=found.voice.captured,
        residual_mass=found.voice.residual,
        # A strong majority must not hide a voice that hardly spoke in numbers.
        low_confidence=weak(found.voice.weakest) or any(one.low_confidence for one in forecasts),
        weights=found.weights,
        weakest_captured=found.voice.weakest,
    )
