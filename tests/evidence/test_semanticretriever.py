"""What a question finds does not depend on what was asked before it or beside it, and nothing is embedded twice."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from database import Database
from evidence.settings import RetrievalSettings
from questions.question import Question
from scoring.prompts import Passage
from semanticretriever import SemanticRetriever
from storage.records import Article

TOPICS = ("wheat", "oil", "rail", "bridge", "vaccine", "satellite")
QUESTIONS = [
    Question(f"Will {topic} exports of {land} grow?")
    for topic in TOPICS
    for land in ("Kenya", "Chad")
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
            passages = [
                Passage(text=f"{topic}, {land}, fact {number} in {s}", section=s, tokens=8)
                for s in ("x", "y", "z")
            ]
            database.articles.add(article, passages)
        return database

    return make


def retriever(database, embedder, **changes):
    common = {"passages_per_question": 5, "min_similarity": 0.0, **changes}
    settings = RetrievalSettings(embedding_model="stub", **common)
    return SemanticRetriever(database, settings, embedder=embedder)


def found(evidence):
    return [
        (passage.title, passage.section, round(passage.score, 5)) for passage in evidence.passages
    ]


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


class ByWords(Embedder):
    """Similar texts hold the same of five words; a little of their length tells them apart."""

    def encode(self, texts):
        words = ("wheat", "exports", "kenya", "grow")
        rows = [
            [*(word in text.casefold() for word in words), len(text) % 97 / 1000] for text in texts
        ]
        vectors = np.asarray(rows, dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("ranking", ["hybrid", "embedding", "bm25"])
@pytest.mark.parametrize("crowd", ["near-duplicates", "one article"])
def test_neither_near_duplicates_nor_one_long_article_crowd_out_the_others(
    tmp_path, ranking, crowd
):
    """600 passages that hold every word of the question, before ten articles that hold some and say something else."""

    def add(title, *texts):
        article = Article("corpus", title, "1", "2026-01-01T00:00:00Z", "", "text")
        database.articles.add(article, [Passage(text=text, tokens=20) for text in texts])

    with Database(tmp_path / "store.db") as database:
        if crowd == "near-duplicates":
            for n in range(600):
                add(
                    f"Crowd {n}",
                    f"Wheat exports of Kenya grow and grow, says the report of the mills, number {n}.",
                )
        else:
            add(
                "Crowd",
                *(
                    f"Wheat exports of Kenya grow: a{n} b{n} c{n} d{n} e{n} f{n}."
                    for n in range(600)
                ),
            )
        for n in range(10):
            add(f"Other {n}", f"Exports of Kenya: k{n} l{n} m{n} n{n} o{n} p{n} q{n} r{n} s{n}.")
        settings = RetrievalSettings(
            embedding_model="stub", ranking=ranking, passages_per_question=12, min_similarity=0.0
        )
        retriever = SemanticRetriever(database, settings, embedder=ByWords())
        evidence = retriever.retrieve(Question("Will wheat exports of Kenya grow?"))
    titles = [passage.title.split()[0] for passage in evidence.passages]
    crowded = 1 if crowd == "near-duplicates" else settings.passages_per_article
    assert titles == ["Crowd"] * crowded + ["Other"] * min(10, 12 - crowded)


@pytest.mark.parametrize("ranking", ["embedding", "hybrid"])
def test_of_many_near_duplicates_in_a_large_store_only_some_are_embedded(
    tmp_path, monkeypatch, ranking
):
    """They hold the question's words, so all of them are looked at before what is not like them."""
    monkeypatch.setattr("evidence.ranking.MOST_EMBEDDED", 120)
    crowd = "Wheat exports of Kenya grow and grow, says the report of the mills, number"
    texts = [f"{crowd} {n}." for n in range(600)]
    texts += [f"Exports of Kenya: k{n} l{n} m{n} n{n} o{n} p{n} q{n} r{n} s{n}." for n in range(10)]
    with Database(tmp_path / "store.db") as database:
        for n, text in enumerate(texts):
            article = Article("corpus", f"A{n}", "1", "2026-01-01T00:00:00Z", "", "text")
            database.articles.add(article, [Passage(text=text, tokens=20)])
        embedder = ByWords()
        embedder.encode = lambda texts: (
            embedder.encoded.extend(texts) or ByWords.encode(embedder, texts)
        )
        one = retriever(
            database, embedder, embed_all_up_to=0, passages_per_question=8, ranking=ranking
        )
        evidence = one.retrieve(Question("Will wheat exports of Kenya grow?"))
    titles = [int(passage.title[1:]) for passage in evidence.passages]
    assert titles[0] < 600
    assert titles[1:] == list(range(600, 607))
    assert len(embedder.encoded) < 150


class ByAngle(Embedder):
    """A passage that begins with a number has that cosine to every question."""

    def encode(self, texts):
        values = [text.partition(": ")[2].partition(" ")[0] for text in texts]
        cosines = np.array([float(v) if v[:1].isdigit() else 1.0 for v in values])
        return np.column_stack([cosines, np.sqrt(1 - cosines**2)]).astype(np.float32)


def quoted(tmp_path, cosines, **changes):
    """What is found among passages of these similarities, with the evidence's context_error."""
    with Database(tmp_path / "store.db") as database:
        for n, cosine in enumerate(cosines):
            article = Article("corpus", f"A{n}", "1", "2026-01-01T00:00:00Z", "", "text")
            # All hold the question's words, and each says something else.
            text = f"{cosine} wheat k{n} exports l{n} grow m{n} Kenya n{n} o{n} p{n}"
            database.articles.add(article, [Passage(text=text, tokens=9)])
        common = {"embedding_model": "stub", "passages_per_question": 3, "min_similarity": 0.3}
        settings = RetrievalSettings(**{**common, **changes})
        retriever = SemanticRetriever(database, settings, embedder=ByAngle())
        evidence = retriever.retrieve(Question("Will wheat exports of Kenya grow?"))
    return [(p.title, round(p.score, 3)) for p in evidence.passages], evidence.context_error


@pytest.mark.parametrize("everything", [True, False])
def test_passages_below_the_least_similarity_are_not_quoted_to_fill_places(tmp_path, everything):
    limit = 20_000 if everything else 0
    found, error = quoted(tmp_path, (0.1, 0.5, 0.29, 0.31), embed_all_up_to=limit)
    assert found == [("A1", 0.5), ("A3", 0.31)]
    assert error is None


def test_a_least_similarity_of_zero_fills_all_places(tmp_path):
    found, _ = quoted(tmp_path, (0.1, 0.5, 0.29, 0.31), min_similarity=0.0)
    assert found == [("A1", 0.5), ("A3", 0.31), ("A2", 0.29)]


def test_where_nothing_is_similar_enough_the_evidence_says_so(tmp_path):
    assert quoted(tmp_path, (0.1, 0.2)) == ([], "nothing relevant was found")


def test_a_ranking_by_words_too_quotes_only_what_is_similar_enough(tmp_path):
    found, _ = quoted(tmp_path, (0.1, 0.5, 0.29, 0.31), ranking="hybrid")
    assert {title for title, _ in found} == {"A1", "A3"}


def test_without_an_embedding_model_there_is_no_similarity_to_ask_for(tmp_path):
    found, error = quoted(tmp_path, (0.1, 0.5, 0.2, 0.2), ranking="bm25")
    assert len(found) == 3
    assert error is None
