"""Tell which stored articles may give evidence at a moment."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from database import Database
from evidence.chunking import TokenCounter
from evidence.documents import Document, DocumentError, find_documents
from evidence.ingestion import store_article
from evidence.settings import RetrievalSettings
from storage.records import Article
from terminal.progress import with_progress

DOCUMENT_SOURCE = "document"


class Corpus:
    """The store, with the documents of the user's folder."""

    def __init__(self, database: Database, settings: RetrievalSettings) -> None:
        self.database = database
        self.settings = settings
        # The documents in the folder: title to (article id, modification time).
        self._documents: dict[str, tuple[int, str]] = {}

    def read_documents(self, count_tokens: TokenCounter) -> Iterator[str]:
        """Store the folder's documents; yield why one, or all, cannot be used."""
        if self.settings.documents is None:
            return
        try:
            documents = list(find_documents(self.settings.documents))
        except DocumentError as error:
            yield str(error)
            return
        for document in with_progress(documents, "documents", "document"):
            try:
                stored = self._store(document, count_tokens)
            except DocumentError as error:
                yield str(error)
            else:
                self._documents[document.title] = (stored, document.timestamp)

    def _store(self, document: Document, count_tokens: TokenCounter) -> int:
        """Store a document as an article whose revision is its hash, unless it is there."""
        revision_id = document.sha256[:16]
        known = self.database.articles.has_revision(DOCUMENT_SOURCE, document.title, revision_id)
        if known is not None:
            return known
        sections = document.sections()
        article = Article(
            source=DOCUMENT_SOURCE,
            title=document.title,
            revision_id=revision_id,
            timestamp=document.timestamp,
            url=document.path.as_uri(),
            text="\n\n".join("\n".join(filter(None, section)) for section in sections),
        )
        return store_article(self.database, article, sections, self.settings, count_tokens)

    def articles(
        self, moment: str | None, gone: Collection[tuple[int, str | None]] = ()
    ) -> list[int]:
        """Return the newest revisions at ``moment`` (ids) that are not ``gone`` then.

        A document counts as it is in the folder, even where an earlier version was stored with a
        later modification time; one that was modified after ``moment`` counts in the version stored
        for that date, if there is one. One that has left the folder does not count.
        """
        sources = self.settings.sources
        present = {
            title: article
            for title, (article, modified) in self._documents.items()
            if (moment is None or modified <= moment)
            and (sources is None or DOCUMENT_SOURCE in sources)
        }
        earlier = self._documents.keys() - present.keys()
        others = [
            article.id
            for article in self.database.articles.current(as_of=moment, sources=sources)
            if (article.source != DOCUMENT_SOURCE or article.title in earlier)
            and (article.id, moment) not in gone
        ]
        return [*others, *present.values()]
