"""From a stored run to the plan that finishes it, or scores it again."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import config
from database import Database
from preflight.model_entries import ModelSpec, model_spec
from preflight.rules import ConfigError
from questions.question import Question
from runs.command_line import UsageError, settled_by_the_run
from runs.environment import environment_problems
from runs.manifest import Manifest, too_old
from runs.plan import DEMO_LOGIC, Plan, engine_settings, model_table, thinking_problems
from runs.start import being_worked_on, working_on
from storage.records import Run


def stored_plan(arguments: argparse.Namespace, *, environment: bool = False) -> Plan:
    """Return the plan of ``--resume`` or ``--replay``.

    What was asked comes from the stored run, the settings from config.py. ``environment`` says
    whether the engine must be able to start here.

    Raises:
        UsageError: one line for every problem found.
        DatabaseError: the database cannot be used.
    """
    problems = settled_by_the_run(arguments)
    path = Path(arguments.database or config.DATABASE_PATH)
    try:
        config.validate_config()
        if problems:
            raise UsageError("\n".join(problems))
        run, questions, manifest = _stored(path, arguments.replay, arguments.resume)
        specs, logic = stored_specs(manifest), _stored_logic(manifest)
    except ConfigError as error:
        raise UsageError("\n".join([*problems, *error.problems])) from None
    settings = manifest.settings
    engine = engine_settings(demo=settings["demo"])
    if problems := thinking_problems(specs, engine):
        raise UsageError("\n".join(problems))
    if environment:
        models = [] if settings["demo"] else [*specs, *([logic] if logic else [])]
        if problems := environment_problems(engine, models):
            raise UsageError("\n".join(problems))
    return Plan(
        questions=questions,
        specs=specs,
        database=path,
        plots=None if arguments.no_plots else Path(arguments.plots or config.PLOTS_DIR),
        as_of=run.as_of,
        retrieval=settings["retrieval"] is not None,
        documents=settings["documents"],
        demo=settings["demo"],
        coherence=settings["coherence"],
        backtest=settings["backtest"],
        vllm_config=engine,
        today=settings["today"],
        resume=run.id if arguments.resume else None,
        origin=run.id if arguments.replay else run.origin_run,
        origin_retrieval=settings["retrieval"],
        logic=logic,
        ablate=settings.get("ablate", False),
    )


def _stored(
    path: Path, replay: str | None, resume: str | None
) -> tuple[Run, list[Question], Manifest]:
    """Read the run to replay or to resume, which no other process may be working on."""
    with Database(path, create=False) as database:
        run = find_run(database, replay or resume or "latest")
        questions = stored_questions(database, run.id)
        if resume and run.status == "running" and (worker := working_on(run.owner)):
            raise UsageError(being_worked_on(run.id, worker))
        return run, questions, Manifest.stored(database, run)


def find_run(database: Database, wanted: str | int) -> Run:
    """Return the run of that number, or the latest unfinished one for "latest".

    Raises:
        UsageError: there is none, or it is not a number.
    """
    if wanted == "latest":
        run = database.runs.unfinished()
        if run is None:
            raise UsageError(f"{database.path}: every run is finished; nothing is left to resume")
        return run
    runs = {str(run.id): run for run in database.runs.all()}
    if str(wanted) not in runs:
        latest = ", ".join(list(runs)[-10:]) or "none"
        raise UsageError(f"{database.path}: there is no run {wanted!r}; stored: {latest}")
    return runs[str(wanted)]


def stored_specs(manifest: Manifest) -> list[ModelSpec]:
    """Return a stored run's models as config.py defines them today.

    A model that config.py does not know is taken by its stored path with the defaults for
    everything else: what a database says must not switch on ``trust_remote_code``. The comparison
    of manifests finds every difference. The demonstration's model is not known yet.

    Raises:
        ConfigError: a stored path is no model path any more (a folder that is gone).
    """
    settings, table = manifest.settings, model_table()
    specs = []
    for name in [] if settings["demo"] else settings["model_order"]:
        path = settings["models"][name]["path"]
        if name in table:
            specs.append(model_spec(name, table))
        else:
            model_spec(path, {})
            specs.append(ModelSpec(name, path))
    return specs


def _stored_logic(manifest: Manifest) -> ModelSpec | None:
    if manifest.settings.get("logic") is None:
        return None
    if manifest.settings["demo"]:
        return DEMO_LOGIC
    return model_spec(config.DEFAULT_LOGIC_MODEL_PATH, model_table())


def stored_questions(database: Database, run_id: int) -> list[Question]:
    """Return the questions of a run as it asked them, in its order.

    Raises:
        UsageError: the run was stored by a Forecaster that did not keep them, or is damaged.
    """
    asked = database.runs.questions(run_id)
    if not asked:
        raise too_old(run_id)
    for one in asked:
        if one.question.id != one.id:
            raise UsageError(
                f"run {run_id}: its stored questions are damaged ({one.id!r} is stored as"
                f" {one.question.id!r}); start a new run"
            )
    return [one.question for one in asked]


def resume_command(run: int | str, database: Path) -> str:
    """Return the command that finishes a run, given by its number or as "latest"."""
    command = f"python forecaster.py --resume {run}"
    if str(database) == config.DATABASE_PATH:
        return command
    return f"{command} --database {shlex.quote(str(database))}"
