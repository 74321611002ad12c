"""Learn weights and curves of final numbers from what was resolved before a day.

What was learnt is stored and serves every later run until the record changes, so that a run costs
the same however many forecasts there are. Recording outcomes learns at once (``learn_ahead``).
"""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property

import config
from database import Database
from evaluation.applied_calibration import CalibrationCurve, fit_applied
from evaluation.assistance import RULE_VERSION, VoiceWeights, learnt_weights
from evaluation.past_record import PRICED, UNPRICED, PastRecord
from evaluation.stored_past import name_families
from storage.final_numbers import AppliedCalibration


class Rule:
    """Weights and curves of each day, from what was resolved before it.

    They are the same on all days between two outcomes, and stored by the last day of these.
    """

    def __init__(self, database: Database) -> None:
        self._store = database.learnt
        self._database = database
        # Before anything is read: what changes meanwhile makes the stored ones void.
        self._version = self._store.version()
        self._weights: dict[str, VoiceWeights] = {}
        self._curves: dict[tuple[str, str], CalibrationCurve] = {}
        self._cuts: dict[str, str | None] = {}

    @cached_property
    def _past(self) -> PastRecord:
        return PastRecord.read(self._database)

    def weights(self, day: str) -> VoiceWeights:
        """Return the weights of the assisted pool; settings come before the record."""
        if day not in self._weights:
            weights = self._learnt_weights(day)
            if (same := config.MARKET_WEIGHT) is not None:
                weights = replace(weights, market=same, market_shown=same)
            if config.BASE_RATE_WEIGHT is not None:
                weights = replace(weights, base_rate=config.BASE_RATE_WEIGHT)
            self._weights[day] = weights
        return self._weights[day]

    def curve(self, kind: str, day: str) -> CalibrationCurve:
        """Return the curve of a kind of question."""
        if (kind, day) not in self._curves:
            self._curves[kind, day] = self._learnt_curve(kind, day)
        return self._curves[kind, day]

    def store_applied(self, run_id: int) -> None:
        """Note every curve that was asked for with a run, and the forecasts behind it."""
        for (_, day), curve in self._curves.items():
            record, cut = AppliedCalibration(**vars(curve), day=day), self._kept(day)
            noted = cut is not None and self._store.apply(
                run_id, record, cut, self._version, RULE_VERSION
            )
            if not noted:
                record = replace(record, forecasts=self._forecasts(day))
                self._database.final.save(run_id, (), [record])

    def _learnt_weights(self, day: str) -> VoiceWeights:
        """Return the weights that the record teaches, stored or learnt now."""
        cut = self._kept(day)
        if cut is not None:
            found = self._store.weights(cut, self._version, RULE_VERSION)
            if found is not None:
                return VoiceWeights(**found)
        weights = learnt_weights(self._known(day).voices, day)
        if cut is not None:
            keys = self._forecasts(day)
            self._store.save_weights(cut, self._version, RULE_VERSION, asdict(weights), keys)
        return weights

    def _learnt_curve(self, kind: str, day: str) -> CalibrationCurve:
        """Return the curve that the record teaches, stored or fitted now."""
        cut = self._kept(day)
        if cut is not None:
            found = self._store.curve(cut, kind, self._version, RULE_VERSION)
            if found is not None:
                return CalibrationCurve(
                    **{one.name: getattr(found, one.name) for one in fields(CalibrationCurve)}
                )
        curve = fit_applied(self._known(day).forecasts, kind, day)
        if cut is not None:
            record = AppliedCalibration(**vars(curve), day=day)
            self._store.save_curve(cut, self._version, RULE_VERSION, record)
        return curve

    def _known(self, day: str) -> PastRecord:
        """Return the record; nothing is read where nothing was resolved before the day."""
        return PastRecord() if self._cut(day) is None else self._past

    def _cut(self, day: str) -> str | None:
        """Return the last day of outcomes before a day; None without one."""
        if day not in self._cuts:
            self._cuts[day] = self._store.last_day(day[:10])
        return self._cuts[day]

    def _kept(self, day: str) -> str | None:
        """Return the last day of outcomes where what it teaches is stored.

        That is for the newest two only, which live runs ask for: a backtest asks for hundreds.
        """
        newest = self._cut("9999")
        before = None if newest is None else self._cut(newest)
        cut = self._cut(day)
        return cut if cut in (newest, before) else None

    def _forecasts(self, day: str) -> tuple[str, ...]:
        past = self._known(day)
        pairs = zip(past.keys, past.forecasts, strict=True)
        return tuple(key for key, one in pairs if one.resolved_on[:10] < day[:10])


def learn_ahead(database: Database, today: date | None = None) -> None:
    """Learn and store now what live runs of today and of later days need."""
    today = today or datetime.now(UTC).date()
    name_families(database)
    rule = Rule(database)
    for day in (today, today + timedelta(days=1)):
        rule.weights(day.isoformat())
        for kind in (PRICED, UNPRICED):
            rule.curve(kind, day.isoformat())
