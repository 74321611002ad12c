"""What follows a number in an answer, and how far its rule moves a distribution.

    python benchmarks/number_endings.py [--questions FILE.jsonl] [--sample 20] [--chat]
    python benchmarks/number_endings.py --model PATH_OR_ID --questions FILE.jsonl
    python benchmarks/number_endings.py --random       a vocabulary with 1,110 digit tokens

The oracle (``agents.py``: transformers, float32) gives the whole next-token distribution after the
inner nodes of the number trie, the heaviest leaves, and the heaviest "7.", "7," and "7-". The prompts are the project's
own questions, the demonstration's with passages of the packaged World Factbook about the countries
they name, and a sample of FILE. Printed are the probabilities of what follows a number, and the
distance (total variation, points of the mean) between distributions read by different rules.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import config  # noqa: E402 - the folder of the modules has to be known first
from agents import Agent  # noqa: E402
from evidence.factbook import factbook_articles  # noqa: E402
from forecaster import QUESTIONS  # noqa: E402
from preflight.model_entries import ModelSpec  # noqa: E402
from questions.files import read_question_file  # noqa: E402
from questions.question import Question  # noqa: E402
from runs import demo  # noqa: E402
from scoring.distribution import SUPPORT_SIZE, Distribution, total_variation  # noqa: E402
from scoring.number_trie import TokenPath  # noqa: E402
from scoring.scorer import ForecastScoring, Reply, ScoringResult  # noqa: E402
from scoring.tasks import ForecastTask, Prompt  # noqa: E402
from storage.records import Passage  # noqa: E402

TODAY = "2026-11-24"
PASSAGES, WORDS = 3, 60
# So much of the mass on leaves, and of that on "7.", "7," and "7-", is looked at one token further.
LOOKED_AT = 0.95
MARKS = (".", ",", "-", "–")


@dataclass(frozen=True)
class Reading:
    """One prompt: mass by what follows, weights by rule, its score by default."""

    endings: Mapping[str, float]
    weights: Mapping[str, np.ndarray]
    scored: ScoringResult


# --- prompts --------------------------------------------------------------------------------------


def passages_about(question: Question) -> tuple[Passage, ...]:
    """Return the first passages of the Factbook's articles that the question names."""
    found = []
    for article, sections in factbook_articles():
        if article.title in question.text:
            for section, text in sections[:PASSAGES]:
                words = " ".join(text.split()[:WORDS])
                found.append(
                    Passage(
                        text=words,
                        section=section,
                        source=article.source,
                        title=article.title,
                        timestamp=TODAY,
                    )
                )
    return tuple(found[:PASSAGES])


def make_tasks(file: Path | None, sample: int) -> list[ForecastTask]:
    """Return the project's and the demonstration's questions, and some of a file."""
    tasks = [ForecastTask(question, TODAY) for question in QUESTIONS]
    tasks += [ForecastTask(q, TODAY, passages_about(q)) for q in demo.QUESTIONS]
    if file is not None:
        read = list(read_question_file(file).questions)
        tasks += [ForecastTask(q, TODAY) for q in read[:: max(1, len(read) // sample)][:sample]]
    # In any order but this one, so that an interrupted run is a fair sample too.
    return [tasks[i] for i in np.random.default_rng(1).permutation(len(tasks))]


# --- one prompt -----------------------------------------------------------------------------------


class Vocabulary:
    """Which token ids begin with a digit, end an answer or are a punctuation mark."""

    def __init__(self, tokenizer: Any, size: int) -> None:
        texts = [tokenizer.decode([i]) for i in range(min(size, len(tokenizer)))]
        special = set(tokenizer.all_special_ids)
        self.digits = [i for i, t in enumerate(texts) if t[:1] in set("0123456789")]
        self.ends = [i for i, t in enumerate(texts) if i in special or t[:1] == "\n"]
        self.marks = {mark: [i for i, t in enumerate(texts) if t == mark] for mark in MARKS}


def read_prompt(agent: Agent, vocabulary: Vocabulary, prompt: Prompt) -> Reading:
    """Read the nodes, and one token further where punctuation follows a number."""
    trie, prefilled = prompt.trie, agent.prefill(prompt.token_ids)
    rows = {node: np.exp(row) for node, row in agent.rows(prefilled, list(trie.asked)).items()}
    mass: dict[TokenPath, float] = {(): 1.0}
    for node in sorted(trie.asked, key=len):
        for token in trie.asked[node]:
            mass[*node, token] = mass[node] * float(rows[node][token])
    leaves = _heaviest({path: mass[path] for path in trie.paths if path not in trie.asked})
    rows |= {node: np.exp(row) for node, row in agent.rows(prefilled, leaves).items()}
    endings: dict[str, float] = defaultdict(float)
    weights = {rule: np.zeros(SUPPORT_SIZE) for rule in ("no digit follows", "longest spelling")}
    marked: dict[tuple[int, str, TokenPath], float] = {}
    for n, node in enumerate(trie.paths):
        if node not in rows:
            weights["no digit follows"][n] = weights["longest spelling"][n] = mass[node]
            continue
        digits = float(rows[node][vocabulary.digits].sum())
        ids = [t for t in trie.asked.get(node, ()) if (*node, t) not in trie.refused]
        onward = float(rows[node][ids].sum())
        weights["no digit follows"][n] = mass[node] * (1 - digits)
        weights["longest spelling"][n] = mass[node] * (1 - onward)
        endings[_longer(n)] += mass[node] * max(0.0, digits - onward)
        for mark, ids in vocabulary.marks.items():
            for token in ids:
                marked[n, mark, (*node, token)] = mass[node] * float(rows[node][token])
    heaviest = _heaviest(marked)
    further = agent.rows(prefilled, [node for _, _, node in heaviest])
    decimals = _look_further(vocabulary, further, marked, endings)
    for rule, numbers in (("0. is no integer", [0]), ("0. and 1. are none", [0, 1])):
        weights[rule] = weights["longest spelling"].copy()
        for n in numbers:
            ids = vocabulary.marks["."] + vocabulary.marks[","]
            node = trie.paths[n]
            weights[rule][n] -= mass[node] * float(rows[node][ids].sum())
    weights["decimals rounded away"] = np.clip(weights["longest spelling"] - decimals, 0, None)
    endings["a digit first"] = float(rows[()][vocabulary.digits].sum())
    endings["0"] = mass[trie.paths[0]]
    return Reading(endings, weights, score(prompt, rows))


def score(prompt: Prompt, rows: Mapping[TokenPath, np.ndarray]) -> ScoringResult:
    """Score a prompt at the configured tolerance, with the rows for an engine."""
    scoring = ForecastScoring(prompt.token_ids, prompt.trie)
    while asked := scoring.next_requests(config.SCORING_TOLERANCE):
        for node, request in asked:
            scoring.record(node, Reply({t: float(np.log(rows[node][t])) for t in request.wanted}))
    return scoring.result()


def _look_further(
    vocabulary: Vocabulary,
    further: Mapping[TokenPath, np.ndarray],
    marked: Mapping[tuple[int, str, TokenPath], float],
    endings: dict[str, float],
) -> np.ndarray:
    """Add what follows punctuation to ``endings``; return decimals by integer."""
    seen = {key: mass for key, mass in marked.items() if key[2] in further}
    scale = sum(marked.values()) / max(1e-300, sum(seen.values()))
    decimals = np.zeros(SUPPORT_SIZE)
    for (n, mark, node), mass in seen.items():
        row, m = np.exp(further[node]), mass * scale
        digit, end = float(row[vocabulary.digits].sum()), float(row[vocabulary.ends].sum())
        endings[_number_with(n, mark)] += m * digit
        if mark in ".,":
            decimals[n] += m * digit
        if mark == ".":
            endings["70. and the end"] += m * end
            endings["1. and text" if n < 10 else "70. and text"] += m * max(0, 1 - digit - end)
    return decimals


def _longer(n: int) -> str:
    return {0: "07", 10: "101-109", 100: "1000"}.get(n, "750, 2026")


def _number_with(n: int, mark: str) -> str:
    if mark in "-–":
        return "10-20"
    if n in (0, 1):
        return f"{n}{mark}75"
    return "7.5" if mark == "." else "7,000"


def _heaviest(marked: Mapping[Any, float]) -> list[Any]:
    """Return the keys that hold ``LOOKED_AT`` of the mass, heaviest first."""
    keys, held, whole = sorted(marked, key=lambda k: -marked[k]), 0.0, sum(marked.values())
    for count, key in enumerate(keys, start=1):
        held += marked[key]
        if held >= LOOKED_AT * whole:
            return keys[:count]
    return keys


# --- tables ---------------------------------------------------------------------------------------


def print_tables(readings: Sequence[Reading]) -> None:
    """Print what follows a number, and how far each rule is from today's."""
    names = sorted({name for reading in readings for name in reading.endings})
    print("| answer | mean | largest |\n|---|---|---|")
    for name in names:
        values = [reading.endings.get(name, 0.0) for reading in readings]
        print(f"| {name} | {statistics.fmean(values):.5f} | {max(values):.5f} |")
    first, *others = readings[0].weights
    print("\n| rule | captured | TV mean | largest | points of the mean | largest |")
    print("|---|---|---|---|---|---|")
    for rule in (first, *others):
        captured = statistics.fmean(float(r.weights[rule].sum()) for r in readings)
        pairs = [
            (
                Distribution.from_weights(r.weights[first]),
                Distribution.from_weights(r.weights[rule]),
            )
            for r in readings
        ]
        moved = [total_variation(a, b) for a, b in pairs]
        points = [abs(a.mean - b.mean) for a, b in pairs]
        print(
            f"| {rule} | {captured:.4f} | {statistics.fmean(moved):.5f} | {max(moved):.5f}"
            f" | {statistics.fmean(points):.3f} | {max(points):.3f} |"
        )
    requests = [reading.scored.requests for reading in readings]
    residual = max(reading.scored.residual_mass for reading in readings)
    print(
        f"\nAt tolerance {config.SCORING_TOLERANCE}: {statistics.fmean(requests):.1f} requests a"
        f" prompt, {max(requests)} at most; largest residual {residual:.4f}"
    )


def main(arguments: Iterable[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What follows a number in an answer.")
    parser.add_argument("--model", help="folder or Hugging Face id (default: the demonstration's)")
    parser.add_argument("--prefix", default="", help="how the answer begins, as ANSWER_PREFIX")
    parser.add_argument("--questions", type=Path, help="a question file to sample from")
    parser.add_argument("--sample", type=int, default=20)
    parser.add_argument("--prompts", type=int, help="read so many of all")
    chosen = parser.parse_args(arguments)
    spec = demo.model_spec()
    if chosen.model:
        spec = ModelSpec("measured", chosen.model, answer_prefix=chosen.prefix)
    readings = []
    with Agent(spec) as agent:
        vocabulary = Vocabulary(agent.tokenizer, agent.model.config.vocab_size)
        with suppress(KeyboardInterrupt):  # what was read by then is printed
            for task in make_tasks(chosen.questions, chosen.sample)[: chosen.prompts]:
                prompt = agent.build_prompt(task)
                readings.append(read_prompt(agent, vocabulary, prompt))
                mean = Distribution.from_weights(readings[-1].weights["longest spelling"]).mean
                print(f"{len(prompt.token_ids)} tokens, mean {mean:.1f}", file=sys.stderr)
    print(f"{spec.path}: {len(readings)} prompts, digit tokens {len(vocabulary.digits)}\n")
    print_tables(readings)


if __name__ == "__main__":
    main()
