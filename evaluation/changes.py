"""Show what changed since the last run of each question, like for like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from database import Database
from evaluation.resolved import read_voices
from evaluation.run_differences import ABSENT, Difference, RunSettings, differences
from questions.checks import parent_id
from scoring.pooling import Voice, pool_voices
from storage.points import StoredChange
from terminal.redaction import redact
from terminal.text import cut, visible_line

# Rows of the block below the closing table; the view forecast_changes has all.
LISTED: Final = 10
# Settings that each run has of its own: the day is an ingredient, not a setting.
OF_THE_DAY: Final = ("today",)


@dataclass(frozen=True)
class Change:
    """A question's numbers beside those of its last run.

    ``models`` are points between the pools of the models that both runs have, None without any;
    ``final`` those between the final numbers, None where the models differ. ``differs`` names what
    differs beside the evidence.
    """

    stored: StoredChange
    models: float | None
    final: float | None
    differs: tuple[str, ...]

    @property
    def size(self) -> float:
        """The larger of both changes, without its sign."""
        return max(abs(self.models or 0.0), abs(self.final or 0.0))

    @property
    def passages(self) -> str:
        """How many passages in the prompts are new or gone."""
        new, gone = self.stored.passages_new, self.stored.passages_gone
        if not (new or gone):
            return "the same" if self.stored.passages else "none"
        return f"{new} new, {gone} gone"


def like_for_like(then: Mapping[str, Voice], now: Mapping[str, Voice], method: str) -> float | None:
    """Return points between two pools of the models that both have, if any."""
    shared = sorted({*then} & {*now})
    if not shared:
        return None
    old, new = (pool_voices({name: one[name] for name in shared}, method) for one in (then, now))
    return new.voice.distribution.mean - old.voice.distribution.mean


def run_settings(database: Database, run_id: int) -> RunSettings:
    """Read what decides a stored run's numbers."""
    run = database.runs.get(run_id)
    return RunSettings(run.settings, run.seed, run.versions, database.runs.weights(run_id))


def run_differences(database: Database, then: int, now: int) -> list[Difference]:
    """Compare two stored runs; what changes a number's last digits only is left out.

    Of a group that one run does not have (``retrieval``) only its name is told.
    """
    found = differences(run_settings(database, then), run_settings(database, now))
    names = {one.name for one in found}
    return [
        _group(one, names)
        for one in found
        if not one.harmless
        and one.name not in OF_THE_DAY
        and one.name.rpartition(".")[0].partition(".")[0] not in names
    ]


def _group(one: Difference, names: Iterable[str]) -> Difference:
    """Return a difference; of a group of settings whether it is there."""
    if not any(name.startswith(f"{one.name}.") for name in names):
        return one
    then, now = ("set" if value == ABSENT else value for value in (one.then, one.now))
    return Difference(one.name, then, now)


def changes(database: Database, run_id: int) -> list[Change]:
    """Return how a run's questions changed since their last run, largest first."""
    asked = database.runs.questions(run_id)
    checks = {row.id for row in asked if parent_id(row.extra) is not None}
    stored = [one for one in database.points.changes(run_id) if one.question_id not in checks]
    between = {
        then: run_differences(database, then, run_id) for then in {one.run_before for one in stored}
    }
    moved = _models_changes(database, run_id, stored)
    found = [
        Change(
            one,
            moved[one.question_id],
            one.final_change,
            tuple(_differs(one, between[one.run_before])),
        )
        for one in stored
    ]
    return sorted(found, key=lambda one: -one.size)


def _models_changes(
    database: Database, run_id: int, stored: Iterable[StoredChange]
) -> dict[str, float | None]:
    """Take stored changes where they are the pools' own; else pool the voices again."""
    found: dict[str, float | None] = {}
    others = []
    for one in stored:
        if one.models_change == one.models - one.models_before:
            found[one.question_id] = one.models_change
        else:
            others.append(one)
    pairs = [((one.run_before, one.question_before), (one.run, one.question_id)) for one in others]
    voices = read_voices(database, [key for pair in pairs for key in pair])
    methods = {pool.question_id: pool.method for pool in database.forecasts.ensembles(run_id)}
    for then, now in pairs:
        method = methods[now[1]]
        found[now[1]] = like_for_like(voices.get(then, {}), voices.get(now, {}), method)
    return found


def _differs(one: StoredChange, between: Sequence[Difference]) -> Iterable[str]:
    if one.wording_differs:
        yield "wording"
    if one.agents != one.agents_before or any(found.of_models for found in between):
        yield "models"
    if any(not found.of_models for found in between):
        yield "settings"


def change_lines(database: Database, run_id: int, columns: int) -> list[str]:
    """Return the block of the closing table, in lines of at most so many columns."""
    found = changes(database, run_id)
    if not found:
        return []
    runs = {one.stored.run_before for one in found}
    since = f"run {min(runs)}" if len(runs) == 1 else "the last run of each question"
    title = f"What changed since {since}, in points (models that both have)"
    final = any(one.stored.final != one.stored.models for one in found)
    rows = [_cells(one, final=final) for one in found[:LISTED]]
    head = [f"{'models':>6}", *([f"{'final':>6}"] if final else []), "passages", "differs"]
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    texts = ["question", *(redact(one.stored.text) for one in found)]
    lines = ["", cut(title, columns)]
    for cells, text in zip([head, *rows], texts, strict=False):
        start = "  ".join(f"{cell:<{size}}" for cell, size in zip(cells, widths, strict=True))
        lines.append(cut(visible_line(f"{start}  {text}"), columns))
    if rest := found[LISTED:]:
        lines.append(f"and {len(rest)} more, none by more than {rest[0].size:.1f}")
    return [*lines, *_settings_lines(database, run_id, runs)]


def change_rows(database: Database, run_id: int) -> list[dict[str, Any]]:
    """Return every change for programs, largest first; probabilities are 0-1."""
    found = changes(database, run_id)
    runs = sorted({one.stored.run_before for one in found})
    between = {then: list(map(str, run_differences(database, then, run_id))) for then in runs}
    return [
        {
            "question": one.stored.text,
            "id": one.stored.question_id,
            "run_before": one.stored.run_before,
            "models": one.stored.models / 100,
            "models_before": one.stored.models_before / 100,
            "models_points": one.models,
            "final": one.stored.final / 100,
            "final_before": one.stored.final_before / 100,
            "final_points": one.final,
            "passages": one.stored.passages,
            "passages_new": one.stored.passages_new,
            "passages_gone": one.stored.passages_gone,
            "differs": one.differs,
            "differences": between[one.stored.run_before],
        }
        for one in found
    ]


def _cells(one: Change, *, final: bool) -> list[str]:
    """Return a row; settings are the same for all questions and are named below."""
    numbers = [_signed(one.models), *([_signed(one.final)] if final else [])]
    return [*numbers, one.passages, ", ".join(name for name in one.differs if name != "settings")]


def _signed(points: float | None) -> str:
    return f"{'none':>6}" if points is None else f"{points:>+6.1f}"


def _settings_lines(database: Database, run_id: int, runs: Iterable[int]) -> list[str]:
    names: dict[str, None] = {}
    for then in sorted(runs):
        names |= dict.fromkeys(map(_place, run_differences(database, then, run_id)))
    if not names:
        return []
    listed = [*names][:LISTED]
    more = f" and {len(names) - len(listed)} more" if len(names) > len(listed) else ""
    return [f"Differs between the runs: {', '.join(listed)}{more}."]


def _place(one: Difference) -> str:
    """Return a setting's name; of a model's entry the model's."""
    parts = one.name.split(".")
    return f"model {parts[1]}" if parts[0] == "models" and len(parts) > 1 else one.name
