"""Score models, crowd, base rate, assisted and final forecasts on resolved questions.

    python benchmarks/forecast_quality.py FOLDER [--choices] [--pasts]

FOLDER has, each optional:

    rounds/DATE-llm.json, rounds/DATE_resolution_set.json   ForecastBench rounds
    questions_*.jsonl        resolved questions, as for --backtest
    llm_forecasts.csv        a column for each model, a probability (0-1) for each question of those

Every number is made by the program's own functions: readers, base rates, weights, calibration. A
question is forecast from its due date; only what was resolved before that day is used (relatives,
weights, calibration). Groups of models are told by their columns' names: ``-none-c0-`` without
search, ``-brave-c0-`` with search, ``-brave-c1-`` with search and the price shown. The price is that
of the freeze date, which those models saw.

Intervals are 95 %, over clusters of related questions (evaluation/intervals.py). ``--choices`` adds
the tables from which the default weights were chosen, what these rows can show at all, and choices
made on other rows than those they are scored on. ``--pasts`` adds base rates with every set of
earlier rounds as the past. The output is in docs/quality.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import config  # noqa: E402 - the folder of the modules has to be known first
from benchmarks.quality_checks import (  # noqa: E402
    Trial,
    constants_tables,
    cross_fit_table,
    pasts_tables,
    power_table,
)
from benchmarks.resolved_forecasts import Asked, Group, load  # noqa: E402
from evaluation.assistance import DEFAULTS, VoiceWeights  # noqa: E402
from evaluation.intervals import mean_interval  # noqa: E402
from evaluation.metrics import brier_scores, log_scores  # noqa: E402
from preflight import settings  # noqa: E402
from questions.cells import InputError  # noqa: E402

Floats = NDArray[np.float64]
GROUPS: Final[Mapping[str, tuple[str, bool]]] = {
    "models alone": ("-none-c0-", False),
    "models with search": ("-brave-c0-", False),
    "models with search and price": ("-brave-c1-", True),
}


# --- tables ---------------------------------------------------------------------------------------


def scores_line(name: str, p: Floats, y: Floats) -> str:
    """One row: Brier score, log score, Brier Index."""
    brier = brier_scores(p, y).mean()
    return f"| {name} | {brier:.4f} | {log_scores(p, y).mean():.4f} | {index(brier):.1f} |"


def index(brier: float) -> float:
    """ForecastBench's Brier Index, 100 (1 - root of the mean Brier score)."""
    return float(100 * (1 - np.sqrt(brier)))


def difference(first: Floats, second: Floats, y: Floats, clusters: Sequence[str]) -> str:
    """Brier score of the first minus that of the second, with its interval."""
    gain = brier_scores(first, y) - brier_scores(second, y)
    interval = mean_interval(gain, clusters)
    span = f"{interval.low:+.4f}, {interval.high:+.4f}" if interval.known else "–"
    return f"{gain.mean():+.4f} ({span})"


def group_tables(rows: Sequence[Asked]) -> list[str]:
    """Scores of each group of models on market and dataset questions."""
    lines = []
    for name, (columns, shown) in GROUPS.items():
        for kind, market in (("market", True), ("dataset", False)):
            group = Group.of((r for r in rows if r.is_market is market), columns, shown)
            if group.rows:
                lines += ["", *_group_table(f"{name}, {kind} questions", group, market)]
    return lines


def _group_table(title: str, group: Group, market: bool) -> list[str]:
    y, clusters = group.outcomes, [row.cluster for row in group.rows]
    found = {"models": group.pool}
    if market:
        found["crowd"] = np.array([0.5 if r.price is None else r.price for r in group.rows])
    found["base rate"] = np.array([row.base for row in group.rows])
    found["assisted, default weights"] = group.assisted(lambda _: DEFAULTS)
    found["assisted, learnt weights"] = group.learnt()
    found["final"] = group.final()
    lines = [
        f"**{title}** ({y.size} questions, {len(set(clusters))} clusters)",
        "",
        "| forecast | Brier | log score | Brier Index | minus models | minus crowd |",
        "|---|---|---|---|---|---|",
    ]
    for name, p in found.items():
        gains = [
            difference(p, found[other], y, clusters) if other in found and other != name else ""
            for other in ("models", "crowd")
        ]
        lines.append(f"{scores_line(name, p, y)} {gains[0]} | {gains[1]} |")
    return lines


def rounds_table(
    rows: Sequence[Asked], title: str, forecast: Callable[[Asked], float]
) -> list[str]:
    """Scores of a forecast without any model, by source and due date."""
    if not rows:
        return []
    parts: dict[str, Sequence[Asked]] = {"all": rows}
    for name, key in (("source", lambda r: r.source), ("due", lambda r: r.day)):
        for value in sorted(set(map(key, rows))):
            parts[f"{name} {value}"] = [row for row in rows if key(row) == value]
    lines = ["", f"**{title}**", ""]
    lines += ["| rows | n | yes | Brier | log score | Brier Index | minus always 50 % |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, part in parts.items():
        y, p = np.array([float(r.outcome) for r in part]), np.array([forecast(r) for r in part])
        half = difference(p, np.full_like(p, 0.5), y, [row.cluster for row in part])
        lines.append(f"| {name} {scores_line(f'{y.size} | {y.mean():.2f}', p, y)} {half} |")
    return lines


def all_rounds(rows: Sequence[Asked]) -> list[str]:
    """Base rates of the rounds' questions, and the crowd on those that have a price."""
    rounds = [row for row in rows if row.origin == "round"]
    series, markets = ([r for r in rounds if r.is_market is m] for m in (False, True))
    priced = [row for row in markets if row.price is not None]
    return [
        *rounds_table(
            series, "Base rates alone, dataset questions of the rounds", lambda r: r.base
        ),
        *rounds_table(
            markets, "Base rates alone, market questions of the rounds", lambda r: r.base
        ),
        *rounds_table(priced, "Crowd alone, market questions", lambda r: r.price or 0.0),
    ]


def choice_tables(rows: Sequence[Asked]) -> list[str]:
    """Brier scores of assisted pools by weight, for each group and round of forecasts."""
    lines, factors = list[str](), (1, 1.1, 1.2, 1.3, 1.5)
    for setting, market, values in (
        ("market", True, (0, 0.25, 0.5, 1, 2, 3, 5, 10)),
        ("base_rate", False, (0, 0.25, 0.5, 1, 2)),
        ("sharpening", True, factors),
        ("sharpening", False, factors),
    ):
        lines += [
            "",
            f"**Brier by `{setting}`, {'market' if market else 'dataset'} questions**",
            "",
        ]
        lines += ["| models | due | " + " | ".join(map(str, values)) + " |"]
        lines += ["|---|---|" + "---|" * len(values)]
        for name, (columns, shown) in GROUPS.items():
            group = Group.of((r for r in rows if r.is_market is market), columns, shown)
            field = "market_shown" if setting == "market" and shown else setting
            tried = [VoiceWeights(**{**asdict(DEFAULTS), field: value}) for value in values]
            pools = [group.assisted(dict.fromkeys(group.days, w).__getitem__) for w in tried]
            for day in sorted(set(group.days)):
                here = np.array([other == day for other in group.days])
                scores = (brier_scores(p[here], group.outcomes[here]).mean() for p in pools)
                lines.append(f"| {name} | {day} | " + " | ".join(f"{s:.4f}" for s in scores) + " |")
    return lines


def check_tables(rows: Sequence[Asked]) -> list[str]:
    """What these rows can show, and choices scored on other rows."""
    trials = [
        Trial(f"{name}, {kind}", group)
        for kind, market in (("market", True), ("dataset", False))
        for name, (columns, shown) in GROUPS.items()
        if (group := Group.of((r for r in rows if r.is_market is market), columns, shown)).rows
    ]
    return [*power_table(trials), *cross_fit_table(trials), *constants_tables(rows)]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; 0, or 2 when the data cannot be used."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="the folder of the data")
    parser.add_argument("--choices", action="store_true", help="add the tables of weights")
    parser.add_argument("--pasts", action="store_true", help="add base rates with other pasts")
    arguments = parser.parse_args(argv)
    if problems := settings.load(config) or settings.setting_problems(config):
        parser.error("\n".join(problems))
    try:
        rows = load(arguments.folder)
    except (OSError, ValueError, InputError) as error:
        print(f"forecast_quality.py: {error}", file=sys.stderr)
        return 2
    print(f"{len(rows)} resolved rows, {sum(row.models is not None for row in rows)} with models")
    print("\n".join([*all_rounds(rows), *group_tables(rows)]))
    if arguments.choices:
        print("\n".join([*choice_tables(rows), *check_tables(rows)]))
    if arguments.pasts:
        print("\n".join(pasts_tables(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
