"""Question → evidence: search, fetch, cut into passages, embed, rank, choose.

``SemanticRetriever.retrieve_all`` never raises: a question that finds nothing gets an ``Evidence`` with the reason, and
the run goes on. Everything fetched stays in the database with its revision, so that a forecast can be replayed; with an
as-of date nothing newer is ever returned (``mediawiki.refuse_future`` guards every passage on its way out).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

import config
from database import (
    INCOMPLETE,
    NOTHING_FOUND,
    Article,
    Database,
    DatabaseError,
    NewPassage,
    Passage,
    utc_now,
)
from evidence.chunking import cut_passages, estimate_tokens
from evidence.documents import Document, DocumentError, find_documents
from evidence.mediawiki import (
    MediaWikiClient,
    MediaWikiError,
    Revision,
    SearchHit,
    WikiSettings,
    refuse_future,
)
from evidence.parser_process import ParserError, parse_wikitext
from evidence.queries import build_queries, match_query
from evidence.selection import choose_passages, drop_near_duplicates
from evidence.wikitext import is_list_title
from questions.question import Question
from scoring.prompts import format_evidence, passage_block
from terminal.progress import progress, shown
from terminal.redaction import redact

logger = logging.getLogger(__name__)

Vectors = npt.NDArray[np.float32]

DOCUMENT_SOURCE: Final = "document"
# Reciprocal rank fusion: 1 / (60 + rank), Cormack, Clarke and Büttcher (SIGIR 2009).
FUSION_CONSTANT: Final = 60
# Candidates of each first-stage ranking that are fused, and from which the passages are chosen.
CANDIDATES: Final = 100
# Where near-duplicates or one long article fill those, so that too few passages are left to choose, four times as many are
# ranked, and once more four times.
MOST_CANDIDATES: Final = 16 * CANDIDATES
# Times a ranking is repeated because articles it chose turned out to have newer revisions.
FRESHENINGS: Final = 3
ORDER_KEPT: Final = "the first ranking's order is kept"
# Passages embedded and committed at a time: an interrupted run keeps what it has.
EMBEDDING_SLICE: Final = 64
# Weights in PyTorch's format are pickles, which may hold a program.
SAFETENSORS_ONLY: Final = {"use_safetensors": True}


@dataclass(frozen=True)
class RetrievalSettings:
    """What ``config.py`` says about retrieval; sizes in tokens of the embedding model, ``freshness_hours`` in hours."""

    embedding_model: str
    max_embedding_size: int = 256
    embedding_batch_size: int = 32
    embedding_device: str = "cpu"
    embed_all_up_to: int = 20_000
    cross_encoder: str = ""
    rerank_candidates: int = 50
    ranking: str = "embedding"
    passage_tokens: int = 200
    passage_overlap: int = 40
    passages_per_question: int = 20
    passages_per_article: int = 6
    near_duplicate_share: float = 0.6
    context_tokens: int = 3000
    searches: int = 4
    search_results: int = 6
    articles: int = 8
    freshness_hours: float = 24.0
    top_articles: int = 0
    wiki: WikiSettings | None = None
    documents: str | None = None
    sources: tuple[str, ...] | None = None

    @classmethod
    def from_config(cls) -> RetrievalSettings:
        """The settings in config.py."""
        return cls(
            embedding_model=config.EMBEDDING_MODEL_PATH,
            max_embedding_size=config.MAX_EMBEDDING_SIZE,
            embedding_batch_size=config.EMBEDDING_BATCH_SIZE,
            embedding_device=config.EMBEDDING_DEVICE,
            embed_all_up_to=config.EMBED_ALL_UP_TO_PASSAGES,
            cross_encoder=config.CROSS_ENCODER_MODEL_PATH,
            rerank_candidates=config.RERANK_CANDIDATES,
            ranking=config.RANKING,
            passage_tokens=config.PASSAGE_TOKENS,
            passage_overlap=config.PASSAGE_OVERLAP_TOKENS,
            passages_per_question=config.PASSAGES_PER_QUESTION,
            passages_per_article=config.PASSAGES_PER_ARTICLE,
            near_duplicate_share=config.NEAR_DUPLICATE_SHARE,
            context_tokens=config.CONTEXT_TOKENS,
            searches=config.WIKIPEDIA_SEARCHES,
            search_results=config.WIKIPEDIA_SEARCH_RESULTS,
            articles=config.WIKIPEDIA_ARTICLES,
            freshness_hours=config.FRESHNESS_HOURS,
            top_articles=config.TOP_ARTICLES,
            wiki=WikiSettings.from_config() if config.WIKIPEDIA_API_URL else None,
        )


@dataclass(frozen=True)
class Evidence:
    """What was found for one question, best first.

    ``error`` says why there is no context (then ``passages`` is empty); ``note`` what went wrong on the way although there
    is one, for example a wiki that could not be reached.
    """

    passages: tuple[Passage, ...] = ()
    error: str | None = None
    note: str | None = None

    @property
    def context_error(self) -> str | None:
        """What the record keeps: why there is nothing, or what is missing of it; None when all is well."""
        found = self.error or (f"{INCOMPLETE}{self.note}" if self.note else None)
        # A wiki's error may repeat what it was sent.
        return redact(found) if found else None


# --- models -------------------------------------------------------------------------------------------------------


class TextEmbedder(Protocol):
    """What the retriever needs of an embedding model."""

    @property
    def name(self) -> str:
        """Identity under which vectors are stored: different weights or sizes, different name."""
        ...

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32 (n, dimension)."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Size of each text in the model's tokens, special tokens left out."""
        ...


class TextReranker(Protocol):
    """What the retriever needs of a cross-encoder."""

    def score(self, query: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Relevance of each text to the query, higher is better, float32 (n,)."""
        ...


class ModelError(Exception):
    """A model cannot be loaded or has failed; the message is one line."""


class Embedder:
    """A sentence-transformers model, loaded at construction.

    Args:
        path: Hugging Face id or folder.
        max_tokens: longer texts are cut off; never more than the model's own limit.
        batch_size: texts per forward pass.
        device: torch device, "cpu" leaves a GPU to the forecasting models.

    Raises:
        ModelError: the model or sentence-transformers is missing, or the files are damaged.
    """

    def __init__(
        self, path: str, *, max_tokens: int, batch_size: int = 32, device: str = "cpu"
    ) -> None:
        with _quiet_loading():
            try:
                import torch
                from sentence_transformers import SentenceTransformer

                # What a checkpoint lacks (often the pooler, which nothing reads) is drawn at random: alike in every process,
                # or the weights would have another name in each and everything be embedded again.
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(0)
                    self.model = SentenceTransformer(
                        str(Path(path).expanduser()) if Path(path).expanduser().is_dir() else path,
                        device=device,
                        model_kwargs=SAFETENSORS_ONLY,
                    )
            except Exception as error:  # hub, file and import errors of many kinds
                raise ModelError(
                    f"embedding model {path!r} cannot be loaded ({_first_line(error)})"
                ) from error
        self.model.max_seq_length = min(max_tokens, self.model.max_seq_length or max_tokens)
        self.batch_size = batch_size
        # The weights themselves are the identity: a folder may be replaced, a path differ between machines.
        self.name = f"{Path(path).name}#{_weights_digest(self.model)}/{self.model.max_seq_length}"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32 (n, dimension); longest texts first inside, so that a batch is little padding."""
        vectors = self.model.encode(
            list(texts),
            batch_size=self.batch_size,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return np.asarray(vectors, dtype=np.float32)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Size of each text in tokens, special tokens left out."""
        if not texts:
            return []
        encoded = self.model.tokenizer(
            list(texts), add_special_tokens=False, truncation=False, padding=False, verbose=False
        )
        return [len(ids) for ids in encoded["input_ids"]]


class Reranker:
    """A sentence-transformers cross-encoder; arguments and errors as ``Embedder``.

    A checkpoint without a trained output layer, as an embedding model is, is refused: libraries fill in random weights,
    which would order passages by chance, another way in each process.
    """

    def __init__(
        self, path: str, *, max_tokens: int = 512, batch_size: int = 32, device: str = "cpu"
    ) -> None:
        with _quiet_loading():
            try:
                from sentence_transformers import CrossEncoder

                folder = Path(path).expanduser()
                self.model = CrossEncoder(
                    str(folder) if folder.is_dir() else path,
                    device=device,
                    model_kwargs=SAFETENSORS_ONLY,
                )
                absent = _absent_weights(self.model)
            except Exception as error:  # hub, file and import errors of many kinds
                raise ModelError(
                    f"cross-encoder {path!r} cannot be loaded ({_first_line(error)})"
                ) from error
        if absent:
            raise ModelError(
                f"cross-encoder {path!r} lacks the weights {', '.join(absent[:3])} (is it an embedding model?)"
            )
        if self.model.num_labels != 1:
            raise ModelError(
                f"cross-encoder {path!r} has {self.model.num_labels} outputs, a reranker has one"
            )
        self.model.max_seq_length = min(max_tokens, self.model.max_seq_length or max_tokens)
        self.path = path
        self.batch_size = batch_size

    def score(self, query: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Relevance of each text to the query, float32 (n,). Raises ModelError when the model fails or gives no numbers."""
        try:
            found = self.model.predict(
                [(query, text) for text in texts],
                batch_size=self.batch_size,
                show_progress_bar=False,
            )
        except (RuntimeError, ValueError, IndexError) as error:  # torch: out of memory, shapes
            raise ModelError(
                f"cross-encoder {self.path!r} failed ({_first_line(error)})"
            ) from error
        scores = np.asarray(found, dtype=np.float32).reshape(len(texts))
        if not np.isfinite(scores).all():
            raise ModelError(f"cross-encoder {self.path!r} failed (a score is not a finite number)")
        return scores


class _quiet_loading:
    """Silences the progress bars and advice that libraries print while they load weights."""

    def __enter__(self) -> None:
        try:
            from transformers.utils import logging as transformers_logging
        except ImportError:
            return
        transformers_logging.disable_progress_bar()
        transformers_logging.set_verbosity_error()

    def __exit__(self, *_: object) -> None:
        return None


def _absent_weights(model: Any) -> list[str]:
    """Names of the tensors that the checkpoint of a cross-encoder does not hold, by what transformers reports of a load."""
    from transformers import PreTrainedModel

    absent: set[str] = set()
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and module.name_or_path:
            _, report = type(module).from_pretrained(
                module.name_or_path, output_loading_info=True, **SAFETENSORS_ONLY
            )
            absent |= set(report["missing_keys"])
    return sorted(absent)


def _weights_digest(model: Any) -> str:
    """First 12 hexadecimal digits of the SHA-256 of all tensors, in name order."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:12]


def _first_line(error: BaseException) -> str:
    """What an error says, without secrets: it is stored with the forecast."""
    lines = [line.strip() for line in redact(str(error)).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__


# --- into the store -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IngestReport:
    """What ``ingest_articles`` did, in articles and passages."""

    added: int
    unchanged: int
    passages: int
    embedded: int


def ingest_articles(
    database: Database,
    articles: Iterable[tuple[Article, Sequence[tuple[str, str]]]],
    *,
    embedder: TextEmbedder | None = None,
    settings: RetrievalSettings | None = None,
    embed: bool = True,
) -> IngestReport:
    """Cut articles into passages, store them, then embed those without an embedding.

    Args:
        database: the store.
        articles: ``(article, [(section title, section text), …])``; a revision already stored is skipped unread.
        embedder: counts tokens and embeds; without one sizes are estimated and nothing is embedded.
        settings: passage sizes; default ``RetrievalSettings.from_config()``.
        embed: False leaves embedding to the retriever, which then embeds what each question needs (see ``embed_all_up_to``).
    """
    settings = settings or RetrievalSettings.from_config()
    added = unchanged = passages = 0
    ids: list[int] = []
    for article, sections in articles:
        known = database.has_revision(article.source, article.title, article.revision_id)
        if known is not None:
            database.touch_article(known)
            unchanged += 1
            ids.append(known)
            continue
        cuts = _cut(sections, settings, embedder)
        ids.append(database.add_article(article, cuts))
        added += 1
        passages += len(cuts)
    embedded = embed_missing(database, embedder, ids) if embed and embedder is not None else 0
    return IngestReport(added, unchanged, passages, embedded)


def _cut(
    sections: Iterable[tuple[str, str]], settings: RetrievalSettings, embedder: TextEmbedder | None
) -> list[NewPassage]:
    return cut_passages(
        sections,
        size=settings.passage_tokens,
        overlap=settings.passage_overlap,
        count_tokens=embedder.count_tokens if embedder else estimate_tokens,
    )


def embed_missing(
    database: Database,
    embedder: TextEmbedder,
    articles: Sequence[int],
    *,
    passages: Sequence[int] | None = None,
) -> int:
    """Embed the passages of ``articles`` (ids; or only ``passages``) that this model has not embedded; returns how many.

    Committed every ``EMBEDDING_SLICE`` passages. Vectors of other models stay stored and are not mixed with these: going back to
    such a model embeds nothing.
    """
    missing = database.passages_without_embedding(embedder.name, articles, ids=passages)
    slices = [
        missing[start : start + EMBEDDING_SLICE]
        for start in range(0, len(missing), EMBEDDING_SLICE)
    ]
    if others := database.embedding_models(missing) if missing else []:
        logger.info(
            "%d passages have embeddings of %s only and are embedded anew with %s",
            len(missing), ", ".join(others), embedder.name,
        )  # fmt: skip
    with progress("embedding", len(missing), "passage") as bar:
        for ids in slices:
            vectors = embedder.encode(
                [embedded_text(passage) for passage in database.get_passages(ids)]
            )
            database.add_embeddings(embedder.name, list(zip(ids, vectors, strict=True)))
            bar.update(len(ids))
    return len(missing)


def embedded_text(passage: Passage) -> str:
    """What is embedded of a passage: title and section first, because a passage seldom repeats what it is about."""
    heading = ", ".join(part for part in (passage.title, passage.section) if part)
    return f"{heading}: {passage.text}"


# --- ranking ------------------------------------------------------------------------------------------------------


class VectorIndex:
    """All stored embeddings of one model in memory, in blocks; ``refresh`` reads only what is new.

    Exact search: one matrix product a block. 100,000 vectors of 384 float32 take 154 MB.
    """

    def __init__(self, database: Database, model: str) -> None:
        self.database = database
        self.model = model
        self.last_row = 0
        self.blocks: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Vectors]] = []

    def refresh(self) -> None:
        """Append the embeddings stored since the last call."""
        passages, articles, vectors, self.last_row = self.database.embeddings_after(
            self.model, self.last_row
        )
        if len(passages):
            self.blocks.append((passages, articles, vectors))

    def __len__(self) -> int:
        return sum(len(passages) for passages, _, _ in self.blocks)

    def search(
        self,
        queries: Vectors,
        articles: Sequence[int],
        k: int,
        *,
        only: Sequence[Sequence[int]] | None = None,
    ) -> list[list[tuple[int, float]]]:
        """For each query (m, dimension): up to ``k`` (passage id, cosine) of the given articles' passages, best first.

        ``only`` names the passages that each query may find; all when left out.
        """
        allowed = np.unique(np.asarray(articles, dtype=np.int64))
        results: list[list[tuple[int, float]]] = [[] for _ in range(len(queries))]
        for passages, owners, vectors in self.blocks:
            scores = queries @ vectors.T
            keep = np.isin(owners, allowed)
            if not keep.all():
                scores[:, ~keep] = -np.inf
            for row, ids in enumerate(only or ()):
                scores[row, ~np.isin(passages, ids)] = -np.inf
            top = min(k, len(passages))
            best = np.argpartition(-scores, top - 1, axis=1)[:, :top]
            for row, columns in enumerate(best):
                results[row] += [
                    (int(passages[c]), float(scores[row, c]))
                    for c in columns
                    if scores[row, c] > -np.inf
                ]
        return [sorted(found, key=lambda hit: (-hit[1], hit[0]))[:k] for found in results]


def fuse(rankings: Sequence[Sequence[int]]) -> list[tuple[int, float]]:
    """Reciprocal rank fusion of rankings (best first): (id, sum of 1 / (60 + rank)), best first."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, start=1):
            scores[item] = scores.get(item, 0.0) + 1.0 / (FUSION_CONSTANT + rank)
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


# --- the retriever ------------------------------------------------------------------------------------------------


def as_of_moment(as_of: str | None) -> str | None:
    """The last second of an as-of date ("2025-06-01" → "2025-06-01T23:59:59Z"); a full UTC timestamp stays as it is.

    Raises ValueError for anything else.
    """
    if as_of is None:
        return None
    if len(as_of) == 10:
        return f"{date.fromisoformat(as_of).isoformat()}T23:59:59Z"
    return datetime.strptime(as_of, "%Y-%m-%dT%H:%M:%SZ").strftime("%Y-%m-%dT%H:%M:%SZ")


class SemanticRetriever:
    """Evidence for questions from a wiki, the user's documents and whatever the database already holds.

    Args:
        database: the store.
        settings: see ``RetrievalSettings``.
        client, embedder, reranker: made from the settings when needed; given in tests and by callers that have one.
    """

    def __init__(
        self,
        database: Database,
        settings: RetrievalSettings,
        *,
        client: MediaWikiClient | None = None,
        embedder: TextEmbedder | None = None,
        reranker: TextReranker | None = None,
    ) -> None:
        self.database = database
        self.settings = settings
        self.client = (
            client
            if client is not None or settings.wiki is None
            else MediaWikiClient(settings.wiki)
        )
        self.embedder = embedder
        self.reranker = reranker
        self.problems: list[
            str
        ] = []  # what failed for good, in words; reported once and noted with the evidence
        self._prepared = False
        self._index: VectorIndex | None = None
        # The folder's files as they stand: title to (article id, modification time).
        self._documents: dict[str, tuple[int, str]] = {}
        self._warmed: set[str | None] = set()
        # Titles compared with the wiki for a date; stored articles (ids) that the wiki no longer has at that date.
        self._checked: set[tuple[str, str | None]] = set()
        self._gone: set[tuple[int, str | None]] = set()
        self._searches: dict[str, list[SearchHit]] = {}
        # Failures of articles that were logged: one that many questions find is named once.
        self._logged: set[str] = set()
        # Articles that could not be parsed: title and date to the reason. No question asks for them again.
        self._unparsed: dict[tuple[str, str | None], str] = {}

    # --- public

    def prepare(self) -> None:
        """Load the models and read the documents, once. Never raises: what fails is logged and kept in ``problems``."""
        if self._prepared:
            return
        self._prepared = True
        try:
            self._load_models()
            self._read_documents()
        except DatabaseError:
            raise
        except Exception as error:  # the agent boundary: retrieval never stops a run
            self._give_up("retrieval cannot be prepared", error)

    def retrieve(self, question: Question, *, as_of: str | None = None) -> Evidence:
        """Evidence for one question; ``as_of`` (ISO date) is overridden by the question's own. Raises only DatabaseError."""
        return self.retrieve_all([question], as_of=as_of)[0]

    def retrieve_all(
        self,
        questions: Sequence[Question],
        *,
        as_of: str | None = None,
        searched: Callable[[], object] = bool,
    ) -> list[Evidence]:
        """Evidence for each question, in order; ``searched`` is called after each search. Never raises.

        Better than one question at a time: everything fetched is embedded together and the store is read once.
        """
        self.prepare()
        notes = []
        for question in questions:
            notes.append(self._guarded_fetch(question, as_of))
            searched()
        found = self._guarded_rankings(questions, as_of)
        return [self._evidence(*item) for item in zip(questions, found, notes, strict=True)]

    def get_context(self, question: Question, *, as_of: str | None = None) -> str | None:
        """The best passages within ``context_tokens``, numbered, headed and fenced; None when there are none.

        Tokens are the embedding model's (without one: estimated), headings included. The first passage that does not fit ends it,
        as in a prompt, so that a number is the passage's rank.
        """
        passages = self.retrieve(question, as_of=as_of).passages
        count = self.embedder.count_tokens if self.embedder else estimate_tokens
        sizes = count(
            [passage_block(number, passage) for number, passage in enumerate(passages, start=1)]
        )
        fitting = sum(total <= self.settings.context_tokens for total in accumulate(sizes))
        return (
            f"<evidence>\n{format_evidence(passages[:fitting])}\n</evidence>" if fitting else None
        )

    # --- preparation

    def _load_models(self) -> None:
        settings = self.settings
        if self.embedder is None and settings.ranking != "bm25":
            try:
                self.embedder = Embedder(
                    settings.embedding_model,
                    max_tokens=settings.max_embedding_size,
                    batch_size=settings.embedding_batch_size,
                    device=settings.embedding_device,
                )
            except ModelError as error:
                self._give_up(f"{error}; passages are ranked by their words only")
        if self.reranker is None and settings.cross_encoder:
            try:
                self.reranker = Reranker(
                    settings.cross_encoder,
                    batch_size=settings.embedding_batch_size,
                    device=settings.embedding_device,
                )
            except ModelError as error:
                self._give_up(f"{error}; {ORDER_KEPT}")
        if self.embedder is not None:
            self._index = VectorIndex(self.database, self.embedder.name)

    def _read_documents(self) -> None:
        if self.settings.documents is None:
            return
        try:
            documents = list(find_documents(self.settings.documents))
        except DocumentError as error:
            self._give_up(str(error))
            return
        for document in shown(documents, "documents", "document"):
            revision_id = document.sha256[:16]
            try:
                stored = self.database.has_revision(DOCUMENT_SOURCE, document.title, revision_id)
                if stored is None:
                    ingest_articles(
                        self.database,
                        [_document_article(document)],
                        embedder=self.embedder,
                        settings=self.settings,
                        embed=False,
                    )
                    stored = self.database.has_revision(
                        DOCUMENT_SOURCE, document.title, revision_id
                    )
            except DocumentError as error:
                self._give_up(str(error))
                continue
            if stored is not None:
                self._documents[document.title] = (stored, document.timestamp)

    def _give_up(self, what: str, error: BaseException | None = None) -> None:
        message = f"{what} ({_first_line(error)})" if error is not None else what
        logger.warning("%s", message)
        if error is not None:
            logger.debug("traceback", exc_info=error)
        self.problems.append(message)

    # --- fetching

    def _guarded_fetch(self, question: Question, as_of: str | None) -> str | None:
        """Fetch for one question; returns what went wrong, None when all is well."""
        if self.client is None:
            return None
        try:
            moment = as_of_moment(question.as_of or as_of)
            self._warm_up(moment)
            return self._fetch(question, moment)
        except MediaWikiError as error:
            return str(error)
        except DatabaseError:
            raise
        except Exception as error:  # the question boundary
            logger.warning("retrieval for %r failed (%s)", question.id, _first_line(error))
            logger.debug("traceback", exc_info=error)
            return _first_line(error)

    def _fetch(self, question: Question, moment: str | None) -> str | None:
        """Search, choose and store articles; returns the failures when some of it failed."""
        problems: list[str] = []
        found: list[list[SearchHit]] = []
        for query in build_queries(question.text, limit=self.settings.searches):
            try:
                found.append(self._search(query))
            except MediaWikiError as error:
                problems.append(str(error))
                if self._wiki.offline_reason:
                    break
        for hit in choose_articles(found, self.settings.articles):
            if self._wiki.offline_reason:
                break
            try:
                self._update_article(hit, moment)
            except MediaWikiError as error:
                problems.append(str(error))
                if (line := f"{hit.title}: {error}") not in self._logged:
                    self._logged.add(line)
                    logger.warning("%s", line)
            except ParserError as error:
                problems.append(f"{hit.title}: left out, {error}")
                logger.warning("%s", problems[-1])
        return self._wiki.offline_reason or "; ".join(dict.fromkeys(problems)) or None

    @property
    def _wiki(self) -> MediaWikiClient:
        assert self.client is not None
        return self.client

    def _search(self, query: str) -> list[SearchHit]:
        if query not in self._searches:
            self._searches[query] = self._wiki.search(query, self.settings.search_results)
        return self._searches[query]

    def _update_article(self, hit: SearchHit, moment: str | None) -> bool:
        """Bring one article's stored revision up to date (or to ``moment``); whether what may be evidence has changed.

        An unchanged article costs no request where the search has named its newest revision, else a small one.
        """
        self._checked.add((hit.title, moment))
        if reason := self._unparsed.get((hit.title, moment)):
            raise ParserError(reason)
        now = utc_now()
        target = min(moment, now) if moment else now
        live = target == now
        stored = self.database.find_article(self._source, hit.title, as_of=moment)
        if stored and self._still_current(stored, now, target):
            return False
        if stored:
            seen = hit.revision_id if live else ""
            newest = seen or self._wiki.revision_id(hit.title, as_of=moment)
            if newest == stored.revision_id:
                self.database.touch_article(stored.id, current_until=target)
                return False
            if newest is None:
                # Deleted since: no evidence for today. At an earlier date it was there.
                return live and self._leave_out(stored, moment)
        revision = self._wiki.revision(hit.title, as_of=moment)
        if stored and (revision is None or revision.disambiguation or revision.title != hit.title):
            self._leave_out(stored, moment)
        if revision is None or revision.disambiguation:
            return stored is not None
        self._checked.add((revision.title, moment))
        refuse_future(revision.timestamp, moment or _tomorrow(now), f"{revision.title!r}")
        known = self.database.has_revision(self._source, revision.title, revision.revision_id)
        if known is not None:
            self.database.touch_article(known, current_until=target)
            return revision.title != hit.title
        try:
            self._store(revision, now, target)
        except ParserError as error:
            self._unparsed[hit.title, moment] = str(error)
            raise
        return True

    def _leave_out(self, stored: Article, moment: str | None) -> bool:
        """Keep a stored article out of the evidence of this run: deleted, or moved, and then its text stands elsewhere."""
        logger.info("%s: no article any more, left out", stored.title)
        self._gone.add((stored.id, moment))
        return True

    def _store(self, revision: Revision, now: str, target: str) -> None:
        site = self._wiki.site()
        sections = parse_wikitext(
            revision.text,
            file_namespaces=site.file_namespaces,
            category_namespaces=site.category_namespaces,
        )
        article = Article(
            source=self._source,
            title=revision.title,
            revision_id=revision.revision_id,
            timestamp=revision.timestamp,
            url=revision.url,
            text=revision.text,
            fetched_at=now,
            current_until=target,
        )
        self.database.add_article(article, _cut(sections, self.settings, self.embedder))

    def _still_current(self, stored: Article, now: str, target: str) -> bool:
        """Whether a stored revision needs no request: known to be the newest at ``target``, or fresh.

        What a run with a wrong clock stored as known until a moment after ``now`` is not believed.
        """
        if stored.current_until > now:
            return False
        if stored.current_until >= target:
            return True
        if target != now:
            return False
        age = datetime.fromisoformat(target) - datetime.fromisoformat(stored.current_until)
        return age <= timedelta(hours=self.settings.freshness_hours)

    @property
    def _source(self) -> str:
        """ "wikipedia" for the English one, the host's name for every other wiki: titles repeat between wikis."""
        host = urlsplit(self._wiki.settings.api_url).hostname or "wiki"
        return "wikipedia" if host == "en.wikipedia.org" else host

    def _warm_up(self, moment: str | None) -> None:
        """Store the most viewed articles of the last day (before ``moment``), once per as-of date."""
        day = moment[:10] if moment else None
        if not self.settings.top_articles or day in self._warmed:
            return
        self._warmed.add(day)
        try:
            today = date.fromisoformat(day or utc_now()[:10])
            titles = self._wiki.most_viewed(self.settings.top_articles, today=today)
        except MediaWikiError as error:
            self._give_up(f"no most viewed articles: {error}")
            return
        logger.info("most viewed articles: %d", len(titles))
        for title in shown(
            [title for title in titles if not is_list_title(title)], "most viewed", "article"
        ):
            self._try_update(title, moment)

    def _try_update(self, title: str, moment: str | None) -> bool:
        """``_update_article`` for an article that no search has named; its failure is logged and costs it alone."""
        try:
            return not self._wiki.offline_reason and self._update_article(SearchHit(title), moment)
        except (MediaWikiError, ParserError) as error:
            logger.warning("%s: %s", title, error)
            return False

    # --- ranking

    def _guarded_rankings(
        self, questions: Sequence[Question], as_of: str | None
    ) -> list[list[Passage] | str]:
        """Passages for each question, or why there are none; questions with one as-of date are ranked together."""
        found: list[list[Passage] | str] = ["" for _ in questions]
        groups: dict[str | None, list[int]] = {}
        for number, question in enumerate(questions):
            groups.setdefault(question.as_of or as_of, []).append(number)
        for day, numbers in groups.items():
            try:
                moment = as_of_moment(day)
                for left in range(FRESHENINGS, -1, -1):
                    chosen = self._rank([questions[n] for n in numbers], moment)
                    for number, passages in zip(numbers, chosen, strict=True):
                        found[number] = passages
                    # The last word is a ranking, never a change after it.
                    if not left or not self._freshen([found[n] for n in numbers], moment):
                        break
            except DatabaseError:
                raise
            except Exception as error:  # the question boundary
                logger.warning("ranking failed (%s)", _first_line(error))
                logger.debug("traceback", exc_info=error)
                for number in numbers:
                    found[number] = found[number] or _first_line(error)
        return found

    def _rank(self, questions: Sequence[Question], moment: str | None) -> list[list[Passage] | str]:
        """Passages for each question out of as many candidates as it needs."""
        articles = self._allowed_articles(moment)
        found: list[list[Passage] | str] = ["" for _ in questions]
        short, limit = list(range(len(questions))), CANDIDATES
        while short and limit <= MOST_CANDIDATES:
            rankings = self.rank_ids([questions[n].text for n in short], articles, limit=limit)
            cut_off = []
            for number, ranking in zip(short, rankings, strict=True):
                chosen = found[number] = self._guarded_choice(questions[number], ranking, moment)
                few = (
                    not isinstance(chosen, str)
                    and len(chosen) < self.settings.passages_per_question
                )
                if few and len(ranking) >= limit:
                    cut_off.append(number)
            short, limit = cut_off, 4 * limit
        return found

    def _freshen(self, found: Sequence[list[Passage] | str], moment: str | None) -> bool:
        """Compare chosen articles that no search has brought up to date with the wiki; whether any of them has changed.

        They were left in the store by other questions, or by runs of other dates, and would speak for a day they do not know.
        """
        if self.client is None:
            return False
        changed = False
        try:
            chosen = [p for passages in found if not isinstance(passages, str) for p in passages]
            for title in dict.fromkeys(p.title for p in chosen if p.source == self._source):
                if (title, moment) not in self._checked:
                    changed |= self._try_update(title, moment)
        except DatabaseError:
            raise
        except Exception as error:  # the question boundary: what is stored serves as it is
            logger.warning(
                "stored articles could not be compared with the wiki (%s)", _first_line(error)
            )
            logger.debug("traceback", exc_info=error)
        return changed

    def _guarded_choice(
        self, question: Question, ranking: Sequence[tuple[int, float]], moment: str | None
    ) -> list[Passage] | str:
        try:
            return self._choose_passages(question.text, ranking, moment)
        except DatabaseError:
            raise
        except Exception as error:  # the question boundary
            logger.warning("ranking for %r failed (%s)", question.id, _first_line(error))
            logger.debug("traceback", exc_info=error)
            return _first_line(error)

    def _evidence(
        self, question: Question, found: list[Passage] | str, note: str | None
    ) -> Evidence:
        problems = list(dict.fromkeys(filter(None, (note, *self.problems))))
        if found and not isinstance(found, str):
            return Evidence(passages=tuple(found), note="; ".join(problems) or None)
        reasons = [found, *problems] if isinstance(found, str) and found else problems
        return Evidence(error="; ".join(dict.fromkeys(reasons)) or NOTHING_FOUND, note=note)

    def _allowed_articles(self, moment: str | None) -> list[int]:
        """Ids of the newest stored revisions at ``moment``; of documents, only those in the folder given.

        A document counts as it stands in the folder, even where an earlier version was stored with a later modification
        time; one that was modified after ``moment`` counts in the version stored for that date, if there is one.
        """
        articles = self.database.current_articles(as_of=moment, sources=self.settings.sources)
        standing = {
            title: article
            for title, (article, modified) in self._documents.items()
            if moment is None or modified <= moment
        }
        if self.settings.sources is not None and DOCUMENT_SOURCE not in self.settings.sources:
            standing = {}
        earlier = self._documents.keys() - standing.keys()
        others = [
            a.id
            for a in articles
            if (a.source != DOCUMENT_SOURCE or a.title in earlier)
            and (a.id, moment) not in self._gone
        ]
        return [*others, *standing.values()]

    def rank_ids(
        self, texts: Sequence[str], articles: Sequence[int], *, limit: int = CANDIDATES
    ) -> list[list[tuple[int, float]]]:
        """First-stage ranking of the passages of ``articles`` (ids): for each text (passage id, score), best first.

        ``limit`` candidates of each method.
        """
        if not articles or not texts:
            return [[] for _ in texts]
        method = "bm25" if self.embedder is None else self.settings.ranking
        # A very large corpus is not embedded as a whole: what shares words with a question is, when it is first asked.
        partly = (
            method != "bm25"
            and self.database.count_passages(articles) > self.settings.embed_all_up_to
        )
        by_words: list[list[tuple[int, float]]] = [[] for _ in texts]
        if method != "embedding" or partly:
            by_words = [
                self.database.search_words(match_query(text), articles, limit=limit)
                for text in texts
            ]
        if method == "bm25" or self.embedder is None or self._index is None:
            return by_words
        few = sorted({i for found in by_words for i, _ in found}) if partly else None
        embed_missing(self.database, self.embedder, articles, passages=few)
        self._index.refresh()
        # Where only matches are embedded, each question ranks its own: what others asked, before or beside it, has
        # embedded more, and must not change what this one finds.
        own = [[i for i, _ in found] for found in by_words] if partly else None
        by_meaning = self._index.search(self.embedder.encode(texts), articles, limit, only=own)
        if method == "embedding":
            return by_meaning
        return [
            fuse([[i for i, _ in meaning], [i for i, _ in words]])
            for meaning, words in zip(by_meaning, by_words, strict=True)
        ]

    def _choose_passages(
        self, text: str, ranking: Sequence[tuple[int, float]], moment: str | None
    ) -> list[Passage]:
        candidates = self.database.get_passages([i for i, _ in ranking], dict(ranking))
        chosen = choose_passages(
            self._rerank(text, self._distinct(candidates)),
            per_article=self.settings.passages_per_article,
            most=self.settings.passages_per_question,
        )
        for (
            passage
        ) in chosen:  # the last gate: whatever went wrong before, nothing newer leaves this room
            refuse_future(passage.timestamp, moment, f"{passage.title!r}")
        return chosen

    def _rerank(self, text: str, candidates: Sequence[Passage]) -> list[Passage]:
        """The best candidates in the cross-encoder's order, the others behind them; one that fails is not asked again."""
        head = list(candidates[: self.settings.rerank_candidates])
        if self.reranker is None or not head:
            return list(candidates)
        try:
            scores = self.reranker.score(text, [embedded_text(passage) for passage in head])
        except ModelError as error:
            self.reranker = None
            self._give_up(f"{error}; {ORDER_KEPT}")
            return list(candidates)
        order = np.argsort(-scores, kind="stable")
        return [replace(head[i], score=float(scores[i])) for i in order] + list(
            candidates[len(head) :]
        )

    def _distinct(self, candidates: Sequence[Passage]) -> list[Passage]:
        """The candidates without near-duplicates, before a cross-encoder spends its places on them."""
        kept = drop_near_duplicates(
            [passage.text for passage in candidates],
            self.settings.near_duplicate_share,
            dates=[passage.timestamp for passage in candidates],
        )
        return [candidates[i] for i in kept]


def choose_articles(found: Sequence[Sequence[SearchHit]], limit: int) -> list[SearchHit]:
    """Merge the results of several searches by reciprocal rank; disambiguation pages and lists are left out."""
    hits: dict[str, SearchHit] = {}
    scores: dict[str, float] = {}
    for results in found:
        for rank, hit in enumerate(results, start=1):
            if hit.disambiguation or is_list_title(hit.title):
                continue
            hits.setdefault(hit.title, hit)
            scores[hit.title] = scores.get(hit.title, 0.0) + 1.0 / (FUSION_CONSTANT + rank)
    return [hits[title] for title in sorted(scores, key=lambda t: -scores[t])][:limit]


def _tomorrow(now: str) -> str:
    """A day after ``now``: no revision is newer, unless the wiki's clock or ours is wrong."""
    return (datetime.fromisoformat(now) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _document_article(document: Document) -> tuple[Article, list[tuple[str, str]]]:
    sections = [(section.title, section.text) for section in document.sections()]
    article = Article(
        source=DOCUMENT_SOURCE,
        title=document.title,
        revision_id=document.sha256[:16],
        timestamp=document.timestamp,
        url=document.path.as_uri(),
        text="\n\n".join("\n".join(filter(None, section)) for section in sections),
    )
    return article, sections
