"""Read resolved questions and models' forecasts of them for forecast_quality.py.

Every number is made by the program's own functions: readers, base rates, weights, calibration.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from evaluation.applied_calibration import PastForecast, fit_applied
from evaluation.assistance import (
    PastVoices,
    VoiceWeights,
    assisted,
    learnt_weights,
    voices,
)
from evaluation.backtest import read_backtest
from evaluation.base_rates import BaseRate, Past, PastQuestion, base_rate
from evaluation.outcomes import read_resolutions
from evaluation.past_record import PRICED, UNPRICED
from questions.cells import InputError
from questions.files import read_question_file
from questions.platforms import MARKETS
from questions.question import Question, cluster_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Asked:
    """A resolved question, forecast from ``day``; ``models`` by column name."""

    question: Question
    day: str
    outcome: int
    resolved_on: str
    origin: str
    rate: BaseRate | None = None
    models: Mapping[str, float] | None = None

    @property
    def source(self) -> str:
        """Where the question comes from."""
        return str(self.question.extra.get("source") or "")

    @property
    def is_market(self) -> bool:
        """Whether it is a market's question."""
        return self.source in MARKETS

    @property
    def cluster(self) -> str:
        """Its related questions."""
        return cluster_of(self.question.extra, self.question.subject)

    @property
    def price(self) -> float | None:
        """The market's price on the freeze date."""
        value = self.question.extra.get("baseline_crowd") if self.is_market else None
        return None if value in (None, "") else float(str(value))

    @property
    def base(self) -> float:
        """The base rate, one half without one."""
        return self.rate.probability if self.rate else 0.5

    @property
    def past(self) -> PastQuestion:
        """The question as a relative of later ones."""
        q, name = self.question, f"{self.origin} {self.question.id} {self.day}"
        series = str(q.extra.get("cluster") or "")
        return PastQuestion(
            name, q.text, self.source, "", self.outcome, self.resolved_on, q.close_date, series
        )


# --- reading --------------------------------------------------------------------------------------


def load(folder: Path) -> list[Asked]:
    """Read all resolved questions of a folder, with their base rates."""
    rows = [*_rounds(folder), *_others(folder)]
    if not rows:
        raise InputError(f"{folder}: no rounds and no questions_*.jsonl in it")
    return with_rates(rows, rows)


def with_rates(rows: Iterable[Asked], known: Iterable[Asked]) -> list[Asked]:
    """Give rows the base rates that follow from what was known before each one's day."""
    first = dict[tuple[str, str, str | None], Asked]()
    for row in known:  # a question of a round may be among the others too
        first.setdefault(
            (row.source, row.question.text.split("?")[0], row.question.close_date), row
        )
    past = Past([row.past for row in first.values()])
    return [replace(row, rate=base_rate(row.question, row.day, past)) for row in rows]


def _rounds(folder: Path) -> Iterator[Asked]:
    for path in sorted(folder.glob("rounds/*-llm.json")):
        questions = {q.id: q for q in read_question_file(path).questions}
        answers = path.with_name(path.name.replace("-llm.json", "_resolution_set.json"))
        for entry in read_resolutions(answers).entries:
            day = entry.horizon or entry.date[:10]
            found = questions.get(f"{entry.id}@{day}") or questions.get(entry.id)
            if found is not None and entry.outcome is not None:
                due = str(found.extra["forecast_due_date"])[:10]
                yield Asked(found, due, entry.outcome, entry.date[:10], "round")


def _others(folder: Path) -> Iterator[Asked]:
    table = dict[str, dict[str, float]]()
    if (forecasts := folder / "llm_forecasts.csv").exists():
        with forecasts.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                name = row.pop("id")
                table[name] = {k: float(v) for k, v in row.items() if v}
    for path in sorted(folder.glob("questions_*.jsonl")):
        for q in read_backtest(path).questions:
            outcome, ended = int(q.extra["outcome"]), str(q.extra["resolution_date"])[:10]
            yield Asked(q, str(q.as_of)[:10], outcome, ended, path.stem, models=table.get(q.id))


# --- forecasts ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """Questions with the pool of one group of models, by date."""

    rows: Sequence[Asked]
    pool: Floats
    shown: bool

    @classmethod
    def of(cls, rows: Iterable[Asked], columns: str, shown: bool) -> Group:
        """Choose the questions that any model of a group answered."""
        answers = [
            (row, [p for name, p in (row.models or {}).items() if columns in name]) for row in rows
        ]
        kept = sorted(((r, a) for r, a in answers if a), key=lambda pair: pair[0].day)
        return cls([r for r, _ in kept], np.array([np.mean(a) for _, a in kept]), shown)

    @cached_property
    def outcomes(self) -> Floats:
        """Outcomes, shape (n,)."""
        return np.array([row.outcome for row in self.rows], dtype=np.float64)

    @property
    def days(self) -> list[str]:
        """The days that the questions are forecast from."""
        return [row.day for row in self.rows]

    def assisted(self, weights: Callable[[str], VoiceWeights]) -> Floats:
        """Pool with price or base rate; weights by day."""
        found = []
        for row, p in zip(self.rows, self.pool.tolist(), strict=True):
            w = weights(row.day)
            members = voices(
                p, market=row.price, market_shown=self.shown, base_rate=row.rate, weights=w
            )
            found.append(assisted(members, w.sharpening))
        return np.array(found)

    def learnt(self) -> Floats:
        """Pool with weights learnt from what was resolved before each day."""
        past = [
            PastVoices(
                row.cluster, row.resolved_on, row.outcome, p, row.price, self.shown, row.base,
                row.rate.support if row.rate else 0,
            )
            for row, p in zip(self.rows, self.pool.tolist(), strict=True)
        ]  # fmt: skip
        by_day = {row.day: learnt_weights(past, row.day) for row in self.rows}
        return self.assisted(by_day.__getitem__)

    def final(self) -> Floats:
        """Calibrate the learnt pool by the curve of what was resolved before each day."""
        pooled = self.learnt()
        past = [
            PastForecast(
                row.question.id, _kind(row), row.cluster, row.day, p, row.outcome, row.resolved_on
            )
            for row, p in zip(self.rows, pooled.tolist(), strict=True)
        ]
        curves = {
            (kind, day): fit_applied(past, kind, day)
            for kind, day in {(_kind(row), row.day) for row in self.rows}
        }
        pairs = zip(self.rows, pooled.tolist(), strict=True)
        return np.array([curves[_kind(row), row.day].apply(p) for row, p in pairs])


def _kind(row: Asked) -> str:
    return UNPRICED if row.price is None else PRICED
