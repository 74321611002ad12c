"""Models of the hub, looked at on a server on loopback that answers as the hub does."""

from __future__ import annotations

import json
import os
import time

import pytest

import config
from agents_vllm import Agent
from preflight import hub
from preflight.model_entries import HUGGING_FACE_ID, ModelSpec
from scoring.tasks import AgentError
from tests.support.loopback_server import LoopbackServer, QuietHandler
from tests.support.needed import needs

pytestmark = needs({"huggingface_hub": "huggingface_hub"})
TOKEN = "hf_PlantedSecret0123456789"
MODEL = "org/model"
FILES = {
    "config.json": 100,
    "tokenizer.json": 1000,
    "model.safetensors": 5000,
    "pytorch_model.bin": 10**18,
    "original/notes.md": 10**18,
}


def described(files=FILES, gated=False):
    siblings = [
        {"rfilename": name, "size": size, "blobId": f"{n:040x}"}
        for n, (name, size) in enumerate(files.items())
    ]
    return {"id": MODEL, "modelId": MODEL, "sha": "c" * 40, "gated": gated, "siblings": siblings}


class Hub(LoopbackServer):
    """Answers ``status``, ``headers`` and ``body`` to the API, ``file_status`` to a file."""

    def __init__(self, body=None, status=200, code="", message="", file_status=200, silent=False):
        self.asked, outer = [], self

        class Handler(QuietHandler):
            def do_GET(self):
                outer.asked.append((self.path, dict(self.headers)))
                if silent:
                    outer.released.wait(60)
                    return
                self.answer(status, code, json.dumps(body or {"error": "no"}).encode())

            def do_HEAD(self):
                outer.asked.append((self.path, dict(self.headers)))
                self.answer(file_status, "" if file_status == 200 else "GatedRepo", b"")

            def answer(self, status, code, content):
                self.send_response(status)
                if code:
                    self.send_header("X-Error-Code", code)
                if message:
                    self.send_header("X-Error-Message", message)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        super().__init__(Handler)


@pytest.fixture
def look(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "not made yet" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")

    def ask(server, seconds=30.0, path=MODEL):
        monkeypatch.setattr(
            constants, "ENDPOINT", server if isinstance(server, str) else server.url
        )
        files = f"{constants.ENDPOINT}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
        started = time.monotonic()
        found = hub.inspect_hub_model(path, seconds)
        assert time.monotonic() - started < seconds + 20
        for line in found.problems:
            assert "\n" not in line
            assert TOKEN not in line
            assert line.startswith(f"{path}: ")
        return found

    return ask


def fill_cache(files):
    from pathlib import Path

    from huggingface_hub import constants

    repo = Path(constants.HF_HUB_CACHE) / "models--org--model"
    snapshot = repo / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("c" * 40)
    for name, text in files.items():
        (snapshot / name).write_text(text)
    return repo


def test_a_model_that_can_be_downloaded_has_no_problem(look):
    with Hub(described()) as server:
        found = look(server)
    assert found == hub.HubModel((), 5000)
    # The library may ask for something of its own first.
    ((path, headers),) = [asked for asked in server.asked if "/api/models/" in asked[0]]
    assert path.startswith(f"/api/models/{MODEL}?")
    assert headers["authorization"] == f"Bearer {TOKEN}"


REFUSALS = {
    "no such model": ({"status": 404, "code": "RepoNotFound"}, "is no model that", "correct the name, or set HF_TOKEN"),
    "unknown to a guest": ({"status": 401, "code": "RepoNotFound"}, "is no model that", "set HF_TOKEN"),
    "a wrong token": ({"status": 401, "message": "Invalid credentials in Authorization header"}, "does not accept the token (401)", "correct HF_TOKEN"),
    "forbidden": ({"status": 403}, "denies access (403)", "set HF_TOKEN"),
    "gated": ({"status": 403, "code": "GatedRepo"}, "is gated at", "accept it on the page of org/model and set HF_TOKEN"),
    "gated files": ({"body": described(gated="manual"), "file_status": 403}, "is gated at", "accept it on the page"),
    "busy": ({"status": 503}, "answered 503", "try again later"),
    "broken": ({"status": 500}, "answered 500", "try again later"),
    "too many": ({"status": 429}, "answered 429", "try again later"),
    "no hub": ({"body": ["x"]}, "gave no answer of a hub", "correct HF_ENDPOINT"),
    "no safetensors": ({"body": described({"config.json": 1, "pytorch_model.bin": 2})}, "has no *.safetensors", "choose another"),
    "silent": ({"silent": True}, "cannot be reached (ReadTimeout)", "check the network"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_one_line_says_what_stands_in_the_way(look, case):
    answers, what, remedy = REFUSALS[case]
    with Hub(**answers) as server:
        (line,) = look(server).problems
    assert what in line
    assert remedy in line


def test_a_gated_model_that_may_be_read_has_no_problem(look):
    with Hub(described(gated="auto")) as server:
        assert look(server).problems == ()


def test_a_guest_who_is_not_let_in_is_told_of_the_token(look, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with Hub(status=401) as server:
        (line,) = look(server).problems
    assert "is no model that" in line
    assert line.endswith("correct the name, or set HF_TOKEN")


def test_nobody_listens(look):
    with Hub() as server:
        url = server.url
    (line,) = look(url).problems
    assert "cannot be reached (ConnectError)" in line


def test_a_password_in_the_endpoint_is_not_repeated(look):
    with Hub(status=500) as server:
        (line,) = look(server.url.replace("//", "//me:planted-password@")).problems
    assert "planted-password" not in line


def test_the_whole_look_is_bounded(look):
    with Hub(silent=True) as server:
        (line,) = look(server, seconds=0.2).problems
    assert "did not answer within 0.2 s (CHECKPOINT_TIMEOUT_SECONDS)" in line


@pytest.mark.parametrize("size", [10**15, 2**80])
def test_weights_beyond_the_disk_are_named_before_the_download(look, size):
    with Hub(described({**FILES, "model.safetensors": size})) as server:
        (line,) = look(server).problems
    assert "GiB are to be downloaded" in line
    assert "set HF_HOME to a larger disk" in line


def test_what_is_cached_is_not_counted(look):
    with Hub(described({**FILES, "model.safetensors": 10**15})) as server:
        blob = fill_cache({"config.json": "{}"}) / "blobs" / f"{2:040x}"
        blob.parent.mkdir()
        blob.write_text("")
        assert look(server).problems == ()


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize(
    ("settings", "tokenizer", "weights"),
    [
        ("config.json", "tokenizer.json", "model.safetensors"),
        ("params.json", "tekken.json", "consolidated.safetensors"),
        ("config.json", "spiece.model", "model-00001-of-00001.safetensors"),
    ],
)
def test_a_model_that_is_complete_in_the_cache_is_not_asked_for(
    look, monkeypatch, offline, settings, tokenizer, weights
):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    fill_cache({settings: "{}", tokenizer: "{}", weights: "12345"})
    with Hub(status=500) as server:
        assert look(server) == hub.HubModel((), 5)
    assert server.asked == []


INDEX = json.dumps({"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}})


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"config.json": "{}"},
        {"config.json": "{}", "tokenizer.json": "{}"},
        {"config.json": "{}", "model.safetensors": "x"},
        {"config.json": "{}", "tokenizer.json": "{}", hub.INDEX: INDEX, "a.safetensors": "x"},
        {"config.json": "{}", "tokenizer.json": "{}", hub.INDEX: "[", "a.safetensors": "x"},
        {"config.json": "{}", "tokenizer.json": "{}", hub.INDEX: "[]", "a.safetensors": "x"},
    ],
)
def test_without_the_hub_a_cache_that_lacks_something_is_named(look, monkeypatch, files):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    if files:
        fill_cache(files)
    (line,) = look("http://127.0.0.1:9").problems
    assert "is not complete in the cache and HF_HUB_OFFLINE is set" in line
    assert "hf download org/model" in line


def test_the_agent_says_it_before_an_engine_starts(look, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(config, "CHECKPOINT_TIMEOUT_SECONDS", 30)
    before = dict(os.environ)
    with Hub(status=404, code="RepoNotFound") as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        with pytest.raises(AgentError, match=r"^m did not load: org/model: is no model that http"):
            Agent(ModelSpec("m", MODEL)).load()
    for name in set(os.environ) - set(before):
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "path",
    [
        "org/model", "Qwen/Qwen3-14B", "a/b", "org/a.b_c-d", "org-x/m", "org/m.gi", "org/" + "m" * 96,
        "org/a--b", "org/a..b", "org/-x", "org/x-", "-o/x", "o./x", "org/x.git", "org/" + "m" * 97,
        "org/a b", "a/b/c", "model",
    ],
)  # fmt: skip
def test_an_id_is_what_the_hubs_library_takes_for_one(path):
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(path)
        valid = path.count("/") == 1
    except HFValidationError:
        valid = False
    assert (HUGGING_FACE_ID.fullmatch(path) is not None) == valid
