"""Everything runs once with six kinds of secrets planted, and everything it wrote is read through.

The wiki's user and password, keys of a store and signed addresses, a token of the hub, a proxy's password and an API key: none
may stand in a file, a row, a log line, a page, a picture's metadata or on the screen, plain, encoded for an address or in base64.
"""

from __future__ import annotations

import base64
import contextlib
import html
import sqlite3
from pathlib import Path
from urllib.parse import quote

import pytest

import analysis
import config
import ensemble
import forecaster
from agents_vllm import Agent
from runs import manifest
from terminal.interrupts import Interrupts
from tests.support.stub_run import ChatLLM, stub_run
from tests.support.wiki_server import SmallWiki, WikiServer, answer

SECRETS = {
    "wiki user": "wiki-operator",
    "wiki password": "p@ss/w0rd of the wiki",
    "store key": "AKIA" + "SECRETS0OF0THE0TESTS"[:16],
    "store secret": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    "store address": "endpoint-password",
    "signature": "0f3ac9deadbeef0f3ac9deadbeef",
    "hub token": "hf_" + "A1b2" * 8,
    "proxy password": "proxy-pass/word-1",
    "api key": "sk-plain-words-as-a-key",
}
PAGES = {
    "Bridge": [
        (
            "2025-01-01T00:00:00Z",
            "The bridge over the river will open in 2026, the ministry says. " * 5,
        )
    ]
}
QUESTION = "Will the bridge open?"


class LockedWiki(SmallWiki):
    """Serves only those who know the password."""

    def serve(self, handler):
        asked = handler.headers.get("Authorization", "")
        expected = base64.b64encode(
            f"{SECRETS['wiki user']}:{SECRETS['wiki password']}".encode()
        ).decode()
        if asked != f"Basic {expected}":
            return answer({}, status=401)(handler)
        return super().serve(handler)

    def address(self, path):
        user, password = (quote(SECRETS[name], safe="") for name in ("wiki user", "wiki password"))
        return self.url.replace("//", f"//{user}:{password}@") + path


class LoadFails(Agent):
    """The second model fails as libraries do: with everything it knows in its message."""

    def score(self, tasks):
        if self.spec.name == "two":
            # What no address goes with cannot be told from a word.
            alone = [
                secret for name, secret in SECRETS.items() if name not in ("wiki user", "signature")
            ]
            raise RuntimeError(
                f"{config.FORECAST_MODEL_PATHS_VLLM} {config.WIKIPEDIA_API_URL} {' '.join(alone)}"
            )
        return super().score(tasks)


def plant(monkeypatch, tmp_path, wiki):
    s = SECRETS
    proxy = quote(s["proxy password"], safe="")
    for name, value in {
        "LOG_DIR": str(tmp_path / "logs"),
        "HF_TOKEN": s["hub token"],
        "AWS_ACCESS_KEY_ID": s["store key"],
        "AWS_SECRET_ACCESS_KEY": s["store secret"],
        "AWS_ENDPOINT_URL": f"http://someone:{s['store address']}@127.0.0.1:9",
        "HTTPS_PROXY": f"http://someone:{proxy}@127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
        "OPENAI_API_KEY": s["api key"],
    }.items():
        monkeypatch.setenv(name, value)
    signed = f"s3://bucket/model?X-Amz-Credential={s['store key']}&X-Amz-Signature={s['signature']}"
    entries = {
        "one": {
            "path": signed,
            "chat_template_kwargs": {"api_key": s["api key"], "note": s["hub token"]},
        },
        "two": "owner/two",
    }
    for name, value in {
        "WIKIPEDIA_API_URL": wiki.address("/w/api.php"),
        "WIKIPEDIA_MIN_INTERVAL_SECONDS": 0,
        "WIKIPEDIA_MAX_ATTEMPTS": 1,
        "RANKING": "bm25",
        "CONTEXT_TOKENS": 100_000,
        "SCORING_TOLERANCE": 0.5,
        "VLLM_CONFIG": {"load_format": "runai_streamer"},
        "FORECAST_MODEL_PATHS_VLLM": entries,
        "DEFAULT_MODEL_VLLM": "one",
        "CALIBRATION_SIMULATIONS": 100,
    }.items():
        monkeypatch.setattr(config, name, value)
    for module in ("preflight.model_entries", "preflight.settings"):
        monkeypatch.setattr(f"{module}.package_problems", lambda *_: [])
    for module in (manifest, ensemble):
        monkeypatch.setattr(module, "weights_identity", lambda path: "unknown")
    monkeypatch.setattr("agents_vllm.checkpoint.is_checked", lambda path: False)


def run_everything(tmp_path, monkeypatch, wiki):
    """A run, its resumption and its replay, one that finds the wiki gone, a wrong setting, and every job of analysis.py."""
    database = str(tmp_path / "run.db")
    where = ["--database", database, "--plots", str(tmp_path / "plots")]

    def factory(spec):
        return LoadFails(spec, llm_factory=ChatLLM)

    codes = [forecaster.main(["--question", QUESTION, *where], agent_factory=factory)]
    codes.append(forecaster.main(["--resume", "1", *where], agent_factory=factory))
    codes.append(forecaster.main(["--replay", "1", *where], agent_factory=factory))
    monkeypatch.setattr(config, "FRESHNESS_HOURS", 0)
    wiki.pages = None  # every answer of the wiki is an error from now on
    codes.append(
        forecaster.main(["--question", "Will the river rise?", *where], agent_factory=factory)
    )
    codes.append(
        forecaster.main(["--models", "s3://k:" + SECRETS["store secret"] + "@bucket/m", *where])
    )
    with monkeypatch.context() as wrong:
        wrong.setattr(
            config, "WIKIPEDIA_API_URL", f"http://bot:{SECRETS['wiki password']}@host/w/api.php"
        )
        codes.append(forecaster.main(["--question", QUESTION, *where], agent_factory=factory))
        codes.append(analysis.main(["--score", *where]))
    jobs = (
        ["--resolve-one", QUESTION, "yes"],
        ["--score"],
        ["--report", str(tmp_path / "r.html")],
        [],
    )
    return codes + [analysis.main([*job, *where]) for job in jobs]


def readable(path: Path) -> str:
    """A file's text; that of a page or a picture also as it is read by a person."""
    content = path.read_bytes()
    parts = [content]
    if path.suffix in (".html", ".svg"):
        parts.append(html.unescape(content.decode()).encode())
    return "\n".join(part.decode("latin-1") for part in parts)


def forms(secret: str) -> set[str]:
    plain = {secret, quote(secret), quote(secret, safe=""), repr(secret)[1:-1]}
    return plain | {base64.b64encode(one.encode()).decode().rstrip("=")[:-1] for one in plain}


def test_a_wiki_that_repeats_the_password_in_its_errors_is_not_believed_to_have_said_it(
    tmp_path, monkeypatch, capsys
):
    user, password = "bot-of-the-wiki", "pass-word-of-the-wiki"
    proxy = "pass#word of?the proxy"
    sent = base64.b64encode(f"{user}:{password}".encode()).decode()
    info = f"{user}:{password} may not read; Authorization: Basic {sent}; proxy {proxy}, {quote(proxy)}"
    monkeypatch.setenv("HTTPS_PROXY", f"someone:{quote(proxy)}@127.0.0.1:9")  # without a scheme
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with WikiServer({"error": {"code": "readapidenied", "info": info}}) as server:
        code, database = stub_run(
            tmp_path, monkeypatch, "--question", "Will the bridge open?",
            WIKIPEDIA_API_URL=server.url.replace("//", f"//{user}:{password}@") + "/w/api.php",
            WIKIPEDIA_MAX_ATTEMPTS=1, WIKIPEDIA_MIN_INTERVAL_SECONDS=0,
        )  # fmt: skip
    assert code == 1
    said = capsys.readouterr()
    assert "readapidenied" in said.out
    with contextlib.closing(sqlite3.connect(database)) as connection:
        dump = "\n".join(connection.iterdump())
    logs = "".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("*.log"))
    assert "readapidenied" in dump
    for secret in (password, sent, proxy, quote(proxy)):
        assert secret not in said.out + said.err + dump + logs


@pytest.fixture
def written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Interrupts, "install", lambda _: None)
    with LockedWiki(dict(PAGES)) as wiki:
        plant(monkeypatch, tmp_path, wiki)
        codes = run_everything(tmp_path, monkeypatch, wiki)
        assert [path for path, *_ in wiki.requests if path == "/w/api.php"]
        assert all("Authorization" in headers for *_, headers in wiki.requests)
        host = wiki.url.removeprefix("http://")
    said = capsys.readouterr()
    texts = {"out": said.out, "err": said.err}
    texts |= {str(p.relative_to(tmp_path)): readable(p) for p in tmp_path.rglob("*") if p.is_file()}
    with contextlib.closing(sqlite3.connect(tmp_path / "run.db")) as connection:
        texts["rows"] = "\n".join(connection.iterdump())
        texts["views"] = "\n".join(
            str(row)
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'view'"
            ).fetchall()
            for row in connection.execute(f"SELECT * FROM {name}")
        )
    return codes, texts, host


def test_no_secret_stands_in_anything_a_run_writes(written):
    codes, texts, host = written
    assert codes[:7] == [1, 1, 1, 1, 2, 2, 2]
    assert codes[-2:] == [0, 0]
    # It was real: the wiki was read, and what is quoted leads there.
    assert f"http://{host}/w/index.php?oldid=" in texts["rows"]
    assert f"http://{host}/w/index.php?oldid=" in texts["r.html"]
    assert "The bridge over the river will open" in texts["r.html"]
    assert "HTTP" in texts["err"] or "offline" in texts["err"]
    assert {name.split(".")[-1] for name in texts} >= {"svg", "html", "db", "log"}
    for name, secret in SECRETS.items():
        for form in forms(secret):
            for where, text in texts.items():
                place = text.find(form)
                assert place < 0, (name, where, text[max(0, place - 200) : place + 100])
