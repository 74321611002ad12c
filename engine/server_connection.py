"""Talk to one model server over HTTP: retries, time-outs, and errors of one line.

What is temporary (429, 503, a reset) is tried again with growing pauses or after ``Retry-After``;
what is wrong with the request itself (400, 404, 422) is not.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from terminal.redaction import keep_secret, redact
from terminal.text import visible_line
from terminal.web_addresses import RETRIED_STATUS, parse_retry_after

logger = logging.getLogger(__name__)

# First pause before a retry without Retry-After, in seconds; doubled each time.
BACKOFF_SECONDS: Final = 0.5
# Characters of a server's own words that are repeated.
CAUSE_LENGTH: Final = 200
# Bytes of an answer: a thousand prompts of 128 log-probabilities are 5 MB.
MAX_ANSWER: Final = 100_000_000


class ServerError(Exception):
    """The server refused a request or gave an answer that cannot be used; one line."""


class UnreachableError(ServerError):
    """The server cannot be reached or stayed overloaded through all tries."""


@dataclass(frozen=True)
class Patience:
    """How long one server is waited for.

    Args:
        attempts: tries of one request.
        connect_seconds: seconds to connect.
        read_seconds: seconds without a byte before a try is given up.
        max_wait_seconds: longest ``Retry-After`` that is waited for.
    """

    attempts: int = 4
    connect_seconds: float = 5
    read_seconds: float = 600
    max_wait_seconds: float = 60


@dataclass(frozen=True)
class Answer:
    """One answer of a server."""

    status: int
    content: bytes
    retry_after: str | None = None

    @property
    def text(self) -> str:
        """Its text, whatever its bytes are."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """Parse it.

        Raises:
            ValueError: it is no JSON, or nested too deeply.
        """
        try:
            return json.loads(self.content)
        except RecursionError:
            raise ValueError("nested too deeply") from None


@dataclass
class ServerConnection:
    """Send JSON requests to one address.

    Args:
        address: ``http(s)://host[:port][/prefix]``, without credentials.
        key_variable: environment variable with the API key; "" sends none.
        patience: tries and time-outs.
        sleep: waits so many seconds; for tests.
        failures: tries that failed so far.

    Safe to use from several threads.
    """

    address: str
    key_variable: str = ""
    patience: Patience = Patience()
    sleep: Callable[[float], object] = time.sleep
    failures: int = 0
    _client: Any = field(default=None, repr=False)

    def open(self) -> None:
        """Make the client; nothing is sent yet.

        A proxy is taken from the environment, but not for an address of this machine.

        Raises:
            ServerError: the key or a proxy of the environment cannot be used.
        """
        import httpx  # half a second to import

        logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each request
        headers = {"Accept-Encoding": "identity"}
        if key := os.environ.get(self.key_variable, "").strip() if self.key_variable else "":
            keep_secret(key)
            if not (key.isascii() and key.isprintable()):
                raise ServerError(
                    f"{self.address}: the key in {self.key_variable} has characters that no header"
                    " can carry; allowed: printable ASCII; correct it"
                )
            headers["Authorization"] = f"Bearer {key}"
        seconds = httpx.Timeout(self.patience.read_seconds, connect=self.patience.connect_seconds)
        limits = httpx.Limits(max_connections=None)
        try:
            local = httpx.URL(self.address).host in ("localhost", "127.0.0.1", "::1")
            self._client = httpx.Client(
                headers=headers, timeout=seconds, limits=limits, trust_env=not local
            )
        except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:
            raise ServerError(
                f"{self.address}: a proxy or certificate of the environment cannot be used:"
                f" {_transport_line(error)}; correct HTTP_PROXY, HTTPS_PROXY, ALL_PROXY or"
                " SSL_CERT_FILE"
            ) from None

    def close(self) -> None:
        """Close all connections; may be called more than once."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def get(self, path: str, *, missing: Any = None) -> Any:
        """Return the JSON at ``path`` (text where it is none); ``missing`` for a 404."""
        response = self._sent("GET", path, None, accepted=(404, 405, 501))
        if response.status != 200:
            return missing
        with contextlib.suppress(ValueError):
            return response.json()
        return response.text

    def post(self, path: str, body: Any, *, optional: bool = False) -> Any:
        """Return the JSON answer to ``body``.

        With ``optional`` a server that has no such address gives None.

        Raises:
            UnreachableError: all tries failed.
            ServerError: refused, or no JSON.
        """
        response = self._sent("POST", path, body, accepted=(404, 405, 501) if optional else ())
        if response.status != 200:
            return None
        try:
            return response.json()
        except ValueError:
            what = visible_line(redact(response.text[:CAUSE_LENGTH]))
            raise ServerError(f"{self.address}{path} answered no JSON: {what!r}") from None

    def _sent(self, method: str, path: str, body: Any, *, accepted: tuple[int, ...]) -> Answer:
        """Send one request until it is answered for good."""
        import httpx

        content = None if body is None else json.dumps(body, separators=(",", ":"))
        headers = {} if body is None else {"Content-Type": "application/json"}
        reason = ""
        for attempt in range(1, self.patience.attempts + 1):
            wait = BACKOFF_SECONDS * 2 ** (attempt - 1)
            try:
                answer = self._exchange(method, path, content, headers)
            except (httpx.RequestError, httpx.InvalidURL) as error:
                reason = _transport_line(error)
            else:
                if answer.status == 200 or answer.status in accepted:
                    return answer
                reason = _status_line(answer)
                if answer.status not in RETRIED_STATUS:
                    raise ServerError(f"{self.address}{path} answered {reason}")
                asked = parse_retry_after(answer.retry_after, datetime.now(UTC))
                if asked is not None and asked > self.patience.max_wait_seconds:
                    limit = self.patience.max_wait_seconds
                    raise UnreachableError(
                        f"{self.address} answered {reason}, asks to wait {asked:.0f} s"
                        f" (limit {limit:.0f} s)"
                    )
                wait = wait if asked is None else asked
            self.failures += 1
            if attempt < self.patience.attempts:
                logger.debug("%s%s: %s; again in %.1f s", self.address, path, reason, wait)
                self.sleep(wait)
        raise UnreachableError(f"{self.address}: {reason}, {self.patience.attempts} tries")

    def _exchange(
        self, method: str, path: str, content: str | None, headers: dict[str, str]
    ) -> Answer:
        """Send one request once; read no more of the answer than is useful."""
        client = self._client
        if client is None:
            raise UnreachableError(f"{self.address}: the connection is closed")
        url, body = self.address + path, bytearray()
        with client.stream(method, url, content=content, headers=headers) as response:
            begun = time.monotonic()
            for part in response.iter_bytes():
                body += part
                if len(body) > MAX_ANSWER:
                    raise ServerError(
                        f"{url} answered more than {MAX_ANSWER // 1_000_000} MB; allowed: less"
                    )
                if time.monotonic() - begun > self.patience.read_seconds:
                    seconds = self.patience.read_seconds
                    raise ServerError(f"{url} does not end its answer within {seconds:g} s")
            return Answer(response.status_code, bytes(body), response.headers.get("Retry-After"))


def _transport_line(error: Exception) -> str:
    words = visible_line(redact(str(error))) or type(error).__name__
    return words[:CAUSE_LENGTH]


def _status_line(response: Answer) -> str:
    """Return a status with the server's own words, as far as they can be shown."""
    words = response.text[: 20 * CAUSE_LENGTH]
    with contextlib.suppress(ValueError, AttributeError, TypeError):
        error = response.json()
        error = error.get("error", error)
        words = error if isinstance(error, str) else str(error.get("message") or error)
    words = visible_line(redact(" ".join(words.split())))[:CAUSE_LENGTH]
    return f"{response.status}: {words}" if words else str(response.status)
