"""What a run depends on is changed, removed or made read-only while it works: one line, the right exit code, nothing lost silently."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import analysis
import config
import ensemble
import forecaster
from database import Database
from evidence.documents import find_documents
from questions.question import Question
from runs import gather_evidence, manifest
from semanticretriever import SemanticRetriever
from storage.errors import database_error
from storage.forecasts import ForecastStore
from storage.records import Resolution
from storage.runs import RunStore
from terminal.interrupts import Interrupts
from tests.runs.test_faults import modes_count
from tests.storage.test_database import stored_schema
from tests.support import kill_driver
from tests.support.checkpoints import inspect
from tests.support.object_store import ObjectStore
from tests.support.record_database import small
from tests.support.stub_run import stub_run

ROOT = Path(__file__).parents[2]


def rows(path, sql):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


# --- the database -------------------------------------------------------------------------------------


class Disturbed(kill_driver.Agent):
    """Answers, and calls ``disturb`` before or after its fourth answer."""

    disturb = staticmethod(lambda: None)
    when = "before"

    def score(self, tasks):
        for outcome in super().score(tasks):
            if outcome.index == 3 and self.when == "before":
                Disturbed.disturb()
            yield outcome
            if outcome.index == 3 and self.when == "after":
                Disturbed.disturb()


@pytest.fixture
def forecast(tmp_path, monkeypatch, capsys):
    """Run the command line with an agent that may disturb; returns the exit code and what was said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(config, "FORECAST_MODEL_PATHS_VLLM", {"one": "owner/one"})
    monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", "one")
    monkeypatch.setattr(manifest, "weights_identity", lambda path: "unknown")
    monkeypatch.setattr(ensemble, "weights_identity", lambda path: "unknown")
    monkeypatch.setattr(Interrupts, "install", lambda _: None)
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    monkeypatch.setattr(Disturbed, "disturb", staticmethod(lambda: None))

    def run(*arguments, disturb=lambda: None, when="before"):
        monkeypatch.setattr(Disturbed, "disturb", staticmethod(disturb))
        monkeypatch.setattr(Disturbed, "when", when)
        code = forecaster.main([*arguments, "--database", "run.db"], agent_factory=Disturbed)
        return code, capsys.readouterr()

    return run


QUESTIONS = [part for n in range(4) for part in ("--question", f"Will {n} happen?")]


def delete():
    Path("run.db").unlink()


def move():
    os.replace("run.db", "elsewhere.db")


def replace():
    os.replace("other.db", "run.db")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("disturb", [delete, move, replace])
def test_a_database_that_is_gone_ends_the_run_with_one_line(forecast, disturb, when):
    with Database("other.db") as other:
        other.runs.start(
            settings={}, versions={}, seed=1, as_of=None, questions=[Question("Other?")]
        )
    before = Path("other.db").read_bytes()
    code, said = forecast(*QUESTIONS, "--no-retrieval", disturb=disturb, when=when)
    assert code == 2
    (line,) = [line for line in said.err.splitlines() if line.startswith("forecaster.py: ")]
    assert "run.db: was moved, deleted or replaced while this run was using it" in line
    assert "--resume 1 --database run.db" in line
    assert said.out == ""
    if disturb is replace:
        # Nothing of ours is in the other one, not through the log that kept its name either.
        with Database("run.db"):
            pass
        assert rows("run.db", "SELECT text FROM questions") == [("Other?",)]
        assert rows("run.db", "PRAGMA integrity_check") == [("ok",)]
        assert Path("run.db").read_bytes()[100:] == before[100:]


def test_a_database_that_is_put_back_is_resumed(forecast):
    assert forecast(*QUESTIONS, "--no-retrieval", disturb=move)[0] == 2
    os.replace("elsewhere.db", "run.db")
    assert len(rows("run.db", "SELECT * FROM forecasts")) == 3
    code, _ = forecast("--resume", "1")
    assert code == 0
    assert len(rows("run.db", "SELECT * FROM forecasts")) == 4


@pytest.mark.parametrize("disturb", [delete, move, replace])
def test_a_database_that_is_gone_while_the_run_is_drawn_is_not_a_finished_run(
    forecast, monkeypatch, disturb
):
    with Database("other.db"):
        pass
    monkeypatch.setattr(forecaster, "draw", lambda *_: disturb() or True)
    code, said = forecast(*QUESTIONS, "--no-retrieval")
    assert code == 2
    assert (
        "run.db: was moved, deleted or replaced while this run was using it"
        in said.err.splitlines()[-1]
    )
    assert said.out == ""


def test_a_disk_that_is_full_before_the_first_row_is_no_run_to_resume(forecast, monkeypatch):
    def full(self, **_):
        raise database_error(Path("run.db"), sqlite3.OperationalError("database or disk is full"))

    monkeypatch.setattr(RunStore, "start", full)
    code, said = forecast(*QUESTIONS, "--no-retrieval")
    assert code == 2
    assert said.err.splitlines()[-1] == (
        "forecaster.py: run.db: the disk is full; make room, then start the run again with the same command"
    )


def test_a_disk_that_fills_up_later_is_resumed(forecast, monkeypatch):
    def full(self, *_):
        raise database_error(Path("run.db"), sqlite3.OperationalError("database or disk is full"))

    with monkeypatch.context() as patched:
        patched.setattr(ForecastStore, "save", full)
        code, said = forecast(*QUESTIONS, "--no-retrieval")
    assert code == 2
    line = said.err.splitlines()[-1]
    assert "the disk is full; make room; what was forecast is kept, go on with: " in line
    assert "--resume 1 --database run.db" in line
    assert "same command" not in line
    assert forecast("--resume", "1")[0] == 0


# --- a run that another process works on ----------------------------------------------------------------

RESUME = """
import os, sys
sys.path[:0] = [{root!r}]
import config
import ensemble
import forecaster
from runs import manifest, start
from tests.support.kill_driver import Agent
config.FORECAST_MODEL_PATHS_VLLM = {{"one": "owner/one"}}
config.DEFAULT_MODEL_VLLM = "one"
manifest.weights_identity = ensemble.weights_identity = lambda path: "unknown"
forecaster.draw = lambda *_: True
out = os.dup(1)  # the program sends its own to the log file
begin_before = start.begin
def begin(plan, database):
    os.write(out, b"ready\\n")
    sys.stdin.readline()
    return begin_before(plan, database)
start.begin = begin
class Slow(Agent):
    def score(self, tasks):
        os.write(out, b"scoring\\n")
        sys.stdin.readline()
        yield from super().score(tasks)
sys.exit(forecaster.main(["--resume", "1", "--database", "run.db"], agent_factory=Slow))
"""


def test_of_two_resumes_at_once_the_second_is_told_at_once(forecast, tmp_path):
    """Both have looked at the run, whose process is dead, before either has claimed it."""

    def die():
        raise KeyboardInterrupt

    assert forecast(*QUESTIONS, "--no-retrieval", disturb=die)[0] == 130
    with contextlib.closing(sqlite3.connect("run.db")) as connection:
        connection.execute("UPDATE runs SET status = 'running', owner = 'nobody 1 1'")
        connection.commit()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RESUME.format(root=str(ROOT))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    first, second = processes
    first.stdin.write("\n")
    first.stdin.flush()
    assert first.stdout.readline() == "scoring\n"
    _, err = second.communicate("\n", timeout=60)
    assert second.returncode == 2
    assert f"run 1 is being worked on by process {first.pid} of this machine; wait for it" in err
    _, err = first.communicate("\n", timeout=60)
    assert first.returncode == 0, err
    assert rows("run.db", "SELECT count(*) FROM forecasts GROUP BY question_id") == [(1,)] * 4


# --- a database that may only be read -------------------------------------------------------------------

READ = """
import sys
sys.path[:0] = [{root!r}]
import analysis
from reporting import report, svg
report.inline = svg.render = lambda *_: ""
sys.exit(analysis.main(sys.argv[1:]))
"""


def read(folder, *arguments):
    """Run analysis.py where file modes count, for root too; no figure is rasterised."""
    return subprocess.run(
        [sys.executable, "-c", READ.format(root=str(ROOT)), *arguments, "--plots", str(folder / "plots")],
        capture_output=True, text=True, cwd=folder, preexec_fn=modes_count, check=False,
    )  # fmt: skip


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def archive(tmp_path):
    """A folder with a database of two resolved questions, that may be read only while the test uses it."""
    folder = tmp_path / "archive"
    folder.mkdir()
    with Database(small(folder / "run.db")) as database:
        for name in ("a", "b/ü"):
            database.outcomes.add([Resolution(name, 1, "2025-06-01")])
    yield folder
    folder.chmod(0o755)


def lock(folder):
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)


@pytest.mark.parametrize(
    "job", [["--score"], ["--report", "r.html"], []], ids=["score", "report", "redraw"]
)
def test_a_database_that_may_only_be_read_is_scored_and_reported(archive, tmp_path, job):
    lock(archive)
    before = content(archive)
    done = read(tmp_path, *job, "--database", "archive/run.db")
    assert (done.returncode, done.stderr) == (0, "")
    assert content(archive) == before


@pytest.mark.parametrize(
    "job",
    [["--resolve-one", "a", "yes"], ["--calibrate", "platt"], ["--same-question", "a", "b/ü"]],
)
def test_what_records_something_needs_a_database_that_can_be_written(archive, tmp_path, job):
    lock(archive)
    done = read(tmp_path, *job, "--database", "archive/run.db")
    assert done.returncode == 2
    assert "archive/run.db: not writable" in done.stderr


def test_a_file_alone_that_may_only_be_read_is_read_too(archive, tmp_path):
    (archive / "run.db").chmod(0o444)
    assert read(tmp_path, "--score", "--database", "archive/run.db").returncode == 0


def test_what_stands_in_the_log_of_a_crashed_run_is_read_as_well(archive, tmp_path):
    """The log beside a file in a folder that may not be written cannot be read in place."""
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    with Database(archive / "run.db") as database:
        database.runs.start(
            settings={},
            versions={},
            seed=1,
            as_of=None,
            questions=[Question("Only in the log?", id="log")],
        )
        for name in ("run.db", "run.db-wal"):
            shutil.copyfile(archive / name, crashed / name)
    assert rows(crashed / "run.db", "SELECT 1 FROM questions WHERE id = 'log'") == [(1,)]
    shutil.copyfile(archive / "run.db", crashed / "run.db")
    with Database(archive / "run.db") as database:
        database.runs.finish(3, "finished")
        for name in ("run.db", "run.db-wal"):
            shutil.copyfile(archive / name, crashed / name)
    lock(crashed)
    before = content(crashed)
    try:
        done = read(tmp_path, "--report", "r.html", "--run", "3", "--database", "crashed/run.db")
    finally:
        crashed.chmod(0o755)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Only in the log?" in (tmp_path / "r.html").read_text()
    assert "finished" in (tmp_path / "r.html").read_text()
    assert content(crashed) == before


def test_an_older_schema_that_may_only_be_read_is_read_from_a_copy(tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    stored_schema(1, old / "run.db")
    lock(old)
    before = content(old)
    try:
        done = read(tmp_path, "--report", "r.html", "--database", "old/run.db")
    finally:
        old.chmod(0o755)
    assert (done.returncode, done.stderr) == (0, "")
    assert content(old) == before


def test_questions_of_an_older_schema_that_may_only_be_read_are_not_joined_in_a_copy(tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    stored_schema(1, old / "run.db")
    with contextlib.closing(sqlite3.connect(old / "run.db")) as connection:
        ids = [name for (name,) in connection.execute("SELECT id FROM questions LIMIT 2")]
    lock(old)
    try:
        done = read(tmp_path, "--same-question", *ids, "--database", "old/run.db")
    finally:
        old.chmod(0o755)
    assert (done.returncode, done.stdout) == (2, "")
    assert "old/run.db: not writable" in done.stderr


# --- the evidence ---------------------------------------------------------------------------------------


def test_a_run_whose_evidence_all_failed_says_so_and_ends_with_1(tmp_path, monkeypatch, capsys):
    code, database = stub_run(
        tmp_path, monkeypatch, "--question", "Will A happen?", "--question", "Will B happen?",
        WIKIPEDIA_API_URL="http://127.0.0.1:9/w/api.php", WIKIPEDIA_MAX_ATTEMPTS=1, WIKIPEDIA_MIN_INTERVAL_SECONDS=0,
    )  # fmt: skip
    assert code == 1
    out = capsys.readouterr().out
    assert "No evidence: offline: 127.0.0.1:9: no connection" in out
    assert "No search for evidence worked: every forecast was made without any." in out
    assert rows(database, "SELECT status FROM runs") == [("finished",)]


def test_a_search_that_found_nothing_has_worked(tmp_path, monkeypatch, capsys):
    code, _ = stub_run(tmp_path, monkeypatch, "--question", "Will A happen?")
    assert code == 0
    assert "No search for evidence worked" not in capsys.readouterr().out


def test_evidence_of_one_question_is_enough(tmp_path, monkeypatch):
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "a.txt").write_text("The bridge opens in May.")
    code, database = stub_run(
        tmp_path, monkeypatch, "--question", "Will the bridge open?", "--question", "Will xyzzy?", "--documents", str(documents),
        WIKIPEDIA_API_URL="http://127.0.0.1:9/w/api.php", WIKIPEDIA_MAX_ATTEMPTS=1, WIKIPEDIA_MIN_INTERVAL_SECONDS=0,
    )  # fmt: skip
    assert code == 0
    assert len(rows(database, "SELECT DISTINCT question_id FROM retrievals")) == 1


def test_analysis_of_a_missing_database_is_refused_as_before(tmp_path, capsys):
    assert analysis.main(["--score", "--database", str(tmp_path / "no.db")]) == 2
    assert "no.db: no such database" in capsys.readouterr().err


# --- folders ------------------------------------------------------------------------------------------


def test_documents_that_are_gone_by_then_are_named_and_the_run_goes_on(
    tmp_path, monkeypatch, capsys
):
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "a.txt").write_text("The bridge opens in May.")
    load = SemanticRetriever._load_models

    def removed(self):
        shutil.rmtree(documents)
        load(self)

    monkeypatch.setattr(SemanticRetriever, "_load_models", removed)
    code, database = stub_run(
        tmp_path, monkeypatch, "--question", "Will the bridge open?", "--documents", str(documents)
    )
    assert code == 1
    assert (
        f"No evidence: --documents {documents}: there is no such folder" in capsys.readouterr().out
    )
    assert rows(database, "SELECT count(*) FROM forecasts WHERE error IS NULL") == [(1,)]


@pytest.mark.parametrize("change", ["removed", "replaced by a file", "emptied"])
def test_a_run_is_not_resumed_without_the_documents_that_it_was_to_read(
    tmp_path, monkeypatch, capsys, change
):
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "a.txt").write_text("The bridge opens in May.")
    asked = ("--question", "Will the bridge open?", "--documents", str(documents))
    with monkeypatch.context() as killed:
        killed.setattr(gather_evidence, "gather_evidence", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            stub_run(tmp_path, monkeypatch, *asked)
    shutil.rmtree(documents)
    if change == "emptied":
        documents.mkdir()
    elif change == "replaced by a file":
        documents.write_text("x")
    capsys.readouterr()
    code, database = stub_run(tmp_path, monkeypatch, "--resume")
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"forecaster.py: --documents {documents}: ")
    assert rows(database, "SELECT count(*) FROM forecasts") == [(0,)]
    documents.unlink() if documents.is_file() else shutil.rmtree(documents, ignore_errors=True)
    documents.mkdir()
    (documents / "a.txt").write_text("The bridge opens in May.")
    assert stub_run(tmp_path, monkeypatch, "--resume")[0] == 0
    assert rows(database, "SELECT title FROM articles") == [("documents/a.txt",)]


def test_a_document_that_is_gone_by_then_costs_itself_alone(tmp_path, monkeypatch, capsys):
    documents = tmp_path / "documents"
    documents.mkdir()
    for name in "abc":
        (documents / f"{name}.txt").write_text(f"The bridge {name} opens in May.")
    found = list(find_documents(documents))
    (documents / "b.txt").unlink()
    monkeypatch.setattr("evidence.corpus.find_documents", lambda _: found)
    code, database = stub_run(
        tmp_path, monkeypatch, "--question", "Will the bridge open?", "--documents", str(documents)
    )
    assert code == 0
    assert "documents/b.txt: " in capsys.readouterr().err
    titles = rows(database, "SELECT title FROM articles ORDER BY title")
    assert titles == [("documents/a.txt",), ("documents/c.txt",)]


def test_a_plots_folder_that_cannot_be_written_costs_the_plots_alone(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(config, "FORECAST_MODEL_PATHS_VLLM", {"one": "owner/one"})
    monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", "one")
    monkeypatch.setattr(Interrupts, "install", lambda _: None)
    monkeypatch.setattr(
        Disturbed, "disturb", staticmethod(lambda: Path("plots").write_text("a file"))
    )
    arguments = [*QUESTIONS, "--no-retrieval", "--database", "run.db", "--plots", "plots"]
    assert forecaster.main(arguments, agent_factory=Disturbed) == 1
    assert rows("run.db", "SELECT status FROM runs") == [("finished",)]
    assert Path("plots").read_text() == "a file"
    Path("plots").unlink()
    assert analysis.main(["--database", "run.db", "--plots", "plots"]) == 0
    assert len(list(Path("plots").iterdir())) == 9


def test_a_store_of_temporary_files_that_is_full_is_one_line(tmp_path, monkeypatch):
    pytest.importorskip("boto3")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with ObjectStore({"m/config.json": b"{}"}) as store:
        found = inspect(store.use(monkeypatch, tmp_path), load_format="dummy")
    (line,) = found.problems
    assert "small files cannot be written to a temporary folder (No such file or directory)" in line
