"""What a question finds does not depend on what was asked before it or beside it, and nothing is embedded twice."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from database import Article, Database, NewPassage
from questions import Question
from semanticretriever import RetrievalSettings, SemanticRetriever

TOPICS = ("wheat", "oil", "rail", "bridge", "vaccine", "satellite")
QUESTIONS = [
    Question(f"Will {topic} exports of {land} grow?") for topic in TOPICS for land in ("Kenya", "Chad")
]


class Embedder:
    """Vectors that follow from the text alone; counts what it encodes."""

    def __init__(self, name="stub"):
        self.name = name
        self.encoded = []

    def encode(self, texts):
        self.encoded += texts
        rows = [np.random.default_rng(zlib.crc32(text.encode())).normal(size=8) for text in texts]
        vectors = np.asarray(rows, dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]


@pytest.fixture
def store(tmp_path):
    """A database of 24 articles, each with three passages that share words with several questions."""

    def make(name):
        database = Database(tmp_path / f"{name}.db")
        for number in range(24):
            topic, land = TOPICS[number % 6], ("Kenya", "Chad", "Peru", "Laos")[number % 4]
            article = Article(
                "wikipedia", f"A{number}", "1", "2026-01-01T00:00:00Z", "https://example.org", "t"
            )
            passages = [NewPassage(s, f"{topic}, {land}, fact {number} in {s}", 8) for s in ("x", "y", "z")]
            database.add_article(article, passages)
        return database

    return make


def retriever(database, embedder, **changes):
    settings = RetrievalSettings(embedding_model="stub", passages_per_question=5, **changes)
    return SemanticRetriever(database, settings, embedder=embedder)


def found(evidence):
    return [(passage.title, passage.section, round(passage.score, 5)) for passage in evidence.passages]


@pytest.mark.parametrize("ranking", ["hybrid", "embedding"])
@pytest.mark.parametrize("limit", [0, 20_000])
def test_evidence_does_not_depend_on_other_questions(store, ranking, limit):
    alone = []
    for number, question in enumerate(QUESTIONS):
        with store(f"fresh{number}") as database:
            one = retriever(database, Embedder(), ranking=ranking, embed_all_up_to=limit)
            alone.append(found(one.retrieve(question)))
    assert all(alone)
    with store("served") as database:
        served = retriever(database, Embedder(), ranking=ranking, embed_all_up_to=limit)
        after = [found(served.retrieve(question)) for question in QUESTIONS]
    with store("batch") as database:
        batch = retriever(database, Embedder(), ranking=ranking, embed_all_up_to=limit)
        beside = [found(evidence) for evidence in batch.retrieve_all(QUESTIONS)]
    assert after == alone
    assert beside == alone


def test_no_passage_is_embedded_twice_until_the_model_changes(store):
    with store("store") as database:
        first = Embedder()
        for question in QUESTIONS[:3]:
            retriever(database, first).retrieve(question)
        passages = [text for text in first.encoded if "fact" in text]
        assert len(passages) == 72 == len(set(passages))
        other = Embedder("another model")
        retriever(database, other).retrieve(QUESTIONS[0])
        assert len([text for text in other.encoded if "fact" in text]) == 72
