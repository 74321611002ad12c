"""S3 on loopback for tests: moto's server in a process of its own, and a proxy in front of it that can misbehave.

``python tests/s3_server.py`` is the server's process: it prints its port and ends when its standard input does, so that it
never outlives the tests.
"""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.loopback_server import LoopbackServer, QuietHandler

# Of nobody: moto takes any key until authentication is switched on.
KEY, SECRET = "AKIAEXAMPLEFORTESTS0", "secret/of+the/tests/and/of/nothing/else0"
# Seconds for the server's imports on a busy machine, and for an answer of it.
TIMEOUT = 120
BLOCK = 1 << 16


def s3_environment(url: str, *, key: str = KEY, secret: str = SECRET) -> dict[str, str]:
    """The variables a user sets for an S3-compatible store; boto3 and the streamer read the same ones."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING": "0",
        # moto copies the whole object for each range of it.
        "RUNAI_STREAMER_S3_REQUEST_TIMEOUT_MS": "60000",
    }


# What a machine may have set, and vLLM sets for its own child processes: it must not reach the tests.
FOREIGN = (
    "AWS_CONFIG_FILE", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_SHARED_CREDENTIALS_FILE",
    "HTTPS_PROXY", "HTTP_PROXY", "RUNAI_STREAMER_CONCURRENCY", "RUNAI_STREAMER_MEMORY_LIMIT", "RUNAI_STREAMER_S3_ENDPOINT",
    "RUNAI_STREAMER_S3_UNSIGNED", "http_proxy", "https_proxy",
)  # fmt: skip


def use_s3(monkeypatch: Any, url: str, folder: Path, **credentials: str) -> None:
    """Point this process at the server, and vLLM's copies of small files at ``folder``."""
    for name in FOREIGN:
        # Set and deleted: what is set during the test (vLLM does) is taken back after it as well.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in s3_environment(url, **credentials).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VLLM_ASSETS_CACHE", str(folder))


@contextmanager
def s3_server() -> Iterator[str]:
    """Start moto's server; yields its address."""
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        assert port, "moto's server did not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        try:
            process.wait(TIMEOUT)
        finally:
            process.kill()
            process.stdout.close()


def client(url: str, service: str = "s3", *, key: str = KEY, secret: str = SECRET) -> Any:
    """A boto3 client of the server."""
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        service,
        endpoint_url=url,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


def upload(url: str, folder: Path, bucket: str, prefix: str) -> str:
    """Put every file of a folder under ``prefix``; returns the address."""
    s3 = client(url)
    s3.create_bucket(Bucket=bucket)
    for path in sorted(folder.iterdir()):
        if path.is_file():
            with path.open("rb") as file:
                s3.put_object(Bucket=bucket, Key=f"{prefix}/{path.name}", Body=file)
    return f"s3://{bucket}/{prefix}"


def leaks(folder: Path, *texts: str, key: str = KEY, secret: str = SECRET) -> list[str]:
    """Keys and parts of signatures that stand in any file below a folder (log, database, whatever else) or in the texts."""
    written = "\n".join(texts).encode() + b"".join(
        p.read_bytes() for p in folder.rglob("*") if p.is_file()
    )
    assert written.strip()
    signs = (
        "X-Amz-Signature",
        "X-Amz-Credential",
        "X-Amz-Security-Token",
        "AWS4-HMAC-SHA256",
        "AWSAccessKeyId",
    )
    return [
        text for text in (key, secret, quote(secret, safe=""), *signs) if text.encode() in written
    ]


class Proxy(LoopbackServer):
    """Hands every request on to the server, headers and all; ``fault`` may answer in its place.

    Args:
        upstream: address of the server.
        fault: called with the handler before anything is handed on; True means that it has dealt with the request.
        spoil: called with the handler and the body's blocks; yields what is sent instead.

    ``requests`` holds (method, path, Range header); ``most_together`` the most GETs of weights under way at once.
    """

    def __init__(
        self,
        upstream: str,
        *,
        fault: Callable[[BaseHTTPRequestHandler], bool] | None = None,
        spoil: Callable[[BaseHTTPRequestHandler, Iterator[bytes]], Iterator[bytes]] | None = None,
    ) -> None:
        self.upstream = upstream.removeprefix("http://")
        self.fault, self.spoil = fault, spoil
        self.requests: list[tuple[str, str, str | None]] = []
        self.together = self.most_together = 0
        self.lock = threading.Lock()
        outer = self

        class Handler(QuietHandler):
            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True  # the client has gone

            def do_GET(self) -> None:
                with outer.counted(self):
                    if outer.fault is None or not outer.fault(self):
                        outer.hand_on(self)

            do_HEAD = do_GET

        super().__init__(Handler)

    @contextmanager
    def counted(self, handler: BaseHTTPRequestHandler) -> Iterator[None]:
        """Note a request, and count it while it is under way when it reads weights."""
        weights = int(".safetensors" in handler.path and handler.command == "GET")
        with self.lock:
            self.requests.append((handler.command, handler.path, handler.headers.get("Range")))
            self.together += weights
            self.most_together = max(self.most_together, self.together)
        try:
            yield
        finally:
            with self.lock:
                self.together -= weights

    def hand_on(self, handler: BaseHTTPRequestHandler) -> None:
        """Ask the server the same and send its answer on."""
        connection = http.client.HTTPConnection(self.upstream, timeout=TIMEOUT)
        try:
            connection.putrequest(
                handler.command, handler.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in handler.headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            handler.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding"):
                    handler.send_header(name, value)
            handler.end_headers()
            blocks = iter(lambda: answer.read(BLOCK), b"")
            for block in blocks if self.spoil is None else self.spoil(handler, blocks):
                handler.wfile.write(block)
        finally:
            connection.close()


def main() -> None:
    """Serve until standard input ends."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
