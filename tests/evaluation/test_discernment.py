"""Models that give every question nearly the same answer are named."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.discernment import (
    MIN_QUESTIONS,
    Discernment,
    discernment,
    undiscerning_lines,
)
from scoring.distribution import Distribution


def around(centre: float, width: float) -> Distribution:
    support = np.arange(101)
    return Distribution.from_weights(np.exp(-0.5 * ((support - centre) / width) ** 2))


def two_points(low: int, high: int) -> Distribution:
    weights = np.zeros(101)
    weights[[low, high]] = 1
    return Distribution.from_weights(weights)


def test_between_and_within_by_hand() -> None:
    """Means of 40 and 60 differ by 10; two points 40 apart are 20 wide."""
    found = discernment([two_points(20, 60), two_points(40, 80)])
    assert found.questions == 2
    assert found.between == pytest.approx(10)
    assert found.within == pytest.approx(20)


def test_a_quarter_of_the_width_is_enough() -> None:
    """Means of 50 -/+ 5 differ by 5 points; widths of 20 and of 20.1 are on both sides of the mark."""
    for width, apart in ((20.0, True), (20.1, False)):
        assert Discernment(10, 5.0, width).tells_apart is apart
    assert Discernment(9, 0.0, 20.0).tells_apart


def test_the_width_is_the_root_mean_square() -> None:
    answers = [two_points(40, 60), two_points(40, 60), two_points(0, 100)]
    assert discernment(answers).within == pytest.approx(((100 + 100 + 2500) / 3) ** 0.5)
    assert discernment([]).questions == 0


def test_a_model_that_says_the_same_of_everything_is_named() -> None:
    same = [two_points(20 + n % 2 * 4, 70 + n % 2 * 4) for n in range(36)]
    sharp = [around(5 + 90 * n / 35, 8) for n in range(36)]
    (line,) = undiscerning_lines({"small": same, "large": sharp})
    assert line == (
        "small does not tell the questions apart: over 36 questions its means differ by 2.0 points"
        " (standard deviation), and each answer is 25.0 points wide."
    )


def test_few_questions_name_nobody() -> None:
    same = [two_points(20, 70)] * (MIN_QUESTIONS - 1)
    assert undiscerning_lines({"small": same, "none": []}) == []
    assert len(undiscerning_lines({"small": [*same, same[0]]})) == 1


def test_sure_and_equal_answers_are_apart_from_nothing() -> None:
    """A model that answers every question with the same single number has no width either."""
    sure = [around(3, 0.2)] * 12
    assert undiscerning_lines({"sure": sure}) != []
