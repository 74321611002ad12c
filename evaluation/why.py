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
    Mixer,
    Side,
    mixes,
    scored,
    swapped,
)
from evaluation.resolved import AnalysisError
from evaluation.run_differences import Difference
from preflight.model_entries import ModelSpec
from preflight.rules import ConfigError
from questions.cells import counted
from scoring.agent import AgentFactory
from scoring.prompts import Passage
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


@dataclass(frozen=True)
class Explained:
    """A change between two runs: its parts, and how each was found.

    ``exact`` says whether prompts were scored again; ``left_out`` has the points that each of the
    best passages moved, None where that was not asked; ``differ`` what settings differ.
    """

    then: Side
    now: Side
    rescored: Rescored
    exact: bool
    parts: Sequence[Part]
    final_parts: Sequence[Part]
    left_out: Sequence[tuple[float, Passage]] | None
    differ: Sequence[Difference]

    def lines(self, columns: int) -> list[str]:
        """Return what is printed, in lines of at most so many columns."""
        then, now = self.then, self.now
        lines = [
            now.asked.text,
            f"{now.asked.id}, run {then.run_id} of {then.day} to run {now.run_id} of {now.day}",
            "",
            _numbers("models' number", then.pool.mean, now.pool.mean),
            *_part_lines(self.parts),
            "",
            *(_method_lines if self.exact else _stored_lines)(then, now, self.rescored),
        ]
        if self.left_out is not None:
            lines += ["", *_left_out_lines(self.left_out)]
        lines += ["", *self._final_lines(), *_setting_lines(self.differ)]
        return [cut(visible_line(redact(line)), columns) for line in lines]

    @property
    def final(self) -> tuple[float, float]:
        """The final numbers of both runs in percent."""
        old, new = self.then.numbers, self.now.numbers
        if old is None or new is None:
            return self.then.pool.final_mean, self.now.pool.final_mean
        return 100 * old.final, 100 * new.final

    def _final_lines(self) -> list[str]:
        """Return the stored steps from the models' to the final number."""
        if self.then.numbers and self.now.numbers and not self.final_parts:
            return ["Final = models in both runs."]
        return [_numbers("final number", *self.final), *_part_lines(self.final_parts)]

    def document(self) -> dict[str, Any]:
        """Return the same for programs; probabilities are 0-1."""
        then, now = self.then, self.now
        notes = _method_lines if self.exact else _stored_lines
        before, after = self.final
        passages = None
        if self.left_out is not None:
            passages = [
                {"title": one.title, "section": one.section, "points": moved}
                for moved, one in self.left_out
            ]
        return {
            "question": now.asked.text,
            "id": now.asked.id,
            "run_before": then.run_id,
            "day_before": then.day,
            "run": now.run_id,
            "day": now.day,
            "models": _change(then.pool.mean, now.pool.mean, self.parts),
            "scored_again": self.exact,
            "notes": [" ".join(line.split()) for line in notes(then, now, self.rescored)],
            "passages_left_out": passages,
            "final": _change(before, after, self.final_parts),
            "settings": list(map(vars, self.differ)),
        }


def why(
    database: Database,
    name: str,
    runs: Sequence[str],
    open_engine: OpenEngine,
    *,
    passages: bool = False,
) -> Explained:
    """Split a question's change between two runs (``--why``; default: its last).

    Raises:
        AnalysisError: no such question or run, or no forecast of it to compare.
    """
    then, now = _sides(database, name, runs)
    rescored = _rescored(database, then, now, open_engine, passages=passages)
    exact = bool(rescored.models(then) and rescored.models(now))
    return Explained(
        then,
        now,
        rescored,
        exact,
        exact_parts(then, now, rescored) if exact else stored_parts(then, now),
        _final_parts(then, now),
        _left_out(now, rescored) if exact and passages else None,
        _settings(database, then, now),
    )


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


def _left_out(now: Side, rescored: Rescored) -> list[tuple[float, Passage]]:
    """Return points with minus without each of the best passages, largest first."""
    models, whole = rescored.models(now), rescored.whole
    method, wordings = now.pool.method, now.wordings
    base = rescored.pooled(models, whole, wordings, method)
    effects = [
        (base - rescored.pooled(models, whole, wordings, method, one.id), one)
        for one in now.quoted[:LEFT_OUT]
    ]
    return sorted(effects, key=lambda pair: -abs(pair[0]))


def _left_out_lines(effects: Iterable[tuple[float, Passage]]) -> list[str]:
    lines = [
        f"  {one.title + ', ' + one.section if one.section else one.title}: {moved:+.1f}"
        for moved, one in effects
    ]
    return ["The best passages, each left out (points with minus without):", *(lines or ["  none"])]


def _final_parts(then: Side, now: Side) -> list[Part]:
    """Return the steps from the models' to the final number, where any was taken."""
    old, new = then.numbers, now.numbers
    if old is None or new is None or not (old.ingredients or new.ingredients):
        return []
    steps = (
        ("models' number", old.models, new.models),
        ("market price, base rate", old.assisted - old.models, new.assisted - new.models),
        ("coherence", old.coherent - old.assisted, new.coherent - new.assisted),
        ("calibration", old.final - old.coherent, new.final - new.coherent),
    )
    return [Part(name, 100 * (after - before)) for name, before, after in steps]


def _settings(database: Database, then: Side, now: Side) -> list[Difference]:
    """Return what differs between the runs beside what is a part of its own."""
    apart = [f"models.{name}." for name in {*then.models} ^ {*now.models}]
    return [
        one
        for one in run_differences(database, then.run_id, now.run_id)
        if not one.name.startswith((*APART, *apart))
    ]


def _setting_lines(found: Sequence[Difference]) -> list[str]:
    if not found:
        return []
    more = [f"  and {len(found) - LISTED} more"] if len(found) > LISTED else []
    return ["", "Settings that differ:", *(f"  {one}" for one in found[:LISTED]), *more]


def _change(then: float, now: float, parts: Sequence[Part]) -> dict[str, Any]:
    """Return two numbers in percent and the parts of their change for programs."""
    return {
        "before": then / 100,
        "after": now / 100,
        "points": now - then,
        "parts": [{"part": one.name, "points": one.points, "detail": one.detail} for one in parts],
    }
