"""How wide the bound is where a server tells only its k likeliest tokens.

    python benchmarks/top_tokens.py [--k 5 20 100]

The demonstration's model and questions, in float32 on the CPU with transformers: every node of the
number trie is read whole, then again with all but the k likeliest tokens hidden, as a server without
chosen token ids would (engine/top_tokens.py). Prints the bound that ``residual_mass`` gets, the
true total-variation error against the whole reading, and how far the mean is off.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from agents import Agent  # noqa: E402 - the folder of the modules has to be known first
from engine.top_tokens import bounded  # noqa: E402
from runs import demo  # noqa: E402
from scoring.distribution import total_variation  # noqa: E402
from scoring.number_trie import TokenPath  # noqa: E402
from scoring.scorer import Reply, Request, ScoringResult  # noqa: E402
from scoring.tasks import ForecastTask  # noqa: E402
from terminal.screen import show  # noqa: E402

TODAY = "2026-11-24"


class TopAgent(Agent):
    """The demonstration's model, of which only the ``k`` likeliest tokens are seen."""

    k: int | None = None
    kept: ClassVar[dict[TokenPath, np.ndarray]] = {}

    def next_token_logprobs(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer from whole rows of the vocabulary, or from their best ``k``."""
        replies = []
        for request in requests:
            if request.token_ids not in self.kept:
                row = self.rows(self.prefill(request.token_ids), [()])[()]
                self.kept[request.token_ids] = row
            row = self.kept[request.token_ids]
            best = np.argsort(-row)[: self.k or len(row)]
            top = {int(token): float(row[token]) for token in best}
            replies.append(bounded(request, top, len(top)))
        return replies


def scored(agent: TopAgent, k: int | None) -> list[ScoringResult]:
    """Return the results of all questions with the ``k`` likeliest tokens seen."""
    agent.k = k
    agent._scorings.clear()
    tasks = [ForecastTask(question, TODAY) for question in demo.QUESTIONS]
    results = [outcome.result for outcome in agent.score(tasks)]
    return [result for result in results if result is not None]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--k", type=int, nargs="+", default=[5, 20, 100])
    counts = parser.parse_args().k
    with TopAgent(demo.model_spec(), tolerance=0.0) as agent:
        whole = scored(agent, None)
        show("| k | bound | true error (TV) | mean off by, points |", "|---|---|---|---|")
        for k in counts:
            pairs = list(zip(whole, scored(agent, k), strict=True))
            bounds = [top.residual_mass for _, top in pairs]
            errors = [total_variation(all_.distribution, top.distribution) for all_, top in pairs]
            off = [abs(all_.distribution.mean - top.distribution.mean) for all_, top in pairs]
            cells = (f"{min(values):.2g}-{max(values):.2g}" for values in (bounds, errors, off))
            show(f"| {k} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
