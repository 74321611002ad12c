"""The command line of analysis.py: its options, and which exclude each other."""

from __future__ import annotations

import argparse

import config
from terminal.screen import CommandLine

# The two kinds of forecasts, as in evaluation/resolved.py, which takes longer to import.
RECORDS = ("live", "back-dated")
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
    "by": ("score",),
    "no_plots": ("score",),
}
# What scores are grouped by on request.
GROUPS = ("question", "model", "pool", "horizon", "price", "run")


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
        "--by",
        nargs="+",
        choices=GROUPS,
        metavar="GROUP",
        help=f"with --score: also by {', '.join(GROUPS)}; question lists all of them",
    )
    result.add_argument(
        "--no-plots", action="store_true", help="with --score: print only, draw nothing"
    )
    result.add_argument(
        "--forecaster",
        metavar="NAME",
        help="with --calibrate: an agent's name (default: ensemble)",
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
        help="how good the forecasts were: five lines to quote, then each question, worst first",
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


def option_problems(arguments: argparse.Namespace) -> list[str]:
    """Name the first option that the job does not use: it would have no effect."""
    job = next((name for name in JOBS if getattr(arguments, name)), "")
    if len(arguments.explain or ()) > 2:
        return ["--explain takes a question and a run; put the question in quotes"]
    for option, jobs in GOES_WITH.items():
        value = getattr(arguments, option)
        if value is not None and value is not False and job not in jobs:
            only = " or with drawing alone" if "" in jobs else ""
            given = option.replace("_", "-") + ("" if value is True else f" is {value!r}")
            return [f"--{given}; it goes with --{jobs[0].replace('_', '-')}{only}"]
    return []
