"""What a run depends on is changed at every stage of it: the exit code, one line, nothing lost, and resuming finishes it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

import ensemble
import forecaster
from database import Database
from evidence import documents, freshness
from questions.question import Question
from reporting import plots, svg
from runs import gather_evidence, plan, start, summary
from scoring.tasks import AgentError
from storage import connection as storage_connection
from storage.connection import Connection
from terminal.interrupts import Interrupts
from tests.support import stub_cli
from tests.support.stub_cli import StubAgent, stub_main
from tests.support.stub_run import rows
from tests.support.wiki_server import SmallWiki, answer

STAGES: Final = (
    "before the run", "before the evidence", "after the evidence", "within a batch", "between two models",
    "before pooling", "before the plots", "before the table",
)  # fmt: skip
FILE: Final = "id,question\nbridge,Will the bridge open?\ntunnel,Will the tunnel open?\nport,Will the port open?\n"
MODELS: Final = ("stub-a", "stub-b")
TODAY: Final = "2026-06-15"
DATABASE_FILES: Final = ("run.db", "run.db-wal", "run.db-shm")


class FolderAgent(StubAgent):
    """The stand-in, with weights that it reads once from the model's folder, as an engine does."""

    def load(self) -> None:
        try:
            Path(self.spec.path, "model.safetensors").read_bytes()
            json.loads(Path(self.spec.path, "config.json").read_text())
        except (OSError, ValueError) as error:
            raise AgentError(f"{self.name} did not load: {self.spec.path}: {error}") from error
        super().load()


class World:
    """A run in the current folder, and everything it depends on. ``disturb`` is called once, at ``stage``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, wiki: SmallWiki) -> None:
        self.monkeypatch = monkeypatch
        self.wiki = wiki
        self.day = TODAY
        self.stage = ""
        self.disturb: Callable[[], object] = lambda: None
        self.open: list[Connection] = []
        # What is replaced until ``restore``.
        self.temporary = pytest.MonkeyPatch()
        Path("q.csv").write_text(FILE)
        Path("papers").mkdir()
        Path("papers/a.txt").write_text(
            "The bridge opens in May. The tunnel and the port open in June."
        )
        Path("plots").mkdir()
        Path("plots/of_an_earlier_run.svg").write_bytes(b"svg")
        with Database("other.db") as other:
            other.runs.start(
                settings={}, versions={}, seed=1, as_of=None, questions=[Question("Other?")]
            )
        for name in MODELS:
            Path(name).mkdir()
            Path(name, "config.json").write_text("{}")
            Path(name, "model.safetensors").write_bytes(b"\0" * 64 + name.encode())
        self._watch()

    def at(self, stage: str) -> None:
        """Let what was to happen at this stage happen, once."""
        if stage == self.stage:
            self.stage = ""
            self.disturb()

    def _watch(self) -> None:
        """Have each stage call ``at``, and replace what is slow: the figures."""
        world, patch = self, self.monkeypatch.setattr

        def before(owner: Any, name: str, stage: str) -> None:
            original = getattr(owner, name)

            def watched(*arguments: Any, **named: Any) -> Any:
                world.at(stage)
                return original(*arguments, **named)

            patch(owner, name, watched)

        class Agent(FolderAgent):
            def score(self, tasks: Any) -> Any:
                for number, outcome in enumerate(super().score(tasks)):
                    if number == 1:
                        world.at("within a batch")
                    yield outcome

            def shutdown(self) -> None:
                world.at("between two models")

        original, opened = gather_evidence.gather_evidence, Connection._open

        def gathered(*arguments: Any) -> Any:
            found = original(*arguments)
            world.at("after the evidence")
            return found

        def noted(self: Connection) -> None:
            world.open.append(self)
            opened(self)

        patch(stub_cli, "make_agent", Agent)
        patch(gather_evidence, "gather_evidence", gathered)
        patch(Connection, "_open", noted)
        before(start, "begin", "before the run")
        before(gather_evidence, "gather_evidence", "before the evidence")
        before(ensemble.Ensemble, "pool_all", "before pooling")
        before(forecaster, "draw", "before the plots")
        before(summary, "summary", "before the table")
        patch(plan, "current_day", lambda: world.day)
        for module in (storage_connection, freshness):
            patch(module, "utc_now", lambda: f"{world.day}T12:00:00Z")
        patch(svg, "render", lambda *_: "svg")
        patch(plots, "history_figures", lambda *_: iter(()))
        patch(plots, "overview_figures", lambda *_: iter(()))
        asked = "SELECT question_id FROM run_questions WHERE run_id = ?"
        patch(
            plots,
            "run_figures",
            lambda db, run: [(r[0], None) for r in db.connection.query(asked, (run,))],
        )

    def restore(self) -> None:
        """Put everything back in its place."""
        for name in (*DATABASE_FILES, "plots", "papers", *MODELS):
            put_back(name)
        self.wiki.script, self.day = [self.wiki.serve], TODAY
        self.temporary.undo()

    def run(self, *arguments: str) -> int:
        """The command line on the folder's two models, with its documents and the wiki; returns the exit code."""
        return stub_main(
            ["--database", "run.db", "--plots", "plots", *arguments],
            FORECAST_MODEL_PATHS_VLLM={name: f"./{name}" for name in MODELS},
            WIKIPEDIA_API_URL=f"{self.wiki.url}/w/api.php",
            WIKIPEDIA_MAX_ATTEMPTS=1,
            WIKIPEDIA_MIN_INTERVAL_SECONDS=0,
        )


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOG_DIR", str(tmp_path / "logs"))
    monkeypatch.setattr(Interrupts, "install", lambda _: None)
    with SmallWiki(
        {"Bridge": [("2026-01-01T00:00:00Z", "The bridge, the tunnel and the port are new.")]}
    ) as wiki:
        found = World(monkeypatch, wiki)
        yield found
        found.temporary.undo()


# --- what happens, and how it is made good ----------------------------------------------------------------


def put_aside(name: str) -> None:
    os.replace(name, f"{name}.aside")


def put_back(name: str) -> None:
    """As it was before ``put_aside``; nothing where it was not put aside."""
    path = Path(name)
    if not Path(f"{name}.aside").exists():
        return
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    os.replace(f"{name}.aside", name)


def removed(name):
    return lambda _: put_aside(name)


def a_file(name):
    def change(_):
        put_aside(name)
        Path(name).write_text("not what it was")

    return change


def another_database(_):
    put_aside("run.db")
    shutil.copyfile("other.db", "run.db")


def opened_in_its_place(_):
    """In the same process SQLite takes the log for the new file's own: what was only there is gone."""
    put_aside("run.db")
    with Database("run.db"):
        pass


def removed_with_its_log(_):
    for name in DATABASE_FILES:
        if Path(name).exists():
            put_aside(name)


def another_program(_):
    """Make a database of its own under the name; what is in our log must not be lost by it."""
    put_aside("run.db")
    code = "import sqlite3; sqlite3.connect('run.db').execute('CREATE TABLE mine (x)')"
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)


def read_only_database(world):
    # File modes do not bind root: SQLite's own switch gives the same error.
    world.open[-1].sql.execute("PRAGMA query_only = ON")


def emptied(_):
    os.truncate("run.db", 0)


def denied(*_):
    raise PermissionError(13, "Permission denied")


def read_only_plots(world):
    world.temporary.setattr(svg, "write_whole", denied)


def unreadable_documents(world):
    world.temporary.setattr(documents, "_document", denied)


def other_documents(_):
    put_aside("papers")
    Path("papers").mkdir()
    Path("papers/b.txt").write_text("The bridge stays closed, says the mayor of the town.")


def other_weights(name):
    def change(_):
        shutil.copytree(name, f"{name}.copy")
        put_aside(name)
        os.replace(f"{name}.copy", name)
        Path(name, "model.safetensors").write_bytes(b"\1" * 71)

    return change


def wiki_answers(step):
    def change(world):
        world.wiki.script = [step]

    return change


def hangs_up(handler):
    handler.close_connection = True


def day(value):
    def change(world):
        world.day = value

    return change


@dataclass(frozen=True)
class Case:
    """A change at any of ``stages``: the exit code and the one line that names the thing, None where it does not matter.

    ``again`` and ``why`` are the same of ``--resume`` afterwards, with everything back in its place unless ``kept``.
    """

    name: str
    change: Callable[[Any], object]
    stages: tuple[str, ...]
    code: int = 0
    line: str | None = None
    again: int = 0
    why: str | None = None
    kept: bool = False


GONE: Final = r"forecaster\.py: run\.db: was moved, deleted or replaced while .*; put the file back"
LOCKED: Final = r"forecaster\.py: run\.db: not writable; "
NO_RUN: Final = r"forecaster\.py: run\.db: there is no run '1'"
UNDRAWN: Final = r"error: plots/run1_bridge\.svg: the plot could not be written \("
UNLOADED: Final = r"error: stub-b failed: AgentError: stub-b did not load: \./stub-b: "
OTHER_WEIGHTS: Final = r"forecaster\.py: run 1 cannot be resumed: weights of {} was "
NO_FOLDER: Final = r"warning: --documents papers: there is no such folder"
FIRST, LAST = STAGES[:1], STAGES[-1:]
SEARCHING, SEARCHED = STAGES[:2], STAGES[2:]
# Until the second model is loaded, and from then on.
UNTIL_LOADED, LOADED = STAGES[:5], STAGES[5:]

CASES: Final = [
    *(
        case
        for name, change in {
            "database removed": removed("run.db"),
            "database removed with its log": removed_with_its_log,
            "database a file": a_file("run.db"),
            "another database": another_database,
            "another program's database": another_program,
        }.items()
        for case in (
            Case(name, change, FIRST, 2, GONE, 2, NO_RUN),
            Case(name, change, STAGES[1:6], 2, f"{GONE} and go on with: .*--resume 1"),
            Case(name, change, STAGES[6:], 2, GONE),
        )
    ),
    Case("database opened in its place", opened_in_its_place, STAGES[1:6], 2, f"{GONE} and go on with: ", 2, NO_RUN),
    Case("database read-only", read_only_database, FIRST, 2, LOCKED, 2, NO_RUN),
    Case("database read-only", read_only_database, STAGES[1:6], 2, f"{LOCKED}.* is kept, go on with: "),
    Case("database read-only", read_only_database, STAGES[6:]),
    Case("plots removed", removed("plots"), STAGES),
    Case("plots a file", a_file("plots"), STAGES[:7], 1, UNDRAWN),
    Case("plots a file", a_file("plots"), LAST),
    Case("plots read-only", read_only_plots, STAGES[:7], 1, UNDRAWN),
    Case("plots read-only", read_only_plots, LAST),
    Case("documents removed", removed("papers"), SEARCHING, 0, NO_FOLDER),
    Case("documents removed", removed("papers"), SEARCHED),
    Case("documents a file", a_file("papers"), SEARCHING, 0, NO_FOLDER),
    Case("documents a file", a_file("papers"), SEARCHED),
    Case("documents unreadable", unreadable_documents, SEARCHING, 0, r"warning: papers/a\.txt: left out \("),
    Case("documents unreadable", unreadable_documents, SEARCHED),
    Case("other documents", other_documents, STAGES),
    *(
        case
        for name, change in {"model removed": removed("stub-b"), "model a file": a_file("stub-b")}.items()
        for case in (Case(name, change, UNTIL_LOADED, 1, UNLOADED), Case(name, change, LOADED))
    ),
    Case("other weights", other_weights("stub-b"), UNTIL_LOADED, again=2, why=OTHER_WEIGHTS.format("stub-b")),
    Case("other weights", other_weights("stub-b"), LOADED),
    Case("other weights for good", other_weights("stub-b"), UNTIL_LOADED, kept=True),
    Case("other weights for good", other_weights("stub-b"), LOADED, again=2, why=OTHER_WEIGHTS.format("stub-b"), kept=True),
    Case("other weights of the first", other_weights("stub-a"), STAGES[3:]),
    Case("wiki gone", wiki_answers(hangs_up), STAGES),
    Case("wiki 500", wiki_answers(answer({}, status=500)), STAGES),
    Case("wiki talks nonsense", wiki_answers(answer(b"<html>")), STAGES),
    Case("wiki finds nothing", wiki_answers(answer({"query": {"pages": []}, "batchcomplete": True})), STAGES),
    Case("clock a year ahead", day("2027-06-15"), STAGES),
    Case("clock a year back", day("2025-06-15"), SEARCHING, 0, r"warning: Bridge: 'Bridge' is dated .*, newer than "),
    Case("clock a year back", day("2025-06-15"), SEARCHED),
]  # fmt: skip


def at_most_one_line(said: Any, expected: str | None) -> None:
    """Nothing but what a good run says, and the line; how the settings can be set back may follow it."""
    assert "Traceback" not in said.err + said.out
    signs = ("forecaster.py: ", "error: ", "warning: ")
    lines = [line for line in said.err.splitlines() if line.startswith(signs)]
    lines = [line for line in lines if not line.startswith("forecaster.py: set them back")]
    if expected is None:
        # What is wrong with a wiki is printed below the table; there may be a line about it here too.
        assert [line for line in lines if "127.0.0.1" not in line] == []
    else:
        (line,) = lines
        assert re.match(expected, line), line


def check_stored(out: str, *, run: int = 1, complete: bool = True) -> None:
    """Each forecast once, none older than its run, and what the table shows is in the file."""
    found = rows(
        Path("run.db"),
        f"SELECT question_id, agent, count(*) FROM forecasts WHERE run_id = {run} AND error IS NULL GROUP BY 1, 2",
    )
    assert {count for *_, count in found} <= {1}
    assert not complete or len(found) == 3 * len(MODELS)
    sql = (
        "SELECT count(*) FROM {} t JOIN runs r ON r.id = t.run_id WHERE t.created_at < r.started_at"
    )
    assert (
        rows(Path("run.db"), sql.format("forecasts"))
        == rows(Path("run.db"), sql.format("ensembles"))
        == [(0,)]
    )
    assert rows(Path("run.db"), "PRAGMA integrity_check") == [("ok",)]
    pools = dict(
        rows(Path("run.db"), f"SELECT question_id, mean FROM ensembles WHERE run_id = {run}")
    )
    for name in ("bridge", "tunnel", "port") if out else ():
        shown = re.search(rf"Will the {name} open\? +([\d.]+) %", out)
        assert shown
        assert float(shown[1]) == pytest.approx(pools[name], abs=0.051)


ASKED: Final = ("--questions", "q.csv", "--documents", "papers")


@pytest.mark.parametrize(
    ("case", "stage"),
    [
        pytest.param(case, stage, id=f"{case.name} {stage}")
        for case in CASES
        for stage in case.stages
    ],
)
def test_a_thing_changes_during_a_run(world, capsys, case, stage):
    world.stage, world.disturb = stage, lambda: case.change(world)
    code = world.run(*ASKED)
    said = capsys.readouterr()
    assert world.stage == "", "the stage was not reached"
    assert code == case.code, said.err
    at_most_one_line(said, case.line)
    # What ends with 2 shows no table; what ends otherwise does.
    assert (said.out == "") == (code == 2)
    if case.name.startswith("wiki") and "nothing" not in case.name:
        assert ("Incomplete evidence: " in said.out) == (stage in SEARCHING)
    if not case.kept:
        world.restore()
    if code != 2:
        check_stored(said.out, complete=code == 0 or "plots" in case.name)
    again = world.run("--resume", "1")
    said = capsys.readouterr()
    assert again == case.again, said.err
    if again == 2:
        at_most_one_line(said, case.why)
    if case.why != NO_RUN:
        check_stored(said.out)


@pytest.mark.parametrize("stage", STAGES[:-1])
def test_a_database_that_is_emptied_in_its_place_is_not_said_to_be_kept(world, capsys, stage):
    """By a program that writes into the file; SQLite goes on with the pages that it has read, as far as it can."""
    world.run(*ASKED)
    capsys.readouterr()
    world.stage, world.disturb = stage, lambda: emptied(world)
    assert world.run(*ASKED) == 2
    said = capsys.readouterr()
    at_most_one_line(
        said, r"forecaster\.py: run\.db: the database is damaged; restore a backup or "
    )
    assert said.out == ""
    assert "is kept" not in said.err


INTERRUPTED: Final = [
    Case("database removed", removed("run.db"), (), 2, r"forecaster\.py: run\.db: no such database"),
    Case("database a file", a_file("run.db"), (), 2, r"forecaster\.py: run\.db: not an SQLite database; "),
    Case("another database", another_database, (), 2, r"forecaster\.py: run 1: .*; start a new run"),
    Case("plots removed", removed("plots"), ()),
    Case("plots a file", a_file("plots"), (), 1, UNDRAWN),
    Case("documents removed", removed("papers"), ()),
    Case("documents a file", a_file("papers"), ()),
    Case("other documents", other_documents, ()),
    Case("first model removed", removed("stub-a"), (), 2, r"forecaster\.py: .*stub-a.* no folder of that name; "),
    Case("second model a file", a_file("stub-b"), (), 2, r"forecaster\.py: .*stub-b.*; this one is a file; "),
    Case("other weights of the first", other_weights("stub-a"), (), 2, OTHER_WEIGHTS.format("stub-a")),
    Case("other weights of the second", other_weights("stub-b"), (), again=2, why=OTHER_WEIGHTS.format("stub-b")),
    Case("wiki gone", wiki_answers(hangs_up), ()),
    Case("wiki finds nothing", wiki_answers(answer({"query": {"pages": []}, "batchcomplete": True})), ()),
    Case("clock a year ahead", day("2027-06-15"), ()),
    Case("clock a year back", day("2025-06-15"), ()),
]  # fmt: skip


@pytest.mark.parametrize("case", INTERRUPTED, ids=lambda case: case.name)
def test_a_thing_changes_between_an_interrupt_and_the_resuming(world, capsys, case):
    def interrupt():
        raise KeyboardInterrupt

    world.stage, world.disturb = "within a batch", interrupt
    assert world.run(*ASKED) == 130
    capsys.readouterr()
    check_stored("", complete=False)
    case.change(world)
    assert world.run("--resume", "1") == case.code
    at_most_one_line(capsys.readouterr(), case.line)
    world.restore()
    assert world.run("--resume", "1") == case.again
    at_most_one_line(capsys.readouterr(), case.why)
    check_stored("")
