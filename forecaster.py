"""Forecast questions (of this file, a file or the command line) with every model.

    python forecaster.py                          the list in this file on the configured models
    python forecaster.py --demo                   every stage for real on a CPU, in about a minute
    python forecaster.py --questions FILE         .txt (one per line), .csv, .tsv, .jsonl or .json
    python forecaster.py --question "Will ...?"   repeatable
    python forecaster.py --backtest FILE          resolved questions, each from its own past day
    python forecaster.py --resume [RUN]           what an interrupted run is missing
    python forecaster.py --replay RUN             a stored run scored again, and compared

Exit codes: 0 every question forecast by every model; 1 something is missing (the table says what
and why); 2 wrong usage, settings or environment, or the database cannot be used; 130 interrupted
(see --resume).
"""

from __future__ import annotations

from preflight import startup

# isort: split
import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

# Only what judges a command line: the rest is imported once that is right.
import config
from preflight.settings import load
from questions.question import Question
from runs.command_line import UsageError, parser
from terminal.redaction import redacted
from terminal.screen import reader_may_leave, show, show_json

if TYPE_CHECKING:
    from database import Database
    from preflight.model_entries import ModelSpec
    from runs.finish import Ending
    from runs.plan import Plan
    from scoring.agent import AgentFactory, BaseAgent
    from semanticretriever import SemanticRetriever
    from terminal.interrupts import Interrupts

logger = logging.getLogger("forecaster")

# The questions asked when none are given. Edit freely: forecasts of a question are joined by its
# text, so a reworded one starts a new history unless it keeps an id: Question("...", id="my-id").
QUESTIONS: list[Question] = [
    Question(
        "Will Ukraine and Russia sign a ceasefire agreement that covers the whole front line"
        " before 1 July 2027?"
    ),
    Question(
        "Will the People's Republic of China impose a naval blockade on Taiwan"
        " before 1 January 2028?"
    ),
    Question("Will a new country join the European Union before 1 January 2030?"),
    Question("Will NATO admit a new member state before 1 January 2029?"),
    Question(
        "Will global mean surface temperature in 2027 exceed that of 2024"
        " in the GISTEMP v4 data set?"
    ),
    Question(
        "Will the United States enter a recession, as dated by the NBER,"
        " that begins before 1 January 2028?"
    ),
    Question(
        "Will Brent crude oil close above 100 US dollars a barrel on any day before 1 January 2028?"
    ),
    Question(
        "Will India's population exceed 1.5 billion in the United Nations' estimate"
        " for any date before 1 January 2029?"
    ),
    Question("Will a human being land on the Moon before 1 January 2029?"),
    Question("Will North Korea conduct a nuclear weapon test before 1 January 2028?"),
    Question(
        "Will Iran withdraw from the Treaty on the Non-Proliferation of Nuclear Weapons"
        " before 1 January 2028?"
    ),
    Question("Will the euro area admit a new member before 1 January 2029?"),
    Question(
        "Will the World Health Organization declare a new public health emergency"
        " of international concern before 1 January 2028?"
    ),
    Question(
        "Will Japan's central bank raise its policy rate above 2 percent before 1 January 2029?"
    ),
]


def run(
    plan: Plan,
    agent_factory: AgentFactory,
    retriever: SemanticRetriever | None,
    database: Database,
    *,
    interrupts: Interrupts,
    verbose: bool = False,
) -> int:
    """Carry out a plan, print its table and return the exit code."""
    from ensemble import Ensemble
    from runs.finish import finish
    from runs.gather_evidence import gather_evidence
    from runs.resume import resume_command
    from runs.start import begin
    from terminal.library_output import libraries_to_file

    run_id = begin(plan, database)
    ensemble = Ensemble(
        database,
        run_id,
        plan.specs,
        agent_factory,
        logic=plan.logic,
        ablate=plan.ablate,
        write=plan.origin is None,
        stopping=interrupts.came,
    )

    def forecast() -> None:
        with libraries_to_file(verbose=verbose):
            evidence = gather_evidence(plan, database, run_id, retriever)
            ensemble.forecast(evidence, plan.as_of or plan.today)

    command = resume_command(run_id, plan.database)
    ending = finish(forecast, plan, database, run_id, command)
    # After an interrupt nothing slow is begun; a resumed run, or analysis.py, draws.
    if plan.plots and not ending.interrupted and plan.origin is None:
        try:
            ending = replace(ending, drawn=draw(plan.plots, database, run_id))
        except KeyboardInterrupt:
            ending = replace(ending, status="interrupted")
    report(plan, database, run_id, ending, command)
    return ending.exit_code


def draw(plots: Path, database: Database, run_id: int) -> bool:
    """Draw the run and the histories; return whether every plot was written."""
    from reporting.plot_data import PlotError
    from reporting.plots import draw_history, draw_run

    try:
        drawn = [
            *draw_run(database, run_id, plots),
            *draw_history(database, plots, run_id),
        ]
    except PlotError as error:
        logger.error("%s", error)
        return False
    logger.info("%d plots in %s", len(drawn), plots)
    return True


def report(plan: Plan, database: Database, run_id: int, ending: Ending, command: str) -> None:
    """Print the table, the lines below it, and what to do about what is missing.

    With ``--json`` the document of the table's values, and the lines on standard error.
    """
    from runs.document import run_document
    from runs.summary import summary, wrapped

    document = run_document(plan, database, run_id, ending) if plan.json else None
    lines = [*([] if plan.json else [summary(database, run_id)]), *ending.lines]
    if plan.demo:
        from runs.demo import NOTICE

        lines += ["", wrapped(NOTICE)]
    if advice := ending.advice(command):
        lines += ["", advice]
    # Last of all: what is printed is stored where the user will look for it.
    database.check_in_place()
    with reader_may_leave():
        if plan.json:
            show_json(redacted(document))
        if lines:
            show(*lines, error=plan.json)


def main(argv: Sequence[str] | None = None, *, agent_factory: AgentFactory | None = None) -> int:
    """Run the command line; see the module's first lines for the exit codes.

    Args:
        argv: arguments without the program's name.
        agent_factory: makes the agents in place of vLLM, whose environment is not checked then.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if problems := startup.option_problems(argv) or load(config, argv):
        return refuse(problems)
    arguments = parser().parse_args(argv)
    environment = agent_factory is None
    from database import Database
    from logger import configure_root_logger
    from storage.errors import DatabaseError, FullDiskError
    from terminal.interrupts import Interrupts
    from terminal.library_output import libraries_to_file

    try:
        plan = planned(arguments, environment=environment)
        new = plan.resume is None and plan.origin is None
        with Database(plan.database, create=new) as database:
            from runs.start import prepare

            configure_root_logger(verbose=arguments.verbose)
            interrupts = Interrupts()
            interrupts.install()
            for note in plan.notes:
                logger.warning("%s", note)
            with libraries_to_file(verbose=arguments.verbose):
                plan, retriever = prepare(plan, database, environment=environment)
            agents = agent_factory or vllm_agents(plan)
            verbose = arguments.verbose
            return run(plan, agents, retriever, database, interrupts=interrupts, verbose=verbose)
    except FullDiskError as error:
        return refuse([f"{error}, then start the run again with the same command"])
    except (UsageError, DatabaseError) as error:
        return refuse(str(error).split("\n"))
    except KeyboardInterrupt:
        refuse(interrupted_early(arguments))
        return 130


def planned(arguments: argparse.Namespace, *, environment: bool) -> Plan:
    """Return the plan of a new run, or of the stored one to resume or to replay."""
    if arguments.resume is None and arguments.replay is None:
        from runs.plan import admitted, make_plan

        plan = make_plan(arguments, QUESTIONS, environment=environment)
        plan = admitted(plan, arguments)
    else:
        from runs.resume import stored_plan

        plan = stored_plan(arguments, environment=environment)
    return replace(plan, json=arguments.json)


def vllm_agents(plan: Plan) -> AgentFactory:
    """Return what makes agents with the plan's settings, here or on servers."""
    from agents_vllm import Agent
    from engine.remote_agent import RemoteAgent

    def agent(spec: ModelSpec) -> BaseAgent:
        return RemoteAgent(spec) if spec.addresses else Agent(spec, vllm_config=plan.vllm_config)

    return agent


def interrupted_early(arguments: argparse.Namespace) -> list[str]:
    """Say what to do when the run was not begun: there is nothing new to resume."""
    if arguments.resume is None:
        return ["interrupted before the run began; start it again with the same command"]
    from runs.finish import Ending
    from runs.resume import resume_command

    command = resume_command(arguments.resume, Path(arguments.database or config.DATABASE_PATH))
    return [Ending("interrupted", []).advice(command)]


def refuse(problems: Sequence[str]) -> int:
    """Print problems and return the exit code of wrong usage."""
    show(*(f"forecaster.py: {problem}" for problem in problems), error=True)
    return 2


if __name__ == "__main__":
    sys.exit(main())
