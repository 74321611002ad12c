"""Lay out the scores of some forecasts as rows of tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

import config
from evaluation import intervals, metrics
from evaluation.intervals import Interval
from evaluation.reliability import calibration_noise, corrected, reliability_bins
from evaluation.resolved import Judged, arrays

# Columns of a question file that hold somebody else's probability (0-1), how they are called in tables, and the column with
# the day that probability is from. A price younger than the forecast had more information; the tables mark it.
REFERENCES: Mapping[str, tuple[str, str | None]] = {
    "crowd": ("crowd", None),
    "baseline_crowd": ("crowd at freeze", "freeze_date"),
    "crowd_at_due": ("crowd at due date", "forecast_due_date"),
    "superforecaster_median": ("superforecaster median", "forecast_due_date"),
}


def brier_interval(values: NDArray[np.float64], clusters: Sequence[Hashable]) -> Interval:
    """95 % interval of a mean Brier score, 0-1; unknown with too few clusters (``intervals``)."""
    return intervals.mean_interval(values, clusters, least=0, most=1)


def difference_interval(values: NDArray[np.float64], clusters: Sequence[Hashable]) -> Interval:
    """95 % interval of a mean difference of two scores; unknown with too few clusters (``intervals``)."""
    return intervals.mean_interval(values, clusters)


def log_interval(values: NDArray[np.float64], clusters: Sequence[Hashable]) -> Interval:
    """95 % interval of a mean log score in nats, 0 to its clipped maximum."""
    return intervals.mean_interval(
        values, clusters, least=0, most=-math.log(metrics.LOG_SCORE_CLIP)
    )


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


def number(value: float, form: str = ".3f") -> str:
    """Format a number, or a dash where it is not finite."""
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
    brier, log = metrics.brier_scores(p, y), metrics.log_scores(p, y)
    noise = calibration_noise(
        p, y, clusters, samples=config.CALIBRATION_SIMULATIONS, seed=config.SEED
    )
    return [
        name,
        str(len(rows)),
        str(len(set(clusters))),
        number(float(brier.mean()), ".4f"),
        span(brier_interval(brier, clusters)),
        number(float(log.mean())),
        span(log_interval(log, clusters)),
        number(noise.error) + ("*" if noise.exceeded else ""),
        f"{noise.mean:.3f}, up to {noise.bound:.3f}",
        number(metrics.auc(p, y)) if len(rows) >= config.MIN_CLAIM_QUESTIONS else "–",
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
    values = (parts.brier, *(math.nan if few else term for term in terms), metrics.sharpness(p))
    return [name, *[number(v, ".4f") for v in values]]


SKILL_HEADERS = ("reference", "n", "its Brier", "ours", "skill", "ours - its", "95 %")


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
            lines.append(skill_row(name, [j for j, _ in shared], np.array([v for _, v in shared])))
    return lines


def skill_row(name: str, rows: Sequence[Judged], reference: NDArray[np.float64]) -> list[str]:
    """Compare Brier scores with those of a reference (n,) in 0-1 on the same questions."""
    p, y, clusters = arrays(rows)
    own, other = metrics.brier_scores(p, y), metrics.brier_scores(reference, y)
    interval = difference_interval(own - other, clusters)
    skill = metrics.skill_score(float(own.mean()), float(other.mean()))
    return [
        name,
        str(len(rows)),
        number(float(other.mean()), ".4f"),
        number(float(own.mean()), ".4f"),
        # A skill without an interval would be a claim about other questions.
        number(skill, "+.3f") if interval.known else "–",
        number(float((own - other).mean()), "+.4f"),
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
