"""Say in five lines how good the forecasts were, and list them by question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

import config
from evaluation.intervals import mean_interval
from evaluation.metrics import brier_scores
from evaluation.outcomes import outcome_word
from evaluation.reliability import calibration_noise
from evaluation.resolved import ENSEMBLE, Judged, arrays
from evaluation.score_tables import (
    REFERENCES,
    brier_interval,
    fitted_table,
    reference_value,
    span,
    younger,
)
from questions.cells import counted
from terminal.text import visible_line

# Questions in the table unless all are asked for.
LISTED = 50


def headline(kind: str, name: str, rows: Sequence[Judged]) -> list[str]:
    """Return five lines to quote.

    Args:
        kind: "live" or "back-dated".
        name: whose forecasts they are.
        rows: what is scored once.
    """
    p, y, clusters = arrays(rows)
    scores = brier_scores(p, y)
    whose = "the models' pool" if name == ENSEMBLE else name
    subjects = len({j.subject or j.question_id for j in rows})
    days = f" ({len(rows)} question days)" if len(rows) > subjects else ""
    interval = brier_interval(scores, clusters)
    return [
        f"Brier {scores.mean():.3f} on {counted(subjects, 'resolved question')}{days}"
        f" ({kind} forecasts, {whose}; 95 % {span(interval)}); 0 is best, always 50 % has 0.250",
        _compared("always the base rate", rows, np.full(len(rows), y.mean()))
        + f"; {100 * y.mean():.0f} % ended yes, known only afterwards",
        _market(rows),
        _calibration(rows),
        _claim(rows),
    ]


def _compared(name: str, rows: Sequence[Judged], other: np.ndarray) -> str:
    """Compare with other probabilities (n,) of the same questions."""
    p, y, clusters = arrays(rows)
    own, theirs = brier_scores(p, y), brier_scores(other, y)
    interval = mean_interval(own - theirs, clusters)
    if not interval.known:
        verdict = "not yet beyond chance: too few or too related for an interval"
    elif interval.low > 0 or interval.high < 0:
        verdict = "beyond chance"
    else:
        verdict = "not beyond chance"
    difference = float((own - theirs).mean())
    return (
        f"{name} {theirs.mean():.3f}; difference {difference:+.3f} (95 % {span(interval, '+.3f')}):"
        f" {'better' if difference < 0 else 'worse' if difference > 0 else 'equal'}, {verdict}"
    )


def _market(rows: Sequence[Judged]) -> str:
    """Compare with the market price, or else the column that most questions have."""
    prices = {"the market": [j.market for j in rows]}
    for column, (name, _) in REFERENCES.items():
        if not younger(rows, column):
            prices[f"the market ({name})"] = [reference_value(j, column) for j in rows]
    name, values = max(prices.items(), key=lambda item: sum(v is not None for v in item[1]))
    shared = [(j, value) for j, value in zip(rows, values, strict=True) if value is not None]
    if not shared:
        return "the market: no question has a price"
    own = [j for j, _ in shared]
    line = _compared(name, own, np.array([value for _, value in shared]))
    if len(own) == len(rows):
        return line
    ours = brier_scores(*arrays(own)[:2]).mean()
    return f"{line}; on the {counted(len(own), 'question')} with a price, where ours is {ours:.3f}"


def _calibration(rows: Sequence[Judged]) -> str:
    if len(rows) < config.MIN_CLAIM_QUESTIONS:
        return f"calibration: not judged under {config.MIN_CLAIM_QUESTIONS} forecasts"
    noise = calibration_noise(
        *arrays(rows), samples=config.CALIBRATION_SIMULATIONS, seed=config.SEED
    )
    verdict = "beyond chance" if noise.exceeded else "not beyond chance"
    return (
        f"calibration error {noise.error:.3f} (calibrated forecasts would show {noise.mean:.3f}, up"
        f" to {noise.bound:.3f}): {verdict}"
    )


def _claim(rows: Sequence[Judged]) -> str:
    """Say what few questions cannot show."""
    few = len(rows) < config.MIN_CLAIM_QUESTIONS
    clusters = len({j.cluster for j in rows})
    if few or clusters < config.MIN_INTERVAL_CLUSTERS:
        return (
            f"fewer than {config.MIN_CLAIM_QUESTIONS} questions, or than"
            f" {config.MIN_INTERVAL_CLUSTERS} clusters of related ones ({len(rows)}, {clusters}):"
            " these numbers describe these questions, nothing is claimed about others"
        )
    return (
        f"intervals are over {clusters} clusters of related questions; they hold for questions like"
        " these"
    )


def question_lines(
    rows: Sequence[Judged], texts: Mapping[str, str], *, everything: bool = False
) -> list[str]:
    """List each forecast that is scored, worst first; ``texts`` by question id."""
    ordered = sorted(rows, key=lambda j: (-((j.probability - j.outcome) ** 2), j.question_id))
    shown = ordered if everything else ordered[:LISTED]
    cells = [
        [
            visible_line(texts.get(j.question_id, j.question_id)),
            visible_line(j.question_id),
            f"{100 * j.probability:.1f} %",
            outcome_word(j.outcome),
            f"{(j.probability - j.outcome) ** 2:.3f}",
            f"{j.horizon_days:.0f}",
        ]
        for j in shown
    ]
    headers = ("question", "id", "forecast", "outcome", "Brier", "days before")
    lines = fitted_table(headers, cells)
    if len(shown) < len(ordered):
        lines.append(f"… and {len(ordered) - len(shown)} that scored better (--by question)")
    return lines
