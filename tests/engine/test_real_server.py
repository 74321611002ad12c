"""vLLM's real server on loopback against the same model in this process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from agents_vllm import Agent
from engine.environment import prepare_environment
from engine.environment import vllm_is_cpu_build as cpu_build
from engine.remote_agent import RemoteAgent
from forecaster import QUESTIONS
from runs import demo
from scoring.distribution import total_variation
from scoring.tasks import ForecastTask
from tests.support.needed import PACKAGED_MODEL, needs

pytestmark = [
    pytest.mark.engine,
    pytest.mark.weights,
    needs(PACKAGED_MODEL),
    pytest.mark.skipif(not cpu_build(), reason="not installed: a CPU build of vllm"),
]

ROOT = Path(__file__).parents[2]
WINDOW = 2048
TASKS = [ForecastTask(question, "2026-11-24") for question in QUESTIONS[:6]]


@pytest.fixture(scope="module")
def spec():
    return replace(demo.model_spec(), max_model_len=WINDOW)


@pytest.fixture(scope="module")
def exact(spec):
    """Outcomes of the engine in this process: exhaustive, then at the default tolerance."""
    settings = {"dtype": "float32", "max_model_len": WINDOW, "block_size": 32}
    with Agent(spec, vllm_config=settings, tolerance=0.0) as agent:
        return list(agent.score(TASKS))


@pytest.fixture(scope="module")
def server(spec, exact, tmp_path_factory):
    """Its address; started as docs/servers.md says for a CPU."""
    prepare_environment()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", spec.path,
        "--served-model-name", "smollm2", "--host", "127.0.0.1", "--port", str(port),
        "--dtype", "float32", "--max-model-len", str(WINDOW), "--block-size", "32",
        "--logits-processors", "engine.log_normalizer:LogNormalizer",
        "--logprobs-mode", "processed_logits",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(360):
            assert process.poll() is None, log.read_text()[-3000:]
            try:
                with urllib.request.urlopen(f"{address}/health", timeout=2):
                    break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def served(address, spec, tolerance):
    entry = replace(spec, name="far", path=address, model="smollm2", tokenizer=spec.path)
    return RemoteAgent(entry, tolerance=tolerance)


def forward_tokens(address):
    """The server's own counts: prompt tokens so far, and those found in the prefix cache."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=5) as page:
        lines = page.read().decode().splitlines()
    counts = [
        sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))
        for name in ("vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total")
    ]
    return counts[0] - counts[1]


def test_the_distributions_of_a_real_server_equal_those_in_process(server, spec, exact):
    with served(server, spec, 0.0) as agent:
        before = forward_tokens(server)
        far = list(agent.score(TASKS))
        ran = forward_tokens(server) - before
        assert agent.served_by is not None
        assert agent.served_by.startswith("served by vllm 0.")
    for near, one in zip(exact, far, strict=True):
        assert near.prompt.text == one.prompt.text
        assert total_variation(near.result.distribution, one.result.distribution) <= 1e-5
    assert ran <= sum(one.result.forward_tokens for one in exact)


def test_the_default_tolerance_keeps_its_certificate(server, spec, exact):
    with served(server, spec, 0.01) as agent:
        far = list(agent.score(TASKS))
    for near, one in zip(exact, far, strict=True):
        distance = total_variation(near.result.distribution, one.result.distribution)
        assert distance <= one.result.residual_mass + 1e-5


def test_notes_of_a_real_server_repeat_with_their_seed(server, spec, monkeypatch):
    import config

    monkeypatch.setattr(config, "LOGIC_MAX_TOKENS", 16)
    with served(server, spec, 0.01) as agent:
        first = [one.text for one in agent.reason(TASKS[:2], 2)]
        second = [one.text for one in agent.reason(TASKS[:2], 2)]
    assert first == second
    assert len(set(first)) > 1
