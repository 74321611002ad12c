"""The command line of forecaster.py: its options, and which exclude each other."""

from __future__ import annotations

import argparse
from typing import Final

import config
from terminal.screen import FLAG, CommandLine, Options, add_options


class UsageError(Exception):
    """Something the user gave cannot be used; one line for each problem."""


# What is forecast, one of these at most: the option, its help, and how it is parsed.
ASKED: Final[Options] = (
    ("--questions", ".txt (one per line), .csv, .tsv, .jsonl or .json with a question column,"
     " or a platform's file", {"metavar": "FILE"}),
    ("--question", "a question; repeatable", {"action": "append", "metavar": "TEXT"}),
    ("--backtest", "resolved questions, each forecast from its own past day, then scored",
     {"metavar": "FILE"}),
    ("--demo", "a small packaged model and the World Factbook on a CPU, into demo.db", FLAG),
    ("--resume", "finish a run that was interrupted or has failed forecasts"
     " (default: the latest unfinished one)", {"nargs": "?", "const": "latest", "metavar": "RUN"}),
    ("--replay", "score a stored run again from its stored evidence, without network,"
     " and report the differences", {"metavar": "RUN"}),
)  # fmt: skip
# How it is forecast.
OPTIONS: Final[Options] = (
    ("--sample", "with --backtest: N of its questions, drawn with the seed",
     {"type": int, "metavar": "N"}),
    ("--models", "configured names or model paths (default: all configured)",
     {"nargs": "+", "metavar": "MODEL"}),
    ("--as-of", "forecast as if today were this date: no newer evidence is used",
     {"metavar": "DATE"}),
    ("--reworded", "accept another wording of this id as the same question; repeatable",
     {"action": "append", "metavar": "ID"}),
    ("--ask-closed", "ask again what is resolved or past its close date; it is left out otherwise",
     FLAG),
    ("--no-retrieval", "ask the models without any evidence", FLAG),
    ("--documents", "folder with your own .txt, .md, .html and .pdf evidence",
     {"metavar": "DIR"}),
    ("--coherence", "also ask the negations and paraphrases a question file gives", FLAG),
    ("--logic", "let the logic model (DEFAULT_LOGIC_MODEL_PATH) write reasoning first;"
     " every model then scores given it", FLAG),
    ("--ablate", "also score without reasoning and without evidence,"
     " and say what each did to the numbers", FLAG),
)  # fmt: skip
# Options that say what to forecast; a stored run has settled that.
NOT_WITH_A_STORED_RUN: Final = (
    "questions", "question", "backtest", "demo", "sample", "models", "as_of", "no_retrieval",
    "documents", "coherence", "logic", "ablate", "reworded", "ask_closed",
)  # fmt: skip


EXAMPLES: Final = """examples:
  forecaster.py --demo                                 try every stage on a CPU
  forecaster.py --question "Will it rain?" --models phi-4
  forecaster.py --questions FILE --documents reports/  your own files as evidence too
  forecaster.py --resume                               finish what was interrupted
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = CommandLine(
        prog="forecaster.py",
        description="Probabilities of future events from open-weight models, with their evidence.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = result.add_argument_group(
        "what is forecast, one of these (default: the list in the file)"
    )
    add_options(what.add_mutually_exclusive_group(), ASKED)
    add_options(result.add_argument_group("how it is forecast"), OPTIONS)
    result.add_version()
    database = f"default: {config.DATABASE_PATH} (--demo: demo.db)"
    result.add_argument("--database", metavar="FILE", help=database)
    result.add_argument("--plots", metavar="DIR", help=f"default: {config.PLOTS_DIR}")
    result.add_argument("--no-plots", action="store_true", help="draw nothing")
    text = "print the table, and what changed, as one JSON document for programs"
    result.add_argument("--json", action="store_true", help=text)
    verbose = "show the libraries' messages, not only in the log file"
    result.add_argument("--verbose", action="store_true", help=verbose)
    return result


def conflicts(arguments: argparse.Namespace, *, thinking: bool = False) -> list[str]:
    """Name options that exclude each other or lack another one, one line each.

    ``thinking`` says whether a model thinks first, which --ablate can take away.
    """
    problems = []
    if arguments.demo and arguments.models:
        problems.append(
            "--models and --demo exclude each other; the demonstration brings its own model"
        )
    if arguments.sample is not None and (not arguments.backtest or arguments.sample < 1):
        problems.append(
            f"--sample is {arguments.sample}; it takes 1 or more and goes with --backtest"
        )
    if arguments.ablate and arguments.no_retrieval and not (arguments.logic or thinking):
        problems.append(
            "--ablate with --no-retrieval has nothing to take away; add --logic, or retrieve"
        )
    if arguments.as_of and arguments.backtest:
        problems.append(
            "--as-of and --backtest exclude each other; its questions have days of their own"
        )
    if arguments.documents and arguments.no_retrieval:
        problems.append("--documents and --no-retrieval exclude each other; documents are evidence")
    return problems


def settled_by_the_run(arguments: argparse.Namespace) -> list[str]:
    """Name options that do not go with ``--resume`` or ``--replay``, a line each."""
    option = "--replay" if arguments.replay else "--resume"
    return [
        f"{option} takes what to forecast from the stored run; leave out --{name.replace('_', '-')}"
        for name in NOT_WITH_A_STORED_RUN
        if getattr(arguments, name)
    ]
