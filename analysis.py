"""Reads a Forecaster database: draws the plots, records how questions ended, scores, calibrates and reports.

    python analysis.py                                  redraw the plots of the newest run and the history of all questions
    python analysis.py --resolve outcomes.csv           record outcomes (question or id, outcome, date, source)
    python analysis.py --resolve-one ID yes --date 2026-12-31 --source URL
    python analysis.py --score                          Brier, log score, calibration and skill, live and back-dated apart
    python analysis.py --calibrate platt                fit a calibration on resolved forecasts and store it beside the raw values
    python analysis.py --same-question ID OTHER         let two ids share one history and their outcomes
    python analysis.py --report report.html             one self-contained page with plots, tables, evidence and reasoning

``draw_run`` and ``draw_history`` are also what ``forecaster.py`` calls at the end of a run.
"""

from __future__ import annotations

from preflight import startup

# isort: split
import argparse
import logging
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import config
from database import Database, DatabaseError, Resolution
from evaluation.metrics import brier_scores
from evaluation.outcomes import (
    Entry,
    ResolutionFile,
    late_outcomes,
    match,
    outcome_word,
    parse_date,
    read_resolutions,
)
from evaluation.reliability import reliability_bins
from evaluation.scorecard import (
    ENSEMBLE,
    LIVE,
    RECORDS,
    AnalysisError,
    Judged,
    Record,
    arrays,
    brier_interval,
    collect,
    forecast_time,
    parse_time,
    score_lines,
)
from preflight.rules import ConfigError
from preflight.settings import load
from questions.cells import InputError, listed, parse_outcome
from questions.characters import composed, trimmed
from questions.checks import parent_id
from questions.rows import prefixed
from reporting.distribution_plot import distribution_figure
from reporting.fonts import report_missing_scripts
from reporting.histories import histories, outcome_of
from reporting.history_plot import history_figure
from reporting.overview_plot import overview_figures
from reporting.score_plots import reliability_figure, score_figure
from reporting.styles import file_part, save
from reporting.values import Curve, OverviewRow, PlotError, ScorePoint
from storage.records import AblationPair, AskedQuestion, Forecast, LatestQuestion, PooledForecast
from terminal.screen import CommandLine, reader_may_leave, show

Q = TypeVar("Q", AskedQuestion, LatestQuestion)
F = TypeVar("F", Forecast, AblationPair)

log = logging.getLogger(__name__)
# Outcomes without a question that are listed one by one.
LISTED_ENTRIES = 20
# What the command line can ask for beside redrawing; the first four write into the database.
JOBS = ("resolve", "resolve_one", "same_question", "calibrate", "score", "report")
RECORDING = JOBS[:4]
# Options that mean nothing to the other jobs; "" is redrawing.
GOES_WITH = {
    "date": ("resolve_one",),
    "source": ("resolve_one",),
    "forecaster": ("calibrate",),
    "record": ("calibrate",),
    "run": ("report", ""),
}


# --- plots ------------------------------------------------------------------------------------------------------------


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
    run = database.run(run_id)
    outcomes = database.resolutions()
    forecasts = by_question(row for row in database.forecasts(run_id) if row.error is None)
    ensembles = {row.question_id: row for row in database.ensembles(run_id)}
    for question in plotted(database.run_questions(run_id)):
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
    asked = [] if run_id is None else database.run_questions(run_id)
    paths = []
    for record in RECORDS:
        # A dot never stands in file_part: no question's name can be taken for another's.
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
            questions = plotted(database.latest_asked(record), newest=True)
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
    questions = database.latest_asked(record)
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


# --- the command line -------------------------------------------------------------------------------------------------


def redraw(database: Database, plots_dir: Path, run_id: int | None) -> int:
    """Draw one run (default: the newest) and the history; prints the files' folder and count."""
    runs = database.runs()
    if not runs:
        raise AnalysisError(
            f"{database.path}: there is no run to draw; forecast something first (python forecaster.py)"
        )
    paths = draw_run(database, runs[-1].id if run_id is None else run_id, plots_dir)
    paths += draw_history(database, plots_dir)
    show(f"{len(paths)} plots in {plots_dir}")
    return 0


def resolve(database: Database, outcomes: ResolutionFile, path: Path | None = None) -> int:
    """Record outcomes, of the file ``path``; returns 1 when some belong to no question (they are listed), else 0.

    Raises:
        InputError: outcomes that contradict one another, or name two questions; nothing is recorded.
    """
    try:
        found, unknown = match(outcomes.entries, [*database.questions(), *database.asked_before()])
    except InputError as error:
        raise InputError(prefixed(path, error) if path else str(error)) from None
    late = late_outcomes(found, first_forecasts(database, [r.question_id for r in found]))
    subjects = {row.id: row.subject for row in database.questions()}
    before = {subjects.get(name, name): row for name, row in database.resolutions().items()}
    added = database.add_resolutions(found)
    changed = [
        line
        for r in found
        if r.question_id in before and (line := changed_line(before[r.question_id], r))
    ]
    show(
        f"{added} outcomes recorded, {len(found) - added} known already, {len(unknown)} without a question"
    )
    for line in changed:
        show(f"  changed: {line} (the earlier record is kept)")
    if late:
        show(
            f"  warning: {listed(map(repr, late))}: the outcome was known before the first forecast was made, so none of its"
            " forecasts counts; look at the date"
        )
    for note in outcomes.notes:
        show(f"  {note}")
    for entry, reason in unknown[:LISTED_ENTRIES]:
        place = f", {entry.place}" if entry.place else ""
        show(f"  not recorded{place}: {entry.name[:90]!r}: {reason}")
    if len(unknown) > LISTED_ENTRIES:
        show(f"  and {len(unknown) - LISTED_ENTRIES} more that were not recorded")
    return 1 if unknown else 0


def changed_line(before: Resolution, now: Resolution) -> str:
    """Say what differs from the earlier outcome of a question, "" where nothing does.

    The day counts as well: it decides which forecasts were made in time.
    """
    if before.outcome != now.outcome:
        words = [outcome_word(outcome) for outcome in (before.outcome, now.outcome)]
        return f"{now.question_id} from {words[0]} to {words[1]}"
    if parse_time(before.resolved_at) != parse_time(now.resolved_at):
        return f"the date of {now.question_id} from {before.resolved_at} to {now.resolved_at}"
    return ""


def join(database: Database, one: str, other: str) -> int:
    """Let two questions share a history and their outcomes.

    Raises:
        AnalysisError: an id that is not stored, two names of one question, or two outcomes.
    """
    subjects = {row.id: row.subject for row in database.questions()}
    for name in (one, other):
        if name not in subjects and name not in subjects.values():
            raise AnalysisError(f"--same-question: no question has the id {name!r}")
    first, second = subjects.get(one, one), subjects.get(other, other)
    for row in database.questions():
        if row.subject in (first, second) and (parent := parent_id(row.extra)) is not None:
            raise AnalysisError(f"--same-question: {row.id!r} is a coherence check of {parent!r}")
    if first == second:
        raise AnalysisError(f"--same-question: {one!r} and {other!r} are one question already")
    outcomes = {subjects[name]: row.outcome for name, row in database.resolutions().items()}
    if first in outcomes and second in outcomes and outcomes[first] != outcomes[second]:
        words = [outcome_word(outcomes[subject]) for subject in (first, second)]
        raise AnalysisError(
            f"--same-question: {one!r} ended {words[0]} and {other!r} ended {words[1]}; correct one outcome with --resolve-one"
        )
    database.join_subjects(one, other)
    show(f"{other} is now the same question as {one}: one history, one outcome")
    return 0


def first_forecasts(database: Database, subjects: Iterable[str]) -> dict[str, datetime]:
    """The moment of the first forecast of some subjects, in UTC without a zone.

    That of a back-dated one is its day's end.
    """
    first: dict[str, datetime] = {}
    asked = [key for record in RECORDS for key in database.asked_in(subjects, record)]
    for row in database.first_forecasts(asked):
        made = forecast_time(row.as_of, row.created_at)
        first[row.subject] = min(made, first.get(row.subject, made))
    return first


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = CommandLine(prog="analysis.py", description=(__doc__ or "").split("\n")[0])
    result.add_argument(
        "--database",
        default=config.DATABASE_PATH,
        metavar="FILE",
        help="the database (default: %(default)s)",
    )
    result.add_argument(
        "--plots",
        default=config.PLOTS_DIR,
        metavar="DIR",
        help="folder of the plots (default: %(default)s)",
    )
    result.add_argument(
        "--run", type=int, metavar="N", help="redraw or report this run instead of the newest"
    )
    _add_jobs(result.add_mutually_exclusive_group())
    result.add_argument(
        "--date",
        metavar="DATE",
        help="with --resolve-one: the day the outcome became known (default: today)",
    )
    result.add_argument(
        "--source", metavar="TEXT", help="with --resolve-one: where the outcome is documented"
    )
    result.add_argument(
        "--forecaster",
        metavar="NAME",
        help=f"with --calibrate: an agent's name (default: {ENSEMBLE})",
    )
    result.add_argument(
        "--record",
        choices=RECORDS,
        help="with --calibrate: fit on live or on back-dated forecasts (default: live, where any counts)",
    )
    return result


def _add_jobs(job: argparse._MutuallyExclusiveGroup) -> None:
    """What can be asked for beside redrawing, one at a time."""
    job.add_argument(
        "--resolve",
        metavar="FILE",
        help="record outcomes from a .csv, .tsv, .jsonl or .json: id or question, outcome, date, source",
    )
    job.add_argument(
        "--resolve-one",
        nargs=2,
        metavar=("QUESTION", "OUTCOME"),
        help="record one outcome: id or text, and yes, no or void",
    )
    job.add_argument(
        "--same-question",
        nargs=2,
        metavar=("ID", "OTHER"),
        help="let two ids share one history and their outcomes",
    )
    job.add_argument(
        "--score",
        action="store_true",
        help="score every forecast made before its question was resolved",
    )
    job.add_argument(
        "--calibrate",
        choices=("platt", "beta", "isotonic"),
        help="fit a calibration and store it beside the raw values",
    )
    job.add_argument("--report", metavar="FILE", help="write one self-contained HTML page")


def judge_options(arguments: argparse.Namespace) -> None:
    """Refuse an option that the job does not use.

    Raises:
        AnalysisError: it would be left out without a word.
    """
    job = next((name for name in JOBS if getattr(arguments, name)), "")
    for option, jobs in GOES_WITH.items():
        value = getattr(arguments, option)
        if value is not None and job not in jobs:
            only = " or with drawing alone" if "" in jobs else ""
            raise AnalysisError(
                f"--{option} is {value!r}; it goes with --{jobs[0].replace('_', '-')}{only}"
            )


def act(arguments: argparse.Namespace, database: Database) -> int:
    """Do what the command line asks; returns the exit code."""
    if arguments.resolve:
        path = Path(arguments.resolve)
        return resolve(database, read_resolutions(path), path)
    if arguments.resolve_one:
        return resolve(database, ResolutionFile([entry_from_arguments(arguments, database)]))
    if arguments.same_question:
        return join(database, *arguments.same_question)
    if arguments.score:
        record = collect(database)
        show(*score_lines(record))
        paths = draw_record(record, arguments.plots)
        show(f"\n{', '.join(path.name for path in paths)} in {arguments.plots}")
        return 0
    if arguments.calibrate:
        from evaluation.calibration import calibrate_database

        name = arguments.forecaster or ENSEMBLE
        show(calibrate_database(database, name, arguments.calibrate, arguments.record))
        return 0
    if arguments.report:
        from reporting.report import write_report

        show(write_report(database, Path(arguments.report), arguments.run))
        return 0
    return redraw(database, Path(arguments.plots), arguments.run)


def entry_from_arguments(arguments: argparse.Namespace, database: Database) -> Entry:
    """The outcome given by ``--resolve-one``, ``--date`` and ``--source``; the question is named by its id or its text."""
    name, outcome = (composed(trimmed(value)) for value in arguments.resolve_one)
    names = {composed(name) for row in database.questions() for name in (row.id, row.subject)}
    date = parse_date(arguments.date or datetime.now(UTC).date().isoformat())
    identifier, text = (name, "") if name in names else ("", name)
    return Entry("", identifier, text, parse_outcome(outcome), date, arguments.source or "")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 done, 1 partly done (the output says what is missing), 2 nothing done."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if problems := startup.option_problems(argv) or load(config, argv):
        show(*(f"analysis.py: {problem}" for problem in problems), error=True)
        return 2
    arguments = parser().parse_args(argv)
    code = 0  # also where the reader of our output has left: what was to be recorded is recorded
    try:
        config.validate_config()
        judge_options(arguments)
        recording = any(getattr(arguments, name) for name in RECORDING)
        with (
            reader_may_leave(),
            Database(arguments.database, create=False, reading=not recording) as database,
        ):
            code = act(arguments, database)
    except ConfigError as error:
        show(*(f"analysis.py: {problem}" for problem in error.problems), error=True)
        return 2
    except (AnalysisError, DatabaseError, PlotError, InputError) as error:
        show(f"analysis.py: {error}", error=True)
        return 2
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
