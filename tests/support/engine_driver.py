"""``python tests/engine_driver.py FOLDER ARGUMENTS``: forecaster.py with a real engine in child processes, to be ended by a signal.

For tests/test_engine_life.py. When the engine begins to score, one byte is written to the descriptor ``SCORING_FD``, and scoring
never ends.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import config
import forecaster
from agents_vllm import Agent


class EndlessAgent(Agent):
    """Scores the same prompts again and again."""

    def collect(self):
        os.write(int(os.environ["SCORING_FD"]), b"s")
        requests = list(self._submitted.values())
        self.withdraw()
        while True:
            self.next_token_logprobs(requests)


def main():
    config.FORECAST_MODEL_PATHS_VLLM = {"tiny": sys.argv[1]}
    config.DEFAULT_MODEL_VLLM = config.DEFAULT_LOGIC_MODEL_PATH = "tiny"
    ranks = int(os.environ.get("RANKS", "1"))
    settings = {"max_model_len": 512, "tensor_parallel_size": ranks, "enforce_eager": True}
    return forecaster.main(
        ["--question", "Will it rain?", "--no-retrieval", *sys.argv[2:]],
        agent_factory=lambda spec: EndlessAgent(spec, vllm_config=settings),
    )


if __name__ == "__main__":
    sys.exit(main())
