"""Check the choices behind the assisted forecast on rows that they were not made on.

Used by forecast_quality.py: ``--pasts`` scores the base rates with every set of earlier rounds as
the past; ``--choices`` adds how large an improvement these data could show (power), and constants
chosen on one part of the rows and scored on the other (cross-fit).
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.resolved_forecasts import Asked, Group, with_rates
from evaluation import base_rates, templates
from evaluation.assistance import DEFAULTS, VoiceWeights
from evaluation.intervals import clustered_mean, mean_interval
from evaluation.metrics import brier_scores

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
# A weight of the second voice and a sharpening.
Choice = tuple[float, float]

WEIGHTS: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0)
SHARPENINGS: Final = (1.0, 1.1, 1.2, 1.3, 1.5, 2.0, 2.5)
# Constants of the base rates, the defaults among them.
CONSTANTS: Final = {
    "STRENGTH": (1.0, 2.0, 3.0, 5.0, 10.0),
    "MONTH_CORRELATION": (0.0, 0.05, 0.1, 0.15, 0.2, 0.3),
    "FEW": (1, 5, 10, 20),
    "OPENING_WORDS": (6, 7, 8, 10),
}


# --- every set of earlier rounds as the past ------------------------------------------------------


def pasts_tables(rows: Sequence[Asked]) -> list[str]:
    """Score base rates of the rounds with every set of earlier rounds as the past."""
    days = sorted({row.day for row in rows if row.origin == "round"})
    found = dict[tuple[str, ...], dict[str, Floats]]()
    for known in _pasts(days[:-1]):
        past = [row for row in rows if (row.day if row.origin == "round" else "others") in known]
        if losses := _losses(rows, past):
            found[known] = losses
    if tuple(days[:-1]) not in found:
        return ["", "Base rates with other pasts need two rounds, the later one due after answers."]
    lines = ["", "**Base rates with other pasts, Brier score minus 0.25**", ""]
    kinds = sorted({kind for losses in found.values() for kind in losses})
    lines += ["| past | pasts | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 2) + "|"]
    sets = defaultdict[str, list[tuple[str, ...]]](list)
    for known in found:
        sets[_named(known)].append(known)
    for name, members in sets.items():
        means = (
            _mean([found[one][kind] for one in members if kind in found[one]]) for kind in kinds
        )
        lines.append(f"| {name} | {len(members)} | " + _numbers(means))
    worst = (max(x[kind].mean() for x in found.values() if kind in x) for kind in kinds)
    lines.append(f"| the worst past of each | {len(found)} | " + _numbers(worst))
    whole = found[tuple(days[:-1])]["dataset"]
    count = sum(row.origin == "round" and not row.is_market for row in rows)
    with_first = 0.25 + whole.sum() / count
    lines += [
        "",
        f"Rounds alone: {0.25 + whole.mean():.4f} without the first, {with_first:.4f} with",
    ]
    return lines


def _pasts(days: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Return every set of rounds, then the same with the other questions."""
    sets = [one for size in range(len(days) + 1) for one in itertools.combinations(days, size)]
    yield from sets[1:]
    yield from ((*one, "others") for one in sets)


def _named(known: Sequence[str]) -> str:
    rounds = len(known) - ("others" in known)
    name = f"{rounds} round{'s' * (rounds != 1)}" if rounds else ""
    return " and ".join(filter(None, [name, "other questions" * ("others" in known)]))


def _losses(rows: Sequence[Asked], past: Sequence[Asked]) -> dict[str, Floats]:
    """Brier score minus 0.25 of the rounds' rows that have a past, by source."""
    start = min((row.past.known_on for row in past), default="9999")
    asked = [row for row in rows if row.origin == "round" and row.day > start]
    found = defaultdict[str, list[float]](list)
    for row in with_rates(asked, past):
        loss = (row.base - row.outcome) ** 2 - 0.25
        found["market" if row.is_market else "dataset"].append(loss)
        if not row.is_market:
            found[row.source].append(loss)
    return {kind: np.array(losses) for kind, losses in found.items()}


def _mean(losses: Sequence[Floats]) -> float:
    """Average over pasts, each past alike."""
    return float(np.mean([one.mean() for one in losses])) if losses else float("nan")


def _numbers(values: Iterator[float]) -> str:
    return " | ".join(f"{value:+.4f}" for value in values) + " |"


# --- power ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """A group of models on one kind of question, with weights to try on it."""

    name: str
    group: Group

    @cached_property
    def clusters(self) -> list[str]:
        """The cluster of each row."""
        return [row.cluster for row in self.group.rows]

    @cached_property
    def models(self) -> Floats:
        """Brier scores of the models' pool, shape (n,)."""
        return brier_scores(self.group.pool, self.group.outcomes)

    @cached_property
    def gain(self) -> Floats:
        """Brier scores with the default weights minus the models'."""
        pool = self.group.assisted(lambda _: DEFAULTS)
        return brier_scores(pool, self.group.outcomes) - self.models

    @cached_property
    def tried(self) -> dict[Choice, Floats]:
        """Brier scores minus the models' by choice."""
        return {
            (weight, factor): brier_scores(
                self.group.assisted(_constant(weight, factor)), self.group.outcomes
            )
            - self.models
            for weight in WEIGHTS
            for factor in SHARPENINGS
        }

    def best(self, rows: Mask) -> Choice:
        """Return the choice with the lowest mean score over some rows."""
        return min(self.tried, key=lambda one: float(self.tried[one][rows].mean()))

    def surest(self, rows: Mask) -> Choice:
        """Return the choice, with a second voice, whose mean plus two errors is lowest."""
        clusters = [name for name, here in zip(self.clusters, rows, strict=True) if here]

        def upper(choice: Choice) -> float:
            found = clustered_mean(self.tried[choice][rows], clusters)
            return found.mean + 2 * found.error if found else float(self.tried[choice][rows].mean())

        return min((one for one in self.tried if one[0] > 0), key=upper)

    def shown(self, gain: Floats) -> str:
        """Write a mean difference with its interval."""
        found = mean_interval(gain, self.clusters)
        span = f"{found.low:+.4f}, {found.high:+.4f}" if found.known else "–"
        return f"{gain.mean():+.4f} ({span})"


def _constant(weight: float, factor: float) -> Callable[[str], VoiceWeights]:
    weights = replace(
        DEFAULTS, market=weight, market_shown=weight, base_rate=weight, sharpening=factor
    )
    return lambda _: weights


def power_table(trials: Sequence[Trial]) -> list[str]:
    """Table how large an improvement these questions could show, and the largest.

    The improvement that the interval would just tell from 0 is the distance from the mean to the
    interval's upper end; it is told four times in five when it is (1.96 + 0.84) / 1.96 = 1.43 times
    as large. The oracle has the weight and the sharpening that are best on the very rows, the surest
    choice those whose improvement is furthest from 0 in its standard errors there.
    """
    lines = ["", "**What could be shown: Brier score of the assisted minus the models**", ""]
    lines += ["| group | clusters | defaults | needed | needed, 80 % | oracle | surest choice |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for trial in trials:
        whole = np.ones(trial.gain.size, dtype=np.bool_)
        chosen = (
            f"{trial.shown(trial.tried[one])} at {one[0]:g}, {one[1]:g}"
            for one in (trial.best(whole), trial.surest(whole))
        )
        high = mean_interval(trial.gain, trial.clusters).high - trial.gain.mean()
        needed = f"{high:.4f} | {1.43 * high:.4f}" if np.isfinite(high) else "– | –"
        lines.append(
            f"| {trial.name} | {len(set(trial.clusters))} | {trial.shown(trial.gain)} |"
            f" {needed} | {' | '.join(chosen)} |"
        )
    return lines


# --- cross-fit ------------------------------------------------------------------------------------


def cross_fit_table(trials: Sequence[Trial]) -> list[str]:
    """Choose weight and sharpening on one half, score the other, both ways.

    What is chosen is best on average, or surest.
    """
    lines = ["", "**Weights chosen on one half, scored on the other: assisted minus models**", ""]
    lines += [
        "| group | halves | best | cross-fit | surest | cross-fit |",
        "|---|---|---|---|---|---|",
    ]
    for trial in trials:
        days = trial.group.days
        order = {cluster: number for number, cluster in enumerate(sorted(set(trial.clusters)))}
        halves = {
            "due dates": np.array([day == min(days) for day in days]),
            "clusters": np.array([order[cluster] % 2 == 0 for cluster in trial.clusters]),
        }
        for kind, first in halves.items():
            if first.all() or not first.any():
                continue
            cells = list[str]()
            for choose in (trial.best, trial.surest):
                chosen = [choose(half) for half in (~first, first)]
                scores = np.where(first, trial.tried[chosen[0]], trial.tried[chosen[1]])
                words = " / ".join(f"{weight:g}, {factor:g}" for weight, factor in chosen)
                cells += [words, trial.shown(scores)]
            lines.append(f"| {trial.name} | {kind} | {' | '.join(cells)} |")
    return lines


def constants_tables(rows: Sequence[Asked]) -> list[str]:
    """Score the rounds' dataset rows by constant, and choices without each round."""
    asked = [row for row in rows if row.origin == "round" and not row.is_market]
    days = np.array([row.day for row in asked])
    outcomes = np.array([row.outcome for row in asked], dtype=np.float64)
    pasts = {
        "all": list(rows),
        "rounds alone": [row for row in rows if row.origin == "round"],
    }
    lines = list[str]()
    for past, known in pasts.items():
        scores = dict[tuple[str, float], Floats]()
        for name, values in CONSTANTS.items():
            for value in values:
                with _constants(name, value):
                    p = np.array([row.base for row in with_rates(asked, known)])
                scores[name, value] = brier_scores(p, outcomes)
        lines += ["", f"**Brier by constant of the base rates, past: {past}**", ""]
        lines += ["| constant | values |", "|---|---|"]
        for name, values in CONSTANTS.items():
            means = (f"{value:g}: {scores[name, value].mean():.4f}" for value in values)
            lines.append(f"| {name} | " + ", ".join(means) + " |")
        if len(set(days.tolist())) < 2:
            continue
        lines += ["", "| constant | chosen without each round | Brier so | with the default |"]
        lines += ["|---|---|---|---|"]
        for name, values in CONSTANTS.items():
            own = {value: scores[name, value] for value in values}
            lines.append(f"| {name} | " + _left_out(own, days, getattr(_home(name), name)))
    return lines


def _left_out(scores: Mapping[float, Floats], days: NDArray[np.str_], default: float) -> str:
    """Choose a value on all days but one and score that day, for each day."""
    whole, chosen = np.zeros(days.size), list[str]()
    for day in sorted(set(days.tolist())):
        here = days == day
        best = min(scores, key=lambda value: float(scores[value][~here].mean()))
        whole[here] = scores[best][here]
        chosen.append(f"{best:g}")
    return f"{', '.join(chosen)} | {whole.mean():.4f} | {scores[default].mean():.4f} |"


def _home(name: str) -> ModuleType:
    """Return the module that a constant of the base rates is read from."""
    return templates if hasattr(templates, name) else base_rates


@contextmanager
def _constants(name: str, value: float) -> Iterator[None]:
    """Give a constant of the base rates another value for a while."""
    module = _home(name)
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
