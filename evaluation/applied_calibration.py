"""Calibrate final forecasts, but only while that wins on later ones.

A curve is fitted on the forecasts of all kinds of questions, shrunk towards no change, and then on
those of one kind, shrunk towards the first. It is judged by rolling origin: the forecasts of each
month, with the curve of what was resolved before that month.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evaluation.curves import Curve, fit_around, identity, refusal, uninformative

Floats = NDArray[np.float64]

METHODS: Final = ("beta", "platt")
# Precision of the curve that a fit is shrunk towards, in clusters' nats: with 50 clusters half of a
# change is kept, with 500 nearly all.
PRECISION: Final = 10.0
# That of the constant, which follows the share of yes: it differs from one period to the next.
CONSTANT_PRECISION: Final = 50.0
# Standard errors by which a curve has to win on later forecasts.
WINNING_ERRORS: Final = 2.0
# Clusters of forecasts made after a fit from which it is judged.
MIN_JUDGED_CLUSTERS: Final = 30


@dataclass(frozen=True)
class PastForecast:
    """An earlier forecast (0-1) of a resolved question, with ISO dates."""

    question_id: str
    kind: str
    cluster: str
    date: str
    probability: float
    outcome: float
    resolved_on: str


@dataclass(frozen=True)
class CalibrationCurve:
    """A fitted correction of one kind of question, and whether it is used.

    ``count`` forecasts of the kind were resolved. ``brier_before`` and ``brier_after`` are means
    over clusters of those made after each fit; ``reason`` says why it is used or not.
    """

    kind: str
    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    count: int = 0
    brier_before: float | None = None
    brier_after: float | None = None
    used: bool = False
    reason: str = ""

    def apply(self, p: float) -> float:
        """Return the corrected probability, 0-1; ``p`` itself while not used."""
        return float(Curve(self.method, self.parameters)([p])[0]) if self.used else p


def fit_applied(past: Sequence[PastForecast], kind: str, as_of: str) -> CalibrationCurve:
    """Fit and judge a kind's calibration on what was resolved before ``as_of``.

    Both methods are tried, and the one is kept that did better on later forecasts. It is used where
    its gain there is larger than ``WINNING_ERRORS`` standard errors over clusters.
    """
    known = [row for row in past if row.resolved_on[:10] < as_of[:10] and row.outcome in (0, 1)]
    own = [row for row in known if row.kind == kind]
    found = CalibrationCurve(kind, METHODS[0], count=len(own))
    if not own:
        return replace(found, reason="no forecast of this kind is resolved")
    if reason := _refusal(known):
        return replace(found, reason=reason)
    judged = {method: rolling(known, kind, method) for method in METHODS}
    method = min(METHODS, key=lambda name: judged[name].after.sum())
    curve = _fit(known, kind, method)
    found = replace(found, method=method, parameters=curve.parameters)
    clusters = len(judged[method].before)
    if clusters < MIN_JUDGED_CLUSTERS:
        reason = f"{clusters} clusters of forecasts were made after a fit"
        return replace(found, reason=f"{reason}, at least {MIN_JUDGED_CLUSTERS} are needed")
    before, after = judged[method].means
    found = replace(found, brier_before=before, brier_after=after)
    if reason := uninformative(curve, *_arrays(own)[:2]):
        return replace(found, reason=reason)
    return replace(found, used=judged[method].wins, reason=str(judged[method]))


@dataclass(frozen=True)
class Judged:
    """Brier scores of later forecasts, raw and calibrated, one mean a cluster."""

    before: Floats
    after: Floats

    @property
    def means(self) -> tuple[float, float]:
        """Mean Brier scores before and after."""
        return float(self.before.mean()), float(self.after.mean())

    @property
    def gain(self) -> tuple[float, float]:
        """The mean difference, negative where calibration helps, and its standard error."""
        gain = self.after - self.before
        return float(gain.mean()), float(gain.std(ddof=1)) / math.sqrt(gain.size)

    @property
    def wins(self) -> bool:
        """Whether the gain is beyond ``WINNING_ERRORS`` standard errors."""
        mean, error = self.gain
        return mean < -WINNING_ERRORS * error

    def __str__(self) -> str:
        mean, error = self.gain
        verdict = "wins" if self.wins else "does not win"
        return (
            f"{verdict} on {self.before.size} clusters of later forecasts:"
            f" Brier {mean:+.4f} ± {error:.4f}"
        )


def rolling(known: Sequence[PastForecast], kind: str, method: str) -> Judged:
    """Calibrate the forecasts of each month by what was resolved before it."""
    months = defaultdict[str, list[PastForecast]](list)
    for row in known:
        if row.kind == kind:
            months[row.date[:7]].append(row)
    scores = defaultdict[str, list[tuple[float, float]]](list)
    for month, rows in months.items():
        earlier = [row for row in known if row.resolved_on[:7] < month]
        if not earlier or _refusal(earlier):
            continue
        p, y, clusters = _arrays(rows)
        pairs = zip((p - y) ** 2, (_fit(earlier, kind, method)(p) - y) ** 2, strict=True)
        for cluster, (raw, new) in zip(clusters, pairs, strict=True):
            scores[cluster].append((float(raw), float(new)))
    means = np.array([np.mean(pairs, axis=0) for pairs in scores.values()]).reshape(-1, 2)
    return Judged(means[:, 0], means[:, 1])


def _refusal(rows: Sequence[PastForecast]) -> str | None:
    """Return why no curve can be fitted; a question forecast often counts once."""
    return refusal(*_arrays(list({row.question_id: row for row in rows}.values())))


def _fit(rows: Sequence[PastForecast], kind: str, method: str) -> Curve:
    """Fit a kind's curve around that of all kinds, and that around no change."""
    centre = identity(method)
    for part in (rows, [row for row in rows if row.kind == kind]):
        sizes = Counter(row.cluster for row in part)
        counts = np.array([1 / sizes[row.cluster] for row in part])
        p, y, _ = _arrays(part)
        precision = [PRECISION] * (len(centre) - 1) + [CONSTANT_PRECISION]
        curve = fit_around(method, (p, y), counts, centre, precision)
        centre = tuple(curve.parameters["weights"])
    return curve


def _arrays(rows: Sequence[PastForecast]) -> tuple[Floats, Floats, list[str]]:
    """Return probabilities and outcomes, shape (n,), and clusters."""
    return (
        np.array([row.probability for row in rows]),
        np.array([row.outcome for row in rows]),
        [row.cluster for row in rows],
    )
