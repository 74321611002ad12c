"""Reads a Forecaster database: draws the plots, records how questions ended, scores, calibrates and reports.

    python analysis.py                                  redraw the plots of the newest run and the history of all questions
    python analysis.py --resolve outcomes.csv           record outcomes (question or id, outcome, date, source)
    python analysis.py --resolve-one ID yes --date 2026-12-31 --source URL
    python analysis.py --score                          Brier, log score, calibration and skill, with 95 % intervals
    python analysis.py --calibrate platt                fit a calibration on resolved forecasts and store it beside the raw values
    python analysis.py --report report.html             one self-contained page with plots, tables, evidence and reasoning

``draw_run`` and ``draw_history`` are also what ``forecaster.py`` calls at the end of a run.
"""

from __future__ import annotations

import argparse
import json
import logging
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import config
from coherence import parent_id
from database import Database, DatabaseError
from distribution import Distribution, pool
from drawing import (
    Curve,
    HistoryPoint,
    Outcome,
    OverviewRow,
    PlotError,
    distribution_figure,
    file_part,
    history_figure,
    overview_figures,
    save,
)
from resolutions import Entry, ResolutionError, match, parse_date, parse_outcome, read_resolutions

log = logging.getLogger(__name__)


class AnalysisError(Exception):
    """Nothing can be done with what was given; the message is one line for the user."""


# --- reading rows -----------------------------------------------------------------------------------------------------


def stored_distribution(row: sqlite3.Row) -> Distribution:
    """The 101 probabilities of a forecast or ensemble row."""
    return Distribution(np.array(json.loads(row["probabilities"]), dtype=np.float64))


def parse_time(text: str) -> datetime:
    """A stored ISO date or timestamp as UTC without a zone, the form that plots and comparisons here use."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def forecast_time(as_of: str | None, created_at: str) -> datetime:
    """The moment a forecast speaks from: its ``as_of`` date for a backtest, else when it was made."""
    return parse_time(as_of or created_at)


def outcome_of(row: sqlite3.Row | None) -> Outcome | None:
    """A resolution row as the outcome that plots show; None when the question is open."""
    return None if row is None else Outcome(row["outcome"], parse_time(row["resolved_at"]))


# --- plots ------------------------------------------------------------------------------------------------------------


def draw_run(database: Database, run_id: int, plots_dir: str | Path) -> list[Path]:
    """Draw each question's distributions of one run into ``plots_dir``; returns the files, in question order.

    At most ``config.MAX_PLOTTED_QUESTIONS`` questions are drawn. Questions without a forecast are left out.

    Raises:
        PlotError: a file cannot be written. DatabaseError: no such run.
    """
    run = database.run(run_id)
    outcomes = database.resolutions()
    forecasts = _by_question(row for row in database.forecasts(run_id) if row["error"] is None)
    ensembles = {row["question_id"]: row for row in database.ensembles(run_id)}
    paths = []
    for question in _plotted(database.run_questions(run_id)):
        rows, ensemble = forecasts.get(question["id"], []), ensembles.get(question["id"])
        if not rows and ensemble is None:
            continue
        subtitle = f"run {run_id}, {run['started_at'][:16].replace('T', ' ')} UTC"
        subtitle += f", evidence up to {question['as_of']}" if question["as_of"] else ""
        subtitle += (
            f"; {ensemble['agents']} of {ensemble['agents_configured']} agents"
            if ensemble is not None
            else ""
        )
        figure = distribution_figure(
            question["text"], subtitle, _curves(rows, ensemble), outcome_of(outcomes.get(question["id"]))
        )
        paths.append(save(figure, Path(plots_dir) / f"run{run_id}_{file_part(question['id'])}.png"))
    return paths


def _curves(rows: Sequence[sqlite3.Row], ensemble: sqlite3.Row | None) -> list[Curve]:
    """One curve per agent and chunk, then the ensemble."""
    chunked = {row["agent"] for row in rows if row["chunk"] > 0}
    curves = []
    for row in rows:
        name = row["agent"] + (f" · part {row['chunk'] + 1}" if row["agent"] in chunked else "")
        note = (
            f"low confidence: {100 * (row['captured_mass'] or 0):.0f} % numbers"
            if row["low_confidence"]
            else ""
        )
        curves.append(Curve(name, stored_distribution(row), note))
    if ensemble is not None:
        note = f"agreement {100 * ensemble['agreement']:.0f} %" if ensemble["agents"] > 1 else ""
        curves.append(
            Curve(f"ensemble ({ensemble['method']})", stored_distribution(ensemble), note, ensemble=True)
        )
    return curves


def draw_history(database: Database, plots_dir: str | Path) -> list[Path]:
    """Draw each question's forecasts over time and the overview of latest forecasts; returns the files.

    At most ``config.MAX_PLOTTED_QUESTIONS`` questions, the most recently asked ones, get their own figure.

    Raises:
        PlotError: a file cannot be written.
    """
    outcomes = database.resolutions()
    agents = _by_question(database.successful_forecasts())
    ensembles = _by_question(database.all_ensembles())
    paths, overview = [], []
    for question in _plotted(database.questions(), newest=True):
        rows, pooled = agents.get(question["id"], []), ensembles.get(question["id"], [])
        if not rows and not pooled:
            continue
        outcome = outcome_of(outcomes.get(question["id"]))
        points = [_point(row, stored_distribution(row)) for row in pooled]
        figure = history_figure(question["text"], agent_history(rows), points, outcome)
        paths.append(save(figure, Path(plots_dir) / f"history_{file_part(question['id'])}.png"))
        if points:
            overview.append(_overview_row(question["text"], points, outcome))
    for number, figure in enumerate(overview_figures(overview, "Latest forecasts"), start=1):
        paths.append(
            save(figure, Path(plots_dir) / f"latest_forecasts{'' if number == 1 else f'_{number}'}.png")
        )
    return paths


def _plotted(questions: Iterable[sqlite3.Row], *, newest: bool = False) -> list[sqlite3.Row]:
    """Questions that get a figure: no coherence checks, and only so many."""
    shown = [row for row in questions if parent_id(row["extra"]) is None]
    limit = config.MAX_PLOTTED_QUESTIONS
    if len(shown) > limit:
        log.info("plots: %d of %d questions are drawn (MAX_PLOTTED_QUESTIONS)", limit, len(shown))
    return shown[-limit:] if newest else shown[:limit]


def _by_question(rows: Iterable[sqlite3.Row]) -> dict[str, list[sqlite3.Row]]:
    grouped: dict[str, list[sqlite3.Row]] = {}
    for row in rows:
        grouped.setdefault(row["question_id"], []).append(row)
    return grouped


def agent_history(rows: Iterable[sqlite3.Row]) -> dict[str, list[HistoryPoint]]:
    """Each agent's forecasts of one question over time; the chunks of one run are pooled with equal weights."""
    chunks: dict[tuple[str, int], list[sqlite3.Row]] = {}
    for row in rows:
        chunks.setdefault((row["agent"], row["run_id"]), []).append(row)
    series: dict[str, list[HistoryPoint]] = {}
    for (agent, _), parts in sorted(chunks.items()):
        distribution = pool([stored_distribution(part) for part in parts], "mean")
        series.setdefault(agent, []).append(_point(parts[0], distribution))
    return series


def _point(row: sqlite3.Row, distribution: Distribution) -> HistoryPoint:
    low, high = distribution.interval(0.8)
    return HistoryPoint(forecast_time(row["as_of"], row["created_at"]), distribution.mean, low, high)


def _overview_row(text: str, points: Sequence[HistoryPoint], outcome: Outcome | None) -> OverviewRow:
    ordered = sorted(points, key=lambda p: p.when)
    latest = ordered[-1]
    previous = ordered[-2].mean if len(ordered) > 1 else None
    return OverviewRow(text, latest.mean, latest.low, latest.high, previous, outcome)


# --- the command line -------------------------------------------------------------------------------------------------


def redraw(database: Database, plots_dir: Path, run_id: int | None) -> int:
    """Draw one run (default: the newest) and the history; prints the files' folder and count."""
    runs = database.runs()
    if not runs:
        raise AnalysisError(
            f"{database.path}: there is no run to draw; forecast something first (python forecaster.py)"
        )
    paths = draw_run(database, runs[-1]["id"] if run_id is None else run_id, plots_dir)
    paths += draw_history(database, plots_dir)
    print(f"{len(paths)} plots in {plots_dir}")
    return 0


def resolve(database: Database, entries: Sequence[Entry]) -> int:
    """Record outcomes; returns 1 when some belong to no question (they are listed), else 0."""
    found, unknown = match(entries, database.questions())
    before = database.resolutions()
    added = database.add_resolutions(found)
    changed = [r for r in found if r.question_id in before and before[r.question_id]["outcome"] != r.outcome]
    print(f"{added} outcomes recorded, {len(found) - added} known already, {len(unknown)} without a question")
    for r in changed:
        old = Outcome(before[r.question_id]["outcome"], None).word
        print(
            f"  changed: {r.question_id} from {old} to {Outcome(r.outcome, None).word} (the earlier record is kept)"
        )
    for entry, reason in unknown:
        print(
            f"  not recorded, line {entry.line}: {entry.name[:90]!r}: {reason}"
            if entry.line
            else f"  not recorded: {entry.name[:90]!r}: {reason}"
        )
    return 1 if unknown else 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="analysis.py", description=(__doc__ or "").split("\n")[0])
    result.add_argument(
        "--database", default=config.DATABASE_PATH, metavar="FILE", help="the database (default: %(default)s)"
    )
    result.add_argument(
        "--plots", default=config.PLOTS_DIR, metavar="DIR", help="folder of the plots (default: %(default)s)"
    )
    result.add_argument(
        "--run", type=int, metavar="N", help="redraw or report this run instead of the newest"
    )
    job = result.add_mutually_exclusive_group()
    job.add_argument(
        "--resolve",
        metavar="FILE",
        help="record outcomes from a .csv or .jsonl: id or question, outcome, date, source",
    )
    job.add_argument(
        "--resolve-one",
        nargs=2,
        metavar=("QUESTION", "OUTCOME"),
        help="record one outcome: id or text, and yes, no or void",
    )
    job.add_argument(
        "--score", action="store_true", help="score every forecast made before its question was resolved"
    )
    job.add_argument(
        "--calibrate",
        choices=("platt", "beta", "isotonic"),
        help="fit a calibration and store it beside the raw values",
    )
    job.add_argument("--report", metavar="FILE", help="write one self-contained HTML page")
    result.add_argument(
        "--date", metavar="DATE", help="with --resolve-one: the day the outcome became known (default: today)"
    )
    result.add_argument(
        "--source", default="", metavar="TEXT", help="with --resolve-one: where the outcome is documented"
    )
    result.add_argument(
        "--forecaster",
        default="ensemble",
        metavar="NAME",
        help="with --calibrate: an agent's name (default: %(default)s)",
    )
    return result


def act(arguments: argparse.Namespace, database: Database) -> int:
    """Do what the command line asks; returns the exit code."""
    if arguments.resolve:
        return resolve(database, read_resolutions(arguments.resolve))
    if arguments.resolve_one:
        return resolve(database, [entry_from_arguments(arguments)])
    if arguments.score:
        from scorecard import print_scores

        return print_scores(database, Path(arguments.plots))
    if arguments.calibrate:
        from calibration import calibrate_database

        print(calibrate_database(database, arguments.forecaster, arguments.calibrate))
        return 0
    if arguments.report:
        from report import write_report

        print(write_report(database, Path(arguments.report), arguments.run))
        return 0
    return redraw(database, Path(arguments.plots), arguments.run)


def entry_from_arguments(arguments: argparse.Namespace) -> Entry:
    """The outcome given by ``--resolve-one``, ``--date`` and ``--source``; the name is tried as an id and as a text."""
    name, outcome = arguments.resolve_one
    date = parse_date(arguments.date or datetime.now(UTC).date().isoformat())
    return Entry(0, name, name, parse_outcome(outcome), date, arguments.source)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 done, 1 partly done (the output says what is missing), 2 nothing done."""
    arguments = parser().parse_args(argv)
    try:
        config.validate_config()
        with Database(arguments.database, create=False) as database:
            return act(arguments, database)
    except config.ConfigError as error:
        print(*(f"config.py: {problem}" for problem in error.problems), sep="\n", file=sys.stderr)
    except (AnalysisError, DatabaseError, PlotError, ResolutionError) as error:
        print(f"analysis.py: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 2


if __name__ == "__main__":
    sys.exit(main())
