"""Compare a replay with the run that it replays."""

from __future__ import annotations

from database import Database
from scoring.distribution import total_variation
from storage.records import Forecast


def replay_lines(database: Database, origin: int, replayed: int) -> list[str]:
    """Return how far each model's forecast of each question moved from run to run.

    That is the total variation between the distributions, and the percentage points between the
    means.
    """
    before = {_key(one): one for one in database.forecasts.of_run(origin)}
    after = {_key(one): one for one in database.forecasts.of_run(replayed)}
    lines = [f"{'agent':<24}  {'question':<24}  {'TV':>8}  {'points':>7}  prompt"]
    worst, unmatched = 0.0, 0
    for question, agent, chunk in before | after:
        old, new = before.get((question, agent, chunk)), after.get((question, agent, chunk))
        label = f"{agent[:24]:<24}  {question[:24]:<24}" + (f" (chunk {chunk})" if chunk else "")
        if not (old and new and old.distribution and new.distribution):
            unmatched += 1
            lines.append(f"{label}  then: {_state(old)}; now: {_state(new)}")
            continue
        distance = total_variation(old.distribution, new.distribution)
        worst = max(worst, distance)
        same = "same" if old.prompt_sha256 == new.prompt_sha256 else "differs"
        lines.append(f"{label}  {distance:>8.2g}  {new.mean - old.mean:>+7.2f}  {same}")
    closing = f"Run {replayed} replays run {origin}: the largest total variation is {worst:.2g}"
    if unmatched:
        closing += f"; {unmatched} forecasts cannot be compared"
    return [*lines, "", closing + "."]


def _key(one: Forecast) -> tuple[str, str, int]:
    return one.question_id, one.agent, one.chunk


def _state(one: Forecast | None) -> str:
    if one is None:
        return "none"
    return "a forecast" if one.error is None else f"failed ({one.error})"
