"""Simulate how often the record's 95 % intervals hold the true value.

    python benchmarks/interval_coverage.py [--samples N] [--clusters K ...] [--part mean|ece]

Each cell simulates records of K clusters of related questions until N have an interval (default 2000;
standard error 0.5 points) and prints the share of intervals that hold the true mean, and in brackets the
share of records for which one is refused. The rules of config.py on refusal are applied; ``--all`` gives
every interval, to see why they are there. The output is in docs/intervals.md. Seeded: the same command
prints the same table.

A question's log-odds are the sum of a base, a theme that its cluster shares and a part of its own. Its
outcome also depends on a shock that the cluster shares and no forecaster sees. Forecasters see the log-odds
through noise, bias and a slope, and are rounded to full percentages:

    timid       close to 30 %: scores nearly symmetric
    model       a language model without search (Brier score 0.22)
    overconfident  twice the log-odds that the evidence allows (0.21)
    market      prices near their end: mostly right, sometimes very wrong (0.12)
    settled     forecasts of questions that are nearly settled (0.08): the most skewed scores
    model - market, model - pool, model - model: differences of scores on the same questions

Cluster sizes: one question each; four each; uneven (geometric, mean 4, up to 31); heavy (log-normal, up to
40); and three or thirteen clusters that hold most questions beside single ones. ``shared`` makes the shock so large that
the outcomes of a cluster nearly agree.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import config  # noqa: E402 - the folder of the modules has to be known first
from evaluation.intervals import (  # noqa: E402
    UNKNOWN_INTERVAL,
    Interval,
    mean_interval,
    satterthwaite,
)
from evaluation.metrics import brier_scores, log_scores  # noqa: E402
from evaluation.reliability import calibration_noise  # noqa: E402
from preflight import settings  # noqa: E402

Floats = NDArray[np.float64]
CLUSTERS = (2, 3, 5, 8, 10, 15, 20, 30, 50, 100)
# Clusters of the large record whose mean is the true one, for each cell.
LARGE = 300_000
# Records drawn at most for each interval wanted: where nearly all are refused a cell is a dash.
MOST_TRIES = 20


def sigmoid(x: Floats) -> Floats:
    """Probabilities of log-odds."""
    return np.asarray(1 / (1 + np.exp(-x)), dtype=np.float64)


SIZES: dict[str, Callable[[np.random.Generator, int], NDArray[np.int64]]] = {
    "one": lambda g, k: np.ones(k, dtype=np.int64),
    "four": lambda g, k: np.full(k, 4, dtype=np.int64),
    "uneven": lambda g, k: np.minimum(g.geometric(0.25, k), 31),
    "heavy": lambda g, k: np.clip(np.round(np.exp(g.normal(0.6, 1.0, k))), 1, 40).astype(np.int64),
    "three": lambda g, k: np.where(np.arange(k) < 3, max(1, k // 2), 1),
    "thirteen": lambda g, k: np.where(np.arange(k) < 13, max(1, k // 3), 1),
}


@dataclass(frozen=True)
class Questions:
    """Hold simulated questions: log-odds, outcomes and cluster numbers, shape (n,)."""

    evidence: Floats
    outcomes: Floats
    clusters: NDArray[np.int64]


def questions(
    g: np.random.Generator, sizes: NDArray[np.int64], *, spread: float, base: float, shock: float
) -> Questions:
    """Draw questions; ``spread`` is the log-odds' deviation, half the variance shared."""
    rows = np.repeat(np.arange(sizes.size), sizes)
    evidence = base + g.normal(0, spread, sizes.size)[rows] + g.normal(0, spread, rows.size)
    chance = sigmoid(evidence + g.normal(0, shock, sizes.size)[rows])
    return Questions(evidence, (g.random(rows.size) < chance).astype(np.float64), rows)


def said(g: np.random.Generator, q: Questions, slope: float, bias: float, noise: float) -> Floats:
    """Forecast probabilities, rounded to full percentages."""
    return np.round(sigmoid(bias + slope * q.evidence + g.normal(0, noise, q.evidence.size)), 2)


@dataclass(frozen=True)
class Scenario:
    """Describe one or two forecasters, (slope, bias, noise) each, and their questions."""

    name: str
    forecasters: tuple[tuple[float, float, float], ...]
    spread: float = 0.9
    base: float = -0.8
    score: Callable[[Floats, Floats], Floats] = brier_scores
    shock: float = 0.7

    @property
    def bounds(self) -> tuple[float, float]:
        """Range of the score or the difference."""
        most = 1.0 if self.score is brier_scores else 5.3
        return (0.0, most) if len(self.forecasters) == 1 else (-most, most)

    def values(
        self, g: np.random.Generator, sizes: NDArray[np.int64]
    ) -> tuple[Floats, NDArray[np.int64]]:
        """Scores (or differences) and clusters of one simulated record."""
        q = questions(g, sizes, spread=self.spread, base=self.base, shock=self.shock)
        scores = [self.score(said(g, q, *one), q.outcomes) for one in self.forecasters]
        return (scores[0] if len(scores) == 1 else scores[0] - scores[1]), q.clusters


MODEL, MARKET, POOL = (0.6, 0.2, 0.8), (1.0, 0.0, 0.3), (0.8, 0.0, 0.3)
SCENARIOS = (
    Scenario("timid, Brier", ((0.3, -0.3, 0.3),)),
    Scenario("model, Brier", (MODEL,)),
    Scenario("model, log score", (MODEL,), score=log_scores),
    Scenario("overconfident, Brier", ((1.8, 0.0, 1.0),)),
    Scenario("overconfident, log score", ((1.8, 0.0, 1.0),), score=log_scores),
    Scenario("market, Brier", ((1.1, 0.0, 0.4),), spread=2.0, base=-1.5),
    Scenario("market, log score", ((1.1, 0.0, 0.4),), spread=2.0, base=-1.5, score=log_scores),
    Scenario("settled, Brier", (MARKET,), spread=3.0, base=-2.0),
    Scenario("model - market, Brier", (MODEL, MARKET)),
    Scenario("model - market, log score", (MODEL, MARKET), score=log_scores),
    Scenario("model - pool, Brier", (MODEL, POOL)),
    Scenario("model - model, Brier", ((0.9, 0.0, 0.6), (0.9, 0.0, 0.6))),
    Scenario("shared: model, Brier", (MODEL,), shock=2.5),
    Scenario("shared: market, Brier", ((1.1, 0.0, 0.4),), spread=2.0, base=-1.5, shock=2.5),
    Scenario("shared: model - market, Brier", (MODEL, MARKET), shock=2.5),
)


@dataclass(frozen=True)
class Coverage:
    """Count the intervals that hold the truth, and the records without one."""

    held: float
    refused: float

    def __str__(self) -> str:
        if self.refused > 0.98:
            return "–"
        return f"{100 * self.held:.1f}" + (
            f" ({100 * self.refused:.0f})" if self.refused >= 0.005 else ""
        )


def coverage(intervals: Iterator[Interval], truth: float) -> Coverage:
    """Count how many of some intervals hold the truth."""
    found = [(i.known, i.low <= truth <= i.high) for i in intervals]
    known = sum(k for k, _ in found)
    return Coverage(sum(h for k, h in found if k) / max(known, 1), 1 - known / len(found))


def mean_coverage(
    scenario: Scenario,
    kind: str,
    clusters: int,
    samples: int,
    truth: float,
    method: Callable[..., Interval] = mean_interval,
) -> Coverage:
    """Coverage of an interval of the mean in one cell."""
    g = np.random.default_rng([config.SEED, clusters])
    low, high = scenario.bounds

    def records() -> Iterator[Interval]:
        """Simulate records until there are enough intervals; some sizes are refused."""
        given = 0
        for _ in range(MOST_TRIES * samples):
            sizes = SIZES[kind](g, clusters)
            if method is mean_interval and too_unequal(sizes):
                yield UNKNOWN_INTERVAL
                continue
            values, labels = scenario.values(g, sizes)
            interval = method(values, labels.tolist(), least=low, most=high)
            yield interval
            given += 1
            if given == samples:
                return

    return coverage(records(), truth)


def too_unequal(sizes: NDArray[np.int64]) -> bool:
    """Whether the sizes of the clusters rule out an interval, whatever the scores are."""
    few = sizes.size < config.MIN_INTERVAL_CLUSTERS
    return few or satterthwaite(sizes.astype(np.float64), 1.0) < config.MIN_INTERVAL_DF


def true_mean(scenario: Scenario, kind: str) -> float:
    """Return the mean score per question of a very large record.

    Clusters of any size are alike but for their size.
    """
    g = np.random.default_rng(config.SEED)
    sizes = SIZES["one" if kind in ("three", "thirteen") else kind](g, LARGE)
    return float(scenario.values(g, sizes)[0].mean())


def cells_of_the_table() -> list[tuple[Scenario, str]]:
    """List scenarios and cluster sizes; a cluster of one question shares no shock."""
    return [
        (s, kind)
        for s in SCENARIOS
        for kind in SIZES
        if not (s.name.startswith("shared") and kind == "one")
    ]


def percentile_bootstrap(
    values: Floats, clusters: Sequence[int], *, least: float, most: float
) -> Interval:
    """Compute the 95 % interval of a cluster bootstrap (1000 resamples), to compare."""
    rows = np.array(clusters)
    sums, sizes = np.bincount(rows, weights=values), np.bincount(rows)
    draws = np.random.default_rng(0).integers(0, sums.size, size=(1000, sums.size))
    low, high = np.quantile(sums[draws].sum(axis=1) / sizes[draws].sum(axis=1), [0.025, 0.975])
    return Interval(float(low), float(high))


def mean_table(numbers: Sequence[int], samples: int, method: Callable[..., Interval]) -> list[str]:
    """The table of coverages, one row for each scenario and kind of cluster sizes."""
    lines = [
        "| scores | sizes | " + " | ".join(map(str, numbers)) + " |",
        "|---|---|" + "---|" * len(numbers),
    ]
    cells: list[float] = []
    for scenario, kind in cells_of_the_table():
        truth = true_mean(scenario, kind)
        row = [mean_coverage(scenario, kind, k, samples, truth, method) for k in numbers]
        cells += [c.held for c in row if c.refused <= 0.98]
        lines.append(f"| {scenario.name} | {kind} | " + " | ".join(map(str, row)) + " |")
    if cells:
        lines += ["", f"Given intervals cover {100 * min(cells):.1f} to {100 * max(cells):.1f} %."]
    return lines


def ece_table(samples: int) -> list[str]:
    """Compare a calibrated forecaster's ECE with its noise and its 95 % bound."""
    lines = [
        "| forecaster | questions | clusters | ECE | a calibrated one would show | up to | exceeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, slope, shock in (
        ("calibrated", 1.0, 0.0),
        ("calibrated, related", 1.0, -1.0),
        ("overconfident", 2.0, 0.0),
    ):
        for k in (30, 100, 300):
            g = np.random.default_rng([config.SEED, k])
            size = 1 if shock == 0 else 3
            found = []
            for _ in range(samples):
                rows = np.repeat(np.arange(k // size), size)
                evidence = g.normal(0, 1.3, k // size)[rows] + g.normal(0, 0.5, rows.size)
                draw = g.random(k // size)[rows] if shock else g.random(rows.size)
                y, p = (draw < sigmoid(evidence)).astype(np.float64), sigmoid(slope * evidence)
                noise = calibration_noise(p, y, rows.tolist(), samples=200, seed=1)
                found.append((noise.error, noise.mean, noise.bound))
            ece, mean, bound = np.array(found).T
            lines.append(
                f"| {name} | {k} | {k // size} | {ece.mean():.3f} | {mean.mean():.3f} | {bound.mean():.3f}"
                f" | {100 * (ece > bound).mean():.0f} % |"
            )
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--samples", type=int, default=2000, help="simulated records a cell")
    parser.add_argument("--clusters", type=int, nargs="+", default=list(CLUSTERS))
    parser.add_argument("--part", choices=("mean", "ece"), action="append")
    parser.add_argument(
        "--all", action="store_true", help="refuse no interval of two clusters or more"
    )
    parser.add_argument(
        "--bootstrap", action="store_true", help="measure a percentile bootstrap instead"
    )
    arguments = parser.parse_args(argv)
    if problems := settings.load(config) or settings.setting_problems(config):
        parser.error("\n".join(problems))
    if arguments.all:
        config.MIN_INTERVAL_CLUSTERS, config.MIN_INTERVAL_DF = 2, 1
    parts = arguments.part or ["mean", "ece"]
    if "mean" in parts:
        method = percentile_bootstrap if arguments.bootstrap else mean_interval
        print("\n".join(mean_table(arguments.clusters, arguments.samples, method)), end="\n\n")
    if "ece" in parts:
        print("\n".join(ece_table(min(arguments.samples, 500))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
