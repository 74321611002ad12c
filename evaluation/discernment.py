"""Name models that do not tell questions apart.

A small model may give every question nearly the same wide distribution: its means differed by 4
points over 36 questions, and each was 27 points wide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from scoring.distribution import Distribution

# Questions from which a model is judged.
MIN_QUESTIONS: Final = 10
# A model whose means vary by less than this share of its distributions' own width is named.
LEAST_RATIO: Final = 0.25


@dataclass(frozen=True)
class Discernment:
    """How a model's answers to several questions differ, in percentage points.

    between: standard deviation of its means; within: root mean square of the standard deviations
    of its distributions.
    """

    questions: int
    between: float
    within: float

    @property
    def tells_apart(self) -> bool:
        """Whether its means differ enough, or the questions are too few to say."""
        return self.questions < MIN_QUESTIONS or self.between >= LEAST_RATIO * self.within


def discernment(distributions: Sequence[Distribution]) -> Discernment:
    """Measure how a model's distributions differ, one for each question."""
    if not distributions:
        return Discernment(0, 0.0, 0.0)
    return Discernment(
        len(distributions),
        float(np.std([d.mean for d in distributions])),
        float(np.sqrt(np.mean([d.variance for d in distributions]))),
    )


def undiscerning_lines(by_model: Mapping[str, Sequence[Distribution]]) -> list[str]:
    """Return one line for each model that does not tell its questions apart."""
    found = {name: discernment(answers) for name, answers in by_model.items()}
    return [
        f"{name} does not tell the questions apart: over {one.questions} questions its means differ"
        f" by {one.between:.1f} points (standard deviation), and each answer is {one.within:.1f}"
        " points wide."
        for name, one in found.items()
        if not one.tells_apart
    ]
