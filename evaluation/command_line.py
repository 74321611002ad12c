"""The command line of analysis.py: its options, and which exclude each other."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import config
from terminal.screen import CommandLine

# The two kinds of forecasts, as in evaluation/resolved.py, which takes longer to import.
RECORDS = ("live", "back-dated")
DESCRIPTION = (
    "Reads a Forecaster database: draws the plots, records how questions ended, scores, calibrates"
    " and reports."
)
# What can be asked for beside redrawing; RECORDING writes into the database.
JOBS = (
    "resolve",
    "resolve_one",
    "same_question",
    "calibrate",
    "score",
    "explain",
    "why",
    "report",
    "list",
)
RECORDING = JOBS[:4]
# The jobs that use an option; "" is redrawing.
GOES_WITH = {
    "date": ("resolve_one",),
    "source": ("resolve_one",),
    "forecaster": ("calibrate",),
    "record": ("calibrate",),
    "run": ("report", ""),
    "by": ("score",),
    "passages": ("why",),
    "no_plots": ("score",),
    "json": ("list", "score", "explain", "why", "calibrate"),
}
# What scores are grouped by on request.
LISTS = ("questions", "due", "runs", "models")
GROUPS = ("question", "model", "pool", "horizon", "price", "run")


EXAMPLES = """examples:
  analysis.py                                        redraw the newest run and the histories
  analysis.py --list due                             what is past its close date, not resolved
  analysis.py --resolve-one norway yes --date 2026-09-01
  analysis.py --score --by model run --no-plots      the record, also by model and by run
  analysis.py --why norway --passages                what made it change since its last run
  analysis.py --report report.html --run 12          one page of run 12
"""


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    result = CommandLine(
        prog="analysis.py",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_version()
    places = result.add_argument_group("where")
    places.add_argument(
        "--database",
        default=config.DATABASE_PATH,
        metavar="FILE",
        help="the database (default: %(default)s)",
    )
    places.add_argument(
        "--plots",
        default=config.PLOTS_DIR,
        metavar="DIR",
        help="folder of the plots (default: %(default)s)",
    )
    jobs = result.add_argument_group("what to do, one of these (default: redraw)")
    job = jobs.add_mutually_exclusive_group()
    for name, options in _JOB_OPTIONS.items():
        job.add_argument(name, **options)
    more = result.add_argument_group("options of these")
    for name, options in _MORE_OPTIONS.items():
        more.add_argument(name, **options)
    return result


_JOB_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "--resolve": {
        "metavar": "FILE",
        "help": "record outcomes from a .csv, .tsv, .jsonl or .json:"
        " id or question, outcome, date, source",
    },
    "--resolve-one": {
        "nargs": 2,
        "metavar": ("QUESTION", "OUTCOME"),
        "help": "record one outcome: id or text, and yes, no or void",
    },
    "--same-question": {
        "nargs": 2,
        "metavar": ("ID", "OTHER"),
        "help": "let two ids share one history and their outcomes",
    },
    "--score": {
        "action": "store_true",
        "help": "how good the forecasts were: five lines to quote, then each question, worst first",
    },
    "--calibrate": {
        "choices": ("platt", "beta", "isotonic"),
        "help": "fit a calibration and store it beside the raw values",
    },
    "--explain": {
        "nargs": "+",
        "metavar": ("QUESTION", "RUN"),
        "help": "show how a question's final number came about: id or text, and a run"
        " (default: the newest that asked it)",
    },
    "--why": {
        "nargs": "+",
        "metavar": ("QUESTION", "RUN"),
        "help": "split a change into evidence, wording, date, models, pool: id or text, and two"
        " runs (default: the last two that asked it)",
    },
    "--list": {
        "choices": LISTS,
        "help": "print the questions, those that are due to be resolved, the runs, or the models",
    },
    "--report": {"metavar": "FILE", "help": "write one self-contained HTML page"},
}
_MORE_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "--passages": {
        "action": "store_true",
        "help": "with --why: also leave out each of the three best passages",
    },
    "--run": {
        "type": int,
        "metavar": "N",
        "help": "redraw or report this run instead of the newest",
    },
    "--date": {
        "metavar": "DATE",
        "help": "with --resolve-one: the day the outcome became known (default: today)",
    },
    "--source": {
        "metavar": "TEXT",
        "help": "with --resolve-one: where the outcome is documented",
    },
    "--by": {
        "nargs": "+",
        "choices": GROUPS,
        "metavar": "GROUP",
        "help": f"with --score: also by {', '.join(GROUPS)}; question lists all of them",
    },
    "--json": {
        "action": "store_true",
        "help": "with --list, --score, --explain, --why or --calibrate: print one JSON document",
    },
    "--no-plots": {"action": "store_true", "help": "with --score: print only, draw nothing"},
    "--forecaster": {
        "metavar": "NAME",
        "help": "with --calibrate: an agent's name (default: ensemble)",
    },
    "--record": {
        "choices": RECORDS,
        "help": "with --calibrate: fit on live or on back-dated forecasts"
        " (default: live, where any counts)",
    },
}


def option_problems(arguments: argparse.Namespace) -> list[str]:
    """Name the first option that the job does not use: it would have no effect."""
    job = next((name for name in JOBS if getattr(arguments, name)), "")
    if len(arguments.explain or ()) > 2:
        return ["--explain takes a question and a run; put the question in quotes"]
    if len(arguments.why or (1,)) not in (1, 3):
        return ["--why takes a question, or a question and two runs; put the question in quotes"]
    for option, jobs in GOES_WITH.items():
        value = getattr(arguments, option)
        if value is not None and value is not False and job not in jobs:
            only = " or with drawing alone" if "" in jobs else ""
            given = option.replace("_", "-") + ("" if value is True else f" is {value!r}")
            where = " or --".join(name.replace("_", "-") for name in jobs if name)
            return [f"--{given}; it goes with --{where}{only}"]
    return []
