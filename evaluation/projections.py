"""Make forecasts of related questions coherent, by projections that cannot lose."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def common_projection(stated: Sequence[float]) -> float:
    """Project forecasts of one question in several wordings on their mean.

    A negation of probability q states 1 - q. For Brier scores B the sum of B(p_i) is n B(mean) plus
    the sum of (p_i - mean)^2, whatever the outcome, so the mean never scores worse. With one
    negation it is p* = (p + 1 - q) / 2, and B(p) + B(q) = 2 B(p*) + (p + q - 1)^2 / 2.
    """
    return math.fsum(stated) / len(stated)


def isotonic_over_dates(dates: Sequence[str], p: Sequence[float]) -> list[float]:
    """Project forecasts of "before D" on the sequences that never fall with D.

    Args:
        dates: ISO days in any order; forecasts of one day get one value.
        p: probabilities, 0-1, one for each date.

    Returns:
        The nearest such values in squares, in the order given.
    """
    from sklearn.isotonic import IsotonicRegression

    if not dates:
        return []
    order = {day: number for number, day in enumerate(sorted(set(dates)))}
    x = np.array([order[day] for day in dates], dtype=np.float64)
    return [float(v) for v in IsotonicRegression().fit_transform(x, p)]
