"""Split a change between two runs exactly into the parts of what it is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Final

from evaluation.changes import like_for_like
from evaluation.mixed_prompts import (
    DATE,
    EVIDENCE,
    FACTS,
    NOTES,
    WORDING,
    Mix,
    Scores,
    Side,
    swapped,
)
from questions.cells import counted
from scoring.pooling import Voice, pool_voices
from scoring.prompts import Passage

# Ingredients beside those of the prompts: wordings of the request, models, pooling method.
SETTINGS: Final = "settings"
MODELS: Final = "models"
POOL: Final = "pool"
# Titles of new passages that are named.
LISTED: Final = 3


@dataclass(frozen=True)
class Part:
    """One part of a change, in points."""

    name: str
    points: float
    detail: str = ""


@dataclass(frozen=True)
class Rescored:
    """What models read again, by path, and why others did not; ``parts`` were swapped."""

    parts: Mapping[str, Mix]
    scores: Mapping[str, Scores]
    failed: Mapping[str, str]

    @property
    def whole(self) -> Mix:
        """The later run's prompt."""
        return frozenset().union(*self.parts.values())

    def models(self, side: Side) -> dict[str, str]:
        """Return the models of a run that were read again: paths by name."""
        return {name: path for name, path in side.models.items() if path in self.scores}

    def pooled(
        self, models: Mapping[str, str], mix: Mix, wordings: int, method: str, without: int = 0
    ) -> float:
        """Return the pool's mean in percent after a mix."""
        voices = {
            name: self.scores[path].voice(mix, wordings, without) for name, path in models.items()
        }
        return pool_mean(voices, method)


def shapley(players: Sequence[str], value: Callable[[frozenset[str]], float]) -> dict[str, float]:
    """Return each player's Shapley value: its mean contribution over all orders.

    ``value`` is asked once for each of the 2^k sets of players. The parts sum to
    ``value(all) - value(none)`` but for rounding (Shapley 1953, A value for n-person games).
    """
    known = cache(value)
    count = len(players)
    parts = {}
    for player in players:
        others = [one for one in players if one != player]
        parts[player] = math.fsum(
            (known(frozenset(chosen) | {player}) - known(frozenset(chosen)))
            / (count * math.comb(count - 1, size))
            for size in range(count)
            for chosen in combinations(others, size)
        )
    return parts


def exact_parts(then: Side, now: Side, rescored: Rescored) -> list[Part]:
    """Split the change of the models' number: Shapley values, and what is left.

    The parts sum to the stored change: what today's engine does not repeat, and models that cannot
    be loaded, are parts of their own.
    """
    loaded = rescored.models(then), rescored.models(now)
    players = [
        *rescored.parts,
        *([SETTINGS] if then.wordings != now.wordings else []),
        *([MODELS] if loaded[0] != loaded[1] else []),
        *([POOL] if then.pool.method != now.pool.method else []),
    ]

    def value(chosen: frozenset[str]) -> float:
        later = {name: now if name in chosen else then for name in (SETTINGS, POOL)}
        mix = frozenset().union(*(rescored.parts.get(name, ()) for name in chosen))
        models = loaded[MODELS in chosen]
        return rescored.pooled(models, mix, later[SETTINGS].wordings, later[POOL].pool.method)

    points = shapley(players, value)
    parts = [Part(name, points[name], detail(name, then, now)) for name in players]
    change = now.pool.mean - then.pool.mean
    read_then = pool_mean({name: then.voices[name] for name in loaded[0]}, then.pool.method)
    read_now = pool_mean({name: now.voices[name] for name in loaded[1]}, now.pool.method)
    gone = sorted({*then.models.values(), *now.models.values()} - rescored.scores.keys())
    if gone:
        which = f"stored; {', '.join(gone)} cannot be asked again"
        parts.append(Part("models gone", change - (read_now - read_then), which))
    repeated = value(frozenset(players)) - value(frozenset())
    causes = "engine, batch, versions, weights, settings"
    return [*parts, Part("not repeated", read_now - read_then - repeated, causes)]


def stored_parts(then: Side, now: Side) -> list[Part]:
    """Split the change as far as stored numbers allow: prompts, pool, models."""
    change, shared = now.pool.mean - then.pool.mean, {*then.voices} & {*now.voices}
    prompts = like_for_like(then.voices, now.voices, then.pool.method)
    if prompts is None:
        return [Part(MODELS, change, "stored; no model is in both runs")]
    old, new = then.pool.method, now.pool.method
    pool = pool_mean({name: now.voices[name] for name in shared}, new)
    pool -= pool_mean({name: now.voices[name] for name in shared}, old)
    differ = [*swapped(then, now), *([SETTINGS] if then.wordings != now.wordings else [])]
    parts = [Part("answers", prompts, f"of the same models; differs: {', '.join(differ) or 'no'}")]
    if old != new:
        parts.append(Part(POOL, pool, detail(POOL, then, now)))
    if {*then.voices} != {*now.voices}:
        parts.append(Part(MODELS, change - prompts - pool, detail(MODELS, then, now)))
    else:
        parts[0] = Part("answers", change - (pool if old != new else 0), parts[0].detail)
    return parts


def pool_mean(voices: Mapping[str, Voice], method: str) -> float:
    """Return the mean of a pool in percent."""
    return pool_voices(voices, method).voice.distribution.mean


# --- details --------------------------------------------------------------------------------------


def detail(name: str, then: Side, now: Side) -> str:
    """Say how an ingredient differs."""
    old, new = then.asked.question, now.asked.question
    texts = {
        EVIDENCE: lambda: _evidence(then.quoted, now.quoted),
        FACTS: lambda: "; ".join(now.facts) or "none is shown any more",
        NOTES: lambda: "written anew",
        WORDING: lambda: (
            f"“{old.text}” -> “{new.text}”" if old.text != new.text else "background or criteria"
        ),
        DATE: lambda: f"{then.day} -> {now.day}",
        SETTINGS: lambda: f"wordings of the request {then.wordings} -> {now.wordings}",
        MODELS: lambda: _signs(then.models, now.models),
        POOL: lambda: f"{then.pool.method} -> {now.pool.method}",
    }
    return texts[name]()


def _signs(then: Iterable[str], now: Iterable[str]) -> str:
    added, lost = sorted({*now} - {*then}), sorted({*then} - {*now})
    return ", ".join([*(f"+ {one}" for one in added), *(f"- {one}" for one in lost)])


def _evidence(then: Sequence[Passage], now: Sequence[Passage]) -> str:
    old, new = ({(one.source, one.title, one.text) for one in side} for side in (then, now))
    fresh = (one.title for one in now if (one.source, one.title, one.text) not in old)
    titles = [*dict.fromkeys(fresh)][:LISTED]
    found = f"{counted(len(new - old), 'passage')} new, {len(old - new)} gone"
    return f"{found}; new: {', '.join(titles)}" if titles else found
