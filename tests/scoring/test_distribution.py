"""Summaries, distances and pools of distributions: values worked out by hand, and properties that always hold."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scoring.distribution import (
    MAXIMUM_ENTROPY,
    POOL_METHODS,
    Distribution,
    agreement,
    entropy_weights,
    extremised,
    jensen_shannon,
    pool,
    spread,
    tilt_to_mean,
    total_variation,
)

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


def test_entropy_weights_are_the_bits_each_agent_commits_to():
    m = 6.658211482751795
    weights = entropy_weights([masses({0: 0.5, 1: 0.5}), point(7)])
    np.testing.assert_allclose(weights, [(m - 1) / (2 * m - 1), m / (2 * m - 1)])
    np.testing.assert_allclose(entropy_weights([UNIFORM, UNIFORM]), [0.5, 0.5])
    np.testing.assert_allclose(entropy_weights([UNIFORM, point(7)]), [0, 1], atol=1e-12)


def test_mean_pool():
    pooled = pool([point(0), masses({0: 0.5, 100: 0.5})], "mean")
    assert pooled.probabilities[0] == pytest.approx(0.75)
    assert pooled.probabilities[100] == pytest.approx(0.25)
    weighted = pool([point(0), point(100)], "mean", weights=[3, 1])
    assert weighted.probabilities[0] == pytest.approx(0.75)


def test_entropy_pool_ignores_who_says_nothing_and_multiplies_given_weights():
    assert pool([UNIFORM, point(7)], "entropy").probabilities[7] == pytest.approx(1)
    m = 6.658211482751795
    pooled = pool([masses({0: 0.5, 1: 0.5}), point(7)], "entropy", weights=[2, 1])
    assert pooled.probabilities[7] == pytest.approx(m / (2 * (m - 1) + m))


def test_entropy_pool_keeps_given_weights_when_they_rule_out_every_informed_agent():
    assert total_variation(pool([UNIFORM, point(7)], "entropy", weights=[1, 0]), UNIFORM) < 1e-12


def test_median_pool_takes_the_median_of_cumulative_probabilities():
    assert pool([point(10), point(50), point(90)], "median").probabilities[50] == pytest.approx(1)
    # With two agents the median lies halfway: 0 up to the lower, a half between, 1 from the upper on.
    halves = pool([point(0), point(100)], "median").probabilities
    assert halves[0] == pytest.approx(0.5)
    assert halves[100] == pytest.approx(0.5)
    assert pool([point(0), point(100)], "median", weights=[3, 1]).probabilities[0] == pytest.approx(
        1
    )


def test_geometric_pool_has_the_geometric_mean_of_odds():
    # Odds 4 and 1: their geometric mean is 2, a probability of 2/3. Between 50 and 80 that is 5/9 on 80.
    pooled = pool([point(80), point(50)], "geometric")
    assert pooled.mean == pytest.approx(200 / 3)
    assert pooled.probabilities[80] == pytest.approx(5 / 9)
    # Odds 4, 4, 1 by weights 2 and 1: 4^(2/3) = 2.5198.
    assert pool([point(80), point(50)], "geometric", weights=[2, 1]).mean == pytest.approx(
        100 * 2.5198421 / 3.5198421
    )


def test_one_agents_zero_cannot_veto_a_geometric_pool():
    # 0 counts as odds 0.005/0.995, so that with odds 4: sqrt(4 x 0.0050251) = 0.141776.
    assert pool([point(0), point(80)], "geometric").mean == pytest.approx(
        100 * 0.141776 / 1.141776, abs=1e-3
    )


def test_extremised_pool_multiplies_the_log_odds():
    # Pooled odds 2, and 2^1.3 = 2.4622888.
    assert pool([point(80), point(50)], "extremised").mean == pytest.approx(
        100 * 2.4622888 / 3.4622888
    )
    assert pool([point(80), point(20)], "extremised").mean == pytest.approx(50)
    np.testing.assert_allclose(extremised([0.5, 2 / 3], factor=2), [0.5, 0.8])


def test_tilt_of_three_points():
    # With exp(50 t) = 2 the equal masses become 1 : 2 : 4, whose mean is (2 x 50 + 4 x 100) / 7.
    tilted = tilt_to_mean(masses({0: 1 / 3, 50: 1 / 3, 100: 1 / 3}), 500 / 7)
    np.testing.assert_allclose(tilted.probabilities[[0, 50, 100]], [1 / 7, 2 / 7, 4 / 7])


def test_tilt_is_held_inside_the_support():
    assert tilt_to_mean(masses({20: 0.5, 30: 0.5}), 90).mean == pytest.approx(30, abs=1e-4)
    assert tilt_to_mean(point(20), 90).mean == 20


@pytest.mark.parametrize(
    ("distributions", "method", "weights", "message"),
    [
        ([], "mean", None, "at least one"),
        ([UNIFORM], "median of means", None, "allowed: mean"),
        ([UNIFORM], "mean", [1, 1], "1 non-negative weights"),
        ([UNIFORM, UNIFORM], "mean", [1, -1], "non-negative"),
        ([UNIFORM, UNIFORM], "mean", [1.5, -0.5], "non-negative"),
        ([UNIFORM, UNIFORM], "mean", [0, 0], "positive sum"),
        ([UNIFORM, UNIFORM], "mean", [1, float("nan")], "non-negative"),
    ],
)
def test_what_cannot_be_pooled_is_refused(distributions, method, weights, message):
    with pytest.raises(ValueError, match=message):
        pool(distributions, method, weights)


def test_spread_of_two_reasonings_by_hand():
    # 0 or 20 evenly: mean 10, variance 100. 60 or 80 evenly: mean 70, variance 100. The means lie 30 from their mean 40.
    parted = spread([masses({0: 0.5, 20: 0.5}), masses({60: 0.5, 80: 0.5})])
    assert (parted.within, parted.between) == pytest.approx((10, 30))
    assert parted.total == pytest.approx(np.sqrt(1000))
    # Points 10, 20 and 60: nothing within, and between the square root of (400 + 100 + 900) / 3.
    parted = spread([point(10), point(20), point(60)])
    assert (parted.within, parted.between) == pytest.approx((0, np.sqrt(1400 / 3)))


def test_one_distribution_is_all_within_and_none_is_refused():
    alone = spread([masses({0: 0.5, 20: 0.5})])
    assert (alone.within, alone.between, alone.total) == (10, 0, 10)
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


@settings(max_examples=50)
@given(st.sampled_from([m for m in POOL_METHODS if m != "extremised"]), random_distributions)
def test_agents_that_say_the_same_pool_to_what_they_say(method, d):
    # The geometric pool goes through log-odds, which are clipped; a random dense distribution is well inside.
    assert total_variation(pool([d, d, d], method), d) < 1e-9


@settings(max_examples=50)
@given(
    st.sampled_from(list(POOL_METHODS)),
    st.lists(random_distributions, min_size=1, max_size=4),
    st.randoms(),
)
def test_the_order_of_the_agents_does_not_matter(method, agents, random):
    weights = [random.uniform(0.1, 1) for _ in agents]
    order = random.sample(range(len(agents)), len(agents))
    straight = pool(agents, method, weights)
    shuffled = pool([agents[i] for i in order], method, [weights[i] for i in order])
    assert total_variation(straight, shuffled) < 1e-8


@given(st.lists(random_distributions, min_size=1, max_size=5))
def test_spread_within_and_between_make_up_the_variance_of_the_mixture(parts):
    parted = spread(parts)
    mixture = pool(parts, "mean")
    assert parted.within**2 + parted.between**2 == pytest.approx(mixture.variance, abs=1e-8)
    assert parted.total == pytest.approx(mixture.standard_deviation, abs=1e-8)


@settings(max_examples=50)
@given(random_distributions, st.floats(5, 95))
def test_tilting_reaches_the_wanted_mean(d, mean):
    assert tilt_to_mean(d, mean).mean == pytest.approx(mean, abs=1e-6)


def test_the_last_percentage_is_reached():
    assert point(100).quantile(1) == point(100).median == 100
    assert point(100).interval() == (100, 100)


def test_the_interval_is_the_middle_80_percent_unless_told_otherwise():
    d = masses({10: 0.06, 20: 0.05, 50: 0.7, 60: 0.1, 70: 0.09})
    assert d.interval() == (20, 60)
    assert d.interval(0.9) == (10, 70)
    assert d.interval(0) == (50, 50)


def test_a_distribution_comes_back_from_json():
    d = masses({0: 0.25, 7: 0.5, 100: 0.25})
    assert Distribution.from_json(json.dumps(d.probabilities.tolist())).probabilities.tolist() == [
        *d.probabilities.tolist()
    ]


@pytest.mark.parametrize("agents", [2, 12, 14, 38])
def test_an_even_number_of_agents_shares_its_median_however_their_weights_round(agents):
    """Twelfths add up to a little less than a half, fourteenths to a little more."""
    pooled = pool([point(20), point(80)] * (agents // 2), "median")
    assert pooled.probabilities[[20, 80]] == pytest.approx([0.5, 0.5])


def test_two_certain_agents_that_contradict_each_other_pool_to_even_odds():
    assert pool([point(100), point(0)], "geometric").mean == pytest.approx(50)
    assert pool([masses({0: 0.5, 100: 0.5}), point(100)], "geometric").probability == pytest.approx(
        1 / (1 + (0.005 / 0.995) ** 0.5)
    )


def test_certainty_is_extremised_to_a_finite_number():
    expected = 1 / (1 + (0.005 / 0.995) ** 1.3)
    assert extremised([0.0, 0.5, 1.0]) == pytest.approx([1 - expected, 0.5, expected])


def test_a_mean_that_is_already_right_changes_nothing():
    d = masses({10: 0.2, 33: 0.5, 97: 0.3})
    assert (tilt_to_mean(d, d.mean).probabilities == d.probabilities).all()
