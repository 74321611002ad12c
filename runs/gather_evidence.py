"""Gather a run's evidence: searched for now, stored, or copied for a replay."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from database import Database
from evidence.settings import RetrievalSettings
from questions.question import Question
from runs.outside_views import with_outside_views
from runs.plan import Plan, check_documents
from semanticretriever import SemanticRetriever
from storage.records import Evidence
from terminal.progress import progress

logger = logging.getLogger("forecaster")

# Questions whose evidence is searched together and stored in one transaction: a run that is killed
# while it searches loses at most this many. Groups are cut from the run's whole list, so a resumed
# run has the same ones.
RETRIEVAL_GROUP: Final = 8


def retrieval_settings(plan: Plan) -> RetrievalSettings | None:
    """Return what a new search is made with; None when retrieval is switched off.

    Raises:
        PackageError: a package of the demonstration is missing.
    """
    if not plan.retrieval:
        return None
    settings = replace(RetrievalSettings.from_config(), documents=plan.documents)
    if plan.demo:
        from runs import demo

        settings = demo.narrowed(settings)
    return settings


def make_retriever(plan: Plan, database: Database) -> SemanticRetriever | None:
    """Return the retriever, for the demonstration with its corpus read.

    None when retrieval is switched off, and when the run to resume or replay has all its evidence.

    Raises:
        UsageError: the folder of documents is not there any more.
    """
    if plan.origin is not None or (settings := retrieval_settings(plan)) is None:
        return None
    if plan.resume is not None and not _unsearched(plan.resume, database):
        return None
    if plan.documents is not None:
        check_documents(plan.documents)
    if plan.demo:
        from runs import demo

        return demo.make_retriever(database, settings)
    return SemanticRetriever(database, settings)


def gather_evidence(
    plan: Plan, database: Database, run_id: int, retriever: SemanticRetriever | None
) -> list[Evidence]:
    """Search for what the run lacks, store it, and return every question's evidence."""
    if plan.origin is not None:
        database.forecasts.copy_reasonings(plan.origin, run_id)
        database.thoughts.copy(plan.origin, run_id)
    unsearched = _unsearched(run_id, database)
    missing = [question for question in plan.questions if question.id in unsearched]
    if missing and plan.origin is not None:
        database.articles.save_retrievals(run_id, _copied_evidence(database, plan.origin, missing))
    elif missing and retriever is None:
        off = "retrieval was switched off"
        database.articles.save_retrievals(
            run_id, [Evidence(question, (), off) for question in missing]
        )
    elif missing and retriever is not None:
        _retrieve(plan, database, run_id, retriever, {question.id for question in missing})
    errors = {asked.id: asked.context_error for asked in database.runs.questions(run_id)}
    found = [
        Evidence(
            question,
            tuple(database.articles.retrieval(run_id, question.id)),
            errors[question.id],
        )
        for question in plan.questions
    ]
    return with_outside_views(found, plan, database, run_id)


def _unsearched(run_id: int, database: Database) -> set[str]:
    """Return ids of the questions to search for: not yet searched, or failed.

    A question with a forecast keeps what that one had, so that all models see the same evidence.
    """
    forecast = {one.question_id for one in database.forecasts.of_run(run_id) if one.error is None}
    return {
        asked.id
        for asked in database.runs.questions(run_id)
        if asked.retrieved_at is None
        or (
            asked.context_error
            and asked.id not in forecast
            and not database.articles.retrieval(run_id, asked.id)
        )
    }


def _copied_evidence(
    database: Database, origin: int, questions: Sequence[Question]
) -> list[Evidence]:
    stored = {asked.id: asked for asked in database.runs.questions(origin)}
    copied = []
    for question in questions:
        error = stored[question.id].context_error
        if stored[question.id].retrieved_at is None:
            error = f"run {origin} ended before it searched for this question"
        passages = tuple(database.articles.retrieval(origin, question.id))
        copied.append(Evidence(question, passages, error))
    return copied


def _retrieve(
    plan: Plan, database: Database, run_id: int, retriever: SemanticRetriever, missing: set[str]
) -> None:
    """Search for the questions ``missing`` (ids); store evidence group by group."""
    everything = []
    with progress("evidence", len(missing), "question") as bar:
        for start in range(0, len(plan.questions), RETRIEVAL_GROUP):
            group = [q for q in plan.questions[start : start + RETRIEVAL_GROUP] if q.id in missing]
            if not group:
                continue
            found = retriever.retrieve_all(group, as_of=plan.as_of, searched=bar.update)
            database.articles.save_retrievals(run_id, found)
            for evidence in found:
                count = f"{len(evidence.passages)} passages" if evidence.passages else ""
                logger.debug("%s: %s", evidence.question.id, count or evidence.context_error)
            everything += found
    articles = {(p.source, p.title) for evidence in everything for p in evidence.passages}
    logger.info(
        "evidence for %d of %d questions: %d passages of %d articles",
        sum(bool(evidence.passages) for evidence in everything),
        len(missing),
        sum(len(evidence.passages) for evidence in everything),
        len(articles),
    )
