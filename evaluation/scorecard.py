"""Print the track record: live and back-dated forecasts apart, groups on request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

import config
from database import Database
from evaluation.command_line import GROUPS
from evaluation.headline import headline, question_lines
from evaluation.pool_comparison import pooled
from evaluation.resolved import (
    ASSISTED,
    BACK_DATED,
    ENSEMBLE,
    FINAL,
    LIVE,
    NO_PRICE,
    NUMBERS,
    RECORDS,
    AnalysisError,
    Judged,
    Record,
)
from evaluation.score_tables import (
    PARTS_HEADERS,
    SKILL_HEADERS,
    SPARE_PARTS,
    SPARE_SKILLS,
    parts_row,
    reference_problems,
    reliability_lines,
    score_table,
    skill_row,
    skill_rows,
    table,
)
from questions.cells import counted

_LEGEND = (
    "intervals: 95 %, over clusters of related questions; –: no interval (and no skill) under {}"
    " clusters, or where a few clusters hold most questions\n"
    "ECE: expected calibration error, beside what a calibrated forecaster would show by chance"
    " (mean, and the bound of 95 %); *: beyond that bound"
)
_SCORED_ONCE = {
    LIVE: "Scores: last forecast of each question before its resolution",
    BACK_DATED: "Scores: each question and the day it was forecast as of",
}


def score_lines(record: Record, database: Database, by: Collection[str] = ()) -> list[str]:
    """Print the live and the back-dated record (``python analysis.py --score``).

    Each begins with five lines to quote and the questions, worst first; ``by`` adds groups.

    Raises:
        AnalysisError: no forecast counts.
    """
    if not record.judged:
        reasons = Counter(e.reason for e in record.excluded)
        why = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        why = why or "no forecast question is resolved"
        raise AnalysisError(f"nothing to score: {why}; record outcomes with --resolve FILE")
    texts = {row.id: row.text for row in database.runs.known_questions()}
    lines: list[str] = []
    for name in RECORDS:
        part = record.part(name)
        if part.judged:
            lines += ["", *_record_lines(name, part, texts, by)]
            lines += _group_lines(name, part, database, by)
        elif part.excluded:
            lines += ["", f"# Record of {name} forecasts: none counts", *_uncounted_lines(part)]
    if not by:
        lines += ["", f"more with --by: {', '.join(GROUPS)}"]
    return lines[1:]


def score_rows(record: Record, database: Database) -> list[dict[str, Any]]:
    """Return each forecast that is scored, for programs; probabilities are 0-1."""
    texts = {row.id: row.text for row in database.runs.known_questions()}
    parts = [record.part(kind) for kind in RECORDS]
    return [
        {
            "record": j.record,
            "forecaster": name,
            "question": texts.get(j.question_id, ""),
            "id": j.question_id,
            "run": j.run_id,
            "as_of": j.as_of,
            "forecast": j.probability,
            "outcome": j.outcome,
            "brier": (j.probability - j.outcome) ** 2,
            "days_before": j.horizon_days,
            "market": j.market,
            "cluster": j.cluster,
        }
        for part in parts
        for name in part.forecasters()
        for j in part.latest(name)
    ]


def _record_lines(
    kind: str, record: Record, texts: Mapping[str, str], by: Collection[str]
) -> list[str]:
    """Print five lines to quote, what counts, and the questions, worst first."""
    head = record.forecasters()[0]
    rows = record.latest(head)
    lines = [
        *headline(kind, head, rows),
        "",
        *_counted_lines(kind, record),
        *_uncounted_lines(record),
    ]
    lines += reference_problems(rows)
    lines += _section("By question, worst first")
    return lines + question_lines(rows, texts, everything="question" in by)


def _counted_lines(kind: str, record: Record) -> list[str]:
    count = counted(len({j.subject or j.question_id for j in record.judged}), "resolved question")
    days = len({j.scored_as for j in record.judged})
    own = sum(j.forecaster not in (ASSISTED, FINAL) for j in record.judged)
    return [
        f"# Record of {kind} forecasts: {own} forecasts of {count} count"
        + (f", as of {counted(days, 'question day')}" if kind == BACK_DATED else "")
    ]


def _group_lines(kind: str, record: Record, database: Database, by: Collection[str]) -> list[str]:
    """Print the tables of the groups that are asked for."""
    names = record.forecasters()
    # One agent alone is its own ensemble: its tables need not be printed twice.
    pools = [name for name in names if name in NUMBERS]
    apart = pools if ENSEMBLE in pools and len(names) == len(pools) + 1 else names
    lines: list[str] = []
    if {*by} - {"question"}:
        lines += ["", *_LEGEND.format(config.MIN_INTERVAL_CLUSTERS).splitlines()]
    if "model" in by:
        lines += _model_lines(kind, record, apart)
    if "pool" in by:
        lines += _pool_lines(record, database)
    if "horizon" in by:
        lines += _section("By horizon")
        lines += _group_table(apart, record, lambda j: horizon(j.horizon_days))
    if "price" in by and any(j.price not in ("", NO_PRICE) for j in record.judged):
        lines += _section("By market price")
        lines += _group_table(pools, record, lambda j: (j.price == NO_PRICE, j.price))
    if "run" in by:
        lines += _section("By run")
        lines += _group_table(apart, record, lambda j: (j.run_id, f"run {j.run_id}"))
    return lines


def _model_lines(kind: str, record: Record, apart: Sequence[str]) -> list[str]:
    """Score each model and pool, and compare them with references."""
    names = record.forecasters()
    latest = {name: record.latest(name) for name in names}
    lines = _section(_SCORED_ONCE[kind])
    lines += score_table(latest)
    lines += _section("Decomposition of the Brier score (ten bins, corrected for few forecasts)")
    parts = [parts_row(name, latest[name]) for name in names]
    lines += table(PARTS_HEADERS, parts, spare=SPARE_PARTS)
    for name in apart:
        lines += _section(
            f"Skill of {name} (Brier; each reference on the questions it has; the in-sample base"
            " rate is known only afterwards)"
        )
        lines += table(SKILL_HEADERS, skill_rows(latest[name]), wide=52, spare=SPARE_SKILLS)
    head = names[0]
    lines += _section(f"Reliability, {head} (Wilson intervals, questions taken as independent)")
    return lines + reliability_lines(latest[head])


def _uncounted_lines(record: Record) -> list[str]:
    """Count the forecasts that do not count by reason, with some of their questions."""
    lines = []
    for reason, count in Counter(e.reason for e in record.excluded).most_common():
        ids = sorted({e.question_id for e in record.excluded if e.reason == reason})
        more = " …" if len(ids) > 5 else ""
        lines.append(f"not counted: {count} forecasts, {reason} ({', '.join(ids[:5])}{more})")
    return lines


def _section(title: str) -> list[str]:
    return ["", f"## {title}"]


def _pool_lines(record: Record, database: Database) -> list[str]:
    """Score every pool method, and compare each with the linear pool."""
    pools = pooled(record, database)
    if not pools:
        return []
    lines = _section(
        "Pool methods, recomputed from the stored distributions of the agents"
        " (questions with two agents or more)"
    )
    lines += score_table(pools)
    linear = np.array([j.probability for j in pools.pop("mean")])
    lines += _section("… and their difference to the linear pool on the same questions")
    headers = ("pool", "n", "linear pool", "this pool", "skill", "difference", "95 %")
    rows = [skill_row(name, judged, linear) for name, judged in pools.items()]
    return lines + table(headers, rows, spare=("skill", "linear pool", "this pool"))


def _group_table(
    names: Sequence[str], record: Record, group_of: Callable[[Judged], tuple[int, str]]
) -> list[str]:
    """Score by group (place, name), where what is scored once counts once."""
    groups: dict[tuple[int, int, str], dict[tuple[str, str | None], Judged]] = {}
    for j in record.judged:
        if j.forecaster in names:
            key = (names.index(j.forecaster), *group_of(j))
            groups.setdefault(key, {})[j.scored_as] = j
    return score_table(
        {f"{names[key[0]]}, {key[2]}": list(groups[key].values()) for key in sorted(groups)},
        wide=46,
    )


def horizon(days: float) -> tuple[int, str]:
    """Return the class of a time from forecast to resolution: its least days and name."""
    lower = 0
    for upper in config.HORIZON_DAYS:
        if days <= upper:
            return lower, f"{lower}–{upper} days"
        lower = upper
    return lower, f"over {lower} days"
