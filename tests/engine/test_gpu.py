"""What only a GPU can show: the numbers of a CPU, memory that is given back, memory that runs out.

python -m pytest tests/engine/test_gpu.py -m "" -n 0 -s      on a machine with an NVIDIA GPU that nothing else uses
"""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from statistics import fmean

import psutil
import pytest

import config
import forecaster
from agents import Agent as LegacyAgent
from agents_vllm import Agent
from engine.environment import vllm_is_cpu_build as cpu_build
from preflight.machine import visible_gpus
from questions.question import Question
from runs import demo
from scoring.distribution import total_variation
from scoring.tasks import ForecastTask
from tests.engine.test_engine import PASSAGES, TASKS
from tests.engine.test_engine_life import OnePromptAtATime, end_driver
from tests.support.needed import PACKAGED_MODEL, needs

pytestmark = [
    pytest.mark.engine,
    pytest.mark.weights,
    needs(PACKAGED_MODEL),
    pytest.mark.skipif(cpu_build() or not visible_gpus(), reason="no NVIDIA GPU for vLLM"),
]

WINDOW = 4096
SETTINGS = {**config.VLLM_CONFIG, "max_model_len": WINDOW, "enforce_eager": True}
ASKED = [
    *TASKS[::3],
    *(
        ForecastTask(Question("Will the policy rate be lowered?"), "2026-11-24", PASSAGES * many)
        for many in (8, 24)
    ),
]
# vLLM's attention for float32 multiplies in TF32 (docs/engines.md, "On a GPU").
FLOAT32 = 5e-3
# Seconds that only a hanging test waits for, and those a driver takes to give memory back.
PATIENCE = 180
GIVEN_BACK_SECONDS = 30
# MiB that a driver may keep or give back for itself.
NOISE_MIB = 32


def gpu_mib(which="used"):
    """GPU memory in use, of all processes; or the "total"."""
    command = ["nvidia-smi", f"--query-gpu=memory.{which}", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return sum(map(int, done.stdout.split()))


def assert_given_back(before):
    """No more memory is in use than before."""
    end = time.monotonic() + GIVEN_BACK_SECONDS
    while (used := gpu_mib()) > before + NOISE_MIB and time.monotonic() < end:
        time.sleep(0.2)
    print(f"GPU memory in use before {before} MiB, after {used} MiB")
    assert used <= before + NOISE_MIB


# --- the numbers of a CPU ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spec():
    return replace(demo.model_spec(), max_model_len=WINDOW)


def by_definition(spec, dtype):
    """(distribution, captured mass) of each task, by transformers on the CPU."""
    with LegacyAgent(spec) as legacy:
        legacy.max_model_len = WINDOW
        legacy.model = legacy.model.to(dtype)
        return [legacy.exact_distribution(task) for task in ASKED]


@pytest.fixture(scope="module")
def oracle(spec):
    import torch

    return by_definition(spec, torch.float32)


def distances(name, found, expected):
    """Total variation of each pair; also printed, with how far the means lie apart."""
    pairs = list(zip(found, expected, strict=True))
    apart = [total_variation(one, other) for one, (other, _) in pairs]
    means = [abs(one.mean - other.mean) for one, (other, _) in pairs]
    what = f"total variation {fmean(apart):.2e} (worst {max(apart):.2e})"
    print(f"{name}: {what}, means {fmean(means):.3f} points apart (worst {max(means):.3f})")
    return apart


@pytest.mark.parametrize(("dtype", "eager"), [("float32", True), ("bfloat16", False)])
def test_forecasts_are_those_of_the_cpu(spec, oracle, dtype, eager):
    import torch

    settings = {**SETTINGS, "dtype": dtype, "enforce_eager": eager}
    with Agent(spec, vllm_config=settings, tolerance=0) as agent:
        kinds = {}
        for kind, tolerance in (("cold", 0), ("warm", 0), ("default tolerance", 0.01)):
            agent._scorings.clear()
            agent.tolerance = tolerance
            kinds[kind] = list(agent.score(ASKED))
    for kind, outcomes in kinds.items():
        assert [outcome.error for outcome in outcomes] == [None] * len(ASKED)
        tokens = sum(outcome.result.forward_tokens for outcome in outcomes)
        requests = max(outcome.result.requests for outcome in outcomes)
        print(f"{dtype}, {kind}: {tokens} forward tokens, at most {requests} requests a forecast")
    found = {kind: [o.result.distribution for o in outcomes] for kind, outcomes in kinds.items()}
    if dtype == "float32":
        bound = FLOAT32
    else:
        # What rounding to bfloat16 does to the same model on a CPU.
        rounded = [one for one, _ in by_definition(spec, torch.bfloat16)]
        bound = 3 * max(distances("bfloat16 on the CPU against float32", rounded, oracle))
    for kind in ("cold", "warm"):
        assert max(distances(f"{dtype} on the GPU, {kind}", found[kind], oracle)) <= bound
    captured = [
        abs(outcome.result.captured_mass - mass)
        for outcome, (_, mass) in zip(kinds["cold"], oracle, strict=True)
    ]
    print(f"{dtype}: captured mass off by at most {max(captured):.1e}")
    assert max(captured) <= bound
    allowed = [outcome.result.residual_mass for outcome in kinds["default tolerance"]]
    apart = distances(f"{dtype}, default tolerance", found["default tolerance"], oracle)
    assert all(one <= bound + residual for one, residual in zip(apart, allowed, strict=True))


# --- engines that come and go -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "moment"),
    [(signal.SIGKILL, "scoring"), (signal.SIGINT, "scoring"), (signal.SIGTERM, "loading")],
)
def test_an_ended_program_gives_the_memory_back(spec, tmp_path, number, moment):
    before = gpu_mib()

    def wait_for_memory(parent):
        end = time.monotonic() + PATIENCE
        while gpu_mib() < before + 200 and time.monotonic() < end:
            assert parent.poll() is None, parent.stderr.read()
            time.sleep(0.05)
        engine = psutil.Process(parent.pid).children(recursive=True)
        print(f"{number!r} while {moment}: {gpu_mib()} MiB in use, {len(engine)} processes")
        return engine

    end_driver(spec.path, tmp_path, number, moment, wait_for_memory, GIVEN_BACK_SECONDS)
    assert_given_back(before)


HOG = """
import sys, torch
leave = int(sys.argv[1])
free, _ = torch.cuda.mem_get_info()
held, size = [], free - leave
while size >= 1 << 20:
    try:
        held.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
        size = min(size, torch.cuda.mem_get_info()[0] - leave)
    except torch.OutOfMemoryError:
        size //= 2
print(torch.cuda.mem_get_info()[0] >> 20, flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def hog(leave_gib):
    """Let another process take all memory of the GPU but so much."""
    command = [sys.executable, "-c", HOG, str(int(leave_gib * 2**30))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            print(f"another process leaves {other.stdout.readline().strip()} MiB")
            yield
        finally:
            other.kill()


class Troubled(OnePromptAtATime):
    """A model by the name of what happens to it; OnePromptAtATime kills the engine of "killed"."""

    before = 0  # MiB in use before the first

    def load(self):
        self.trouble = contextlib.ExitStack()
        self.loads = 0
        patch = self.trouble.enter_context(pytest.MonkeyPatch.context())
        if self.name == "endless":
            patch.setattr(config, "LOAD_TIMEOUT_SECONDS", 4)
        if self.name == "beside":  # neither 0.9 of the GPU is free nor a tenth less
            self.trouble.enter_context(hog(gpu_mib("total") / 2 / 1024))
        if self.name == "hopeless":  # half of it goes to the engine's own CUDA context
            self.trouble.enter_context(hog(1))
        self.began = time.monotonic()
        super().load()
        if self.name == "squeezed":
            self.trouble.enter_context(hog(0))

    def _start(self, arguments):
        self.loads += 1
        return super()._start(arguments)

    def shutdown(self):
        super().shutdown()
        self.trouble.close()
        print(f"{self.name}: {self.loads} loads, over after {time.monotonic() - self.began:.0f} s")
        assert_given_back(self.before)


NAMES = ("endless", "killed", "hopeless", "beside", "squeezed", "next")


def test_one_models_trouble_is_no_other_models(spec, tmp_path, monkeypatch):
    """Watchdog, a killed engine, too little memory before, for good and at work, in one run."""
    monkeypatch.setattr(Troubled, "before", gpu_mib())
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(config, "FORECAST_MODEL_PATHS_VLLM", dict.fromkeys(NAMES, spec.path))
    monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", "next")
    monkeypatch.setattr(config, "DEFAULT_LOGIC_MODEL_PATH", "next")
    asked = [part for n in range(3) for part in ("--question", f"Will {n} happen?")]
    files = ["--database", str(tmp_path / "run.db"), "--plots", str(tmp_path / "plots")]
    agents = {}

    def factory(one):
        agents[one.name] = Troubled(one, vllm_config=SETTINGS)
        return agents[one.name]

    code = forecaster.main(
        [*asked, "--no-retrieval", "--models", *NAMES, *files], agent_factory=factory
    )
    with sqlite3.connect(tmp_path / "run.db") as connection:
        rows = connection.execute("SELECT agent, error FROM forecasts ORDER BY id").fetchall()
    errors = {name: [error for agent, error in rows if agent == name] for name in NAMES}
    for name, found in errors.items():
        print(f"{name}: {found}")
    assert code == 1
    assert all("did not load: it" in error for error in errors["endless"])
    assert errors["killed"][0] is None
    assert all("the engine died at work" in error for error in errors["killed"][1:])
    assert errors["beside"] == errors["squeezed"] == errors["next"] == [None] * 3
    assert agents["beside"].loads == 2
    assert agents["next"].loads == 1
    assert all("gpu_memory_utilization" in error for error in errors["hopeless"])
