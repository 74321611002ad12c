"""How fast stored passages are ranked, and evidence is chosen among near-duplicates.

    python benchmarks/retrieval.py [--passages 100000] [--questions 14] [--repeats 7] [--copies 20 300]

First, ranking beside faiss's exact index on the same vectors. A database is filled with random unit vectors of the embedding
model's width (384 float32); ``VectorIndex`` reads them from SQLite (the start-up) and ranks them for all questions at once, all
articles allowed and again with half of them, as an as-of date may leave. faiss (``pip install faiss-cpu``, optional;
``IndexFlatIP`` is its exact inner-product index) answers the same questions over the same vectors. The two alternate; the ratio is
taken pair by pair. Both must name the same passages, but for one at the end of the list, where two kernels may round a tie
differently.

Then evidence from question to passages (``SemanticRetriever.retrieve_all``) in stores of texts of 150 words, each with so many
copies that differ in five words, in vector a little, and in date, scattered over articles of 50 passages. "First time" is the first
call of a new process, which reads the vectors from SQLite. The plain way beside it
makes all shingles of the best 100, 400 and 1,600 candidates anew and compares each with all that is kept; where it fills all
places, both must choose the same passages.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from preflight import startup  # noqa: F401 - as in a run, before NumPy is imported

# isort: split
import numpy as np
import numpy.typing as npt

from database import Database
from evidence.encoders import Vectors
from evidence.ranking import VectorIndex
from evidence.selection import Places
from evidence.settings import RetrievalSettings
from questions.characters import WORD
from questions.question import Question
from scoring.prompts import Passage
from semanticretriever import SemanticRetriever
from storage.records import Article, Evidence

MODEL = "random unit vectors"
PASSAGES_AN_ARTICLE = 50
CANDIDATES = RetrievalSettings.candidates


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


# --- evidence among near-duplicates -------------------------------------------------------------------------------


class FixedEmbedder:
    """Stands in for the embedding model: the vectors of questions are given."""

    name = MODEL

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return the vector that a question's number names."""
        return np.stack([self.vectors[int(text.split()[1])] for text in texts])

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count words."""
        return [len(text.split()) for text in texts]


def fill_with_copies(database: Database, count: int, copies: int, dimension: int) -> None:
    """Store ``count`` passages, ``copies`` of each text, scattered over articles of all dates."""
    generator = np.random.default_rng(copies)
    letters = list("abcdefghijklmnoprstuvwy")
    words = ["".join(generator.choice(letters, size)) for size in generator.integers(3, 10, 5000)]
    texts = [list(generator.choice(words, 150)) for _ in range(-(-count // copies))]
    centres = unit_vectors(len(texts), dimension, generator)
    order = generator.permutation(np.repeat(np.arange(len(texts)), copies))[:count]
    for first in range(0, count, PASSAGES_AN_ARTICLE):
        part = order[first : first + PASSAGES_AN_ARTICLE]
        passages = []
        for text in part:
            changed = list(texts[text])
            for place in generator.integers(0, len(changed), 5):
                changed[place] = str(generator.integers(1000))
            passages.append(Passage(text=" ".join(changed), tokens=200))
        day = f"2026-{generator.integers(1, 13):02d}-{generator.integers(1, 29):02d}T00:00:00Z"
        database.articles.add(
            Article("benchmark", f"Article {first}", "1", day, "", "text"), passages
        )
        vectors = centres[part] + 0.1 * unit_vectors(len(part), dimension, generator)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        database.articles.add_embeddings(MODEL, [(first + n + 1, v) for n, v in enumerate(vectors)])


def plain_shingles(text: str) -> frozenset[int]:
    """Hash all runs of four words."""
    words = re.findall(rf"{WORD}+", text.casefold())
    starts = range(max(1, len(words) - 3) if words else 0)
    return frozenset(hash(tuple(words[i : i + 4])) for i in starts)


def plain_distinct(texts: Sequence[str], dates: Sequence[str], threshold: float) -> list[int]:
    """Return the numbers of the texts that repeat no better one, or are newer than it."""
    kept: list[int] = []
    sets: list[frozenset[int]] = []
    for index, text in enumerate(texts):
        words = plain_shingles(text)
        place = next(
            (
                n
                for n, other in enumerate(sets)
                if (smaller := min(len(words), len(other)))
                and len(words & other) >= threshold * smaller
            ),
            None,
        )
        if place is None:
            kept.append(index)
            sets.append(words)
        elif dates[index] > dates[kept[place]] and len(words & sets[place]) >= threshold * len(
            sets[place]
        ):
            kept[place], sets[place] = index, words
    return kept


def plain_evidence(
    database: Database, index: VectorIndex, queries: Vectors, settings: RetrievalSettings
) -> list[list[int]]:
    """Choose passages (ids) for every question the plain way, in rounds of 100, 400 and 1,600."""
    articles = [article.id for article in database.articles.current()]
    found: list[list[int]] = [[] for _ in queries]
    short = list(range(len(queries)))
    for limit in (CANDIDATES, 4 * CANDIDATES, 16 * CANDIDATES):
        rankings = index.search(queries[short], articles, limit)
        for number, ranking in zip(list(short), rankings, strict=True):
            passages = database.articles.passages([i for i, _ in ranking], dict(ranking))
            texts, dates = [p.text for p in passages], [p.timestamp for p in passages]
            distinct = plain_distinct(texts, dates, settings.near_duplicate_share)
            chosen = [passages[n] for n in distinct]
            places = Places(settings.passages_per_question, settings.passages_per_article)
            titles = [hash(passage.title) for passage in chosen]
            found[number] = places.fill([passage.id for passage in chosen], titles)
            if len(found[number]) == settings.passages_per_question:
                short.remove(number)
    return found


def processor(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the processor seconds of a piece of work, all threads together, and its result."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


@dataclass(frozen=True)
class Sizes:
    """How many passages a store has, copies a text, questions are asked, and numbers a vector has."""

    passages: int
    copies: int
    questions: int
    dimension: int

    @property
    def queries(self) -> Vectors:
        """The vectors of the questions."""
        return unit_vectors(self.questions, self.dimension, np.random.default_rng(2))

    @property
    def settings(self) -> RetrievalSettings:
        """Every passage is embedded, and any similarity will do."""
        limits: dict[str, Any] = {"embed_all_up_to": self.passages, "min_similarity": 0}
        return RetrievalSettings(embedding_model=MODEL, **limits)

    def asker(self, database: Database) -> Callable[[], list[Evidence]]:
        """Return what retrieves the evidence for all questions."""
        embedder: Any = FixedEmbedder(self.queries)
        retriever = SemanticRetriever(database, self.settings, embedder=embedder)
        questions = [Question(f"Will {n} happen?", id=f"q{n}") for n in range(self.questions)]
        return partial(retriever.retrieve_all, questions)


def first_call(path: Path, sizes: Sizes) -> float:
    """Return the processor seconds of the first questions that a process asks a store."""
    with Database(path) as database:
        return processor(sizes.asker(database))[0]


def first_call_of_a_process(path: Path, sizes: Sizes) -> float:
    """Return what ``first_call`` takes in a process of its own, as a run is."""
    options = [f"--{field.name}={getattr(sizes, field.name)}" for field in fields(sizes)]
    command = [sys.executable, __file__, f"--store={path}", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - this file
    return float(done.stdout)


def compare_evidence(sizes: Sizes, repeats: int) -> bool:
    """Print one line of the second table; False where the two ways differ and may not."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        with Database(path) as database:
            fill_with_copies(database, sizes.passages, sizes.copies, sizes.dimension)
        firsts = [first_call_of_a_process(path, sizes) for _ in range(repeats)]
        with Database(path) as database:
            ask, index = sizes.asker(database), VectorIndex(database, MODEL)
            ask()
            index.refresh()
            by_hand = partial(plain_evidence, database, index, sizes.queries, sizes.settings)
            ours, plain = [], []
            for _ in range(repeats):
                seconds, new = processor(ask)
                ours.append(seconds)
                seconds, old = processor(by_hand)
                plain.append(seconds)
    places = sizes.settings.passages_per_question
    pairs = [
        ([p.id for p in evidence.passages], ids) for evidence, ids in zip(new, old, strict=True)
    ]
    full = [(mine, ids) for mine, ids in pairs if len(ids) == places]
    same = sum(mine == ids for mine, ids in full)
    counts = [sorted(map(len, side)) for side in zip(*pairs, strict=True)]
    ratio = statistics.median(a / b for a, b in zip(ours, plain, strict=True))
    cells = (
        sizes.copies,
        f"{counts[0][0]} to {counts[0][-1]}",
        f"{counts[1][0]} to {counts[1][-1]}",
        f"{same} of {len(full)}",
        *map(middle, (ours, firsts, plain)),
        f"{ratio:.2f}",
    )
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
    return same == len(full)


def middle(seconds: Sequence[float]) -> str:
    """Write the median, and the least and most."""
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"


def main(arguments: list[str] | None = None) -> int:
    """Fill, read, rank, compare and print; 1 when the two indices disagree."""
    parser = argparse.ArgumentParser(description="Ranking stored passages beside faiss.")
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=14)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--copies", type=int, nargs="*", default=[5, 20, 300])
    parser.add_argument("--store", type=Path, help="only time a first call on this database")
    options = parser.parse_args(arguments)
    if options.store:
        sizes = Sizes(options.passages, 0, options.questions, options.dimension)
        print(first_call(options.store, sizes))
        return 0
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
    print(f"\nprocessor seconds, {os.cpu_count()} cores of {processor_name()}, {platform.system()}")
    print(
        "| copies | places filled | the plain way | same where that is full | all questions | first time | the plain way | ratio |"
    )
    print("|---" * 8 + "|")
    for copies in options.copies:
        sizes = Sizes(options.passages, copies, options.questions, options.dimension)
        same &= compare_evidence(sizes, options.repeats)
    return 0 if same else 1


def processor_name() -> str:
    """Name the processor's model."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


if __name__ == "__main__":
    sys.exit(main())
