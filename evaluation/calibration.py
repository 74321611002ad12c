"""Calibrate the forecasts of the record: fit, judge, store and apply curves.

A curve is a correction, not a forecast: its values are stored beside the raw ones, which stay as
they are (tables ``calibrations`` and ``calibrated_forecasts``). It is fitted on forecasts that
count for one record (live or back-dated), and judged by cross-validation over clusters.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

import config
from database import Database
from evaluation.curves import Curve, cross_validate, fit, refusal, uninformative
from evaluation.intervals import Interval, mean_interval
from evaluation.metrics import brier_scores, log_scores
from evaluation.reliability import CalibrationNoise, calibration_noise
from evaluation.resolved import (
    BACK_DATED,
    ENSEMBLE,
    LIVE,
    AnalysisError,
    Key,
    Record,
    arrays,
    collect,
    point_forecasts,
    record_of,
)
from evaluation.score_tables import brier_interval, log_interval, span
from storage.records import CalibrationRecord

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ScorePair:
    """A mean score of the raw and of the calibrated forecasts, with 95 % intervals.

    ``means`` and ``intervals`` are pairs; ``difference`` is calibrated minus raw, ``gain`` its
    interval.
    """

    name: str
    means: tuple[float, float]
    intervals: tuple[Interval, Interval]
    difference: float
    gain: Interval

    def line(self) -> str:
        """Return what is printed."""
        (raw, new), (raw_span, new_span) = self.means, map(span, self.intervals)
        return (
            f"  {self.name} raw {raw:.4f} (95 %: {raw_span}), calibrated {new:.4f} ({new_span});"
            f" difference {self.difference:+.4f} ({span(self.gain, '+.4f')}):"
            f" {verdict(self.gain.low, self.gain.high)}"
        )

    def document(self) -> dict[str, Any]:
        """Return the same for programs; intervals are a low and a high end."""
        raw, new = ([one.low, one.high] for one in self.intervals)
        return {
            "raw": self.means[0],
            "raw_interval": raw,
            "calibrated": self.means[1],
            "calibrated_interval": new,
            "difference": self.difference,
            "difference_interval": [self.gain.low, self.gain.high],
            "verdict": verdict(self.gain.low, self.gain.high),
        }


@dataclass(frozen=True)
class Comparison:
    """Raw and cross-validated calibrated forecasts of the same questions."""

    outcomes: Floats
    clusters: Sequence[Hashable]
    raw: Floats
    calibrated: Floats

    @cached_property
    def noise(self) -> tuple[CalibrationNoise, CalibrationNoise]:
        """Calibration errors, raw and calibrated, beside those of a calibrated forecaster."""
        return self._noise(self.raw), self._noise(self.calibrated)

    def _noise(self, p: Floats) -> CalibrationNoise:
        samples = config.CALIBRATION_SIMULATIONS
        return calibration_noise(p, self.outcomes, self.clusters, samples=samples, seed=config.SEED)

    @cached_property
    def scores(self) -> tuple[ScorePair, ScorePair]:
        """Brier score and log score (nats) with their 95 % intervals."""
        return (
            self._pair("Brier", brier_scores, brier_interval),
            self._pair("log score", log_scores, log_interval),
        )

    def _pair(
        self,
        name: str,
        score: Callable[[Floats, Floats], Floats],
        interval: Callable[[Floats, Sequence[Hashable]], Interval],
    ) -> ScorePair:
        raw, new = score(self.raw, self.outcomes), score(self.calibrated, self.outcomes)
        return ScorePair(
            name,
            (float(raw.mean()), float(new.mean())),
            (interval(raw, self.clusters), interval(new, self.clusters)),
            float((new - raw).mean()),
            mean_interval(new - raw, self.clusters),
        )

    def lines(self) -> list[str]:
        """Print each score, raw and calibrated, with its 95 % interval and a verdict."""
        lines = [one.line() for one in self.scores]
        raw_noise, new_noise = self.noise
        lines.append(
            f"  ECE raw {noise_text(raw_noise)}, calibrated {noise_text(new_noise)};"
            " all calibrated scores are cross-validated by cluster"
        )
        return lines


@dataclass(frozen=True)
class Calibrated:
    """A stored calibration: its id, what judged it, and how many values it has."""

    number: int
    record: CalibrationRecord
    compared: Comparison
    notes: Sequence[str]
    values: int

    def lines(self) -> list[str]:
        """Return what is printed."""
        one = self.record
        return [
            f"calibration {self.number}: {one.method} for {one.forecaster}, {one.questions}"
            f" {one.record} forecasts of resolved questions in {one.clusters} clusters",
            *self.notes,
            *self.compared.lines(),
            f"  {self.values} forecasts have a calibrated value beside the raw one"
            " (table calibrated_forecasts)",
        ]

    def document(self) -> dict[str, Any]:
        """Return the same for programs."""
        one, (raw, new) = self.record, self.compared.noise
        return {
            "calibration": self.number,
            "method": one.method,
            "parameters": one.parameters,
            "forecaster": one.forecaster,
            "record": one.record,
            "forecasts": one.questions,
            "clusters": one.clusters,
            "values": self.values,
            "scores": {score.name: score.document() for score in self.compared.scores},
            "ece": {"raw": asdict(raw), "calibrated": asdict(new)},
            "notes": [note.strip() for note in self.notes],
        }


def verdict(low: float, high: float) -> str:
    """Read the 95 % interval of calibrated minus raw score; lower scores are better."""
    if np.isnan(low) or np.isnan(high):
        return "too few clusters to say"
    return "better" if high < 0 else "worse" if low > 0 else "no clear difference"


def noise_text(noise: CalibrationNoise) -> str:
    """Print a calibration error beside what a calibrated forecaster would show."""
    return (
        f"{noise.error:.3f} (a calibrated forecaster would show {noise.mean:.3f},"
        f" up to {noise.bound:.3f})"
    )


def chosen_record(record: Record, forecaster: str, wanted: str | None) -> tuple[str, list[str]]:
    """Choose the record to fit on, and a note on the choice.

    Live where any live forecast counts, or else back-dated, unless one is wanted.
    """
    if wanted is not None:
        return wanted, []
    live, back_dated = (len(record.part(k).latest(forecaster)) for k in (LIVE, BACK_DATED))
    if back_dated and not live:
        return BACK_DATED, ["  no live forecast counts, so the back-dated ones were used"]
    unused = f"  {back_dated} back-dated forecasts were not used (--record back-dated fits those)"
    return LIVE, [unused] if back_dated else []


def calibrate_database(
    database: Database, forecaster: str | None, method: str, wanted: str | None = None
) -> Calibrated:
    """Fit, judge and store a calibration of one forecaster.

    ``forecaster`` is an agent or the ensemble (None). It is fitted on its counting forecasts of
    resolved questions in one record (``wanted``, see ``chosen_record``). Those get the
    cross-validated value (``out_of_fold``), its other forecasts in that record the final curve's.

    Raises:
        AnalysisError: the forecaster has no resolved forecasts, or the calibration is refused;
            nothing is stored.
    """
    forecaster = forecaster or ENSEMBLE
    everything = collect(database)
    kind, notes = chosen_record(everything, forecaster, wanted)
    part = everything.part(kind)
    rows = part.latest(forecaster)
    if not rows:
        known = ", ".join(part.forecasters()) or "none"
        raise AnalysisError(
            f"{forecaster!r} has no resolved {kind} forecast that counts;"
            f" forecasters with one: {known}"
        )
    p, y, clusters = arrays(rows)
    reason = refusal(p, y, clusters)
    curve = fit(method, p, y) if reason is None else None
    if curve is not None:
        reason = uninformative(curve, p, y)
    if curve is None or reason:
        hint = f"; {notes[0].strip()}" if notes else ""
        raise AnalysisError(f"calibration of {forecaster!r} ({kind}) refused: {reason}{hint}")
    compared = Comparison(y, clusters, p, cross_validate(method, p, y, clusters))
    final = _values(database, forecaster, kind, curve)
    stored = {key: (raw, value, False) for key, (raw, value) in final.items()}
    for j, raw, value in zip(rows, p, compared.calibrated, strict=True):
        stored[j.run_id, j.question_id] = (float(raw), float(value), True)
    record = _calibration(forecaster, kind, curve, compared)
    values = [(*key, *values) for key, values in stored.items()]
    number = database.outcomes.save_calibration(record, values)
    return Calibrated(number, record, compared, notes, len(stored))


def _calibration(
    forecaster: str, kind: str, curve: Curve, compared: Comparison
) -> CalibrationRecord:
    (raw_brier, brier), (raw_log, log) = (pair.means for pair in compared.scores)
    raw_ece, ece = (noise.error for noise in compared.noise)
    return CalibrationRecord(
        forecaster,
        curve.method,
        curve.parameters,
        questions=int(compared.outcomes.size),
        clusters=len(set(compared.clusters)),
        raw_brier=raw_brier,
        calibrated_brier=brier,
        record=kind,
        raw_log=raw_log,
        calibrated_log=log,
        raw_ece=raw_ece,
        calibrated_ece=ece,
    )


def apply_latest(database: Database, run_id: int) -> int:
    """Calibrate a run's forecasts with the newest curves; return how many.

    Each forecaster and record has its own curve; those without one get no value. The values are
    stored beside those that the curve had before: forecasts that it was fitted on keep their
    cross-validated ones.
    """
    curves: dict[tuple[str, str], tuple[int, Curve]] = {}
    for row in database.outcomes.calibrations():  # oldest first
        try:
            curve = Curve(row.method, row.parameters)
            curve([0.5])
        except (TypeError, ValueError, KeyError, RecursionError):
            logger.warning(
                "calibration %s is not one that Forecaster writes; it is not applied", row.id
            )
            continue
        curves[row.forecaster, row.record] = (row.id, curve)
    count = 0
    for (forecaster, kind), (number, curve) in curves.items():
        values = _values(database, forecaster, kind, curve, run_id)
        count += database.outcomes.add_calibrated(
            number, [(*key, raw, value) for key, (raw, value) in values.items()]
        )
    return count


def _values(
    database: Database, forecaster: str, kind: str, curve: Curve, run_id: int | None = None
) -> dict[Key, tuple[float, float]]:
    """Raw and calibrated probability of a forecaster's forecasts in one record."""
    raw = _raw_probabilities(database, forecaster, kind, run_id)
    return {key: (p, float(curve([p])[0])) for key, p in raw.items()}


def _raw_probabilities(
    database: Database, forecaster: str, kind: str, run_id: int | None
) -> dict[Key, float]:
    """Raw probability (0-1) of a forecaster's forecasts in one record, or one run."""
    asked = None
    if run_id is not None:
        asked = [(run_id, question.id) for question in database.runs.questions(run_id)]
    return {
        (row.run_id, row.question_id): row.probability
        for row in point_forecasts(database, asked)
        if row.forecaster == forecaster and record_of(row.as_of) == kind
    }
