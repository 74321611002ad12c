"""The prompts of one model: for each piece of work, by condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import config
from evaluation.ablation import variants
from runs.forecast_records import Key, Piece, Scored
from scoring.samples import turned
from scoring.tasks import ForecastOutcome, ForecastTask, Thought

# The notes of the logic model by piece, and a model's own thoughts for each of these notes.
Notes = Mapping[Key, Sequence[str]]
Thoughts = Mapping[Key, Sequence[Sequence[Thought]]]


@dataclass(frozen=True)
class Batch:
    """The prompts of one model, and for each the index of its piece and its condition."""

    tasks: Sequence[ForecastTask]
    owners: Sequence[tuple[int, str]]

    def by_condition(self, outcomes: Mapping[int, ForecastOutcome]) -> dict[str, Scored]:
        """Sort a piece's outcomes, given by index of the prompt, into its conditions.

        What was asked for no is turned round.
        """
        found: dict[str, list[tuple[ForecastTask, ForecastOutcome]]] = {}
        for index in sorted(outcomes):
            _, condition = self.owners[index]
            task = self.tasks[index]
            found.setdefault(condition, []).append((task, turned(task, outcomes[index])))
        return dict(found)


def prompt_batch(
    work: Mapping[int, Piece],
    fitted: Mapping[Key, ForecastTask],
    notes: Notes,
    thoughts: Thoughts,
    *,
    ablate: bool,
) -> Batch:
    """Return every prompt to score for pieces given by number.

    All prompts of a piece hold the same passages (``fitted_task``): samples and conditions differ
    by notes or thought alone, or by all of the evidence.
    """
    owners: list[tuple[int, str]] = []
    tasks: list[ForecastTask] = []
    for number, piece in work.items():
        found = variants(
            fitted[piece.key],
            notes.get(piece.key, ()),
            thoughts=thoughts.get(piece.key, ()),
            ablate=ablate,
        )
        # A thought follows the usual wording, so what it is compared with is asked in that one too.
        count = 1 if thoughts.get(piece.key) else config.SCORING_WORDINGS
        for condition, prompts in found.items():
            worded = [replace(task, wording=number) for task in prompts for number in range(count)]
            owners += [(number, condition)] * len(worded)
            tasks += worded
    return Batch(tasks, owners)
