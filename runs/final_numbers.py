"""Make each question's final number: the models, assisted, coherent, calibrated.

Each step keeps what it was made of, and a step without anything to go on changes nothing: without
price, base rate, related questions and enough record the final number is the models' exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Final

from database import Database
from evaluation.assistance import RULE_VERSION, assisted, voices
from evaluation.learnt_rule import Rule
from evaluation.past_record import PRICED, UNPRICED
from evaluation.projections import common_projection, isotonic_over_dates
from questions.checks import KIND_KEY, parent_id
from questions.deadlines import deadline
from questions.question import folded
from runs.outside_views import stored_base_rate
from runs.plan import Plan
from storage.final_numbers import FinalNumbers, OutsideView
from storage.records import AskedQuestion, PooledForecast

NEGATION: Final = "negation"


def store_final_numbers(plan: Plan, database: Database, run_id: int) -> None:
    """Store the final numbers of every pooled question of a run."""
    pools = database.forecasts.ensembles(run_id)
    if not pools:
        return
    asked = {row.id: row for row in database.runs.questions(run_id)}
    rule = Rule(database)
    views = database.final.outside_views(run_id)
    numbers = {
        pool.question_id: _assisted(
            pool,
            views.get(pool.question_id, OutsideView(pool.question_id)),
            rule,
            day=(asked[pool.question_id].as_of or plan.today)[:10],
        )
        for pool in pools
    }
    numbers = coherent(numbers, list(asked.values()))
    numbers = calibrated(numbers, list(asked.values()), rule)
    rule.store_applied(run_id)
    database.final.save(run_id, list(numbers.values()))


def _assisted(pool: PooledForecast, view: OutsideView, rule: Rule, day: str) -> FinalNumbers:
    """Pool the models with price and base rate; later steps begin with this number."""
    models = min(1.0, max(0.0, pool.distribution.probability))
    weights = rule.weights(day)
    members = voices(
        models,
        market=view.market,
        market_shown=view.market_shown,
        market_note=f"price of {view.market_date}" if view.market_date else "",
        base_rate=stored_base_rate(view),
        weights=weights,
    )
    number = assisted(members, weights.sharpening)
    return FinalNumbers(
        question_id=pool.question_id,
        rule_version=RULE_VERSION,
        models=models,
        assisted=number,
        coherent=number,
        final=number,
        voices={one.name: {k: v for k, v in asdict(one).items() if k != "name"} for one in members},
        weights=asdict(weights),
        projections={},
        calibration_kind=UNPRICED if view.market is None else PRICED,
        calibration_day=day,
    )


# --- coherence ------------------------------------------------------------------------------------


def coherent(
    numbers: Mapping[str, FinalNumbers], asked: Sequence[AskedQuestion]
) -> dict[str, FinalNumbers]:
    """Project questions on their negations, paraphrases and other deadlines.

    A question becomes the mean of all that states its probability, (p + 1 - q) / 2 with one
    negation q; its checks follow it.
    """
    result = dict(numbers)
    for name, checks in _checks(result, asked).items():
        stated = {name: result[name].coherent}
        for check in checks:
            stated[check.id] = _of_parent(check, result[check.id].coherent)
        mean = common_projection(list(stated.values()))
        kind = NEGATION if any(map(_negates, checks)) else "paraphrase"
        result[name] = _projected(result[name], kind, mean, stated)
    for family in _deadlines(result, asked):
        days, names = zip(*sorted(family), strict=True)
        before = [result[name].coherent for name in names]
        after = isotonic_over_dates(days, before)
        stated = dict(zip(names, before, strict=True))
        for name, value, old in zip(names, after, before, strict=True):
            if abs(value - old) > 1e-12:
                result[name] = _projected(result[name], "deadlines", value, stated)
    return _with_checks(result, asked)


def _projected(
    one: FinalNumbers, kind: str, after: float, stated: Mapping[str, float]
) -> FinalNumbers:
    step = {"before": one.coherent, "after": after, "members": dict(stated)}
    after = min(1.0, max(0.0, after))
    return replace(one, coherent=after, final=after, projections={**one.projections, kind: step})


def _negates(check: AskedQuestion) -> bool:
    return bool(check.extra.get(KIND_KEY) == NEGATION)


def _of_parent(check: AskedQuestion, probability: float) -> float:
    """Return a check's probability as one of its question, or the other way round."""
    return 1 - probability if _negates(check) else probability


def _checks(
    numbers: Mapping[str, FinalNumbers], asked: Sequence[AskedQuestion]
) -> dict[str, list[AskedQuestion]]:
    """Group the checks that have a number by the question they check."""
    found: dict[str, list[AskedQuestion]] = {}
    for row in asked:
        parent = parent_id(row.extra)
        if parent in numbers and row.id in numbers:
            found.setdefault(str(parent), []).append(row)
    return found


def _with_checks(
    numbers: Mapping[str, FinalNumbers], asked: Sequence[AskedQuestion]
) -> dict[str, FinalNumbers]:
    """Give each check the number that follows from its question's."""
    result = dict(numbers)
    for name, checks in _checks(result, asked).items():
        for check in checks:
            stated, kind = {name: result[name].coherent}, str(check.extra[KIND_KEY])
            value = _of_parent(check, result[name].coherent)
            result[check.id] = _projected(result[check.id], kind, value, stated)
    return result


def _deadlines(
    numbers: Mapping[str, FinalNumbers], asked: Sequence[AskedQuestion]
) -> list[list[tuple[str, str]]]:
    """Group questions of one event before several days: (day, id) of each.

    One day in other words ("before July", "no later than June") makes a family too. Where a text is
    asked twice there is none, as backgrounds may tell two events apart.
    """
    families: dict[tuple[str, str | None], list[tuple[str, str]]] = {}
    texts = {row.id: folded(row.text) for row in asked}
    for row in asked:
        found = deadline(row.text) if parent_id(row.extra) is None and row.id in numbers else None
        if found:
            families.setdefault((found[0], row.as_of), []).append((found[1], row.id))
    return [
        family
        for family in families.values()
        if 1 < len(family) == len({texts[name] for _, name in family})
    ]


# --- calibration ----------------------------------------------------------------------------------


def calibrated(
    numbers: Mapping[str, FinalNumbers], asked: Sequence[AskedQuestion], rule: Rule
) -> dict[str, FinalNumbers]:
    """Apply the curve of each kind where it wins; checks follow their question.

    Questions of one event before several days get one curve, which leaves them in their order.
    """
    numbers, result = dict(numbers), {}
    for family in _deadlines(numbers, asked):
        names = [name for _, name in family]
        if any(numbers[name].calibration_kind == PRICED for name in names):
            for name in names:
                numbers[name] = replace(numbers[name], calibration_kind=PRICED)
    for name, one in numbers.items():
        curve = rule.curve(one.calibration_kind, one.calibration_day)
        final = min(1.0, max(0.0, curve.apply(one.coherent)))
        result[name] = replace(one, final=final)
    for name, checks in _checks(result, asked).items():
        for check in checks:
            final = _of_parent(check, result[name].final)
            result[check.id] = replace(result[check.id], final=final)
    return result
