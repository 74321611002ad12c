"""Summaries, distances and pools of distributions: values worked out by hand, and properties that always hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scoring.distribution import (
    MAXIMUM_ENTROPY,
    Distribution,
    agreement,
    jensen_shannon,
    spread,
    total_variation,
)
from scoring.pooling import pool

UNIFORM = Distribution(np.full(101, 1 / 101))


def masses(by_percent: dict[int, float]) -> Distribution:
    p = np.zeros(101)
    for percent, mass in by_percent.items():
        p[percent] = mass
    return Distribution(p)


def point(percent: int) -> Distribution:
    return masses({percent: 1.0})


# Weights from 1e-3 up: nothing here is about numbers near the underflow.
random_distributions = hnp.arrays(np.float64, 101, elements=st.floats(1e-3, 1.0)).map(
    Distribution.from_weights
)


# --- one distribution -----------------------------------------------------------------------------


def test_statistics_of_three_points():
    d = masses({0: 0.25, 50: 0.5, 100: 0.25})
    assert d.mean == pytest.approx(50)
    assert d.probability == pytest.approx(0.5)
    assert d.median == 50
    assert d.mode == 50
    assert d.variance == pytest.approx(1250)  # 2 x 0.25 x 50^2
    assert d.standard_deviation == pytest.approx(35.35533905932738)
    assert d.entropy == pytest.approx(1.5)  # 0.25 x 2 + 0.5 x 1 + 0.25 x 2


def test_statistics_of_the_uniform_distribution():
    assert UNIFORM.mean == pytest.approx(50)
    assert UNIFORM.median == 50
    assert UNIFORM.variance == pytest.approx((101**2 - 1) / 12)
    assert UNIFORM.entropy == pytest.approx(6.658211482751795)
    assert pytest.approx(6.658211482751795) == MAXIMUM_ENTROPY


def test_a_certain_distribution_has_no_entropy_and_no_width():
    d = point(73)
    assert (d.mean, d.median, d.mode, d.standard_deviation, d.entropy) == (73, 73, 73, 0, 0)
    assert d.interval(0.8) == (73, 73)


def test_quantiles_step_where_the_cumulative_probability_reaches_the_level():
    d = masses({10: 0.25, 50: 0.5, 90: 0.25})
    assert [d.quantile(q) for q in (0.01, 0.25, 0.26, 0.75, 0.76, 1.0)] == [10, 10, 50, 50, 90, 90]
    assert d.interval(0.5) == (10, 50)
    assert d.interval(0.8) == (10, 90)


def test_ten_tenths_count_as_one():
    d = masses(dict.fromkeys(range(10), 0.1))
    assert d.quantile(1.0) == 9
    assert d.quantile(0.3) == 2
    assert d.median == 4


def test_mode_is_the_smallest_on_a_tie():
    assert masses({40: 0.5, 60: 0.5}).mode == 40


def test_probabilities_are_copied_renormalised_and_read_only():
    values = np.full(101, 1 / 101) * (1 + 5e-5)
    d = Distribution(values)
    assert d.probabilities.sum() == pytest.approx(1, abs=1e-14)
    values[0] = 7
    assert d.probabilities[0] == pytest.approx(1 / 101)
    with pytest.raises(ValueError, match="read-only"):
        d.probabilities[0] = 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full(100, 0.01), "101 probabilities"),
        (np.full((101, 1), 1 / 101), "101 probabilities"),
        (np.where(np.arange(101) == 3, np.nan, 0.01), "NaN"),
        (np.where(np.arange(101) == 3, np.inf, 0.01), "infinite"),
        (np.concatenate([[-0.01], np.full(100, 0.0101)]), "negative"),
        (np.full(101, 0.011), "sum to 1"),
        (np.zeros(101), "sum to 1"),
    ],
)
def test_what_is_no_distribution_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Distribution(values)


@pytest.mark.parametrize(
    "weights", [np.zeros(101), np.full(101, np.nan), np.full(101, np.inf), -np.ones(101)]
)
def test_weights_without_a_positive_finite_sum_are_refused(weights):
    with pytest.raises(ValueError, match="positive finite sum"):
        Distribution.from_weights(weights)


@pytest.mark.parametrize("level", [-0.01, 1.01, float("nan")])
def test_a_quantile_level_outside_0_1_is_refused(level):
    with pytest.raises(ValueError, match="quantile level"):
        UNIFORM.quantile(level)


# --- distances ------------------------------------------------------------------------------------


def test_distances_of_two_overlapping_coins():
    p, q = masses({0: 0.5, 1: 0.5}), masses({1: 0.5, 2: 0.5})
    assert total_variation(p, q) == pytest.approx(0.5)
    assert jensen_shannon(p, q) == pytest.approx(0.5)  # the mixture has 1.5 bits, each coin 1


def test_distances_at_the_ends():
    assert total_variation(point(0), point(1)) == 1
    assert jensen_shannon(point(0), point(1)) == pytest.approx(1)
    assert total_variation(UNIFORM, UNIFORM) == 0
    assert jensen_shannon(UNIFORM, UNIFORM) == pytest.approx(0, abs=1e-12)


def test_agreement_is_one_minus_the_mean_distance_of_all_pairs():
    assert agreement([point(3)]) == 1
    assert agreement([point(0), point(0), point(1)]) == pytest.approx(1 / 3)
    assert agreement([point(0), point(1)]) == 0
    with pytest.raises(ValueError, match="at least one"):
        agreement([])


# --- pools ----------------------------------------------------------------------------------------


def test_a_pair_counts_for_agreement_by_the_product_of_its_weights():
    agents = [point(0), masses({0: 0.5, 50: 0.5}), point(50)]
    # The distances are 0.5 (first and second), 1 (first and third) and 0.5 (second and third).
    assert agreement(agents, [4, 2, 1]) == pytest.approx(1 - (8 * 0.5 + 4 * 1 + 2 * 0.5) / 14)
    assert agreement(agents, [1, 1, 0]) == pytest.approx(0.5)
    assert agreement(agents, [1, 0, 0]) == 1


def test_spread_of_two_reasonings_by_hand():
    # 0 or 20 evenly: mean 10, variance 100. 60 or 80 evenly: mean 70, variance 100. The means lie 30 from their mean 40.
    parted = spread([masses({0: 0.5, 20: 0.5}), masses({60: 0.5, 80: 0.5})])
    assert (parted.within, parted.between) == pytest.approx((10, 30))
    # Points 10, 20 and 60: nothing within, and between the square root of (400 + 100 + 900) / 3.
    parted = spread([point(10), point(20), point(60)])
    assert (parted.within, parted.between) == pytest.approx((0, np.sqrt(1400 / 3)))


def test_one_distribution_is_all_within_and_none_is_refused():
    alone = spread([masses({0: 0.5, 20: 0.5})])
    assert (alone.within, alone.between) == (10, 0)
    with pytest.raises(ValueError, match="at least one"):
        spread([])


# --- properties -----------------------------------------------------------------------------------


@given(random_distributions, random_distributions)
def test_distances_are_symmetric_and_bounded(p, q):
    assert total_variation(p, q) == pytest.approx(total_variation(q, p))
    assert 0 <= total_variation(p, q) <= 1
    assert jensen_shannon(p, q) == pytest.approx(jensen_shannon(q, p), abs=1e-12)
    # Lin 1991, theorem 3: the divergence is at most the total variation distance.
    assert jensen_shannon(p, q) <= total_variation(p, q) + 1e-12


@given(random_distributions, st.floats(0, 1), st.floats(0, 1))
def test_quantiles_rise_with_their_level_and_cover_it(d, first, second):
    low, high = sorted((first, second))
    assert d.quantile(low) <= d.quantile(high)
    position = int(d.quantile(low))
    assert d.probabilities[: position + 1].sum() >= low - 1e-9
    assert position == 0 or d.probabilities[:position].sum() < low


@given(st.lists(random_distributions, min_size=1, max_size=5))
def test_spread_within_and_between_make_up_the_variance_of_the_mixture(parts):
    parted = spread(parts)
    mixture = pool(parts, "mean")
    assert parted.within**2 + parted.between**2 == pytest.approx(mixture.variance, abs=1e-8)


def test_the_last_percentage_is_reached():
    assert point(100).quantile(1) == point(100).median == 100
    assert point(100).interval() == (100, 100)


def test_the_interval_is_the_middle_80_percent_unless_told_otherwise():
    d = masses({10: 0.06, 20: 0.05, 50: 0.7, 60: 0.1, 70: 0.09})
    assert d.interval() == (20, 60)
    assert d.interval(0.9) == (10, 70)
    assert d.interval(0) == (50, 50)
