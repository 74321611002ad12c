"""Compares ways of pooling several language models' forecasts on real resolved questions.

    python benchmarks/pools.py [FOLDER]        FOLDER holds llm_forecasts.csv and questions_dev.jsonl

The default folder is ../shared/data/forecastbench beside the repository: ForecastBench questions (CC BY-SA 4.0, Karger et al.,
ICLR 2025) with the forecasts of language models published by murphyk/BLF (MIT). The data are not part of this repository.

``llm_forecasts.csv`` has one column per model and one probability (0-1) per question, so only pools of point forecasts can be
compared here: a model's own 101-point distribution is not in it. The entropy weights are therefore those of the two-point
distribution (p, 1 - p): 1 - H(p) in bits, which is 0 at 50 % and 1 at 0 % or 100 %. That is a stand-in for, not the same as,
the weights of ``distribution.entropy_weights``. Linear pool, median, geometric mean of odds and extremised pool are the same
functions of the point forecasts in both cases (the median of 101-point distributions has a mean of its own).

Weights from past scores and the extremising factor are learnt on other clusters of questions than those they are used on
(5-fold cross-validation by cluster of related questions). Intervals are 95 %, over those clusters (evaluation/intervals.py).
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import config  # noqa: E402 - the folder of the modules has to be known first
from evaluation.intervals import Interval, mean_interval  # noqa: E402
from evaluation.metrics import (  # noqa: E402
    brier_scores,
    cluster_folds,
    inverse_score_weights,
    log_scores,
)
from preflight import settings  # noqa: E402
from scoring.pooling import EXTREMISING_FACTOR, ODDS_CLIP, extremised  # noqa: E402

Floats = NDArray[np.float64]
DEFAULT_FOLDER = ROOT.parent / "shared" / "data" / "forecastbench"
# How the columns are named: model, reasoning effort, search (none or brave), c0/c1 = crowd price hidden/shown, tools t0/t1.
GROUPS: Mapping[str, Callable[[str], bool]] = {
    "model alone, crowd hidden": lambda name: "-none-c0-" in name,
    "agent with search, crowd hidden": lambda name: "-brave-c0-" in name,
    "agent with search, crowd shown": lambda name: "-brave-c1-" in name,
}
FACTORS = np.arange(1.0, 3.01, 0.1)


class BenchmarkError(Exception):
    """The data cannot be used; the message is one line for the user."""


@dataclass(frozen=True)
class Data:
    """Joined rows: forecasts (questions, models) in 0-1 with NaN where a model gave none, outcomes, clusters, other columns."""

    models: tuple[str, ...]
    forecasts: Floats
    outcomes: Floats
    clusters: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]

    def select(self, keep: NDArray[np.bool_], models: Sequence[str]) -> Data:
        """Only some questions and models."""
        columns = np.array([self.models.index(name) for name in models], dtype=np.int64)
        index = np.flatnonzero(keep)
        return Data(
            tuple(models),
            self.forecasts[np.ix_(index, columns)],
            self.outcomes[index],
            tuple(self.clusters[i] for i in index),
            tuple(self.rows[i] for i in index),
        )


def load(folder: Path) -> Data:
    """Join the forecasts with the questions by id.

    Raises:
        BenchmarkError: a file is missing or malformed (with its line), or nothing joins.
    """
    questions = _read_questions(folder / "questions_dev.jsonl")
    path = folder / "llm_forecasts.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            models = tuple(name for name in reader.fieldnames or () if name != "id")
            kept, forecasts = [], []
            for line, row in enumerate(reader, start=2):
                if row["id"] in questions:
                    kept.append(questions[row["id"]])
                    forecasts.append([_probability(row[name], path, line) for name in models])
    except (OSError, KeyError, csv.Error) as error:
        raise BenchmarkError(f"{path}: cannot be read ({error})") from None
    if not kept:
        raise BenchmarkError(f"{path}: no row belongs to a question of questions_dev.jsonl")
    outcomes = np.array([float(row["outcome"]) for row in kept])
    return Data(
        models,
        np.array(forecasts),
        outcomes,
        tuple(str(row["cluster"]) for row in kept),
        tuple(kept),
    )


def _read_questions(path: Path) -> dict[str, Mapping[str, Any]]:
    questions = {}
    try:
        for line, text in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
            if text.strip():
                row = json.loads(text)
                if row["outcome"] not in (0, 1):
                    raise BenchmarkError(
                        f"{path}, line {line}: outcome is {row['outcome']!r}, expected 0 or 1"
                    )
                questions[row["id"]] = row
    except OSError as error:
        raise BenchmarkError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"{path}, line {line}: not a question ({error})") from None
    return questions


def _probability(text: str, path: Path, line: int) -> float:
    if not text.strip():
        return float("nan")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise BenchmarkError(f"{path}, line {line}: {text!r} is not a probability")
    return value


# --- pools of point forecasts: (questions, models) in 0-1 -> (questions,) ---------------------------------------------


def log_odds(p: Floats) -> Floats:
    """ln(p / (1 - p)) with p kept ``ODDS_CLIP`` away from 0 and 1."""
    clipped = np.clip(p, ODDS_CLIP, 1 - ODDS_CLIP)
    return np.asarray(np.log(clipped / (1 - clipped)), dtype=np.float64)


def linear(p: Floats) -> Floats:
    """Mean."""
    return np.asarray(p.mean(axis=1), dtype=np.float64)


def median(p: Floats) -> Floats:
    """Median."""
    return np.asarray(np.median(p, axis=1), dtype=np.float64)


def geometric(p: Floats, weights: Floats | None = None) -> Floats:
    """(Weighted) geometric mean of odds."""
    return np.asarray(
        1 / (1 + np.exp(-np.average(log_odds(p), axis=1, weights=weights))), dtype=np.float64
    )


def entropy_weighted(p: Floats) -> Floats:
    """Linear pool with weights 1 - H(p) in bits; equal weights where every model says 50 %."""
    q = np.clip(p, 1e-12, 1 - 1e-12)
    weights = np.maximum(1 + q * np.log2(q) + (1 - q) * np.log2(1 - q), 0.0)
    total = weights.sum(axis=1, keepdims=True)
    weights = np.where(total > 1e-9, weights / np.where(total > 1e-9, total, 1), 1 / p.shape[1])
    return np.asarray((weights * p).sum(axis=1), dtype=np.float64)


def by_past_score(
    p: Floats, outcomes: Floats, clusters: Sequence[str], pool: Callable[[Floats, Floats], Floats]
) -> Floats:
    """Pool with inverse-Brier weights learnt on the other folds of clusters."""
    folds = cluster_folds(clusters, config.CROSS_VALIDATION_FOLDS, seed=config.SEED)
    result = np.empty(len(p))
    for fold in np.unique(folds):
        train = folds != fold
        weights = inverse_score_weights((p[train] - outcomes[train, None]) ** 2)
        result[~train] = pool(p[~train], weights)
    return result


def extremised_by_fit(
    p: Floats, outcomes: Floats, clusters: Sequence[str]
) -> tuple[Floats, list[float]]:
    """Geometric mean of odds, extremised by the factor (1.0 to 3.0) with the least Brier score on the other folds."""
    folds = cluster_folds(clusters, config.CROSS_VALIDATION_FOLDS, seed=config.SEED)
    pooled, result, chosen = geometric(p), np.empty(len(p)), []
    for fold in np.unique(folds):
        train = folds != fold
        losses = [
            ((extremised(pooled[train], float(f)) - outcomes[train]) ** 2).mean() for f in FACTORS
        ]
        chosen.append(float(FACTORS[int(np.argmin(losses))]))
        result[~train] = extremised(pooled[~train], chosen[-1])
    return result, chosen


def pools(data: Data) -> dict[str, Floats]:
    """Every pool's probabilities (0-1) on the given questions, by name."""
    p, y, clusters = data.forecasts, data.outcomes, data.clusters
    return {
        "linear": linear(p),
        "median": median(p),
        "geometric mean of odds": geometric(p),
        "entropy-weighted": entropy_weighted(p),
        f"extremised x{EXTREMISING_FACTOR}": extremised(geometric(p)),
        "extremised, fitted": extremised_by_fit(p, y, clusters)[0],
        "past score, linear": by_past_score(
            p, y, clusters, lambda q, w: np.asarray(q @ w, dtype=np.float64)
        ),
        "past score, geometric": by_past_score(p, y, clusters, geometric),
    }


# --- tables -----------------------------------------------------------------------------------------------------------


def _interval(interval: Interval) -> str:
    return f"{interval.low:.4f} … {interval.high:.4f}" if interval.known else "-"


def table(data: Data, pooled: Mapping[str, Floats], reference: str) -> list[str]:
    """One line per pool: Brier and log score, and their differences to ``reference`` on the same questions."""
    lines = [
        f"{'':32s} {'Brier':>7s}  {'95 %':15s}  {'log':>5s}  difference to the {reference} pool, 95 %",
        f"{'':32s} {'':7s}  {'':15s}  {'':5s}  {'Brier':26s}  log score",
    ]
    base_brier = brier_scores(pooled[reference], data.outcomes)
    base_log = log_scores(pooled[reference], data.outcomes)
    for name, p in pooled.items():
        brier, log = brier_scores(p, data.outcomes), log_scores(p, data.outcomes)
        line = f"{name:32s} {brier.mean():7.4f}  {_interval(_clustered(brier, data)):15s}  {log.mean():5.3f}"
        if name != reference:
            line += f"  {_difference(brier - base_brier, data, 4):26s}  {_difference(log - base_log, data, 3)}"
        lines.append(line)
    return lines


def _clustered(values: Floats, data: Data) -> Interval:
    return mean_interval(values, data.clusters)


def _difference(values: Floats, data: Data, digits: int) -> str:
    interval = _clustered(values, data)
    shown = f"{values.mean():+.{digits}f}"
    return (
        f"{shown} ({interval.low:+.{digits}f} … {interval.high:+.{digits}f})"
        if interval.known
        else shown
    )


def comparison_rows(data: Data) -> dict[str, Floats]:
    """Always 50 %, the questions' own base rate, and the crowd where every question has one."""
    n = len(data.outcomes)
    rows = {
        "always 50 %": np.full(n, 0.5),
        "base rate (of these questions)": np.full(n, data.outcomes.mean()),
    }
    for column, name in (
        ("baseline_crowd", "crowd at freeze"),
        ("crowd_at_due", "crowd at due date"),
    ):
        values = [row.get(column) for row in data.rows]
        if all(value is not None for value in values):
            rows[name] = np.array(values, dtype=np.float64)
    return rows


def report(data: Data, group: str, models: Sequence[str], kind: str) -> list[str]:
    """The tables of one group of models on one kind of questions (``market``, ``dataset`` or ``all``)."""
    columns = [data.models.index(name) for name in models]
    keep: NDArray[np.bool_] = np.asarray(np.isfinite(data.forecasts[:, columns]).all(axis=1))
    if kind != "all":
        keep = keep & np.array([row["source_type"] == kind for row in data.rows])
    chosen = data.select(keep, models)
    lines = ["", f"## {group}: {len(models)} models, {kind} questions", ""]
    if len(set(chosen.clusters)) < config.CROSS_VALIDATION_FOLDS:
        return [*lines, "too few questions answered by all of these models"]
    lines.append(
        f"{len(chosen.outcomes)} questions, {len(set(chosen.clusters))} clusters, share of yes {chosen.outcomes.mean():.3f}"
    )
    singles = {name: chosen.forecasts[:, number] for number, name in enumerate(models)}
    rows = {**comparison_rows(chosen), **singles, **pools(chosen)}
    lines += table(chosen, rows, "linear")
    _, factors = extremised_by_fit(chosen.forecasts, chosen.outcomes, chosen.clusters)
    lines.append(
        f"extremising factors chosen on the five folds: {', '.join(f'{f:.1f}' for f in factors)}"
    )
    return lines + leave_one_out(chosen)


def leave_one_out(data: Data) -> list[str]:
    """What the linear and the geometric pool lose or gain when one model is left out."""
    lines = [
        f"{'leaving out':32s} {'linear':>8s} {'geometric':>10s}   change of the linear pool's Brier score, 95 %"
    ]
    full = {pool: brier_scores(pool(data.forecasts), data.outcomes) for pool in (linear, geometric)}
    for number, name in enumerate(data.models):
        rest = np.delete(data.forecasts, number, axis=1)
        scores = {pool: brier_scores(pool(rest), data.outcomes) for pool in full}
        change = _difference(scores[linear] - full[linear], data, 4)
        lines.append(
            f"{name:32s} {scores[linear].mean():8.4f} {scores[geometric].mean():10.4f}   {change}"
        )
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Print every table; 0, or 2 when the data cannot be used."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/pools.py", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=DEFAULT_FOLDER,
        help="default: ../shared/data/forecastbench",
    )
    if problems := settings.load(config) or settings.setting_problems(config):
        parser.error("\n".join(problems))
    try:
        data = load(parser.parse_args(argv).folder)
    except BenchmarkError as error:
        print(f"pools.py: {error}", file=sys.stderr)
        return 2
    print(
        f"{len(data.outcomes)} questions with forecasts of {len(data.models)} model configurations"
    )
    for group, belongs in GROUPS.items():
        # A model that answered few questions would shrink every table to those.
        models = [
            m
            for i, m in enumerate(data.models)
            if belongs(m) and np.isfinite(data.forecasts[:, i]).mean() > 0.9
        ]
        if len(models) > 1:
            for kind in ("market", "dataset", "all"):
                print("\n".join(report(data, group, models, kind)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
