"""Read market price and base rate of a run's questions, and show them to models."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import config
from database import Database
from evaluation.base_rates import CLASS, BaseRate, Families, base_rate
from evaluation.mixed_prompts import facts
from evaluation.stored_past import StoredPast
from questions.cells import counted, is_nothing, listed, shortened
from questions.checks import KIND_KEY, parent_id
from questions.market import market_price
from questions.question import Question
from runs.plan import Plan
from storage.final_numbers import OutsideView
from storage.records import Evidence

logger = logging.getLogger("forecaster")


def with_outside_views(
    found: Sequence[Evidence], plan: Plan, database: Database, run_id: int
) -> list[Evidence]:
    """Add the lines of price and base rate that prompts show; store what is new.

    A resumed run keeps the views it has, so that all models are told the same, and a replay those
    of its origin.
    """
    views = database.final.outside_views(run_id)
    missing = [q for q in plan.questions if q.id not in views]
    if missing and plan.origin is not None:
        copied = database.final.outside_views(plan.origin)
        database.final.save_outside_views(run_id, [copied[q.id] for q in missing if q.id in copied])
    elif missing:
        database.final.save_outside_views(run_id, _new_views(missing, plan, database))
    if missing:
        views = database.final.outside_views(run_id)
    return [
        replace(one, facts=facts(views[one.question.id])) if one.question.id in views else one
        for one in found
    ]


def _new_views(questions: Sequence[Question], plan: Plan, database: Database) -> list[OutsideView]:
    """Return the view of each question on the day it is forecast from."""
    past = StoredPast(database)
    subjects = database.runs.subjects([question.id for question in questions])
    views: dict[str, OutsideView] = {}
    for question in questions:
        if parent_id(question.extra) is None:
            own = replace(question, subject=subjects.get(question.id, question.subject))
            views[question.id] = _view(own, plan, past)
    _name_empty_classes(questions, views)
    for check in questions:
        if parent := views.get(str(parent_id(check.extra))):
            views[check.id] = _of_check(check, parent)
    return list(views.values())


def _view(question: Question, plan: Plan, past: Families) -> OutsideView:
    """Return a question's price and base rate, of nothing later than its day."""
    day = question.as_of or plan.as_of or plan.today
    price = market_price(question, day, live=(question.as_of or plan.as_of) is None)
    rate = base_rate(question, day, past)
    view = OutsideView(question.id)
    if price is not None:
        shown = config.SHOW_MARKET
        view = replace(view, market=price.probability, market_date=price.day, market_shown=shown)
    if rate is None:
        return view
    return replace(
        view,
        base_rate=rate.probability,
        kind=rate.kind,
        family=rate.family,
        yes=rate.yes,
        relatives=rate.relatives,
        prior=rate.prior,
        strength=rate.strength,
        base_rate_shown=config.SHOW_BASE_RATE,
    )


def _name_empty_classes(questions: Sequence[Question], views: Mapping[str, OutsideView]) -> None:
    """Log in one line which reference classes have no past."""
    empty = [
        f"{shortened(q.id)} ({shortened(q.extra['reference_class'])})"
        for q in questions
        if q.id in views
        and not is_nothing(q.extra.get("reference_class"))
        and views[q.id].kind != CLASS
    ]
    if empty:
        logger.warning(
            "%s with a reference class of which nothing was resolved before: %s",
            counted(len(empty), "question"),
            listed(empty),
        )


def stored_base_rate(view: OutsideView) -> BaseRate | None:
    """Return a view's base rate, None without one."""
    if view.base_rate is None:
        return None
    return BaseRate(
        probability=view.base_rate,
        yes=view.yes or 0.0,
        count=len(view.relatives),
        family=view.family or "",
        kind=view.kind or "",
        prior=view.prior or 0.0,
        strength=view.strength or 0.0,
        relatives=view.relatives,
    )


def _of_check(check: Question, view: OutsideView) -> OutsideView:
    """Return a question's view for its paraphrase, or turned round for its negation."""
    view = replace(view, question_id=check.id)
    if check.extra.get(KIND_KEY) != "negation":
        return view
    if view.market is not None:
        view = replace(view, market=1 - view.market)
    if view.base_rate is not None and view.prior is not None and view.yes is not None:
        view = replace(
            view,
            base_rate=1 - view.base_rate,
            prior=1 - view.prior,
            yes=len(view.relatives) - view.yes,
        )
    return view
