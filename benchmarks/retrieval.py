"""How fast stored passages are ranked, beside faiss's exact index on the same vectors.

    python benchmarks/retrieval.py [--passages 100000] [--questions 14] [--repeats 7]

A database is filled with random unit vectors of the embedding model's width (384 float32); ``VectorIndex`` reads them from SQLite
(the start-up) and ranks them for all questions at once, all articles allowed and again with half of them, as an as-of date may
leave. faiss (``pip install faiss-cpu``, optional; ``IndexFlatIP`` is its exact inner-product index) answers the same questions
over the same vectors. The two alternate; the ratio is taken pair by pair. Both must name the same passages, but for one at the
end of the list, where two kernels may round a tie differently.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from database import Database
from evidence.encoders import Vectors
from evidence.ranking import VectorIndex
from scoring.prompts import Passage
from semanticretriever import CANDIDATES
from storage.records import Article

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
        passages = [
            Passage(text=f"passage {part} of article {number}", tokens=5) for part in range(size)
        ]
        database.articles.add(article, passages)
        vectors = unit_vectors(size, dimension, generator)
        database.articles.add_embeddings(
            MODEL, [(first + part, vectors[part]) for part in range(size)]
        )
        first += size


def megabytes() -> float:
    """Memory this process holds now (resident set, MB = 1e6 bytes)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def peak_megabytes() -> float:
    """Most memory this process ever held (resident set, MB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def timed(work: Callable[[], object]) -> float:
    """Seconds a piece of work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def filled_faiss(index: VectorIndex, dimension: int) -> Any:
    """faiss's exact index over the same vectors in the same order; None, with a line that says so, where it is not installed."""
    if importlib.util.find_spec("faiss") is None:
        print("faiss is not installed: its row is missing")
        return None
    import faiss

    flat = faiss.IndexFlatIP(dimension)
    for _, _, vectors in index.blocks:
        flat.add(vectors)
    return flat


def agree(
    found: Sequence[Sequence[tuple[int, float]]], places: npt.NDArray[np.int64], index: VectorIndex
) -> bool:
    """Whether faiss's rows (questions, k) of places hold the passages that were found; one may differ in each."""
    ids = np.concatenate([passages for passages, _, _ in index.blocks])
    return all(
        len({i for i, _ in ours} ^ set(ids[row].tolist())) <= 2
        for ours, row in zip(found, places, strict=True)
    )


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
        startup = timed(index.refresh)
        articles = [row["id"] for row in database.connection.query("SELECT id FROM articles")]
        questions = unit_vectors(options.questions, options.dimension, np.random.default_rng(2))
        count = sum(len(passages) for passages, _, _ in index.blocks)
        print(
            f"{count:,} passages of {len(articles):,} articles, {options.questions} questions,"
            f" {options.dimension} dimensions, best {CANDIDATES} each; read from SQLite in {startup:.2f} s"
        )
        k = min(CANDIDATES, count)
        found = index.search(questions, articles, k)
        halves = [
            timed(lambda: index.search(questions, articles[::2], k)) for _ in range(options.repeats)
        ]
        held, peak = megabytes(), peak_megabytes()
        faiss_index = filled_faiss(index, options.dimension)
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(options.repeats):
            ours.append(timed(lambda: index.search(questions, articles, k)))
            if faiss_index is not None:
                theirs.append(timed(lambda: faiss_index.search(questions, k)))
        same = faiss_index is None or agree(found, faiss_index.search(questions, k)[1], index)
        print("| index | seconds for all questions (median) | ratio, pair by pair |")
        print("|---|---|---|")
        ratio = "not run"
        if theirs:
            ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
            ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| VectorIndex | {statistics.median(ours):.3f} | {ratio} |")
        print(f"| VectorIndex, every second article | {statistics.median(halves):.3f} | |")
        if theirs:
            print(f"| faiss IndexFlatIP | {statistics.median(theirs):.3f} | 1 |")
        print(
            f"memory: {held - before:.0f} MB for the index, {peak:.0f} MB at most in all, ranking included"
            " (before faiss was loaded)"
        )
        if theirs:
            print("both name the same passages" if same else "THEY DIFFER")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
