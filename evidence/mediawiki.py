"""Search a wiki and read revisions as of a date, through the MediaWiki Action API.

No packaged client offers a revision as of a date together with retries at the level of the
answer's body. Continue tokens that repeat, and answers of an undocumented form, are survived.

Source: https://www.mediawiki.org/wiki/API:Revisions
"""

from __future__ import annotations

import functools
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, ParamSpec, TypeVar
from urllib.parse import urlsplit

from evidence.as_of import refuse_future
from evidence.settings import WikiSettings
from evidence.transport import JsonTransport, MediaWikiError
from evidence.wikitext import CATEGORY_NAMESPACES, FILE_NAMESPACES, redirect_target
from questions.characters import nfc
from storage.records import Article

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# A query that has not completed after so many answers is cut off with what it has.
MAX_CONTINUATIONS: Final = 10
# Redirects followed from one title; MediaWiki itself follows one.
MAX_TITLE_REDIRECTS: Final = 3
# MediaWiki's own limit (https://www.mediawiki.org/wiki/Manual:Page_title).
MAX_TITLE_BYTES: Final = 255
# CirrusSearch refuses queries over 300 characters; counted in bytes, other engines take them too.
MAX_QUERY_BYTES: Final = 250


@dataclass(frozen=True)
class SearchHit:
    """A search result: title after redirects, newest revision ("" when unknown)."""

    title: str
    revision_id: str = ""
    disambiguation: bool = False


@dataclass(frozen=True)
class SiteInfo:
    """A wiki's names for things: folded namespaces, and its words for REDIRECT."""

    file_namespaces: frozenset[str] = FILE_NAMESPACES
    category_namespaces: frozenset[str] = CATEGORY_NAMESPACES
    redirect_words: tuple[str, ...] = ("redirect",)


def _as_documented(method: Callable[P, T]) -> Callable[P, T]:
    """Turn the errors of reading an answer of another form into a MediaWikiError."""

    @functools.wraps(method)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except (
            AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError,
        ) as error:  # fmt: skip
            reason = f"{type(error).__name__}: {error}"[:120]
            raise MediaWikiError(
                f"the wiki's answer is not of the documented form ({reason})"
            ) from error

    return checked


class MediaWikiClient:
    """Search and read one wiki; ``transport`` is replaceable for tests."""

    def __init__(self, settings: WikiSettings, *, transport: JsonTransport | None = None) -> None:
        self.settings = settings
        self.transport = transport or JsonTransport(settings)
        self._site: SiteInfo | None = None

    @property
    def offline_reason(self) -> str | None:
        """Why the wiki is given up for this run, or None."""
        return self.transport.offline_reason

    @property
    def source(self) -> str:
        """Return "wikipedia" for the English one, else the host of the wiki."""
        host = urlsplit(self.settings.api_url).hostname or "wiki"
        return "wikipedia" if host == "en.wikipedia.org" else host

    def call(self, **params: str) -> dict[str, Any]:
        """Send one request with ``maxlag``; raises as ``JsonTransport.get``."""
        fixed = {"format": "json", "formatversion": "2", "maxlag": str(self.settings.maxlag)}
        return self.transport.get(self.settings.api_url, {**params, **fixed})

    def query(self, **params: str) -> Iterator[dict[str, Any]]:
        """Yield the ``query`` objects of a request and its continuations.

        It ends with the first batch of pages; a continue token seen before, or the
        ``MAX_CONTINUATIONS``-th answer, ends it with a warning.
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
        """Return at most ``limit`` articles that hold the words of ``text``, best first.

        Redirects are resolved. The search knows only today's index: titles and ranking are those of
        today, whatever date the evidence is for.
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
            SearchHit(
                title=page["title"],
                revision_id=str((page.get("revisions") or [{}])[0].get("revid", "")),
                disambiguation="disambiguation" in (page.get("pageprops") or {}),
            )
            for page in ranked
            if not page.get("missing") and not page.get("invalid")
        ][:limit]

    @_as_documented
    def article(self, title: str, *, as_of: str | None = None) -> Article | None:
        """Return a page's newest revision at ``as_of`` (UTC ISO-8601 with Z), or now.

        None for missing, deleted and hidden pages, redirect loops, and pages that are not wikitext.
        Redirects are followed as they were in the revision itself. The text is raw wikitext:
        extracts and parsed HTML of an old revision hold today's text or today's templates.

        Raises:
            FutureRevisionError: the wiki sent something newer than ``as_of``.
            MediaWikiError: the wiki cannot be read.
        """
        seen: set[str] = set()
        for _ in range(MAX_TITLE_REDIRECTS + 1):
            article = self._article(title, as_of)
            if article is None:
                return None
            # Ask the wiki for its own words only where a text could be a redirect at all.
            redirect = article.text.lstrip().startswith("#")
            words = self.site().redirect_words if redirect else ()
            target = redirect_target(article.text, words)
            if target is None:
                return article
            seen |= {title, article.title}
            title = target.partition("#")[0].strip()
            if not title or title in seen:
                logger.info("redirect loop at %r", title)
                return None
        return None

    @_as_documented
    def revision_id(self, title: str, *, as_of: str | None = None) -> str | None:
        """Return the id of the newest revision, without its text or following a redirect."""
        page = self._page(title, as_of, rvprop="ids|timestamp")
        return str(page["revisions"][0]["revid"]) if page else None

    def _page(self, title: str, as_of: str | None, **wanted: str) -> dict[str, Any]:
        """Return the page with its newest revision at ``as_of``, or an empty one."""
        if as_of:
            wanted["rvstart"] = as_of
        answer = self.call(
            action="query", prop="revisions", titles=title, rvlimit="1", rvdir="older", **wanted
        )
        query = answer.get("query")
        pages = query.get("pages") if isinstance(query, dict) else None
        page = pages[0] if isinstance(pages, list) and pages and isinstance(pages[0], dict) else {}
        revisions = page.get("revisions")
        if page.get("missing") or page.get("invalid") or not revisions:
            return {}
        newest = revisions[0]
        what = f"revision {newest.get('revid')} of {title!r}"
        refuse_future(str(newest.get("timestamp", "")), as_of, what)
        return page

    def _article(self, title: str, as_of: str | None) -> Article | None:
        page = self._page(title, as_of, rvprop="ids|timestamp|content", rvslots="main")
        if not page:
            return None
        newest = page["revisions"][0]
        slot = (newest.get("slots") or {}).get("main") or {}
        text, name, revision_id = slot.get("content"), page.get("title"), str(newest["revid"])
        # Hidden revisions have no content; Lua modules and JSON pages are not articles.
        if slot.get("contentmodel", "wikitext") != "wikitext" or not isinstance(text, str):
            return None
        if not (_is_name(name) and _is_name(revision_id)):
            return None
        return Article(
            source=self.source,
            title=str(name),
            revision_id=revision_id,
            timestamp=str(newest.get("timestamp", "")),
            url=f"{self.settings.api_url.removesuffix('api.php')}index.php?oldid={revision_id}",
            text=text,
        )

    def site(self) -> SiteInfo:
        """Return the wiki's names for things, asked once; by default English.

        Source: https://www.mediawiki.org/wiki/API:Siteinfo
        """
        if self._site is None:
            try:
                answer = self.call(
                    action="query",
                    meta="siteinfo",
                    siprop="namespaces|namespacealiases|magicwords",
                )
                self._site = _site_info(answer.get("query") or {})
            except MediaWikiError as error:
                logger.info("no site information (%s); English names are used", error)
                return SiteInfo()
        return self._site


@_as_documented
def _site_info(query: Mapping[str, Any]) -> SiteInfo:
    names: dict[int, set[str]] = {}
    for space in (query.get("namespaces") or {}).values():
        names.setdefault(int(space["id"]), set()).update(
            str(space[key]).casefold() for key in ("name", "canonical") if space.get(key)
        )
    for alias in query.get("namespacealiases") or []:
        names.setdefault(int(alias["id"]), set()).add(str(alias.get("alias", "")).casefold())
    words = [
        word.lstrip("#")
        for magic in query.get("magicwords") or []
        if magic.get("name") == "redirect"
        for word in magic["aliases"]
    ]
    return SiteInfo(
        file_namespaces=FILE_NAMESPACES | names.get(6, set()) | names.get(-2, set()),
        category_namespaces=CATEGORY_NAMESPACES | names.get(14, set()),
        redirect_words=tuple(words) or SiteInfo().redirect_words,
    )


def _search_text(text: str) -> str:
    """Drop a search engine's operators; return at most ``MAX_QUERY_BYTES`` of UTF-8.

    Where the first word is longer, as a sentence without spaces is, its beginning is taken.
    """
    bare = re.sub(r"[\"“”~!?*\\:;()\[\]{}|<>^=+]", " ", nfc(text))
    words = [word for word in (w.lstrip("-") for w in bare.split()) if word]
    kept: list[str] = []
    left = MAX_QUERY_BYTES
    for word in words:
        size = len(word.encode("utf-8", "replace"))
        if size > left:
            break
        kept.append(word)
        left -= size + 1
    first = words[0].encode("utf-8", "replace") if words else b""
    return " ".join(kept) or first[:MAX_QUERY_BYTES].decode("utf-8", "ignore")


def _is_name(value: object) -> bool:
    """Tell whether a value can be a title; it is quoted with each passage."""
    return isinstance(value, str) and 0 < len(value.encode("utf-8", "replace")) <= MAX_TITLE_BYTES
