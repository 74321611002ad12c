"""Measure what reasoning and evidence do to a forecast: repeat it without them.

The conditions are scored beside the forecast they are compared with: same model, same load, same
batch, same passages.

    no_thought     the model's answer without its own thought
    no_reasoning   the evidence, without the notes
    no_evidence    the notes, without the passages. They were written with the passages in view, so
                   this is what reading those again adds to the notes, not what searching was worth
    neither        the question alone

A thought stays where notes or evidence are taken away, although it was written with them in view.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from evaluation.metrics import brier_score
from scoring.samples import noted_tasks
from scoring.tasks import ForecastTask, Thought
from storage.records import AblationPair

FULL: Final = "full"
# Each condition and what it takes away.
CONDITIONS: Final[Mapping[str, str]] = {
    "no_thought": "thought",
    "no_reasoning": "reasoning",
    "no_evidence": "evidence",
    "neither": "both",
}


def variants(
    task: ForecastTask,
    reasonings: Sequence[str],
    *,
    thoughts: Sequence[Sequence[Thought]] = (),
    ablate: bool,
) -> dict[str, list[ForecastTask]]:
    """Return the prompts of one forecast by condition, ``FULL`` first.

    Args:
        task: the work, with the passages that every prompt of it holds.
        reasonings: the notes of its samples; none without a logic model.
        thoughts: the model's own thoughts for each of the notes, or for the task without any.
        ablate: whether to add conditions; one that would repeat another is left out.
    """
    noted = full = noted_tasks(task, reasonings)
    if thoughts:
        pairs = zip(noted, thoughts, strict=True)
        full = [replace(one, thought=thought) for one, own in pairs for thought in own]
    found = {FULL: full}
    if not ablate:
        return found
    if thoughts:
        found["no_thought"] = noted
    if reasonings:
        found["no_reasoning"] = [
            replace(one, reasoning=None) for one in (full if thoughts else full[:1])
        ]
    if task.passages:
        found["no_evidence"] = [replace(one, passages=()) for one in full]
    if sum(map(bool, (thoughts, reasonings, task.passages))) > 1:
        found["neither"] = [replace(task, passages=())]
    return found


def effect_lines(
    pairs: Sequence[AblationPair], outcomes: Mapping[str, int] | None = None
) -> list[str]:
    """Return a table of a run's effects, and a line for each condition that failed.

    Args:
        pairs: all pairs of the run.
        outcomes: 0 or 1 by question id; adds the Brier scores of resolved pairs.
    """
    known = outcomes or {}
    scored = {
        part: [pair for pair in pairs if pair.condition == condition and pair.error is None]
        for condition, part in CONDITIONS.items()
    }
    lines = [_effects(part, found, known) for part, found in scored.items() if found]
    if lines:
        head = (
            f"{'taken away':<10}  {'pairs':>5}  {'mean shift':>10}  {'mean size':>10}"
            f"  {'largest':>7}  {'divergence, bits':>16}"
        )
        if known:
            head += f"  {'Brier with':>10}  {'Brier without':>13}"
        title = "What moved the numbers (points, with minus without):"
        lines = [title, head, "-" * len(head), *lines]
    failed = {(pair.condition, pair.error) for pair in pairs if pair.error is not None}
    return lines + [f"Not compared, {condition}: {error}" for condition, error in sorted(failed)]


def _effects(part: str, pairs: Sequence[AblationPair], outcomes: Mapping[str, int]) -> str:
    shifts = np.array([pair.shift for pair in pairs])
    divergences = np.array([pair.divergence for pair in pairs])
    line = (
        f"{part:<10}  {len(pairs):>5}  {shifts.mean():>+10.1f}  {np.abs(shifts).mean():>10.1f}"
        f"  {shifts[np.abs(shifts).argmax()]:>+7.1f}  {divergences.mean():>16.3f}"
    )
    if judged := [pair for pair in pairs if pair.question_id in outcomes]:
        truth = np.array([outcomes[pair.question_id] for pair in judged])
        full, without = np.array([(pair.full_mean, pair.mean) for pair in judged]).T / 100
        line += f"  {brier_score(full, truth):>10.3f}  {brier_score(without, truth):>13.3f}"
    return line
