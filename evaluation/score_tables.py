"""Lay out the scores of forecasts as rows of tables."""

from __future__ import annotations

import math
import shutil
from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

import config
from evaluation.intervals import Interval, mean_interval
from evaluation.metrics import (
    LOG_SCORE_CLIP,
    auc,
    brier_scores,
    log_scores,
    sharpness,
    skill_score,
)
from evaluation.reliability import calibration_noise, corrected, reliability_bins
from evaluation.resolved import Judged, arrays
from terminal.text import cut, width

# Columns of a question file that hold somebody else's probability (0-1): its name in tables, and
# the column with its day. A price younger than the forecast had more information and is marked.
REFERENCES: Mapping[str, tuple[str, str | None]] = {
    "crowd": ("crowd", None),
    "baseline_crowd": ("crowd at freeze", "freeze_date"),
    "crowd_at_due": ("crowd at due date", "forecast_due_date"),
    "superforecaster_median": ("superforecaster median", "forecast_due_date"),
}
# Least columns of a first column and of an id, whatever the terminal has.
LEAST_TEXT, LEAST_ID = 20, 12
SCORE_HEADERS = (
    "",
    "n",
    "clusters",
    "Brier",
    "95 %",
    "log score",
    "log 95 %",
    "ECE",
    "if calibrated",
    "AUC",
)
# What a narrow terminal does without, the first of them first.
SPARE_SCORES = ("if calibrated", "log 95 %", "clusters", "AUC", "ECE", "log score")
PARTS_HEADERS = (
    "",
    "Brier",
    "reliability",
    "resolution",
    "uncertainty",
    "within bins",
    "sharpness",
)
SKILL_HEADERS = ("reference", "n", "its Brier", "ours", "skill", "ours - its", "95 %")
SPARE_SKILLS = ("skill", "its Brier", "ours")
SPARE_PARTS = ("sharpness", "within bins")


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    wide: int = 38,
    spare: Sequence[str] = (),
) -> list[str]:
    """Align columns: the first left and cut at ``wide`` columns, the others right.

    On a narrow terminal the ``spare`` columns are left out, the first of them first, as far as they
    must be; a last line names them.
    """
    cells = [[cut(first, wide), *rest] for first, *rest in (headers, *rows)]
    # What is no terminal is as wide as any table.
    terminal, left = shutil.get_terminal_size((1000, 24)).columns, list[str]()
    for name in spare:
        if sum(2 + max(map(width, column)) for column in zip(*cells, strict=True)) - 2 <= terminal:
            break
        at = cells[0].index(name)
        cells = [row[:at] + row[at + 1 :] for row in cells]
        left.append(name)
    first, *others = (max(map(width, column)) for column in zip(*cells, strict=True))
    lines = [
        "  ".join([_left(row[0], first), *map(_right, row[1:], others)]).rstrip() for row in cells
    ]
    return [*lines, f"(a wider terminal shows: {', '.join(left)})"] if left else lines


def fitted_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Align columns in the terminal's width, each row on one line.

    The column "id" is cut as far as the first one needs, which gets what is left.
    """
    cells = [list(row) for row in rows]
    terminal = shutil.get_terminal_size((100, 24)).columns
    if "id" in headers:
        at = headers.index("id")
        others = _beside(headers, [[*row[:at], "", *row[at + 1 :]] for row in cells])
        for row in cells:
            row[at] = cut(row[at], max(LEAST_ID, terminal - LEAST_TEXT - others))
    return table(headers, cells, wide=max(LEAST_TEXT, terminal - _beside(headers, cells)))


def _beside(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return the columns of a terminal that all but a table's first column take."""
    return sum(2 + max(map(width, column)) for column in [*zip(headers, *rows, strict=True)][1:])


def _left(text: str, columns: int) -> str:
    return text + " " * (columns - width(text))


def _right(text: str, columns: int) -> str:
    return " " * (columns - width(text)) + text


def span(interval: Interval, form: str = ".3f") -> str:
    """Format an interval as ``0.100 … 0.200``, or a dash."""
    return f"{interval.low:{form}} … {interval.high:{form}}" if interval.known else "–"


def number(value: float, form: str = ".3f") -> str:
    """Format a number, or a dash where it is not finite."""
    return f"{value:{form}}" if math.isfinite(value) else "–"


# --- scores ---------------------------------------------------------------------------------------


def brier_interval(values: NDArray[np.float64], clusters: Sequence[Hashable]) -> Interval:
    """Return the 95 % interval of a mean Brier score, 0-1."""
    return mean_interval(values, clusters, least=0, most=1)


def log_interval(values: NDArray[np.float64], clusters: Sequence[Hashable]) -> Interval:
    """Return the 95 % interval of a mean log score in nats, 0 to its clipped maximum."""
    return mean_interval(values, clusters, least=0, most=-math.log(LOG_SCORE_CLIP))


def score_table(groups: Mapping[str, Sequence[Judged]], *, wide: int = 38) -> list[str]:
    """Score each group of forecasts on a line of its own."""
    rows = [score_row(*group) for group in groups.items()]
    return table(SCORE_HEADERS, rows, wide=wide, spare=SPARE_SCORES)


def score_row(name: str, rows: Sequence[Judged]) -> list[str]:
    """Return a line of a score table; what few questions cannot show is a dash."""
    p, y, clusters = arrays(rows)
    brier, log = brier_scores(p, y), log_scores(p, y)
    samples = config.CALIBRATION_SIMULATIONS
    noise = calibration_noise(p, y, clusters, samples=samples, seed=config.SEED)
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
        number(auc(p, y)) if len(rows) >= config.MIN_CLAIM_QUESTIONS else "–",
    ]


def parts_row(name: str, rows: Sequence[Judged]) -> list[str]:
    """Decompose the Brier score over ten bins, and add the sharpness."""
    p, y, _ = arrays(rows)
    parts = corrected(p, y)
    terms = (
        parts.reliability,
        parts.resolution,
        parts.uncertainty,
        parts.within_bin_variance - parts.within_bin_covariance,
    )
    few = len(rows) < config.MIN_CLAIM_QUESTIONS
    values = (parts.brier, *(math.nan if few else term for term in terms), sharpness(p))
    return [name, *[number(v, ".4f") for v in values]]


def reliability_lines(rows: Sequence[Judged]) -> list[str]:
    """Show the reliability bins that hold a forecast."""
    p, y, _ = arrays(rows)
    cells = [
        [
            f"{100 * b.low:.0f}–{100 * b.high:.0f} %",
            str(b.count),
            f"{100 * b.mean_forecast:.1f} %",
            f"{100 * b.frequency:.1f} %",
            f"{100 * b.interval.low:.0f}–{100 * b.interval.high:.0f} %",
        ]
        for b in reliability_bins(p, y)
        if b.count
    ]
    return table(("forecast", "n", "mean forecast", "came true", "95 %"), cells)


# --- skill against a reference --------------------------------------------------------------------


def skill_rows(rows: Sequence[Judged]) -> list[list[str]]:
    """Compare with each reference on the questions that have it."""
    base_rate = float(np.mean([j.outcome for j in rows]))
    references: dict[str, list[float | None]] = {
        "always 50 %": [0.5] * len(rows),
        "in-sample base rate": [base_rate] * len(rows),
        "previous forecast": [j.previous for j in rows],
    }
    for column, (name, _) in REFERENCES.items():
        mark = " (later than the forecast)" if younger(rows, column) else ""
        references[name + mark] = [reference_value(j, column) for j in rows]
    lines = []
    for name, values in references.items():
        shared = [(j, v) for j, v in zip(rows, values, strict=True) if v is not None]
        if shared:
            lines.append(skill_row(name, [j for j, _ in shared], np.array([v for _, v in shared])))
    return lines


def skill_row(name: str, rows: Sequence[Judged], reference: NDArray[np.float64]) -> list[str]:
    """Compare Brier scores with those of a reference, probabilities (n,) in 0-1."""
    p, y, clusters = arrays(rows)
    own, other = brier_scores(p, y), brier_scores(reference, y)
    interval = mean_interval(own - other, clusters)
    skill = skill_score(float(own.mean()), float(other.mean()))
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


def reference_value(j: Judged, column: str) -> float | None:
    """Return the probability (0-1) in a column of the question file, None without one."""
    try:
        value = float(j.extra[column])
    except (KeyError, TypeError, ValueError, OverflowError):
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


def reference_problems(rows: Iterable[Judged]) -> list[str]:
    """Count each reference's stored values that are no probability, in one line each."""
    rows, lines = list(rows), []
    for column in REFERENCES:
        given = [j for j in rows if str(j.extra.get(column) or "").strip() not in ("", "None")]
        wrong = [j for j in given if reference_value(j, column) is None]
        if wrong:
            lines.append(
                f"not counted: {len(wrong)} of {len(given)} stored values of {column} are no"
                f" probability from 0 to 1 (such as {wrong[0].extra[column]!r} of"
                f" {wrong[0].question_id})"
            )
    return lines
