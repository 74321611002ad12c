"""What goes wrong between here and S3: one line with the address and the remedy, in bounded time, and the run goes on.

All of it is found by the look at the checkpoint, before an engine starts, against a real S3 server that checks keys and
policies, and against a proxy in front of it that misbehaves.
"""

from __future__ import annotations

import importlib.util
import json
import socket
import sqlite3
import threading
import time
import urllib.request

import pytest

if any(
    importlib.util.find_spec(name) is None
    for name in ("torch", "transformers", "boto3", "moto", "flask", "psutil")
):
    pytest.skip(
        "not installed: torch, transformers, boto3, moto with flask, or psutil",
        allow_module_level=True,
    )

import psutil

import config
import forecaster
from agents_vllm import Agent
from evaluation.run_differences import UNKNOWN_WEIGHTS
from preflight.weights import INDEX
from runs.weights_identity import weights_identity
from tests.scoring.test_agent_stub import StubLLM
from tests.support.s3_server import SECRET, Proxy, client, leaks, s3_server, upload, use_s3
from tests.support.small_model import save_small_llama

BUCKET, PREFIX = "private-models", "org/small"
ADDRESS = f"s3://{BUCKET}/{PREFIX}"
QUESTION = "Will the bridge open?"
ATTEMPTS = 2
# Seconds that the tests of these limits wait for; no other test reaches its limit.
READ, WHOLE = 0.5, 2
PATIENCE = 60


def policy(list_bucket=True, get_object=True, put_object=False):
    statements = [
        ("s3:PutObject", f"arn:aws:s3:::{BUCKET}/*", put_object),
        ("s3:ListBucket", "arn:aws:s3:::*", list_bucket),
        ("s3:GetObject", f"arn:aws:s3:::{BUCKET}/*", get_object),
    ]
    return json.dumps({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": action, "Resource": on} for action, on, allowed in statements if allowed],
    })  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save_small_llama(tmp_path_factory.mktemp("whole") / "model")


@pytest.fixture(scope="module")
def server(whole):
    """A server that holds the model and lets in only who may: its address, and a user's keys by what they may do."""
    with s3_server() as url:
        upload(url, whole, BUCKET, PREFIX)
        iam, keys = client(url, "iam"), {}
        users = {
            "reader": policy(),
            "writer": policy(put_object=True),
            "no list": policy(list_bucket=False),
            "no get": policy(get_object=False),
        }
        for name, rights in users.items():
            user = name.replace(" ", "-")
            iam.create_user(UserName=user)
            iam.put_user_policy(UserName=user, PolicyName="s3", PolicyDocument=rights)
            key = iam.create_access_key(UserName=user)["AccessKey"]
            keys[name] = {"key": key["AccessKeyId"], "secret": key["SecretAccessKey"]}
        for name, spoil in SPOILT.items():
            prepare(url, whole, name, spoil)
        request = urllib.request.Request(
            f"{url}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(request).close()
        yield url, keys


def prepare(url, whole, name, spoil):
    """Put the model under a prefix of its own, changed by ``spoil``."""
    s3 = client(url)
    files = {path.name: path.read_bytes() for path in whole.iterdir()}
    spoil(files)
    for file, content in files.items():
        s3.put_object(Bucket=BUCKET, Key=f"{name}/{file}", Body=content)


def shard(files):
    return min(name for name in files if name.endswith(".safetensors"))


def truncate(files):
    files[shard(files)] = files[shard(files)][:-1000]


def lack_tensors(files):
    """A shard is gone, and the index does not know of it either."""
    index, lost = json.loads(files[INDEX]), shard(files)
    del files[lost]
    index["weight_map"] = {
        tensor: file for tensor, file in index["weight_map"].items() if file != lost
    }
    files[INDEX] = json.dumps(index).encode()


def pointers(files):
    text = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
    for name in list(files):
        if name.endswith(".safetensors"):
            files[name] = text


SPOILT = {
    "truncated": truncate,
    "lacking": lack_tensors,
    "absent": lambda files: files.pop(shard(files)),
    "pointers": pointers,
    "replaced": lambda files: None,
}


# --- proxies --------------------------------------------------------------------------------------------


def busy(handler):
    """Every request for an object's content is refused, as S3 does under too much load."""
    if PREFIX not in handler.path or "list-type" in handler.path:
        return False
    body = (
        b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
    )
    handler.send_response(503)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
    return True


def dies(handler, blocks):
    """The connection breaks in the middle of a shard."""
    for block in blocks:
        if ".safetensors" in handler.path:
            yield block[: len(block) // 2]
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        yield block


def drips(released):
    """A byte now and then: no read ever times out, and the answer never ends."""

    def spoil(handler, blocks):
        for block in blocks:
            if ".safetensors" not in handler.path:
                yield block
                continue
            for position in range(len(block)):
                yield block[position : position + 1]
                if released.wait(READ / 4):
                    return

    return spoil


class Silent:
    """Accepts every connection and never answers."""

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        return self

    def __exit__(self, *_):
        self.listener.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"


class Refusing(Silent):
    """Nobody listens there."""

    def __enter__(self):
        super().__enter__()
        self.address = super().url
        self.listener.close()
        return self

    @property
    def url(self):
        return self.address


# name: model path, user, what is put before the server, what the line says, the remedy.
CASES = {
    "wrong bucket": ("s3://no-such-bucket-here/org/small", "reader", None, "there is no bucket 'no-such-bucket-here'", "correct its name"),
    "wrong prefix": (f"s3://{BUCKET}/org/smal", "reader", None, "nothing is stored there", "correct the prefix"),
    "no credentials": (ADDRESS, None, None, "no AWS credentials were found", "attach an instance role"),
    "unknown key": (ADDRESS, "unknown", None, "S3 does not accept the credentials (InvalidAccessKeyId)", "correct AWS_ACCESS_KEY_ID"),
    "wrong secret": (ADDRESS, "wrong", None, "S3 does not accept the credentials (SignatureDoesNotMatch)", "AWS_SECRET_ACCESS_KEY"),
    "no ListBucket": (ADDRESS, "no list", None, "access is denied (AccessDenied)", f"allow s3:ListBucket on arn:aws:s3:::{BUCKET}"),
    "no GetObject": (ADDRESS, "no get", None, "access is denied (AccessDenied)", f"allow s3:GetObject on arn:aws:s3:::{BUCKET}/{PREFIX}/*"),
    "unreachable": (ADDRESS, "reader", lambda url: Refusing(), "cannot be reached", "check AWS_ENDPOINT_URL"),
    "silent": (ADDRESS, "reader", lambda url: Silent(), f"did not answer within {READ} s", "check the VPC endpoint"),
    "dies mid-stream": (ADDRESS, "reader", lambda url: Proxy(url, spoil=dies), "broke off its answer", "try again"),
    "drips": (ADDRESS, "reader", "drips", f"not inspected within {WHOLE} s", "check the connection"),
    "503": (ADDRESS, "reader", lambda url: Proxy(url, fault=busy), "S3 answered 503 SlowDown", "try again later, or lower"),
    "truncated": (f"s3://{BUCKET}/truncated", "reader", None, "its header says", "upload it again"),
    "tensors missing": (f"s3://{BUCKET}/lacking", "reader", None, "LlamaForCausalLM needs are missing", "upload the complete checkpoint"),
    "shard absent": (f"s3://{BUCKET}/absent", "reader", None, "the index names this shard and it is missing", "upload it"),
    "LFS pointer": (f"s3://{BUCKET}/pointers", "reader", None, "Git LFS", "git lfs pull"),
}  # fmt: skip


def front(stand, url):
    """What answers in the server's place."""
    if stand == "drips":
        released = threading.Event()
        proxy = Proxy(url, spoil=drips(released))
        proxy.released = released
        return proxy
    return stand(url) if stand else Proxy(url)


@pytest.mark.parametrize("case", CASES)
def test_one_line_names_address_and_mend_and_the_other_model_goes_on(
    case, server, tmp_path, monkeypatch, capfd, caplog
):
    path, user, stand, what, remedy = CASES[case]
    url, keys = server
    keys = {
        **keys,
        None: {},
        "unknown": {"key": "AKIAUNKNOWN000000000"},
        "wrong": {**keys["reader"], "secret": SECRET},
    }
    for name, value in {
        "S3_CONNECT_TIMEOUT_SECONDS": PATIENCE,
        "S3_READ_TIMEOUT_SECONDS": READ if case in ("silent", "drips") else PATIENCE,
        "S3_MAX_ATTEMPTS": ATTEMPTS,
        "CHECKPOINT_TIMEOUT_SECONDS": WHOLE if case == "drips" else PATIENCE,
    }.items():
        monkeypatch.setattr(config, name, value)
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    monkeypatch.setattr(config, "FORECAST_MODEL_PATHS_VLLM", {"broken": path, "sound": "org/stub"})
    monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", "sound")
    monkeypatch.setattr(config, "DEFAULT_LOGIC_MODEL_PATH", "sound")
    settings = {**config.VLLM_CONFIG, "load_format": "runai_streamer"}
    monkeypatch.setattr(config, "VLLM_CONFIG", settings)
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    caplog.set_level("DEBUG")
    started = []

    def engine(**arguments):
        started.append(arguments["model"])
        return StubLLM(**arguments)

    database = tmp_path / "run.db"
    processes = {process.pid for process in psutil.Process().children(recursive=True)}
    with front(stand, url) as between:
        use_s3(monkeypatch, between.url, tmp_path / "assets", **keys[user])
        if user is None:
            monkeypatch.delenv("AWS_ACCESS_KEY_ID")
            monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
            monkeypatch.setenv("HOME", str(tmp_path))
        begun = time.monotonic()
        code = forecaster.main(
            ["--question", QUESTION, "--no-retrieval", "--database", str(database), "--plots", str(tmp_path / "plots")],
            agent_factory=lambda spec: Agent(spec, vllm_config=settings, llm_factory=engine),
        )  # fmt: skip
        print(f"{case}: {time.monotonic() - begun:.1f} s")
    assert code == 1
    assert started == ["org/stub"]
    with sqlite3.connect(database) as connection:
        errors = dict(connection.execute("SELECT agent, error FROM forecasts").fetchall())
    assert errors["sound"] is None
    line = errors["broken"]
    assert "\n" not in line
    assert path in line
    assert what in line
    assert remedy in line.partition(what)[2]
    assert {process.pid for process in psutil.Process().children(recursive=True)} == processes
    out = capfd.readouterr()
    assert line in out.out
    # Whoever has none leaks nobody's; the tests' own stand for it.
    assert leaks(tmp_path, out.out, out.err, caplog.text, **keys[user]) == []


def test_replaced_objects_are_other_weights(whole, server, tmp_path, monkeypatch):
    url, keys = server
    address = f"s3://{BUCKET}/replaced"
    use_s3(monkeypatch, url, tmp_path, **keys["writer"])
    first = weights_identity(address)
    assert first.startswith("objects sha256:")
    assert weights_identity(f"{address}/") == first
    shard = next(whole.glob("*.safetensors"))
    put = client(url, **keys["writer"]).put_object
    put(Bucket=BUCKET, Key=f"replaced/{shard.name}", Body=shard.read_bytes())
    assert weights_identity(address) == first
    # As long as before, and another value at its end.
    put(Bucket=BUCKET, Key=f"replaced/{shard.name}", Body=shard.read_bytes()[:-1] + b"\x01")
    assert weights_identity(address) not in (first, UNKNOWN_WEIGHTS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "")
    assert weights_identity(address) == UNKNOWN_WEIGHTS
