"""A small client for the MediaWiki Action API: search, one revision as of a date, most viewed articles.

A room of its own because no packaged client offers a revision as of a date together with throttling and retries at the
level of the answer's body. What Wikimedia asks of clients is followed: serial requests, one User-Agent with the operator's
contact, gzip, ``maxlag``, ``Retry-After``, pacing. What servers really do is survived: truncated or non-JSON bodies,
oversized answers, stalls, continue tokens that repeat; after a bounded number of failures the client is offline and says
so at once.

Sources: https://www.mediawiki.org/wiki/API:Etiquette, https://www.mediawiki.org/wiki/Manual:Maxlag_parameter,
https://www.mediawiki.org/wiki/API:Revisions, https://foundation.wikimedia.org/wiki/Policy:Wikimedia_Foundation_User-Agent_Policy
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, ParamSpec, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import requests
import urllib3
from requests.auth import HTTPBasicAuth

import config
from evidence.wikitext import (
    CATEGORY_NAMESPACES,
    FILE_NAMESPACES,
    is_disambiguation,
    redirect_target,
)
from questions.characters import nfc
from terminal.redaction import keep_secret
from terminal.text import visible_line
from terminal.web_addresses import same_server, web_address

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

CONNECT_TIMEOUT_SECONDS: Final = 10.0
# First wait before a retry without Retry-After, in seconds; doubled each time.
BACKOFF_SECONDS: Final = 1.0
# Tries before a host that was never reached (no address, no connection) is given up: that is a missing network, and no
# server is spared by waiting.
UNREACHABLE_TRIES: Final = 2
# Wikimedia: 200 requests a minute with a contact in the User-Agent, 10 without.
INTERVAL_WITH_CONTACT_SECONDS: Final = 0.3
INTERVAL_WITHOUT_CONTACT_SECONDS: Final = 6.0
# A query that has not completed after so many answers is cut off with what it has.
MAX_CONTINUATIONS: Final = 10
# Redirects followed from one title (MediaWiki itself follows one), and from one address.
MAX_REDIRECTS: Final = 3
REDIRECT_STATUS: Final = frozenset({301, 302, 303, 307, 308})
# Pageviews of a day appear more than 24 hours later; older than this the list is not "latest" any more.
PAGEVIEW_DAYS_BACK: Final = 4
RETRIED_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
# The wiki, or the proxy before it, wants no requests of ours; after ``offline_after`` such answers in a row it gets none.
DENIED_STATUS: Final = frozenset({401, 403, 407})
RETRIED_CODES: Final = ("maxlag", "ratelimited", "readonly", "internal_api_error")
PROXY: Final = "the proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names"
# MediaWiki's own limit (https://www.mediawiki.org/wiki/Manual:Page_title).
MAX_TITLE_BYTES: Final = 255
# CirrusSearch refuses queries over 300 characters; counted in bytes, other engines take them too.
MAX_QUERY_BYTES: Final = 250


class MediaWikiError(Exception):
    """The wiki cannot answer this request; the message is one line."""


class OfflineError(MediaWikiError):
    """The wiki is given up for this run; raised at once, without a request."""


class NotFoundError(MediaWikiError):
    """HTTP 404: this address holds nothing (yet)."""


class DeniedError(MediaWikiError):
    """The wiki refuses to serve this client."""


class FutureRevisionError(MediaWikiError):
    """A text newer than the as-of date was about to be served. It never is."""


@dataclass(frozen=True)
class WikiSettings:
    """How the client behaves; seconds and bytes. ``interval`` None follows Wikimedia's limits by ``contact``.

    User and password in an address are moved to ``auth`` and ``pageviews_auth``, so that they are sent and never shown.
    """

    api_url: str
    contact: str = ""
    interval: float | None = None
    read_timeout: float = 20.0
    total_timeout: float = 60.0
    max_bytes: int = 8_000_000
    maxlag: int = 5
    max_attempts: int = 4
    max_wait: float = 60.0
    offline_after: int = 2
    pageviews_url: str = "https://wikimedia.org/api/rest_v1"
    auth: tuple[str, str] | None = field(default=None, repr=False)
    pageviews_auth: tuple[str, str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for address, credentials in (("api_url", "auth"), ("pageviews_url", "pageviews_auth")):
            if "@" not in getattr(self, address):
                continue
            found = web_address(getattr(self, address))
            object.__setattr__(self, address, found.url)
            object.__setattr__(self, credentials, found.auth)
            user, password = found.auth or ("", "")
            keep_secret(password or user)

    @classmethod
    def from_config(cls) -> WikiSettings:
        """The settings in config.py."""
        return cls(
            api_url=config.WIKIPEDIA_API_URL,
            contact=config.WIKIPEDIA_CONTACT,
            interval=config.WIKIPEDIA_MIN_INTERVAL_SECONDS,
            read_timeout=config.WIKIPEDIA_READ_TIMEOUT_SECONDS,
            total_timeout=config.WIKIPEDIA_TOTAL_TIMEOUT_SECONDS,
            max_bytes=config.WIKIPEDIA_MAX_BYTES,
            maxlag=config.WIKIPEDIA_MAXLAG_SECONDS,
            max_attempts=config.WIKIPEDIA_MAX_ATTEMPTS,
            max_wait=config.WIKIPEDIA_MAX_WAIT_SECONDS,
            offline_after=config.WIKIPEDIA_OFFLINE_AFTER,
            pageviews_url=config.PAGEVIEWS_API_URL,
        )

    @property
    def seconds_between(self) -> float:
        """Seconds kept between the starts of two requests."""
        if self.interval is not None:
            return self.interval
        return INTERVAL_WITH_CONTACT_SECONDS if self.contact else INTERVAL_WITHOUT_CONTACT_SECONDS

    @property
    def user_agent(self) -> str:
        """One User-Agent for every request: program, operator's contact, library."""
        contact = f" ({self.contact})" if self.contact else ""
        return f"Forecaster/1.0{contact} python-requests/{requests.__version__}"


@dataclass(frozen=True)
class SearchHit:
    """A search result: title after redirects, and the newest revision as the search saw it ("" when unknown)."""

    title: str
    revision_id: str = ""
    timestamp: str = ""
    disambiguation: bool = False


@dataclass(frozen=True)
class Revision:
    """One revision of one page. ``timestamp`` is UTC ISO-8601 with Z, ``url`` a permanent link, ``text`` wikitext."""

    title: str
    revision_id: str
    timestamp: str
    url: str
    text: str
    disambiguation: bool = False


@dataclass(frozen=True)
class SiteInfo:
    """What a wiki calls things: folded namespace names, words for REDIRECT, and its main page."""

    file_namespaces: frozenset[str] = FILE_NAMESPACES
    category_namespaces: frozenset[str] = CATEGORY_NAMESPACES
    namespaces: frozenset[str] = frozenset(
        {
            "special",
            "user",
            "user talk",
            "talk",
            "wikipedia",
            "file",
            "help",
            "template",
            "category",
            "portal",
            "draft",
            "module",
        }
    )
    redirect_words: tuple[str, ...] = ("redirect",)
    main_page: str = "Main Page"


class _RetryableError(Exception):
    """This try failed and another may succeed; ``wait`` is what the server asked for, in seconds.

    ``unreachable``: the host was not even connected to.
    """

    def __init__(
        self, reason: str, wait: float | None = None, *, unreachable: bool = False
    ) -> None:
        super().__init__(reason)
        self.wait = wait
        self.unreachable = unreachable


def _host(url: str) -> str:
    """Host and port of an address as a message names them: without the user and password that may stand before them."""
    return urlsplit(url).netloc.rpartition("@")[2]


class _PlainSession(requests.Session):
    """A session that looks at no redirect: requests would read all of its body first, even where it follows none."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: ``JsonTransport`` follows redirects itself."""


@dataclass
class JsonTransport:
    """GET requests for JSON, one at a time, paced, retried, bounded; ``clock`` and ``sleep`` (seconds) can be replaced.

    Redirects are followed within one server only: another one could be anything that this machine reaches.
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
            OfflineError: too many requests in a row failed, or the server asked to stay away longer than ``max_wait``.
            NotFoundError: HTTP 404.
            MediaWikiError: any other failure; temporary ones have been tried ``max_attempts`` times.
        """
        with self._lock:
            if self.offline_reason:
                raise OfflineError(self.offline_reason)
            return self._get_with_retries(url, params)

    def _get_with_retries(self, url: str, params: Mapping[str, str]) -> dict[str, Any]:
        host = _host(url)
        for attempt in range(1, self.settings.max_attempts + 1):
            self._pace()
            try:
                answer = self._get_once(url, params)
            except DeniedError as error:
                self._count_failure(str(error))
                raise
            except _RetryableError as error:
                wait = BACKOFF_SECONDS * 2 ** (attempt - 1) if error.wait is None else error.wait
                if wait > self.settings.max_wait and error.wait is not None:
                    # Coming back sooner than asked would be rude, waiting so long useless.
                    self._go_offline(
                        f"{host}: {error}, asks to wait {wait:.0f} s (limit {self.settings.max_wait:.0f} s)"
                    )
                reason = f"{host}: {error}"
                if not error.unreachable:
                    self._reached = True
                elif not self._reached:
                    if attempt >= UNREACHABLE_TRIES:
                        self._go_offline(reason)
                    self._not_before = self.clock()
                logger.info("%s (try %d of %d)", reason, attempt, self.settings.max_attempts)
                if attempt < self.settings.max_attempts:
                    self._not_before = max(
                        self._not_before, self.clock() + min(wait, self.settings.max_wait)
                    )
            else:
                self._failures = 0
                self._reached = True
                return answer
        self._count_failure(reason)
        raise MediaWikiError(f"{reason}, {self.settings.max_attempts} tries")

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
        timeout = (CONNECT_TIMEOUT_SECONDS, self.settings.read_timeout)
        target: str | None = None
        try:
            with self.session.get(
                url,
                params=dict(params),
                timeout=timeout,
                stream=True,
                allow_redirects=False,  # they are followed below
                auth=self._auth(url),
            ) as response:
                retry_after = parse_retry_after(response.headers.get("Retry-After"), self.now())
                if response.status_code in RETRIED_STATUS:
                    raise _RetryableError(f"HTTP {response.status_code}", retry_after)
                if response.status_code == 404:
                    raise NotFoundError(f"{_host(url)}: HTTP 404")
                if response.status_code in DENIED_STATUS:
                    raise DeniedError(f"{_host(url)}: HTTP {response.status_code}, access refused")
                if response.status_code in REDIRECT_STATUS:
                    target = _redirect(response, redirects)
                elif response.status_code != 200:
                    raise MediaWikiError(f"{_host(url)}: HTTP {response.status_code}")
                else:
                    body = self._read(response, deadline)
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
            if _is_of_proxy(error):
                raise _RetryableError(
                    f"{PROXY} is not a usable address", unreachable=True
                ) from error
            raise MediaWikiError(f"{url!r} is not a usable address") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _RetryableError(_name_of(error), unreachable=_is_unreachable(error)) from error
        return (
            _decode(body, retry_after)
            if target is None
            else self._get_once(target, {}, redirects + 1)
        )

    def _auth(self, url: str) -> HTTPBasicAuth | None:
        """User and password for the server of an address, in UTF-8 (RFC 7617), if it has any."""
        for address, auth in (
            (self.settings.api_url, self.settings.auth),
            (self.settings.pageviews_url, self.settings.pageviews_auth),
        ):
            if auth is not None and same_server(address, url):
                return HTTPBasicAuth(auth[0].encode(), auth[1].encode())
        return None

    def _read(self, response: requests.Response, deadline: float) -> bytes:
        """The decompressed body, bounded in bytes and by a moment of the clock."""
        chunks: list[bytes] = []
        size = 0
        # read1 returns what has arrived: a server that drips cannot hold the loop between two looks at the clock.
        while chunk := response.raw.read1(65536, decode_content=True):
            size += len(chunk)
            if size > self.settings.max_bytes:
                raise MediaWikiError(
                    f"the answer is larger than WIKIPEDIA_MAX_BYTES ({self.settings.max_bytes})"
                )
            chunks.append(chunk)
            if self.clock() > deadline:
                raise _RetryableError(
                    f"the answer took longer than {self.settings.total_timeout:.0f} s"
                )
        return b"".join(chunks)


def _redirect(response: requests.Response, redirects: int) -> str:
    """Where an answer leads, on the same server.

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
    if not location or not same_server(response.url, target) or "@" in parts.netloc:
        where = (
            parts.netloc.rpartition("@")[2]
            if parts.scheme in ("http", "https")
            else f"{parts.scheme}:"
        )
        raise MediaWikiError(
            f"{host}: redirects to {visible_line(where[:100]) or 'nowhere'}, which is not followed;"
            " where that is the wiki, set its address (WIKIPEDIA_API_URL)"
        )
    return target


def _is_unreachable(error: Exception) -> bool:
    """Whether no connection was made at all: no address for the name, refused, no answer to the connecting, proxy or TLS."""
    if isinstance(
        error,
        requests.exceptions.ConnectTimeout
        | requests.exceptions.ProxyError
        | requests.exceptions.SSLError,
    ):
        return True
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, urllib3.exceptions.NewConnectionError)


def _is_of_proxy(error: Exception) -> bool:
    """Whether an unusable address is the one of the environment's proxy (requests has a class for one case in three)."""
    return isinstance(error, requests.exceptions.InvalidProxyURL) or any(
        sign in repr(error) for sign in ("SOCKS support", "ProxySchemeUnknown")
    )


def _name_of(error: Exception) -> str:
    """What went wrong in words that hold no address: requests puts the whole URL into its messages.

    Until the headers are there requests raises its own errors; the body is read from urllib3, which raises its own.
    """
    if isinstance(error, requests.exceptions.ReadTimeout | urllib3.exceptions.ReadTimeoutError):
        return "no answer within the read timeout"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection within the connect timeout"
    if isinstance(error, requests.exceptions.ProxyError):
        status = re.search(r"Tunnel connection failed: (\d{3})", str(error))
        return (
            f"{PROXY} refuses with HTTP {status[1]}" if status else f"no connection through {PROXY}"
        )
    if isinstance(error, requests.exceptions.SSLError):
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return "the TLS certificate is not trusted; where a proxy opens TLS, name its certificate in REQUESTS_CA_BUNDLE"
        return "no TLS connection; does the address begin with http:// instead?"
    if isinstance(error, urllib3.exceptions.DecodeError):
        return "the answer's compression is damaged"
    if isinstance(error, urllib3.exceptions.HTTPError):
        return "the answer broke off"
    if isinstance(error, requests.ConnectionError):
        return "no answer within the read timeout" if "timed out" in str(error) else "no connection"
    return type(error).__name__


def _decode(body: bytes, retry_after: float | None) -> dict[str, Any]:
    """JSON object from an answer's body; MediaWiki's own temporary errors become retries."""
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
    code = str(problem.get("code", "")) if isinstance(problem, dict) else str(problem)
    if code.startswith(RETRIED_CODES):
        # maxlag and rate limits arrive with HTTP 200; the wait stands in the header all the same.
        raise _RetryableError(f"the wiki answers {code!r}", retry_after)
    info = str(problem.get("info", ""))[:200] if isinstance(problem, dict) else ""
    raise MediaWikiError(f"the wiki answers {code!r}: {' '.join(info.split())}")


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait from a Retry-After header: a number of seconds or an HTTP date; None when absent or unreadable.

    Source: RFC 9110, section 10.2.3.
    """
    if not value:
        return None
    value = value.strip()
    if re.fullmatch(r"\d{1,9}(?:\.\d+)?", value):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def _as_documented(method: Callable[P, T]) -> Callable[P, T]:
    """An answer that has another form than the API's documentation says is a ``MediaWikiError``, as any other failure."""

    @functools.wraps(method)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except (
            AttributeError,
            IndexError,
            KeyError,
            TypeError,
            ValueError,
            OverflowError,
        ) as error:
            reason = f"{type(error).__name__}: {error}"[:120]
            raise MediaWikiError(
                f"the wiki's answer is not of the documented form ({reason})"
            ) from error

    return checked


class MediaWikiClient:
    """Search and read one wiki.

    Args:
        settings: address, contact and limits.
        transport, pageviews: replaceable for tests; the page-view service is another host with its own patience.
    """

    def __init__(
        self,
        settings: WikiSettings,
        *,
        transport: JsonTransport | None = None,
        pageviews: JsonTransport | None = None,
    ) -> None:
        self.settings = settings
        self.transport = transport or JsonTransport(settings)
        self.pageviews = pageviews or JsonTransport(settings)
        self._site: SiteInfo | None = None

    @property
    def offline_reason(self) -> str | None:
        """Why the wiki is given up for this run, or None."""
        return self.transport.offline_reason

    def call(self, **params: str) -> dict[str, Any]:
        """One Action API request in JSON, format version 2, with ``maxlag``. Raises as ``JsonTransport.get``."""
        fixed = {"format": "json", "formatversion": "2", "maxlag": str(self.settings.maxlag)}
        return self.transport.get(self.settings.api_url, {**params, **fixed})

    def query(self, **params: str) -> Iterator[dict[str, Any]]:
        """The ``query`` objects of a request and its continuations, until the first batch of pages is complete.

        A continue token that was seen before, or the ``MAX_CONTINUATIONS``-th answer, ends it with a warning.
        Source: https://www.mediawiki.org/wiki/API:Continue
        """
        token: dict[str, str] = {}
        seen: set[str] = set()
        for _ in range(MAX_CONTINUATIONS):
            answer = self.call(action="query", **{**params, **token})
            query = answer.get("query")
            yield query if isinstance(query, dict) else {}
            following = answer.get("continue")
            if not isinstance(following, dict) or answer.get("batchcomplete"):
                return
            key = json.dumps(following, sort_keys=True)
            if key in seen:
                logger.warning("the wiki repeats a continue token; its answer is taken as it is")
                return
            seen.add(key)
            token = {name: str(value) for name, value in following.items()}
        logger.warning(
            "the wiki's answer did not end after %d parts; it is taken as it is", MAX_CONTINUATIONS
        )

    @_as_documented
    def search(self, text: str, limit: int) -> list[SearchHit]:
        """Articles that hold the words of ``text``, best first, at most ``limit``; redirects are resolved.

        The search knows only today's index: titles and ranking are those of today, whatever date the evidence is for.
        Source: https://www.mediawiki.org/wiki/API:Search
        """
        text = _search_text(text)
        if not text:
            return []
        pages: dict[str, dict[str, Any]] = {}
        for query in self.query(
            generator="search",
            gsrsearch=text,
            gsrwhat="text",  # without it the SQLite backend looks at titles only
            gsrnamespace="0",
            gsrlimit=str(limit),
            redirects="1",
            prop="revisions|pageprops",
            rvprop="ids|timestamp",
            ppprop="disambiguation",
        ):
            for page in query.get("pages") or []:
                if isinstance(page, dict) and _is_name(page.get("title")):
                    pages.setdefault(page["title"], {}).update(page)
        # pages come in page-id order; "index" is the rank
        ranked = sorted(pages.values(), key=lambda page: int(page.get("index", 1_000_000)))
        return [
            _hit(page) for page in ranked if not page.get("missing") and not page.get("invalid")
        ][:limit]

    @_as_documented
    def revision(self, title: str, *, as_of: str | None = None) -> Revision | None:
        """The newest revision of a page, or its newest at ``as_of`` (UTC ISO-8601 with Z); None when there is none.

        None also stands for missing, deleted and hidden pages, redirect loops and pages that are not wikitext.
        Redirects are followed as they stood in the revision itself. The text is raw wikitext: extracts and parsed HTML of
        an old revision hold today's text or today's templates.

        Raises:
            FutureRevisionError: the wiki sent something newer than ``as_of``.
            MediaWikiError: the wiki cannot be read.
        """
        seen: set[str] = set()
        for _ in range(MAX_REDIRECTS + 1):
            revision = self._revision_of(title, as_of)
            if revision is None:
                return None
            target = redirect_target(revision.text, self._redirect_words(revision.text))
            if target is None:
                return revision
            seen |= {title, revision.title}
            title = target.partition("#")[0].strip()
            if not title or title in seen:
                logger.info("redirect loop at %r", title)
                return None
        return None

    @_as_documented
    def revision_id(self, title: str, *, as_of: str | None = None) -> str | None:
        """The id of the revision that ``revision`` would read, without its text and without following a redirect."""
        page = self._page(title, as_of, rvprop="ids|timestamp")
        return str(page["revisions"][0]["revid"]) if page else None

    def _page(self, title: str, as_of: str | None, **wanted: str) -> dict[str, Any]:
        """The page with its one newest revision at ``as_of``; empty when there is none."""
        start = {"rvstart": as_of} if as_of else {}
        answer = self.call(
            action="query",
            prop="revisions",
            titles=title,
            rvlimit="1",
            rvdir="older",
            **wanted,
            **start,
        )
        query = answer.get("query")
        pages = query.get("pages") if isinstance(query, dict) else None
        page = pages[0] if isinstance(pages, list) and pages and isinstance(pages[0], dict) else {}
        revisions = page.get("revisions")
        if page.get("missing") or page.get("invalid") or not revisions:
            return {}
        newest = revisions[0]
        refuse_future(
            str(newest.get("timestamp", "")), as_of, f"revision {newest.get('revid')} of {title!r}"
        )
        return page

    def _revision_of(self, title: str, as_of: str | None) -> Revision | None:
        page = self._page(title, as_of, rvprop="ids|timestamp|content", rvslots="main")
        if not page:
            return None
        newest = page["revisions"][0]
        slot = (newest.get("slots") or {}).get("main") or {}
        if slot.get("contentmodel", "wikitext") != "wikitext" or not isinstance(
            slot.get("content"), str
        ):
            return None  # hidden revisions have no content, Lua modules and JSON pages are not articles
        if not (_is_name(page.get("title")) and _is_name(str(newest["revid"]))):
            return None
        revision_id = str(newest["revid"])
        return Revision(
            title=str(page["title"]),
            revision_id=revision_id,
            timestamp=str(newest.get("timestamp", "")),
            url=f"{self.settings.api_url.removesuffix('api.php')}index.php?oldid={revision_id}",
            text=slot["content"],
            disambiguation=is_disambiguation(slot["content"]),
        )

    def _redirect_words(self, text: str) -> tuple[str, ...]:
        # Ask the wiki for its own words only where a text could be a redirect at all.
        return self.site().redirect_words if text.lstrip().startswith("#") else ("redirect",)

    def site(self) -> SiteInfo:
        """The wiki's names for things, asked once; English defaults when the wiki does not say.

        Source: https://www.mediawiki.org/wiki/API:Siteinfo
        """
        if self._site is None:
            try:
                answer = self.call(
                    action="query",
                    meta="siteinfo",
                    siprop="general|namespaces|namespacealiases|magicwords",
                )
                self._site = _as_documented(_site_info)(answer.get("query") or {})
            except MediaWikiError as error:
                logger.info("no site information (%s); English names are used", error)
                return SiteInfo()
        return self._site

    @_as_documented
    def most_viewed(self, limit: int, *, today: date | None = None) -> list[str]:
        """Titles of the most viewed articles of the latest loaded day before ``today`` (UTC), most viewed first.

        Main page, namespaces other than articles, and "-" are filtered. A day that is not loaded yet (404) is skipped,
        up to ``PAGEVIEW_DAYS_BACK``; an empty list when none is.
        Source: https://doc.wikimedia.org/generated-data-platform/aqs/analytics-api/reference/page-views.html
        """
        host = urlsplit(self.settings.api_url).hostname or ""
        project = quote(host.removesuffix(".org").replace(".m.", "."))
        today = today or datetime.now(UTC).date()
        for back in range(1, PAGEVIEW_DAYS_BACK + 1):
            day = today - timedelta(days=back)
            url = f"{self.settings.pageviews_url.rstrip('/')}/metrics/pageviews/top/{project}/all-access/{day:%Y/%m/%d}"
            try:
                answer = self.pageviews.get(url, {})
            except NotFoundError:
                continue
            return self._article_titles(answer)[:limit]
        return []

    def _article_titles(self, answer: Mapping[str, Any]) -> list[str]:
        site = self.site()
        titles: list[str] = []
        for item in answer.get("items") or []:
            for row in item.get("articles") or []:
                title = str(row.get("article", "")).replace("_", " ").strip()
                namespace, colon, _ = title.partition(":")
                other = bool(colon) and namespace.strip().casefold() in site.namespaces
                if (
                    title
                    and title != "-"
                    and not other
                    and title not in {site.main_page, "Main Page"}
                ):
                    titles.append(title)
        return list(dict.fromkeys(titles))


def refuse_future(timestamp: str, as_of: str | None, what: str) -> None:
    """Raise ``FutureRevisionError`` unless ``timestamp`` is at or before ``as_of``; both UTC ISO-8601 with Z.

    A timestamp that is no moment of the calendar is refused too when a date is to be kept. Not an ``assert``:
    it must hold under ``python -O``.
    """
    if as_of is None:
        return
    if not _is_moment(timestamp) or timestamp > as_of:
        raise FutureRevisionError(
            f"{what} is dated {timestamp or 'nothing'}, newer than {as_of}; it is not used"
        )


def _is_moment(timestamp: str) -> bool:
    """Whether a text is a moment of the calendar as MediaWiki writes it (UTC ISO-8601 with Z)."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", timestamp):
        return False
    try:
        datetime.fromisoformat(timestamp)
    except ValueError:
        return False
    return True


def _search_text(text: str) -> str:
    """Words of a query without a search engine's operators, at most ``MAX_QUERY_BYTES`` of UTF-8.

    Where already the first word is longer, as a sentence without spaces is, its beginning is taken.
    """
    words = re.sub(r"[\"“”~!?*\\:;()\[\]{}|<>^=+]", " ", nfc(text)).split()
    kept: list[str] = []
    left = MAX_QUERY_BYTES
    for word in (w.lstrip("-") for w in words):
        size = len(word.encode("utf-8", "replace"))
        if size > left:
            break
        if word:
            kept.append(word)
            left -= size + 1
    first = next((w for w in words if w.strip("-")), "").lstrip("-")
    return " ".join(kept) or first.encode("utf-8", "replace")[:MAX_QUERY_BYTES].decode(
        "utf-8", "ignore"
    )


def _is_name(value: object) -> bool:
    """Whether a value can be a page's title; it is stored, and quoted with each passage."""
    return isinstance(value, str) and 0 < len(value.encode("utf-8", "replace")) <= MAX_TITLE_BYTES


def _hit(page: Mapping[str, Any]) -> SearchHit:
    newest = (page.get("revisions") or [{}])[0]
    return SearchHit(
        title=page["title"],
        revision_id=str(newest.get("revid", "")),
        timestamp=str(newest.get("timestamp", "")),
        disambiguation="disambiguation" in (page.get("pageprops") or {}),
    )


def _site_info(query: Mapping[str, Any]) -> SiteInfo:
    names: dict[int, set[str]] = {}
    for space in (query.get("namespaces") or {}).values():
        names.setdefault(int(space["id"]), set()).update(
            str(space[key]).casefold() for key in ("name", "canonical") if space.get(key)
        )
    for alias in query.get("namespacealiases") or []:
        names.setdefault(int(alias["id"]), set()).add(str(alias.get("alias", "")).casefold())
    words = [
        word
        for magic in query.get("magicwords") or []
        if magic.get("name") == "redirect"
        for word in magic["aliases"]
    ]
    default = SiteInfo()
    return SiteInfo(
        file_namespaces=FILE_NAMESPACES | names.get(6, set()) | names.get(-2, set()),
        category_namespaces=CATEGORY_NAMESPACES | names.get(14, set()),
        namespaces=frozenset(
            n for number, group in names.items() if number != 0 for n in group if n
        )
        or default.namespaces,
        redirect_words=tuple(word.lstrip("#") for word in words) or default.redirect_words,
        main_page=str((query.get("general") or {}).get("mainpage") or default.main_page),
    )
