"""Which stored forecasts count for the record, and the tables of their scores; between the database and the formulas, so no
other room fits.

A forecast counts when its question is resolved (the latest record, not void) and it was made before that moment. A backtest's
forecast speaks from its ``as_of`` day: that day must end before the resolution, and no passage in its prompt may be newer.
Everything that does not count is listed with the reason.

There are two records, scored apart: forecasts made live, and back-dated ones, made later as of a past day. In the live record
the last forecast of a question by one forecaster before its resolution is scored, so that a question asked every day does not
count a hundred times; in the back-dated record each question and day is a forecast of its own. Runs and horizons are scored
apart as well. Every forecast is scored with the columns (cluster, references) that its own run was given.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

import config
from database import Database
from evaluation import intervals
from evaluation import metrics as tr
from evaluation.intervals import Interval
from evaluation.reliability import calibration_noise, corrected, reliability_bins
from questions.cells import counted
from questions.checks import parent_id
from questions.question import cluster_of
from scoring.distribution import Distribution
from scoring.pooling import POOL_METHODS, average, pool, voice_weights
from storage.records import Forecast, PooledForecast

ENSEMBLE = "ensemble"
# The two records: forecasts made live, and those made later as of a past day.
LIVE, BACK_DATED = "live", "back-dated"
RECORDS = (LIVE, BACK_DATED)
# Columns of a question file that hold somebody else's probability (0-1), how they are called in tables, and the column with
# the day that probability is from. A price younger than the forecast had more information; the tables mark it.
REFERENCES: Mapping[str, tuple[str, str | None]] = {
    "crowd": ("crowd", None),
    "baseline_crowd": ("crowd at freeze", "freeze_date"),
    "crowd_at_due": ("crowd at due date", "forecast_due_date"),
    "superforecaster_median": ("superforecaster median", "forecast_due_date"),
}


class AnalysisError(Exception):
    """Nothing can be done with what was given; the message is one line for the user."""


def parse_time(text: str) -> datetime:
    """A stored ISO date or timestamp as UTC without a zone, the form that plots and comparisons here use."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def forecast_time(as_of: str | None, created_at: str) -> datetime:
    """The moment a forecast speaks from: the end of its ``as_of`` day for a backtest, else when it was made."""
    if as_of is None:
        return parse_time(created_at)
    moment = parse_time(as_of)
    return moment if len(as_of) > 10 else moment + timedelta(days=1, seconds=-1)


# --- what counts ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """One forecast of a resolved question.

    ``probability`` is in 0-1; ``extra`` holds other people's probabilities (``REFERENCES``).
    """

    run_id: int
    question_id: str
    forecaster: str
    distribution: Distribution
    outcome: int
    cluster: str
    made: datetime
    resolved: datetime
    extra: Mapping[str, Any] = field(default_factory=dict)
    previous: float | None = None
    as_of: str | None = None
    subject: str = ""

    @property
    def record(self) -> str:
        """The record it belongs to, ``LIVE`` or ``BACK_DATED``."""
        return LIVE if self.as_of is None else BACK_DATED

    @property
    def scored_as(self) -> tuple[str, str | None]:
        """What one forecaster is scored once for: a question live, a question and day back-dated."""
        return self.subject or self.question_id, self.as_of

    @property
    def probability(self) -> float:
        """The point forecast, 0-1."""
        return min(1.0, max(0.0, self.distribution.probability))

    @property
    def horizon_days(self) -> float:
        """Days from the forecast to the resolution."""
        return (self.resolved - self.made) / timedelta(days=1)


@dataclass(frozen=True)
class Excluded:
    """A forecast that does not count, and why."""

    run_id: int
    question_id: str
    forecaster: str
    reason: str
    record: str = LIVE


@dataclass(frozen=True)
class Record:
    """Everything the database says about resolved questions.

    agents: each agent's distribution by (run, question); captured: captured mass (0-1) of the agents' voices by the same keys
    (an agent without an entry counts in full); back_dated: those of these keys that are back-dated.
    """

    judged: tuple[Judged, ...]
    excluded: tuple[Excluded, ...]
    agents: Mapping[tuple[int, str], Mapping[str, Distribution]]
    captured: Mapping[tuple[int, str], Mapping[str, float]] = field(default_factory=dict)
    back_dated: frozenset[tuple[int, str]] = frozenset()

    def part(self, record: str) -> Record:
        """Only the live or only the back-dated forecasts."""
        return Record(
            tuple(j for j in self.judged if j.record == record),
            tuple(e for e in self.excluded if e.record == record),
            {
                key: d
                for key, d in self.agents.items()
                if (key in self.back_dated) == (record == BACK_DATED)
            },
            self.captured,
            self.back_dated,
        )

    def of_run(self, run_id: int) -> Record:
        """Only the forecasts of one run."""
        return Record(
            tuple(j for j in self.judged if j.run_id == run_id),
            tuple(e for e in self.excluded if e.run_id == run_id),
            {key: value for key, value in self.agents.items() if key[0] == run_id},
            self.captured,
            self.back_dated,
        )

    def latest(self, forecaster: str | None = None) -> list[Judged]:
        """The last counting forecast by each (or one) forecaster of what is scored once, in order of time.

        That is each question in the live record, and each question and day in the back-dated one.
        """
        last: dict[tuple[str, tuple[str, str | None]], Judged] = {}
        for j in sorted(self.judged, key=lambda j: (j.made, j.run_id)):
            if forecaster is None or j.forecaster == forecaster:
                last[j.forecaster, j.scored_as] = j
        return list(last.values())

    def forecasters(self) -> list[str]:
        """All names, the ensemble first."""
        names = sorted({j.forecaster for j in self.judged})
        return sorted(names, key=lambda name: name != ENSEMBLE)


def collect(database: Database, subjects: Iterable[str] | None = None) -> Record:
    """Read every forecast of a resolved question and decide whether it counts; nothing but ``subjects`` where given."""
    resolutions = database.resolutions()
    wanted = (
        None
        if subjects is None
        else [key for kind in RECORDS for key in database.asked_in(set(subjects), kind)]
    )
    asked = {(row.run_id, row.question_id): row for row in database.asked_columns(wanted)}
    extras = {key: row.extra for key, row in asked.items() if key[1] in resolutions}
    scored = {key for key, extra in extras.items() if parent_id(extra) is None}
    agents: dict[tuple[int, str], dict[str, list[Forecast]]] = {}
    for forecast in database.successful_forecasts(wanted):
        key = (forecast.run_id, forecast.question_id)
        if key in scored:
            agents.setdefault(key, {}).setdefault(forecast.agent, []).append(forecast)
    voices = {
        key: {agent: average([row.voice for row in rows]) for agent, rows in by_agent.items()}
        for key, by_agent in agents.items()
    }
    distributions = {
        key: {agent: voice.distribution for agent, voice in by_agent.items()}
        for key, by_agent in voices.items()
    }
    candidates: list[tuple[str, Distribution, Forecast | PooledForecast, str | None]] = []
    for key, by_distribution in distributions.items():
        for agent, distribution in by_distribution.items():
            rows = agents[key][agent]
            newest = max((r.latest_evidence for r in rows if r.latest_evidence), default=None)
            candidates.append((agent, distribution, rows[-1], newest))
    candidates += [
        (ENSEMBLE, row.distribution, row, row.latest_evidence)
        for row in database.all_ensembles(wanted)
        if (row.run_id, row.question_id) in scored
    ]
    judged, excluded = [], []
    for name, distribution, row, newest in candidates:
        key = (row.run_id, row.question_id)
        resolution = resolutions[row.question_id]
        reason = exclusion(
            row.as_of,
            row.created_at,
            newest,
            resolution.outcome,
            resolution.resolved_at,
        )
        if reason:
            record = LIVE if row.as_of is None else BACK_DATED
            excluded.append(Excluded(*key, name, reason, record))
            continue
        subject = asked[key].subject
        judged.append(
            Judged(
                run_id=row.run_id,
                question_id=row.question_id,
                forecaster=name,
                distribution=distribution,
                outcome=int(resolution.outcome or 0),
                cluster=cluster_of(extras[key], subject),
                made=forecast_time(row.as_of, row.created_at),
                resolved=parse_time(resolution.resolved_at),
                extra=extras[key],
                as_of=row.as_of,
                subject=subject,
            )
        )
    captured = {
        key: {agent: voice.captured for agent, voice in by_agent.items()}
        for key, by_agent in voices.items()
    }
    back_dated = frozenset(key for key in scored if asked[key].as_of is not None)
    return Record(
        tuple(_with_previous(judged)), tuple(excluded), distributions, captured, back_dated
    )


def exclusion(
    as_of: str | None,
    created_at: str,
    latest_evidence: str | None,
    outcome: float | None,
    resolved_at: str,
) -> str | None:
    """Why a forecast does not count, or None when it does (see the module's first lines)."""
    if outcome is None:
        return "the question was voided"
    made = forecast_time(as_of, created_at)
    if made >= parse_time(resolved_at):
        return "as_of is not before the resolution" if as_of else "made after the resolution"
    if as_of and latest_evidence and parse_time(latest_evidence) > made:
        return "evidence newer than as_of"
    return None


def _with_previous(judged: Sequence[Judged]) -> list[Judged]:
    """Fill in each forecast's predecessor: the forecaster's last earlier one of the question in that record."""
    series: dict[tuple[str, str, str], list[Judged]] = {}
    result = []
    for j in sorted(judged, key=lambda j: (j.made, j.run_id)):
        earlier = series.setdefault((j.forecaster, j.subject, j.record), [])
        # Two back-dated forecasts of one day are two attempts at the same forecast.
        before = [k.probability for k in earlier if k.made < j.made]
        result.append(replace(j, previous=before[-1] if before else None))
        earlier.append(j)
    return result


# --- pools recomputed from the stored distributions -------------------------------------------------------------------


def pooled(record: Record) -> dict[str, list[Judged]]:
    """Every pool method on the ensemble's latest forecasts that had at least two agents, on the same questions for all.

    Besides ``distribution.POOL_METHODS``: the linear pool with weights from past scores, learnt on other clusters of questions.
    """
    base = [
        j
        for j in record.latest(ENSEMBLE)
        if len(record.agents.get((j.run_id, j.question_id), {})) > 1
    ]
    if not base:
        return {}
    parts = [record.agents[j.run_id, j.question_id] for j in base]
    result = {
        method: [
            replace(j, distribution=_pool(record, j, p, method))
            for j, p in zip(base, parts, strict=True)
        ]
        for method in POOL_METHODS
    }
    weights = _past_score_weights(base, parts)
    if weights is not None:
        result["weights by past score"] = [
            replace(j, distribution=_pool(record, j, p, "mean", w))
            for j, p, w in zip(base, parts, weights, strict=True)
        ]
    return result


def _pool(
    record: Record,
    j: Judged,
    parts: Mapping[str, Distribution],
    method: str,
    weights: Mapping[str, float] | None = None,
) -> Distribution:
    """Pool agents as a run does: a weak voice counts by its captured mass (scoring/pooling.py), times ``weights``."""
    masses = record.captured.get((j.run_id, j.question_id), {})
    given = voice_weights([masses.get(name, 1.0) for name in parts])
    if weights is not None:
        given = given * [weights[name] for name in parts]
    return pool(list(parts.values()), method, given)


def _past_score_weights(
    base: Sequence[Judged], parts: Sequence[Mapping[str, Distribution]]
) -> list[dict[str, float]] | None:
    """For each question the agents' inverse-Brier weights learnt on the other folds; None with fewer clusters than folds."""
    clusters = [j.cluster for j in base]
    if len(set(clusters)) < config.CROSS_VALIDATION_FOLDS:
        return None
    names = sorted({name for p in parts for name in p})
    scores = np.array(
        [
            [(p[name].probability - j.outcome) ** 2 if name in p else math.nan for name in names]
            for j, p in zip(base, parts, strict=True)
        ]
    )
    folds = tr.cluster_folds(clusters, config.CROSS_VALIDATION_FOLDS, seed=config.SEED)
    learnt = {fold: tr.inverse_score_weights(scores[folds != fold]) for fold in np.unique(folds)}
    return [dict(zip(names, learnt[fold].tolist(), strict=True)) for fold in folds]


# --- scores of a set of forecasts -------------------------------------------------------------------------------------


def arrays(
    rows: Sequence[Judged],
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[Hashable]]:
    """Probabilities (n,) in 0-1, outcomes (n,) and cluster labels of some forecasts."""
    return (
        np.array([j.probability for j in rows]),
        np.array([j.outcome for j in rows], dtype=np.float64),
        [j.cluster for j in rows],
    )


def brier_interval(values: NDArray[np.float64], clusters: Sequence[Hashable]) -> Interval:
    """95 % interval of a mean Brier score, 0-1; unknown with too few clusters (``intervals``)."""
    return intervals.mean_interval(values, clusters, least=0, most=1)


def difference_interval(values: NDArray[np.float64], clusters: Sequence[Hashable]) -> Interval:
    """95 % interval of a mean difference of two scores; unknown with too few clusters (``intervals``)."""
    return intervals.mean_interval(values, clusters)


def log_interval(values: NDArray[np.float64], clusters: Sequence[Hashable]) -> Interval:
    """95 % interval of a mean log score in nats, 0 to its clipped maximum."""
    return intervals.mean_interval(values, clusters, least=0, most=-math.log(tr.LOG_SCORE_CLIP))


def reference_value(j: Judged, column: str) -> float | None:
    """Somebody else's probability (0-1) from a column of the question file; None when missing or no probability."""
    try:
        value = float(j.extra[column])
    except (KeyError, TypeError, ValueError):
        return None
    return value if 0 <= value <= 1 else None


def younger(rows: Iterable[Judged], column: str) -> bool:
    """Whether a reference was taken after the day of any of these forecasts."""
    date_column = REFERENCES[column][1]
    return date_column is not None and any(
        str(j.extra.get(date_column) or "") > j.made.date().isoformat()
        for j in rows
        if reference_value(j, column) is not None
    )


# --- tables -----------------------------------------------------------------------------------------------------------


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, width: int = 38) -> list[str]:
    """Aligned columns: the first to the left and cut at ``width`` characters, the others to the right."""
    cells = [list(headers), *[list(row) for row in rows]]
    for row in cells:
        row[0] = row[0] if len(row[0]) <= width else row[0][: width - 1] + "…"
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    lines = [
        "  ".join(
            c.ljust(w) if i == 0 else c.rjust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    return [lines[0].rstrip(), *[line.rstrip() for line in lines[1:]]]


def span(interval: Interval, form: str = ".3f") -> str:
    """An interval as ``0.100-0.200``, or a dash."""
    return f"{interval.low:{form}} … {interval.high:{form}}" if interval.known else "–"


def _number(value: float, form: str = ".3f") -> str:
    return f"{value:{form}}" if math.isfinite(value) else "–"


SCORE_HEADERS = (
    "",
    "n",
    "clusters",
    "Brier",
    "95 %",
    "log score",
    "95 %",
    "ECE",
    "if calibrated",
    "AUC",
)


def score_row(name: str, rows: Sequence[Judged]) -> list[str]:
    """One line of a score table; what a few questions cannot show is a dash."""
    p, y, clusters = arrays(rows)
    brier, log = tr.brier_scores(p, y), tr.log_scores(p, y)
    noise = calibration_noise(
        p, y, clusters, samples=config.CALIBRATION_SIMULATIONS, seed=config.SEED
    )
    return [
        name,
        str(len(rows)),
        str(len(set(clusters))),
        _number(float(brier.mean()), ".4f"),
        span(brier_interval(brier, clusters)),
        _number(float(log.mean())),
        span(log_interval(log, clusters)),
        _number(noise.error) + ("*" if noise.exceeded else ""),
        f"{noise.mean:.3f}, up to {noise.bound:.3f}",
        _number(tr.auc(p, y)) if len(rows) >= config.MIN_CLAIM_QUESTIONS else "–",
    ]


PARTS_HEADERS = (
    "",
    "Brier",
    "reliability",
    "resolution",
    "uncertainty",
    "within bins",
    "sharpness",
)


def parts_row(name: str, rows: Sequence[Judged]) -> list[str]:
    """Decomposition of the Brier score over ten bins, and sharpness."""
    p, y, _ = arrays(rows)
    parts = corrected(p, y)
    terms = (
        parts.reliability,
        parts.resolution,
        parts.uncertainty,
        parts.within_bin_variance - parts.within_bin_covariance,
    )
    few = len(rows) < config.MIN_CLAIM_QUESTIONS
    values = (parts.brier, *(math.nan if few else term for term in terms), tr.sharpness(p))
    return [name, *[_number(v, ".4f") for v in values]]


def skill_rows(rows: Sequence[Judged]) -> list[list[str]]:
    """Skill against every reference that at least one of the forecasts has, each on the questions they share."""
    base_rate = float(np.mean([j.outcome for j in rows]))
    references: list[tuple[str, Callable[[Judged], float | None]]] = [
        ("always 50 %", lambda j: 0.5),
        ("in-sample base rate", lambda j: base_rate),
        ("previous forecast", lambda j: j.previous),
    ]
    for column, (name, _) in REFERENCES.items():
        mark = " (later than the forecast)" if younger(rows, column) else ""
        references.append((name + mark, lambda j, column=column: reference_value(j, column)))  # type: ignore[misc]
    lines = []
    for name, value in references:
        shared = [(j, v) for j in rows if (v := value(j)) is not None]
        if shared:
            lines.append(_skill_row(name, [j for j, _ in shared], np.array([v for _, v in shared])))
    return lines


def _skill_row(name: str, rows: Sequence[Judged], reference: NDArray[np.float64]) -> list[str]:
    p, y, clusters = arrays(rows)
    own, other = tr.brier_scores(p, y), tr.brier_scores(reference, y)
    interval = difference_interval(own - other, clusters)
    skill = tr.skill_score(float(own.mean()), float(other.mean()))
    return [
        name,
        str(len(rows)),
        _number(float(other.mean()), ".4f"),
        _number(float(own.mean()), ".4f"),
        # A skill without an interval would be a claim about other questions.
        _number(skill, "+.3f") if interval.known else "–",
        _number(float((own - other).mean()), "+.4f"),
        span(interval, "+.4f"),
    ]


def reference_problems(rows: Iterable[Judged]) -> list[str]:
    """One line for each reference column with stored values that are no probability, and how many."""
    lines = []
    found = list(rows)
    for column in REFERENCES:
        given = [j for j in found if str(j.extra.get(column) or "").strip() not in ("", "None")]
        wrong = [j for j in given if reference_value(j, column) is None]
        if wrong:
            lines.append(
                f"not counted: {len(wrong)} of {len(given)} stored values of {column} are no probability from 0 to 1"
                f" (such as {wrong[0].extra[column]!r} of {wrong[0].question_id})"
            )
    return lines


SKILL_HEADERS = ("reference", "n", "its Brier", "ours", "skill", "ours - its", "95 %")


def horizon_name(days: float) -> str:
    """The horizon class of a forecast, in days from forecast to resolution."""
    lower = 0
    for upper in config.HORIZON_DAYS:
        if days <= upper:
            return f"{lower}–{upper} days"
        lower = upper
    return f"over {lower} days"


def coverage_lines(rows: Sequence[Judged]) -> list[str]:
    """How often another forecaster's probability lies inside the stated 80 % interval (a proxy: it is no truth either)."""
    lines = []
    for column, (name, _) in REFERENCES.items():
        pairs = [(j, 100 * v) for j in rows if (v := reference_value(j, column)) is not None]
        if pairs:
            ends = [j.distribution.interval(0.8) for j, _ in pairs]
            inside = np.array(
                [
                    low - 0.5 <= v <= high + 0.5
                    for (_, v), (low, high) in zip(pairs, ends, strict=True)
                ],
                dtype=float,
            )
            interval = intervals.mean_interval(
                inside, [j.cluster for j, _ in pairs], least=0, most=1
            )
            lines.append(
                f"the 80 % interval holds the probability of the {name} in {100 * inside.mean():.0f} %"
                f" of {len(pairs)} questions (95 %: {span(interval, '.2f')})"
            )
    return lines


def reliability_lines(rows: Sequence[Judged]) -> list[str]:
    """Reliability bins with their counts."""
    p, y, _ = arrays(rows)
    filled = [b for b in reliability_bins(p, y) if b.count]
    cells = [
        [
            f"{100 * b.low:.0f}–{100 * b.high:.0f} %",
            str(b.count),
            f"{100 * b.mean_forecast:.1f} %",
            f"{100 * b.frequency:.1f} %",
            f"{100 * b.interval.low:.0f}–{100 * b.interval.high:.0f} %",
        ]
        for b in filled
    ]
    return table(("forecast", "n", "mean forecast", "came true", "95 %"), cells)


# --- everything together ----------------------------------------------------------------------------------------------


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
    coverage = coverage_lines(latest[head])
    if coverage:
        lines += [*_section(f"80 % range, {head}"), *coverage]
    lines += _section(f"Reliability, {head} (Wilson intervals, questions taken as independent)")
    return lines + reliability_lines(latest[head])


_SCORED_ONCE = {
    LIVE: "Scores: last forecast of each question before its resolution",
    BACK_DATED: "Scores: each question and the day it was forecast as of",
}


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
        rows.append(_skill_row(name, judged, reference))
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
