"""Keep stored wiki articles up to date, compared once per as-of moment."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from database import Database
from evidence.as_of import refuse_future
from evidence.chunking import TokenCounter
from evidence.failures import Boundary
from evidence.ingestion import store_article
from evidence.mediawiki import MediaWikiClient, SearchHit
from evidence.parser_process import ParserError, parse_wikitext
from evidence.queries import build_queries
from evidence.ranking import fuse
from evidence.settings import RetrievalSettings
from evidence.transport import MediaWikiError
from evidence.wikitext import is_disambiguation, is_list_title
from scoring.prompts import Passage
from storage.connection import utc_now
from storage.records import Article

logger = logging.getLogger(__name__)


def choose_articles(found: Sequence[Sequence[SearchHit]], limit: int) -> list[SearchHit]:
    """Merge the results of several searches, without disambiguation pages and lists."""
    hits = {hit.title: hit for results in reversed(found) for hit in reversed(results)}
    scores = fuse([[hit.title for hit in results] for results in found])
    ranked = [hits[title] for title in sorted(scores, key=lambda title: -scores[title])]
    return [h for h in ranked if not (h.disambiguation or is_list_title(h.title))][:limit]


class WikiArticles:
    """A wiki's articles in the store.

    ``gone`` holds stored articles (id, moment) that the wiki no longer has at that moment.
    """

    def __init__(
        self,
        client: MediaWikiClient,
        database: Database,
        settings: RetrievalSettings,
        count_tokens: TokenCounter,
    ) -> None:
        self.client = client
        self.database = database
        self.settings = settings
        self.count_tokens = count_tokens
        self.gone: set[tuple[int, str | None]] = set()
        self._searches: dict[str, list[SearchHit]] = {}
        self._checked: set[tuple[str, str | None]] = set()
        self._logged: set[str] = set()
        # Articles that could not be parsed, with the reason. No question asks for them again.
        self._unparsed: dict[tuple[str, str | None], str] = {}

    def gather(self, text: str, moment: str | None) -> str | None:
        """Search for a question, choose and store articles; return what failed."""
        problems: list[str] = []
        found: list[list[SearchHit]] = []
        for query in build_queries(text, limit=self.settings.searches):
            try:
                found.append(self.search(query))
            except MediaWikiError as error:
                problems.append(str(error))
                if self.client.offline_reason:
                    break
        for hit in choose_articles(found, self.settings.articles):
            if self.client.offline_reason:
                break
            try:
                self.update(hit, moment)
            except MediaWikiError as error:
                problems.append(str(error))
                self.warn_once(f"{hit.title}: {error}")
            except ParserError as error:
                problems.append(f"{hit.title}: left out, {error}")
                self.warn_once(problems[-1])
        return self.client.offline_reason or "; ".join(dict.fromkeys(problems)) or None

    def search(self, query: str) -> list[SearchHit]:
        """Search once per query; raises MediaWikiError."""
        if query not in self._searches:
            self._searches[query] = self.client.search(query, self.settings.search_results)
        return self._searches[query]

    def update(self, hit: SearchHit, moment: str | None) -> bool:
        """Bring a stored article up to ``moment``; tell whether evidence may change.

        An unchanged article costs no request where the search has named its newest revision, else a
        small one.

        Raises:
            MediaWikiError: the wiki does not answer.
            ParserError: the article cannot be parsed.
        """
        self._checked.add((hit.title, moment))
        if reason := self._unparsed.get((hit.title, moment)):
            raise ParserError(reason)
        now = utc_now()
        target = min(moment or now, now)
        stored = self.database.articles.find(self.client.source, hit.title, as_of=moment)
        if stored:
            if self._is_fresh(stored, now, target):
                return False
            seen = hit.revision_id if target == now else ""
            newest = seen or self.client.revision_id(hit.title, as_of=moment)
            if newest == stored.revision_id:
                self.database.articles.touch(stored.id, current_until=target)
                return False
            if newest is None:
                # Deleted since: no evidence for today. At an earlier date it was there.
                return target == now and self._leave_out(stored, moment)
        return self._fetch(hit, stored, moment, now)

    def freshen(self, passages: Iterable[Passage], moment: str | None) -> bool:
        """Compare the passages' articles with the wiki; tell whether any has changed.

        Other questions, or runs of other dates, left them in the store: they may have changed by
        the day asked about. A failure is logged; then what is stored serves as it is.
        """
        changed = False
        with Boundary("stored articles could not be compared with the wiki"):
            for title in dict.fromkeys(p.title for p in passages if p.source == self.client.source):
                if (title, moment) in self._checked or self.client.offline_reason:
                    continue
                try:
                    changed |= self.update(SearchHit(title), moment)
                except (MediaWikiError, ParserError) as error:
                    logger.warning("%s: %s", title, error)
        return changed

    def warn_once(self, line: str) -> None:
        """Log a failure of an article; one that many questions find is named once."""
        if line not in self._logged:
            self._logged.add(line)
            logger.warning("%s", line)

    def _fetch(self, hit: SearchHit, stored: Article | None, moment: str | None, now: str) -> bool:
        """Read and store the newest revision; return whether evidence may change."""
        target = min(moment or now, now)
        article = self.client.article(hit.title, as_of=moment)
        if article is not None and is_disambiguation(article.text):
            article = None
        if stored and (article is None or article.title != hit.title):
            self._leave_out(stored, moment)
        if article is None:
            return stored is not None
        self._checked.add((article.title, moment))
        refuse_future(article.timestamp, moment or _a_day_after(now), f"{article.title!r}")
        known = self.database.articles.has_revision(
            article.source, article.title, article.revision_id
        )
        if known is not None:
            self.database.articles.touch(known, current_until=target)
            return article.title != hit.title
        site = self.client.site()
        try:
            sections = parse_wikitext(
                article.text,
                file_namespaces=site.file_namespaces,
                category_namespaces=site.category_namespaces,
            )
        except ParserError as error:
            self._unparsed[hit.title, moment] = str(error)
            raise
        checked = replace(article, fetched_at=now, current_until=target)
        store_article(self.database, checked, sections, self.settings, self.count_tokens)
        return True

    def _leave_out(self, stored: Article, moment: str | None) -> bool:
        """Keep a deleted or moved article out of this run's evidence."""
        logger.info("%s: no article any more, left out", stored.title)
        self.gone.add((stored.id, moment))
        return True

    def _is_fresh(self, stored: Article, now: str, target: str) -> bool:
        """Tell whether a stored revision needs no request at ``target``.

        What a run with a wrong clock stored as known until after ``now`` is not believed.
        """
        if stored.current_until > now:
            return False
        if stored.current_until >= target:
            return True
        if target != now:
            return False
        age = datetime.fromisoformat(target) - datetime.fromisoformat(stored.current_until)
        return age <= timedelta(hours=self.settings.freshness_hours)


def _a_day_after(now: str) -> str:
    """Add a day: no revision is newer, unless the wiki's clock or ours is wrong."""
    return (datetime.fromisoformat(now) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
