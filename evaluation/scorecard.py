"""Print the track record: live and back-dated forecasts apart, table by table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

import config
from evaluation.pools import pooled
from evaluation.resolved import (
    BACK_DATED,
    ENSEMBLE,
    LIVE,
    RECORDS,
    AnalysisError,
    Judged,
    Record,
)
from evaluation.score_tables import (
    PARTS_HEADERS,
    SCORE_HEADERS,
    SKILL_HEADERS,
    parts_row,
    reference_problems,
    reliability_lines,
    score_row,
    skill_row,
    skill_rows,
    table,
)
from questions.cells import counted

_SCORED_ONCE = {
    LIVE: "Scores: last forecast of each question before its resolution",
    BACK_DATED: "Scores: each question and the day it was forecast as of",
}


def horizon_name(days: float) -> str:
    """The horizon class of a forecast, in days from forecast to resolution."""
    lower = 0
    for upper in config.HORIZON_DAYS:
        if days <= upper:
            return f"{lower}–{upper} days"
        lower = upper
    return f"over {lower} days"


def score_lines(record: Record) -> list[str]:
    """The printed record, live and back-dated forecasts apart; see ``python analysis.py --score``.

    Raises:
        AnalysisError: no forecast counts.
    """
    if not record.judged:
        reasons = Counter(e.reason for e in record.excluded)
        why = (
            "; ".join(f"{count} {reason}" for reason, count in reasons.most_common())
            or "no forecast question is resolved"
        )
        raise AnalysisError(f"nothing to score: {why}; record outcomes with --resolve FILE")
    lines: list[str] = []
    for name in RECORDS:
        part = record.part(name)
        if part.judged or part.excluded:
            lines += ["", *_record_lines(name, part)]
    return lines[1:]


def _record_lines(title: str, record: Record) -> list[str]:
    """The tables of the live or the back-dated record."""
    if not record.judged:
        return [f"# Record of {title} forecasts: none counts", *_uncounted_lines(record)]
    names = record.forecasters()
    latest = {name: record.latest(name) for name in names}
    head = names[0]
    # One agent alone is its own ensemble: its tables need not be printed twice.
    apart = [ENSEMBLE] if len(names) == 2 and head == ENSEMBLE else names
    lines = _introduction(title, record, latest[head])
    lines += _section(_SCORED_ONCE[title])
    lines += table(SCORE_HEADERS, [score_row(name, latest[name]) for name in names])
    lines += _section("Decomposition of the Brier score (ten bins, corrected for few forecasts)")
    lines += table(PARTS_HEADERS, [parts_row(name, latest[name]) for name in names])
    for name in apart:
        lines += _section(
            f"Skill of {name} (Brier; each reference on the questions it has; the in-sample base rate is"
            " known only afterwards)"
        )
        lines += table(SKILL_HEADERS, skill_rows(latest[name]), width=52)
    lines += _pool_section(record)
    lines += _group_section("By horizon", apart, record, lambda j: horizon_name(j.horizon_days))
    lines += _group_section("By run", apart, record, lambda j: f"run {j.run_id}")
    lines += _section(f"Reliability, {head} (Wilson intervals, questions taken as independent)")
    return lines + reliability_lines(latest[head])


def _introduction(title: str, record: Record, rows: Sequence[Judged]) -> list[str]:
    """What counts, what a dash and a star mean, and what few questions cannot show."""
    count = counted(len({j.subject or j.question_id for j in record.judged}), "resolved question")
    days = len({j.scored_as for j in record.judged})
    lines = [
        f"# Record of {title} forecasts: {len(record.judged)} forecasts of {count} count"
        + (f", as of {counted(days, 'question day')}" if title == BACK_DATED else ""),
        "intervals: 95 %, over clusters of related questions; –: no interval (and no skill) under"
        f" {config.MIN_INTERVAL_CLUSTERS} clusters, or where a few clusters hold most questions",
        "ECE: expected calibration error, beside what a calibrated forecaster would show by chance"
        " (mean, and the bound of 95 %); *: beyond that bound",
    ]
    if len(rows) < config.MIN_CLAIM_QUESTIONS:
        lines.append(
            f"fewer than {config.MIN_CLAIM_QUESTIONS} questions: the averages describe these questions,"
            " nothing is claimed about others"
        )
    return lines + _uncounted_lines(record) + reference_problems(rows)


def _uncounted_lines(record: Record) -> list[str]:
    """How many forecasts do not count, by reason, with some of their questions."""
    lines = []
    for reason, count in Counter(e.reason for e in record.excluded).most_common():
        shown = ", ".join(
            sorted({e.question_id for e in record.excluded if e.reason == reason})[:5]
        )
        lines.append(
            f"not counted: {count} forecasts, {reason} ({shown}{' …' if count > 5 else ''})"
        )
    return lines


def _section(title: str) -> list[str]:
    return ["", f"## {title}"]


def _pool_section(record: Record) -> list[str]:
    pools = pooled(record)
    if not pools:
        return []
    lines = _section(
        "Pool methods, recomputed from the stored distributions of the agents (questions with two agents or more)"
    )
    lines += table(SCORE_HEADERS, [score_row(name, rows) for name, rows in pools.items()])
    base = pools["mean"]
    index = {(j.run_id, j.question_id): j for j in base}
    rows = []
    for name, judged in pools.items():
        if name == "mean":
            continue
        reference = np.array([index[j.run_id, j.question_id].probability for j in judged])
        rows.append(skill_row(name, judged, reference))
    lines += _section("… and their difference to the linear pool on the same questions")
    return lines + table(
        ("pool", "n", "linear pool", "this pool", "skill", "difference", "95 %"), rows
    )


def _group_section(
    title: str, names: Sequence[str], record: Record, key: Callable[[Judged], str]
) -> list[str]:
    """Scores by a property of the forecast; within a group what is scored once counts once."""
    rows = []
    for name in names:
        groups: dict[str, dict[tuple[str, str | None], Judged]] = {}
        order: dict[str, float] = {}
        for j in sorted(record.judged, key=lambda j: (j.made, j.run_id)):
            if j.forecaster == name:
                groups.setdefault(key(j), {})[j.scored_as] = j
                order[key(j)] = min(
                    order.get(key(j), math.inf),
                    j.horizon_days if title == "By horizon" else j.run_id,
                )
        rows += [
            score_row(f"{name}, {group}", list(groups[group].values()))
            for group in sorted(groups, key=order.__getitem__)
        ]
    return [*_section(title), *table(SCORE_HEADERS, rows, width=46)]
