"""Draw what the database holds: a run, the histories, the track record."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import config
from database import Database
from evaluation.metrics import brier_scores
from evaluation.reliability import equal_count_bins
from evaluation.resolved import (
    ASSISTED,
    ENSEMBLE,
    FINAL,
    LIVE,
    NUMBERS,
    RECORDS,
    Judged,
    Record,
    arrays,
    record_of,
)
from evaluation.score_tables import brier_interval
from questions.checks import parent_id
from reporting.distribution_plot import distribution_figure
from reporting.fonts import report_missing_scripts
from reporting.histories import History, histories, outcome_of
from reporting.history_plot import history_figure
from reporting.overview_plot import overview_figures
from reporting.plot_data import Curve, ScorePoint
from reporting.score_plots import reliability_figure, score_figure
from reporting.svg import file_part, save
from storage.records import AblationPair, AskedQuestion, Forecast, KnownQuestion, PooledForecast
from terminal.progress import progress, with_progress

Q = TypeVar("Q", AskedQuestion, KnownQuestion)
F = TypeVar("F", Forecast, AblationPair)

# Months of the periods that scores over time are averaged by.
PERIODS = {1: "month", 3: "quarter", 12: "year"}

_LIMITED = "plots: %d of %d questions are drawn (MAX_PLOTTED_QUESTIONS)"

log = logging.getLogger(__name__)


# --- a run ----------------------------------------------------------------------------------------


def draw_run(database: Database, run_id: int, plots_dir: str | Path) -> list[Path]:
    """Draw the distributions of each question of a run; return the files in order.

    At most ``config.MAX_PLOTTED_QUESTIONS`` are drawn, and none without a forecast.

    Raises:
        PlotError: a file cannot be written. DatabaseError: no such run.
    """
    folder = Path(plots_dir)
    paths = [
        save(figure, folder / f"run{run_id}_{file_part(identifier)}.svg")
        for identifier, figure in run_figures(database, run_id)
    ]
    report_missing_scripts()
    return paths


def run_figures(
    database: Database, run_id: int, *, titles: bool = True
) -> Iterator[tuple[str, Any]]:
    """Draw each question of a run that has a forecast; yield its id and figure.

    Without ``titles`` the questions are not part of the figures.
    """
    started = database.runs.get(run_id).started_at[:16].replace("T", " ")
    questions = plotted(database.runs.questions(run_id))
    outcomes = database.outcomes.latest([question.subject for question in questions])
    forecasts = by_question(row for row in database.forecasts.of_run(run_id) if row.error is None)
    models = sorted({row.agent for rows in forecasts.values() for row in rows})
    ensembles = {row.question_id: row for row in database.forecasts.ensembles(run_id)}
    for question in with_progress(questions, "plots", "question"):
        rows, ensemble = forecasts.get(question.id, []), ensembles.get(question.id)
        if not rows and ensemble is None:
            continue
        subtitle = f"run {run_id}, {started} UTC"
        subtitle += f", back-dated: evidence up to {question.as_of}" if question.as_of else ""
        if ensemble is not None:
            subtitle += f"; {ensemble.agents} of {ensemble.agents_configured} agents"
            final = ensemble.final
            subtitle += "" if final is None else f"; final {final:.0f} %"
            calibrated = ensemble.calibrated
            subtitle += "" if calibrated is None else f"; calibrated {calibrated:.0f} %"
        outcome = outcome_of(outcomes.get(question.id))
        curves = _curves(rows, ensemble)
        title = question.text if titles else ""
        figure = distribution_figure(title, subtitle, curves, outcome, models=models)
        yield question.id, figure


def _curves(rows: Sequence[Forecast], ensemble: PooledForecast | None) -> list[Curve]:
    """Return a curve for each agent and chunk, then the ensemble's."""
    chunked = {row.agent for row in rows if row.chunk > 0}
    curves = []
    for row in rows:
        name = row.agent + (f" · part {row.chunk + 1}" if row.agent in chunked else "")
        captured = 100 * row.voice.captured
        note = f"low confidence ({captured:.0f} %)" if row.low_confidence else ""
        curves.append(Curve(name, row.voice.distribution, note))
    if ensemble is not None:
        name = f"ensemble ({ensemble.method})"
        note = f"agreement {100 * ensemble.agreement:.0f} %" if ensemble.agents > 1 else ""
        fewer = ensemble.agents < ensemble.agents_configured
        incomplete = f"{ensemble.agents} of {ensemble.agents_configured}" if fewer else ""
        curves.append(Curve(name, ensemble.distribution, note, True, incomplete))
    return curves


def plotted(questions: Iterable[Q], *, newest: bool = False) -> list[Q]:
    """Choose the questions that get a figure: no coherence checks, and only so many."""
    chosen = [row for row in questions if parent_id(row.extra) is None]
    limit = config.MAX_PLOTTED_QUESTIONS
    if len(chosen) > limit:
        log.info(_LIMITED, limit, len(chosen))
    return chosen[-limit:] if newest else chosen[:limit]


def by_question(rows: Iterable[F]) -> dict[str, list[F]]:
    """Group rows by their question's id, in their order."""
    grouped: dict[str, list[F]] = {}
    for row in rows:
        grouped.setdefault(row.question_id, []).append(row)
    return grouped


# --- histories ------------------------------------------------------------------------------------


def draw_history(
    database: Database, plots_dir: str | Path, run_id: int | None = None
) -> list[Path]:
    """Draw forecasts over time and the latest ones, live and back-dated apart.

    The ``config.MAX_PLOTTED_QUESTIONS`` most recently asked questions of each record get a figure.
    With ``run_id`` only what that run changed is drawn: the histories of its questions and the
    overviews they belong to. Returns the files.

    Raises:
        PlotError: a file cannot be written.
    """
    paths = []
    asked = [] if run_id is None else database.runs.questions(run_id)
    for record in RECORDS:
        subjects = {row.subject for row in asked if record_of(row.as_of) == record}
        if run_id is None or subjects:
            paths += _draw_record_history(database, Path(plots_dir), record, subjects)
    report_missing_scripts()
    return paths


def _draw_record_history(
    database: Database, folder: Path, record: str, subjects: Collection[str]
) -> list[Path]:
    # file_part never holds a dot: no question's name can be taken for another's.
    mark = "" if record == LIVE else f".{record}"
    paths, rows = [], []
    for history, figure in history_figures(database, record, subjects):
        paths.append(save(figure, folder / f"history_{file_part(history.subject)}{mark}.svg"))
        rows.append(history.overview_row())
    if subjects:  # of the other questions the last two forecasts are enough
        newest = histories(database, record, _last_asked(database, record), newest=2)
        rows = [history.overview_row() for history in newest]
    latest = [row for row in rows if row is not None]
    for number, figure in enumerate(overview_figures(latest, f"Latest {record} forecasts"), 1):
        page = "" if number == 1 else f"_{number}"
        paths.append(save(figure, folder / f"latest_forecasts{page}{mark}.svg"))
    return paths


def _last_asked(database: Database, record: str) -> list[KnownQuestion]:
    """Choose the questions of an overview, without reading all that were ever asked."""
    limit = config.MAX_PLOTTED_QUESTIONS
    subjects = database.runs.last_asked(record, limit + 1)
    if len(subjects) > limit:
        log.info(_LIMITED, limit, database.runs.count_asked(record))
    return database.runs.latest_questions(record, subjects[:limit])


def history_figures(
    database: Database,
    record: str = LIVE,
    subjects: Collection[str] = (),
    *,
    titles: bool = True,
) -> Iterator[tuple[History, Any]]:
    """Draw each history of a record, or of ``subjects``, one at a time.

    Without ``titles`` the questions are not part of the figures.
    """
    chosen = plotted(database.runs.latest_questions(record, subjects or None), newest=True)
    with progress("histories", len(chosen), "question") as bar:
        for history in histories(database, record, chosen):
            title = history.text if titles else ""
            figure = history_figure(
                title, history.agents, history.ensemble, history.outcome, kind=record
            )
            yield history, figure
            bar.update()


# --- the track record -----------------------------------------------------------------------------


def draw_record(record: Record, plots_dir: str | Path) -> list[Path]:
    """Draw reliability and score over time of each record; return the files.

    Raises:
        PlotError: a file cannot be written, or no forecast counts.
    """
    folder = Path(plots_dir)
    paths = [save(figure, folder / f"{name}.svg") for name, figure in record_figures(record)]
    report_missing_scripts()
    return paths


def record_figures(record: Record) -> Iterator[tuple[str, Any]]:
    """Draw the track record one figure at a time; yield its name and the figure.

    A record of fewer than ``config.MIN_CLAIM_QUESTIONS`` forecasts is not drawn (``too_few``).
    """
    for kind in RECORDS:
        part = record.part(kind)
        if scored_once(part) >= config.MIN_CLAIM_QUESTIONS:
            mark = "" if kind == LIVE else f".{kind}"
            yield f"reliability{mark}", _reliability(part, kind)
            yield f"score_over_time{mark}", _score_over_time(part, kind)


def scored_once(record: Record) -> int:
    """Count the forecasts of the first forecaster that are scored."""
    return len(record.latest(record.forecasters()[0])) if record.judged else 0


def too_few(record: Record) -> list[str]:
    """Name the records with forecasts that are too few to be drawn."""
    counts = {kind: scored_once(record.part(kind)) for kind in RECORDS}
    return [
        f"no plots of {kind} forecasts: {count} scored, {config.MIN_CLAIM_QUESTIONS} are needed"
        " (MIN_CLAIM_QUESTIONS)"
        for kind, count in counts.items()
        if 0 < count < config.MIN_CLAIM_QUESTIONS
    ]


def _reliability(record: Record, kind: str) -> Any:
    # A diagram can hold three sets of bins: the pool, the final number, agents with most questions.
    order = (ENSEMBLE, FINAL)
    found = {name: record.latest(name) for name in _forecasters(record) if name != ASSISTED}
    names = sorted(
        found, key=lambda name: (order.index(name) if name in order else 2, -len(found[name]))
    )
    bins = {name: equal_count_bins(*arrays(found[name])[:2]) for name in names[:3]}
    count = len({j.scored_as for j in record.judged})
    which = "last live forecast before each ended" if kind == LIVE else "each day apart"
    subtitle = (
        f"share of yes by forecast, 95 % interval, number of forecasts; {count} resolved"
        f" questions, {which}; groups of about equal size"
    )
    return reliability_figure(f"Reliability of {kind} forecasts", subtitle, bins)


def _score_over_time(record: Record, kind: str) -> Any:
    found = {name: record.latest(name) for name in _forecasters(record)}
    months = period([j.made for rows in found.values() for j in rows])
    series = {name: score_points(rows, months) for name, rows in found.items()}
    subtitle = (
        f"mean Brier score by {PERIODS[months]} of the forecast, lower is better; 95 % intervals"
        f" from {config.MIN_INTERVAL_CLUSTERS} clusters of related questions on; n: forecasts"
    )
    return score_figure(f"Score of {kind} forecasts over time", subtitle, series)


def _forecasters(record: Record) -> list[str]:
    """List a record's forecasters, without a pool that is a copy of its only model."""
    names = list(record.forecasters())
    models = [name for name in names if name not in NUMBERS]
    if ENSEMBLE in names and len(models) == 1:
        one, pooled = (
            {j.scored_as: j.probability for j in record.latest(name)}
            for name in (models[0], ENSEMBLE)
        )
        same = one.keys() == pooled.keys() and all(abs(one[k] - pooled[k]) < 1e-9 for k in one)
        names = [name for name in names if not (same and name == ENSEMBLE)]
    return names


def period(moments: Sequence[datetime]) -> int:
    """Return the months of a period, so that at most twelve or so are drawn."""
    first, last = min(moments), max(moments)
    months = 12 * (last.year - first.year) + last.month - first.month + 1
    return next((length for length in PERIODS if months <= 12 * length), 12)


def score_points(rows: Sequence[Judged], months: int = 1) -> list[ScorePoint]:
    """Average the Brier scores of each period's forecasts, at its middle."""
    periods: dict[datetime, list[Judged]] = {}
    for j in rows:
        start = datetime(j.made.year, (j.made.month - 1) // months * months + 1, 1)
        periods.setdefault(start + timedelta(days=15.2 * months), []).append(j)
    points = []
    for middle, part in sorted(periods.items()):
        p, y, clusters = arrays(part)
        scores = brier_scores(p, y)
        interval = brier_interval(scores, clusters)
        points.append(ScorePoint(middle, len(part), float(scores.mean()), interval))
    return points
