"""Draw what the database holds: a run, the histories, the track record."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import config
from database import Database
from evaluation.metrics import brier_scores
from evaluation.reliability import reliability_bins
from evaluation.resolved import ENSEMBLE, LIVE, RECORDS, Judged, Record, arrays
from evaluation.score_tables import brier_interval
from questions.checks import parent_id
from reporting.distribution_plot import distribution_figure
from reporting.fonts import report_missing_scripts
from reporting.histories import histories, outcome_of
from reporting.history_plot import history_figure
from reporting.overview_plot import overview_figures
from reporting.score_plots import reliability_figure, score_figure
from reporting.styles import file_part, save
from reporting.values import Curve, OverviewRow, ScorePoint
from storage.records import AblationPair, AskedQuestion, Forecast, LatestQuestion, PooledForecast

Q = TypeVar("Q", AskedQuestion, LatestQuestion)
F = TypeVar("F", Forecast, AblationPair)

log = logging.getLogger(__name__)


def draw_run(database: Database, run_id: int, plots_dir: str | Path) -> list[Path]:
    """Draw each question's distributions of one run into ``plots_dir``; returns the files, in question order.

    At most ``config.MAX_PLOTTED_QUESTIONS`` questions are drawn. Questions without a forecast are left out.

    Raises:
        PlotError: a file cannot be written. DatabaseError: no such run.
    """
    folder = Path(plots_dir)
    paths = [
        save(figure, folder / f"run{run_id}_{file_part(identifier)}.png")
        for identifier, figure in run_figures(database, run_id)
    ]
    report_missing_scripts()
    return paths


def run_figures(database: Database, run_id: int) -> Iterator[tuple[str, Any]]:
    """Question id and figure of each question of a run that has a forecast, drawn one at a time."""
    run = database.runs.get(run_id)
    outcomes = database.outcomes.latest()
    forecasts = by_question(row for row in database.forecasts.of_run(run_id) if row.error is None)
    ensembles = {row.question_id: row for row in database.forecasts.ensembles(run_id)}
    for question in plotted(database.runs.questions(run_id)):
        rows, ensemble = forecasts.get(question.id, []), ensembles.get(question.id)
        if not rows and ensemble is None:
            continue
        subtitle = f"run {run_id}, {run.started_at[:16].replace('T', ' ')} UTC"
        subtitle += f", back-dated: evidence up to {question.as_of}" if question.as_of else ""
        if ensemble is not None:
            subtitle += f"; {ensemble.agents} of {ensemble.agents_configured} agents"
            calibrated = ensemble.calibrated
            subtitle += "" if calibrated is None else f"; calibrated {calibrated:.0f} %"
        outcome = outcome_of(outcomes.get(question.id))
        yield (
            question.id,
            distribution_figure(question.text, subtitle, _curves(rows, ensemble), outcome),
        )


def _curves(rows: Sequence[Forecast], ensemble: PooledForecast | None) -> list[Curve]:
    """One curve per agent and chunk, then the ensemble."""
    chunked = {row.agent for row in rows if row.chunk > 0}
    curves = []
    for row in rows:
        name = row.agent + (f" · part {row.chunk + 1}" if row.agent in chunked else "")
        note = (
            f"low confidence ({100 * (row.captured_mass or 0):.0f} %)" if row.low_confidence else ""
        )
        curves.append(Curve(name, row.voice.distribution, note))
    if ensemble is not None:
        note = f"agreement {100 * ensemble.agreement:.0f} %" if ensemble.agents > 1 else ""
        curves.append(
            Curve(
                f"ensemble ({ensemble.method})",
                ensemble.distribution,
                note,
                ensemble=True,
            )
        )
    return curves


def draw_history(
    database: Database, plots_dir: str | Path, run_id: int | None = None
) -> list[Path]:
    """Draw each question's forecasts over time and the overview of latest forecasts; returns the files.

    Live and back-dated forecasts get figures of their own. At most ``config.MAX_PLOTTED_QUESTIONS`` questions of each,
    the most recently asked ones, get theirs. With ``run_id`` only what that run changed is drawn: the histories of its
    questions and the overviews they belong to.

    Raises:
        PlotError: a file cannot be written.
    """
    folder = Path(plots_dir)
    asked = [] if run_id is None else database.runs.questions(run_id)
    paths = []
    for record in RECORDS:
        # file_part never holds a dot: no question's name can be taken for another's.
        mark = "" if record == LIVE else f".{record}"
        subjects = {row.subject for row in asked if (row.as_of is None) == (record == LIVE)}
        if run_id is not None and not subjects:
            continue
        overview = []
        for identifier, figure, row in history_figures(database, record, subjects or None):
            paths.append(save(figure, folder / f"history_{file_part(identifier)}{mark}.png"))
            if row is not None:
                overview.append(row)
        if run_id is not None:
            questions = plotted(database.runs.latest_questions(record), newest=True)
            rows = (
                history.overview_row()
                for history in histories(database, record, questions, newest=2)
            )
            overview = [row for row in rows if row is not None]
        for number, figure in enumerate(
            overview_figures(overview, f"Latest {record} forecasts"), start=1
        ):
            page = "" if number == 1 else f"_{number}"
            paths.append(save(figure, folder / f"latest_forecasts{page}{mark}.png"))
    report_missing_scripts()
    return paths


def history_figures(
    database: Database, record: str = LIVE, subjects: Collection[str] | None = None
) -> Iterator[tuple[str, Any, OverviewRow | None]]:
    """Subject, figure and overview row (None without an ensemble) of each question of a record, one at a time.

    ``subjects`` names those that are drawn, all when left out.
    """
    questions = database.runs.latest_questions(record)
    if subjects is not None:
        questions = [row for row in questions if row.subject in subjects]
    questions = plotted(questions, newest=True)
    for history in histories(database, record, questions):
        figure = history_figure(
            history.text, history.agents, history.ensemble, history.outcome, kind=record
        )
        yield history.subject, figure, history.overview_row()


def plotted(questions: Iterable[Q], *, newest: bool = False) -> list[Q]:
    """Questions that get a figure: no coherence checks, and only so many."""
    shown = [row for row in questions if parent_id(row.extra) is None]
    limit = config.MAX_PLOTTED_QUESTIONS
    if len(shown) > limit:
        log.info("plots: %d of %d questions are drawn (MAX_PLOTTED_QUESTIONS)", limit, len(shown))
    return shown[-limit:] if newest else shown[:limit]


def by_question(rows: Iterable[F]) -> dict[str, list[F]]:
    """Rows of any table by their question's id, each group in the order of the rows."""
    grouped: dict[str, list[F]] = {}
    for row in rows:
        grouped.setdefault(row.question_id, []).append(row)
    return grouped


def draw_record(record: Record, plots_dir: str | Path) -> list[Path]:
    """Draw reliability and score over time, live and back-dated apart; returns the files.

    Raises:
        PlotError: a file cannot be written, or no forecast counts.
    """
    paths = [
        save(figure, Path(plots_dir) / f"{name}.png") for name, figure in record_figures(record)
    ]
    report_missing_scripts()
    return paths


def record_figures(record: Record) -> Iterator[tuple[str, Any]]:
    """Name and figure of what shows the track record (see ``draw_record``), one at a time."""
    for kind in RECORDS:
        part = record.part(kind)
        if part.judged:
            yield from _part_figures(part, kind)


def _part_figures(record: Record, kind: str) -> Iterator[tuple[str, Any]]:
    names = record.forecasters()
    mark = "" if kind == LIVE else f".{kind}"
    # Three sets of bins are what one diagram can hold: the ensemble and the two agents with most questions.
    most = sorted(names, key=lambda name: (name != ENSEMBLE, -len(record.latest(name))))[:3]
    bins = {name: reliability_bins(*arrays(record.latest(name))[:2]) for name in most}
    count = len({j.scored_as for j in record.judged})
    which = (
        "last live forecast before each ended"
        if kind == LIVE
        else "back-dated forecasts, each day apart"
    )
    subtitle = f"{count} resolved questions, {which}; on the diagonal: as often as said"
    yield (
        f"reliability{mark}",
        reliability_figure(f"Reliability of {kind} forecasts", subtitle, bins),
    )
    series = {name: score_points(record.latest(name)) for name in names}
    subtitle = (
        "mean Brier score by month of the forecast; 95 % intervals where there are"
        f" {config.MIN_INTERVAL_CLUSTERS} clusters of related questions"
    )
    yield (
        f"score_over_time{mark}",
        score_figure(f"Score of {kind} forecasts over time", subtitle, series),
    )


def score_points(rows: Sequence[Judged]) -> list[ScorePoint]:
    """Mean Brier score of the forecasts of each month, placed at the middle of the month."""
    months: dict[tuple[int, int], list[Judged]] = {}
    for j in rows:
        months.setdefault((j.made.year, j.made.month), []).append(j)
    points = []
    for (year, month), part in sorted(months.items()):
        p, y, clusters = arrays(part)
        scores = brier_scores(p, y)
        points.append(
            ScorePoint(
                datetime(year, month, 15),
                len(part),
                float(scores.mean()),
                brier_interval(scores, clusters),
            )
        )
    return points
