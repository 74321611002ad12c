"""Draw, resolve, score, calibrate and report what a database holds.

    python analysis.py                           redraw the plots
    python analysis.py --resolve outcomes.csv    record outcomes (id or question, outcome, date …)
    python analysis.py --resolve-one ID yes --date 2026-12-31 --source URL
    python analysis.py --score                   Brier, log score, calibration and skill
    python analysis.py --calibrate platt         fit a calibration on resolved forecasts
    python analysis.py --same-question ID OTHER  let two ids share a history and their outcomes
    python analysis.py --explain QUESTION [RUN]  how a final number came about, step by step
    python analysis.py --report report.html      one self-contained page

Exit codes: 0 done; 1 partly done, the output says what is missing; 2 nothing done.
"""

from __future__ import annotations

from preflight import startup

# isort: split
import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import config
from database import Database
from evaluation.outcomes import Entry, ResolutionFile, parse_date, read_resolutions
from evaluation.resolved import ENSEMBLE, RECORDS, AnalysisError, collect
from evaluation.resolving import join, resolve
from evaluation.scorecard import score_lines
from preflight.rules import ConfigError
from preflight.settings import load
from questions.cells import InputError, parse_outcome
from questions.characters import composed, trimmed
from reporting.plot_data import PlotError
from reporting.plots import draw_history, draw_record, draw_run
from storage.errors import DatabaseError
from terminal.screen import CommandLine, reader_may_leave, show

DESCRIPTION = (
    "Reads a Forecaster database: draws the plots, records how questions ended, scores, calibrates"
    " and reports."
)
# What can be asked for beside redrawing; the first four write into the database.
JOBS = ("resolve", "resolve_one", "same_question", "calibrate", "score", "explain", "report")
RECORDING = JOBS[:4]
# The jobs that use an option; "" is redrawing.
GOES_WITH = {
    "date": ("resolve_one",),
    "source": ("resolve_one",),
    "forecaster": ("calibrate",),
    "record": ("calibrate",),
    "run": ("report", ""),
}


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    result = CommandLine(prog="analysis.py", description=DESCRIPTION)
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
        help="with --calibrate: fit on live or on back-dated forecasts"
        " (default: live, where any counts)",
    )
    return result


def _add_jobs(job: argparse._MutuallyExclusiveGroup) -> None:
    """Add the options that ask for a job, one at a time."""
    job.add_argument(
        "--resolve",
        metavar="FILE",
        help="record outcomes from a .csv, .tsv, .jsonl or .json:"
        " id or question, outcome, date, source",
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
    job.add_argument(
        "--explain",
        nargs="+",
        metavar=("QUESTION", "RUN"),
        help="show how a question's final number came about: id or text, and a run"
        " (default: the newest that asked it)",
    )
    job.add_argument("--report", metavar="FILE", help="write one self-contained HTML page")


def judge_options(arguments: argparse.Namespace) -> None:
    """Refuse an option that the job does not use.

    Raises:
        AnalysisError: it would be left out without a word.
    """
    job = next((name for name in JOBS if getattr(arguments, name)), "")
    if len(arguments.explain or ()) > 2:
        raise AnalysisError("--explain takes a question and a run; put the question in quotes")
    for option, jobs in GOES_WITH.items():
        value = getattr(arguments, option)
        if value is not None and job not in jobs:
            only = " or with drawing alone" if "" in jobs else ""
            raise AnalysisError(
                f"--{option} is {value!r}; it goes with --{jobs[0].replace('_', '-')}{only}"
            )


def act(arguments: argparse.Namespace, database: Database) -> int:
    """Do what the command line asks; return the exit code."""
    if arguments.resolve or arguments.resolve_one:
        return record_outcomes(arguments, database)
    if arguments.same_question:
        show(join(database, *arguments.same_question))
    elif arguments.score:
        record = collect(database)
        show(*score_lines(record, database))
        paths = draw_record(record, arguments.plots)
        show(f"\n{', '.join(path.name for path in paths)} in {arguments.plots}")
    elif arguments.calibrate:
        from evaluation.calibration import calibrate_database

        name = arguments.forecaster or ENSEMBLE
        show(calibrate_database(database, name, arguments.calibrate, arguments.record))
    elif arguments.explain:
        from evaluation.explanation import explain

        show(*explain(database, *arguments.explain))
    elif arguments.report:
        from reporting.report import write_report

        show(write_report(database, Path(arguments.report), arguments.run))
    else:
        redraw(database, Path(arguments.plots), arguments.run)
    return 0


def redraw(database: Database, plots_dir: Path, run_id: int | None) -> None:
    """Draw a run (default: the newest) and the histories; print count and folder."""
    runs = database.runs.all()
    if not runs:
        raise AnalysisError(
            f"{database.path}: there is no run to draw; forecast something first"
            " (python forecaster.py)"
        )
    paths = draw_run(database, runs[-1].id if run_id is None else run_id, plots_dir)
    paths += draw_history(database, plots_dir)
    show(f"{len(paths)} plots in {plots_dir}")


def record_outcomes(arguments: argparse.Namespace, database: Database) -> int:
    """Record the outcomes of a file, or one; return 1 when any belongs to no question."""
    if arguments.resolve:
        path = Path(arguments.resolve)
        lines, complete = resolve(database, read_resolutions(path), path)
    else:
        entry = entry_from_arguments(arguments, database)
        lines, complete = resolve(database, ResolutionFile([entry]))
    show(*lines)
    return 0 if complete else 1


def entry_from_arguments(arguments: argparse.Namespace, database: Database) -> Entry:
    """Return the outcome of ``--resolve-one``, which names an id or a text."""
    name, outcome = (composed(trimmed(value)) for value in arguments.resolve_one)
    names = {
        composed(name) for row in database.runs.known_questions() for name in (row.id, row.subject)
    }
    date = parse_date(arguments.date or datetime.now(UTC).date().isoformat())
    identifier, text = (name, "") if name in names else ("", name)
    return Entry("", identifier, text, parse_outcome(outcome), date, arguments.source or "")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code (see the module's first lines)."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if problems := startup.option_problems(argv) or load(config, argv):
        show(*(f"analysis.py: {problem}" for problem in problems), error=True)
        return 2
    arguments = parser().parse_args(argv)
    code = 0  # also where the reader of our output has left: what was asked for is recorded
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
