"""Does retrieval find the right passages? Recall and MRR on questions over the packaged World Factbook.

    python benchmarks/retrieval_quality.py DATABASE [--cross-encoder PATH]

DATABASE keeps the corpus and its embeddings (11,148 passages: 16 minutes on two busy CPU cores, once). The questions are beside
this file in retrieval_pairs.csv, written by hand, with country and section as ground truth. ``kind`` says how a question is
put: "named" in the Factbook's words, "reworded" in others (the country perhaps under another name), "unnamed" without the
country's name. ``text`` occurs in the passages of that section that answer the question, one to three of them; a passage counts
as right when it holds it. The last table counts any passage of the country and section: near, but often not the answer.

Each row of a table is the project's own retrieval from question to evidence (``SemanticRetriever.retrieve_all``: ranking,
reranking where a cross-encoder is given, near-duplicates, the share of one article), with only the first-stage ranking changed.
Intervals are 95 %, over countries; two rows are compared by the interval of their differences question by
question.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import config
from database import Database
from evaluation.intervals import mean_interval
from evidence.encoders import ModelError, Reranker
from evidence.settings import RetrievalSettings
from preflight import settings
from preflight.packages import PackageError
from questions.question import Question
from runs.demo import make_retriever, narrowed
from scoring.prompts import Passage
from semanticretriever import SemanticRetriever
from storage.errors import DatabaseError
from storage.records import NOTHING_FOUND

Floats = NDArray[np.float64]
Ranks = NDArray[np.int64]
PAIRS = Path(__file__).with_name("retrieval_pairs.csv")
# What changes in the settings for each row. The last is what a store beyond EMBED_ALL_UP_TO_PASSAGES gets, and --demo.
RANKINGS: Mapping[str, Mapping[str, Any]] = {
    "bm25": {"ranking": "bm25"},
    "embedding": {"ranking": "embedding"},
    "hybrid": {"ranking": "hybrid"},
    "embedding of word matches": {"ranking": "embedding", "embed_all_up_to": 0},
}
DEPTHS = (1, 5, 10, 20)


@dataclass(frozen=True)
class Pair:
    """A question and where its answer is; fields as the columns of retrieval_pairs.csv."""

    kind: str
    country: str
    section: str
    text: str
    question: str

    def in_section(self, passage: Passage) -> bool:
        """Whether a passage is of the country and section."""
        return (passage.title, passage.section) == (self.country, self.section)

    def answered_by(self, passage: Passage) -> bool:
        """Whether a passage is of the country and section and holds the answer."""
        return self.in_section(passage) and self.text in passage.text


class BenchmarkError(Exception):
    """The questions do not fit the corpus, or one of them failed; the message is one line for the user."""


def read_pairs(path: Path = PAIRS) -> list[Pair]:
    """The questions with their ground truth, in the file's order."""
    with path.open(encoding="utf-8", newline="") as file:
        return [Pair(**row) for row in csv.DictReader(file)]


def check(pairs: Sequence[Pair], passages: Iterable[tuple[str, str, str]]) -> None:
    """Raise BenchmarkError unless every pair's text occurs in one to three passages (country, section, text)."""
    texts: dict[tuple[str, str], list[str]] = {}
    for country, section, text in passages:
        texts.setdefault((country, section), []).append(text)
    for pair in pairs:
        candidates = texts.get((pair.country, pair.section), [])
        holding = sum(pair.text in text for text in candidates)
        if not 1 <= holding <= 3:
            raise BenchmarkError(
                f"retrieval_pairs.csv: {pair.text!r} is in {holding} of the {len(candidates)} passages of"
                f" {pair.country}, {pair.section}; allowed: 1 to 3; correct the pair"
            )


# --- metrics ------------------------------------------------------------------------------------------------------


def first_rank(passages: Sequence[Passage], right: Callable[[Passage], bool]) -> int:
    """Place of the first right passage, from 1; 0 when there is none."""
    return next((rank for rank, passage in enumerate(passages, start=1) if right(passage)), 0)


def recall(ranks: Ranks, depth: int) -> Floats:
    """1 for each question whose first right passage is among the best ``depth``, else 0."""
    return ((ranks > 0) & (ranks <= depth)).astype(np.float64)


def reciprocal_ranks(ranks: Ranks) -> Floats:
    """1 / rank of each question's first right passage, 0 where none was found; their mean is the MRR."""
    return np.where(ranks > 0, 1.0 / np.maximum(ranks, 1), 0.0)


# --- tables -------------------------------------------------------------------------------------------------------


def cell(values: Floats, pairs: Sequence[Pair]) -> str:
    """Mean and its 95 % interval, a dash where there are too few countries for one."""
    interval = mean_interval(values, [pair.country for pair in pairs], least=0, most=1)
    ends = f"{interval.low:.2f}–{interval.high:.2f}" if interval.known else "–"
    return f"{values.mean():.2f} ({ends})"


def table(ranks: Mapping[str, Ranks], pairs: Sequence[Pair]) -> list[str]:
    """One line a method: recall at every depth and MRR."""
    lines = [
        f"| ranking | {' | '.join(f'recall@{depth}' for depth in DEPTHS)} | MRR |",
        "|---" * (len(DEPTHS) + 2) + "|",
    ]
    for name, found in ranks.items():
        columns = [*(recall(found, depth) for depth in DEPTHS), reciprocal_ranks(found)]
        lines.append(f"| {name} | {' | '.join(cell(values, pairs) for values in columns)} |")
    return lines


def kinds_table(ranks: Mapping[str, Ranks], pairs: Sequence[Pair]) -> list[str]:
    """MRR and recall at the greatest depth of every method, kind by kind."""
    kinds = list(dict.fromkeys(pair.kind for pair in pairs))
    rows = {kind: np.array([pair.kind == kind for pair in pairs]) for kind in kinds}
    lines = [
        f"| MRR, recall@{DEPTHS[-1]} | {' | '.join(f'{kind} ({rows[kind].sum()})' for kind in kinds)} |",
        "|---" * (len(kinds) + 1) + "|",
    ]
    for name, found in ranks.items():
        parts = [found[rows[kind]] for kind in kinds]
        cells = [
            f"{reciprocal_ranks(part).mean():.2f}, {recall(part, DEPTHS[-1]).mean():.2f}"
            for part in parts
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def comparisons(ranks: Mapping[str, Ranks], pairs: Sequence[Pair]) -> list[str]:
    """What the method with the best MRR gains over every other, by question.

    "beyond chance" where the interval of the paired differences leaves out zero; "no interval" where
    there are too few countries for one, or all differences are alike.
    """
    best = max(ranks, key=lambda name: float(reciprocal_ranks(ranks[name]).mean()))
    countries = [pair.country for pair in pairs]
    lines = [f"| {best} gains over | MRR | recall@{DEPTHS[-1]} |", "|---|---|---|"]
    for name in (name for name in ranks if name != best):
        cells = []
        for score in (reciprocal_ranks, lambda found: recall(found, DEPTHS[-1])):
            gain = score(ranks[best]) - score(ranks[name])
            cells.append(f"{gain.mean():+.2f} {_verdict(gain, countries)}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _verdict(gain: Floats, countries: Sequence[str]) -> str:
    interval = mean_interval(gain, countries, least=-1, most=1)
    if not interval.known:
        return "(no interval)"
    verdict = "beyond chance" if interval.low > 0 or interval.high < 0 else "not beyond chance"
    return f"({interval.low:+.2f} to {interval.high:+.2f}), {verdict}"


# --- running ------------------------------------------------------------------------------------------------------


def evidence(
    base: SemanticRetriever, pairs: Sequence[Pair], reranker: Reranker | None
) -> dict[str, list[Sequence[Passage]]]:
    """For every first-stage ranking, the passages each question is given, best first.

    Raises BenchmarkError when a question ends in an error, which would read as a miss.
    """
    found: dict[str, list[Sequence[Passage]]] = {}
    common = replace(
        base.settings,
        wiki=None,
        cross_encoder="",
        embed_all_up_to=sys.maxsize,
        min_similarity=0.0,
        # As in a run; the demonstration has fewer.
        candidates=RetrievalSettings.candidates,
        passages_per_question=max(DEPTHS),
    )
    for ranking, changes in RANKINGS.items():
        settings = replace(common, **changes)
        retriever = SemanticRetriever(
            base.database, settings, embedder=base.embedder, reranker=reranker
        )
        answers = retriever.retrieve_all([Question(pair.question) for pair in pairs])
        for answer in answers:
            if not answer.passages and answer.context_error != NOTHING_FOUND:
                raise BenchmarkError(answer.context_error)
        name = ranking if reranker is None else f"{ranking}, reranked"
        found[name] = [answer.passages for answer in answers]
    return found


def report(found: Mapping[str, Sequence[Sequence[Passage]]], pairs: Sequence[Pair]) -> list[str]:
    """Every table."""
    strict, loose = (
        {
            name: np.array(
                [
                    first_rank(passages, right(pair))
                    for passages, pair in zip(lists, pairs, strict=True)
                ]
            )
            for name, lists in found.items()
        }
        for right in (lambda pair: pair.answered_by, lambda pair: pair.in_section)
    )
    return [
        "The passage with the answer:",
        "",
        *table(strict, pairs),
        "",
        *comparisons(strict, pairs),
        "",
        *kinds_table(strict, pairs),
        "",
        "Any passage of the country and section:",
        "",
        *table(loose, pairs),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Read, embed, retrieve and print; 2 when a part is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "database", type=Path, help="keeps corpus and embeddings; made where there is none"
    )
    parser.add_argument(
        "--cross-encoder",
        metavar="PATH",
        help="Hugging Face id or folder: a second set of rows, reranked",
    )
    options = parser.parse_args(arguments)
    if problems := settings.load(config) or settings.setting_problems(config):
        parser.error("\n".join(problems))
    pairs = read_pairs()
    try:
        with Database(options.database) as database:
            base = make_retriever(database, narrowed(RetrievalSettings.from_config()))
            rows = database.connection.query(
                "SELECT a.title, p.section, p.text FROM passages p JOIN articles a ON a.id = p.article_id"
            )
            check(pairs, (tuple(row) for row in rows))
            rerankers: list[Reranker | None] = [None]
            if options.cross_encoder:
                rerankers.append(Reranker(options.cross_encoder))
            found: dict[str, list[Sequence[Passage]]] = {}
            for reranker in rerankers:
                found |= evidence(base, pairs, reranker)
    except (BenchmarkError, DatabaseError, PackageError, ModelError) as error:
        print(f"retrieval_quality.py: {error}", file=sys.stderr)
        return 2
    print(
        f"{len(pairs)} questions about {len({pair.country for pair in pairs})} countries, {len(rows):,} passages",
        end="\n\n",
    )
    print("\n".join(report(found, pairs)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
