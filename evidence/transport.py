"""Fetch JSON from a wiki: paced, retried, bounded, offline after failures.

urllib3's Retry is not used: a wiki's temporary errors (``maxlag``, rate limits) arrive in the body
of an HTTP 200, and bodies break off after their headers. The tries are counted here in any case,
over both kinds of failure, with the pacing between them.

Sources: https://www.mediawiki.org/wiki/API:Etiquette,
https://www.mediawiki.org/wiki/Manual:Maxlag_parameter,
https://foundation.wikimedia.org/wiki/Policy:Wikimedia_Foundation_User-Agent_Policy
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.auth import HTTPBasicAuth
from requests.exceptions import ConnectTimeout, ProxyError, ReadTimeout, SSLError

from evidence.settings import WikiSettings
from terminal.text import visible_line
from terminal.web_addresses import RETRIED_STATUS, parse_retry_after, same_server

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS: Final = 10.0
# First wait before a retry without Retry-After, in seconds; doubled each time.
BACKOFF_SECONDS: Final = 1.0
# Tries before a host that was never reached (no address, no connection) is given up: that is a
# missing network, and no server is spared by waiting.
UNREACHABLE_TRIES: Final = 2
MAX_REDIRECTS: Final = 3
REDIRECT_STATUS: Final = frozenset({301, 302, 303, 307, 308})
# The wiki, or the proxy before it, wants no requests of ours; after ``offline_after`` such answers
# in a row it gets none.
DENIED_STATUS: Final = frozenset({401, 403, 407})
RETRIED_CODES: Final = ("maxlag", "ratelimited", "readonly", "internal_api_error")
PROXY: Final = "the proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names"


class MediaWikiError(Exception):
    """The wiki cannot answer this request; the message is one line."""


class OfflineError(MediaWikiError):
    """The wiki is given up for this run; raised at once, without a request."""


class DeniedError(MediaWikiError):
    """The wiki refuses to serve this client."""


class _RetryableError(Exception):
    """This try failed and another may succeed.

    ``wait`` is what the server asked for, in seconds; ``unreachable``: there was no connection.
    """

    def __init__(
        self, reason: str, wait: float | None = None, *, unreachable: bool = False
    ) -> None:
        super().__init__(reason)
        self.wait = wait
        self.unreachable = unreachable


class _PlainSession(requests.Session):
    """A session that follows no redirect: requests would read all of its body first."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: ``JsonTransport`` follows redirects itself."""


@dataclass
class JsonTransport:
    """Send GET requests for JSON, one at a time.

    Redirects are followed within one server only: another one could be anything that this machine
    reaches. ``clock`` and ``sleep`` (seconds) can be replaced.
    """

    settings: WikiSettings
    session: requests.Session = field(default_factory=_PlainSession)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    offline_reason: str | None = None

    def __post_init__(self) -> None:
        self.session.headers.update(
            {"User-Agent": self.settings.user_agent, "Accept-Encoding": "gzip"}
        )
        self._lock = threading.Lock()
        self._not_before = self.clock()
        self._failures = 0
        self._reached = False

    def get(self, url: str, params: Mapping[str, str]) -> dict[str, Any]:
        """Return the JSON object at ``url``.

        Raises:
            OfflineError: too many requests in a row failed, or the server asked to stay away longer
                than ``max_wait``.
            MediaWikiError: any other failure; temporary ones were tried ``max_attempts`` times.
        """
        with self._lock:
            if self.offline_reason:
                raise OfflineError(self.offline_reason)
            reason = ""
            for attempt in range(1, self.settings.max_attempts + 1):
                self._pace()
                try:
                    answer = self._get_once(url, params)
                except DeniedError as error:
                    self._count_failure(str(error))
                    raise
                except _RetryableError as error:
                    reason = f"{_host(url)}: {error}"
                    self._note_retry(reason, error, attempt)
                else:
                    self._failures = 0
                    self._reached = True
                    return answer
            self._count_failure(reason)
            raise MediaWikiError(f"{reason}, {self.settings.max_attempts} tries")

    def _note_retry(self, reason: str, error: _RetryableError, attempt: int) -> None:
        """Set when the next try may start, or go offline."""
        limit, tries = self.settings.max_wait, self.settings.max_attempts
        if error.wait is not None and error.wait > limit:
            # Coming back sooner than asked would be rude, waiting so long useless.
            self._go_offline(f"{reason}, asks to wait {error.wait:.0f} s (limit {limit:.0f} s)")
        self._reached = self._reached or not error.unreachable
        if not self._reached:
            if attempt >= UNREACHABLE_TRIES:
                self._go_offline(reason)
            self._not_before = self.clock()
        logger.info("%s (try %d of %d)", reason, attempt, tries)
        if attempt < tries:
            wait = BACKOFF_SECONDS * 2 ** (attempt - 1) if error.wait is None else error.wait
            self._not_before = max(self._not_before, self.clock() + min(wait, limit))

    def _count_failure(self, reason: str) -> None:
        self._failures += 1
        if self._failures >= self.settings.offline_after:
            self._go_offline(reason)

    def _go_offline(self, reason: str) -> None:
        self.offline_reason = f"offline: {reason}"
        logger.warning("going on without %s", reason)
        raise OfflineError(self.offline_reason)

    def _pace(self) -> None:
        wait = self._not_before - self.clock()
        if wait > 0:
            self.sleep(wait)
        self._not_before = max(self._not_before, self.clock()) + self.settings.seconds_between

    def _get_once(self, url: str, params: Mapping[str, str], redirects: int = 0) -> dict[str, Any]:
        deadline = self.clock() + self.settings.total_timeout
        auth = self.settings.auth if same_server(self.settings.api_url, url) else None
        target, body = None, b""
        try:
            with self.session.get(
                url,
                params=dict(params),
                timeout=(CONNECT_TIMEOUT_SECONDS, self.settings.read_timeout),
                stream=True,
                allow_redirects=False,  # they are followed below
                # In UTF-8 (RFC 7617).
                auth=HTTPBasicAuth(auth[0].encode(), auth[1].encode()) if auth else None,
            ) as response:
                wait = parse_retry_after(response.headers.get("Retry-After"), self.now())
                if response.status_code in REDIRECT_STATUS:
                    target = _redirect(response, redirects)
                else:
                    _check_status(response.status_code, _host(url), wait)
                    body = self._read(response, deadline)
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
            if _is_of_proxy(error):
                reason = f"{PROXY} is not a usable address"
                raise _RetryableError(reason, unreachable=True) from error
            raise MediaWikiError(f"{url!r} is not a usable address") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _RetryableError(_name_of(error), unreachable=_is_unreachable(error)) from error
        return _decode(body, wait) if target is None else self._get_once(target, {}, redirects + 1)

    def _read(self, response: requests.Response, deadline: float) -> bytes:
        """Return the decompressed body, bounded in bytes and by a moment of the clock."""
        chunks: list[bytes] = []
        size, limit = 0, self.settings.max_bytes
        # read1 returns what has arrived: a server that drips cannot hold the loop between two looks
        # at the clock.
        while chunk := response.raw.read1(65536, decode_content=True):
            size += len(chunk)
            if size > limit:
                raise MediaWikiError(f"the answer is larger than WIKIPEDIA_MAX_BYTES ({limit})")
            chunks.append(chunk)
            if self.clock() > deadline:
                raise _RetryableError(
                    f"the answer took longer than {self.settings.total_timeout:.0f} s"
                )
        return b"".join(chunks)


# --- answers --------------------------------------------------------------------------------------


def _host(url: str) -> str:
    """Return host and port of an address, without user and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _check_status(status: int, host: str, wait: float | None) -> None:
    """Raise for every status but 200."""
    if status in RETRIED_STATUS:
        raise _RetryableError(f"HTTP {status}", wait)
    if status in DENIED_STATUS:
        raise DeniedError(f"{host}: HTTP {status}, access refused")
    if status != 200:
        raise MediaWikiError(f"{host}: HTTP {status}")


def _redirect(response: requests.Response, redirects: int) -> str:
    """Return the address an answer leads to, on the same server.

    Raises:
        MediaWikiError: another server, another protocol, nowhere, or one redirect too many.
    """
    host, location = _host(response.url), response.headers.get("Location", "")
    if redirects >= MAX_REDIRECTS:
        raise MediaWikiError(f"{host}: redirects in a circle")
    target, parts = "", urlsplit("")
    with contextlib.suppress(ValueError):
        target = urljoin(response.url, location)
        parts = urlsplit(target)
    if location and same_server(response.url, target) and "@" not in parts.netloc:
        return target
    where = f"{parts.scheme}:" if parts.scheme not in ("http", "https") else _host(target)
    raise MediaWikiError(
        f"{host}: redirects to {visible_line(where[:100]) or 'nowhere'}, which is not followed;"
        " where that is the wiki, set its address (WIKIPEDIA_API_URL)"
    )


def _decode(body: bytes, retry_after: float | None) -> dict[str, Any]:
    """Return the JSON object of a body; MediaWiki's temporary errors are retried."""
    try:
        answer = json.loads(body)
        # JSON can spell halves of characters, which neither SQLite nor a tokenizer takes.
        answer = json.loads(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise _RetryableError("the answer is not JSON, or broke off") from error
    if not isinstance(answer, dict):
        raise _RetryableError("the answer is not a JSON object")
    problem = answer.get("error")
    if problem is None:
        return answer
    details = problem if isinstance(problem, dict) else {"code": problem}
    code = str(details.get("code", ""))
    if code.startswith(RETRIED_CODES):
        # maxlag and rate limits arrive with HTTP 200; the wait is in the header all the same.
        raise _RetryableError(f"the wiki answers {code!r}", retry_after)
    info = " ".join(str(details.get("info", ""))[:200].split())
    raise MediaWikiError(f"the wiki answers {code!r}: {info}")


# --- failures -------------------------------------------------------------------------------------


def _is_unreachable(error: Exception) -> bool:
    """Tell whether there was no connection: address, refusal, proxy or TLS."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, ConnectTimeout | ProxyError | SSLError) or isinstance(
        reason, urllib3.exceptions.NewConnectionError
    )


def _is_of_proxy(error: Exception) -> bool:
    """Tell whether an unusable address is that of the proxy."""
    return isinstance(error, requests.exceptions.InvalidProxyURL) or any(
        sign in repr(error) for sign in ("SOCKS support", "ProxySchemeUnknown")
    )


def _name_of(error: Exception) -> str:
    """Name a failure without its address, which requests puts into messages.

    Up to the headers requests raises its own errors; the body is read from urllib3 with its own.
    """
    timed_out = isinstance(error, requests.ConnectionError) and "timed out" in str(error)
    match error:
        case ReadTimeout() | urllib3.exceptions.ReadTimeoutError():
            return "no answer within the read timeout"
        case ConnectTimeout():
            return "no connection within the connect timeout"
        case ProxyError():
            status = re.search(r"Tunnel connection failed: (\d{3})", str(error))
            refusal = f"{PROXY} refuses with HTTP {status[1]}" if status else ""
            return refusal or f"no connection through {PROXY}"
        case SSLError() if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return (
                "the TLS certificate is not trusted; where a proxy opens TLS, name its certificate"
                " in REQUESTS_CA_BUNDLE"
            )
        case SSLError():
            return "no TLS connection; does the address begin with http:// instead?"
        case urllib3.exceptions.DecodeError():
            return "the answer's compression is damaged"
        case urllib3.exceptions.HTTPError():
            return "the answer broke off"
        case requests.ConnectionError():
            return "no answer within the read timeout" if timed_out else "no connection"
    return type(error).__name__
