"""Coherence projections never lose: the identity, hand-computed and random."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.projections import common_projection, isotonic_over_dates

PROBABILITY = st.floats(0, 1)


@given(PROBABILITY, PROBABILITY, st.sampled_from([0, 1]))
def test_the_projection_of_a_negation_has_the_identity(p: float, q: float, y: int) -> None:
    middle = common_projection([p, 1 - q])
    assert 0 <= middle <= 1
    both = (p - y) ** 2 + (q - (1 - y)) ** 2
    assert both == pytest.approx(2 * (middle - y) ** 2 + (p + q - 1) ** 2 / 2, abs=1e-12)


@given(st.lists(PROBABILITY, min_size=1, max_size=6), st.sampled_from([0, 1]))
def test_the_projection_of_many_wordings_never_loses(stated: list[float], y: int) -> None:
    middle = common_projection(stated)
    spread = sum((p - middle) ** 2 for p in stated)
    together = sum((p - y) ** 2 for p in stated)
    assert together == pytest.approx(len(stated) * (middle - y) ** 2 + spread, abs=1e-12)


def test_a_projection_by_hand() -> None:
    assert common_projection([0.7, 1 - 0.5]) == pytest.approx(0.6)
    assert common_projection([0.25, 1 - 0.75]) == 0.25
    assert common_projection([0.2, 0.3, 0.7]) == pytest.approx(0.4)


def test_isotonic_over_dates_by_hand() -> None:
    """A falling pair makes (0.6 + 0.2) / 2; the order given is kept."""
    days = ["2026-03-01", "2026-01-01", "2026-02-01"]
    found = isotonic_over_dates(days, [0.5, 0.6, 0.2])
    assert found == pytest.approx([0.5, 0.4, 0.4])
    assert isotonic_over_dates(days, [0.9, 0.1, 0.4]) == pytest.approx([0.9, 0.1, 0.4])
    assert isotonic_over_dates(["2026-01-01"] * 2, [0.2, 0.4]) == pytest.approx([0.3, 0.3])
    assert isotonic_over_dates([], []) == []


@given(st.lists(st.tuples(st.integers(1, 28), PROBABILITY), min_size=1, max_size=8), st.data())
def test_isotonic_over_dates_never_loses(
    rows: list[tuple[int, float]], data: st.DataObject
) -> None:
    """Whenever the event happens, the squared error over all dates does not grow."""
    days = [f"2026-01-{day:02}" for day, _ in rows]
    before = np.array([p for _, p in rows])
    after = np.array(isotonic_over_dates(days, before.tolist()))
    happened = data.draw(st.integers(1, 29))
    outcomes = np.array([day >= happened for day, _ in rows], dtype=float)
    assert ((after - outcomes) ** 2).sum() <= ((before - outcomes) ** 2).sum() + 1e-9
    ordered = after[np.argsort(days, kind="stable")]
    assert (np.diff(ordered) >= -1e-12).all()
