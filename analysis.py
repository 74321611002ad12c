"""Draw, resolve, score, calibrate and report what a database holds.

    python analysis.py                           redraw the plots
    python analysis.py --resolve outcomes.csv    record outcomes (id or question, outcome, date …)
    python analysis.py --resolve-one ID yes --date 2026-12-31 --source URL
    python analysis.py --score                   Brier, log score, calibration and skill
    python analysis.py --calibrate platt         fit a calibration on resolved forecasts
    python analysis.py --same-question ID OTHER  let two ids share a history and their outcomes
    python analysis.py --explain QUESTION [RUN]  how a final number came about, step by step
    python analysis.py --why QUESTION [RUN RUN]  what made a number change between two runs
    python analysis.py --report report.html      one self-contained page
    python analysis.py --list due                what is past its close date and not resolved

Exit codes: 0 done; 1 partly done, the output says what is missing; 2 nothing done; 130 interrupted.
"""

from __future__ import annotations

from preflight import startup

# isort: split
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Only what judges a command line: the rest is imported once that is right.
import config
from evaluation.command_line import RECORDING, option_problems, parser
from preflight.rules import ConfigError
from preflight.settings import load
from terminal.redaction import redacted
from terminal.screen import reader_may_leave, show, show_json

if TYPE_CHECKING:
    from argparse import Namespace

    from database import Database
    from evaluation.why import Engine
    from preflight.model_entries import ModelSpec
    from scoring.agent import BaseAgent

# Width of the lines of --why in a file or a pipe.
PLAIN_COLUMNS = 200


def act(arguments: Namespace, database: Database) -> int:
    """Do what the command line asks; return the exit code."""
    if arguments.resolve or arguments.resolve_one:
        return record_outcomes(arguments, database)
    if arguments.same_question:
        from evaluation.resolving import join

        show(join(database, *arguments.same_question))
    elif arguments.list:
        from evaluation.listing import listed, listing_lines

        rows = listed(database, arguments.list)
        output(arguments, rows, listing_lines(rows))
    elif arguments.score:
        score(arguments, database)
    elif arguments.calibrate:
        from evaluation.calibration import calibrate_database

        kind = arguments.calibrate
        stored = calibrate_database(database, arguments.forecaster, kind, arguments.record)
        output(arguments, redacted(stored.document()), stored.lines())
    elif arguments.explain:
        from evaluation.explanation import explain

        steps = explain(database, *arguments.explain)
        output(arguments, redacted(steps.document()), steps.lines())
    elif arguments.why:
        show_why(arguments, database)
    elif arguments.report:
        from reporting.report import write_report

        show(write_report(database, Path(arguments.report), arguments.run))
    else:
        redraw(database, Path(arguments.plots), arguments.run)
    return 0


def output(arguments: Namespace, document: Any, lines: Iterable[str]) -> None:
    """Print lines, or with ``--json`` the document of the same values."""
    if arguments.json:
        show_json(document)
    else:
        show(*lines)


def score(arguments: Namespace, database: Database) -> None:
    """Print the track record, and draw it."""
    from evaluation.resolved import collect
    from evaluation.scorecard import score_lines, score_rows
    from reporting.plots import draw_record, too_few
    from terminal.progress import waiting

    with waiting("scores"):
        record = collect(database)
        if arguments.json:
            show_json(score_rows(record, database))
            return
        lines = score_lines(record, database, arguments.by or ())
    show(*lines)
    if arguments.no_plots:
        return
    lines = too_few(record)
    if paths := draw_record(record, arguments.plots):
        lines.append(f"{', '.join(path.name for path in paths)} in {arguments.plots}")
    show("", *lines)


def show_why(arguments: Namespace, database: Database) -> None:
    """Print what made a number change; what engines print goes into the log file."""
    from evaluation.why import why
    from logger import configure_root_logger
    from terminal.library_output import libraries_to_file

    name, *runs = arguments.why
    configure_root_logger()
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else PLAIN_COLUMNS
    with libraries_to_file():
        change = why(database, name, runs, open_engine, passages=arguments.passages)
    output(arguments, redacted(change.document()), change.lines(columns))


def open_engine(settings: Mapping[str, Any]) -> Engine:
    """Return what loads the models of a stored run with today's settings.

    Its agents raise AgentError where a model needs an engine and none can start here.
    """
    import importlib.util

    from engine.environment import prepare_environment, vllm_is_cpu_build
    from preflight.machine import visible_gpus
    from scoring.tasks import AgentError

    # Before any library reads it: only weights that are here are read.
    os.environ["HF_HUB_OFFLINE"] = "1"
    prepare_environment()
    from agents_vllm import Agent
    from engine.remote_agent import RemoteAgent
    from evaluation.why import Engine

    demo = settings.get("demo") is True
    engine = dict(settings.get("vllm") or {}) if demo else config.VLLM_CONFIG

    def agent(spec: ModelSpec) -> BaseAgent:
        if spec.addresses:
            return RemoteAgent(spec)
        if importlib.util.find_spec("vllm") is None:
            raise AgentError("vLLM is not installed here")
        if not vllm_is_cpu_build() and visible_gpus() == 0:
            raise AgentError("this is vLLM's CUDA build and no NVIDIA GPU is visible")
        return Agent(spec, vllm_config=engine)

    return Engine(partial(demo_model, settings) if demo else stored_model, agent)


def stored_model(name: str, path: str) -> ModelSpec:
    """Return a stored run's model as config.py defines it, else by its path alone.

    What a database says must not switch on ``trust_remote_code``.

    Raises:
        ConfigError: the path is no model path any more.
    """
    from preflight.model_entries import ModelSpec, model_spec
    from terminal.redaction import redact

    table = {**config.OPEN_FORECASTERS, **config.FORECAST_MODEL_PATHS_VLLM}
    if name in table and redact((spec := model_spec(name, table)).path) == path:
        return spec
    model_spec(path, {})
    return ModelSpec(name, path)


def demo_model(settings: Mapping[str, Any], name: str, path: str) -> ModelSpec:
    """Return the demonstration's model, with the prefix of its run; another as stored.

    Raises:
        ConfigError: it is not packaged here.
    """
    from engine.packaged_model import prepare_model
    from preflight.model_entries import ModelSpec
    from preflight.packages import PackageError

    entry = (settings.get("models") or {}).get(name)
    if not isinstance(entry, Mapping) or entry.get("path") != path:
        return stored_model(name, path)
    try:
        folder = str(prepare_model())
    except PackageError as error:
        raise ConfigError([f"{path}: {error}"]) from error
    return ModelSpec(name, folder, answer_prefix=str(entry.get("answer_prefix") or ""))


def redraw(database: Database, plots_dir: Path, run_id: int | None) -> None:
    """Draw a run (default: the newest) and the histories; print count and folder."""
    from evaluation.resolved import chosen_run
    from reporting.plots import draw_history, draw_run

    paths = draw_run(database, chosen_run(database, run_id, "draw"), plots_dir)
    paths += draw_history(database, plots_dir)
    show(f"{len(paths)} plots in {plots_dir}")


def record_outcomes(arguments: Namespace, database: Database) -> int:
    """Record the outcomes of a file, or one; return 1 when any belongs to no question."""
    from evaluation.outcomes import ResolutionFile, read_resolutions
    from evaluation.resolving import one_outcome, resolve

    if arguments.resolve:
        path = Path(arguments.resolve)
        lines, complete = resolve(database, read_resolutions(path), path)
    else:
        question, outcome = arguments.resolve_one
        known = database.runs.known_questions()
        entry = one_outcome(question, outcome, known, arguments.date, arguments.source)
        lines, complete = resolve(database, ResolutionFile([entry]))
    show(*lines)
    return 0 if complete else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code (see the module's first lines)."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if problems := startup.option_problems(argv) or load(config, argv):
        return refuse(problems)
    arguments = parser().parse_args(argv)
    if problems := option_problems(arguments):
        return refuse(problems)
    from database import Database
    from evaluation.resolved import AnalysisError
    from questions.cells import InputError
    from reporting.plot_data import PlotError
    from storage.errors import DatabaseError

    code = 0  # also where the reader of our output has left: what was asked for is recorded
    try:
        config.validate_config()
        reading = not any(getattr(arguments, name) for name in RECORDING)
        with (
            reader_may_leave(),
            Database(arguments.database, create=False, reading=reading) as database,
        ):
            code = act(arguments, database)
    except ConfigError as error:
        return refuse(error.problems)
    except (AnalysisError, DatabaseError, PlotError, InputError) as error:
        return refuse([str(error)])
    except KeyboardInterrupt:
        return 130
    return code


def refuse(problems: Sequence[str]) -> int:
    """Print problems and return the exit code of nothing done."""
    show(*(f"analysis.py: {problem}" for problem in problems), error=True)
    return 2


if __name__ == "__main__":
    sys.exit(main())
