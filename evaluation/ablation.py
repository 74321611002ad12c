"""What reasoning and evidence did to the numbers: the same work scored with one or both of them taken away.

A room of its own because neither scoring nor storing owns it: which prompts a condition has, and how pairs are summed up.
The conditions are scored beside the forecast they are compared with: same model, same load, same batch, same passages.

    no_reasoning   the evidence, without the notes
    no_evidence    the notes, without the passages. The notes were written with the passages in view, so this says what
                   reading the passages again adds to the notes, not what searching was worth
    neither        the question alone

The shift is the forecast's mean minus the condition's, in percentage points: what the part taken away had added. A shift of
zero with a large divergence is possible (a wider or narrower distribution around the same mean), so both are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from evaluation.metrics import brier_score
from scoring.distribution import Distribution, jensen_shannon
from scoring.tasks import ForecastTask

FULL: Final = "full"
# Condition, and what it takes away in words.
CONDITIONS: Final[Mapping[str, str]] = {
    "no_reasoning": "reasoning",
    "no_evidence": "evidence",
    "neither": "both",
}


@dataclass(frozen=True)
class Effect:
    """One pair: ``shift`` in percentage points (with minus without), ``divergence`` Jensen-Shannon in bits, 0 to 1."""

    shift: float
    divergence: float


def effect(full: Distribution, without: Distribution) -> Effect:
    """What the part taken away had done to the distribution."""
    return Effect(full.mean - without.mean, jensen_shannon(full, without))


def variants(
    task: ForecastTask, reasonings: Sequence[str], *, ablate: bool
) -> dict[str, list[ForecastTask]]:
    """The prompts of one piece of work by condition, ``FULL`` first; the forecast is the mean over each list.

    Args:
        task: the work, with the passages that every prompt of it holds.
        reasonings: the notes of its samples; none without a logic model.
        ablate: whether conditions beside ``FULL`` are wanted. One that would repeat another is left out.
    """
    full = [replace(task, reasoning=text) for text in reasonings] or [task]
    found = {FULL: full}
    if not ablate:
        return found
    if reasonings:
        found["no_reasoning"] = [task]
    if task.passages:
        found["no_evidence"] = [replace(one, passages=()) for one in full]
    if reasonings and task.passages:
        found["neither"] = [replace(task, passages=())]
    return found


def effect_lines(rows: Sequence[Any], outcomes: Mapping[str, int] | None = None) -> list[str]:
    """A table of the effects over all pairs of a run, or a line for each condition that failed.

    Args:
        rows: of ``Database.ablations``.
        outcomes: 0 or 1 by question id; where given, the Brier scores of both sides of the resolved pairs are added.
    """
    known = outcomes or {}
    lines = []
    for condition, part in CONDITIONS.items():
        pairs = [row for row in rows if row.condition == condition and row.error is None]
        if not pairs:
            continue
        shifts = np.array([row.shift for row in pairs])
        divergences = np.array([row.divergence for row in pairs])
        line = (
            f"{part:<10}  {len(pairs):>5}  {shifts.mean():>+10.1f}  {np.abs(shifts).mean():>10.1f}"
            f"  {shifts[np.abs(shifts).argmax()]:>+7.1f}  {divergences.mean():>16.3f}"
        )
        judged = [row for row in pairs if row.question_id in known]
        if judged:
            truth = np.array([known[row.question_id] for row in judged])
            both = (
                brier_score(np.array(means) / 100, truth)
                for means in ([row.full_mean for row in judged], [row.mean for row in judged])
            )
            line += "  {:>10.3f}  {:>13.3f}".format(*both)
        lines.append(line)
    if lines:
        head = (
            f"{'taken away':<10}  {'pairs':>5}  {'mean shift':>10}  {'mean size':>10}  {'largest':>7}"
            f"  {'divergence, bits':>16}"
        )
        if known:
            head += f"  {'Brier with':>10}  {'Brier without':>13}"
        lines = [
            "What moved the numbers (points, with minus without):",
            head,
            "-" * len(head),
            *lines,
        ]
    failed = sorted({(row.condition, row.error) for row in rows if row.error is not None})
    return lines + [f"Not compared, {condition}: {error}" for condition, error in failed]
