"""From a question to its evidence: search, fetch, store, rank, choose.

Retrieval never stops a run: a question that finds nothing gets an ``Evidence`` with the reason.
Everything fetched is kept in the database with its revision, so that a forecast can be replayed;
with an as-of date nothing newer is ever returned (docs/evidence.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from typing import Final

import numpy as np

from database import Database
from evidence.as_of import as_of_moment, refuse_future
from evidence.chunking import TokenCounter, estimate_tokens
from evidence.corpus import Corpus
from evidence.encoders import Embedder, ModelError, Reranker
from evidence.failures import Boundary
from evidence.freshness import WikiArticles
from evidence.ingestion import embedded_text
from evidence.mediawiki import MediaWikiClient
from evidence.ranking import Ranker
from evidence.selection import Places
from evidence.settings import RetrievalSettings
from questions.question import Question
from scoring.prompts import Passage, format_evidence, passage_block
from storage.records import INCOMPLETE, NOTHING_FOUND, NOTHING_RELEVANT, Evidence
from terminal.redaction import redact

logger = logging.getLogger(__name__)

# Where near-duplicates or one long article fill the candidates, four times as many are ranked, and
# so on, but at most so many more at a time.
MORE_CANDIDATES: Final = 1600
# Times a ranking is repeated because articles it chose turned out to have newer revisions.
FRESHENINGS: Final = 3
ORDER_KEPT: Final = "the first ranking's order is kept"


class SemanticRetriever:
    """Find evidence in a wiki, the user's documents and what the database holds.

    Args:
        database: the store.
        settings: see ``RetrievalSettings``.
        client, embedder, reranker: made from the settings when needed; given in tests and by
            callers that have one.
    """

    def __init__(
        self,
        database: Database,
        settings: RetrievalSettings,
        *,
        client: MediaWikiClient | None = None,
        embedder: Embedder | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        self.database = database
        self.settings = settings
        self.client = client or (MediaWikiClient(settings.wiki) if settings.wiki else None)
        self.embedder = embedder
        self.reranker = reranker
        # What failed for good, in words; logged once and noted with all evidence.
        self.problems: list[str] = []
        self._prepared = False
        self._corpus = Corpus(database, settings)
        self._places = Places(settings.passages_per_question, settings.passages_per_article)

    # --- public

    def retrieve(self, question: Question, *, as_of: str | None = None) -> Evidence:
        """Find evidence for one question; raises only DatabaseError.

        ``as_of`` (ISO date) is overridden by the question's own.
        """
        return self.retrieve_all([question], as_of=as_of)[0]

    def retrieve_all(
        self,
        questions: Sequence[Question],
        *,
        as_of: str | None = None,
        searched: Callable[[], object] = bool,
    ) -> list[Evidence]:
        """Find evidence for each question, in order; raises only DatabaseError.

        Everything fetched is embedded together and the store is read once. ``searched`` is called
        after each question's searches.
        """
        self.prepare()
        notes = []
        for question in questions:
            notes.append(self._guarded_fetch(question, as_of))
            searched()
        found = self._rank_by_date(questions, as_of)
        return [self._with_notes(*item) for item in zip(found, notes, strict=True)]

    def get_context(self, question: Question, *, as_of: str | None = None) -> str | None:
        """Return the best passages, numbered, headed and fenced; None when there are none.

        They fit into ``context_tokens`` of the embedding model (without one: estimated), headings
        included. The first passage that does not fit ends it, as in a prompt, so that a number is
        the passage's rank.
        """
        passages = self.retrieve(question, as_of=as_of).passages
        blocks = [passage_block(number, passage) for number, passage in enumerate(passages, 1)]
        sizes = accumulate(self._count_tokens(blocks))
        fitting = sum(total <= self.settings.context_tokens for total in sizes)
        if not fitting:
            return None
        return f"<evidence>\n{format_evidence(passages[:fitting])}\n</evidence>"

    # --- prepare: models and documents

    def prepare(self) -> None:
        """Load the models and read the documents, once; failures are kept in ``problems``."""
        if self._prepared:
            return
        self._prepared = True
        what = "retrieval cannot be prepared"
        with Boundary(what) as failed:
            self._load_models()
            for problem in self._corpus.read_documents(self._count_tokens):
                self._give_up(problem)
        if failed.reason:
            self.problems.append(f"{what} ({failed.reason})")

    def _load_models(self) -> None:
        settings = self.settings
        batch_size, device = settings.embedding_batch_size, settings.embedding_device
        if self.embedder is None and settings.ranking != "bm25":
            try:
                self.embedder = Embedder(
                    settings.embedding_model,
                    max_tokens=settings.max_embedding_size,
                    batch_size=batch_size,
                    device=device,
                )
            except ModelError as error:
                self._give_up(f"{error}; passages are ranked by their words only")
        if self.reranker is None and settings.cross_encoder:
            try:
                self.reranker = Reranker(
                    settings.cross_encoder, batch_size=batch_size, device=device
                )
            except ModelError as error:
                self._give_up(f"{error}; {ORDER_KEPT}")

    def _give_up(self, problem: str) -> None:
        logger.warning("%s", problem)
        self.problems.append(problem)

    @property
    def _count_tokens(self) -> TokenCounter:
        return self.embedder.count_tokens if self.embedder else estimate_tokens

    @cached_property
    def _wiki(self) -> WikiArticles | None:
        if self.client is None:
            return None
        return WikiArticles(self.client, self.database, self.settings, self._count_tokens)

    @cached_property
    def _ranker(self) -> Ranker:
        return Ranker(self.database, self.settings, self.embedder)

    # --- search and fetch

    def _guarded_fetch(self, question: Question, as_of: str | None) -> str | None:
        """Fetch for one question; return what went wrong, None when all is well."""
        if self._wiki is None:
            return None
        with Boundary(f"retrieval for {question.id!r} failed") as failed:
            return self._wiki.gather(question.text, as_of_moment(question.as_of or as_of))
        return failed.reason

    # --- rank and choose

    def _rank_by_date(self, questions: Sequence[Question], as_of: str | None) -> list[Evidence]:
        """Rank for each question; those with one as-of date together."""
        found = [Evidence(question) for question in questions]
        groups: dict[str | None, list[int]] = {}
        for number, question in enumerate(questions):
            groups.setdefault(question.as_of or as_of, []).append(number)
        for day, numbers in groups.items():
            with Boundary("ranking failed") as failed:
                moment = as_of_moment(day)
                for left in range(FRESHENINGS, -1, -1):
                    ranked = self._rank([questions[n] for n in numbers], moment)
                    for number, evidence in zip(numbers, ranked, strict=True):
                        found[number] = evidence
                    chosen = [passage for evidence in ranked for passage in evidence.passages]
                    # A ranking comes last, never a change after it.
                    if not (left and self._wiki and self._wiki.freshen(chosen, moment)):
                        break
            for number in numbers if failed.reason else ():
                if not (found[number].passages or found[number].context_error):
                    found[number] = replace(found[number], context_error=failed.reason)
        return found

    def _rank(self, questions: Sequence[Question], moment: str | None) -> list[Evidence]:
        """Choose passages for each question out of as many candidates as it needs."""
        articles = self._corpus.articles(moment, self._wiki.gone if self._wiki else ())
        candidates = self._ranker.candidates([question.text for question in questions], articles)
        distinct = [candidates.distinct() for _ in questions]
        found = [Evidence(question) for question in questions]
        short, limit = list(range(len(questions))), self.settings.candidates
        while short:
            rankings = candidates.best(short, limit)
            cut_off = []
            for number, ranking in zip(short, rankings, strict=True):
                question = questions[number]
                with Boundary(f"ranking for {question.id!r} failed") as failed:
                    distinct[number].update([passage for passage, _ in ranking])
                    more = candidates.cut_off(number, ranking, limit)
                    if more and not self._places.filled_by(distinct[number]):
                        cut_off.append(number)
                        continue
                    relevant = candidates.relevant(number, distinct[number])
                    chosen = self._choose(question, relevant, dict(ranking), moment)
                    error = NOTHING_RELEVANT if ranking and not chosen else None
                    found[number] = Evidence(question, chosen, error)
                if failed.reason:
                    found[number] = Evidence(question, context_error=failed.reason)
            short, limit = cut_off, min(4 * limit, limit + MORE_CANDIDATES)
        return found

    def _choose(
        self,
        question: Question,
        articles: Mapping[int, int],
        scores: Mapping[int, float],
        moment: str | None,
    ) -> tuple[Passage, ...]:
        """Choose among passages, reranked, with a bounded share for each article.

        ``articles`` has the article (id) of each passage (id), the best first.
        """
        ids = list(articles)
        head = ids[: self.settings.rerank_candidates] if self.reranker else []
        best = self._rerank(question.text, self.database.articles.passages(head, scores))
        order = [passage.id for passage in best] + ids[len(head) :]
        scores = {**scores, **{passage.id: passage.score for passage in best}}
        chosen = self._places.fill(order, [articles[i] for i in order])
        passages = self.database.articles.passages(chosen, scores)
        # The last gate: whatever went wrong before, nothing newer passes.
        for passage in passages:
            refuse_future(passage.timestamp, moment, f"{passage.title!r}")
        return tuple(passages)

    def _rerank(self, text: str, candidates: list[Passage]) -> list[Passage]:
        """Put candidates into the cross-encoder's order, unless it fails."""
        if self.reranker is None or not candidates:
            return candidates
        try:
            scores = self.reranker.score(text, [embedded_text(one) for one in candidates])
        except ModelError as error:
            self.reranker = None
            self._give_up(f"{error}; {ORDER_KEPT}")
            return candidates
        order = np.argsort(-scores, kind="stable")
        return [replace(candidates[i], score=float(scores[i])) for i in order]

    def _with_notes(self, found: Evidence, note: str | None) -> Evidence:
        """Add what went wrong: beside the passages, or as the reason why there are none."""
        problems = [*filter(None, (note, *self.problems))]
        if not found.passages:
            problems = [*filter(None, [found.context_error]), *problems] or [NOTHING_FOUND]
        if not problems:
            return found
        reasons = "; ".join(dict.fromkeys(problems))
        # A wiki's error may repeat what it was sent.
        error = redact(f"{INCOMPLETE}{reasons}" if found.passages else reasons)
        return replace(found, context_error=error)
