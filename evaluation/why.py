"""Split a change between two runs into what made it (``analysis.py --why``)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from database import Database
from evaluation.attribution import (
    MODELS,
    Part,
    Rescored,
    detail,
    exact_parts,
    stored_parts,
)
from evaluation.changes import run_differences
from evaluation.explanation import find_question
from evaluation.mixed_prompts import (
    FACTS,
    AgentFactory,
    Mixer,
    Side,
    mixes,
    scored,
    swapped,
)
from evaluation.resolved import AnalysisError
from preflight.model_entries import ModelSpec
from preflight.rules import ConfigError
from questions.cells import counted
from storage.records import AskedQuestion
from terminal.redaction import redact
from terminal.text import cut, visible_line

# Passages that are left out one at a time, and lines of settings and titles.
LEFT_OUT: Final = 3
LISTED: Final = 10
# Settings whose differences are parts of their own.
APART: Final = ("pool_method", "scoring_wordings", "model_order")


@dataclass(frozen=True)
class Engine:
    """How models are loaded.

    ``spec`` takes a stored name and path; it raises ConfigError where the model is gone.
    """

    spec: Callable[[str, str], ModelSpec]
    agent: AgentFactory


# Returns what loads the models of a run with these settings.
OpenEngine = Callable[[Mapping[str, Any]], Engine]


def why(
    database: Database,
    name: str,
    runs: Sequence[str],
    open_engine: OpenEngine,
    *,
    passages: bool = False,
    columns: int,
) -> list[str]:
    """Return the lines of ``--why``: a question between two runs (default: its last).

    Raises:
        AnalysisError: no such question or run, or no forecast of it to compare.
    """
    then, now = _sides(database, name, runs)
    rescored = _rescored(database, then, now, open_engine, passages=passages)
    lines = [
        now.asked.text,
        f"{now.asked.id}, run {then.run_id} of {then.day} to run {now.run_id} of {now.day}",
        "",
        _numbers("models' number", then.pool.mean, now.pool.mean),
    ]
    if rescored.models(then) and rescored.models(now):
        lines += _part_lines(exact_parts(then, now, rescored))
        lines += ["", *_method_lines(then, now, rescored)]
        if passages:
            lines += ["", *_left_out(now, rescored)]
    else:
        lines += _part_lines(stored_parts(then, now))
        lines += ["", *_stored_lines(then, now, rescored)]
    lines += ["", *_final_lines(then, now), *_setting_lines(database, then, now)]
    return [cut(visible_line(redact(line)), columns) for line in lines]


def _sides(database: Database, name: str, runs: Sequence[str]) -> tuple[Side, Side]:
    asked, later = find_question(database, "--why", name, runs[1] if runs else None)
    if runs:
        earlier, before = _asked_as(database, asked, runs[0])
    else:
        found = {one.question_id: one for one in database.points.changes(later)}
        if asked.id not in found:
            raise AnalysisError(
                f"--why: run {later} is the first that forecast {asked.id!r}, or has no forecast of"
                " it; name two runs that have (--why QUESTION RUN RUN)"
            )
        earlier = found[asked.id].run_before
        questions = database.runs.questions(earlier)
        before = next(row for row in questions if row.id == found[asked.id].question_before)
    then, now = Side.read(database, earlier, before), Side.read(database, later, asked)
    if then is None or now is None:
        lacking = earlier if then is None else later
        raise AnalysisError(f"--why: run {lacking} has no forecast of {asked.id!r}")
    return then, now


def _asked_as(database: Database, asked: AskedQuestion, run: str) -> tuple[int, AskedQuestion]:
    """Find a question in another run, by its id or else its subject."""
    before, run_id = find_question(database, "--why", asked.subject, run)
    same = [row for row in database.runs.questions(run_id) if row.id == asked.id]
    return run_id, same[0] if same else before


def _rescored(
    database: Database, then: Side, now: Side, open_engine: OpenEngine, *, passages: bool
) -> Rescored:
    parts = swapped(then, now)
    wanted = {path: name for side in (then, now) for name, path in side.models.items()}
    engine = open_engine(database.runs.get(now.run_id).settings)
    specs: dict[str, ModelSpec] = {}
    failed: dict[str, str] = {}
    for path, name in wanted.items():
        try:
            specs[path] = engine.spec(name, path)
        except ConfigError as error:
            failed[path] = error.problems[0]
    asked = [(mix, 0) for mix in mixes(parts)]
    if passages:
        whole = frozenset().union(*parts.values())
        asked += [(whole, one.id) for one in now.quoted[:LEFT_OUT]]
    scores, errors = scored(Mixer(then, now), specs, engine.agent, asked)
    return Rescored(parts, scores, failed | errors)


# --- lines ----------------------------------------------------------------------------------------


def _numbers(name: str, then: float, now: float) -> str:
    return f"{name:<26} {then:5.1f} % -> {now:5.1f} %  {now - then:+6.1f}"


def _part_lines(parts: Iterable[Part]) -> list[str]:
    # Adding 0.0 takes the sign of what rounds to nothing.
    return [
        f"  {one.name:<24} {round(one.points, 1) + 0.0:+6.1f}  {one.detail}".rstrip()
        for one in parts
    ]


def _method_lines(then: Side, now: Side, rescored: Rescored) -> list[str]:
    asked = counted(2 ** len(rescored.parts), "mixed prompt")
    models = ", ".join(sorted({*rescored.models(then), *rescored.models(now)}))
    lines = [f"Shapley values over {asked} of each model ({models})."]
    if any(len(names) > 1 for names in rescored.parts.values()):
        lines.append(f"{FACTS.capitalize()} count as evidence: all else differs too.")
    built = {
        hashlib.sha256(text.encode()).hexdigest()
        for one in rescored.scores.values()
        for text in one.prompts
    }
    if not rescored.failed and not (then.prompts | now.prompts) <= built:
        lines.append("The stored prompts are built differently today; see “not repeated”.")
    return [*lines, *(f"Not asked again: {line}" for line in {*rescored.failed.values()})]


def _stored_lines(then: Side, now: Side, rescored: Rescored) -> list[str]:
    causes = "; ".join(dict.fromkeys(rescored.failed.values())) or "no model is left"
    differ = [*rescored.parts, *([MODELS] if then.models.keys() != now.models.keys() else [])]
    return [
        f"Not scored again: {causes}",
        *(f"  {name:<24} {detail(name, then, now)}" for name in differ),
    ]


def _left_out(now: Side, rescored: Rescored) -> list[str]:
    models, whole = rescored.models(now), rescored.whole
    method, wordings = now.pool.method, now.wordings
    base = rescored.pooled(models, whole, wordings, method)
    effects = [
        (base - rescored.pooled(models, whole, wordings, method, one.id), one)
        for one in now.quoted[:LEFT_OUT]
    ]
    lines = [
        f"  {one.title + ', ' + one.section if one.section else one.title}: {moved:+.1f}"
        for moved, one in sorted(effects, key=lambda pair: -abs(pair[0]))
    ]
    return ["The best passages, each left out (points with minus without):", *(lines or ["  none"])]


def _final_lines(then: Side, now: Side) -> list[str]:
    """Return the stored steps from the models' to the final number."""
    if then.numbers is None or now.numbers is None:
        return [_numbers("final number", then.pool.final_mean, now.pool.final_mean)]
    old, new = then.numbers, now.numbers
    if not (old.ingredients or new.ingredients):
        return ["Final = models in both runs."]
    steps = (
        ("models' number", old.models, new.models),
        ("market price, base rate", old.assisted - old.models, new.assisted - new.models),
        ("coherence", old.coherent - old.assisted, new.coherent - new.assisted),
        ("calibration", old.final - old.coherent, new.final - new.coherent),
    )
    parts = [Part(name, 100 * (after - before)) for name, before, after in steps]
    return [_numbers("final number", 100 * old.final, 100 * new.final), *_part_lines(parts)]


def _setting_lines(database: Database, then: Side, now: Side) -> list[str]:
    apart = [f"models.{name}." for name in {*then.models} ^ {*now.models}]
    found = [
        one
        for one in run_differences(database, then.run_id, now.run_id)
        if not one.name.startswith((*APART, *apart))
    ]
    if not found:
        return []
    more = [f"  and {len(found) - LISTED} more"] if len(found) > LISTED else []
    return ["", "Settings that differ:", *(f"  {one}" for one in found[:LISTED]), *more]
