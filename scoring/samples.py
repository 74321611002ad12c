"""Make the prompts of one forecast with its notes, and read their answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from scoring.agent import BaseAgent
from scoring.distribution import Distribution
from scoring.number_trie import TokenizationError
from scoring.pooling import Voice
from scoring.prompts import NEGATED
from scoring.scorer import ScoringResult
from scoring.tasks import ForecastOutcome, ForecastTask, PromptError


def noted_tasks(task: ForecastTask, texts: Sequence[str]) -> list[ForecastTask]:
    """Return the task with each of the notes, or as it is without any."""
    return [replace(task, reasoning=text) for text in texts] or [task]


def fitted_task(
    agent: BaseAgent, task: ForecastTask, texts: Sequence[str], *, think: bool
) -> ForecastTask:
    """Return the task with as many passages as fit beside notes and thoughts."""
    if not (task.passages and (texts or think)):
        return task
    build = agent.thought_prompt if think else agent.build_prompt
    try:
        used = min(build(one).passages_used for one in noted_tasks(task, texts))
    except (PromptError, TokenizationError):
        return task  # thinking or scoring meets the error again and reports it
    return replace(task, passages=task.passages[:used])


def turned(task: ForecastTask, outcome: ForecastOutcome) -> ForecastOutcome:
    """Return the outcome for yes of a task that may ask for no."""
    if task.wording != NEGATED or outcome.result is None:
        return outcome
    distribution = Distribution(outcome.result.distribution.probabilities[::-1])
    return replace(outcome, result=replace(outcome.result, distribution=distribution))


def result_voice(result: ScoringResult) -> Voice:
    """Return what was read after one prompt as a voice."""
    captured = result.captured_mass
    return Voice(result.distribution, captured, result.residual_mass, captured)
