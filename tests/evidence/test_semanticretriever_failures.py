"""Retrieval never stops a run: a failure gives no context and a reason."""

import pytest

from database import Database
from evidence.settings import RetrievalSettings
from questions.question import Question
from scoring.prompts import Passage
from semanticretriever import SemanticRetriever
from storage.records import Article

QUESTION = Question("Will Norway join the European Union before 2030?")


class BrokenClient:
    """A wiki that cannot be reached, whatever is asked of it."""

    def __getattr__(self, name):
        raise OSError("no route to the wiki")


@pytest.fixture
def database(tmp_path):
    with Database(tmp_path / "store.db") as opened:
        yield opened


def retriever(database, **changes):
    settings = RetrievalSettings(embedding_model="", ranking="bm25", **changes)
    return SemanticRetriever(database, settings, client=changes.get("wiki"))


def test_nothing_found_is_none_with_a_reason(database):
    found = retriever(database)
    assert found.get_context(QUESTION) is None
    evidence = found.retrieve(QUESTION)
    assert evidence.passages == ()
    assert evidence.context_error


def test_an_unreachable_wiki_is_none_with_a_reason(database):
    found = SemanticRetriever(
        database, RetrievalSettings(embedding_model="", ranking="bm25"), client=BrokenClient()
    )
    assert found.get_context(QUESTION) is None
    assert found.retrieve(QUESTION).context_error


def test_stored_passages_are_found_numbered_and_fenced(database):
    article = Article("World Factbook", "Norway", "1", "2026-01-01T00:00:00Z", "", "text")
    text = "Norway has twice rejected membership of the European Union."
    database.articles.add(article, [Passage(text=text, section="Government", tokens=12)])
    context = retriever(database).get_context(QUESTION)
    assert context is not None
    assert context.startswith(
        "<evidence>\n[1] World Factbook, Norway, Government, revision of 2026-01-01\n"
    )
    assert text in context
