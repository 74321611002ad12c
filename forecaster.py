"""Forecast questions with every configured model: those below, a file's or the command line's.

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
import contextlib
import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import config
from logger import configure_root_logger
from preflight.model_entries import model_spec
from preflight.packages import PackageError
from preflight.rules import ConfigError
from preflight.settings import load
from questions.question import Question
from runs.command_line import UsageError, parser, settled_by_the_run
from runs.environment import environment_problems, log_environment, versions
from runs.plan import DEMO_LOGIC, Plan, admitted, check_documents, engine_settings, make_plan
from runs.summary import summary, wrapped
from terminal.interrupts import Interrupts
from terminal.library_output import libraries_to_file
from terminal.screen import reader_may_leave, show

if TYPE_CHECKING:
    from database import Database, Passage
    from ensemble import AgentFactory, QuestionEvidence
    from semanticretriever import RetrievalSettings, SemanticRetriever

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

# Questions whose evidence is searched together and stored in one transaction: a run that is killed while it
# retrieves loses at most this many. Groups are cut from the run's whole list, so a resumed run has the same ones.
RETRIEVAL_GROUP = 8

INTERRUPTED = "Interrupted; what was forecast is stored."


def stored_plan(arguments: argparse.Namespace) -> Plan:
    """The plan of ``--resume`` and ``--replay``: what was asked comes from the stored run, the settings from config.py.

    Raises:
        UsageError: one line for every problem found. DatabaseError: the database cannot be used.
    """
    from database import Database
    from runs.manifest import (
        RunError,
        find_run,
        stored_questions,
        stored_settings,
        stored_specs,
    )
    from runs.start import working_on

    problems = settled_by_the_run(arguments)
    try:
        config.validate_config()
        if problems:
            raise UsageError("\n".join(problems))
        path = Path(arguments.database or config.DATABASE_PATH)
        with Database(path, create=False) as database:
            row = find_run(database, arguments.replay or arguments.resume)
            questions = stored_questions(database, row.id)
        if arguments.resume and (worker := working_on(row.owner)) and row.status == "running":
            raise UsageError(
                f"run {row.id} is being worked on by {worker}; wait for it, or end it first"
            )
        settings = stored_settings(row)
        specs = [] if settings["demo"] else stored_specs(settings)
        logic = None
        if settings.get("logic") is not None:
            name, table = config.DEFAULT_LOGIC_MODEL_PATH, config.FORECAST_MODEL_PATHS_VLLM
            logic = DEMO_LOGIC if settings["demo"] else model_spec(name, table)
    except ConfigError as error:
        raise UsageError("\n".join([*problems, *error.problems])) from None
    except RunError as error:
        raise UsageError(str(error)) from None
    return Plan(
        questions=questions,
        specs=specs,
        database=path,
        plots=Path(arguments.plots or config.PLOTS_DIR),
        as_of=row.as_of,
        retrieval=settings["retrieval"] is not None,
        documents=settings["documents"],
        demo=settings["demo"],
        coherence=settings["coherence"],
        backtest=settings["backtest"],
        vllm_config=engine_settings(demo=settings["demo"]),
        today=settings["today"],
        resume=row.id if arguments.resume else None,
        origin=row.id if arguments.replay else row.origin_run,
        logic=logic,
        ablate=settings.get("ablate", False),
    )


# Packages whose version decides no more than a number's last digits; a run may be resumed with another one.
HARMLESS_VERSIONS: Final = tuple(
    f"version.{name} " for name in ("python", "numpy", "runai-model-streamer")
)


# --- a run ----------------------------------------------------------------------------------------


def gather_evidence(
    plan: Plan, database: Database, run_id: int, retriever: SemanticRetriever | None
) -> list[QuestionEvidence]:
    """The evidence of every question: retrieved now and recorded where the run has none yet, else as it was recorded."""
    from ensemble import QuestionEvidence

    if plan.origin is not None:
        database.copy_reasonings(plan.origin, run_id)
    unsearched = _unsearched(run_id, database)
    missing = [question for question in plan.questions if question.id in unsearched]
    if missing and plan.origin is not None:
        database.save_retrievals(run_id, _copied_evidence(database, plan.origin, missing))
    elif missing and retriever is None:
        off = "retrieval was switched off"
        database.save_retrievals(run_id, [(question.id, (), off) for question in missing])
    elif missing and retriever is not None:
        _retrieve(plan, database, run_id, retriever, {question.id for question in missing})
    rows = {row.id: row for row in database.run_questions(run_id)}
    return [
        QuestionEvidence(
            question,
            question.as_of or plan.as_of or plan.today,
            tuple(database.retrieval(run_id, question.id)),
            rows[question.id].context_error,
        )
        for question in plan.questions
    ]


def _retrieve(
    plan: Plan, database: Database, run_id: int, retriever: SemanticRetriever, missing: set[str]
) -> None:
    """Search for the questions of ``missing`` (ids), group by group, and commit each group's evidence."""
    from terminal.progress import progress

    everything = []
    with progress("evidence", len(missing), "question") as bar:
        for start in range(0, len(plan.questions), RETRIEVAL_GROUP):
            group = [q for q in plan.questions[start : start + RETRIEVAL_GROUP] if q.id in missing]
            if not group:
                continue
            found = retriever.retrieve_all(group, as_of=plan.as_of, searched=bar.update)
            database.save_retrievals(
                run_id,
                [(q.id, e.passages, e.context_error) for q, e in zip(group, found, strict=True)],
            )
            for question, evidence in zip(group, found, strict=True):
                logger.debug(
                    "%s: %s", question.id, evidence.error or f"{len(evidence.passages)} passages"
                )
            everything += found
    articles = {(p.source, p.title) for evidence in everything for p in evidence.passages}
    passages = sum(len(evidence.passages) for evidence in everything)
    logger.info(
        "evidence for %d of %d questions: %d passages of %d articles",
        sum(bool(evidence.passages) for evidence in everything),
        len(missing),
        passages,
        len(articles),
    )


def _copied_evidence(
    database: Database, origin: int, questions: Sequence[Question]
) -> list[tuple[str, list[Passage], str | None]]:
    rows = {row.id: row for row in database.run_questions(origin)}
    copied = []
    for question in questions:
        error = rows[question.id].context_error
        if rows[question.id].retrieved_at is None:
            error = f"run {origin} ended before it searched for this question"
        copied.append((question.id, database.retrieval(origin, question.id), error))
    return copied


def make_retriever(plan: Plan, database: Database) -> SemanticRetriever | None:
    """The retriever the plan asks for; for the demonstration the packaged corpus is read into the database first.

    None when retrieval is switched off, and when the run to resume or to replay has all its evidence.

    Raises:
        UsageError: the folder of documents is not there any more.
    """
    settings = retrieval_settings(plan)
    if (
        settings is None
        or plan.origin is not None
        or (plan.resume and not _unsearched(plan.resume, database))
    ):
        return None
    if plan.documents is not None:
        check_documents(plan.documents)
    from semanticretriever import SemanticRetriever

    if plan.demo:
        from runs import demo

        return demo.make_retriever(database, settings)
    return SemanticRetriever(database, settings)


def retrieval_settings(plan: Plan) -> RetrievalSettings | None:
    """What config.py and the command line say about retrieval; None when it is switched off."""
    if not plan.retrieval:
        return None
    from semanticretriever import RetrievalSettings

    return replace(RetrievalSettings.from_config(), documents=plan.documents)


def _unsearched(run_id: int, database: Database) -> set[str]:
    """Ids of the questions to search for: not searched yet, or in vain because of an error.

    A question that has a forecast keeps what that forecast had, so that all agents see the same evidence.
    """
    forecast = {row.question_id for row in database.forecasts(run_id) if row.error is None}
    return {
        row.id
        for row in database.run_questions(run_id)
        if row.retrieved_at is None
        or (row.context_error and row.id not in forecast and not database.retrieval(run_id, row.id))
    }


def begin(plan: Plan, database: Database) -> int:
    """Start the run in the database, or take over the one to resume; returns its number.

    Raises:
        UsageError: settings, weights or versions that decide the numbers differ from those of the run to resume,
            one line each; or another process has it.
    """
    from runs.manifest import changed_settings, run_settings, weights_of
    from runs.start import this_process, working_on
    from runs.weights import UNKNOWN_WEIGHTS

    settings = run_settings(
        plan.specs,
        plan.vllm_config,
        retrieval=retrieval_settings(plan),
        documents=plan.documents,
        demo=plan.demo,
        coherence=plan.coherence,
        backtest=plan.backtest,
        logic=plan.logic,
        ablate=plan.ablate,
    )
    settings["today"] = plan.today
    if plan.resume is None:
        run_id = database.start_run(
            settings=settings,
            versions=versions(),
            seed=config.SEED,
            as_of=plan.as_of,
            questions=plan.questions,
            owner=this_process(),
            origin_run=plan.origin,
            rewordings=plan.rewordings,
        )
        if plan.origin is not None:
            for line in changed_settings(*_comparable(database, plan.origin, settings)):
                logger.warning("replayed with another setting: %s", line)
        return run_id
    changed = []
    for line in changed_settings(*_comparable(database, plan.resume, settings)):
        if line.startswith(HARMLESS_VERSIONS):
            logger.warning("resumed with another %s", line)
        else:
            changed.append(line)
    now = weights_of(plan.specs)
    then = database.weights(plan.resume)
    # What is not to be known before the model is loaded is compared after it (``Ensemble``).
    known = [
        name for name in then if UNKNOWN_WEIGHTS not in (then[name], now.get(name, UNKNOWN_WEIGHTS))
    ]
    changed += changed_settings(
        *({f"weights of {name}": w[name] for name in known} for w in (then, now))
    )
    if changed:
        raise UsageError(
            "\n".join(
                [
                    *(f"run {plan.resume} cannot be resumed: {line}" for line in changed),
                    "set them back to resume it, or start a new run",
                ]
            )
        )
    if worker := database.claim_run(plan.resume, this_process(), working_on):
        raise UsageError(
            f"run {plan.resume} is being worked on by {worker}; wait for it, or end it first"
        )
    return plan.resume


def _comparable(
    database: Database, run_id: int, settings: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings then and now, with seed and versions; of Python itself only the minor version counts."""
    row = database.run(run_id)
    pair = []
    for values, seed, found in (
        (row.settings, row.seed, row.versions),
        (settings, config.SEED, versions()),
    ):
        python = ".".join(str(found.get("python", "")).split(".")[:2])
        pair.append({**values, "seed": seed, "version": {**found, "python": python}})
    return pair[0], pair[1]


def run(
    plan: Plan,
    agent_factory: AgentFactory,
    retriever: SemanticRetriever | None,
    database: Database,
    *,
    interrupts: Interrupts,
    verbose: bool = False,
) -> int:
    """Carry out a plan, print what came of it and return the exit code."""
    from ensemble import Ensemble
    from runs.manifest import resume_command

    run_id = begin(plan, database)
    command = resume_command(run_id, plan.database)
    logger.info(
        "run %d%s: %d questions, %d models, into %s",
        run_id,
        " (resumed)" if plan.resume else f" (replay of run {plan.origin})" if plan.origin else "",
        len(plan.questions),
        len(plan.specs),
        plan.database,
    )
    for line in backtest_cautions(plan):
        logger.warning("Caution: %s", line)
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

    def forecast() -> list[str]:
        with libraries_to_file(verbose=verbose):
            ensemble.forecast(gather_evidence(plan, database, run_id, retriever))
        calibrate(plan, database, run_id)
        # Before the run counts as finished: a run that was killed in here is resumed and does it again.
        return closing_lines(plan, database, run_id)

    status, closing = finished(forecast, database, run_id, command)
    complete = in_vain = False
    if status == "interrupted":
        calibrate(plan, database, run_id)
        closing = interrupted_backtest_lines(plan, database, run_id)
    # After an interrupt nothing slow is begun; a resumed run, or analysis.py, draws.
    if status != "interrupted":
        try:
            in_vain = status == "finished" and evidence_failed(plan, database, run_id)
            drawn = plan.origin is not None or draw(plan, database, run_id)
            complete = status == "finished" and drawn and not in_vain
        except KeyboardInterrupt:
            status = "interrupted"
    table = summary(database, run_id)
    # Last of all: what is shown is stored where the user will look for it.
    database.check_in_place()
    with reader_may_leave():
        show(table)
        if closing:
            show(*closing)
        if plan.demo:
            from runs import demo

            show(f"\n{wrapped(demo.NOTICE)}")
        if status == "interrupted":
            show(f"\n{INTERRUPTED} Resume with: {command}")
        elif status == "partial":
            show(f"\nTry what is missing again with: {command}")
        elif in_vain:
            show(
                "\nNo search for evidence worked: every forecast was made without any. Start a new run later."
            )
    return 130 if status == "interrupted" else 0 if complete else 1


def finished(
    forecast: Callable[[], list[str]], database: Database, run_id: int, command: str
) -> tuple[str, list[str]]:
    """Do the work of a run and store how it ended; returns its status and the lines below the table.

    Raises:
        DatabaseError: with what to do, ``command`` where the run can be resumed.
    """
    from database import DamagedDatabaseError, DatabaseError, ReplacedDatabaseError

    def failed() -> None:
        # Where even that cannot be written the status stays "running", and the owner's end makes it resumable.
        with contextlib.suppress(DatabaseError):
            database.finish_run(run_id, "failed")

    status, closing = "interrupted", list[str]()
    try:
        with contextlib.ExitStack() as on_error:
            on_error.callback(failed)
            with contextlib.suppress(KeyboardInterrupt):
                closing = forecast()
                rows = database.forecasts(run_id)
                status = (
                    "finished" if rows and all(row.error is None for row in rows) else "partial"
                )
            database.finish_run(run_id, status)
            on_error.pop_all()
    except ReplacedDatabaseError as error:
        raise DatabaseError(
            f"{error} and go on with: {command}, or start the run again where it is gone"
        ) from error
    except DatabaseError as error:
        kept = (
            ", then" if isinstance(error, DamagedDatabaseError) else "; what was forecast is kept,"
        )
        raise DatabaseError(f"{error}{kept} go on with: {command}") from error
    return status, closing


def calibrate(plan: Plan, database: Database, run_id: int) -> None:
    """Give the run's forecasts the newest calibrations; those of a replay get none."""
    if plan.origin is None:
        from evaluation.calibration import apply_latest

        apply_latest(database, run_id)


def evidence_failed(plan: Plan, database: Database, run_id: int) -> bool:
    """Whether evidence was to be found and an error left every question without any."""
    from database import NOTHING_FOUND

    if not plan.retrieval or plan.origin is not None:
        return False
    rows = database.run_questions(run_id)
    return bool(rows) and all(
        row.context_error not in (None, NOTHING_FOUND) and not database.retrieval(run_id, row.id)
        for row in rows
    )


def closing_lines(plan: Plan, database: Database, run_id: int) -> list[str]:
    """What is reported below the table: differences of a replay, scores of a backtest; coherence is stored."""
    if plan.origin is not None:
        from runs.manifest import replay_lines
        from scoring.distribution import total_variation

        def distance(a: Any, b: Any) -> float:
            return total_variation(a.voice.distribution, b.voice.distribution)

        return ["", *replay_lines(database, plan.origin, run_id, distance)]
    if plan.coherence:
        report_coherence(database, run_id)
    lines = backtest_lines(plan, database, run_id) if plan.backtest else []
    return lines + ablation_lines(database, run_id)


def ablation_lines(database: Database, run_id: int) -> list[str]:
    """What reasoning and evidence did to the numbers of the run; nothing for a run that did not ask."""
    from evaluation.ablation import effect_lines

    rows = database.ablations(run_id)
    asked = {row.question_id for row in rows}
    outcomes = {
        name: int(row.outcome)
        for name, row in database.resolutions().items()
        if name in asked and row.outcome is not None
    }
    return ["", *effect_lines(rows, outcomes)] if rows else []


def draw(plan: Plan, database: Database, run_id: int) -> bool:
    """Draw the run and the histories; False, with one logged line, when a plot cannot be written."""
    from analysis import PlotError, draw_history, draw_run

    try:
        drawn = [
            *draw_run(database, run_id, plan.plots),
            *draw_history(database, plan.plots, run_id),
        ]
    except PlotError as error:
        logger.error("%s", error)
        return False
    logger.info("%d plots in %s", len(drawn), plan.plots)
    return True


def report_coherence(database: Database, run_id: int) -> None:
    """Store and log how far negations and paraphrases of a question disagree with it."""
    from evaluation.coherence import check_coherence

    for record in check_coherence(database, run_id):
        logger.info(
            "coherence of %s (%s, %s): gap %.2f",
            record.question_id,
            record.kind,
            record.forecaster,
            record.gap,
        )


def backtest_lines(plan: Plan, database: Database, run_id: int) -> list[str]:
    """Record the outcomes, now that the forecasts exist, and say how they did and what limits the comparison."""
    from evaluation.backtest import record_outcomes, score_run
    from evaluation.scorecard import AnalysisError

    kept = record_outcomes(database, plan.questions, Path(plan.backtest or "").name)
    try:
        scores = score_run(database, run_id)
    except AnalysisError as error:
        scores = [str(error)]
    return ["", *(f"Caution: {line}" for line in [*kept, *backtest_cautions(plan)]), "", *scores]


def backtest_cautions(plan: Plan) -> list[str]:
    """What limits a backtest: models that may know answers, and the set of questions; else nothing."""
    if not plan.backtest or plan.origin is not None:
        return []
    from evaluation.backtest import leak_warnings, question_warnings

    models = {spec.name: spec.path for spec in plan.specs}
    return [*leak_warnings(models, plan.questions), *question_warnings(plan.questions)]


def interrupted_backtest_lines(plan: Plan, database: Database, run_id: int) -> list[str]:
    """Record the outcomes of the questions that an interrupted backtest has forecast, and say so."""
    if not plan.backtest or plan.origin is not None:
        return []
    from evaluation.backtest import record_outcomes
    from questions.checks import parent_id

    forecast = {row.question_id for row in database.forecasts(run_id) if row.error is None}
    asked = [q for q in plan.questions if parent_id(q.extra) is None]
    questions = [q for q in asked if q.id in forecast]
    if not questions:
        return []
    kept = record_outcomes(database, questions, Path(plan.backtest).name)
    return [
        *(f"Caution: {line}" for line in kept),
        "",
        f"{len(questions)} of {len(asked)} questions were forecast, a random sample of them; their outcomes are"
        f" recorded. Score them with: python analysis.py --score --database {shlex.quote(str(plan.database))}",
    ]


# --- entry ----------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None, *, agent_factory: AgentFactory | None = None) -> int:
    """Run the command line; see the module's first lines for the exit codes.

    Args:
        argv: arguments without the program's name.
        agent_factory: makes the agents in place of vLLM, and skips the checks of the environment; for tests.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if problems := startup.option_problems(argv) or load(config, argv):
        show(*(f"forecaster.py: {problem}" for problem in problems), error=True)
        return 2
    arguments = parser().parse_args(argv)
    from database import Database, DatabaseError, FullDiskError

    try:
        stored = arguments.resume is not None or arguments.replay is not None
        if stored:
            plan = stored_plan(arguments)
            models = [*plan.specs, *([plan.logic] if plan.logic else [])]
            if not agent_factory and (problems := environment_problems(plan.vllm_config, models)):
                raise UsageError("\n".join(problems))
        else:
            plan = make_plan(arguments, QUESTIONS, environment=agent_factory is None)
            plan = admitted(plan, arguments)
        with Database(plan.database, create=not stored) as database:
            configure_root_logger(verbose=arguments.verbose)
            interrupts = Interrupts()
            interrupts.install()
            for note in plan.notes:
                logger.warning("%s", note)
            return _prepared_run(
                plan, database, agent_factory, interrupts, verbose=arguments.verbose
            )
    except FullDiskError as error:
        show(f"forecaster.py: {error}, then start the run again with the same command", error=True)
        return 2
    except (UsageError, DatabaseError) as error:
        show(*(f"forecaster.py: {line}" for line in str(error).split("\n")), error=True)
        return 2
    except KeyboardInterrupt:
        show(*(f"forecaster.py: {line}" for line in interrupted_early(arguments)), error=True)
        return 130


def interrupted_early(arguments: argparse.Namespace) -> list[str]:
    """What is said when the run was not begun: there is nothing new to resume."""
    if arguments.resume is None:
        return ["interrupted before the run began; start it again with the same command"]
    from runs.manifest import resume_command

    command = resume_command(arguments.resume, Path(arguments.database or config.DATABASE_PATH))
    return [f"{INTERRUPTED} Resume with: {command}"]


def _prepared_run(
    plan: Plan,
    database: Database,
    agent_factory: AgentFactory | None,
    interrupts: Interrupts,
    *,
    verbose: bool,
) -> int:
    """Prepare the demonstration's model where wanted, make the retriever and the agents, and run."""
    with libraries_to_file(verbose=verbose):
        if agent_factory is None:
            from engine.environment import prepare_environment

            if plan.origin is not None:
                # Before any library reads it: a replay scores with the weights that are here.
                os.environ["HF_HUB_OFFLINE"] = "1"
            prepare_environment()
            log_environment()
        if not plan.demo:
            retriever = make_retriever(plan, database)
        else:
            from runs import demo

            try:
                spec = demo.model_spec()
                logic = spec if plan.logic is not None else None
                plan = replace(plan, specs=[spec], logic=logic)
                retriever = make_retriever(plan, database)
            except PackageError as error:
                raise UsageError(str(error)) from error
    agents = agent_factory or _vllm_agents(plan.vllm_config)
    return run(plan, agents, retriever, database, interrupts=interrupts, verbose=verbose)


def _vllm_agents(vllm_config: dict[str, Any]) -> AgentFactory:
    from agents_vllm import Agent

    return lambda spec: Agent(spec, vllm_config=vllm_config)


if __name__ == "__main__":
    sys.exit(main())
