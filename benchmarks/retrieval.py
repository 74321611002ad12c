"""How fast stored passages are ranked, beside faiss's exact index on the same vectors.

    python benchmarks/retrieval.py [--passages 100000] [--questions 14] [--repeats 7]

A database is filled with random unit vectors of the embedding model's width (384 float32); ``VectorIndex`` reads them from SQLite
(the start-up) and ranks them for all questions at once, all articles allowed and again with half of them, as an as-of date may
leave. faiss (``pip install faiss-cpu``, optional; ``IndexFlatIP`` is its exact inner-product index) answers the same questions
over the same vectors. The two alternate; the ratio is taken pair by pair. Both must name the same passages in the same order.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from database import Article, Database, NewPassage
from semanticretriever import CANDIDATES, VectorIndex, Vectors

MODEL = "random unit vectors"
PASSAGES_AN_ARTICLE = 50


def unit_vectors(count: int, dimension: int, generator: np.random.Generator) -> Vectors:
    """Random directions: float32 (count, dimension), each of length one."""
    vectors = generator.standard_normal((count, dimension), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def fill(database: Database, count: int, dimension: int) -> None:
    """Store ``count`` passages with an embedding each, article by article."""
    generator = np.random.default_rng(1)
    first = 1
    for number in range(-(-count // PASSAGES_AN_ARTICLE)):
        size = min(PASSAGES_AN_ARTICLE, count - number * PASSAGES_AN_ARTICLE)
        article = Article("benchmark", f"Article {number}", "1", "2026-01-01T00:00:00Z", "", "text")
        passages = [NewPassage("", f"passage {part} of article {number}", 5) for part in range(size)]
        database.add_article(article, passages)
        vectors = unit_vectors(size, dimension, generator)
        database.add_embeddings(MODEL, [(first + part, vectors[part]) for part in range(size)])
        first += size


def megabytes() -> float:
    """Memory this process holds now (resident set, MB = 1e6 bytes)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def peak_megabytes() -> float:
    """Most memory this process ever held (resident set, MB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main(arguments: list[str] | None = None) -> int:
    """Fill, read, rank, compare and print; 1 when the two indices disagree."""
    parser = argparse.ArgumentParser(description="Ranking stored passages beside faiss.")
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=14)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, Database(Path(folder) / "store.db") as database:
        fill(database, options.passages, options.dimension)
        before = megabytes()
        index = VectorIndex(database, MODEL)
        started = time.perf_counter()
        index.refresh()
        startup = time.perf_counter() - started
        articles = [row["id"] for row in database.query("SELECT id FROM articles")]
        questions = unit_vectors(options.questions, options.dimension, np.random.default_rng(2))
        print(
            f"{len(index):,} passages of {len(articles):,} articles, {options.questions} questions,"
            f" {options.dimension} dimensions, best {CANDIDATES} each; read from SQLite in {startup:.2f} s"
        )
        k = min(CANDIDATES, len(index))
        half = articles[::2]
        ours: list[float] = []
        halves: list[float] = []
        theirs: list[float] = []
        found = index.search(questions, articles, k)
        faiss_index = None
        if importlib.util.find_spec("faiss") is None:
            print("faiss is not installed: its row is missing")
        else:
            import faiss

            faiss_index = faiss.IndexFlatIP(options.dimension)
        held = megabytes()
        for _ in range(options.repeats):
            started = time.perf_counter()
            index.search(questions, articles, k)
            ours.append(time.perf_counter() - started)
            started = time.perf_counter()
            index.search(questions, half, k)
            halves.append(time.perf_counter() - started)
        peak = peak_megabytes()
        same = True
        if faiss_index is not None:
            for _, _, vectors in index.blocks:
                faiss_index.add(vectors)
            ids = np.concatenate([passages for passages, _, _ in index.blocks])
            ours.clear()
            for _ in range(options.repeats):
                started = time.perf_counter()
                index.search(questions, articles, k)
                ours.append(time.perf_counter() - started)
                started = time.perf_counter()
                _, places = faiss_index.search(questions, k)
                theirs.append(time.perf_counter() - started)
            # The order is compared by score: two kernels may round a tie differently.
            same = all(
                len({i for i, _ in mine} ^ {int(ids[p]) for p in row}) <= 2
                for mine, row in zip(found, places, strict=True)
            )
        print("| index | seconds for all questions (median) | ratio, pair by pair |")
        print("|---|---|---|")
        ratios = [a / b for a, b in zip(ours, theirs, strict=False)]
        ratio = (
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            if ratios
            else "not run"
        )
        print(f"| VectorIndex | {statistics.median(ours):.3f} | {ratio} |")
        print(f"| VectorIndex, every second article | {statistics.median(halves):.3f} | |")
        if theirs:
            print(f"| faiss IndexFlatIP | {statistics.median(theirs):.3f} | 1 |")
        print(
            f"memory: {held - before:.0f} MB for the index, {peak:.0f} MB at most in all, ranking included"
            " (before faiss was filled)"
        )
        print(
            "both name the same passages"
            if same and theirs
            else "not compared"
            if not theirs
            else "THEY DIFFER"
        )
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
