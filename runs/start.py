"""Start a run, and keep it to the one process that works on it."""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from database import Database
from engine.environment import prepare_environment
from evaluation.run_differences import differences
from preflight.packages import PackageError
from runs.command_line import UsageError
from runs.environment import log_environment
from runs.finish import backtest_cautions
from runs.gather_evidence import make_retriever
from runs.manifest import Manifest
from runs.plan import Plan

if TYPE_CHECKING:
    from semanticretriever import SemanticRetriever

logger = logging.getLogger("forecaster")


def prepare(
    plan: Plan, database: Database, *, environment: bool
) -> tuple[Plan, SemanticRetriever | None]:
    """Return the plan, with the demonstration's model if wanted, and the retriever.

    ``environment`` says whether an engine will be started here.

    Raises:
        UsageError: a package of the demonstration or the folder of documents is missing.
    """
    if environment:
        if plan.origin is not None:
            # Before any library reads it: a replay scores with the weights that are here.
            os.environ["HF_HUB_OFFLINE"] = "1"
        prepare_environment()
        log_environment()
    try:
        if plan.demo:
            from runs import demo

            spec = demo.model_spec()
            plan = replace(plan, specs=[spec], logic=spec if plan.logic is not None else None)
        return plan, make_retriever(plan, database)
    except PackageError as error:
        raise UsageError(str(error)) from error


def begin(plan: Plan, database: Database) -> int:
    """Start the run, or take over the one to resume; return its number.

    Raises:
        UsageError: what decides the numbers differs from that of the run to resume, one line each;
            or another process works on it.
    """
    manifest = Manifest.of(plan)
    if plan.resume is not None:
        take_over(plan.resume, manifest, database)
        run_id = plan.resume
    else:
        run_id = _new_run(plan, manifest, database)
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
    return run_id


def _new_run(plan: Plan, manifest: Manifest, database: Database) -> int:
    run_id = database.runs.start(
        settings=manifest.settings,
        versions=manifest.versions,
        seed=manifest.seed,
        as_of=plan.as_of,
        questions=plan.questions,
        owner=this_process(),
        origin_run=plan.origin,
        rewordings=plan.rewordings,
    )
    if plan.origin is not None:
        origin = Manifest.stored(database, database.runs.get(plan.origin))
        for difference in differences(origin, manifest):
            logger.warning("replayed with another setting: %s", difference)
    return run_id


def take_over(run_id: int, manifest: Manifest, database: Database) -> None:
    """Make this process the one that works on a run; UsageError as in ``begin``."""
    changed = []
    for difference in differences(Manifest.stored(database, database.runs.get(run_id)), manifest):
        if difference.harmless:
            logger.warning("resumed with another %s", difference)
        else:
            changed.append(f"run {run_id} cannot be resumed: {difference}")
    if changed:
        raise UsageError("\n".join([*changed, "set them back to resume it, or start a new run"]))
    if worker := database.runs.claim(run_id, this_process(), working_on):
        raise UsageError(being_worked_on(run_id, worker))


def being_worked_on(run_id: int, worker: str) -> str:
    """Say that another process works on a run."""
    return f"run {run_id} is being worked on by {worker}; wait for it, or end it first"


def this_process() -> str:
    """Identify this process: host, process id, start time in clock ticks since boot."""
    return f"{socket.gethostname()} {os.getpid()} {_started(os.getpid())}"


def working_on(owner: str | None) -> str | None:
    """Name the process of this machine that still works on a run, if any."""
    host, _, rest = (owner or "").partition(" ")
    process, _, started = rest.partition(" ")
    if host != socket.gethostname() or not process.isdigit() or int(process) == os.getpid():
        return None
    return f"process {process} of this machine" if _started(int(process)) == started != "" else None


def _started(process: int) -> str:
    """Return field 22 of /proc/PID/stat (proc(5)); "" for no process or a zombie."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]
