"""Pools of distributions: values worked out by hand, and properties that always hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.distribution import total_variation
from scoring.pooling import POOL_METHODS, entropy_weights, extremised, pool, tilt_to_mean
from tests.scoring.test_distribution import UNIFORM, masses, point, random_distributions


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
    # With two agents the median is halfway: 0 up to the lower, a half between, 1 from the upper on.
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


@settings(max_examples=50, deadline=None)
@given(st.sampled_from([m for m in POOL_METHODS if m != "extremised"]), random_distributions)
def test_agents_that_say_the_same_pool_to_what_they_say(method, d):
    # The geometric pool goes through log-odds, which are clipped; a random dense distribution is well inside.
    assert total_variation(pool([d, d, d], method), d) < 1e-9


@settings(max_examples=50, deadline=None)
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


@settings(max_examples=50, deadline=None)
@given(random_distributions, st.floats(5, 95))
def test_tilting_reaches_the_wanted_mean(d, mean):
    assert tilt_to_mean(d, mean).mean == pytest.approx(mean, abs=1e-6)


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
