"""What the figures show, as plain values; percentages are 0-100."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from evaluation.intervals import Interval
from evaluation.outcomes import outcome_word
from scoring.distribution import Distribution


class PlotError(Exception):
    """A figure could not be drawn or written; the message is one line for the user."""


@dataclass(frozen=True)
class Curve:
    """A model's or the ensemble's distribution, with a note ("low confidence").

    ``incomplete`` says how many of its models a pool has ("2 of 3") if some are missing.
    """

    name: str
    distribution: Distribution
    note: str = ""
    ensemble: bool = False
    incomplete: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a question ended: 0, 1 or None if voided; and when, if that is known."""

    value: float | None
    when: datetime | None

    @property
    def word(self) -> str:
        """Return ``yes``, ``no`` or ``void``."""
        return outcome_word(self.value)


@dataclass(frozen=True)
class HistoryPoint:
    """One forecast in time: its mean and the ends of its 80 % range.

    ``calibrated`` is the mean corrected by the record's calibration; ``fewer`` says how many of its
    models a pool has ("2 of 3") if some are missing. ``final`` is the final number where anything
    moved the mean, ``market`` the price that the forecast used.
    """

    when: datetime
    mean: float
    low: float
    high: float
    calibrated: float | None = None
    fewer: str = ""
    final: float | None = None
    market: float | None = None


@dataclass(frozen=True)
class OverviewRow:
    """One question's latest forecast, the one before it if any, and its outcome.

    ``previous`` is the latest minus the change over the models that both pools have;
    ``same_models`` says that this differs from the change of the pools. ``day`` is the one that a
    back-dated forecast was made from. The rest is as in ``HistoryPoint``; with a ``final`` number
    ``previous`` is the final number before it.
    """

    text: str
    mean: float
    low: float
    high: float
    previous: float | None = None
    outcome: Outcome | None = None
    calibrated: float | None = None
    fewer: str = ""
    same_models: bool = False
    day: str = ""
    final: float | None = None


@dataclass(frozen=True)
class ScorePoint:
    """Mean Brier score of one period's ``count`` forecasts, at its middle."""

    when: datetime
    count: int
    brier: float
    interval: Interval
