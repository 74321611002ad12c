"""The plan of a new run: all it needs, judged at once before anything is started."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import config
from preflight import machine
from preflight.model_entries import ModelSpec, model_spec
from preflight.rules import ConfigError
from questions.cells import InputError, past_date
from questions.checks import coherence_questions
from questions.files import (
    Reading,
    answered_note,
    closed_note,
    read_question_file,
    unique_questions,
)
from questions.market import price_notes
from questions.question import Question
from runs.command_line import UsageError, conflicts
from runs.environment import environment_problems

if TYPE_CHECKING:
    from storage.records import Rewording

# The demonstration's one model is also its logic model; this takes its place until it is prepared.
DEMO_LOGIC: Final = ModelSpec("demo", "demo")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Plan:
    """Everything a run needs.

    Args:
        plots: folder of the plots, None where nothing is drawn.
        as_of: ISO date of the whole run, None for a live one; a question's own day comes first.
        documents: folder of the user's own evidence.
        backtest: file of the resolved questions.
        today: the day the models are told is today, where a question has no day of its own.
        resume: the run to finish.
        origin: the run whose evidence and questions are scored again.
        origin_retrieval: the stored settings with which that evidence was found.
        logic: the model that writes reasoning before the number.
        ablate: whether each forecast is also made without reasoning and without evidence.
        notes: lines about the questions to log when the run begins.
        json: whether the closing table is printed as JSON.
    """

    questions: list[Question]
    specs: list[ModelSpec]
    database: Path
    plots: Path | None
    as_of: str | None
    retrieval: bool
    documents: str | None
    demo: bool
    coherence: bool
    backtest: str | None
    vllm_config: dict[str, Any]
    today: str
    resume: int | None = None
    origin: int | None = None
    origin_retrieval: Mapping[str, Any] | None = None
    logic: ModelSpec | None = None
    ablate: bool = False
    rewordings: tuple[Rewording, ...] = ()
    notes: tuple[str, ...] = ()
    json: bool = False


class Problems(list[str]):
    """Collect the lines of every problem, so that all are reported at once."""

    def attempt(self, action: Callable[[], Value], default: Value) -> Value:
        """Return what ``action`` returns, or ``default`` after noting why it cannot."""
        try:
            return action()
        except ConfigError as error:
            self.extend(error.problems)
        except (InputError, UsageError) as error:
            self.append(str(error))
        return default

    def unique(self) -> list[str]:
        """Return each problem once; with its place where one of two lines has that."""
        lines = list(dict.fromkeys(self))
        return [line for line in lines if not any(x.endswith(f": {line}") for x in lines)]


def make_plan(
    arguments: argparse.Namespace, listed: Sequence[Question], *, environment: bool = False
) -> Plan:
    """Judge the command line, the configuration and the machine at once.

    ``listed`` are the questions asked when none are given; ``environment`` says whether the engine
    must be able to start here.

    Raises:
        UsageError: one line for every problem found.
    """
    problems = Problems()
    problems.attempt(config.validate_config, None)
    reading = Reading([])
    # A sample is drawn with a setting, which must be right for it.
    if not (problems and arguments.sample):
        reading = problems.attempt(lambda: asked_questions(arguments, listed), reading)
    as_of = None
    if arguments.as_of is not None:
        as_of = problems.attempt(lambda: past_date(arguments.as_of, "--as-of"), None)
    specs, logic = _models(arguments, problems)
    problems += conflicts(arguments, thinking=any(spec.think for spec in specs))
    if arguments.documents:
        problems.attempt(lambda: check_documents(arguments.documents), None)
    engine = engine_settings(demo=arguments.demo)
    problems += thinking_problems(specs, engine)
    if environment:
        models = [spec for spec in (*specs, logic) if spec not in (None, DEMO_LOGIC)]
        problems += environment_problems(engine, models)
    if problems:
        raise UsageError("\n".join(problems.unique()))
    default = "demo.db" if arguments.demo else config.DATABASE_PATH
    return Plan(
        questions=reading.questions,
        specs=specs,
        database=Path(arguments.database or default),
        plots=None if arguments.no_plots else Path(arguments.plots or config.PLOTS_DIR),
        as_of=as_of,
        retrieval=not arguments.no_retrieval,
        documents=arguments.documents,
        demo=arguments.demo,
        coherence=arguments.coherence,
        backtest=arguments.backtest,
        vllm_config=engine,
        today=current_day(),
        logic=logic,
        ablate=arguments.ablate,
        notes=tuple(reading.notes),
    )


def _models(
    arguments: argparse.Namespace, problems: Problems
) -> tuple[list[ModelSpec], ModelSpec | None]:
    """Return the forecasting models and the logic model."""
    if arguments.demo:
        return [], DEMO_LOGIC if arguments.logic else None
    asked, table = config.FORECAST_MODEL_PATHS_VLLM, model_table()
    wanted = arguments.models or (asked if isinstance(asked, Mapping) else ())
    found = [problems.attempt(partial(model_spec, name, table), None) for name in wanted]
    specs = [spec for spec in found if spec is not None]
    if len({spec.name for spec in specs}) < len(specs):
        problems.append(
            "--models names two models alike; forecasts are stored by name, so name each once"
        )
    path = config.DEFAULT_LOGIC_MODEL_PATH
    if not arguments.logic or not isinstance(path, str):
        return specs, None
    return specs, problems.attempt(partial(model_spec, path, table), None)


def model_table() -> dict[str, Any]:
    """Return all named models, those asked by default first."""
    tables: tuple[Any, Any] = (config.OPEN_FORECASTERS, config.FORECAST_MODEL_PATHS_VLLM)
    others, asked = (table if isinstance(table, Mapping) else {} for table in tables)
    return {**asked, **others, **asked}


def thinking_problems(specs: Sequence[ModelSpec], engine: Any) -> list[str]:
    """Name the models whose windows the longest thoughts would fill."""
    longest: Any = config.THINK_MAX_TOKENS
    if not isinstance(longest, int):
        return []  # it has a line of its own
    return [line for spec in specs for line in machine.thinking_problems(spec, engine, longest)]


def engine_settings(*, demo: bool) -> dict[str, Any]:
    """Return ``VLLM_CONFIG`` of config.py or the demonstration; a wrong one as is."""
    if demo:
        from runs import demo as demonstration

        return dict(demonstration.VLLM_CONFIG)
    given = config.VLLM_CONFIG
    return dict(given) if isinstance(given, Mapping) else given


def current_day() -> str:
    """Return today's date (UTC, ISO)."""
    return datetime.now(UTC).date().isoformat()


def check_documents(folder: str) -> None:
    """Raise UsageError when a folder of documents cannot be read."""
    from evidence.documents import check_folder
    from evidence.readers import DocumentError

    try:
        check_folder(folder)
    except DocumentError as error:
        raise UsageError(str(error)) from None


def asked_questions(arguments: argparse.Namespace, listed: Sequence[Question]) -> Reading:
    """Return the questions of the command line, a file, the demonstration or the list."""
    if arguments.questions:
        reading = read_question_file(arguments.questions)
    elif arguments.backtest:
        from evaluation.backtest import fair_order, read_backtest, sample

        reading = read_backtest(arguments.backtest)
        # A sample below 1 is refused by conflicts(), beside all other problems.
        count = len(reading.questions) if arguments.sample is None else max(arguments.sample, 0)
        drawn = sample(reading.questions, count, config.SEED)
        reading = replace(reading, questions=fair_order(drawn, config.SEED))
    elif arguments.question:
        reading = unique_questions([Question(text) for text in arguments.question], "--question")
    elif arguments.demo:
        from runs import demo

        reading = Reading(list(demo.QUESTIONS))
    else:
        reading = unique_questions(listed, "forecaster.py")
    if arguments.coherence:
        asked = [each for q in reading.questions for each in (q, *coherence_questions(q))]
        checked = unique_questions(asked, "--coherence")
        notes = [*reading.notes, *checked.notes]
        if len(asked) == len(reading.questions):
            notes.append("--coherence: no question has a negation or paraphrases")
        reading = Reading(checked.questions, notes)
    return reading


def admitted(plan: Plan, arguments: argparse.Namespace) -> Plan:
    """Return the plan without questions that its database says are not to be asked.

    Raises:
        UsageError: an id was another question's, or no question is left; one line each.
        DatabaseError: the database cannot be read.
    """
    from evaluation.earlier_questions import Known
    from runs.admission import admit

    known = Known.of(plan.database, plan.questions)
    found = admit(
        plan.questions,
        known,
        as_of=plan.as_of,
        today=plan.today,
        reworded=arguments.reworded or (),
        ask_closed=arguments.ask_closed or plan.demo,
    )
    if plan.backtest:
        from evaluation.backtest import contradictions

        if lines := contradictions(found.questions, known):
            raise UsageError("\n".join(f"{plan.backtest}: {line}" for line in lines.values()))
    closed = closed_note(found.questions, plan.as_of or plan.today)
    answered = answered_note(found.questions, plan.as_of)
    prices = price_notes(found.questions, plan.as_of, plan.today)
    notes = (*plan.notes, *found.notes, *filter(None, (closed, answered)), *prices)
    return replace(plan, questions=found.questions, rewordings=found.rewordings, notes=notes)
