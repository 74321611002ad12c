"""Intervals of means over clusters: hand-computed values, reference formulas, refusals, and coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import config
from benchmarks import interval_coverage as benchmark
from evaluation import intervals
from evaluation.intervals import (
    ClusteredMean,
    clustered_mean,
    intraclass_correlation,
    mean_interval,
    satterthwaite,
)


@pytest.fixture
def permissive(monkeypatch):
    """Every interval of two clusters or more is given."""
    monkeypatch.setattr(config, "MIN_INTERVAL_CLUSTERS", 2)
    monkeypatch.setattr(config, "MIN_INTERVAL_DF", 1)


def reference(sizes, values, correlation):
    """CR2 variance and Satterthwaite's degrees of freedom of a mean from full matrices, as the papers write them."""
    n = sum(sizes)
    x = np.ones((n, 1))
    hat = x @ x.T / n
    residuals = np.asarray(values) - np.mean(values)
    omega, start, vectors, variance = np.zeros((n, n)), 0, [], 0.0
    for size in sizes:
        rows = slice(start, start + size)
        omega[rows, rows] = correlation + (1 - correlation) * np.eye(size)
        eigenvalues, vectors_of_block = np.linalg.eigh(np.eye(size) - hat[rows, rows])
        adjust = vectors_of_block @ np.diag(eigenvalues**-0.5) @ vectors_of_block.T
        weights = np.ones(size) @ adjust / n
        variance += (weights @ residuals[rows]) ** 2
        full = np.zeros(n)
        full[rows] = weights
        vectors.append((np.eye(n) - hat) @ full)
        start += size
    g = np.array(vectors)
    matrix = g @ omega @ g.T
    return variance, np.trace(matrix) ** 2 / np.trace(matrix @ matrix)


def test_cr2_variance_by_hand():
    # Mean 2; residual sums of the clusters -2, -1, 3; 1 - shares 5/6, 2/3, 1/2: (4.8 + 1.5 + 18) / 36.
    found = clustered_mean([0, 1, 2, 3, 3, 3], ["a", "b", "b", "c", "c", "c"])
    assert found.mean == 2
    assert found.error == pytest.approx(math.sqrt(24.3 / 36))
    assert found.clusters == 3


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=8), st.integers(0, 10**6), st.floats(0, 1))
def test_variance_and_degrees_match_the_matrix_formulas(sizes, seed, correlation):
    values = np.random.default_rng(seed).normal(size=sum(sizes))
    labels = np.repeat(np.arange(len(sizes)), sizes).tolist()
    variance, degrees = reference(sizes, values, correlation)
    assert clustered_mean(values, labels).error ** 2 == pytest.approx(variance)
    assert satterthwaite(np.array(sizes, dtype=float), correlation) == pytest.approx(degrees)
    assert 1 - 1e-9 <= degrees <= len(sizes) - 1 + 1e-9


def test_clusters_of_one_size_have_one_degree_less_than_clusters():
    for correlation in (0.0, 0.3, 1.0):
        assert satterthwaite(np.full(12, 4.0), correlation) == pytest.approx(11)


def test_symmetric_data_give_the_t_interval_of_the_cluster_means(permissive):
    from scipy import stats

    half = np.random.default_rng(1).normal(size=20)
    means = np.concatenate([half, -half]) + 3  # symmetric: no skewness to correct
    low, high = stats.t.interval(0.95, 39, loc=means.mean(), scale=stats.sem(means))
    # Clusters of two rows each, whose rows differ by the same amount.
    values = np.repeat(means, 2) + np.tile([-0.4, 0.4], 40)
    found = mean_interval(values, np.repeat(np.arange(40), 2).tolist())
    assert (found.low, found.high) == pytest.approx((low, high))


def test_skewness_moves_both_ends_up_by_halls_transformation(permissive, monkeypatch):
    from scipy import stats

    values = np.random.default_rng(3).exponential(size=40)
    monkeypatch.setattr(intervals, "HALF_SKEWNESS", 0.0)
    found = mean_interval(values, range(40))
    mean, error = values.mean(), stats.sem(values)
    # The third moment of the mean in units of error^3, with n - 1 in the variance.
    a = ((values - mean) ** 3).sum() / 40**3 / error**3
    for end, x in ((found.low, stats.t.ppf(0.975, 39)), (found.high, -stats.t.ppf(0.975, 39))):
        t = (mean - end) / error
        assert 3 / (2 * a) * (math.exp(2 * a * t / 3) - 1) + a / 6 == pytest.approx(x)
    plain = stats.t.interval(0.95, 39, loc=mean, scale=error)
    assert found.low > plain[0]
    assert found.high > plain[1]


def test_skewness_within_its_sampling_error_is_hardly_corrected():
    from scipy import stats

    values = np.random.default_rng(4).normal(size=40)
    found = clustered_mean(values, range(40))
    raw = ((values - values.mean()) ** 3).sum() / 40**3 / stats.sem(values) ** 3
    z4 = (raw**2 * 40**2 / 6) ** 2
    assert found.skewness == pytest.approx(raw * z4 / (z4 + 10))
    assert abs(found.skewness) < 0.2 * abs(raw)


def test_the_correlation_within_clusters_by_hand():
    # Two clusters (0, 0) and (1, 1): all variance is between them. (0, 1) and (0, 1): none is.
    sizes, rows = np.array([2.0, 2.0]), np.array([0, 0, 1, 1])
    for values, expected in (([0, 0, 1, 1], 1.0), ([0, 1, 0, 1], 0.0)):
        array = np.array(values, dtype=float)
        assert (
            intraclass_correlation(array, rows, sizes, np.bincount(rows, weights=array)) == expected
        )
    # (0, 1) and (1, 2): between 2 * 2 * 0.25 / 1 = 1, within 1 / 2: (1 - 0.5) / (1 + 0.5).
    array = np.array([0.0, 1.0, 1.0, 2.0])
    found = intraclass_correlation(array, rows, sizes, np.bincount(rows, weights=array))
    assert found == pytest.approx(1 / 3)


def test_the_estimated_correlation_lowers_the_degrees_of_unequal_clusters():
    sizes = np.array([8, 1, 1, 1, 1, 1, 1, 1])
    labels = np.repeat(np.arange(8), sizes).tolist()
    apart = np.random.default_rng(0).permutation(15).astype(float)
    found = clustered_mean(apart, labels)
    array = np.asarray(apart)
    estimate = intraclass_correlation(
        array, np.array(labels), sizes.astype(float), np.bincount(labels, weights=array)
    )
    assert found.degrees == pytest.approx(satterthwaite(sizes.astype(float), 0.2 + 0.8 * estimate))
    assert found.least_degrees == pytest.approx(satterthwaite(sizes.astype(float), 1.0))
    assert found.least_degrees < found.degrees < 7


def test_copying_every_row_adds_no_information(permissive):
    values, labels = np.random.default_rng(2).random(40), list(range(40))
    once, twice = mean_interval(values, labels), mean_interval(np.tile(values, 2), labels * 2)
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))


def test_order_and_names_of_clusters_do_not_matter():
    g = np.random.default_rng(5)
    values, labels = g.random(90), g.integers(0, 45, 90)
    order = g.permutation(90)
    first = mean_interval(values, labels.tolist())
    again = mean_interval(values[order], [f"c{n}" for n in labels[order]])
    assert first.known
    assert (again.low, again.high) == pytest.approx((first.low, first.high))


def test_an_interval_stays_inside_the_range_of_its_values():
    values = np.zeros(30)
    values[:3] = 0.9, 0.95, 1.0
    found = mean_interval(values, range(30), least=0, most=1)
    assert 0 <= found.low < 0.095 < found.high <= 1
    # A single large error: the transformation has no upper end, the range has one.
    values[1:] = 0.0001
    assert mean_interval(values, range(30), least=0, most=1).high == 1.0
    assert not mean_interval(values, range(30)).known  # without a range there is nothing to stop at


@pytest.mark.parametrize(
    ("sizes", "known"),
    [
        ([1] * 29, False),
        ([1] * 30, True),
        ([3] * 29, False),
        ([10] * 3 + [1] * 40, False),  # 43 clusters, but three hold most rows
        ([10] * 12 + [1] * 40, False),  # fewer than 12 degrees of freedom
        ([10] * 14 + [1] * 40, True),
    ],
)
def test_too_few_or_too_unequal_clusters_have_no_interval(sizes, known):
    values = np.random.default_rng(0).random(sum(sizes))
    assert mean_interval(values, np.repeat(np.arange(len(sizes)), sizes).tolist()).known is known


def test_values_that_are_all_alike_have_no_interval():
    assert not mean_interval(np.full(50, 0.1), range(50)).known
    assert clustered_mean(np.full(50, 0.5), range(50)) == ClusteredMean(0.5, 0, 49, 49, 0, 50)
    assert clustered_mean(np.full(50, 0.1), range(50)).error == 0  # but for rounding
    assert clustered_mean([0.3, 0.3], ["a", "a"]) is None
    with pytest.raises(ValueError, match="2 rows but 1 cluster labels"):
        clustered_mean([0.3, 0.3], ["a"])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("market, Brier", "one"),
        ("market, log score", "thirteen"),
        ("model - market, Brier", "uneven"),
    ],
)
def test_simulated_coverage(name, kind):
    """The benchmark in small: 400 records a cell, whose coverage has a standard error of 1.1 points."""
    (scenario,) = [s for s in benchmark.SCENARIOS if s.name == name]
    monkey = np.random.default_rng(0)
    truth = float(
        scenario.values(
            monkey, benchmark.SIZES["one" if kind == "thirteen" else kind](monkey, 100_000)
        )[0].mean()
    )
    found = benchmark.mean_coverage(scenario, kind, 50, 400, truth)
    assert 0.92 <= found.held <= 0.985
    few = benchmark.mean_coverage(scenario, kind, 5, 400, truth, benchmark.percentile_bootstrap)
    assert few.held < 0.9  # what was replaced
