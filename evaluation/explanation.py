"""Show step by step how the final number of a question came about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from database import Database
from evaluation.assistance import EPSILON
from evaluation.base_rates import held_near_half
from evaluation.outcomes import outcome_word
from evaluation.resolved import AnalysisError
from preflight.rules import hint
from questions.cells import counted
from questions.question import folded
from scoring.pooling import average
from storage.final_numbers import AppliedCalibration, FinalNumbers, OutsideView
from storage.records import AskedQuestion, Forecast, PooledForecast, Resolution

# Relatives that are listed as lines; --json has all.
LISTED: Final = 10
WORDS: Final = {
    "template": "of the same form",
    "reference_class": "of the same reference class",
    "series": "about the same series",
    "source": "from the same source",
}
# What a step is made of, for programs: fields of OutsideView and AppliedCalibration.
BASE_RATE_DATA: Final = (
    "kind", "family", "yes", "relatives", "prior", "strength", "base_rate_shown",
)  # fmt: skip
CURVE_DATA: Final = (
    "kind", "day", "method", "parameters", "count", "brier_before", "brier_after", "used", "reason",
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One step: its name, the number it leads to in percent if any, and its details.

    ``data`` has what the details are made of, for programs; its probabilities are 0-1.
    """

    name: str
    percent: float | None
    details: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def value(self) -> str:
        """The number with its sign."""
        return "" if self.percent is None else f"{self.percent:.1f} %"


@dataclass(frozen=True)
class RunRecord:
    """What a run stored of its numbers, by question."""

    pools: Mapping[str, PooledForecast]
    forecasts: Sequence[Forecast]
    numbers: Mapping[str, FinalNumbers]
    views: Mapping[str, OutsideView]
    curves: Sequence[AppliedCalibration]
    texts: Mapping[str, str]
    outcomes: Mapping[str, Resolution]

    @classmethod
    def read(cls, database: Database, run_id: int) -> RunRecord:
        """Read it from an open database."""
        return cls(
            {row.question_id: row for row in database.forecasts.ensembles(run_id)},
            [row for row in database.forecasts.of_run(run_id) if row.error is None],
            database.final.of_run(run_id),
            database.final.outside_views(run_id),
            database.final.calibrations(run_id),
            {row.subject: row.text for row in database.runs.known_questions()},
            database.outcomes.latest(),
        )


@dataclass(frozen=True)
class Explanation:
    """The steps to a question's final number in one run, which began on a day."""

    question: AskedQuestion
    run: int
    day: str
    steps: Sequence[Step]

    def lines(self) -> list[str]:
        """Return what is printed."""
        as_of = self.question.as_of
        kind = f"back-dated to {as_of}" if as_of else "live"
        lines = [
            self.question.text,
            f"{self.question.id}, run {self.run} of {self.day}, {kind}",
            "",
        ]
        for number, step in enumerate(self.steps, start=1):
            lines.append(f"{number}. {step.name + ':':<22} {step.value}".rstrip())
            lines += [f"     {detail}" for detail in step.details]
        return lines

    def document(self) -> dict[str, Any]:
        """Return the same for programs; probabilities are 0-1."""
        return {
            "question": self.question.text,
            "id": self.question.id,
            "run": self.run,
            "day": self.day,
            "as_of": self.question.as_of,
            "steps": [
                {
                    "step": step.name,
                    "probability": None if step.percent is None else step.percent / 100,
                    **step.data,
                    "details": step.details,
                }
                for step in self.steps
            ],
        }


def explain(database: Database, name: str, run: str | None = None) -> Explanation:
    """Explain a question's number (``--explain``): by id or text, in its newest run.

    Raises:
        AnalysisError: no such run or question, or it has no forecast there.
    """
    question, run_id = find_question(database, "--explain", name, run)
    record = RunRecord.read(database, run_id)
    if question.id not in record.pools:
        raise AnalysisError(f"--explain: run {run_id} has no forecast of {question.id!r}")
    day = database.runs.get(run_id).started_at[:10]
    return Explanation(question, run_id, day, steps(record, question.id))


def find_question(
    database: Database, option: str, name: str, run: str | None
) -> tuple[AskedQuestion, int]:
    """Find a question by id, subject or text in a run (default: the newest to ask).

    Raises:
        AnalysisError: there is none, in a line that begins with the option and names a near one.
    """
    runs = [row.id for row in database.runs.all() if row.origin_run is None or str(row.id) == run]
    if run is not None and run not in map(str, runs):
        known = ", ".join(map(str, runs[-10:])) or "none"
        raise AnalysisError(f"{option}: there is no run {run!r}; stored: {known}")
    for run_id in [int(run)] if run is not None else reversed(runs):
        for row in database.runs.questions(run_id):
            if name in (row.id, row.subject) or folded(name) == folded(row.text):
                return row, run_id
    where = f"run {run}" if run is not None else "no run"
    did = "did not ask" if run is not None else "asked"
    names = [word for row in database.runs.known_questions() for word in (row.id, row.text)]
    names = [word for word in names if word != name]
    what = hint(name, names) or "; give an id or the whole question"
    raise AnalysisError(f"{option}: {where} {did} {name!r}{what}")


def steps(record: RunRecord, question_id: str) -> list[Step]:
    """Return the steps from the models to the final number of a pooled question."""
    pool, numbers = record.pools[question_id], record.numbers.get(question_id)
    models = list(_models(record.forecasts, pool))
    voices = {"models": [data for _, data in models]}
    found = [
        Step("Models", None, tuple(line for line, _ in models), voices),
        Step(f"Pool ({pool.method})", pool.mean),
    ]
    if numbers is None:
        why = "the run is of a Forecaster without market prices, base rates and coherence"
        return [*found, Step("Final = models", pool.mean, (why,))]
    view = record.views.get(question_id, OutsideView(question_id))
    found += [
        _market(view, numbers),
        _base_rate(record, view, numbers),
        Step(
            "Assisted",
            100 * numbers.assisted,
            tuple(_pooling(numbers)),
            {"voices": numbers.voices, "weights": numbers.weights},
        ),
        _coherence(numbers),
        _calibration(record.curves, numbers),
    ]
    last = "Final" if numbers.ingredients else "Final = models"
    rule = f"version {numbers.rule_version} of the rule"
    return [*found, Step(last, pool.final_mean, (rule,))]


def _models(
    forecasts: Iterable[Forecast], pool: PooledForecast
) -> Iterable[tuple[str, dict[str, Any]]]:
    """Return each model's line and the same for programs; its probabilities are 0-1."""
    own = [row for row in forecasts if row.question_id == pool.question_id]
    for agent, group in groupby(own, key=lambda row: row.agent):
        parts = list(group)
        voice = average([row.voice for row in parts])
        mean, (low, high) = voice.distribution.mean, voice.distribution.interval(0.8)
        share = (pool.weights or {}).get(agent)
        share = share if isinstance(share, float) else None
        spread = [row.wording_deviation for row in parts if row.wording_deviation is not None]
        apart = max(spread, default=None)
        weight = "" if share is None else f", weight {share:.2f}"
        wordings = "" if apart is None else f", wordings {apart:.1f} points apart"
        line = (
            f"{agent}: {mean:.1f} %, 80 % range {low:.0f} to {high:.0f} %,"
            f" captured {voice.captured:.2f}{weight}{wordings}"
        )
        yield (
            line,
            {
                "model": agent,
                "probability": mean / 100,
                "p10": low / 100,
                "p90": high / 100,
                "captured": voice.captured,
                "weight": share,
                "wordings_apart_points": apart,
            },
        )


def _market(view: OutsideView, numbers: FinalNumbers) -> Step:
    if view.market is None:
        return Step("Market price", None, ("none that the forecast could use",))
    day = f"of {view.market_date}" if view.market_date else "without a date"
    shown = "shown to the models" if view.market_shown else "not shown to the models"
    weight = _weight(numbers, "market")
    data: dict[str, Any] = {"market_date": view.market_date, "market_shown": view.market_shown}
    data |= _share(numbers, "market")
    return Step("Market price", 100 * view.market, (f"{day}, {shown}; {weight}",), data)


def _base_rate(record: RunRecord, view: OutsideView, numbers: FinalNumbers) -> Step:
    if view.base_rate is None:
        return Step("Base rate", None, ("no related question was resolved before",))
    count = len(view.relatives)
    share = 100 * (view.yes or 0) / count if count else 0.0
    shown = "shown to the models" if view.base_rate_shown else "not shown to the models"
    details = [
        f"{view.yes or 0:g} of {count} questions {WORDS.get(view.kind or '', '')} ended yes"
        f" ({share:.0f} %): {view.family}",
        f"shrunk towards {100 * (view.prior or 0):.1f} %, which counts as {view.strength or 0:g}"
        f" questions; {shown}; {_weight(numbers, 'base_rate')}",
    ]
    if held_near_half(count, view.strength or 0):
        details.append(_held(record, view))
    for name in view.relatives[:LISTED]:
        ended = record.outcomes.get(name)
        how = f"{outcome_word(ended.outcome)} on {ended.resolved_at[:10]}" if ended else "open now"
        details.append(f"  {name}: {how}: {record.texts.get(name, '')[:100]}")
    if count > LISTED:
        details.append(f"  and {count - LISTED} more (--json has all)")
    data = {name: getattr(view, name) for name in BASE_RATE_DATA} | _share(numbers, "base_rate")
    return Step("Base rate", 100 * view.base_rate, tuple(details), data)


def _held(record: RunRecord, view: OutsideView) -> str:
    """Say why a base rate is held near 50 %, with its months if all are known."""
    ended = [record.outcomes[name] for name in view.relatives if name in record.outcomes]
    months = len({one.resolved_at[:7] for one in ended})
    few = counted(months, "month") if len(ended) == len(view.relatives) else "so few months"
    return f"held near 50 %: what ends in one month moves together; {few} cannot show such a share"


def _share(numbers: FinalNumbers, voice: str) -> dict[str, Any]:
    return {"weight": (numbers.voices.get(voice) or {}).get("weight")}


def _weight(numbers: FinalNumbers, voice: str) -> str:
    found = numbers.voices.get(voice)
    if not found or not found.get("weight"):
        return "not a voice of the assisted pool"
    models = numbers.voices.get("models", {"weight": 0})
    return f"weight {found['weight']:.2f} beside the models' {models['weight']:g}"


def _pooling(numbers: FinalNumbers) -> Iterable[str]:
    voices = {name: one for name, one in numbers.voices.items() if one.get("weight")}
    if len(voices) < 2:
        yield "the models alone"
        return
    parts = [
        f"{one['weight']:.2f} x {100 * one['probability']:.1f} %"
        for _, one in sorted(voices.items(), key=lambda pair: pair[0] != "models")
    ]
    learnt = numbers.weights.get("learnt_from") or 0
    how = (
        f"weights learnt from {learnt:g} clusters of forecasts"
        if learnt
        else "default or configured weights"
    )
    yield f"mean in log-odds of {' and '.join(parts)}; {how}"
    if any(not EPSILON <= one["probability"] <= 1 - EPSILON for one in voices.values()):
        least = 100 * EPSILON
        yield f"each taken as {least:g} % at the least, {100 - least:g} % at the most"
    sharpening = numbers.weights.get("sharpening", 1.0)
    moved = "towards" if sharpening < 1 else "away from"
    yield f"moved {moved} 50 %: {sharpening:.2f} for equal voices"


def _coherence(numbers: FinalNumbers) -> Step:
    details = []
    for kind, step in sorted(numbers.projections.items(), key=lambda one: one[0] == "deadlines"):
        members = ", ".join(f"{name} {100 * p:.1f} %" for name, p in step["members"].items())
        moved = f"from {100 * step['before']:.1f} to {100 * step['after']:.1f} %"
        turned = " (turned round)" if kind == "negation" else ""
        details.append(f"{kind}{turned}: {moved}, by {members}")
    if not details:
        why = "no negation or paraphrase was asked, and no deadline is out of order"
        return Step("Coherence", None, (why,))
    data = {"projections": numbers.projections}
    return Step("Coherence", 100 * numbers.coherent, tuple(details), data)


def _calibration(curves: Iterable[AppliedCalibration], numbers: FinalNumbers) -> Step:
    wanted = numbers.calibration_kind, numbers.calibration_day
    curve = next((one for one in curves if (one.kind, one.day) == wanted), None)
    if curve is None:
        return Step("Calibration", None, ("none",))
    data = counted(len(curve.forecasts), "resolved forecast")
    if curve.count < len(curve.forecasts):  # the curve is shrunk towards that of all kinds
        data = f"{curve.count} of their kind among {data}"
    details = [f"{curve.method} for {curve.kind} questions, from {data} before {curve.day}"]
    if curve.brier_before is not None and curve.brier_after is not None:
        before, after = curve.brier_before, curve.brier_after
        details.append(f"Brier score on later forecasts {before:.4f} without, {after:.4f} with")
    fitted = {name: getattr(curve, name) for name in CURVE_DATA}
    if not curve.used:
        return Step("Calibration", None, (*details, f"not used: {curve.reason}"), fitted)
    parameters = ", ".join(f"{name} {value}" for name, value in curve.parameters.items())
    return Step("Calibration", 100 * numbers.final, (*details, f"used: {parameters}"), fitted)
