"""Make forecasts of related questions coherent, by projections that cannot lose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def negation_projection(p: float, q: float) -> float:
    """Project forecasts p of a question and q of its negation to one forecast of it.

    p* = (p + 1 - q) / 2. For Brier scores B of all, B(p) + B(q) = 2 B(p*) + (p + q - 1)^2 / 2
    whatever the outcome, so the pair (p*, 1 - p*) never scores worse.
    """
    return (p + 1 - q) / 2


def isotonic_over_dates(
    dates: Sequence[str], p: Sequence[float], weights: Sequence[float] | None = None
) -> list[float]:
    """Project forecasts of "before D" on the sequences that never fall with D.

    Args:
        dates: ISO days in any order; forecasts of one day get one value.
        p: probabilities, 0-1, one for each date.
        weights: positive; equal when left out.

    Returns:
        The nearest such values in weighted squares, in the order given.
    """
    from sklearn.isotonic import IsotonicRegression

    if not dates:
        return []
    order = {day: number for number, day in enumerate(sorted(set(dates)))}
    x = np.array([order[day] for day in dates], dtype=np.float64)
    return [float(v) for v in IsotonicRegression().fit_transform(x, p, sample_weight=weights)]
