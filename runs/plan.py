"""The plan of a new run: everything it needs, judged at once, before anything is started."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import config
from preflight.model_entries import ModelSpec, model_spec
from preflight.rules import ConfigError
from questions.checks import coherence_questions
from questions.files import (
    Reading,
    answered_note,
    closed_note,
    read_question_file,
    unique_questions,
)
from questions.question import Question, QuestionError
from runs.command_line import UsageError, as_of_date, conflicts
from runs.environment import environment_problems

if TYPE_CHECKING:
    from database import Rewording

# The demonstration's one model is also its logic model; this takes its place until it is prepared.
DEMO_LOGIC: Final = ModelSpec("demo", "demo")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Plan:
    """Everything a run needs.

    Args:
        questions: in the order in which they are asked.
        specs: the models in the order in which they are loaded.
        database: the file in which the run is recorded.
        plots: the folder for its plots.
        as_of: ISO date of the whole run, None for a live one; a question's own day comes first.
        retrieval: whether evidence is searched for.
        documents: folder of the user's own evidence.
        backtest: file of the resolved questions.
        vllm_config: the engine's settings.
        today: the day the models are told is today, where a question has no day of its own.
        resume: the run to finish.
        origin: the run whose evidence and questions are scored again.
        logic: the model that writes reasoning before the number.
        ablate: whether each forecast is also made without reasoning and without evidence.
        rewordings: new wordings that the user accepted.
        notes: lines about the questions to log when the run begins.
    """

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
    today: str
    resume: int | None = None
    origin: int | None = None
    logic: ModelSpec | None = None
    ablate: bool = False
    rewordings: tuple[Rewording, ...] = ()
    notes: tuple[str, ...] = ()


class Problems(list[str]):
    """Collect the lines of every problem, so that all are reported at once."""

    def attempt(self, action: Callable[[], Value], default: Value) -> Value:
        """Return what ``action`` returns, or ``default`` after noting why it cannot."""
        try:
            return action()
        except ConfigError as error:
            self.extend(error.problems)
        except (QuestionError, UsageError) as error:
            self.append(str(error))
        return default

    def refuse(self) -> None:
        """Raise UsageError with one line for each problem, if there is any."""
        if self:
            raise UsageError("\n".join(dict.fromkeys(self)))


def make_plan(
    arguments: argparse.Namespace, listed: Sequence[Question], *, environment: bool = False
) -> Plan:
    """Judge command line and configuration at once, and with ``environment`` this machine too.

    Args:
        arguments: the command line.
        listed: the questions that are asked when none are given.
        environment: whether the engine must be able to start here.

    Raises:
        UsageError: one line for every problem found.
    """
    problems = Problems()
    problems.attempt(config.validate_config, None)
    asked = Reading([])
    # A sample is drawn with a setting, which must be right for it.
    if not (problems and arguments.sample):
        asked = problems.attempt(lambda: asked_questions(arguments, listed), asked)
    as_of = problems.attempt(lambda: as_of_date(arguments.as_of), None)
    specs = [] if arguments.demo else _models(arguments.models, problems)
    logic: ModelSpec | None = None
    if arguments.logic and arguments.demo:
        logic = DEMO_LOGIC
    elif arguments.logic and isinstance(config.DEFAULT_LOGIC_MODEL_PATH, str):
        name, table = config.DEFAULT_LOGIC_MODEL_PATH, config.FORECAST_MODEL_PATHS_VLLM
        logic = problems.attempt(partial(model_spec, name, table), None)
    problems += conflicts(arguments)
    if arguments.documents:
        problems.attempt(lambda: check_documents(arguments.documents), None)
    engine = engine_settings(demo=arguments.demo)
    if environment:
        models = [] if arguments.demo else [*specs, *([logic] if logic else [])]
        problems += environment_problems(engine, models)
    problems.refuse()
    default = "demo.db" if arguments.demo else config.DATABASE_PATH
    return Plan(
        questions=asked.questions,
        specs=specs,
        database=Path(arguments.database or default),
        plots=Path(arguments.plots or config.PLOTS_DIR),
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
        notes=tuple(asked.notes),
    )


def _models(names: Sequence[str] | None, problems: Problems) -> list[ModelSpec]:
    configured = config.FORECAST_MODEL_PATHS_VLLM
    wanted = names or (configured if isinstance(configured, Mapping) else ())
    found = [problems.attempt(partial(model_spec, name, configured), None) for name in wanted]
    specs = [spec for spec in found if spec is not None]
    if len({spec.name for spec in specs}) < len(specs):
        problems.append(
            "--models names two models alike; forecasts are stored by name, so name each once"
        )
    return specs


def engine_settings(*, demo: bool) -> dict[str, Any]:
    """Return ``VLLM_CONFIG`` of config.py or of the demonstration; a wrong one as it is."""
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
    from evidence.documents import DocumentError, check_folder

    try:
        check_folder(folder)
    except DocumentError as error:
        raise UsageError(str(error)) from None


def asked_questions(arguments: argparse.Namespace, listed: Sequence[Question]) -> Reading:
    """Return the questions of the command line, a file, the demonstration or ``listed``."""
    if arguments.questions:
        reading = read_question_file(arguments.questions)
    elif arguments.backtest:
        from evaluation.backtest import fair_order, read_backtest, sample

        reading = read_backtest(arguments.backtest)
        count = len(reading.questions) if arguments.sample is None else arguments.sample
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
        reading = Reading(checked.questions, [*reading.notes, *checked.notes])
    return reading


def admitted(plan: Plan, arguments: argparse.Namespace) -> Plan:
    """Return the plan without the questions that its database says are not to be asked again.

    Raises:
        UsageError: an id was another question's, or no question is left; one line each.
        DatabaseError: the database cannot be read.
    """
    from evaluation.known import Known
    from runs.identity import admit

    known = Known.of(plan.database)
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
    notes = (*plan.notes, *found.notes, *filter(None, (closed, answered)))
    return replace(plan, questions=found.questions, rewordings=found.rewordings, notes=notes)
