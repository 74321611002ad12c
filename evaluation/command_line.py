"""The command line of analysis.py: its options, and which exclude each other."""

from __future__ import annotations

import argparse
from typing import Final

import config
from terminal.screen import FLAG, CommandLine, Options, add_options

# The two kinds of forecasts, as in evaluation/resolved.py, which takes longer to import.
RECORDS = ("live", "back-dated")
DESCRIPTION = (
    "Reads a Forecaster database: draws the plots, records how questions ended, scores, calibrates"
    " and reports."
)
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
LISTS = ("questions", "due", "runs", "models")
# What scores are grouped by on request.
GROUPS = ("question", "model", "pool", "horizon", "price", "run")
# What to do, one of these at most (default: redraw): option, help, and how it is parsed.
_JOBS: Final[Options] = (
    ("--resolve", "record outcomes from a .csv, .tsv, .jsonl or .json: id or question, outcome,"
     " date, source", {"metavar": "FILE"}),
    ("--resolve-one", "record one outcome: id or text, and yes, no or void",
     {"nargs": 2, "metavar": ("QUESTION", "OUTCOME")}),
    ("--same-question", "let two ids share one history and their outcomes",
     {"nargs": 2, "metavar": ("ID", "OTHER")}),
    ("--score", "how good the forecasts were: five lines to quote, then each question, worst first",
     FLAG),
    ("--calibrate", "fit a calibration and store it beside the raw values",
     {"choices": ("platt", "beta", "isotonic")}),
    ("--explain", "show how a question's final number came about: id or text, and a run"
     " (default: the newest that asked it)", {"nargs": "+", "metavar": ("QUESTION", "RUN")}),
    ("--why", "split a change into evidence, wording, date, models, pool: id or text, and two runs"
     " (default: the last two that asked it)", {"nargs": "+", "metavar": ("QUESTION", "RUN")}),
    ("--list", "print the questions, those that are due to be resolved, the runs, or the models",
     {"choices": LISTS}),
    ("--report", "write one self-contained HTML page", {"metavar": "FILE"}),
)  # fmt: skip
JOBS: Final = tuple(name.removeprefix("--").replace("-", "_") for name, *_ in _JOBS)
# Those that write into the database.
RECORDING: Final = ("resolve", "resolve_one", "same_question", "calibrate")
_MORE: Final[Options] = (
    ("--passages", "with --why: also leave out each of the three best passages", FLAG),
    ("--run", "redraw or report this run instead of the newest", {"type": int, "metavar": "N"}),
    ("--date", "with --resolve-one: the day the outcome became known (default: today)",
     {"metavar": "DATE"}),
    ("--source", "with --resolve-one: where the outcome is documented", {"metavar": "TEXT"}),
    ("--by", f"with --score: also by {', '.join(GROUPS)}; question lists all of them",
     {"nargs": "+", "choices": GROUPS, "metavar": "GROUP"}),
    ("--json", "with --list, --score, --explain, --why or --calibrate: print one JSON document",
     FLAG),
    ("--no-plots", "with --score: print only, draw nothing", FLAG),
    ("--forecaster", "with --calibrate: an agent's name (default: ensemble)", {"metavar": "NAME"}),
    ("--record", "with --calibrate: fit on live or on back-dated forecasts"
     " (default: live, where any counts)", {"choices": RECORDS}),
)  # fmt: skip


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
    add_options(jobs.add_mutually_exclusive_group(), _JOBS)
    add_options(result.add_argument_group("options of these"), _MORE)
    return result


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
