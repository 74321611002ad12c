"""Compare a replay with the run that it replays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from database import Database
from scoring.distribution import total_variation
from storage.records import Forecast


@dataclass(frozen=True)
class Pair:
    """A model's forecast of a question in a run and in its replay.

    Args:
        distance: total variation between the distributions.
        points: percentage points between the means.
    """

    question: str
    agent: str
    chunk: int
    then: Forecast | None
    now: Forecast | None
    distance: float | None = None
    points: float | None = None

    @property
    def same_prompt(self) -> bool | None:
        """Whether both prompts are the same; None where one is missing."""
        if not (self.then and self.now):
            return None
        return self.then.prompt_sha256 == self.now.prompt_sha256

    def line(self) -> str:
        """Return the row of the table."""
        label = f"{self.agent[:24]:<24}  {self.question[:24]:<24}"
        label += f" (chunk {self.chunk})" if self.chunk else ""
        if self.distance is None or self.points is None:
            return f"{label}  then: {_state(self.then)}; now: {_state(self.now)}"
        same = "same" if self.same_prompt else "differs"
        return f"{label}  {self.distance:>8.2g}  {self.points:>+7.2f}  {same}"

    def document(self) -> dict[str, Any]:
        """Return the same for programs."""
        return {
            "model": self.agent,
            "id": self.question,
            "chunk": self.chunk,
            "total_variation": self.distance,
            "points": self.points,
            "same_prompt": self.same_prompt,
            "then": _state(self.then),
            "now": _state(self.now),
        }


def replay_pairs(database: Database, origin: int, replayed: int) -> list[Pair]:
    """Pair the forecasts of a run with those of its replay."""
    before = {_key(one): one for one in database.forecasts.of_run(origin)}
    after = {_key(one): one for one in database.forecasts.of_run(replayed)}
    pairs = []
    for key in before | after:
        old, new = before.get(key), after.get(key)
        pair = Pair(*key, old, new)
        if old and new and old.distribution and new.distribution:
            distance = total_variation(old.distribution, new.distribution)
            pair = replace(pair, distance=distance, points=new.mean - old.mean)
        pairs.append(pair)
    return pairs


def replay_lines(database: Database, origin: int, replayed: int) -> list[str]:
    """Return how far each model's forecast of each question moved from run to run."""
    pairs = replay_pairs(database, origin, replayed)
    worst = max((one.distance for one in pairs if one.distance is not None), default=0.0)
    closing = f"Run {replayed} replays run {origin}: the largest total variation is {worst:.2g}"
    if unmatched := sum(one.distance is None for one in pairs):
        closing += f"; {unmatched} forecasts cannot be compared"
    head = f"{'agent':<24}  {'question':<24}  {'TV':>8}  {'points':>7}  prompt"
    return [head, *(one.line() for one in pairs), "", closing + "."]


def _key(one: Forecast) -> tuple[str, str, int]:
    return one.question_id, one.agent, one.chunk


def _state(one: Forecast | None) -> str:
    if one is None:
        return "none"
    return "a forecast" if one.error is None else f"failed ({one.error})"
